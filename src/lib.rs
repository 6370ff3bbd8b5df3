//! Keywheel: a Kubernetes operator for IAM service accounts and their keys.
//!
//! Three layers never mix: *observe* (reads), *plan* (pure: no clock, no I/O), *act* (one effect).
//! `api` and [`domain`] know no I/O; [`backend`] knows no custom resource; only [`controller`] sees both.

pub mod api;
pub mod backend;
pub mod cli;
pub mod controller;
pub mod credential;
pub mod domain;
pub mod iam_server;
pub mod kube_io;
pub mod telemetry;
