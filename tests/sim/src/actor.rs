//! A process of the operator: its memory, what it has to look at, and what it is looking at.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use keywheel::api::v1alpha1::{ClusterIamBackend, IamBackend, ServiceAccount, ServiceAccountKey};
use keywheel::controller::{
    Context, LeaseOptions, keep_lease, reconcile_account, reconcile_backend, reconcile_key,
};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::WallClock;
use crate::wire::{Message, Wire};

/// The kinds that are reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `ClusterIamBackend`.
    ClusterBackend,
    /// `IamBackend`.
    Backend,
    /// `ServiceAccount`.
    Account,
    /// `ServiceAccountKey`.
    Key,
}

impl Kind {
    /// How the store names it.
    pub fn stored(self) -> &'static str {
        match self {
            Self::ClusterBackend => "clusteriambackends.keywheel.dev",
            Self::Backend => "iambackends.keywheel.dev",
            Self::Account => "serviceaccounts.keywheel.dev",
            Self::Key => "serviceaccountkeys.keywheel.dev",
        }
    }

    /// The kind that the store names so.
    pub fn of_stored(name: &str) -> Option<Self> {
        [Self::ClusterBackend, Self::Backend, Self::Account, Self::Key]
            .into_iter()
            .find(|k| k.stored() == name)
    }
}

/// An object that is reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Where the Lease is.
pub const LEASE_NAMESPACE: &str = "keywheel-system";
/// Its name.
pub const LEASE_NAME: &str = "keywheel";

/// The name that a process writes into the Lease.
pub fn identity(process: usize) -> String {
    format!("operator-{process}")
}

/// A process of the operator.
pub struct Actor {
    /// Its number.
    pub id: usize,
    /// Its memory; gone when it has died.
    pub memory: Option<Arc<Context>>,
    /// Its clock.
    pub clock: WallClock,
    /// When it looks at what.
    pub due: BTreeMap<ObjectKey, Instant>,
    /// What it is looking at.
    pub running: BTreeMap<ObjectKey, JoinHandle<()>>,
    /// Calls that were answered, those about the Lease left out.
    pub answered: u64,
    /// Whether its controllers run: they start when it gains the Lease for the first time, and never stop.
    pub controls: bool,
    lease: Option<JoinHandle<()>>,
    gate: Arc<Gate>,
    wire: Wire,
}

impl Actor {
    /// A process that has just started.
    pub fn new(wire: Wire, memory: Arc<Context>, clock: WallClock) -> Self {
        Self {
            id: wire.actor,
            memory: Some(memory),
            clock,
            due: BTreeMap::new(),
            running: BTreeMap::new(),
            answered: 0,
            controls: false,
            lease: None,
            gate: Arc::default(),
            wire,
        }
    }

    /// Whether it lives.
    pub fn is_alive(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether it lives and is not frozen.
    pub fn is_running(&self) -> bool {
        self.is_alive() && !self.is_frozen()
    }

    /// Whether it gets no time.
    pub fn is_frozen(&self) -> bool {
        self.gate.locked().frozen
    }

    /// It gets no time until it is woken.
    pub fn freeze(&self) {
        self.gate.locked().frozen = true;
    }

    /// It goes on where it was.
    pub fn wake(&self) {
        let waiting = {
            let mut state = self.gate.locked();
            state.frozen = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// It dies: its memory and all that it was doing are gone.
    pub fn die(&mut self) {
        self.memory = None;
        self.due.clear();
        std::mem::take(&mut self.running)
            .into_values()
            .chain(self.lease.take())
            .for_each(|task| task.abort());
    }

    /// From now on it tries to gain and to keep the Lease, as the process itself does.
    pub fn keep_lease(&mut self, duration: Duration) {
        let Some(memory) = self.memory.clone() else { return };
        let options = LeaseOptions {
            namespace: LEASE_NAMESPACE.to_owned(),
            name: LEASE_NAME.to_owned(),
            identity: identity(self.id),
            duration,
        };
        let (gate, wire) = (self.gate.clone(), self.wire.clone());
        let pass = Box::pin(async move {
            keep_lease(&memory.io, memory.clock.as_ref(), &options, &memory.leadership).await;
        });
        self.lease = Some(tokio::spawn(async move {
            Gated { gate, pass }.await;
            // Nobody listens any more once the run is over.
            drop(wire.outbox.send(Message::Deposed { actor: wire.actor }));
        }));
    }

    /// Whether it holds the Lease by its own clock.
    pub fn leads(&self) -> bool {
        self.memory.as_ref().is_some_and(|m| m.leadership.term(m.clock.since_boot()).is_some())
    }

    /// It shall look at an object, not later than this.
    pub fn look(&mut self, object: ObjectKey, at: Instant) {
        if self.is_alive() {
            let due = self.due.entry(object).or_insert(at);
            *due = at.min(*due);
        }
    }

    /// What it looks at next, of what is due and not being looked at.
    pub fn next(&self) -> Option<(&ObjectKey, Instant)> {
        self.due
            .iter()
            .filter(|(object, _)| !self.running.contains_key(*object))
            .map(|(object, at)| (object, *at))
            .min_by_key(|(object, at)| (*at, *object))
    }

    /// Begins to look at an object, which it remembers like this.
    pub fn start(&mut self, object: &ObjectKey, remembered: &Value) {
        self.due.remove(object);
        let Some(memory) = self.memory.clone() else { return };
        let pass: Pin<Box<dyn Future<Output = Action> + Send>> = match object.kind {
            Kind::ClusterBackend => {
                let guard = read::<ClusterIamBackend>(remembered);
                Box::pin(async move { sure(reconcile_backend(guard, memory).await) })
            }
            Kind::Backend => {
                let guard = read::<IamBackend>(remembered);
                Box::pin(async move { sure(reconcile_backend(guard, memory).await) })
            }
            Kind::Account => {
                let guard = read::<ServiceAccount>(remembered);
                Box::pin(async move { sure(reconcile_account(guard, memory).await) })
            }
            Kind::Key => {
                let guard = read::<ServiceAccountKey>(remembered);
                Box::pin(async move { sure(reconcile_key(guard, memory).await) })
            }
        };
        let (gate, wire, looked_at) = (self.gate.clone(), self.wire.clone(), object.clone());
        let task = tokio::spawn(async move {
            let action = Gated { gate, pass }.await;
            let done = Message::Done { actor: wire.actor, object: looked_at, action };
            // Nobody listens any more once the run is over.
            drop(wire.outbox.send(done));
        });
        self.running.insert(object.clone(), task);
    }
}

fn read<K: kube::Resource + serde::de::DeserializeOwned>(object: &Value) -> Arc<DeserializeGuard<K>> {
    // A guard copies all that it reads before it looks: most objects need none.
    let guard = K::deserialize(object).map_or_else(
        |_| serde_json::from_value(object.clone()).expect("a guard takes every object"),
        |object| DeserializeGuard(Ok(object)),
    );
    Arc::new(guard)
}

fn sure(outcome: Result<Action, std::convert::Infallible>) -> Action {
    match outcome {
        Ok(action) => action,
        Err(never) => match never {},
    }
}

/// When an action asks for another look. The field is private; its `Debug` is all there is.
pub fn requeue_after(action: &Action) -> Option<Duration> {
    let shown = format!("{action:?}");
    let inner = shown.split_once("Some(")?.1.trim_end_matches([')', ' ', '}']);
    let split = inner.find(|c: char| c.is_alphabetic() || c == 'µ')?;
    let (number, unit) = inner.split_at(split);
    let factor = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * factor).ok()
}

/// Objects of these that are not known to be done.
pub fn unfinished(actors: &[Actor]) -> BTreeSet<ObjectKey> {
    actors.iter().flat_map(|a| a.running.keys().cloned()).collect()
}

#[derive(Default)]
struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    frozen: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    fn locked(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pass that gets no time while its process is frozen: neither answers nor timeouts reach it.
struct Gated<T> {
    gate: Arc<Gate>,
    pass: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Future for Gated<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<T> {
        {
            let mut state = self.gate.locked();
            if state.frozen {
                state.waiting.push(poller.waker().clone());
                return Poll::Pending;
            }
        }
        self.pass.as_mut().poll(poller)
    }
}
