//! The API of Disruptive Technologies on the wire. The vendor's own library calls it in the tests of clients.

mod access;
mod accounts;
mod errors;
mod faults;
mod keys;
mod members;
mod startup;
mod tokens;
pub mod vendor;

use libtest_mimic::Trial;

use super::trial;

pub fn trials() -> Vec<Trial> {
    [
        access::trials(),
        accounts::trials(),
        errors::trials(),
        faults::trials(),
        keys::trials(),
        members::trials(),
        startup::trials(),
        tokens::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
