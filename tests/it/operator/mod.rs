//! The operator on a real control plane: its own process, its own RBAC rules, the real IAM server, and google-auth as
//! the judge of every credential.

#![cfg(test)]

mod admission;
mod bad_account;
mod bad_backend;
mod bad_secret;
mod bad_spec;
mod budgets;
mod case;
mod chaos;
mod crash;
mod deletion;
pub mod disruptive;
mod documents;
mod drift;
mod errors;
mod faults;
mod gate;
mod google;
mod jwks;
mod kube;
mod last_use;
mod lease;
mod lifecycle;
mod named;
mod people;
mod person;
mod roles;
mod secrecy;
mod services;
mod startup;
mod world;

use libtest_mimic::Trial;

pub use self::case::{Case, condition, data_of, soon};
pub use self::disruptive as platform;
pub use self::kube::path;
pub use self::person::Person;
pub use self::world::{World, set_login, start_iam};

/// All tests of this layer.
pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = [
        // The longest one, beside which all others fit.
        chaos::trials(),
        budgets::trials(),
        lifecycle::trials(),
        bad_spec::trials(),
        bad_account::trials(),
        bad_backend::trials(),
        google::trials(),
        roles::trials(),
        services::trials(),
        documents::trials(),
        bad_secret::trials(),
        deletion::trials(),
        disruptive::trials(),
        secrecy::trials(),
        drift::trials(),
        faults::trials(),
        startup::trials(),
        admission::trials(),
        people::trials(),
        lease::trials(),
        last_use::trials(),
        errors::trials(),
        jwks::trials(),
        named::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    // These take turns: far apart none waits for another.
    let crashes = crash::trials();
    let distance = trials.len() / crashes.len();
    for (index, crash) in crashes.into_iter().enumerate() {
        trials.insert(index * (distance + 1), crash);
    }
    trials
}

/// A test; it fails by panicking.
fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(format!("operator::{name}"), move || {
        run();
        Ok(())
    })
}
