//! A set of fingerprints, and nothing else, for all threads of a search.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use crate::shared::Fingerprint;

/// How the set is spread.
const SHARDS: usize = 64;

/// Fingerprints are random already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// In two halves: half the alignment of a `u128`. Either is as random as the other.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Print([u64; 2]);

impl std::hash::Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[1]);
    }
}

type Shard = HashSet<Print, BuildHasherDefault<Identity>>;

/// Fingerprints.
pub struct Prints(Vec<Mutex<Shard>>);

impl Default for Prints {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Prints {
    /// Adds one; `false`: it was there.
    pub fn insert(&self, one: Fingerprint) -> bool {
        let (print, shard) = self.place(one);
        shard.lock().expect("no thread panicked").insert(print)
    }

    /// Whether one is there.
    pub fn contains(&self, one: Fingerprint) -> bool {
        let (print, shard) = self.place(one);
        shard.lock().expect("no thread panicked").contains(&print)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|s| s.lock().expect("no thread panicked").len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, one: Fingerprint) -> (Print, &Mutex<Shard>) {
        let bytes = one.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        let halves = [low, high].map(|half| u64::from_le_bytes(half.try_into().expect("8 bytes")));
        let shard = usize::try_from(halves[0] % SHARDS as u64).expect("small");
        (Print(halves), &self.0[shard])
    }
}
