//! The custom resources of group `keywheel.dev`, one module per version. Types only: no logic, no I/O.

pub mod v1alpha1;
