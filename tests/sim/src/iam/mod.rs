//! An IAM system in memory.

mod call;
mod client;
mod model;
mod pairs;
mod policy;
mod services;

pub use call::{Answer, Call, Refusal, short};
pub use client::{Line, SimConnector};
pub use model::{AccountRecord, Iam, KEY_LIMIT, Key, Lag, Maker, PROJECT};
pub use pairs::{POOL, private_pem};
pub use policy::{ProjectPolicy, ghost, member};
pub use services::Services;
