//! Observe and act, per kind: the only place that sees both the API server and the backends.
//!
//! One reconcile is *observe, plan, act one step, observe again*, until the plan waits.

mod account;
mod backend;
mod census;
mod connection;
mod context;
mod error;
mod guard;
mod intents;
mod key;
mod lease;
mod leftovers;
mod looks;
mod pass;
mod refusals;
mod registry;
mod report;
mod run;
mod sharers;

pub use account::reconcile as reconcile_account;
pub use backend::{BackendObject, reconcile as reconcile_backend};
pub use context::{Clock, Context, Entropy, Parts, SystemClock, SystemEntropy};
pub use error::Error;
pub use key::reconcile as reconcile_key;
pub use lease::{Deposed, Leadership, LeaseOptions, keep as keep_lease};
pub use registry::{Connector, NetworkConnector, Registry};
pub use run::{Options, RunError, control, owner_of, run};
