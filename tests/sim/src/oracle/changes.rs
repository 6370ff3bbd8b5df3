//! What a change of an object says: whether it may be so, and what it excuses.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywheel::api::v1alpha1::Span;
use serde_json::Value;

use super::view::{KeyObject, SecretObject, View, time};
use super::{Oracle, Written, is_in_window};
use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place};
use crate::iam::{self, Iam, Maker, short};

/// How far the clocks of the operator and of the backend may be apart while keys are made, and a second for roundings.
const TOLERATED: Duration = Duration::from_secs(301);

impl Oracle {
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
            self.saw_account(actor, change, iam);
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

    fn saw_account(&mut self, actor: Option<usize>, change: &Change, iam: &Iam) {
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
        if let Some(actor) = actor {
            self.takes(actor, change, iam);
        }
        self.learn_account(&change.object);
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

/// Whether a finalizer holds an object.
fn held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
}
