//! Randomness that follows from a seed, the same on every machine.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use keywheel::controller::{Entropy, Error};
use keywheel::credential::{RsaKeyPair, SecretBytes};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::iam::{POOL, private_pem};

/// Choices of a run.
#[derive(Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Dice of a seed; `stream` tells those of one run apart.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self(random)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.next_u64() % end }
    }

    /// One in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let count = u64::try_from(of.len()).expect("a list is short");
        &of[usize::try_from(self.below(count)).expect("below a list's length")]
    }
}

/// Randomness for the operator. Of the fixed pairs it takes those from the end, each once in a world: the IAM system
/// takes those from the beginning.
pub struct SeededEntropy {
    random: Mutex<ChaCha8Rng>,
    pairs: Arc<AtomicUsize>,
}

impl SeededEntropy {
    /// Of a seed and a process; `pairs` counts those that the processes of a world took.
    pub fn new(seed: u64, process: u64, pairs: Arc<AtomicUsize>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        random.set_stream(process);
        Self { random: Mutex::new(random), pairs }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        self.random.lock().expect("nobody panics with it").fill_bytes(buffer);
        Ok(())
    }

    fn rsa_pair(&self) -> Result<RsaKeyPair, Error> {
        let taken = self.pairs.fetch_add(1, Ordering::Relaxed);
        let pem = private_pem(POOL - 1 - taken);
        Ok(RsaKeyPair::from_pkcs8_pem(&SecretBytes::from(pem.to_owned()))?)
    }
}
