//! Secrets that are not ours, and accounts without room: nothing is taken, nothing is minted in vain, and it goes on once
//! there is a place.

use keywheel::domain::Reason;
use keywheel_testbed::gate::Gate;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, SOON, condition, entry};
use super::gate::{annotation, guard_staging, is_of_a_key, unguard_staging};
use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bad_secret::a_secret_of_somebody_else_is_not_touched_and_no_key_is_made", foreign),
        trial("bad_secret::a_copy_from_another_namespace_is_not_taken_over", copied),
        trial("bad_secret::of_two_keys_that_want_one_secret_the_second_stalls", rivals),
        trial("bad_secret::no_key_is_made_that_could_not_be_stored", quota_of_the_namespace),
        trial("bad_secret::a_key_whose_staging_is_refused_is_deleted_at_once", staging_refused),
        trial("bad_secret::a_full_account_makes_a_first_key_wait_and_names_the_keys", full),
        trial("bad_secret::a_full_account_holds_up_a_rotation_and_leaves_the_key_ready", full_at_rotation),
    ]
}

fn foreign() {
    let case = Case::new(World::shared(), "foreign");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "billing", "labels": {"app": "x"}},
        "stringData": {"key.json": "theirs"},
    });
    case.create("secret", &theirs);
    let before = case.get("secret", "billing");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "Stalled", "True", Reason::SecretConflict);
    assert!(message.contains("billing") && message.contains("another secret.name"), "{message}");
    case.told("iamsak", "billing", "Ready", "False", Reason::SecretConflict);
    case.event("billing", Reason::SecretConflict);
    assert_eq!(case.get("secret", "billing"), before, "it was touched");
    assert_eq!(case.count("keys.create"), 0);
    // Its deletion must not take it along either.
    case.key("brief", &json!({"secret": {"name": "billing"}}));
    case.told("iamsak", "brief", "Stalled", "True", Reason::SecretConflict);
    case.delete("iamsak", "brief");
    case.gone("iamsak", "brief");
    assert_eq!(case.get("secret", "billing"), before, "it was touched");

    case.delete("secret", "billing");
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

/// A backup or a mirror brings a Secret with all its marks into another namespace, where an object has the name of its
/// owner: the key in it is not that object's.
fn copied() {
    let original = Case::new(World::shared(), "original");
    original.settled(&json!({}));
    let source = original.get("secret", "billing");
    let case = Case::new(World::shared(), "copied");
    let copy = json!({
        "apiVersion": "v1", "kind": "Secret", "type": source["type"], "data": source["data"],
        "metadata": {
            "name": "billing", "labels": source["metadata"]["labels"],
            "annotations": source["metadata"]["annotations"],
        },
    });
    case.create("secret", &copy);
    let before = case.get("secret", "billing");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "Stalled", "True", Reason::SecretConflict);
    assert!(message.contains("copy") && message.contains(&original.name), "{message}");
    assert_eq!(case.get("secret", "billing"), before, "it was touched");
    assert_eq!(case.count("keys.create"), 0);
    case.delete("secret", "billing");
    case.ready("iamsak", "billing");
    case.accepted("billing");
    original.accepted("billing");
}

fn rivals() {
    let case = Case::new(World::shared(), "rivals");
    case.settled(&json!({"secret": {"name": "wanted"}}));
    let before = case.get("secret", "wanted");
    case.key("second", &json!({"secret": {"name": "wanted"}}));
    let message = case.told("iamsak", "second", "Stalled", "True", Reason::SecretConflict);
    assert!(message.contains("ServiceAccountKey billing"), "{message}");
    assert_eq!(case.get("secret", "wanted"), before);
    assert_eq!(case.count("keys.create"), 1);
    // Once the first one lets go of it, the second has it.
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.ready("iamsak", "second");
    case.accepted("wanted");
}

/// The dry run before an attempt: what cannot be stored is never minted.
fn quota_of_the_namespace() {
    let case = Case::new(World::shared(), "quota");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    // A type that the API server does not take with our data.
    case.key("billing", &json!({"secret": {"type": "kubernetes.io/tls"}}));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::SecretRefused);
    assert!(message.contains("tls.crt"), "{message}");
    case.event("billing", Reason::SecretRefused);
    assert_eq!((case.count("keys.create"), case.person.keys(&case.name).len()), (0, 0));
    case.key("good", &json!({}));
    case.ready("iamsak", "good");
}

/// What changes the keys of an account.
const CHANGES: [&str; 3] = ["keys.create", "keys.disable", "keys.delete"];

/// What the dry run cannot foresee.
fn staging_refused() {
    let case = Case::new(World::shared(), "unstaged");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    let gate = Gate::open().unwrap();
    guard_staging(&case, &gate);
    gate.hold_first(is_of_a_key);
    case.key("billing", &json!({}));
    let held = gate.held_within(SOON).unwrap();
    let made = annotation(&held["object"], "key-id").as_str().unwrap().to_owned();
    assert!(case.person.keys(&case.name).iter().any(|key| key.id == made));
    gate.refuse("not today");
    case.event_saying("billing", Reason::SecretRefused, "not today");
    case.ready("iamsak", "billing");
    case.accepted("billing");
    // Before anything else was made.
    let operations: Vec<String> = case.requests().into_iter().map(|request| request.operation).collect();
    let changes: Vec<&str> = operations.iter().map(String::as_str).filter(|o| CHANGES.contains(o)).collect();
    assert_eq!(changes, ["keys.create", "keys.delete", "keys.create"]);
    let left: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(left, [case.active("billing")]);
    unguard_staging(&case);
}

fn fill(case: &Case<'_>, room: usize) -> Vec<String> {
    (case.person.keys(&case.name).len() + room..10).map(|_| case.person.create_key(&case.name).0).collect()
}

fn full() {
    let case = Case::new(World::shared(), "full");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    let theirs = fill(&case, 0);
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "QuotaExhausted", "True", Reason::QuotaExhausted);
    for id in &theirs {
        assert!(message.contains(id.as_str()), "{id} is not in {message}");
    }
    case.told("iamsak", "billing", "Ready", "False", Reason::QuotaExhausted);
    case.event("billing", Reason::QuotaExhausted);
    assert_eq!(case.count("keys.create"), theirs.len(), "it tried although there was no room");
    let (gone, kept) = theirs.split_first().unwrap();
    case.person.delete_key(&case.name, gone);
    let ready = case.ready("iamsak", "billing");
    assert_eq!(condition(&ready, "QuotaExhausted"), Value::Null, "{}", ready["status"]);
    case.accepted("billing");
    let left = case.person.keys(&case.name);
    for id in kept {
        assert!(left.iter().any(|key| key.id == *id && !key.disabled), "{id} was touched");
    }
}

fn full_at_rotation() {
    let case = Case::new(World::shared(), "fullturn");
    case.settled(&json!({"rotation": {"every": "1d", "overlap": "10s", "deleteAfter": "1h"}}));
    let first = case.active("billing");
    let theirs = fill(&case, 0);
    // Due only now: making nine keys takes as long as it takes.
    case.patch("iamsak", "billing", &json!({"spec": {"rotation": {"every": "12s"}}}));
    let message = case.told("iamsak", "billing", "QuotaExhausted", "True", Reason::QuotaExhausted);
    assert!(message.contains(&theirs[0]), "{message}");
    let key = case.get("iamsak", "billing");
    assert_eq!(condition(&key, "Ready")["status"], "True", "{}", key["status"]);
    assert_eq!(key["status"]["activeKeyId"], json!(first));
    case.accepted("billing");
    case.person.delete_key(&case.name, &theirs[0]);
    let key = case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    assert_eq!(entry(&key, &first)["phase"], "Overlap");
    case.when("iamsak", "billing", "room", |key| condition(key, "QuotaExhausted").is_null());
    case.accepted("billing");
}
