//! Fixed key pairs: the same in every run and on every machine, put together when they are first needed. They are made
//! of known primes and must protect nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use keywheel::credential::{RsaKeyPair, SecretBytes};
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::{BigUint, RsaPrivateKey};

/// Any two of these make a key.
const PRIMES: &str = include_str!("primes.txt");
/// How many primes there are.
const COUNT: usize = 64;
/// How many different pairs there are.
pub const POOL: usize = COUNT * (COUNT - 1) / 2;

/// The private half of a pair, as PEM. No two numbers below [`POOL`] give the same.
pub fn private_pem(number: usize) -> &'static str {
    static PAIRS: [OnceLock<String>; POOL] = [const { OnceLock::new() }; POOL];
    assert!(number < POOL, "a run needs more key pairs than there are");
    PAIRS[number].get_or_init(|| {
        let (one, other) = chosen(number);
        let exponent = BigUint::from(65_537_u32);
        let key = RsaPrivateKey::from_p_q(prime(one), prime(other), exponent).expect("two primes make a key");
        let theirs = key.to_pkcs8_pem(LineEnding::LF).expect("it can be written");
        // Written by the library that the operator uses, so that both spell it alike.
        let pair =
            RsaKeyPair::from_pkcs8_pem(&SecretBytes::from(theirs.to_string())).expect("it can be read");
        let ours = pair.to_pkcs8_pem().expect("it can be written again");
        ours.expose_str().expect("PEM is text").to_owned()
    })
}

/// Fingerprint of a pair. Each is read once.
pub fn fingerprint(private_pem: &str) -> String {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, String>> = RefCell::new(HashMap::new());
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(private_pem).cloned()) {
        return known;
    }
    let found = RsaKeyPair::from_pkcs8_pem(&SecretBytes::from(private_pem.to_owned()))
        .map(|pair| pair.public_key_sha256())
        .unwrap_or_default();
    KNOWN.with_borrow_mut(|known| known.insert(private_pem.to_owned(), found.clone()));
    found
}

/// The two primes of a number.
fn chosen(number: usize) -> (usize, usize) {
    let mut all = (0..COUNT).flat_map(|b| (0..b).map(move |a| (a, b)));
    all.nth(number).expect("a number below the pool's size")
}

fn prime(index: usize) -> BigUint {
    let line = PRIMES.lines().nth(index).expect("there are so many primes");
    BigUint::parse_bytes(line.as_bytes(), 16).expect("a prime is a number")
}
