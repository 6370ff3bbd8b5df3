//! What must hold once everybody has come to rest.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use keywheel::api::v1alpha1::Span;
use serde_json::Value;

use super::{KeyObject, Oracle, View, time};
use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::iam::{Iam, Maker, short};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Why a world is not at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrest(pub String);

/// Everything that is not as it must be at rest: each Secret publishes the active, accepted key; no attempt is open,
/// lost or staged; every key that we made is in a ledger or among the suspects, and every account has its object.
pub fn unrest(api: &Shared, iam: &Iam, oracle: &Oracle, now: Timestamp) -> Vec<Unrest> {
    let view = View::of(api);
    let mut found = Vec::new();
    for object in &view.keys {
        if object.deleting {
            found.push(Unrest(format!("{} is still being deleted", object.place)));
        } else {
            found.extend(
                of_key(&view, object, iam, now).into_iter().map(|w| Unrest(format!("{}: {w}", object.place))),
            );
        }
    }
    for secret in view.consumers() {
        let uid = secret.owner_uid.as_deref().unwrap_or_default();
        // Whose former names a person took away with its status, nobody remembers.
        let by_hand = oracle.is_let_go(uid)
            || oracle.is_let_go(&secret.place.to_string())
            || oracle.is_forgotten(&secret.place);
        let retained = |o: &Value| o.pointer("/spec/secret/deletionPolicy").is_some_and(|p| p == "Retain");
        let left = oracle.departed(uid).filter(|o| view.key(uid).is_none() && !retained(o));
        if left.is_some() && !by_hand {
            found.push(Unrest(format!("{} is left behind by an object that is gone", secret.place)));
        }
    }
    for secret in view.consumers() {
        let Some(owner) = secret.owner_uid.as_deref().and_then(|uid| view.key(uid)) else { continue };
        let known = object_names(owner).any(|name| name == secret.place.name);
        let by_hand = oracle.is_let_go(&secret.place.to_string()) || oracle.is_forgotten(&secret.place);
        if !owner.deleting && !known && !by_hand {
            found.push(Unrest(format!("{} of {} is forgotten", secret.place, owner.place)));
        }
    }
    for secret in view.secrets.iter().filter(|s| s.staging) {
        found.push(Unrest(format!("{} is still staged", secret.place)));
    }
    for key in iam.keys.values().filter(|k| !k.deleted && matches!(k.made_by, Maker::Attempt(_))) {
        let recorded = view.keys.iter().any(|o| {
            o.ledger().any(|k| k == key.id) || o.list("suspects").any(|s| s["id"] == key.id.as_str())
        });
        let kept = view.consumers().any(|s| s.credentials.contains_key(&key.id));
        let retained = oracle.is_retained(key);
        if !recorded && !kept && !retained && !oracle.is_excused(&key.id) {
            found.push(Unrest(format!("key {} is in no ledger", short(&key.id))));
        }
    }
    for key in iam.keys.values().filter(|key| oracle.is_left_over(key, &view, api, iam, now)) {
        found.push(Unrest(format!("key {} is handed over by its account and still there", short(&key.id))));
    }
    found.extend(accounts(api, iam, oracle));
    found.extend(oracle.roles_at_rest(api, iam, now).into_iter().map(Unrest));
    found
}

/// Accounts that carry our mark and have no object any more that was not to leave them.
fn accounts(api: &Shared, iam: &Iam, oracle: &Oracle) -> Vec<Unrest> {
    let living: BTreeSet<String> = api.with(|s| {
        let objects = s.store.list(Kind::Account.stored(), None);
        objects.filter_map(|(_, o)| o["metadata"]["uid"].as_str().map(str::to_owned)).collect()
    });
    let left = iam.accounts.values().filter(|record| !record.deleted).filter(|record| {
        let Some((_, uid)) = record.account.description.split_once("keywheel:sim/") else { return false };
        let policy = oracle.departed(uid).and_then(|o| o.pointer("/spec/deletionPolicy")?.as_str());
        let stays = policy.is_some_and(|p| p != "Delete") || oracle.is_let_go(uid);
        !living.contains(uid) && !stays
    });
    left.map(|record| Unrest(format!("account {} is left behind by an object that is gone", record.id)))
        .collect()
}

fn of_key(view: &View, object: &KeyObject, iam: &Iam, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let condition = |name: &str| {
        object.list("conditions").find(|c| c["type"] == name).map(|c| {
            (
                c["status"].as_str().unwrap_or_default(),
                c["reason"].as_str().unwrap_or_default(),
                c["message"].as_str().unwrap_or_default(),
            )
        })
    };
    if condition("Ready").is_none_or(|(status, _, _)| status != "True") {
        found.push(format!("not Ready: {:?}", condition("Ready")));
        return found;
    }
    let Some(active) = object.active() else {
        found.push("no active key".to_owned());
        return found;
    };
    let name =
        object.object.pointer("/spec/secret/name").and_then(|n| n.as_str()).unwrap_or(&object.place.name);
    let secret =
        view.consumers().find(|s| s.place.namespace == object.place.namespace && s.place.name == name);
    match secret {
        None => found.push(format!("Secret {name} is not there")),
        Some(secret) if !secret.credentials.contains_key(active) => {
            found.push(format!("Secret {name} does not publish the active key {}", short(active)));
        }
        Some(_) => {}
    }
    match iam.keys.get(active) {
        Some(key) if key.works() => {}
        _ => found.push(format!("the active key {} does not work", short(active))),
    }
    if object.status("/pending").is_some() {
        found.push("an attempt is open".to_owned());
    }
    if object.list("lost").next().is_some() {
        found.push("an attempt is lost and not settled".to_owned());
    }
    if object.list("formerSecrets").any(|f| time(&f["deleteAt"]).is_some_and(|at| at + HOUR < now)) {
        found.push("a Secret of a former name is still there".to_owned());
    }
    found.extend(late(object, now));
    for key in object.list("keys") {
        let id = key["id"].as_str().unwrap_or_default();
        match iam.keys.get(id) {
            Some(known) if known.deleted => {
                found.push(format!("the ledger has the deleted key {}", short(id)));
            }
            None => found.push(format!("the ledger has the unknown key {}", short(id))),
            Some(_) => {}
        }
        let overdue = [&key["disableAt"], &key["deleteAt"]].into_iter().rfind(|t| !t.is_null());
        if overdue.and_then(time).is_some_and(|at| at + jiff::SignedDuration::from_hours(2) < now) {
            found.push(format!("key {} should have ended", short(id)));
        }
    }
    found
}

/// The next rotation is so long after the last one as the spec says; what was asked for is done.
fn late(object: &KeyObject, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    let spec = |name: &str| object.object.pointer(&format!("/spec/rotation/{name}"));
    let every = spec("every").and_then(Value::as_str).and_then(|t| Span::new(t).to_duration().ok());
    let last = object.status("/lastRotationTime").and_then(time);
    let next = object.status("/nextRotationTime").and_then(time);
    let expires = object.list("keys").any(|k| !k["expiresAt"].is_null());
    let jitter = spec("jitter").and_then(Value::as_str).is_some_and(|j| j != "0s");
    if let (Some(every), Some(last)) = (every.filter(|_| !expires && !jitter), last) {
        let due = SignedDuration::try_from(every).ok().map(|every| last + every);
        if next != due {
            found.push(format!("the next rotation is {next:?}, {every:?} after {last} would be {due:?}"));
        }
    }
    for (asked, done) in [("rotate-at", "rotateAt"), ("revoke-at", "revokeAt")] {
        let wanted = time(&object.object["metadata"]["annotations"][format!("keywheel.dev/{asked}")]);
        let handled = object.status("/handled").and_then(|h| time(&h[done]));
        if let Some(wanted) = wanted.filter(|at| *at + HOUR < now && handled.is_none_or(|done| done < *at)) {
            found.push(format!("{asked} {wanted} is not carried out"));
        }
    }
    found
}

/// Names of the Secrets that an object knows of.
fn object_names(object: &KeyObject) -> impl Iterator<Item = &str> {
    let former = object.list("formerSecrets").filter_map(|f| f["name"].as_str());
    former.chain([object.secret_name()])
}
