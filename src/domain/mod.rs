//! The decisions, pure: no clock, no I/O, no randomness. What the controllers read goes in as data; what they
//! shall do comes out as data.

pub mod account;
pub mod backend;
pub mod capability;
pub mod conditions;
pub mod defect;
pub mod event;
pub mod key;
pub mod lease;
pub mod names;
pub mod reason;
pub mod schedule;
pub mod timing;
pub mod trouble;

pub use capability::Capabilities;
pub use event::{Event, Severity};
pub use reason::Reason;
pub use timing::Timing;
pub use trouble::{Class, Trouble, left_alone};
