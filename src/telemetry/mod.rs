//! What is told to operators of the operator: logs and health.

mod health;
mod logs;

pub use health::{HealthError, serve as serve_health};
pub use logs::{LogFormat, init as init_logs};
