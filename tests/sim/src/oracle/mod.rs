//! What must hold after every effect (docs/architecture.md), judged from both servers' own state.
//!
//! What a person breaks is no violation: it is excused when it happens, and only that.

mod accounts;
mod changes;
mod ending;
mod handed;
mod needs;
mod rest;
mod roles;
mod standing;
mod uploads;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

pub use rest::{Unrest, unrest};
pub use view::{KeyObject, SecretObject, View, time};

use self::accounts::Told;
use self::needs::{FRESH, Needs};
use self::roles::Roles;
use self::uploads::Uploads;
use crate::actor::{Kind, LEASE_NAME, LEASE_NAMESPACE, identity};
use crate::api_server::watch::Shared;
use crate::api_server::{Place, Request, Verb};
use crate::iam::{self, Iam, Maker};
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
    tampered: BTreeMap<Place, Written>,
    reads: BTreeMap<(usize, Place), u64>,
    needs: Needs,
    uploads: Uploads,
    roles: Roles,
    /// Objects that are gone, as they were last.
    gone: BTreeMap<String, Value>,
    /// Objects and Secrets that a person took out of the operator's hands.
    let_go: BTreeSet<String>,
    /// Secrets of former names that nobody remembers because a person took the status away.
    forgotten: BTreeSet<Place>,
    /// When a spec last gave up the name of a Secret: by uid and name.
    renamed: BTreeMap<(String, String), Timestamp>,
    /// Keys that people made and that the tests for lost attempts take for ours: on an account that is ours alone,
    /// in the window of a lost attempt. That is what the protocol leaves open, and says so.
    presumed: BTreeSet<String>,
    /// What a person last changed of an object.
    edited: BTreeMap<Place, Written>,
    /// When a process sent the end of a key that was not applied yet.
    endings: BTreeMap<(usize, String), Timestamp>,
    /// Keys of Secrets that became another object's: it answers for them.
    inherited: BTreeSet<String>,
    /// Which object an account was to be made for, by the attempt.
    creations: BTreeMap<String, String>,
    /// What processes were told about accounts that nobody has recorded.
    told: Told,
    /// Keys that a person said are not ours, when they were suspects.
    disowned: BTreeSet<String>,
    /// What an account said of its unmanaged keys before a person last wrote it.
    policies: BTreeMap<Place, Value>,
    /// Calls that were sent.
    calls: u64,
    /// How many calls may leave between a person's write and the end of a key that rests on a look before it: what is read
    /// beside the last look. Any number, if `None`: other objects' passes lie between.
    pub last_look: Option<u64>,
}

/// A write of a person.
#[derive(Clone, Copy, Debug)]
struct Written {
    version: u64,
    at: Timestamp,
    /// Calls that had been sent by then.
    calls: u64,
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
            needs: Needs::default(),
            uploads: Uploads::default(),
            roles: Roles::default(),
            gone: BTreeMap::new(),
            let_go: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            renamed: BTreeMap::new(),
            presumed: BTreeSet::new(),
            edited: BTreeMap::new(),
            endings: BTreeMap::new(),
            inherited: BTreeSet::new(),
            creations: BTreeMap::new(),
            told: Told::default(),
            disowned: BTreeSet::new(),
            policies: BTreeMap::new(),
            calls: 0,
            last_look: None,
        }
    }
}

/// Whether a write of a Secret or of a key's object says nothing of the version that it is to replace.
fn is_blind(request: &Request) -> bool {
    let guarded = matches!(request.resource.kind.as_str(), "Secret" | "ServiceAccountKey");
    let written = matches!(request.verb, Verb::Update | Verb::Patch(_)) && request.is_mutating();
    guarded && written && !request.body["metadata"]["resourceVersion"].is_string()
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

    /// Attempts that came to nothing.
    pub fn wasted(&self, iam: &Iam) -> usize {
        self.needs.wasted(iam, |id| self.published.contains_key(id))
    }

    /// Whether a person took an object, or a Secret by its place, out of the operator's hands.
    pub fn is_let_go(&self, what: &str) -> bool {
        self.let_go.contains(what)
    }

    /// Whether the object that made a key is gone and was to leave it.
    pub fn is_retained(&self, key: &iam::Key) -> bool {
        let Maker::Attempt(nonce) = &key.made_by else { return false };
        if self.inherited.contains(&key.id) {
            return false;
        }
        let object = self.attempts.get(nonce).and_then(|uid| self.gone.get(uid));
        object.is_some_and(|o| {
            let active = o.pointer("/status/activeKeyId").is_some_and(|id| *id == key.id.as_str());
            active && o.pointer("/spec/deletionPolicy").is_some_and(|p| p == "Retain")
        })
    }

    /// Whether a person made everybody forget a Secret.
    pub fn is_forgotten(&self, place: &Place) -> bool {
        self.forgotten.contains(place)
    }

    /// An object that is gone, as it was last.
    pub fn departed(&self, uid: &str) -> Option<&Value> {
        self.gone.get(uid)
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
                    let deletes = matches!(&**asked, iam::Call::DeleteKey { .. });
                    self.ending(actor, key, deletes, api, iam, now);
                    self.endings.remove(&(actor, key.clone()));
                }
                iam::Call::DeleteAccount { account } | iam::Call::SetDisabled { account, .. } => {
                    if let Some(record) = iam.accounts.get(account).filter(|record| !record.deleted)
                        && !record.account.description.contains("keywheel:sim/")
                        && !self.is_going(api, record)
                    {
                        self.report("No theft", format!("account {} is not ours and is changed", record.id));
                    }
                }
                iam::Call::WritePolicy { policy, .. } => self.rebinds(policy, api, iam),
                iam::Call::CreateMember { email, role, .. } => self.enters(email, role, false, api, iam),
                iam::Call::PatchMember { account, role, .. } => self.enters(account, role, true, api, iam),
                _ => {}
            },
        }
    }

    /// Private material leaves for nowhere but a consumer or a staging Secret, and never in a dry run.
    fn exposure(&mut self, request: &Request) {
        if request.body.is_null() {
            return;
        }
        let is_private = |text: &str| text.contains("PRIVATE KEY") || iam::shows_secret(text);
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

    /// A process sends a request. One that no version of what it read guards leaves only while it holds the Lease.
    pub fn sends(&mut self, actor: usize, call: &Call, api: &Shared) {
        let unguarded = match call {
            Call::Iam(asked) => asked.is_mutating(),
            Call::Api(request) => {
                request.verb == Verb::Create
                    && request.is_mutating()
                    && request.resource.kind == "Secret"
                    && request.body.pointer("/metadata/labels/keywheel.dev~1staging").is_none()
            }
        };
        if !unguarded {
            return;
        }
        let place = Place {
            kind: "leases.coordination.k8s.io".to_owned(),
            namespace: LEASE_NAMESPACE.to_owned(),
            name: LEASE_NAME.to_owned(),
        };
        // Who held it goes on for its time when somebody deletes it.
        let lease = api.with(|s| s.store.get(&place).cloned().or_else(|| s.store.earlier(&place, 1)));
        let holder = lease.as_ref().and_then(|l| l["spec"]["holderIdentity"].as_str());
        if holder != Some(&identity(actor)) {
            let what = format!("A{actor} sends {} while {holder:?} holds the Lease", call.summary());
            self.report("Send rule", what);
        }
    }

    /// A call was applied.
    pub fn after_call(&mut self, actor: Option<usize>, call: &Call, reply: &Reply) {
        if let (Some(actor), Call::Iam(asked), Reply::Iam(Ok(_))) = (actor, call, reply) {
            self.uploads.answered(actor, asked);
        }
        let (Some(actor), Call::Api(request), Reply::Api((200, body))) = (actor, call, reply) else { return };
        let kind = match request.resource.kind.as_str() {
            "Secret" => "secrets",
            "ServiceAccountKey" => Kind::Key.stored(),
            "ServiceAccount" => Kind::Account.stored(),
            _ => return,
        };
        if request.verb == Verb::Get {
            let place = Place {
                kind: kind.to_owned(),
                namespace: request.namespace.clone().unwrap_or_default(),
                name: request.object_name(),
            };
            let version =
                body["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0);
            self.reads.insert((actor, place), version);
        }
    }

    /// A process sends a call, which may be applied much later. What a version can guard carries one.
    pub fn sent(&mut self, actor: usize, call: &Call, api: &Shared, now: Timestamp) {
        self.calls += 1;
        if let Call::Iam(asked) = call
            && let iam::Call::PatchMember { account, .. } | iam::Call::DeleteMember { account, .. } = &**asked
        {
            self.replaces(actor, account, api);
        }
        if let Call::Api(request) = call
            && is_blind(request)
        {
            self.report(
                "Send rule",
                format!("A{actor} writes over what it did not read: {}", call.summary()),
            );
        }
        if let Call::Iam(asked) = call
            && let Some(wrong) = self.uploads.sent(actor, asked)
        {
            self.report("No burn", wrong);
        }
        if let Call::Iam(asked) = call
            && let iam::Call::DisableKey { key, .. } | iam::Call::DeleteKey { key, .. } = &**asked
        {
            self.endings.entry((actor, key.clone())).or_insert(now);
        }
    }

    /// Whether a person wrote something after a process last read it, and so shortly before it ended the key that it could
    /// not have looked again.
    fn is_unseen(&self, actor: usize, key: &str, place: &Place, written: Option<&Written>) -> bool {
        let read = self.reads.get(&(actor, place.clone())).copied().unwrap_or(0);
        let sent = self.endings.get(&(actor, key.to_owned()));
        written.is_some_and(|w| {
            let soon = self.last_look.is_none_or(|most| self.calls <= w.calls + most);
            w.version > read && soon && sent.is_none_or(|sent| w.at + FRESH > *sent)
        })
    }

    fn is_edited_unseen(&self, actor: usize, key: &str, place: &Place) -> bool {
        self.is_unseen(actor, key, place, self.edited.get(place))
    }
}

fn is_in_window(lost: &Value, created_at: Timestamp) -> bool {
    let (Some(from), Some(until)) = (time(&lost["backendTime"]), time(&lost["until"])) else { return false };
    from - SignedDuration::from_secs(1) <= created_at && created_at <= until
}
