//! Deterministic simulation: the real controllers against an in-process API server and an in-process IAM system.
//!
//! Tokio's clock is paused and everything follows from a seed, so one seed is one identical run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]
#![allow(
    clippy::missing_panics_doc,
    clippy::needless_for_each,
    clippy::needless_pass_by_value,
    clippy::similar_names,
    clippy::too_many_lines,
    reason = "scenarios and tables read best in one piece, with JSON written where it is used"
)]

pub mod actor;
pub mod api_server;
pub mod case;
pub mod clock;
pub mod conformance;
pub mod counts;
pub mod exhaustive;
pub mod fate;
pub mod flows;
pub mod history;
pub mod iam;
pub mod oracle;
pub mod people;
pub mod platform;
pub mod random;
pub mod service;
pub mod shrink;
pub mod stage;
pub mod trace;
#[cfg(feature = "defects")]
pub mod variants;
pub mod wire;
pub mod wiring;
pub mod world;
