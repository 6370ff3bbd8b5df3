//! Services of the project: on, off, or being enabled; and its registration for Earth Engine.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// How long it takes until a service that was asked for can be used.
const TAKES: SignedDuration = SignedDuration::from_secs(90);

/// What the project may use.
pub struct Services {
    /// From when on.
    enabled_from: BTreeMap<String, Timestamp>,
    /// In the words of Earth Engine.
    pub registration: String,
}

impl Default for Services {
    fn default() -> Self {
        let on = ("storage.googleapis.com".to_owned(), Timestamp::UNIX_EPOCH);
        Self { enabled_from: BTreeMap::from([on]), registration: "NOT_REGISTERED".to_owned() }
    }
}

impl Services {
    /// Whether it can be used.
    pub fn is_enabled(&self, service: &str, now: Timestamp) -> bool {
        self.enabled_from.get(service).is_some_and(|from| *from <= now)
    }

    /// Asked for again it goes on as before.
    pub fn enable(&mut self, service: &str, now: Timestamp) {
        self.enabled_from.entry(service.to_owned()).or_insert(now + TAKES);
    }

    /// A person does not want it any more.
    pub fn disable(&mut self, service: &str) {
        self.enabled_from.remove(service);
    }
}
