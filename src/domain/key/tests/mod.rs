//! The plan, rule by rule, and whole lives of keys in a small pure world.

mod builders;
mod edges;
mod endings;
mod facts;
mod holes;
mod incidents;
mod jwks;
mod last_use;
mod ledger;
mod lives;
mod looks;
mod obstacles;
mod orphans;
mod people;
mod record;
mod retry_after;
mod rules;
mod settled;
mod told;
mod waits;
