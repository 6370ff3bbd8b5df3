//! The plan, rule by rule, and whole lives of keys in a small pure world.

mod builders;
mod endings;
mod holes;
mod incidents;
mod lives;
mod obstacles;
mod orphans;
mod people;
mod record;
mod rules;
