//! Values that many states share: kept once, compared and hashed by their fingerprint.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use twox_hash::XxHash3_128;

/// 128 bits that stand for a value. Two of a billion values collide with a probability below 10^-20.
pub type Fingerprint = u128;

/// The bytes that a value hashes to, one after another.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    // Lengths and discriminants are small.
    fn write_usize(&mut self, n: usize) {
        self.0.push(u8::try_from(n).expect("small"));
    }

    fn write_isize(&mut self, n: isize) {
        self.0.push(u8::try_from(n).expect("small"));
    }
}

/// Fingerprint of a value.
pub fn fingerprint(value: &impl Hash) -> Fingerprint {
    let mut bytes = Bytes(Vec::with_capacity(512));
    value.hash(&mut bytes);
    XxHash3_128::oneshot(&bytes.0)
}

/// A value with its fingerprint.
pub struct Shared<T>(Arc<(Fingerprint, T)>);

impl<T: fmt::Debug> Shared<T> {
    /// Fingerprints a value by its debug form, which shows all of it.
    pub fn new(value: T) -> Self {
        let fingerprint = XxHash3_128::oneshot(format!("{value:?}").as_bytes());
        Self(Arc::new((fingerprint, value)))
    }
}

impl<T> Shared<T> {
    /// What stands for the value.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.0
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0.0);
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl<T> Eq for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}
