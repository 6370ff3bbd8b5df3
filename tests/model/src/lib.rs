//! The key lifecycle as an explicit-state model whose every decision is one of the production
//! [`plan`](keywheel::domain::key::plan()).
//!
//! | module | what |
//! |---|---|
//! | [`world`] | the backend's keys, the objects of two CRs, requests on the wire |
//! | [`actor`] | a process in the middle of a pass |
//! | [`observe`] | what was read, as the plan's observation; its answer, as an effect |
//! | [`moves`] | all that can happen next: a step of a process, of the environment, a fault |
//! | [`faults`] | what may go wrong, and how often |
//! | [`invariants`] | what must hold after every step |
//! | [`calm`] | convergence once the faults are over |
//! | [`status`], [`time`] | states with equal futures made equal |
//! | [`prints`], [`search`] | every state once, by its fingerprint |
//! | [`scenarios`] | where searches begin |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test program: what cannot be is a defect of the model, and ends it"
)]

pub mod actor;
pub mod calm;
pub mod faults;
pub mod invariants;
pub mod moves;
pub mod names;
pub mod observe;
pub mod prints;
pub mod scenarios;
pub mod search;
pub mod shared;
pub mod status;
pub mod time;
#[cfg(feature = "defects")]
pub mod variants;
pub mod world;
