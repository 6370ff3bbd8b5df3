//! Fixed key pairs: the same in every run and on every machine, made when they are first needed.

use std::sync::OnceLock;

use keywheel::credential::{RsaKeyPair, SecretBytes};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};

/// How many there are. Keys that live at the same time on one account must not share one.
const POOL: usize = 40;

/// The private half of a pair, as PEM.
pub fn private_pem(number: usize) -> &'static str {
    static PAIRS: [OnceLock<String>; POOL] = [const { OnceLock::new() }; POOL];
    let index = number % POOL;
    PAIRS[index].get_or_init(|| {
        let seed = u64::try_from(index).expect("a small number") + 1;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let key = RsaPrivateKey::new(&mut random, 2048).expect("a key of 2048 bits can be made");
        let theirs = key.to_pkcs8_pem(LineEnding::LF).expect("it can be written");
        // Written by the library that the operator uses, so that both spell it alike.
        let pair =
            RsaKeyPair::from_pkcs8_pem(&SecretBytes::from(theirs.to_string())).expect("it can be read");
        let ours = pair.to_pkcs8_pem().expect("it can be written again");
        ours.expose_str().expect("PEM is text").to_owned()
    })
}
