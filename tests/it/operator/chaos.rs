//! Kill everything at the worst moments while keys are made and rotated, with clients that use the Secrets all the time. At
//! the end: no key without a ledger, no client that was refused, every object Ready.
//!
//! `KEYWHEEL_CHAOS_KILLS` says how many kills of the operator (10 in the tests, 100 in `make chaos`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::credential::{GoogleCredentials, RsaKeyPair, SecretBytes, bearer_assertion};
use keywheel_testbed::http;
use libtest_mimic::Trial;
use serde_json::{Value, json};

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

/// A row of the crash table: what the dead process had done last, as the next one finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Intent,
    Created,
    Staged,
    Published,
    Recorded,
    Lost,
    Ended,
    Fenced,
    SecretDeleted,
}

const ROWS: [Row; 9] = [
    Row::Intent,
    Row::Created,
    Row::Staged,
    Row::Published,
    Row::Recorded,
    Row::Lost,
    Row::Ended,
    Row::Fenced,
    Row::SecretDeleted,
];

struct Chaos<'w> {
    case: Case<'w>,
    keys: Vec<String>,
    over: AtomicBool,
    exchanges: AtomicUsize,
    unreachable: AtomicUsize,
}

/// How many kills left an object between an intent and its record, and where the next process found objects.
#[derive(Default)]
struct Hits {
    between: usize,
    rows: BTreeMap<Row, usize>,
}

impl Hits {
    fn of(&self, row: Row) -> usize {
        self.rows.get(&row).copied().unwrap_or(0)
    }
}

fn kills() -> usize {
    std::env::var("KEYWHEEL_CHAOS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

fn chaos() {
    let kills = kills();
    let long = kills >= 100;
    let world = World::own(Own { timing: Some(TIMING), lease: Some("3s"), ..Own::default() });
    let chaos = Chaos {
        case: Case::new(&world, "chaos"),
        keys: (0..if long { 16 } else { 5 }).map(|n| format!("key-{n}")).collect(),
        over: AtomicBool::new(false),
        exchanges: AtomicUsize::new(0),
        unreachable: AtomicUsize::new(0),
    };
    chaos.begin();
    let started = Instant::now();
    let hits = std::thread::scope(|scope| {
        let client = scope.spawn(|| chaos.use_secrets());
        let killing = || chaos.kill(&world, kills);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(killing));
        chaos.over.store(true, Ordering::Relaxed);
        client.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let published = chaos.settle();
    eprintln!(
        "{kills} kills in {:.0?}, {} of them between an intent and its record; {published} keys published; {} exchanges, \
         none refused; {} while the server was down",
        started.elapsed(),
        hits.between,
        chaos.exchanges.load(Ordering::Relaxed),
        chaos.unreachable.load(Ordering::Relaxed),
    );
    for row in ROWS {
        eprintln!("  {row:?}: found {} times by the next process", hits.of(row));
    }
    if long {
        assert!(published >= 300, "only {published} creates and rotations");
        assert!(
            hits.between * 100 >= kills * 60,
            "only {} kills between an intent and its record",
            hits.between
        );
        for row in ROWS {
            assert!(hits.of(row) >= 3, "{row:?} was hit {} times", hits.of(row));
        }
    }
}

impl Chaos<'_> {
    fn begin(&self) {
        self.case.account(&json!({}));
        self.case.ready("iamsa", "billing");
        // Wide enough for a kill to fall between.
        for operation in ["keys.create", "keys.upload", "keys.disable", "keys.delete"] {
            let action = json!({"delay": {"millis": 60}});
            let fault = json!({"operation": operation, "action": action, "times": 1_000_000});
            self.case.iam().fault(&fault).unwrap();
        }
        for (n, name) in self.keys.iter().enumerate() {
            let source = if n % 4 == 3 { "Local" } else { "Backend" };
            let rotation = json!({"every": "10s", "overlap": "5s", "deleteAfter": "1s"});
            self.case.key(name, &json!({"keySource": source, "rotation": rotation}));
        }
        for name in &self.keys {
            self.case.ready("iamsak", name);
        }
    }

    /// Kills the operator again and again, each time where it was hit least, and has it get on in between.
    fn kill(&self, world: &World, kills: usize) -> Hits {
        let mut hits = Hits::default();
        for n in 0..kills {
            let wanted = ROWS.into_iter().min_by_key(|row| (hits.of(*row), *row)).unwrap();
            let victim = (wanted == Row::SecretDeleted).then(|| format!("victim-{n}"));
            if let Some(victim) = &victim {
                self.case.key(victim, &json!({"rotation": {"overlap": "1s", "deleteAfter": "1s"}}));
                self.case.ready("iamsak", victim);
            }
            self.provoke(wanted, victim.as_deref(), n);
            world.operator().kill9().unwrap();
            let found = self.found();
            let open = [Row::Intent, Row::Created, Row::Staged, Row::Published];
            hits.between += usize::from(found.iter().any(|row| open.contains(row)));
            for row in found {
                *hits.rows.entry(row).or_default() += 1;
            }
            self.assert_covered();
            world.operator().restart().unwrap();
            let before = self.rotations();
            self.case.until("progress after a kill", || {
                let now = self.rotations();
                if now > before { Ok(()) } else { Err(json!(now)) }
            });
        }
        hits
    }

    /// Waits until a kill is likely to hit there. What it hit is read afterwards; how long after the last sign is what is
    /// tried out.
    fn provoke(&self, wanted: Row, victim: Option<&str>, n: usize) {
        let offset = Duration::from_millis(u64::try_from(n % 12).unwrap_or(0));
        let mark = self.case.iam().mark().unwrap();
        let called = |operation: &str| {
            self.case.until(operation, || {
                let calls = self.case.iam().requests_since(mark).unwrap();
                let ours = |agent: &Value| agent.as_str().is_some_and(|a| a.starts_with("keywheel/"));
                let mut calls = calls.iter();
                let found = calls.any(|c| c.operation == operation && ours(&c.raw["user_agent"]));
                if found { Ok(()) } else { Err(Value::Null) }
            });
        };
        match wanted {
            Row::Intent | Row::Staged | Row::Lost | Row::Fenced => {
                let patience = Instant::now() + Duration::from_secs(5);
                while Instant::now() < patience && !self.found().contains(&wanted) {}
                return;
            }
            Row::Created => called("keys.create"),
            Row::Published | Row::Recorded => called("token"),
            Row::Ended => called(if n.is_multiple_of(2) { "keys.disable" } else { "keys.delete" }),
            Row::SecretDeleted => {
                let name = victim.unwrap_or_default();
                self.case.delete("iamsak", name);
                self.case.gone("secret", name);
                return;
            }
        }
        // No synchronization: the moment of the kill is what is tried out.
        std::thread::sleep(offset * if wanted == Row::Recorded { 3 } else { 1 });
    }

    fn staged(&self) -> Vec<Value> {
        let query = format!("{}?labelSelector=keywheel.dev/staging", self.case.path("secret", ""));
        self.case.world.kube.list(&query)
    }

    fn rotations(&self) -> u64 {
        let keys = self.case.world.kube.list(&self.case.path("iamsak", ""));
        keys.iter().map(|key| key["status"]["rotations"].as_u64().unwrap_or(0)).sum()
    }

    /// Where all objects stand.
    fn found(&self) -> Vec<Row> {
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        let query = format!("{}?labelSelector=keywheel.dev/owned", self.case.path("secret", ""));
        let secrets = self.case.world.kube.list(&query);
        let at_backend = self.case.person.keys(&self.case.name);
        let mut rows = Vec::new();
        for object in &objects {
            let (status, uid) = (&object["status"], &object["metadata"]["uid"]);
            let of = |secret: &&Value| secret["metadata"]["annotations"]["keywheel.dev/owner-uid"] == *uid;
            let is_staging = |secret: &&Value| secret["type"] == "keywheel.dev/staging";
            let staging = secrets.iter().filter(of).find(is_staging);
            let consumer = secrets.iter().filter(of).find(|s| !is_staging(s));
            let active = status["activeKeyId"].as_str().unwrap_or_default();
            let published = consumer.map(|s| s["metadata"]["annotations"]["keywheel.dev/key-id"].clone());
            let phase = |id: &str| super::case::entry(object, id)["phase"].clone();
            if status["pending"].is_object() {
                rows.push(match (staging, &published) {
                    (_, Some(id)) if id != active && !active.is_empty() => Row::Published,
                    (Some(_), _) => Row::Staged,
                    (None, _)
                        if at_backend.iter().any(|key| Self::is_unknown(&objects, &secrets, &key.id)) =>
                    {
                        Row::Created
                    }
                    (None, _) => Row::Intent,
                });
            } else if staging.is_some() {
                rows.push(Row::Recorded);
            }
            for lost in status["lost"].as_array().into_iter().flatten() {
                rows.push(if lost["fenced"] == true { Row::Fenced } else { Row::Lost });
            }
            let behind = at_backend.iter().any(|key| key.disabled && phase(&key.id) == "Overlap");
            let gone = status["keys"].as_array().into_iter().flatten().any(|key| {
                key["phase"] == "Disabled" && !at_backend.iter().any(|there| key["id"] == there.id.as_str())
            });
            if behind || gone {
                rows.push(Row::Ended);
            }
            if object["metadata"]["deletionTimestamp"].is_string() && consumer.is_none() {
                rows.push(Row::SecretDeleted);
            }
        }
        rows
    }

    fn is_unknown(objects: &[Value], secrets: &[Value], id: &str) -> bool {
        let named = |value: &Value| value.to_string().contains(id);
        !objects.iter().any(|object| named(&object["status"]))
            && !secrets.iter().any(|secret| named(&secret["metadata"]["annotations"]))
    }

    /// Every key at the backend is named by an object or a Secret, or lies in an open window.
    fn assert_covered(&self) {
        let listed = self.case.person.keys(&self.case.name);
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        let query = format!("{}?labelSelector=keywheel.dev/owned", self.case.path("secret", ""));
        let secrets = self.case.world.kube.list(&query);
        let open = objects.iter().any(|object| {
            let status = &object["status"];
            status["pending"].is_object() || status["lost"].is_array() || status.is_null()
        });
        for key in listed {
            let unknown = Self::is_unknown(&objects, &secrets, &key.id);
            assert!(!unknown || open || !self.staged().is_empty(), "{} has leaked", key.id);
        }
    }

    /// A client that reads a Secret and makes a fresh assertion and exchange with it, again and again.
    fn use_secrets(&self) {
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            let name = &self.keys[turn % self.keys.len()];
            turn += 1;
            let Some(secret) = self.case.world.kube.find(&self.case.path("secret", name)) else { continue };
            let read = Instant::now();
            let Some(file) = secret["data"]["key.json"].as_str() else { continue };
            let file = GoogleCredentials::parse(&SecretBytes::new(STANDARD.decode(file).unwrap())).unwrap();
            let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).unwrap();
            let assertion = bearer_assertion(
                &pair,
                file.private_key_id(),
                file.client_email(),
                file.token_uri(),
                "https://www.googleapis.com/auth/cloud-platform",
                jiff::Timestamp::now(),
                Duration::from_mins(10),
            );
            let form = format!(
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
                assertion.unwrap().expose_str().unwrap()
            );
            match http::post_form(file.token_uri(), &form) {
                Ok(answer) if answer.status == 200 => {
                    self.exchanges.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    // An object that is being deleted takes its key out of service: by then its Secret is gone.
                    let same = self
                        .case
                        .world
                        .kube
                        .find(&self.case.path("secret", name))
                        .is_some_and(|now| now["metadata"]["uid"] == secret["metadata"]["uid"]);
                    assert!(
                        !same || read.elapsed() > Duration::from_secs(1),
                        "{name} {}: {} {}",
                        file.private_key_id(),
                        answer.status,
                        answer.body
                    );
                }
                Err(_) => {
                    self.unreachable.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// With the wheels stopped all comes to rest: one key each, in the ledger and at the backend. How many were published.
    fn settle(&self) -> u64 {
        self.case.iam().clear_faults().unwrap();
        let still = json!({"spec": {"rotation": {"every": null, "overlap": "1s", "deleteAfter": "1s"}}});
        let mut owned = Vec::new();
        let mut published = 0;
        for object in self.case.world.kube.list(&self.case.path("iamsak", "")) {
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
        let mut listed: Vec<String> =
            self.case.person.keys(&self.case.name).into_iter().map(|key| key.id).collect();
        owned.sort();
        listed.sort();
        assert_eq!(owned, listed, "keys at the backend that no ledger holds, or the other way round");
        published
    }
}
