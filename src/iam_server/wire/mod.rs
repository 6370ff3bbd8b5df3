//! The JSON and the paths of the Google IAM v1 API, without any behaviour.

pub mod enums;
pub mod errors;
pub mod operation;
pub mod query;
pub mod render;
pub mod requests;
pub mod route;
