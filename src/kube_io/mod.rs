//! kube_io
