//! The REST API v2 of Disruptive Technologies, as far as service accounts go: accounts, keys, members, roles, the caller's
//! permissions, and the endpoint of their tokens.
//!
//! Its paths are the vendor's own: `/v2/...`, and `/oauth2/token` for tokens. Under `/v2` Google has its Organization Policy
//! API; the two are told apart by the collection, of which neither has one of the other's ([`Route`]).
//!
//! Accounts, keys and tokens of the two APIs know nothing of each other. They share the store, the clock, the delays, the
//! faults and the request log.
//!
//! # What is assumed
//! The vendor's documentation does not say everything. Assumed are:
//! - the errors of the token endpoint: 400 in the words of OAuth2, as Google's;
//! - a project or an organization that is not there is 404 to everybody who is logged in, and all else that a caller has no
//!   permission for is 403, there or not;
//! - `permissions` is an empty list for who has no role, not an error;
//! - a deleted account takes its keys, memberships and tokens along; a token of a deleted key lives until it ends;
//! - an e-mail that is no account's is a person's, who is `PENDING` for good: there is nobody here to accept;
//! - a batch is done whole or not at all;
//! - there is no limit to the keys of an account;
//! - which role has which permission: see [`Role`].

mod access;
mod accounts;
mod admin;
mod caller;
mod dispatch;
mod errors;
mod exchange;
mod form;
mod keys;
mod members;
mod model;
mod operation;
mod page;
mod pages;
mod place;
mod requests;
mod roles;
mod route;
mod token;

pub use admin::{AdminError, ensure};
pub use errors::Error;
pub use exchange::answer;
pub use operation::Operation;
pub use page::render;
pub use route::Route;

#[cfg(doc)]
use roles::Role;

/// The organization that all projects of this server belong to.
const ORGANIZATION: &str = "keywheel";
