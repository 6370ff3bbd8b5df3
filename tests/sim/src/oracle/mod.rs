//! What must hold after every effect (docs/architecture.md), judged from both servers' own state.
//!
//! What a person breaks is no violation: it is excused when it happens, and only that.

mod ending;
mod handed;
mod needs;
mod rest;
mod roles;
mod uploads;
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

use self::needs::{FRESH, Needs};
use self::roles::Roles;
use self::uploads::Uploads;
use crate::actor::{Kind, LEASE_NAME, LEASE_NAMESPACE, identity};
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place, Request, Verb};
use crate::iam::{self, Iam, Maker, short};
use crate::wire::{Call, Reply};

/// How far the clocks of the operator and of the backend may be apart while keys are made, and a second for roundings.
const TOLERATED: Duration = Duration::from_secs(301);

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
                    if let Some(record) = iam.accounts.get(account)
                        && !record.account.description.contains("keywheel:sim/")
                    {
                        self.report("No theft", format!("account {} is not ours and is changed", record.id));
                    }
                }
                iam::Call::WritePolicy { policy, .. } => self.rebinds(policy, api, iam),
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
    pub fn sent(&mut self, actor: usize, call: &Call, now: Timestamp) {
        self.calls += 1;
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

    /// An object changed.
    pub fn saw(&mut self, actor: Option<usize>, change: &Change, api: &Shared, iam: &Iam, now: Timestamp) {
        if actor.is_none() {
            self.edited.insert(
                change.place.clone(),
                Written { version: change.version, at: now, calls: self.calls },
            );
        }
        if change.place.kind == Kind::Key.stored() {
            self.saw_key(actor, change, api, iam, now);
        }
        if change.place.kind == Kind::Account.stored() {
            self.saw_account(actor, change);
        }
        if change.place.kind != "secrets" {
            return;
        }
        let data =
            |o: &Value| (o["data"].clone(), o["metadata"]["annotations"]["keywheel.dev/key-id"].clone());
        let content_changed = change.before.as_ref().is_none_or(|b| data(b) != data(&change.object));
        let owner = change.object["metadata"]["annotations"]["keywheel.dev/owner-uid"].as_str();
        match actor {
            None => {
                if let Some(uid) = owner {
                    self.needs.touched(uid);
                    self.let_go.insert(format!("{}", change.place));
                }
                if change.kind == ChangeKind::Deleted {
                    self.tampered.remove(&change.place);
                } else if content_changed {
                    self.tampered.insert(
                        change.place.clone(),
                        Written { version: change.version, at: now, calls: self.calls },
                    );
                }
            }
            Some(_) => {
                self.let_go.remove(&format!("{}", change.place));
                self.forgotten.remove(&change.place);
                self.taken_over(change, iam);
                // A Secret that is taken over without a proof says so, and shows what it showed until there is a key.
                let unproved = change.before.as_ref().is_some_and(|before| {
                    before["data"] == change.object["data"] && data(&change.object).1.is_null()
                });
                if content_changed && !unproved || change.kind == ChangeKind::Deleted {
                    self.tampered.remove(&change.place);
                }
                let ours = |o: &Value| !o["metadata"]["annotations"]["keywheel.dev/owner-uid"].is_null();
                if change.before.as_ref().is_some_and(|before| !ours(before)) {
                    self.report("No theft", format!("{} is not ours and is changed", change.place));
                }
                if change.kind == ChangeKind::Deleted
                    && let Some(owner) = owner.map(str::to_owned)
                {
                    self.secret_ends(&owner, change, api, iam, now);
                }
            }
        }
    }

    /// A Secret that was left became another object's: what it goes on publishing must work.
    fn taken_over(&mut self, change: &Change, iam: &Iam) {
        let mark =
            |o: &Value, name: &str| o["metadata"]["annotations"][format!("keywheel.dev/{name}")].clone();
        let Some(before) = &change.before else { return };
        let another = mark(before, "owner-uid") != mark(&change.object, "owner-uid");
        let id = mark(&change.object, "key-id");
        let key = id.as_str().and_then(|id| iam.keys.get(id));
        if let Some(key) = key.filter(|_| another) {
            self.inherited.insert(key.id.clone());
        }
        if another && key.is_some_and(|k| !k.works()) {
            let what = format!("{} is taken over with key {id}, which is ended", change.place);
            self.report("No outage", what);
        }
    }

    /// The operator deleted a consumer Secret: its object must be going, or must have had another name for it since an
    /// overlap ago, or the key in it was revoked.
    fn secret_ends(&mut self, owner: &str, change: &Change, api: &Shared, iam: &Iam, now: Timestamp) {
        let staging = change.object["type"] == "keywheel.dev/staging";
        let view = View::of(api);
        // A person took the status away while the Secret was on its way out: its keys are suspects at most.
        if view.key(owner).is_some_and(|o| o.deleting && o.object["status"].is_null()) && !staging {
            let marks = &change.object["metadata"]["annotations"];
            let older =
                marks["keywheel.dev/ledger"].as_str().and_then(|l| serde_json::from_str::<Value>(l).ok());
            let older = older.as_ref().and_then(Value::as_array).into_iter().flatten().map(|key| &key["id"]);
            let ids = older.chain([&marks["keywheel.dev/key-id"]]).filter_map(Value::as_str);
            self.excused.extend(ids.map(str::to_owned));
        }
        let Some(owner) = view.key(owner).filter(|o| !o.deleting && !staging) else { return };
        let revoked_at = time(&owner.object["metadata"]["annotations"]["keywheel.dev/revoke-at"]);
        let shown = change.object["metadata"]["annotations"]["keywheel.dev/key-id"].as_str();
        let key = shown.and_then(|id| iam.keys.get(id));
        let revoked = |key: &iam::Key| revoked_at.is_some_and(|at| at <= now && key.created_at < at);
        let replaced = || {
            let mut today = view.consumers().filter(|s| s.place.name == owner.secret_name());
            let id =
                today.next().and_then(|s| s.key_id.as_ref().filter(|id| s.credentials.contains_key(*id)));
            id.and_then(|id| iam.keys.get(id)).is_some_and(|k| k.works() && !revoked(k))
        };
        if owner.secret_name() != change.place.name && key.is_some_and(revoked) && replaced() {
            return;
        }
        let since = self.renamed.get(&(owner.uid.clone(), change.place.name.clone()));
        let overlap = self.overlaps.get(&owner.uid).copied().unwrap_or_default().saturating_sub(self.slack);
        let overlap = SignedDuration::try_from(overlap).unwrap_or_default();
        if owner.secret_name() == change.place.name || since.is_none_or(|at| now < *at + overlap) {
            let age = since.map(|at| now - *at);
            self.report(
                "No outage",
                format!("{} is deleted {age:?} after {} got another name for it", change.place, owner.place),
            );
        }
    }

    fn saw_account(&mut self, actor: Option<usize>, change: &Change) {
        let uid = change.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let gone = change.kind == ChangeKind::Deleted;
        if let Some(before) = change.before.as_deref().filter(|_| actor.is_none()) {
            self.policies.insert(change.place.clone(), before["spec"]["unmanagedKeys"].clone());
        }
        if actor.is_none()
            && change.before.as_deref().is_some_and(|b| held(b) && (gone || !held(&change.object)))
        {
            self.let_go.insert(uid.clone());
        }
        self.saw_roles(change);
        if gone {
            self.gone.insert(uid, (*change.object).clone());
        }
    }

    fn saw_key(&mut self, actor: Option<usize>, change: &Change, api: &Shared, iam: &Iam, now: Timestamp) {
        self.learn(&change.object);
        let uid = change.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let before = change.before.as_deref();
        if change.kind == ChangeKind::Deleted {
            self.gone.insert(uid.clone(), (*change.object).clone());
        }
        if let Some(before) = before.filter(|_| actor.is_some()) {
            self.asked_to_forget(before, change, iam);
        }
        let name = |o: &Value| {
            let given = o.pointer("/spec/secret/name").and_then(Value::as_str);
            given.or_else(|| o["metadata"]["name"].as_str()).unwrap_or_default().to_owned()
        };
        if let Some(old) = before.map(name).filter(|old| *old != name(&change.object)) {
            let told = before.and_then(|b| b.pointer("/status/secretName")).is_some();
            if !told {
                // Its status was taken away, and the spec was all that named it.
                let former = View::of(api).secrets.into_iter();
                let of_name =
                    former.filter(|s| s.owner_uid.as_deref() == Some(uid.as_str()) && s.place.name == old);
                self.forgotten.extend(of_name.map(|s| s.place));
            }
            self.renamed.insert((uid.clone(), old), now);
        }
        if actor.is_none() {
            if before
                .is_some_and(|b| held(b) && (!held(&change.object) || change.kind == ChangeKind::Deleted))
            {
                self.let_go.insert(uid.clone());
            }
            // A status of another time remembers as little of the last days as none.
            if before.is_some_and(|b| !b["status"].is_null() && b["status"] != change.object["status"]) {
                self.needs.wiped(&uid);
                // Who takes the status away makes everybody forget the Secret of a former name.
                let former = View::of(api).secrets.into_iter().filter(|s| {
                    s.owner_uid.as_deref() == Some(uid.as_str()) && s.place.name != name(&change.object)
                });
                self.forgotten.extend(former.map(|s| s.place));
                // Nor does anybody know the keys of an object whose Secret went before, because it is being deleted.
                let view = View::of(api);
                let ids = before.and_then(|b| b.pointer("/status/keys")).and_then(Value::as_array);
                let ids = ids.into_iter().flatten().filter_map(|k| k["id"].as_str());
                let named = |id: &str| {
                    let shows = |s: &SecretObject| s.credentials.contains_key(id) || s.older.contains(id);
                    view.secrets.iter().any(shows) || view.keys.iter().any(|o| o.ledger().any(|k| k == id))
                };
                self.excused.extend(ids.filter(|id| !named(id)).map(str::to_owned));
            }
            return;
        }
        let view = View::of(api);
        let Some(object) = view.key(&uid).cloned() else { return };
        if let Some(burnt) = self.needs.wrote(before, &object, iam, now, self.slack) {
            self.report("No burn", burnt);
        }
        self.presume(before, &object, iam, api);
        if let Some(late) = put_off(before, &object) {
            self.report("Convergence", late);
        }
        let handled = |o: &Value| o.pointer("/status/handled/revokeAt").and_then(time);
        if let Some(at) = handled(&change.object).filter(|at| before.and_then(handled) != Some(*at)) {
            self.revoked(&object, at, iam);
        }
    }

    fn presume(&mut self, before: Option<&Value>, object: &KeyObject, iam: &Iam, api: &Shared) {
        let place = Place {
            kind: Kind::Account.stored().to_owned(),
            namespace: object.place.namespace.clone(),
            name: object.object["spec"]["serviceAccountRef"]["name"].as_str().unwrap_or_default().to_owned(),
        };
        let exclusive = api.with(|s| s.store.get(&place).is_some_and(|a| a["status"]["exclusive"] == true));
        let windows = before.and_then(|b| b.pointer("/status/lost")).and_then(Value::as_array);
        let windows: Vec<&Value> = windows.into_iter().flatten().filter(|l| l["fenced"] == true).collect();
        for id in object.list("keys").filter(|k| k["origin"] == "Orphan").filter_map(|k| k["id"].as_str()) {
            let Some(key) = iam.keys.get(id).filter(|k| k.made_by == Maker::Person) else { continue };
            let fits = |lost: &&Value| {
                let known = lost["knownKeyIds"].as_array().is_some_and(|ids| ids.iter().any(|k| k == id));
                !known && is_in_window(lost, key.created_at)
            };
            if exclusive && windows.iter().any(fits) {
                self.presumed.insert(id.to_owned());
            }
        }
    }

    /// A revocation is said to be carried out.
    fn revoked(&mut self, object: &KeyObject, at: Timestamp, iam: &Iam) {
        let made = |nonce: &String| self.attempts.get(nonce) == Some(&object.uid);
        let unknown = |key: &iam::Key| {
            object.list("suspects").any(|s| s["id"] == key.id.as_str())
                || object.list("lost").any(|l| is_in_window(l, key.created_at))
                || self.excused.contains(&key.id)
        };
        // The operator counts by its own clock, which may be off by as much as it tolerates.
        let later = |key: &iam::Key| {
            let ledger = object.list("keys").filter(|k| k["id"] == key.id.as_str());
            ledger.filter_map(|k| k["mintedAt"].as_str()?.parse::<Timestamp>().ok()).any(|minted| {
                let off = key.created_at.duration_until(minted).unsigned_abs();
                minted >= at && off <= TOLERATED
            })
        };
        let left = iam.keys.values().find(|key| {
            key.works()
                && key.created_at + SignedDuration::from_secs(1) < at
                && matches!(&key.made_by, Maker::Attempt(nonce) if made(nonce))
                && Some(&key.account) == object.account.as_ref()
                && !unknown(key)
                && !later(key)
        });
        if let Some(key) = left {
            let what = format!("key {} of {} survives its revocation", short(&key.id), object.place);
            self.report("Convergence", what);
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
        self.needs.look(&view, now);
        self.outages(&view, iam, now);
        self.remembered(api, iam);
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
            if is_covered(view, key, nonce) || self.is_retained(key) {
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
            // A Secret of a former name is on notice once that of the new name is there.
            let owner = secret.owner_uid.as_deref().and_then(|uid| view.key(uid));
            let successor = owner.filter(|o| o.secret_name() != secret.place.name).and_then(|o| {
                view.consumers().find(|s| {
                    s.place.name == o.secret_name() && s.owner_uid.as_deref() == Some(o.uid.as_str())
                })
            });
            if successor.is_some_and(|s| !s.credentials.is_empty()) {
                continue;
            }
            // What stands there as the previous one is none that workloads are told to read.
            let marked = secret.key_id.as_ref().filter(|id| secret.credentials.contains_key(*id));
            let told = |id: &&String| marked.map_or(secret.previous.as_ref() != Some(*id), |m| m == *id);
            for id in secret.credentials.keys().filter(told) {
                current.insert(id.clone(), secret.owner_uid.clone().unwrap_or_default());
            }
        }
        for (id, published) in &mut self.published {
            if !current.contains_key(id) && published.until.is_none() {
                published.until = Some(now);
            }
        }
        for (id, owner) in current {
            if !self.published.contains_key(&id) {
                self.needs.published(&owner, now);
            }
            self.published.insert(id, Published { owner, until: None });
        }
    }

    fn outages(&mut self, view: &View, iam: &Iam, now: Timestamp) {
        for secret in view.consumers() {
            let uid = secret.owner_uid.as_deref().unwrap_or_default();
            let living = view.key(uid);
            let object = living.map(|o| &*o.object).or_else(|| self.gone.get(uid));
            let Some(object) = object else { continue };
            let retained = object.pointer("/spec/secret/deletionPolicy").is_some_and(|p| p == "Retain");
            if living.is_none_or(|o| o.deleting) && (!retained || self.let_go.contains(uid)) {
                continue;
            }
            let owner = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let unproved_is_fine =
                object.pointer("/spec/verification/mode").is_some_and(|mode| mode == "None");
            if self.tampered.contains_key(&secret.place) || self.forgotten.contains(&secret.place) {
                continue;
            }
            let marked = secret.key_id.as_ref().and_then(|id| secret.credentials.get_key_value(id));
            let Some((id, pem)) = marked.or_else(|| secret.credentials.iter().next()) else {
                self.report("No outage", format!("{} of {} holds no credential", secret.place, owner));
                continue;
            };
            let Some(key) = iam.keys.get(id) else {
                self.report("No outage", format!("{} holds the unknown key {}", secret.place, short(id)));
                continue;
            };
            // A disabled account makes no key worse than it was: it can be enabled again.
            let account = &iam.accounts[&key.account];
            if account.deleted && account.touched_by_person || key.ended_by_person {
                continue;
            }
            let proved = key.was_accepted || unproved_is_fine;
            let why = if !key.works() {
                "is ended"
            } else if key.expires_at.is_some_and(|end| end <= now) {
                "came to its own end"
            } else if !proved {
                "was never proved"
            } else if !key.is_of(pem) {
                "is not the one that the Secret says"
            } else {
                continue;
            };
            self.report("No outage", format!("{} publishes key {}, which {why}", secret.place, short(id)));
        }
    }
}

/// Whether a finalizer holds an object.
fn held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}

/// A rotation that is put off: its time is written anew without a publication, and later than the period says.
fn put_off(before: Option<&Value>, object: &KeyObject) -> Option<String> {
    let at = |o: &Value, name: &str| o["status"].get(name).and_then(time);
    let rotation = object.object.pointer("/spec/rotation")?;
    let length = |name: &str| {
        let text = rotation.get(name).and_then(Value::as_str)?;
        SignedDuration::try_from(Span::new(text).to_duration().ok()?).ok()
    };
    let (last, next) = (at(&object.object, "lastRotationTime")?, at(&object.object, "nextRotationTime")?);
    let judged = object.object["status"]["observedGeneration"] == object.object["metadata"]["generation"];
    let same = judged && !object.deleting && before.is_some_and(|b| at(b, "lastRotationTime") == Some(last));
    let latest = last + length("every")? + length("jitter").unwrap_or_default();
    (same && next > latest)
        .then(|| format!("{} turns at {next}, not at {latest} at the latest", object.place))
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
