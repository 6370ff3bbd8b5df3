//! The world: both servers, the operator's processes, and the scheduler that says which of them does what when.

mod calls;
mod wakes;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use jiff::Timestamp;
use keywheel::controller::{Context, Leadership, Parts, Registry};
use keywheel::domain::{Capabilities, Timing};
use kube::runtime::controller::Action;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::calls::remembered;
use self::wakes::owner;
use crate::actor::{Actor, Kind, ObjectKey, requeue_after};
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place, Request, Server, Verb};
use crate::clock::{TrueTime, WallClock};
use crate::counts::Counts;
use crate::fate::{Director, Offer};
use crate::iam::{self, Iam, SimConnector};
use crate::oracle::Oracle;
use crate::platform::adapted;
use crate::random::SeededEntropy;
use crate::service;
use crate::trace::Trace;
use crate::wire::{Call, InFlight, Message, Reply, Wire};

/// How long the calls of everybody may take to get to where they wait, in simulated time.
const TICK: Duration = Duration::from_millis(1);

/// No run needs as many calls: one that makes them goes round in circles.
const MOST_CALLS: u64 = 100_000;

/// How a world is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything follows from it.
    pub seed: u64,
    /// Waits and caps of the operator.
    pub timing: Timing,
    /// When it begins; `None`: when every world does.
    pub begin: Option<Timestamp>,
    /// How long the Lease lasts that two processes compete for. `None`: one process alone, without a Lease.
    pub lease: Option<Duration>,
    /// What the backend can do.
    pub can: Capabilities,
}

impl Setup {
    /// With the waits of production.
    pub fn new(seed: u64) -> Self {
        Self { seed, timing: Timing::default(), begin: None, lease: None, can: iam::google() }
    }
}

struct Waiting {
    offer: Offer,
    flight: InFlight,
}

/// A request that is still on its way although its sender gave it up.
struct Underway {
    at: Duration,
    actor: usize,
    call: Call,
}

/// The world.
pub struct World {
    /// The true time.
    pub time: TrueTime,
    /// The API server.
    pub api: Shared,
    /// The IAM system.
    pub iam: Iam,
    /// The operator's processes, dead ones included.
    pub actors: Vec<Actor>,
    /// What must hold.
    pub oracle: Oracle,
    /// What happened.
    pub trace: Trace,
    /// What was counted.
    pub counts: Counts,
    setup: Setup,
    outbox: mpsc::UnboundedSender<Message>,
    inbox: mpsc::UnboundedReceiver<Message>,
    waiting: Vec<Waiting>,
    silenced: Vec<oneshot::Sender<Reply>>,
    underway: Vec<Underway>,
    calls: u64,
    changes_seen: u64,
    most_at_once: usize,
    pairs: Arc<AtomicUsize>,
}

impl World {
    /// A world with nothing in it but a cluster and an IAM system.
    pub fn new(setup: Setup) -> Self {
        let time = setup.begin.map_or_else(TrueTime::begin, TrueTime::begin_at);
        let (outbox, inbox) = mpsc::unbounded_channel();
        let server = Server::new(setup.seed, time.now());
        let changes_seen = server.store.version();
        let mut iam = Iam::new(setup.seed);
        iam.can = setup.can.clone();
        Self {
            time,
            api: Shared::new(server),
            iam,
            actors: Vec::new(),
            oracle: Oracle::default(),
            trace: Trace::default(),
            counts: Counts::default(),
            setup,
            outbox,
            inbox,
            waiting: Vec::new(),
            silenced: Vec::new(),
            underway: Vec::new(),
            calls: 0,
            changes_seen,
            most_at_once: 1,
            pairs: Arc::default(),
        }
    }

    /// Waits and caps of the operator.
    pub fn timing(&self) -> &Timing {
        &self.setup.timing
    }

    /// How long the Lease lasts, where there is one.
    pub fn lease(&self) -> Option<Duration> {
        self.setup.lease
    }

    /// A process of the operator starts. Without a Lease it begins to work at once.
    pub fn start_operator(&mut self) -> usize {
        let id = self.actors.len();
        let wire = Wire { actor: id, outbox: self.outbox.clone() };
        let clock = WallClock::new(self.time, u32::try_from(id).expect("few processes"));
        let exchange = Arc::new(wire.clone());
        let process = u64::try_from(id).expect("few processes");
        let leadership = match self.setup.lease {
            None => Leadership::unlimited(),
            Some(_) => Leadership::default(),
        };
        let memory = Arc::new(Context::new(Parts {
            client: service::client(self.api.clone(), exchange),
            timing: self.setup.timing.clone(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.setup.seed, process, self.pairs.clone())),
            leadership,
            backends: Registry::new(
                Arc::new(SimConnector { line: Arc::new(wire.clone()), can: self.setup.can.clone() }),
                "keywheel-system".to_owned(),
                None,
            ),
            cluster_id: "sim".to_owned(),
        }));
        let mut actor = Actor::new(wire, memory, clock);
        if let Some(duration) = self.setup.lease {
            actor.keep_lease(duration);
        }
        self.note(&format!("A{id} starts"));
        self.actors.push(actor);
        if self.setup.lease.is_none() {
            self.start_controllers(id);
        }
        id
    }

    /// A second process where there is a Lease, so that one stands by.
    pub fn start_all(&mut self) {
        let wanted = if self.setup.lease.is_some() { 2 } else { 1 };
        while self.actors.iter().filter(|a| a.is_alive()).count() < wanted {
            self.start_operator();
        }
    }

    /// The controllers of a process start and list everything.
    fn start_controllers(&mut self, id: usize) {
        let Some(memory) = self.actors[id].memory.clone() else { return };
        let now = Instant::now();
        let objects: Vec<(Place, Arc<Value>)> =
            self.api.with(|s| s.store.all().map(|(p, o)| (p.clone(), o.clone())).collect());
        let actor = &mut self.actors[id];
        actor.controls = true;
        for (place, object) in objects {
            if let Some(kind) = Kind::of_stored(&place.kind) {
                actor.look(ObjectKey { kind, namespace: place.namespace, name: place.name }, now);
            } else if let Some(owner) = owner(&memory, &place, &object) {
                actor.look(owner, now);
            }
        }
    }

    /// Who leads for the first time starts its controllers.
    fn start_leaders(&mut self) {
        let gained = |a: &&Actor| a.is_running() && !a.controls && a.leads();
        let leaders: Vec<usize> = self.actors.iter().filter(gained).map(|a| a.id).collect();
        for id in leaders {
            self.note(&format!("A{id} leads"));
            self.start_controllers(id);
        }
    }

    /// A process dies.
    pub fn kill(&mut self, id: usize) {
        self.note(&format!("A{id} dies"));
        self.actors[id].die();
        self.actors[id].wake();
        self.waiting.retain(|w| w.flight.actor != id);
    }

    /// The processes that are not frozen.
    pub fn running(&self) -> Vec<usize> {
        self.actors.iter().filter(|a| a.is_running()).map(|a| a.id).collect()
    }

    /// Something that belongs into the trace.
    pub fn note(&mut self, line: &str) {
        self.trace.note(self.time.elapsed(), line.to_owned(), "");
    }

    /// Runs until this much time has gone by since the world began.
    pub async fn run_until(&mut self, end: Duration, director: &mut dyn Director) {
        while self.time.elapsed() < end && self.oracle.violations().is_empty() {
            self.turn(end, director).await;
        }
    }

    /// Lets one thing happen, or waits until one can, `end` at the latest.
    pub async fn turn(&mut self, end: Duration, director: &mut dyn Director) {
        if !self.step(director).await {
            self.wait(end).await;
        }
    }

    /// Runs for so long.
    pub async fn run_for(&mut self, length: Duration, director: &mut dyn Director) {
        self.run_until(self.time.elapsed() + length, director).await;
    }

    /// Waits until something is due, or somebody does something.
    async fn wait(&mut self, end: Duration) {
        let free = |a: &&Actor| a.is_running() && a.controls && a.running.len() < self.most_at_once;
        let idle = self.actors.iter().filter(free);
        let looks = idle.filter_map(|a| a.next().map(|(_, at)| at));
        let arrivals = self.underway.iter().map(|u| self.time.instant(u.at));
        let next = looks.chain(arrivals).min().unwrap_or_else(|| self.time.instant(end));
        let until = next.min(self.time.instant(end));
        if let Ok(Some(message)) = tokio::time::timeout_at(until, self.inbox.recv()).await {
            self.hear(message);
        }
    }

    /// Lets one thing happen. `false`: nothing can happen now.
    pub async fn step(&mut self, director: &mut dyn Director) -> bool {
        // The clock only moves when every process waits for something: after this all calls are here.
        tokio::time::sleep(TICK).await;
        while let Ok(message) = self.inbox.try_recv() {
            self.hear(message);
        }
        self.arrive(director);
        if !self.waiting.is_empty() {
            let offers: Vec<Offer> = self.waiting.iter().map(|w| w.offer.clone()).collect();
            let chosen = director.choose(&offers).min(offers.len() - 1);
            let Waiting { offer, flight } = self.waiting.remove(chosen);
            if let Some(deed) = director.meanwhile(&offer) {
                crate::people::act(self, &deed);
            }
            let fate = if offer.lease { director.lease_fate(&offer) } else { director.fate(&offer) };
            self.perform(offer, flight, fate, director);
            return true;
        }
        self.start_next(director)
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Call(flight) if !self.actors[flight.actor].is_alive() => drop(flight),
            Message::Call(flight) if flight.call.is_event() => {
                // Nothing rests on an event; it is judged, answered and forgotten.
                let now = self.time.now();
                self.oracle.before(Some(flight.actor), &flight.call, &self.api, &self.iam, now);
                let Call::Api(request) = flight.call else { return };
                drop(flight.reply.send(Reply::Api((201, request.body))));
            }
            Message::Call(flight) => {
                self.oracle.sent(flight.actor, &flight.call, &self.api, self.time.now());
                if self.setup.lease.is_some() {
                    self.oracle.sends(flight.actor, &flight.call, &self.api);
                }
                let lease = flight.call.is_about_lease();
                self.calls += u64::from(!lease);
                if self.calls > MOST_CALLS {
                    self.oracle
                        .report("Convergence", format!("there is no end to calls:\n{}", self.tail(40)));
                }
                let offer = Offer {
                    actor: flight.actor,
                    number: self.calls,
                    mutating: flight.call.is_mutating(),
                    to_iam: matches!(flight.call, Call::Iam(_)),
                    lease,
                    summary: flight.call.summary(),
                };
                self.waiting.push(Waiting { offer, flight });
            }
            Message::Deposed { actor } => {
                if self.actors[actor].is_alive() {
                    self.note(&format!("A{actor} finds that the Lease is another's, and ends"));
                    self.kill(actor);
                }
            }
            Message::Done { actor, object, action } => self.done(actor, object, &action),
        }
    }

    fn done(&mut self, id: usize, object: ObjectKey, action: &Action) {
        let actor = &mut self.actors[id];
        actor.running.remove(&object);
        if let Some(after) = requeue_after(action) {
            actor.look(object, Instant::now() + after);
        }
    }

    /// Requests that were on their way arrive.
    fn arrive(&mut self, director: &mut dyn Director) {
        let now = self.time.elapsed();
        while let Some(index) = self.underway.iter().position(|u| u.at <= now) {
            let Underway { actor, call, .. } = self.underway.remove(index);
            self.note(&format!("A{actor} LATE {}", call.summary()));
            self.apply(&call, Some(actor), Some(director));
        }
    }

    fn start_next(&mut self, director: &mut dyn Director) -> bool {
        self.start_leaders();
        let now = Instant::now();
        let most = director.concurrency();
        self.most_at_once = most;
        let may_start = |a: &&mut Actor| a.is_running() && a.controls && a.running.len() < most;
        for actor in self.actors.iter_mut().filter(may_start) {
            let Some((object, _)) = actor.next().filter(|(_, at)| *at <= now) else { continue };
            let object = object.clone();
            let place = Place {
                kind: object.kind.stored().to_owned(),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            };
            let behind = director.behind();
            match self.api.with(|s| s.store.get(&place).map(|o| remembered(&s.store, &place, o, behind))) {
                Some(remembered) => actor.start(&object, &remembered),
                // Gone from the cache, too.
                None => {
                    actor.due.remove(&object);
                }
            }
            return true;
        }
        false
    }

    /// A person does something. What a person breaks is no violation.
    pub fn person<T>(&mut self, what: &str, act: impl FnOnce(&mut Server, &mut Iam, Timestamp) -> T) -> T {
        self.note(&format!("PERSON {what}"));
        let now = self.time.now();
        let iam = &mut self.iam;
        let outcome = self.api.with(|server| act(server, iam, now));
        self.settle(None, true, None);
        outcome
    }

    /// A person sends a request; the answer's status.
    pub fn request(&mut self, request: &Request) -> u16 {
        let what = request.summary();
        let whole = matches!(request.verb, Verb::Create | Verb::Update);
        let mut request = request.clone();
        request.body = adapted(&request.resource.kind, whole, &request.body, &self.setup.can);
        self.person(&what, |server, _, now| server.handle(&request, now).0)
    }

    /// Whether nobody is doing anything.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
            && self.underway.is_empty()
            && self.actors.iter().all(|a| a.running.is_empty())
    }

    /// Number of the last call.
    pub fn calls(&self) -> u64 {
        self.calls
    }
}

/// Whether an object is gone.
pub fn is_gone(change: &Change) -> bool {
    change.kind == ChangeKind::Deleted
}
