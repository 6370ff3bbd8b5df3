//! Answers that are lost, late or refused: nothing leaks, nothing is sent twice, the published key stays.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, entry};
use super::trial;
use super::world::{World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("faults::a_create_without_an_answer_is_lost_recorded_and_never_sent_again", lost_answer),
        trial("faults::a_create_that_never_arrived_is_lost_all_the_same", never_arrived),
        trial("faults::a_refused_create_backs_off_and_goes_on", refused),
        trial("faults::a_server_error_is_no_refusal", server_error),
        trial("faults::keys_that_cannot_be_listed_are_not_added_to", unlisted),
        trial("faults::a_key_that_is_not_accepted_yet_is_tried_again_and_then_published", activation),
        trial("faults::a_token_endpoint_in_trouble_says_nothing_about_the_key", token_trouble),
        trial("faults::a_lost_account_is_found_again_by_its_mark", lost_account),
        trial("faults::an_ending_whose_answer_is_lost_is_repeated", lost_endings),
        trial("faults::an_ending_that_is_refused_is_told_and_repeated", refused_endings),
    ]
}

fn fault(case: &Case<'_>, operation: &str, action: &Value, times: u32) {
    let fault = json!({"operation": operation, "action": action, "times": times, "match": case.email()});
    case.iam().fault(&fault).unwrap();
}

fn fail(status: u16, canonical: &str) -> Value {
    json!({"fail": {"status": status, "canonical": canonical, "message": format!("{canonical} for a test")}})
}

fn account(prefix: &str) -> Case<'static> {
    let case = Case::new(World::shared(), prefix);
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case
}

/// The keys at the backend, and the attempts that the status calls lost.
fn leftovers(case: &Case<'_>) -> (Vec<String>, Vec<Value>) {
    let ids = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    let lost = case.get("iamsak", "billing")["status"]["lost"].as_array().cloned().unwrap_or_default();
    (ids, lost)
}

fn lost_answer() {
    let case = account("lost");
    fault(&case, "keys.create", &json!("apply_then_drop"), 1);
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "2s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    case.accepted("billing");
    let (ids, lost) = leftovers(&case);
    assert_eq!((ids.len(), lost.len()), (2, 1), "{ids:?} {lost:?}");
    let orphan = ids.iter().find(|id| **id != first).unwrap().clone();
    assert_eq!((&lost[0]["attempt"], &lost[0]["fenced"]), (&json!(1), &json!(true)));
    let until = super::case::time(&lost[0]["until"]);
    assert!(until > jiff::Timestamp::now() + jiff::SignedDuration::from_mins(59), "{until}");
    assert_eq!(case.get("iamsak", "billing")["status"]["attempt"], 2);
    assert_eq!(case.count("keys.create"), 2, "one create an attempt");

    // The wheel turns on. The backend names the key of the attempt: it gets its overlap and ends, and the window is closed,
    // because the attempt can have made no other.
    case.when("iamsak", "billing", "a whole turn", |key| {
        key["status"]["rotations"] == 1 && entry(key, &first).is_null()
    });
    case.event_saying("billing", Reason::OrphanAdopted, &orphan);
    case.event_saying("billing", Reason::KeyDeleted, &orphan);
    assert!(!case.person.keys(&case.name).iter().any(|key| key.id == orphan), "the lost key lives on");
    assert_eq!(case.get("iamsak", "billing")["status"]["lost"], Value::Null);
    case.accepted("billing");
}

fn never_arrived() {
    let case = account("dropped");
    fault(&case, "keys.create", &json!("drop_before"), 1);
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    let (ids, lost) = leftovers(&case);
    // Nobody can tell from here that nothing was made.
    assert_eq!((ids.len(), lost.len()), (1, 1), "{ids:?} {lost:?}");
    case.accepted("billing");
}

fn refused() {
    let case = account("refused");
    fault(&case, "keys.create", &fail(403, "PERMISSION_DENIED"), 2);
    case.key("billing", &json!({}));
    let message = case.event("billing", Reason::PermissionMissing);
    assert!(message.contains("PERMISSION_DENIED for a test"), "{message}");
    let ready = case.ready("iamsak", "billing");
    assert_eq!(
        (&ready["status"]["failures"], &ready["status"]["lastFailureTime"]),
        (&Value::Null, &Value::Null)
    );
    let (ids, lost) = leftovers(&case);
    assert_eq!((ids.len(), lost.len()), (1, 0), "a refusal leaves nothing behind: {ids:?} {lost:?}");
    assert_eq!((&ready["status"]["attempt"], case.count("keys.create")), (&json!(3), 3));
    let times: Vec<jiff::Timestamp> = case
        .requests()
        .iter()
        .filter(|request| request.operation == "keys.create")
        .map(|request| super::case::time(&request.raw["time"]))
        .collect();
    // 500 ms and 1 s, in whole seconds of the status: never at once.
    let gaps = times.windows(2).map(|pair| pair[0].duration_until(pair[1]).as_millis()).collect::<Vec<_>>();
    assert!(gaps[0] > 100 && gaps[1] > 250, "{gaps:?}");
    case.accepted("billing");
}

fn server_error() {
    let case = account("unavail");
    fault(&case, "keys.create", &fail(503, "UNAVAILABLE"), 1);
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    let (ids, lost) = leftovers(&case);
    assert_eq!((ids.len(), lost.len()), (1, 1), "a 503 may have been carried out: {ids:?} {lost:?}");
}

fn unlisted() {
    for (prefix, status, canonical, reason) in [
        ("unlist", 403, "PERMISSION_DENIED", Reason::PermissionMissing),
        ("listerr", 500, "INTERNAL", Reason::BackendUnreachable),
    ] {
        let case = account(prefix);
        fault(&case, "keys.list", &fail(status, canonical), 2);
        case.key("billing", &json!({}));
        let message = case.event_saying("billing", reason, "cannot be listed");
        assert!(message.contains(canonical), "{message}");
        case.ready("iamsak", "billing");
        let operations: Vec<String> = case.requests().into_iter().map(|call| call.operation).collect();
        let first_create = operations.iter().position(|operation| operation == "keys.create").unwrap();
        let lists =
            operations.iter().take(first_create).filter(|operation| *operation == "keys.list").count();
        assert!(lists >= 3, "a key was made without knowing the others: {operations:?}");
        assert_eq!(leftovers(&case).1, Vec::<Value>::new());
        case.accepted("billing");
    }
}

fn activation() {
    let iam = start_iam(IamOptions { key_activation_delay: Some("12s".into()), ..IamOptions::default() });
    let case = Case::at(World::shared(), "activate", iam, &json!({}));
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case.key("billing", &json!({"verification": {"timeout": "6s"}}));
    let message = case.told("iamsak", "billing", "KeyVerified", "False", Reason::KeyNotYetAccepted);
    assert!(message.contains("The same key is tried again"), "{message}");
    let waiting = case.get("iamsak", "billing");
    assert_eq!(condition(&waiting, "Ready")["status"], "False");
    assert_eq!(case.find("secret", "billing"), None, "an unproved key was published");
    let staged = waiting["status"]["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(waiting["status"]["keys"][0]["phase"], "Pending");
    case.told("iamsak", "billing", "KeyVerified", "False", Reason::VerificationTimeout);
    case.event("billing", Reason::VerificationTimeout);
    let ready = case.ready("iamsak", "billing");
    assert_eq!(ready["status"]["activeKeyId"], json!(staged), "a new key cures nothing");
    assert_eq!(condition(&ready, "KeyVerified")["status"], "True");
    assert_eq!((case.count("keys.create"), &ready["status"]["attempt"]), (1, &json!(1)));
    // Three proofs in a row are asked of a key that was refused once. Whoever is refused is nobody in the log.
    let proofs: Vec<Value> = case
        .iam()
        .requests()
        .unwrap()
        .iter()
        .filter(|request| request.operation == "token")
        .map(|request| request.raw["status"].clone())
        .collect();
    assert!(proofs.ends_with(&[json!(400), json!(200), json!(200), json!(200)]), "{proofs:?}");
    case.accepted("billing");
}

fn token_trouble() {
    let case = account("tokens");
    fault(&case, "token", &fail(503, "temporarily_unavailable"), 2);
    case.key("billing", &json!({}));
    let ready = case.ready("iamsak", "billing");
    assert_eq!((case.count("keys.create"), &ready["status"]["attempt"]), (1, &json!(1)));
    assert_eq!(ready["status"]["keys"].as_array().map(Vec::len), Some(1));
    case.accepted("billing");
}

fn lost_account() {
    let case = Case::new(World::shared(), "lostacc");
    fault(&case, "accounts.create", &json!("apply_then_drop"), 1);
    case.account(&json!({}));
    let account = case.ready("iamsa", "billing");
    assert_eq!(account["status"]["origin"], "Created", "its own mark was not known again");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert_eq!(case.person.account(&case.name), None);
}

/// Refused for a while, and lost once: the key stays in the ledger as it was until its end is known.
fn refused_endings() {
    let case = account("noend");
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "1s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    fault(&case, "keys.disable", &fail(403, "PERMISSION_DENIED"), 2);
    fault(&case, "keys.delete", &fail(503, "UNAVAILABLE"), 1);
    for (reason, words) in
        [(Reason::PermissionMissing, "PERMISSION_DENIED"), (Reason::BackendUnreachable, "UNAVAILABLE")]
    {
        case.event_saying("billing", reason, words);
        assert_eq!(condition(&case.get("iamsak", "billing"), "Ready")["status"], "True");
    }
    let key = case.when("iamsak", "billing", "the old key's end", |key| entry(key, &first).is_null());
    assert!(!case.person.keys(&case.name).iter().any(|key| key.id == first), "forgotten before its end");
    assert_eq!(condition(&key, "Ready")["status"], "True");
    case.when("iamsak", "billing", "reachable again", |key| {
        condition(key, "BackendReachable")["status"] == "True"
    });
    case.accepted("billing");
}

fn lost_endings() {
    let case = account("endings");
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "2s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    for operation in ["keys.disable", "keys.delete"] {
        fault(&case, operation, &json!("apply_then_drop"), 1);
    }
    case.when("iamsak", "billing", "a whole turn", |key| {
        key["status"]["rotations"] == 1 && entry(key, &first).is_null()
    });
    assert!(!case.person.keys(&case.name).iter().any(|key| key.id == first));
    assert!(case.count("keys.disable") >= 2 && case.count("keys.delete") >= 2);
    case.accepted("billing");
}
