//! The embedded IAM server on the wire: its real binary, asked by plain HTTP, by Google's Rust client and by Google's
//! Python library; and the same server's API of Disruptive Technologies.

#![cfg(test)]

mod accounts;
mod constraints;
pub mod disruptive;
mod durability;
mod earth_engine;
mod faults;
mod federation;
mod iam;
mod keys;
mod last_use;
mod policies;
mod public_keys;
mod python;
mod rust_client;
mod secrecy;
mod services;
mod startup;
mod tokens;

use libtest_mimic::Trial;

/// All tests of this layer.
pub fn trials() -> Vec<Trial> {
    [
        accounts::trials(),
        constraints::trials(),
        disruptive::trials(),
        durability::trials(),
        earth_engine::trials(),
        faults::trials(),
        federation::trials(),
        keys::trials(),
        last_use::trials(),
        policies::trials(),
        public_keys::trials(),
        python::trials(),
        rust_client::trials(),
        secrecy::trials(),
        services::trials(),
        startup::trials(),
        tokens::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A test that runs on a runtime of its own.
fn trial<F: Future<Output = ()> + 'static>(name: &str, run: fn() -> F) -> Trial {
    Trial::test(format!("wire::{name}"), move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run());
        Ok(())
    })
}
