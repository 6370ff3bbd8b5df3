//! What all passes share. Time and randomness come in through here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::Error;
use super::intents::Intents;
use super::lease::Leadership;
use super::leftovers::FirstSeen;
use super::looks::Looks;
use super::refusals::Refusals;
use super::registry::Registry;
use super::report::Reporter;
use crate::credential::{CheckedHalves, RsaKeyPair};
use crate::domain::Timing;
use crate::domain::schedule::{add, between};
use crate::kube_io::Io;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Time since boot. It goes on while the machine sleeps and nobody can set it.
    fn since_boot(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(clock);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync {
    /// Fills a buffer.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error>;

    /// Makes a key pair of 2048 bits. Blocks for 50 to 500 ms.
    fn rsa_pair(&self) -> Result<RsaKeyPair, Error>;
}

/// The system's random number generator.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Error> {
        aws_lc_rs::rand::fill(buffer).map_err(Error::Entropy)
    }

    fn rsa_pair(&self) -> Result<RsaKeyPair, Error> {
        Ok(RsaKeyPair::generate_2048()?)
    }
}

/// What a [`Context`] is made of; all else in it is memory that begins empty.
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// All waits and caps.
    pub timing: Timing,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// Backends, logged in to.
    pub backends: Registry,
    /// What tells this cluster from others in an account's owner mark.
    pub cluster_id: String,
}

/// What all passes share.
pub struct Context {
    /// The API server.
    pub io: Io,
    /// All waits and caps.
    pub timing: Timing,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether this process may act.
    pub leadership: Leadership,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Backends, logged in to.
    pub backends: Registry,
    /// Events.
    pub reporter: Reporter,
    /// Staging Secrets that were seen.
    pub staging: StagingIndex,
    /// How often the last passes over an object failed.
    pub failures: Failures,
    /// When Secrets were last written again as the spec says.
    pub rewrites: Rewrites,
    /// Steps that were refused for good.
    pub refusals: Refusals,
    /// Staging Secrets without their objects, keys without an owner.
    pub first_seen: FirstSeen,
    /// Looks at the backends.
    pub looks: Looks,
    /// Accounts that are about to be created.
    pub intents: Intents,
    /// Private halves that were read before.
    pub halves: CheckedHalves,
    /// What tells this cluster from others in an account's owner mark.
    pub cluster_id: String,
}

impl Context {
    /// What a process knows when it starts.
    pub fn new(parts: Parts) -> Self {
        let Parts { client, timing, clock, entropy, leadership, backends, cluster_id } = parts;
        Self {
            io: Io::new(client.clone(), timing.call_timeout),
            reporter: Reporter::new(client, timing.call_timeout, clock.clone()),
            timing,
            clock,
            entropy,
            backends,
            staging: StagingIndex::default(),
            failures: Failures::default(),
            rewrites: Rewrites::default(),
            refusals: Refusals::default(),
            first_seen: FirstSeen::default(),
            looks: Looks::default(),
            intents: Intents::default(),
            halves: CheckedHalves::default(),
            leadership,
            cluster_id,
        }
    }

    /// A random name for an attempt: 50 bits in letters and digits that cannot be confused.
    pub fn nonce(&self) -> Result<String, Error> {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = [0_u8; 10];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes.iter().filter_map(|b| LETTERS.get(usize::from(b % 32))).map(|b| char::from(*b)).collect())
    }
}

/// Names of staging Secrets by owner, learned from the watch. A name that no longer exists costs one read; one
/// that is not known yet will wake its owner when the watch brings it.
#[derive(Default)]
pub struct StagingIndex(Mutex<HashMap<(String, String), BTreeSet<String>>>);

impl StagingIndex {
    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A staging Secret was seen.
    pub fn seen(&self, namespace: &str, owner: &str, name: &str) {
        self.locked().entry((namespace.to_owned(), owner.to_owned())).or_default().insert(name.to_owned());
    }

    /// A staging Secret is gone.
    pub fn gone(&self, namespace: &str, owner: &str, name: &str) {
        let mut map = self.locked();
        let key = (namespace.to_owned(), owner.to_owned());
        if let Some(names) = map.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                map.remove(&key);
            }
        }
    }

    /// What was seen of an owner.
    pub fn of(&self, namespace: &str, owner: &str) -> BTreeSet<String> {
        self.locked().get(&(namespace.to_owned(), owner.to_owned())).cloned().unwrap_or_default()
    }
}

/// How often the last passes over an object failed before they could decide: the wait grows with it. Lost with
/// the process; failures at a backend are kept in the status instead.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// One more; the number so far.
    pub fn count(&self, object: &str) -> u32 {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = map.entry(object.to_owned()).or_insert(0);
        *n = n.saturating_add(1);
        *n
    }

    /// How many so far.
    pub fn so_far(&self, object: &str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(object).copied().unwrap_or(0)
    }

    /// A pass went through.
    pub fn clear(&self, object: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(object);
    }
}

/// Secrets that were written again because somebody changed them. Each time soon after the last one doubles the wait;
/// it is over once they were left alone for as long as the longest wait. Lost with the process.
#[derive(Default)]
pub struct Rewrites(Mutex<HashMap<String, (u32, Timestamp)>>);

impl Rewrites {
    /// One more at `now`.
    pub fn count(&self, object: &str, now: Timestamp, timing: &Timing) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.retain(|_, (_, last)| between(*last, now) <= timing.retry_cap.saturating_mul(2));
        let entry = map.entry(object.to_owned()).or_insert((0, now));
        *entry = (entry.0.saturating_add(1), now);
    }

    /// Before when there should be no other.
    pub fn resume(&self, object: &str, timing: &Timing) -> Option<Timestamp> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(object).map(|(count, last)| add(*last, timing.retry(*count)))
    }
}
