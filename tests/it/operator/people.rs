//! What people ask for and what they do by hand: requests by annotation, other names, retained Secrets, keys ended at the
//! backend, workloads. One world of its own, which looks at the backend every few seconds.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, entry, soon};
use super::trial;
use super::world::{Own, World};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("people::a_pair_made_here_is_uploaded_proved_published_and_rotated", local),
        trial("people::rotate_at_turns_the_wheel_once", rotate_at),
        trial("people::revoke_at_ends_every_older_key_without_overlap", revoke_at),
        trial("people::a_request_that_is_no_time_is_told", no_time),
        trial("people::a_renamed_secret_is_published_under_both_names_for_the_overlap", renamed),
        trial("people::the_previous_credential_stays_readable_until_its_key_ends", previous),
        trial("people::a_retained_secret_is_taken_up_by_a_new_object_of_its_name", retained),
        trial("people::a_key_that_somebody_ends_at_the_backend_is_replaced", ended),
        trial("people::keys_that_no_object_owns_are_counted_and_named", unmanaged),
        trial("people::workloads_are_restarted_and_hold_the_old_key_until_they_are_up", restarted),
    ]
}

const WATCHFUL: &str = r#"{"settle": 2000, "backoffBase": 500, "backoffCap": 4000, "retryBase": 200, "retryCap": 2000,
    "proofBase": 300, "driftBase": 1000, "driftCap": 8000, "probe": 5000, "audit": 3000, "listLag": 1000}"#;

fn world() -> MutexGuard<'static, World> {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let start = || Mutex::new(World::own(Own { timing: Some(WATCHFUL), ..Own::default() }));
    WORLD.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

/// No rotation of its own; a short overlap.
fn still() -> Value {
    json!({"rotation": {"overlap": "4s", "deleteAfter": "2s"}})
}

fn ask(case: &Case<'_>, annotation: &str, value: &str) {
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {annotation: value}}}));
}

fn rotated(case: &Case<'_>, from: &str) -> Value {
    case.when("iamsak", "billing", "rotated", |key| {
        key["status"]["activeKeyId"].is_string() && key["status"]["activeKeyId"] != from
    })
}

/// Only the active key is left, in the ledger and at the backend.
fn alone(case: &Case<'_>, id: &str) {
    case.until("older keys to go", || {
        let ids: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
        if ids == [id] { Ok(()) } else { Err(json!(ids)) }
    });
}

fn local() {
    let world = world();
    let case = Case::new(&world, "local");
    case.settled(&json!({
        "keySource": "Local", "validity": "90d",
        "rotation": {"every": "20d", "overlap": "4s", "deleteAfter": "2s"},
    }));
    let first = case.active("billing");
    case.accepted("billing");
    let object = case.get("iamsak", "billing");
    assert_eq!(entry(&object, &first)["source"], "Local");
    assert!(entry(&object, &first)["expiresAt"].is_string(), "{object}");
    assert_eq!((case.count("keys.upload"), case.count("keys.create")), (1, 0));
    case.unstaged();
    let calls: Vec<String> = case.requests().into_iter().map(|r| r.operation).collect();
    for (operation, count) in [("keys.list", 1), ("keys.upload", 1), ("token", 1), ("keys.get", 0)] {
        let seen = calls.iter().filter(|c| *c == operation).count();
        // The judge fetches a token, too; an audit lists.
        assert!(seen >= count && (count > 0 || seen == 0), "{operation}: {calls:?}");
    }
    let old = case.data("billing")["key.json"].clone();
    ask(&case, "keywheel.dev/rotate-at", &soon());
    let second = rotated(&case, &first)["status"]["activeKeyId"].as_str().unwrap().to_owned();
    case.accepted("billing");
    alone(&case, &second);
    case.refused(&old);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    assert_eq!(case.person.keys(&case.name), []);
}

fn rotate_at() {
    let world = world();
    let case = Case::new(&world, "rotateat");
    case.settled(&still());
    let (first, old) = (case.active("billing"), case.data("billing")["key.json"].clone());
    let at = soon();
    ask(&case, "keywheel.dev/rotate-at", &at);
    let key = rotated(&case, &first);
    let second = key["status"]["activeKeyId"].as_str().unwrap().to_owned();
    assert_eq!(entry(&key, &second)["reason"], "Requested");
    assert!(case.judge(&old).accepted(), "no overlap");
    case.when("iamsak", "billing", "handled", |key| key["status"]["handled"]["rotateAt"] == at.as_str());
    alone(&case, &second);
    ask(&case, "keywheel.dev/other", "wakes it up");
    assert_eq!(case.ready("iamsak", "billing")["status"]["rotations"], 1);
}

fn revoke_at() {
    let world = world();
    let case = Case::new(&world, "revokeat");
    case.settled(&json!({"rotation": {"overlap": "1h"}}));
    let first = case.active("billing");
    ask(&case, "keywheel.dev/rotate-at", &soon());
    let second = rotated(&case, &first)["status"]["activeKeyId"].as_str().unwrap().to_owned();
    case.unstaged();
    assert_eq!(case.person.keys(&case.name).len(), 2);
    let leaked = case.data("billing")["key.json"].clone();
    let at = soon();
    ask(&case, "keywheel.dev/revoke-at", &at);
    let third = rotated(&case, &second)["status"]["activeKeyId"].as_str().unwrap().to_owned();
    alone(&case, &third);
    case.refused(&leaked);
    case.accepted("billing");
    let handled = at;
    case.when("iamsak", "billing", "handled", |key| key["status"]["handled"]["revokeAt"] == handled.as_str());
    case.event_saying("billing", Reason::KeyDeleted, &second);
}

fn no_time() {
    let world = world();
    let case = Case::new(&world, "notime");
    case.settled(&still());
    ask(&case, "keywheel.dev/rotate-at", "tomorrow");
    let message = case.told("iamsak", "billing", "Rotating", "False", Reason::InvalidAnnotation);
    assert!(message.contains("tomorrow"), "{message}");
    assert_eq!(condition(&case.get("iamsak", "billing"), "Ready")["status"], "True");
}

fn renamed() {
    let world = world();
    let case = Case::new(&world, "renamed");
    case.settled(&still());
    let (id, before) = (case.active("billing"), case.data("billing")["key.json"].clone());
    case.patch("iamsak", "billing", &json!({"spec": {"secret": {"name": "elsewhere"}}}));
    case.when("iamsak", "billing", "renamed", |key| key["status"]["secretName"] == "elsewhere");
    assert_eq!(case.data("elsewhere")["key.json"], before, "the same credential");
    assert!(case.find("secret", "billing").is_some(), "no overlap of the names");
    case.gone("secret", "billing");
    case.accepted("elsewhere");
    assert_eq!((case.active("billing"), case.count("keys.create")), (id, 1));
    case.event("billing", Reason::FormerSecretDeleted);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.gone("secret", "elsewhere");
}

fn previous() {
    let world = world();
    let case = Case::new(&world, "previous");
    case.settled(&json!({"rotation": {"overlap": "6s", "deleteAfter": "2s"}, "secret": {"previous": true}}));
    let (first, before) = (case.active("billing"), case.data("billing")["key.json"].clone());
    ask(&case, "keywheel.dev/rotate-at", &soon());
    rotated(&case, &first);
    assert_eq!(case.data("billing")["key.json.previous"], before);
    let disabled = case.when("iamsak", "billing", "the old key disabled", |key| {
        ["Disabled", ""].contains(&entry(key, &first)["phase"].as_str().unwrap_or_default())
    });
    assert!(!case.data("billing").contains_key("key.json.previous"), "{disabled}");
    case.refused(&before);
}

fn retained() {
    let world = world();
    let case = Case::new(&world, "retained");
    let keep = json!({"deletionPolicy": "Retain", "secret": {"deletionPolicy": "Retain"}});
    case.settled(&keep);
    let (id, before) = (case.active("billing"), case.data("billing")["key.json"].clone());
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.key("billing", &keep);
    case.ready("iamsak", "billing");
    assert_eq!((case.active("billing"), case.count("keys.create")), (id.clone(), 1), "a second key was made");
    assert_eq!(case.data("billing")["key.json"], before);
    case.event_saying("billing", Reason::SecretTakenOver, &id);
    // Its key is dead: the Secret is taken up, and a new key made.
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.person.delete_key(&case.name, &id);
    case.key("billing", &keep);
    case.ready("iamsak", "billing");
    assert_ne!(case.active("billing"), id);
    case.accepted("billing");
}

fn ended() {
    let world = world();
    let case = Case::new(&world, "ended");
    case.settled(&still());
    let first = case.active("billing");
    case.person.delete_key(&case.name, &first);
    let second = rotated(&case, &first)["status"]["activeKeyId"].as_str().unwrap().to_owned();
    case.event_saying("billing", Reason::KeyEndedByOthers, &first);
    case.accepted("billing");
    case.person.disable_key(&case.name, &second);
    let key = rotated(&case, &second);
    let third = key["status"]["activeKeyId"].as_str().unwrap().to_owned();
    assert_eq!(entry(&key, &third)["reason"], "KeyEnded");
    case.accepted("billing");
    alone(&case, &third);
}

fn unmanaged() {
    let world = world();
    let case = Case::new(&world, "unmanaged");
    case.settled(&still());
    let (theirs, _) = case.person.create_key(&case.name);
    let account = case.when("iamsa", "billing", "counted", |account| {
        account["status"]["keys"]["managed"] == 1 && account["status"]["keys"]["unmanaged"] == 1
    });
    assert_eq!(account["status"]["unmanagedKeys"][0]["id"], theirs.as_str());
    assert_eq!(account["status"]["keys"]["limit"], 10);
    assert_eq!(account["status"]["keys"]["systemManaged"], 1, "the server signs with one of its own");
    assert!(case.person.keys(&case.name).iter().all(|key| !key.disabled));
    assert_eq!(case.count("keys.disable") + case.count("keys.delete"), 0, "none was touched");
}

fn restarted() {
    let world = world();
    let case = Case::new(&world, "restarted");
    let labels = json!({"app": "web"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "web", "image": "none"}]},
        }},
    });
    case.create("deployment", &deployment);
    case.settled(&json!({
        "rotation": {"overlap": "2s", "deleteAfter": "2s"},
        "rolloutRestart": [{"kind": "Deployment", "name": "web"}],
    }));
    let (first, before) = (case.active("billing"), case.data("billing")["key.json"].clone());
    let stamp = |web: &Value| {
        web["spec"]["template"]["metadata"]["annotations"]["keywheel.dev/restarted-for"].clone()
    };
    assert_eq!(stamp(&case.get("deployment", "web")), Value::Null, "the first key replaces nothing");
    ask(&case, "keywheel.dev/rotate-at", &soon());
    let second = rotated(&case, &first)["status"]["activeKeyId"].as_str().unwrap().to_owned();
    let web = case.when("deployment", "web", "stamped", |web| stamp(web) == second.as_str());
    let message = case.told("iamsak", "billing", "Rotating", "True", Reason::RolloutNotDone);
    assert!(message.contains("web") && message.contains(&first), "{message}");
    assert!(case.judge(&before).accepted(), "the old key ended before the workload was up");
    let status = json!({"status": {
        "observedGeneration": web["metadata"]["generation"], "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
    }});
    let path = format!("{}/status", case.path("deployment", "web"));
    case.world.kube.patch(&path, &status).unwrap();
    alone(&case, &second);
    case.refused(&before);
    let generation = case.get("deployment", "web")["metadata"]["generation"].clone();
    assert_eq!(generation, web["metadata"]["generation"], "restarted more than once");
}
