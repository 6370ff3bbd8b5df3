//! The crash table of `docs/architecture.md`, in its order: where a kill left the objects, as the next process finds them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::operator::case::entry;
use crate::operator::gate::annotation;
use crate::operator::person::BackendKey;

/// What the dead process had done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Its intent; nothing was sent.
    Intent,
    /// The create: the backend has the key, nobody else knows it.
    Created,
    /// The staging Secret.
    Staged,
    /// The consumer Secret; the status does not know.
    Published,
    /// The status; the staging Secret is still there.
    Recorded,
    /// An attempt is marked lost, not fenced.
    Lost,
    /// Its staging POST, which was applied only after another process had marked the attempt lost.
    StagedLate,
    /// A key was disabled or deleted at the backend; the status does not know.
    Ended,
    /// The Secret was rewritten as a fence; the status does not know.
    Fenced,
    /// The Secret of a deleting object is gone.
    SecretDeleted,
    /// A leader was paused, another one took over, and the old one woke.
    Woken,
}

pub const ROWS: [Row; 11] = [
    Row::Intent,
    Row::Created,
    Row::Staged,
    Row::Published,
    Row::Recorded,
    Row::Lost,
    Row::StagedLate,
    Row::Ended,
    Row::Fenced,
    Row::SecretDeleted,
    Row::Woken,
];

/// Between an intent and its record.
const UNRECORDED: [Row; 4] = [Row::Intent, Row::Created, Row::Staged, Row::Published];

/// More than what a whole run must hit.
const OFTEN: usize = 5;

/// At how many kills each row was found.
#[derive(Default)]
pub struct Hits(BTreeMap<Row, usize>);

impl Hits {
    pub fn of(&self, row: Row) -> usize {
        self.0.get(&row).copied().unwrap_or(0)
    }

    /// What one kill hit, however many objects stand there.
    pub fn add(&mut self, found: BTreeSet<Row>) {
        for row in found {
            *self.0.entry(row).or_default() += 1;
        }
    }

    /// Whether every row was hit often.
    pub fn all_often(&self) -> bool {
        ROWS.iter().all(|row| self.of(*row) >= OFTEN)
    }

    /// The row that was hit least. Once all were hit often, it is one in which something was made that nobody has recorded
    /// yet.
    pub fn least(&self) -> Row {
        let rows = ROWS.iter().filter(|row| !self.all_often() || UNRECORDED.contains(row));
        rows.min_by_key(|row| (self.of(**row), **row)).copied().unwrap_or(Row::Intent)
    }
}

/// All that there is, read without a hurry.
pub struct Scene {
    pub objects: Vec<Value>,
    pub secrets: Vec<Value>,
    /// By the name of the account's object.
    pub listed: BTreeMap<String, Vec<BackendKey>>,
}

impl Scene {
    /// Where all objects stand.
    pub fn rows(&self) -> BTreeSet<Row> {
        self.objects.iter().flat_map(|object| self.rows_of(object)).collect()
    }

    fn rows_of(&self, object: &Value) -> Vec<Row> {
        let mut rows = Vec::new();
        let (status, uid) = (&object["status"], &object["metadata"]["uid"]);
        let mine: Vec<&Value> = self.secrets.iter().filter(|s| annotation(s, "owner-uid") == uid).collect();
        let is_staging = |secret: &&&Value| secret["type"] == "keywheel.dev/staging";
        let consumer = mine.iter().find(|s| !is_staging(s));
        let staged: Vec<&&Value> = mine.iter().filter(is_staging).collect();
        let pending = &status["pending"]["nonce"];
        let own = |secret: &&&Value| annotation(secret, "nonce") == pending;
        let active = &status["activeKeyId"];
        let published = consumer.map(|s| annotation(s, "key-id"));
        if status["pending"].is_object() {
            rows.push(match published {
                Some(id) if id != active && active.is_string() => Row::Published,
                _ if staged.iter().any(own) => Row::Staged,
                _ if self.unknown(object).any(|key| may_be_of(key, &status["pending"])) => Row::Created,
                _ => Row::Intent,
            });
        } else if staged.iter().any(|s| annotation(s, "key-id") == active) {
            rows.push(Row::Recorded);
        }
        let lost = || status["lost"].as_array().into_iter().flatten();
        let fence = consumer.map(|s| annotation(s, "fence").as_str().unwrap_or_default().to_owned());
        for lost in lost().filter(|l| l["fenced"] != true) {
            let nonce = lost["nonce"].as_str().unwrap_or("?");
            let put = fence.as_ref().is_some_and(|f| f.split([',', ' ']).any(|fenced| fenced == nonce));
            rows.push(if put { Row::Fenced } else { Row::Lost });
        }
        let listed = self.of(object);
        let phase = |id: &str| entry(object, id)["phase"].clone();
        let behind = listed.iter().any(|key| key.disabled && phase(&key.id) == "Overlap");
        let gone = status["keys"].as_array().into_iter().flatten().any(|key| {
            key["phase"] == "Disabled" && !listed.iter().any(|there| key["id"] == there.id.as_str())
        });
        if behind || gone {
            rows.push(Row::Ended);
        }
        if object["metadata"]["deletionTimestamp"].is_string() && consumer.is_none() {
            rows.push(Row::SecretDeleted);
        }
        rows
    }

    fn of(&self, object: &Value) -> &[BackendKey] {
        let account = object["spec"]["serviceAccountRef"]["name"].as_str().unwrap_or_default();
        self.listed.get(account).map_or(&[], Vec::as_slice)
    }

    /// Keys on an object's account that neither an object nor a Secret names.
    fn unknown(&self, object: &Value) -> impl Iterator<Item = &BackendKey> {
        self.of(object).iter().filter(|key| self.is_unknown(key))
    }

    fn is_unknown(&self, key: &BackendKey) -> bool {
        let named = |value: &Value| value.to_string().contains(&key.id);
        !self.objects.iter().any(|object| named(&object["status"]))
            && !self.secrets.iter().any(|secret| named(&secret["metadata"]["annotations"]))
    }

    /// Every key at the backend is named, or an object of its account has an attempt open that can have made it. How many
    /// keys were looked at.
    pub fn assert_covered(&self) -> usize {
        for object in &self.objects {
            for key in self.unknown(object) {
                let siblings = self.objects.iter().filter(|o| {
                    o["spec"]["serviceAccountRef"]["name"] == object["spec"]["serviceAccountRef"]["name"]
                });
                let covered = siblings.map(|o| &o["status"]).any(|status| {
                    let lost = status["lost"].as_array().into_iter().flatten();
                    status.is_null()
                        || lost.chain([&status["pending"]]).any(|attempt| may_be_of(key, attempt))
                });
                assert!(covered, "{key:?} has leaked");
            }
        }
        self.listed.values().map(Vec::len).sum()
    }
}

/// Whether an attempt can have made a key: by the backend's clock, in whole seconds. An uploaded key is as old as its
/// certificate says, which begins some minutes before it is made.
fn may_be_of(key: &BackendKey, attempt: &Value) -> bool {
    let time = |name: &str| attempt[name].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let earlier = SignedDuration::from_secs(if attempt["publicKeySha256"].is_string() { 360 } else { 1 });
    let begun = time("backendTime").is_some_and(|at| at - earlier <= key.created);
    begun && time("until").is_none_or(|until| key.created <= until)
}
