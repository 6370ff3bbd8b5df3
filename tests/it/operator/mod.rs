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
mod crash;
mod deletion;
mod drift;
mod faults;
mod kube;
mod lifecycle;
mod person;
mod secrecy;
mod startup;
mod world;

use libtest_mimic::Trial;

/// All tests of this layer.
pub fn trials() -> Vec<Trial> {
    [
        lifecycle::trials(),
        budgets::trials(),
        bad_spec::trials(),
        bad_account::trials(),
        bad_backend::trials(),
        bad_secret::trials(),
        deletion::trials(),
        secrecy::trials(),
        drift::trials(),
        faults::trials(),
        crash::trials(),
        startup::trials(),
        admission::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A test; it fails by panicking.
fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(format!("operator::{name}"), move || {
        run();
        Ok(())
    })
}
