//! The operator on a real control plane: its own process, its own RBAC rules, the real IAM server, and google-auth as
//! the judge of every credential.

#![cfg(test)]

mod case;
mod kube;
mod lifecycle;
mod person;
mod world;

use libtest_mimic::Trial;

/// All tests of this layer.
pub fn trials() -> Vec<Trial> {
    [lifecycle::trials()].into_iter().flatten().collect()
}

/// A test; it fails by panicking.
fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(format!("operator::{name}"), move || {
        run();
        Ok(())
    })
}
