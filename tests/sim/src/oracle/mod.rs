//! What must hold after every effect (PROTOCOL.md, section 10), judged from both servers' own state.
//!
//! What a person breaks is no violation: it is excused when it happens, and only that.

mod rest;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use keywheel::api::v1alpha1::Span;
use serde_json::{Map, Value};

pub use rest::{Unrest, unrest};
pub use view::{KeyObject, SecretObject, View, time};

use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place, Request, Verb};
use crate::iam::{self, Iam, Maker, private_pem, short};
use crate::wire::{Call, Reply};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A key that a Secret publishes, or published.
#[derive(Clone, Debug)]
struct Published {
    owner: String,
    /// When it was last seen in a Secret; `None`: it still is.
    until: Option<Timestamp>,
}

/// Watches over the invariants.
pub struct Oracle {
    /// How much an overlap may seem too short: requests take their time, clocks are set.
    pub slack: Duration,
    violations: Vec<Violation>,
    /// Which object an attempt belongs to.
    attempts: BTreeMap<String, String>,
    published: BTreeMap<String, Published>,
    overlaps: BTreeMap<String, Duration>,
    /// Keys that a person's act left uncovered, and Secrets whose content a person wrote (with the version of it).
    excused: BTreeSet<String>,
    tampered: BTreeMap<Place, u64>,
    reads: BTreeMap<(usize, Place), u64>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            slack: Duration::from_secs(75),
            violations: Vec::new(),
            attempts: BTreeMap::new(),
            published: BTreeMap::new(),
            overlaps: BTreeMap::new(),
            excused: BTreeSet::new(),
            tampered: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }
}

impl Oracle {
    /// What did not hold, so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Something does not hold.
    pub fn report(&mut self, invariant: &'static str, what: String) {
        let violation = Violation { invariant, what };
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// Keys that a Secret publishes or published.
    pub fn published_keys(&self) -> impl Iterator<Item = &str> {
        self.published.keys().map(String::as_str)
    }

    /// Whether a person's act left this key without anybody who remembers it.
    pub fn is_excused(&self, key: &str) -> bool {
        self.excused.contains(key)
    }

    /// Whether the content of a Secret is a person's.
    pub fn is_tampered(&self, place: &Place) -> bool {
        self.tampered.contains_key(place)
    }

    /// A call is about to be applied.
    pub fn before(&mut self, actor: Option<usize>, call: &Call, api: &Shared, iam: &Iam, now: Timestamp) {
        let Some(actor) = actor else { return };
        match call {
            Call::Api(request) => self.exposure(request),
            Call::Iam(asked) => match &**asked {
                iam::Call::DisableKey { key, .. } | iam::Call::DeleteKey { key, .. } => {
                    self.ending(actor, key, api, iam, now);
                }
                iam::Call::DeleteAccount { account } | iam::Call::SetDisabled { account, .. } => {
                    if let Some(record) = iam.accounts.get(account)
                        && !record.account.description.contains("keywheel:sim/")
                    {
                        self.report("No theft", format!("account {} is not ours and is changed", record.id));
                    }
                }
                _ => {}
            },
        }
    }

    /// Private material leaves for nowhere but a consumer or a staging Secret, and never in a dry run.
    fn exposure(&mut self, request: &Request) {
        if request.body.is_null() {
            return;
        }
        let is_private = |text: &str| text.contains("PRIVATE KEY");
        let in_data = request.body["data"].as_object().into_iter().flat_map(Map::values).any(|value| {
            STANDARD
                .decode(value.as_str().unwrap_or_default())
                .is_ok_and(|b| is_private(&String::from_utf8_lossy(&b)))
        });
        let mut rest = request.body.clone();
        let ours = !request.body["metadata"]["annotations"]["keywheel.dev/owner-uid"].is_null();
        if request.resource.kind == "Secret"
            && ours
            && let Some(map) = rest.as_object_mut()
        {
            map.remove("data");
        }
        // `PRIVATE KEY` in base64, at each of the three offsets.
        let encoded = ["UFJJVkFURSBLRV", "BSSVZBVEUgS0VZ", "QUklWQVRFIEtFW"];
        let text = rest.to_string();
        if is_private(&text) || encoded.iter().any(|e| text.contains(e)) {
            self.report("No exposure", format!("private material in: {}", request.summary()));
        }
        if in_data && (request.is_dry_run() || request.resource.kind != "Secret" || !ours) {
            self.report("No exposure", format!("private material in the data of: {}", request.summary()));
        }
    }

    /// The operator is about to end a key.
    fn ending(&mut self, actor: usize, id: &str, api: &Shared, iam: &Iam, now: Timestamp) {
        let Some(key) = iam.keys.get(id).filter(|k| !k.deleted) else { return };
        let view = View::of(api);
        match &key.made_by {
            Maker::Person => {
                self.report("No theft", format!("key {} was made by a person and is ended", short(id)));
            }
            Maker::Attempt(nonce) => {
                let owner = self.attempts.get(nonce).cloned().unwrap_or_default();
                let other = view.keys.iter().find(|k| k.uid != owner && k.active() == Some(id));
                if let Some(other) = other.filter(|o| !o.deleting) {
                    self.report(
                        "No theft",
                        format!("key {} of {} is ended by another object", short(id), other.place),
                    );
                }
            }
        }
        for secret in view.consumers().filter(|s| s.credentials.contains_key(id)) {
            // A person who puts a credential back after our last look cannot be seen.
            let read = self.reads.get(&(actor, secret.place.clone())).copied().unwrap_or(0);
            let unseen = self.tampered.get(&secret.place).is_some_and(|written| *written > read);
            if !unseen && key.works() {
                self.report(
                    "No premature end",
                    format!("key {} ends while {} publishes it", short(id), secret.place),
                );
            }
        }
        if let Some(published) = self.published.get(id).filter(|_| key.works())
            && let Some(until) = published.until
            && let Some(owner) = view.key(&published.owner).filter(|o| !o.deleting)
        {
            let revoked = owner.object.pointer("/metadata/annotations/keywheel.dev~1revoke-at").is_some();
            let overlap = self.overlaps.get(&published.owner).copied().unwrap_or_default();
            let over = SignedDuration::try_from(overlap.saturating_sub(self.slack)).unwrap_or_default();
            if now < until + over && !revoked {
                let what = format!(
                    "key {} ends {:?} after its last publication, overlap {overlap:?}",
                    short(id),
                    now - until
                );
                self.report("No premature end", what);
            }
        }
    }

    /// A call was applied.
    pub fn after_call(&mut self, actor: Option<usize>, call: &Call, reply: &Reply, _: &Iam, _: Timestamp) {
        let (Some(actor), Call::Api(request), Reply::Api((200, body))) = (actor, call, reply) else { return };
        if request.verb == Verb::Get && request.resource.kind == "Secret" {
            let place = Place {
                kind: "secrets".to_owned(),
                namespace: request.namespace.clone().unwrap_or_default(),
                name: request.object_name(),
            };
            let version =
                body["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0);
            self.reads.insert((actor, place), version);
        }
    }

    /// An object changed.
    pub fn saw(&mut self, actor: Option<usize>, change: &Change, _: Timestamp) {
        if change.place.kind == Kind::Key.stored() {
            self.learn(&change.object);
        }
        if change.place.kind != "secrets" {
            return;
        }
        let data =
            |o: &Value| (o["data"].clone(), o["metadata"]["annotations"]["keywheel.dev/key-id"].clone());
        let content_changed = change.before.as_ref().is_none_or(|b| data(b) != data(&change.object));
        match actor {
            None if change.kind == ChangeKind::Deleted => {
                self.tampered.remove(&change.place);
            }
            None if content_changed => {
                self.tampered.insert(change.place.clone(), change.version);
            }
            None => {}
            Some(_) => {
                if content_changed || change.kind == ChangeKind::Deleted {
                    self.tampered.remove(&change.place);
                }
                let ours = |o: &Value| !o["metadata"]["annotations"]["keywheel.dev/owner-uid"].is_null();
                if change.before.as_ref().is_some_and(|before| !ours(before)) {
                    self.report("No theft", format!("{} is not ours and is changed", change.place));
                }
            }
        }
    }

    fn learn(&mut self, object: &Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let lost = object["status"]["lost"].as_array().into_iter().flatten();
        for attempt in lost.chain([&object["status"]["pending"]]) {
            if let Some(nonce) = attempt["nonce"].as_str() {
                self.attempts.entry(nonce.to_owned()).or_insert_with(|| uid.to_owned());
            }
        }
        let overlap = object.pointer("/spec/rotation/overlap").and_then(Value::as_str).unwrap_or("24h");
        if let Ok(overlap) = Span::new(overlap).to_duration() {
            let least = self.overlaps.entry(uid.to_owned()).or_insert(overlap);
            *least = overlap.min(*least);
        }
    }

    /// Checks what must hold at every instant. The lines tell what was excused, and what was not.
    pub fn check(&mut self, api: &Shared, iam: &Iam, actor: Option<usize>, now: Timestamp) -> Vec<String> {
        let before = self.violations.len();
        let view = View::of(api);
        let mut lines = self.covered(&view, iam, actor);
        self.publications(&view, now);
        self.outages(&view, iam);
        lines.extend(self.violations[before..].iter().map(|v| format!("VIOLATION {v}")));
        lines
    }

    fn covered(&mut self, view: &View, iam: &Iam, actor: Option<usize>) -> Vec<String> {
        let mut lines = Vec::new();
        for key in iam.keys.values().filter(|k| !k.deleted) {
            if self.excused.contains(&key.id) {
                continue;
            }
            let Maker::Attempt(nonce) = &key.made_by else { continue };
            if is_covered(view, key, nonce) {
                continue;
            }
            if actor.is_none() {
                lines.push(format!("EXCUSED key {}: a person made everybody forget it", short(&key.id)));
                self.excused.insert(key.id.clone());
            } else {
                let what = format!("key {} of attempt {nonce} is remembered by nobody", short(&key.id));
                let violation = Violation { invariant: "Covered", what };
                if !self.violations.contains(&violation) {
                    self.violations.push(violation);
                }
            }
        }
        lines
    }

    fn publications(&mut self, view: &View, now: Timestamp) {
        let mut current = BTreeMap::new();
        for secret in view.consumers() {
            for id in secret.credentials.keys() {
                current.insert(id.clone(), secret.owner_uid.clone().unwrap_or_default());
            }
        }
        for (id, published) in &mut self.published {
            if !current.contains_key(id) && published.until.is_none() {
                published.until = Some(now);
            }
        }
        for (id, owner) in current {
            self.published.insert(id, Published { owner, until: None });
        }
    }

    fn outages(&mut self, view: &View, iam: &Iam) {
        for secret in view.consumers() {
            let owner = secret.owner_uid.as_deref().and_then(|uid| view.key(uid));
            let Some(owner) = owner.filter(|o| !o.deleting) else { continue };
            if self.tampered.contains_key(&secret.place) {
                continue;
            }
            let Some((id, pem)) = secret.credentials.iter().next() else {
                self.report("No outage", format!("{} of {} holds no credential", secret.place, owner.place));
                continue;
            };
            let Some(key) = iam.keys.get(id) else {
                self.report("No outage", format!("{} holds the unknown key {}", secret.place, short(id)));
                continue;
            };
            let account = &iam.accounts[&key.account];
            if account.touched_by_person || key.ended_by_person {
                continue;
            }
            let proved = key.was_accepted
                || owner.object.pointer("/spec/verification/mode").is_some_and(|mode| mode == "None");
            let why = if !key.works() {
                "is ended"
            } else if !proved {
                "was never proved"
            } else if private_pem(key.pair) != pem {
                "is not the one that the Secret says"
            } else {
                continue;
            };
            self.report("No outage", format!("{} publishes key {}, which {why}", secret.place, short(id)));
        }
    }
}

/// Whether somebody remembers a key that we made.
fn is_covered(view: &View, key: &iam::Key, nonce: &str) -> bool {
    let id = key.id.as_str();
    let by_secret = view.secrets.iter().any(|s| {
        (s.key_id.as_deref() == Some(id) || s.older.contains(id) || s.credentials.contains_key(id))
            && s.owner_uid.is_some()
    });
    by_secret
        || view.keys.iter().any(|object| {
            let on_account = object.account.as_deref() == Some(key.account.as_str());
            object.ledger().any(|k| k == id)
                || object.list("suspects").any(|s| s["id"] == id)
                || object.status("/pending/nonce").is_some_and(|n| n == nonce)
                || object.list("lost").any(|l| l["nonce"] == nonce)
                || on_account && object.list("lost").any(|l| is_in_window(l, key.created_at))
                || on_account && !object.has_status()
        })
}

fn is_in_window(lost: &Value, created_at: Timestamp) -> bool {
    let (Some(from), Some(until)) = (time(&lost["backendTime"]), time(&lost["until"])) else { return false };
    from - SignedDuration::from_secs(1) <= created_at && created_at <= until
}
