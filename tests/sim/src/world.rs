//! The world: both servers, the operator's processes, and the scheduler that says which of them does what when.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use jiff::Timestamp;
use keywheel::controller::{Context, Leadership, Parts, Registry, owner_of};
use keywheel::domain::Timing;
use kube::runtime::controller::Action;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::actor::{Actor, Kind, ObjectKey, requeue_after};
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place, Refusal, Request, Server, Store};
use crate::clock::{TrueTime, WallClock};
use crate::counts::Counts;
use crate::fate::{Director, Fate, Loss, No, Offer, Waking};
use crate::iam::{Iam, SimConnector};
use crate::oracle::Oracle;
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
    /// Whether the backend can disable keys.
    pub can_disable: bool,
    /// Whether the backend can say which key an attempt made.
    pub names_attempts: bool,
}

impl Setup {
    /// With the waits of production.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            timing: Timing::default(),
            begin: None,
            lease: None,
            can_disable: true,
            names_attempts: false,
        }
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
        iam.can_disable = setup.can_disable;
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
                Arc::new(SimConnector {
                    line: Arc::new(wire.clone()),
                    can_disable: self.setup.can_disable,
                    names_attempts: self.setup.names_attempts,
                }),
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
                self.oracle.sent(flight.actor, &flight.call, self.time.now());
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

    fn perform(&mut self, offer: Offer, flight: InFlight, fate: Fate, director: &mut dyn Director) {
        let InFlight { actor, call, reply } = flight;
        if fate.is_fault() {
            self.counts.faults += u64::from(!offer.lease);
            self.note(&format!("A{actor} #{} {} FATE {fate:?}", offer.number, offer.summary));
        }
        self.actors[actor].answered += u64::from(!offer.lease);
        match fate {
            Fate::Deliver => {
                let answer = self.apply(&call, Some(actor), Some(director));
                drop(reply.send(answer));
            }
            Fate::Freeze(waking) => {
                let answer = self.apply(&call, Some(actor), Some(director));
                self.actors[actor].freeze();
                match waking {
                    Waking::Answered => drop(reply.send(answer)),
                    Waking::TimedOut => self.lose(&call, reply, Loss::Silence),
                }
            }
            Fate::Refuse(no) => drop(reply.send(refused(&call, no))),
            Fate::LoseAnswer(loss) => {
                self.apply(&call, Some(actor), Some(director));
                self.lose(&call, reply, loss);
            }
            Fate::LoseCall(loss) => self.lose(&call, reply, loss),
            Fate::Late(loss, after) => {
                self.underway.push(Underway { at: self.time.elapsed() + after, actor, call: call.clone() });
                self.lose(&call, reply, loss);
            }
            Fate::CrashBefore => self.kill(actor),
            Fate::CrashAfter => {
                self.apply(&call, Some(actor), Some(director));
                self.kill(actor);
            }
            Fate::CrashLate(after) => {
                self.underway.push(Underway { at: self.time.elapsed() + after, actor, call });
                self.kill(actor);
            }
            Fate::Stale(back) => {
                let answer =
                    self.stale(&call, back).unwrap_or_else(|| self.apply(&call, Some(actor), Some(director)));
                drop(reply.send(answer));
            }
        }
    }

    /// A list of keys or a policy as it was a while ago. All other reads are quorum reads.
    fn stale(&mut self, call: &Call, back: usize) -> Option<Reply> {
        let Call::Iam(asked) = call else { return None };
        let lag = Duration::from_secs(u64::try_from(back).ok()?).min(self.setup.timing.list_lag);
        let then = self.time.now() - jiff::SignedDuration::try_from(lag).ok()?;
        if matches!(**asked, crate::iam::Call::ReadPolicy { .. }) {
            let policy = Box::new(self.iam.policy.at(then).clone());
            return Some(Reply::Iam(Ok(crate::iam::Answer::Policy(policy))));
        }
        let crate::iam::Call::ListKeys { account } = &**asked else { return None };
        let now = self.time.now();
        let Ok(crate::iam::Answer::Keys { keys, time }) =
            self.iam.apply(&crate::iam::Call::ListKeys { account: account.clone() }, now)
        else {
            return None;
        };
        let keys = keys.into_iter().filter(|k| k.created_at.is_none_or(|at| at <= then)).collect();
        Some(Reply::Iam(Ok(crate::iam::Answer::Keys { keys, time })))
    }

    fn lose(&mut self, call: &Call, reply: oneshot::Sender<Reply>, loss: Loss) {
        match loss {
            Loss::Reset => drop(reply),
            Loss::Silence => self.silenced.push(reply),
            Loss::Failure => {
                let no = match call {
                    Call::Api(_) => No::Api(504, "Timeout"),
                    Call::Iam(_) => No::Iam(7),
                };
                drop(reply.send(refused(call, no)));
            }
        }
    }

    /// Applies a call of a process, checks what must hold, and tells everybody who watches.
    fn apply(&mut self, call: &Call, actor: Option<usize>, director: Option<&mut dyn Director>) -> Reply {
        let now = self.time.now();
        self.oracle.before(actor, call, &self.api, &self.iam, now);
        let (reply, outcome, body) = match call {
            Call::Api(request) => {
                let answer = self.api.with(|s| s.handle(request, now));
                let outcome = answer.0.to_string();
                let body = match &request.body {
                    Value::Null => String::new(),
                    body => serde_json::to_string(body).expect("a value is a document"),
                };
                (Reply::Api(answer), outcome, body)
            }
            Call::Iam(asked) => {
                let answer = self.iam.apply(asked, now);
                let outcome = match &answer {
                    Ok(_) => "ok".to_owned(),
                    Err(refusal) => refusal.status.to_string(),
                };
                (Reply::Iam(answer), outcome, String::new())
            }
        };
        if call.is_about_lease() {
            let line = format!("A{actor:?} {} -> {outcome}", call.summary());
            self.trace.note_silently(self.time.elapsed(), &line, &body);
            self.changes_seen = self.api.with(|s| s.store.version());
            return reply;
        }
        if !call.is_event()
            && let Some(actor) = actor
        {
            self.counts.count(call, &reply);
            let line = format!("A{actor} {} -> {outcome}", call.summary());
            self.trace.note(self.time.elapsed(), line, &body);
        }
        self.settle(actor, call.is_mutating(), director);
        self.oracle.after_call(actor, call, &reply);
        reply
    }

    /// After a change: the cluster's own controllers, the watches, the oracle.
    fn settle(&mut self, actor: Option<usize>, changed: bool, director: Option<&mut dyn Director>) {
        let now = self.time.now();
        if self.api.with(|s| s.store.version()) != self.changes_seen {
            while self.api.with(|s| s.collect(now)) {}
        }
        let changes: Vec<Change> = self.api.with(|s| s.store.since(self.changes_seen).to_vec());
        if let Some(last) = changes.last() {
            self.changes_seen = last.version;
        }
        if changes.is_empty() && !changed {
            return;
        }
        for change in &changes {
            self.oracle.saw(actor, change, &self.api, &self.iam, now);
        }
        self.tell(&changes, director);
        let report = self.oracle.check(&self.api, &self.iam, actor, now);
        for line in report {
            self.note(&line);
        }
    }

    /// A call in the name of a process that its code never made: for the proof that somebody would notice.
    pub fn forge(&mut self, actor: usize, call: Call) -> Reply {
        self.oracle.sent(actor, &call, self.time.now());
        if self.setup.lease.is_some() {
            self.oracle.sends(actor, &call, &self.api);
        }
        self.apply(&call, Some(actor), None)
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
        self.person(&what, |server, _, now| server.handle(request, now).0)
    }

    /// What watches would tell the processes.
    fn tell(&mut self, changes: &[Change], mut director: Option<&mut dyn Director>) {
        let at = Instant::now();
        for change in changes {
            let referring = self.referring(change);
            for index in 0..self.actors.len() {
                // One that stands by lists everything when it begins.
                if !self.actors[index].is_alive() || !self.actors[index].controls {
                    continue;
                }
                if !director.as_mut().is_none_or(|d| d.hears(index)) {
                    self.note(&format!("A{index} misses {:?} {}", change.kind, change.place));
                    continue;
                }
                let actor = &mut self.actors[index];
                if let Some(kind) = Kind::of_stored(&change.place.kind) {
                    let place = change.place.clone();
                    actor.look(ObjectKey { kind, namespace: place.namespace, name: place.name }, at);
                }
                for object in &referring {
                    actor.look(object.clone(), at);
                }
                if let Some(memory) = &actor.memory
                    && let Some(owner) = owner(memory, &change.place, &change.object)
                {
                    actor.look(owner, at);
                }
            }
        }
    }

    /// What else is looked at when an object changes, as the operator's watches have it.
    fn referring(&self, change: &Change) -> Vec<ObjectKey> {
        let place = &change.place;
        let of = |kind: Kind, namespace: &str, path: &str, value: &str| -> Vec<ObjectKey> {
            self.api.with(|s| {
                let all = s.store.list(kind.stored(), None);
                all.filter(|(p, o)| {
                    (namespace.is_empty() || p.namespace == namespace)
                        && o.pointer(path).and_then(Value::as_str) == Some(value)
                })
                .map(|(p, _)| ObjectKey { kind, namespace: p.namespace.clone(), name: p.name.clone() })
                .collect()
            })
        };
        match Kind::of_stored(&place.kind) {
            Some(Kind::ClusterBackend) => of(Kind::Account, "", "/spec/backendRef/name", &place.name),
            Some(Kind::Backend) => of(Kind::Account, &place.namespace, "/spec/backendRef/name", &place.name),
            Some(Kind::Account) => {
                let mut all = of(Kind::Key, &place.namespace, "/spec/serviceAccountRef/name", &place.name);
                if let Some(backend) = change.object.pointer("/spec/backendRef/name").and_then(Value::as_str)
                {
                    let (kind, namespace) = match change.object.pointer("/spec/backendRef/kind") {
                        Some(kind) if kind == "IamBackend" => (Kind::Backend, place.namespace.clone()),
                        _ => (Kind::ClusterBackend, String::new()),
                    };
                    all.push(ObjectKey { kind, namespace, name: backend.to_owned() });
                }
                all
            }
            Some(Kind::Key) if !change.object["metadata"]["deletionTimestamp"].is_null() => {
                let account = change.object.pointer("/spec/serviceAccountRef/name").and_then(Value::as_str);
                account
                    .map(|name| ObjectKey {
                        kind: Kind::Account,
                        namespace: place.namespace.clone(),
                        name: name.to_owned(),
                    })
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
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

/// The key that a Secret belongs to, as the operator's watch finds it.
fn owner(memory: &Context, place: &Place, object: &Value) -> Option<ObjectKey> {
    if place.kind != "secrets"
        || object.pointer("/metadata/labels/keywheel.dev~1owned").is_none_or(|v| v != "true")
    {
        return None;
    }
    let metadata = serde_json::json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
    });
    let partial = serde_json::from_value(metadata).ok()?;
    let found = owner_of(memory, &partial)?;
    Some(ObjectKey { kind: Kind::Key, namespace: found.namespace?, name: found.name })
}

/// An object as a process remembers it that did not hear of its last changes.
fn remembered(store: &Store, place: &Place, now: &Arc<Value>, behind: usize) -> Arc<Value> {
    let before = (1..=behind).rev().filter_map(|back| store.earlier(place, back));
    let same = |o: &Arc<Value>| o["metadata"]["uid"] == now["metadata"]["uid"];
    before.into_iter().find(same).unwrap_or_else(|| now.clone())
}

fn refused(call: &Call, no: No) -> Reply {
    match (call, no) {
        (Call::Api(_), No::Api(code, reason)) => {
            Reply::Api((code, Refusal::failure(code, reason, format!("a fault: {reason}")).body()))
        }
        (Call::Iam(_), No::Iam(index)) => Reply::Iam(Err(No::refusal(index))),
        (Call::Api(_), No::Iam(_)) => {
            Reply::Api((503, Refusal::failure(503, "ServiceUnavailable", "a fault").body()))
        }
        (Call::Iam(_), No::Api(..)) => Reply::Iam(Err(No::refusal(7))),
    }
}

/// Whether an object is gone.
pub fn is_gone(change: &Change) -> bool {
    change.kind == ChangeKind::Deleted
}
