//! Answers that come later than the operator waits for them. Whether a call was carried out is then known to nobody: nothing is
//! sent twice, and nothing ends on the strength of it.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamServer;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::super::case::{condition, time};
use super::super::{crash, trial};
use super::{Case, Vendor, World, account, case, case_in, changed, done, key, token};

/// Longer than any call may take, and shorter than the shortest window of a lost attempt in these tests.
const LATE: u64 = 11_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::timeouts::a_key_that_comes_too_late_is_a_suspect_and_stays", late_key),
        trial("disruptive::timeouts::an_account_that_comes_too_late_is_found_by_its_name", late_account),
        trial("disruptive::timeouts::a_login_that_comes_too_late_makes_nothing", late_login),
        trial("disruptive::timeouts::what_cannot_be_read_in_time_is_not_gone", late_reads),
    ]
}

fn late(iam: &IamServer, operation: &str, times: u32) {
    let action = json!({"delay": {"millis": LATE}});
    iam.fault(&json!({"operation": operation, "action": action, "times": times})).unwrap();
}

/// How often this was asked for, whatever came of it; a call that is still delayed is not among them.
fn asked(case: &Case<'_>, operation: &str) -> usize {
    case.iam().requests().unwrap().iter().filter(|r| r.operation == operation).count()
}

fn late_key() {
    let world = crash::world();
    let case = case_in(&world, "dt-late-key", &json!({}), |_| ());
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    late(case.iam(), "disruptive.keys.create", 1);
    case.key("billing", &key(&json!({"rotation": {"overlap": "1s"}})));
    let lost = case.when("iamsak", "billing", "a lost attempt", |key| {
        key["status"]["lost"].as_array().is_some_and(|lost| lost.len() == 1)
    });
    assert_eq!(lost["status"]["lost"][0]["attempt"], 1, "{}", lost["status"]);
    assert!(time(&lost["status"]["lost"][0]["until"]) > jiff::Timestamp::now(), "{}", lost["status"]);
    case.ready("iamsak", "billing");
    let active = case.active("billing");
    let suspect = case.until("the late key", || {
        let ids = vendor.keys(&id);
        ids.iter().find(|id| **id != active).cloned().ok_or(json!(ids))
    });
    // Its secret went with the answer, and nothing says whose it is.
    let message = case.told("iamsak", "billing", "SuspectKeys", "True", Reason::SuspectKeys);
    assert!(message.contains(&suspect) && message.contains("keywheel.dev/claim-key"), "{message}");
    case.event_saying("billing", Reason::SuspectKeys, &suspect);
    let told = case.when("iamsak", "billing", "its window closed", |key| key["status"]["lost"].is_null());
    assert_eq!(told["status"]["suspects"][0]["id"], json!(suspect));
    assert_eq!(
        (condition(&told, "Ready")["status"].as_str(), case.active("billing")),
        (Some("True"), active)
    );
    assert_eq!((asked(&case, "disruptive.keys.create"), asked(&case, "disruptive.keys.delete")), (2, 0));
    assert!(vendor.keys(&id).contains(&suspect), "it is not provably ours");
    token(case.iam(), &case.data("billing")["credentials.json"]).unwrap();
    // A person says that it is.
    let claim = json!({"metadata": {"annotations": {"keywheel.dev/claim-key": suspect}}});
    case.patch("iamsak", "billing", &claim);
    case.until("the late key's end", || match vendor.keys(&id) {
        ids if ids.contains(&suspect) => Err(json!(ids)),
        _ => Ok(()),
    });
}

fn late_account() {
    let case = case("dt-late-account", &json!({}));
    let vendor = Vendor::at(case.iam());
    late(case.iam(), "disruptive.accounts.create", 1);
    account(&case, &json!({}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::AccountPending);
    assert!(message.contains("may show itself until") && message.contains("no other is made"), "{message}");
    let pending = case.get("iamsa", "billing");
    let nonce = pending["status"]["creating"]["nonce"].as_str().expect("an open attempt").to_owned();
    assert_eq!(pending["status"]["uniqueId"], Value::Null);
    let made = case.ready("iamsa", "billing");
    let id = made["status"]["uniqueId"].as_str().unwrap();
    assert_eq!((&made["status"]["origin"], &made["status"]["creating"]), (&json!("Created"), &Value::Null));
    assert_eq!(vendor.account(id).unwrap()["displayName"], "billing");
    assert_eq!((vendor.named("billing"), vendor.named(&format!("keywheel-{nonce}"))), (1, 0));
    assert_eq!(asked(&case, "disruptive.accounts.create"), 1, "one account, one call");
}

fn late_login() {
    let slow = |iam: &IamServer| late(iam, "disruptive.token", 1000);
    let case = case_in(World::shared(), "dt-late-login", &json!({}), slow);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("no answer"), "{message}");
    account(&case, &json!({}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("accounts.list") && message.contains("no answer"), "{message}");
    assert_eq!(case.get("iamsa", "billing")["status"]["creating"], Value::Null, "nothing was begun");
    assert_eq!(changed(&case), 0);
    case.iam().clear_faults().unwrap();
    case.ready("iamsa", "billing");
    case.ready("ciamb", &case.backend);
    assert_eq!(done(&case, "disruptive.accounts.create"), 1);
    // The proof of a key: it is made once, and nobody sees it before.
    late(case.iam(), "disruptive.token", 1000);
    case.key("billing", &key(&json!({})));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("token: no answer"), "{message}");
    assert!(case.find("secret", "billing").is_none(), "an unproved key was published");
    case.iam().clear_faults().unwrap();
    let ready = case.ready("iamsak", "billing");
    assert_eq!((&ready["status"]["attempt"], done(&case, "disruptive.keys.create")), (&json!(1), 1));
}

fn late_reads() {
    let case = case("dt-late-reads", &json!({}));
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].clone();
    case.key("billing", &key(&json!({})));
    case.ready("iamsak", "billing");
    let (active, before) = (case.active("billing"), changed(&case));
    for operation in ["disruptive.accounts.get", "disruptive.keys.list"] {
        late(case.iam(), operation, 1000);
    }
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Sensors"}}));
    let annotation = json!({"keywheel.dev/rotate-at": super::super::case::soon()});
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": annotation}}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("accounts.get: no answer"), "{message}");
    let message = case.told("iamsak", "billing", "BackendReachable", "False", Reason::BackendUnreachable);
    assert!(message.contains("keys.list: no answer"), "{message}");
    assert_eq!(condition(&case.get("iamsak", "billing"), "Ready")["status"], "True");
    assert_eq!((case.active("billing"), changed(&case)), (active.clone(), before));
    case.iam().clear_faults().unwrap();
    assert_eq!(case.ready("iamsa", "billing")["status"]["uniqueId"], id);
    case.when("iamsak", "billing", "rotated", |key| key["status"]["activeKeyId"] != json!(active));
}
