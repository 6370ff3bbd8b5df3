//! Reads and writes at the API server: each call once, in bounded time, guarded where it changes something.

mod client;
mod error;
mod objects;

pub use client::{ClientError, connect, with_kubeconfig};
pub use error::KubeIoError;
pub use objects::Io;
