//! Kill everything at the worst moments while keys are made and rotated, with a client that uses the Secrets all the time.
//! At the end: no key without a ledger, no client that was refused, every object Ready.
//!
//! `KEYWHEEL_CHAOS_KILLS` says how many kills of the operator (10 in the tests, 100 in `make chaos`). The IAM server and
//! the API server are killed in between, with the operator or beside it.

mod client;
mod rows;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use keywheel_testbed::audit;
use keywheel_testbed::control_plane::{OPERATOR_NAMESPACE, OPERATOR_USER};
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::process::Signal;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use self::client::Client;
use self::rows::{Hits, ROWS, Row, Scene};
use super::case::{Case, SOON, condition};
use super::kube::path;
use super::trial;
use super::world::{Own, World, program};

pub fn trials() -> Vec<Trial> {
    vec![trial("chaos::kills_at_the_worst_moments_leak_nothing_and_refuse_no_client", chaos)]
}

/// Windows that can be waited for, and calls that end well within them.
const TIMING: &str = r#"{"settle": 1500, "backoffBase": 300, "backoffCap": 2000, "retryBase": 100, "retryCap": 1000,
    "proofBase": 200, "driftBase": 500, "driftCap": 2000, "probe": 3000, "audit": 5000, "callTimeout": 1500,
    "sendWindow": 2000, "horizon": 5000, "listLag": 1500, "burnWindow": 4000}"#;

/// How long the Lease lasts.
const LEASE: &str = "3s";
/// How long one row is waited for before the kill falls where it falls.
const PATIENCE: Duration = Duration::from_secs(6);
/// From so many kills on, the figures of the whole run are asked for.
const WHOLE: usize = 100;
/// More on one account would meet the limit of ten keys.
const KEYS_OF_AN_ACCOUNT: usize = 3;

/// What else is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    Iam,
    ApiServer,
}

struct Chaos<'w> {
    case: Case<'w>,
    /// Name and id of each account.
    accounts: Vec<(String, String)>,
    keys: Vec<String>,
    hits: Hits,
    strikes: BTreeMap<Strike, usize>,
    intents: Intents,
    /// Kills that left an attempt between its intent and its record.
    between: usize,
    /// Keys that were found covered, over all kills.
    covered: usize,
}

fn kills() -> usize {
    std::env::var("KEYWHEEL_CHAOS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

fn chaos() {
    let kills = kills();
    let world = World::own(Own { timing: Some(TIMING), lease: Some(LEASE), ..Own::default() });
    let mut chaos = Chaos::begin(&world, if kills >= WHOLE { 5 } else { 2 });
    let secrets: Vec<String> = chaos.keys.iter().map(|name| chaos.case.path("secret", name)).collect();
    let (client, started) = (Client::default(), Instant::now());
    std::thread::scope(|scope| {
        let user = scope.spawn(|| client.use_secrets(&world.kube, &secrets));
        let outcome = catch_unwind(AssertUnwindSafe(|| chaos.kill(&world, kills)));
        client.stop();
        let served = user.join();
        outcome.and(served).unwrap_or_else(|panic| resume_unwind(panic));
    });
    let published = chaos.settle();
    eprintln!(
        "{kills} kills of the operator in {:.0?}, {} of them between an intent and its record; beside them {:?}; \
         {published} keys published; {} exchanges, none refused but {} that were read too long before; {} requests \
         while a server was down; {} keys looked at, all covered",
        started.elapsed(),
        chaos.between,
        chaos.strikes,
        client.exchanges(),
        client.late(),
        client.no_server(),
        chaos.covered,
    );
    for row in ROWS {
        eprintln!("  {row:?}: found by the next process after {} kills", chaos.hits.of(row));
    }
    assert!(client.exchanges() > 100 * kills / 10, "the client hardly worked");
    if kills >= WHOLE {
        assert!(published >= 300, "only {published} creates and rotations");
        assert!(chaos.between >= 60, "only {} kills between an intent and its record", chaos.between);
        for row in ROWS {
            assert!(chaos.hits.of(row) >= 3, "{row:?} was hit {} times", chaos.hits.of(row));
        }
    }
}

impl<'w> Chaos<'w> {
    fn begin(world: &'w World, accounts: usize) -> Self {
        let case = Case::new(world, "chaos");
        let accounts: Vec<(String, String)> =
            (0..accounts).map(|n| (format!("account-{n}"), format!("{}-{n}", case.name))).collect();
        let mut keys = Vec::new();
        for (name, id) in &accounts {
            case.account_named(name, id, &json!({}));
            case.ready("iamsa", name);
        }
        for n in 0..accounts.len() * KEYS_OF_AN_ACCOUNT {
            let account = &accounts[n % accounts.len()].0;
            let source = if n % 4 == 3 { "Local" } else { "Backend" };
            let rotation = json!({"every": "10s", "overlap": "5s", "deleteAfter": "1s"});
            let spec =
                json!({"serviceAccountRef": {"name": account}, "keySource": source, "rotation": rotation});
            case.key(&format!("key-{n}"), &spec);
            keys.push(format!("key-{n}"));
        }
        for name in &keys {
            case.ready("iamsak", name);
        }
        let chaos = Self {
            case,
            accounts,
            keys,
            hits: Hits::default(),
            strikes: BTreeMap::new(),
            intents: Intents::default(),
            between: 0,
            covered: 0,
        };
        chaos.slow_down();
        chaos
    }

    /// Makes calls wide enough for a kill to fall between. A server that was killed has forgotten it.
    fn slow_down(&self) {
        for operation in ["keys.create", "keys.upload", "keys.disable", "keys.delete"] {
            let action = json!({"delay": {"millis": 60}});
            let fault = json!({"operation": operation, "action": action, "times": 1_000_000});
            self.case.iam().fault(&fault).unwrap();
        }
    }

    /// Makes keys of which nobody hears, one after the other, until an attempt is seen that was given up and not fenced yet.
    fn lose_an_answer(&self) {
        let iam = self.case.iam();
        let patience = Instant::now() + PATIENCE * 4;
        while Instant::now() < patience {
            let mark = iam.mark().unwrap();
            // The oldest fault hits first.
            iam.clear_faults().unwrap();
            iam.fault(&json!({"operation": "keys.create", "action": "apply_then_drop"})).unwrap();
            self.slow_down();
            let lost =
                || iam.requests_since(mark).unwrap().iter().any(|r| r.raw["fault"] == "apply_then_drop");
            while Instant::now() < patience && !lost() {}
            let marked = Instant::now() + PATIENCE / 2;
            while Instant::now() < marked {
                if self.any_lost() {
                    return;
                }
            }
        }
    }

    /// Whether an attempt is marked lost that is not fenced. Of the status alone: a whole scene takes longer than a fence.
    fn any_lost(&self) -> bool {
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        let mut lost = objects.iter().flat_map(|o| o["status"]["lost"].as_array().into_iter().flatten());
        lost.any(|attempt| attempt["fenced"] != true)
    }

    /// Kills the operator again and again, each time where it was hit least, and has it get on in between.
    fn kill(&mut self, world: &World, kills: usize) {
        // So many between two kills that a whole run comes to the three hundred that are asked of it.
        let rotations = if kills >= WHOLE { 3 } else { 1 };
        for n in 0..kills {
            // Of eight rounds, two lose a server while the operator lives, and two lose one together with it.
            match n % 8 {
                1 => self.strike(Strike::Iam),
                5 => self.strike(Strike::ApiServer),
                _ => {}
            }
            // Where nobody has recorded yet what was made, keys leak: two of three kills are to fall there.
            let behind = self.hits.all_often() && self.between * 3 < n * 2;
            let wanted = if behind { Row::Intent } else { self.hits.least() };
            let victim = (wanted == Row::SecretDeleted).then(|| format!("victim-{n}"));
            if let Some(victim) = &victim {
                let rotation = json!({"overlap": "1s", "deleteAfter": "1s"});
                let account = &self.accounts[0].0;
                let spec = json!({"serviceAccountRef": {"name": account}, "rotation": rotation});
                self.case.key(victim, &spec);
                self.case.ready("iamsak", victim);
            }
            let rival = self.provoke(wanted, victim.as_deref(), n);
            match &rival {
                Some(rival) => rival.kill9().unwrap(),
                None => world.operator().kill9().unwrap(),
            };
            match n % 8 {
                3 => self.strike(Strike::Iam),
                7 => self.strike(Strike::ApiServer),
                _ => {}
            }
            self.between += usize::from(self.intents.open(world));
            let scene = self.scene();
            self.covered += scene.assert_covered();
            let mut rows = scene.rows();
            rows.extend(rival.map(|_| Row::Woken));
            eprintln!(
                "kill {}: {wanted:?} was tried, {rows:?} found; {} so far between an intent and its record",
                n + 1,
                self.between
            );
            self.hits.add(rows);
            world.operator().restart().unwrap();
            let before = self.rotations();
            self.case.until("progress after a kill", || {
                let now = self.rotations();
                if now >= before + rotations { Ok(()) } else { Err(json!(now)) }
            });
        }
    }

    /// Kills a server in the middle of whatever it does, and starts it again.
    fn strike(&mut self, strike: Strike) {
        *self.strikes.entry(strike).or_default() += 1;
        match strike {
            Strike::Iam => {
                self.case.iam().restart().unwrap();
                self.slow_down();
            }
            Strike::ApiServer => self.case.world.cp().restart_api_server().unwrap(),
        }
    }

    /// Waits until a kill is likely to hit there. What it hit is read afterwards; how long after the last sign is what is
    /// tried out. Who leads now, if it is not the operator any more.
    fn provoke(&self, wanted: Row, victim: Option<&str>, n: usize) -> Option<Operator> {
        let offset = Duration::from_millis(u64::try_from(n % 12).unwrap_or(0));
        let mark = self.case.iam().mark().unwrap();
        // Looked for without a pause: what lies between two requests lasts a few milliseconds.
        let called = |operation: &str| {
            let patience = Instant::now() + SOON;
            loop {
                let calls = self.case.iam().requests_since(mark).unwrap();
                // The client's exchanges are not what is waited for.
                let ours = |agent: &Value| !agent.as_str().is_some_and(|a| a.starts_with("ureq/"));
                if calls.iter().any(|c| c.operation == operation && ours(&c.raw["user_agent"])) {
                    return;
                }
                assert!(Instant::now() < patience, "no {operation} in {} requests", calls.len());
            }
        };
        match wanted {
            Row::Lost => {
                self.lose_an_answer();
                return None;
            }
            Row::Intent | Row::Staged => {
                let patience = Instant::now() + PATIENCE;
                while Instant::now() < patience && !self.scene().rows().contains(&wanted) {}
                return None;
            }
            Row::Fenced => {
                self.step_to(wanted);
                return None;
            }
            Row::Woken => {
                called("keys.create");
                return Some(self.depose());
            }
            Row::Created => called("keys.create"),
            Row::Published | Row::Recorded => called("token"),
            Row::Ended => called(if n.is_multiple_of(2) { "keys.disable" } else { "keys.delete" }),
            Row::SecretDeleted => {
                let name = victim.unwrap_or_default();
                self.case.delete("iamsak", name);
                self.case.gone("secret", name);
                return None;
            }
        }
        // No synchronization: the moment of the kill is what is tried out.
        std::thread::sleep(offset * if wanted == Row::Recorded { 3 } else { 1 });
        None
    }

    /// Lets the operator run for a millisecond at a time until it stands there: what lies between two requests passes too
    /// fast to be seen otherwise.
    fn step_to(&self, wanted: Row) {
        let world = self.case.world;
        self.lose_an_answer();
        let patience = Instant::now() + PATIENCE * 2;
        loop {
            world.operator().process().signal(Signal::STOP).unwrap();
            if self.scene().rows().contains(&wanted) || Instant::now() > patience {
                return;
            }
            world.operator().process().signal(Signal::CONT).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Pauses the operator with an answer on its way, until another process leads and has given up its attempts; then
    /// lets it wake, and end by itself, while that one stands still.
    fn depose(&self) -> Operator {
        let world = self.case.world;
        world.operator().process().signal(Signal::STOP).unwrap();
        let left: Vec<(Value, Value)> =
            self.attempts().into_iter().filter(|(_, nonce)| nonce.is_string()).collect();
        let holder = holder(world);
        let rival = Operator::start(OperatorOptions {
            program: Some(program()),
            kubeconfig: world.cp().operator_kubeconfig().unwrap(),
            embedded_endpoint: Some(world.iam.url().to_owned()),
            args: vec!["--lease-duration".to_owned(), LEASE.to_owned()],
            test_timing: Some(TIMING.to_owned()),
            ..OperatorOptions::default()
        });
        let rival = rival.unwrap();
        self.case.until("another leader", || match self::holder(world) {
            now if now != holder && !now.is_empty() => Ok(()),
            now => Err(json!(now)),
        });
        self.case.until("the attempts to be given up", || {
            let open = self.attempts();
            if left.iter().any(|attempt| open.contains(attempt)) { Err(json!(open)) } else { Ok(()) }
        });
        rival.process().signal(Signal::STOP).unwrap();
        world.operator().process().signal(Signal::CONT).unwrap();
        let status = world.operator().process().wait(SOON).unwrap();
        assert!(status.is_some_and(|status| !status.success()), "the old leader goes on: {status:?}");
        rival
    }

    /// Objects with the nonces of their open attempts.
    fn attempts(&self) -> Vec<(Value, Value)> {
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        objects
            .iter()
            .map(|o| (o["metadata"]["uid"].clone(), o["status"]["pending"]["nonce"].clone()))
            .collect()
    }

    fn scene(&self) -> Scene {
        let kube = &self.case.world.kube;
        let owned = format!("{}?labelSelector=keywheel.dev/owned", self.case.path("secret", ""));
        Scene {
            objects: kube.list(&self.case.path("iamsak", "")),
            secrets: kube.list(&owned),
            listed: self
                .accounts
                .iter()
                .map(|(name, id)| (name.clone(), self.case.person.keys(id)))
                .collect(),
        }
    }

    fn rotations(&self) -> u64 {
        let keys = self.case.world.kube.list(&self.case.path("iamsak", ""));
        keys.iter().map(|key| key["status"]["rotations"].as_u64().unwrap_or(0)).sum()
    }

    /// With the wheels stopped all comes to rest: one key each, in the ledger and at the backend. How many were published.
    fn settle(&self) -> u64 {
        self.case.iam().clear_faults().unwrap();
        let still = json!({"spec": {"rotation": {"every": null, "overlap": "1s", "deleteAfter": "1s"}}});
        let mut owned = Vec::new();
        let mut published = 0;
        for object in self.scene().objects {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if object["metadata"]["deletionTimestamp"].is_string() {
                self.case.gone("iamsak", &name);
                continue;
            }
            self.case.patch("iamsak", &name, &still);
            let object = self.case.when("iamsak", &name, "at rest", |key| {
                let status = &key["status"];
                let empty = ["pending", "lost", "suspects"].iter().all(|field| status[field].is_null());
                let one = status["keys"].as_array().is_some_and(|keys| keys.len() == 1);
                empty && one && condition(key, "Ready")["status"] == "True"
            });
            published += object["status"]["rotations"].as_u64().unwrap_or(0) + 1;
            owned.push(self.case.active(&name));
        }
        self.case.unstaged();
        let listed = self.scene().listed.into_values().flatten();
        let mut listed: Vec<String> = listed.map(|key| key.id).collect();
        owned.sort();
        listed.sort();
        assert_eq!(owned, listed, "keys at the backend that no ledger holds, or the other way round");
        published
    }
}

fn holder(world: &World) -> String {
    let lease = world.kube.find(&path("lease", OPERATOR_NAMESPACE, "keywheel")).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

/// Which objects have an attempt open, by the API server's own record of the writes of their statuses.
#[derive(Default)]
struct Intents {
    read: Option<audit::Mark>,
    open: BTreeMap<String, bool>,
}

impl Intents {
    /// Whether any is open now.
    fn open(&mut self, world: &World) -> bool {
        let log = world.cp().audit();
        let since = self.read.unwrap_or(audit::Mark::START);
        let mark = log.mark().unwrap();
        for entry in log.since(since).unwrap() {
            let status = entry.resource == "serviceaccountkeys" && entry.subresource == "status";
            if status && entry.user == OPERATOR_USER && entry.accepted() {
                let pending = entry.body["status"]["pending"].is_object();
                self.open.insert(format!("{}/{}", entry.namespace, entry.name), pending);
            }
        }
        self.read = Some(mark);
        self.open.values().any(|open| *open)
    }
}
