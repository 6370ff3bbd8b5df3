//! The crash table: where a kill left the objects, as the next process finds them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::operator::case::entry;
use crate::operator::person::BackendKey;

/// What the dead process had done last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
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

pub const ROWS: [Row; 9] = [
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

/// How often each row was found.
#[derive(Default)]
pub struct Hits(BTreeMap<Row, usize>);

impl Hits {
    pub fn of(&self, row: Row) -> usize {
        self.0.get(&row).copied().unwrap_or(0)
    }

    pub fn add(&mut self, found: Vec<Row>) {
        for row in found {
            *self.0.entry(row).or_default() += 1;
        }
    }

    /// The row that was hit least.
    pub fn least(&self) -> Row {
        ROWS.into_iter().min_by_key(|row| (self.of(*row), *row)).unwrap_or(Row::Intent)
    }
}

/// All that there is, read without a hurry.
pub struct Scene {
    pub objects: Vec<Value>,
    pub secrets: Vec<Value>,
    pub listed: Vec<BackendKey>,
}

impl Scene {
    /// Where all objects stand.
    pub fn rows(&self) -> Vec<Row> {
        self.objects.iter().flat_map(|object| self.rows_of(object)).collect()
    }

    fn rows_of(&self, object: &Value) -> Vec<Row> {
        let mut rows = Vec::new();
        let (status, uid) = (&object["status"], &object["metadata"]["uid"]);
        let of = |secret: &&Value| secret["metadata"]["annotations"]["keywheel.dev/owner-uid"] == *uid;
        let is_staging = |secret: &&Value| secret["type"] == "keywheel.dev/staging";
        let staging = self.secrets.iter().filter(of).find(is_staging);
        let consumer = self.secrets.iter().filter(of).find(|s| !is_staging(s));
        let active = status["activeKeyId"].as_str().unwrap_or_default();
        let published = consumer.map(|s| s["metadata"]["annotations"]["keywheel.dev/key-id"].clone());
        if status["pending"].is_object() {
            rows.push(match (staging, &published) {
                (_, Some(id)) if id != active && !active.is_empty() => Row::Published,
                (Some(_), _) => Row::Staged,
                (None, _) if self.unknown().next().is_some() => Row::Created,
                (None, _) => Row::Intent,
            });
        } else if staging.is_some() {
            rows.push(Row::Recorded);
        }
        for lost in status["lost"].as_array().into_iter().flatten() {
            rows.push(if lost["fenced"] == true { Row::Fenced } else { Row::Lost });
        }
        let phase = |id: &str| entry(object, id)["phase"].clone();
        let behind = self.listed.iter().any(|key| key.disabled && phase(&key.id) == "Overlap");
        let gone = status["keys"].as_array().into_iter().flatten().any(|key| {
            key["phase"] == "Disabled" && !self.listed.iter().any(|there| key["id"] == there.id.as_str())
        });
        if behind || gone {
            rows.push(Row::Ended);
        }
        if object["metadata"]["deletionTimestamp"].is_string() && consumer.is_none() {
            rows.push(Row::SecretDeleted);
        }
        rows
    }

    /// Keys at the backend that neither an object nor a Secret names.
    fn unknown(&self) -> impl Iterator<Item = &BackendKey> {
        self.listed.iter().filter(|key| {
            let named = |value: &Value| value.to_string().contains(&key.id);
            !self.objects.iter().any(|object| named(&object["status"]))
                && !self.secrets.iter().any(|secret| named(&secret["metadata"]["annotations"]))
        })
    }

    /// Every key at the backend is named, or an object has an attempt open whose key it may be.
    pub fn assert_covered(&self) {
        let open = self.objects.iter().any(|object| {
            let status = &object["status"];
            status["pending"].is_object() || status["lost"].is_array() || status.is_null()
        });
        if !open {
            let leaked: Vec<&BackendKey> = self.unknown().collect();
            assert!(leaked.is_empty(), "{leaked:?} have leaked");
        }
    }
}
