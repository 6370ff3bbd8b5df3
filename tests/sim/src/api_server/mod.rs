//! An API server in memory: what the real one does to the objects that Keywheel and its users touch. The conformance
//! scenarios compare the two.

mod apply;
mod collectors;
mod refusal;
mod request;
mod resource;
mod rules;
mod schema;
mod selector;
mod server;
mod store;
pub mod watch;

pub use refusal::{Cause, Refusal};
pub use request::{PatchFormat, Request, Verb};
pub use resource::{Custom, Resource, Rules, of_kind};
pub use server::{Answer, Server, seconds};
pub use store::{Change, ChangeKind, Place, Store};
