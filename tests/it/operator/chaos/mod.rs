//! Kill everything at the worst moments while keys are made and rotated, with a client that uses the Secrets all the time.
//! At the end: no key without a ledger, no client that was refused, every object Ready.
//!
//! `KEYWHEEL_CHAOS_KILLS` says how many kills of the operator (one for each row in the tests, 100 in `make chaos`). The IAM
//! server and the API server are killed in between, with the operator or beside it.

mod client;
mod intents;
mod provoke;
mod rival;
mod rows;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;

use self::client::Client;
use self::intents::Intents;
use self::rows::{Hits, ROWS, Row, Scene};
use super::case::{Case, condition};
use super::trial;
use super::world::{Own, World};

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
    std::env::var("KEYWHEEL_CHAOS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROWS.len())
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

    /// Kills the operator again and again, and has it get on in between.
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
            let wanted = self.wanted(n, kills);
            let victim = (wanted == Row::SecretDeleted).then(|| format!("victim-{n}"));
            if let Some(victim) = &victim {
                let rotation = json!({"overlap": "1s", "deleteAfter": "1s"});
                let account = &self.accounts[0].0;
                let spec = json!({"serviceAccountRef": {"name": account}, "rotation": rotation});
                self.case.key(victim, &spec);
                self.case.ready("iamsak", victim);
            }
            let deposed = self.provoke(wanted, victim.as_deref(), n);
            match &deposed {
                Some(deposed) => deposed.rival.kill9().unwrap(),
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
            rows.extend(deposed.iter().flat_map(|deposed| deposed.rows(&scene)));
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
            if let Some(late) = deposed.and_then(|deposed| deposed.late) {
                self.taken_in(&late);
            }
        }
    }

    /// Where the next kill is to fall: at each row in turn, or in a whole run where it was hit least.
    fn wanted(&self, n: usize, kills: usize) -> Row {
        if kills < WHOLE {
            return ROWS[n % ROWS.len()];
        }
        // Where nobody has recorded yet what was made, keys leak: two of three kills are to fall there.
        let behind = self.hits.all_often() && self.between * 3 < n * 2;
        if behind { Row::Intent } else { self.hits.least() }
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
