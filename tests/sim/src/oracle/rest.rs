//! What must hold once everybody has come to rest.

use jiff::Timestamp;

use super::{KeyObject, View, time};
use crate::api_server::watch::Shared;
use crate::iam::{Iam, Maker, short};

/// Why a world is not at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrest(pub String);

/// Everything that is not as it must be at rest: each Secret publishes the active, accepted key; no attempt is open,
/// lost or staged; every key that we made is in a ledger or among the suspects.
pub fn unrest(api: &Shared, iam: &Iam, excused: impl Fn(&str) -> bool, now: Timestamp) -> Vec<Unrest> {
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
    for secret in view.secrets.iter().filter(|s| s.staging) {
        found.push(Unrest(format!("{} is still staged", secret.place)));
    }
    for key in iam.keys.values().filter(|k| !k.deleted && matches!(k.made_by, Maker::Attempt(_))) {
        let recorded = view.keys.iter().any(|o| {
            o.ledger().any(|k| k == key.id) || o.list("suspects").any(|s| s["id"] == key.id.as_str())
        });
        if !recorded && !excused(&key.id) {
            found.push(Unrest(format!("key {} is in no ledger", short(&key.id))));
        }
    }
    found
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
