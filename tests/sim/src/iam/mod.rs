//! An IAM system in memory.

mod call;
mod client;
mod members;
mod model;
mod pairs;
mod policy;
mod services;

pub use call::{Answer, Call, Refusal, short};
pub use client::{Line, SimConnector};
pub use model::{AccountRecord, Iam, KEY_LIMIT, Key, Lag, Maker, PROJECT, google};
pub use pairs::{POOL, private_pem, shows_secret};
pub use policy::{ProjectPolicy, ghost, member};
pub use services::Services;
