//! Starts a real control plane, the embedded IAM and the operator, for tests and the demo.
