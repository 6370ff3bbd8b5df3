//! Fixed key pairs: the same in every run and on every machine, made when they are first needed.

use std::sync::OnceLock;

use keywheel::credential::{RsaKeyPair, SecretBytes};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rsa::traits::PrivateKeyParts as _;
use rsa::{BigUint, RsaPrivateKey};

/// How many pairs of primes are searched for; that takes long.
const SEARCHED: usize = 16;
/// Any two primes make a key, which takes no time: so many different ones there are.
pub const POOL: usize = SEARCHED * (2 * SEARCHED - 1);

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

/// Fingerprint of a pair, for the numbers above and for those that were uploaded.
pub fn fingerprint(private_pem: &str) -> String {
    RsaKeyPair::from_pkcs8_pem(&SecretBytes::from(private_pem.to_owned()))
        .map(|pair| pair.public_key_sha256())
        .unwrap_or_default()
}

/// The two primes of a number: those that were found together come first.
fn chosen(number: usize) -> (usize, usize) {
    if number < SEARCHED {
        return (2 * number, 2 * number + 1);
    }
    let together = |a: usize, b: usize| a % 2 == 0 && b == a + 1;
    let all = (0..2 * SEARCHED).flat_map(|b| (0..b).map(move |a| (a, b)));
    all.filter(|(a, b)| !together(*a, *b)).nth(number - SEARCHED).expect("a number below the pool's size")
}

fn prime(index: usize) -> BigUint {
    static FOUND: [OnceLock<RsaPrivateKey>; SEARCHED] = [const { OnceLock::new() }; SEARCHED];
    let found = FOUND[index / 2].get_or_init(|| {
        let seed = u64::try_from(index / 2).expect("a small number") + 1;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        RsaPrivateKey::new(&mut random, 2048).expect("a key of 2048 bits can be made")
    });
    found.primes()[index % 2].clone()
}
