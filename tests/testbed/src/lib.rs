//! Starts a real control plane, the embedded IAM and the operator, for tests and the demo.
//!
//! Everything blocks: tests run on threads of their own, and a blocking call can also be made from an
//! async test through `spawn_blocking`. What is started here is ended by its process id, in reverse order:
//! when the value is dropped (success, failure, panic), and by [`session::Session`] on Ctrl-C and SIGTERM.
//!
//! ```no_run
//! use keywheel_testbed::control_plane::{ControlPlane, Options};
//!
//! let session = keywheel_testbed::session::Session::begin()?;
//! let cp = ControlPlane::start(Options::default())?;
//! cp.install_keywheel()?;
//! let namespace = cp.create_namespace("demo")?;
//! print!("{}", cp.kubectl_ok(&["get", "all", "--namespace", &namespace])?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod audit;
pub mod compat;
pub mod control_plane;
pub mod gate;
pub mod http;
pub mod iam;
pub mod keywheel;
pub mod kubectl;
pub mod operator;
pub mod pki;
pub mod ports;
pub mod process;
pub mod progress;
pub mod python;
pub mod repo;
pub mod session;
pub mod shared;
pub mod tools;
pub mod wait;
pub mod wire_page;

pub use control_plane::ControlPlane;
pub use iam::IamServer;
pub use operator::Operator;
pub use session::Session;
pub use wait::{wait_for, wait_until};
