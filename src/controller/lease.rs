//! The Lease: one operator acts, the others stand by.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, ResourceExt as _};

use super::Clock;
use crate::defect;
use crate::domain::lease::{Decision, Found, Seen, acts_until, decide, renew_every, see, vanished};
use crate::kube_io::{Io, KubeIoError};

/// Which Lease, and in whose name.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells this process from all others, also from an earlier one in the same pod.
    pub identity: String,
    /// How long a holder that is not heard of keeps it. Whole seconds.
    pub duration: Duration,
}

/// What this process may do now.
#[derive(Debug, Default)]
pub struct Leadership {
    held: Mutex<Held>,
    gained: tokio::sync::Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// Counts the times that the Lease was gained. 0: never.
    term: u64,
    /// By the time since boot.
    until: Duration,
}

impl Leadership {
    /// For ever: one process alone, in tests.
    pub fn unlimited() -> Self {
        Self { held: Mutex::new(Held { term: 1, until: Duration::MAX }), ..Self::default() }
    }

    /// The term, while the Lease is held at `now` (time since boot).
    pub fn term(&self, now: Duration) -> Option<u64> {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.term > 0 && now < held.until).then_some(held.term)
    }

    /// A renewal went through whose request left at `sent`. One that comes after a pause begins a new term.
    pub fn renewed(&self, sent: Duration, duration: Duration) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.term == 0 || sent >= held.until {
            held.term += 1;
        }
        held.until = acts_until(sent, duration);
        drop(held);
        // Kept for one who waits later.
        self.gained.notify_one();
    }

    /// Waits until it is held for the first time.
    pub async fn gained(&self) {
        self.gained.notified().await;
    }

    /// Nothing more is done in this process.
    pub fn give_up(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).until = Duration::ZERO;
    }
}

/// Another process holds the Lease that this one held.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Lease {namespace}/{name} was taken over by {holder}: this process was paused or cut off for too long"
)]
pub struct Deposed {
    namespace: String,
    name: String,
    holder: String,
}

/// What one look came to.
enum Look {
    Held,
    Standby { wait: Duration, holder: String },
}

/// The clock that terms are counted on.
pub(super) fn reading(clock: &dyn Clock) -> Duration {
    if defect!(LeaseByWallClock) {
        return Duration::from_secs(u64::try_from(clock.now().as_second()).unwrap_or_default());
    }
    clock.since_boot()
}

/// Gains the Lease and renews it, until another process has it.
pub async fn keep(io: &Io, clock: &dyn Clock, options: &LeaseOptions, leadership: &Leadership) -> Deposed {
    let mut seen = None;
    let mut led = false;
    let retry = renew_every(options.duration);
    loop {
        let sent = reading(clock);
        let wait = match look(io, clock, options, leadership, &mut seen).await {
            Ok(Look::Held) => {
                leadership.renewed(sent, options.duration);
                if !led {
                    tracing::info!(lease = options.name, identity = options.identity, "leading");
                }
                led = true;
                retry
            }
            Ok(Look::Standby { holder, .. }) if led => {
                leadership.give_up();
                return Deposed { namespace: options.namespace.clone(), name: options.name.clone(), holder };
            }
            Ok(Look::Standby { wait, holder }) => {
                tracing::debug!(holder, "standing by");
                wait
            }
            // Without an answer nothing is known: what was held runs out by itself.
            Err(error) => {
                tracing::warn!(%error, "the Lease cannot be read or written");
                retry / 4
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn look(
    io: &Io,
    clock: &dyn Clock,
    options: &LeaseOptions,
    leadership: &Leadership,
    seen: &mut Option<Seen>,
) -> Result<Look, KubeIoError> {
    let retry = renew_every(options.duration);
    let leases: Api<Lease> = io.namespaced(&options.namespace);
    let Some(lease) = io.get(&leases, &options.name).await? else {
        let now = reading(clock);
        *seen = seen.take().map(|memory| vanished(memory, now));
        // One that may act knows that no other may.
        if leadership.term(now).is_none()
            && let Some(memory) = seen
            && let Decision::Wait(wait) = decide(&options.identity, memory, now, options.duration, retry)
        {
            return Ok(Look::Standby { wait, holder: "nobody: somebody deleted it".to_owned() });
        }
        let lease = record(None, options, clock.now(), true);
        return match io.create(&leases, &lease, false).await {
            Err(error) if error.is_already_exists() => {
                Ok(Look::Standby { wait: Duration::ZERO, holder: "another that came first".to_owned() })
            }
            other => other.map(|_| Look::Held),
        };
    };
    let found = found(&lease);
    let now = reading(clock);
    let before = seen.take();
    let holder = found.holder.clone().unwrap_or_default();
    let memory = seen.insert(see(before, found, now));
    let taken = match decide(&options.identity, memory, now, options.duration, retry) {
        Decision::Wait(wait) => return Ok(Look::Standby { wait, holder }),
        Decision::Take => true,
        Decision::Renew => false,
    };
    match io.replace(&leases, &record(Some(lease), options, clock.now(), taken), false).await {
        Ok(_) => Ok(Look::Held),
        // Somebody wrote first: the next look says who.
        Err(error) if error.is_conflict() && taken => Ok(Look::Standby { wait: Duration::ZERO, holder }),
        Err(error) => Err(error),
    }
}

/// Gives the Lease back, so that the next process need not wait. Only ours is touched.
pub async fn give_back(io: &Io, clock: &dyn Clock, options: &LeaseOptions) -> Result<(), KubeIoError> {
    let leases: Api<Lease> = io.namespaced(&options.namespace);
    let Some(lease) = io.get(&leases, &options.name).await? else { return Ok(()) };
    if found(&lease).holder.as_deref() != Some(&options.identity) {
        return Ok(());
    }
    let mut lease = record(Some(lease), options, clock.now(), false);
    if let Some(spec) = &mut lease.spec {
        spec.holder_identity = None;
    }
    io.replace(&leases, &lease, false).await.map(drop)
}

fn found(lease: &Lease) -> Found {
    let spec = lease.spec.clone().unwrap_or_default();
    Found {
        holder: spec.holder_identity,
        version: lease.resource_version().unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)),
    }
}

fn record(before: Option<Lease>, options: &LeaseOptions, now: Timestamp, taken: bool) -> Lease {
    let mut lease = before.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(options.name.clone()),
            namespace: Some(options.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let old = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(options.identity.clone()),
        lease_duration_seconds: Some(i32::try_from(options.duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: if taken { Some(MicroTime(now)) } else { old.acquire_time },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(old.lease_transitions.unwrap_or(-1).saturating_add(i32::from(taken)).max(0)),
        ..old
    });
    lease
}
