//! Fixed key pairs: the same in every run and on every machine, put together when they are first needed. They are made
//! of known primes and must protect nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
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

/// How every shared secret begins: so that it is found wherever it is.
const BEGINNING: &str = "5ec4e7a05ec4e7a15ec4e7a2";

/// A shared secret as it can stand in a text: as it is, and in base64 at each of the three offsets.
pub fn shows_secret(text: &str) -> bool {
    static FORMS: OnceLock<Vec<String>> = OnceLock::new();
    let forms = FORMS.get_or_init(|| {
        let encoded = |offset: usize| {
            let padded = format!("{}{BEGINNING}", "0".repeat(offset));
            // Digits that no other byte has a part in.
            let whole = (8 * offset).div_ceil(6)..8 * padded.len() / 6;
            STANDARD_NO_PAD.encode(padded)[whole].to_owned()
        };
        [BEGINNING.to_owned()].into_iter().chain((0..3).map(encoded)).collect()
    });
    forms.iter().any(|form| text.contains(form.as_str()))
}

/// A secret as a backend shares it: 32 hexadecimal digits, no two numbers with the same.
pub fn secret(number: usize) -> &'static str {
    static SECRETS: [OnceLock<String>; POOL] = [const { OnceLock::new() }; POOL];
    assert!(number < POOL, "a run needs more secrets than there are");
    SECRETS[number].get_or_init(|| format!("{BEGINNING}{number:08x}"))
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
