//! Each kind of error of the platform, from the wire to the condition that a person reads: the reason, what the backend said,
//! that nothing was made or ended meanwhile, and that all goes on once it is over.

use jiff::SignedDuration;
use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::super::case::{condition, entry, time};
use super::super::errors::{ASKED, asks, header, kept_away, says_when, tries};
use super::super::trial;
use super::{Case, DEVELOPER, Vendor, account, account_named, case, changed, done, fails, key, token};

/// What the platform refuses with, and how it is told. Not 429: it has a test of its own.
const REFUSALS: [(u16, Reason); 5] = [
    (400, Reason::RequestRefused),
    (401, Reason::LoginRefused),
    (403, Reason::PermissionMissing),
    (404, Reason::NotFoundAtBackend),
    (409, Reason::AccountExists),
];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::errors::a_refused_key_is_told_and_made_later", keys),
        trial("disruptive::errors::a_refused_account_is_told_and_made_later", accounts),
        trial("disruptive::errors::what_is_refused_of_an_account_that_is_there", accounts_that_are_there),
        trial("disruptive::errors::an_account_that_is_gone_is_told_and_not_replaced", account_gone),
        trial("disruptive::errors::an_ending_that_is_refused_is_told_and_repeated", endings),
        trial("disruptive::errors::a_rate_says_until_when_for_keys", rate_of_keys),
        trial("disruptive::errors::a_rate_says_until_when_for_accounts_and_memberships", rate_of_accounts),
        trial("disruptive::errors::a_server_in_trouble_refuses_nothing", trouble),
        trial("disruptive::errors::a_server_in_trouble_refuses_no_account", trouble_of_accounts),
    ]
}

fn keys() {
    let case = case("dt-refused", &json!({}));
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    for (status, reason) in REFUSALS.into_iter().chain([(429, Reason::BackendThrottled)]) {
        let (name, before) = (format!("key-{status}"), changed(&case));
        fails(case.iam(), "disruptive.keys.create", status);
        case.key(&name, &key(&json!({})));
        let message = case.told("iamsak", &name, "Ready", "False", reason);
        assert!(message.contains(&format!("{status} for a test")), "{message}");
        case.event(&name, reason);
        assert_eq!(changed(&case), before, "{status}");
        case.iam().clear_faults().unwrap();
        let ready = case.ready("iamsak", &name);
        assert_eq!(ready["status"]["lost"], Value::Null, "{status} is a refusal");
        token(case.iam(), &case.data(&name)["credentials.json"]).unwrap();
    }
}

fn accounts() {
    let case = case("dt-noacc", &json!({}));
    let vendor = Vendor::at(case.iam());
    for (status, reason) in REFUSALS.into_iter().chain([(429, Reason::BackendThrottled)]) {
        let (name, before) = (format!("account-{status}"), changed(&case));
        fails(case.iam(), "disruptive.accounts.create", status);
        account_named(&case, &name, &json!({}));
        let message = case.told("iamsa", &name, "Ready", "False", reason);
        assert!(message.contains(&format!("{status} for a test")), "{message}");
        case.event(&name, reason);
        assert_eq!(changed(&case), before, "{status}");
        case.iam().clear_faults().unwrap();
        // Nothing was made, so nothing is waited for.
        let ready = case.ready("iamsa", &name);
        assert_eq!((&ready["status"]["creating"], vendor.named(&name)), (&Value::Null, 1), "{status}");
    }
}

/// Reads and changes of one that is there.
fn accounts_that_are_there() {
    let case = case("dt-denied", &json!({"tenants": {"roles": [DEVELOPER]}}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let made = case.ready("iamsa", "billing");
    let id = made["status"]["uniqueId"].as_str().unwrap().to_owned();
    let calls = ["disruptive.accounts.get", "disruptive.accounts.patch"];
    let rows = calls.iter().flat_map(|call| REFUSALS.map(|row| (*call, row)));
    // That one is not there is another matter.
    for (call, (status, reason)) in rows.filter(|row| (row.0, row.1.0) != (calls[0], 404)) {
        let (name, before) = (format!("{call} {status}"), changed(&case));
        fails(case.iam(), call, status);
        case.patch("iamsa", "billing", &json!({"spec": {"displayName": name}}));
        let message = case.told("iamsa", "billing", "Ready", "False", reason);
        assert!(message.contains(&format!("{status} for a test")), "{message}");
        let object = case.get("iamsa", "billing");
        assert_eq!((&object["status"]["uniqueId"], changed(&case)), (&json!(id), before), "{name}");
        case.iam().clear_faults().unwrap();
        case.ready("iamsa", "billing");
        assert_eq!(vendor.account(&id).unwrap()["displayName"], name);
    }
    fails(case.iam(), "disruptive.members.create", 403);
    case.patch("iamsa", "billing", &json!({"spec": {"roles": [{"role": DEVELOPER}]}}));
    let message = case.told("iamsa", "billing", "RolesBound", "False", Reason::PermissionMissing);
    assert!(message.contains("members.create") && message.contains("403 for a test"), "{message}");
    assert_eq!(vendor.role(&id), None);
    case.iam().clear_faults().unwrap();
    case.told("iamsa", "billing", "RolesBound", "True", Reason::RolesBound);
    assert_eq!(vendor.role(&id).as_deref(), Some(DEVELOPER));
}

/// Only a 404 says so, and no other is made in its place.
fn account_gone() {
    let case = case("dt-gone", &json!({"tenants": {"adoption": true}}));
    let vendor = Vendor::at(case.iam());
    let there = vendor.must("POST", "serviceaccounts", &json!({"displayName": "made by hand"}));
    account(&case, &json!({"email": there["email"]}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].clone();
    let before = changed(&case);
    fails(case.iam(), "disruptive.accounts.get", 404);
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Sensors"}}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountGone);
    assert!(message.contains("Delete this object and apply it again"), "{message}");
    assert!(!message.contains("undelete"), "what the backend cannot do is no way out: {message}");
    assert_eq!((changed(&case), &case.get("iamsa", "billing")["status"]["uniqueId"]), (before, &id));
    case.iam().clear_faults().unwrap();
    assert_eq!(case.ready("iamsa", "billing")["status"]["uniqueId"], id);
    // One that this object names, and that never was.
    account_named(
        &case,
        "nobody",
        &json!({"accountId": "c0kqf0000000000000tg", "adoptionPolicy": "IfExists"}),
    );
    let message = case.told("iamsa", "nobody", "Ready", "False", Reason::AccountNotFound);
    assert!(message.contains("c0kqf0000000000000tg"), "{message}");
}

/// What is to end stays in the status until it is known to be gone.
fn endings() {
    let case = case("dt-ends", &json!({}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    case.key("billing", &key(&json!({"rotation": {"overlap": "1s"}})));
    case.ready("iamsak", "billing");
    for (status, reason) in [(403, Reason::PermissionMissing), (503, Reason::BackendUnreachable)] {
        let first = case.active("billing");
        fails(case.iam(), "disruptive.keys.delete", status);
        let annotation = json!({"keywheel.dev/rotate-at": super::super::case::soon()});
        case.patch("iamsak", "billing", &json!({"metadata": {"annotations": annotation}}));
        case.event_saying("billing", reason, &format!("{status} for a test"));
        let key = case.get("iamsak", "billing");
        assert!(entry(&key, &first).is_object(), "forgotten before its end: {}", key["status"]);
        assert_eq!(condition(&key, "Ready")["status"], "True", "the new one is good");
        assert!(vendor.keys(&id).contains(&first));
        case.iam().clear_faults().unwrap();
        case.when("iamsak", "billing", "the old key's end", |key| entry(key, &first).is_null());
        assert!(!vendor.keys(&id).contains(&first));
    }
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    fails(case.iam(), "disruptive.accounts.delete", 403);
    case.delete("iamsa", "billing");
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::PermissionMissing);
    assert!(message.contains("accounts.delete") && message.contains("403 for a test"), "{message}");
    assert!(vendor.account(&id).is_some());
    case.iam().clear_faults().unwrap();
    case.gone("iamsa", "billing");
    assert!(vendor.account(&id).is_none());
}

/// Until when the status says that the backend is left alone: as long as it asked after the call that it refused.
#[track_caller]
fn holds_off(case: &Case<'_>, kind: &str, name: &str, operation: &str) {
    let status = case.get(kind, name)["status"].clone();
    let all = case.iam().requests().unwrap();
    let refused = all.iter().rfind(|r| r.operation == operation && r.raw["fault"] == "fail").unwrap();
    let held = time(&status["retryAfter"]).duration_since(time(&refused.raw["time"]));
    assert!(held >= SignedDuration::from_secs(ASKED), "{status}");
}

fn rate_of_keys() {
    let case = case("dt-rate", &json!({}));
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    asks(&case, "disruptive.keys.create", &header());
    case.key("billing", &key(&json!({"rotation": {"overlap": "1s"}})));
    says_when(&case.told("iamsak", "billing", "Ready", "False", Reason::BackendThrottled));
    holds_off(&case, "iamsak", "billing", "disruptive.keys.create");
    let ready = case.ready("iamsak", "billing");
    assert_eq!(ready["status"]["retryAfter"], Value::Null);
    kept_away(&case, "disruptive.keys.create");
    assert_eq!(tries(&case, "disruptive.keys.create").len(), 2);

    let first = case.active("billing");
    asks(&case, "disruptive.keys.delete", &header());
    let annotation = json!({"keywheel.dev/rotate-at": super::super::case::soon()});
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": annotation}}));
    says_when(&case.told("iamsak", "billing", "Rotating", "False", Reason::BackendThrottled));
    case.when("iamsak", "billing", "the old key's end", |key| {
        key["status"]["activeKeyId"] != json!(first) && entry(key, &first).is_null()
    });
    kept_away(&case, "disruptive.keys.delete");
}

fn rate_of_accounts() {
    let case = case("dt-slow", &json!({"tenants": {"roles": [DEVELOPER]}}));
    for operation in ["create", "delete"] {
        asks(&case, &format!("disruptive.accounts.{operation}"), &header());
    }
    account(&case, &json!({}));
    says_when(&case.told("iamsa", "billing", "Ready", "False", Reason::BackendThrottled));
    holds_off(&case, "iamsa", "billing", "disruptive.accounts.create");
    case.ready("iamsa", "billing");
    kept_away(&case, "disruptive.accounts.create");
    assert_eq!(done(&case, "disruptive.accounts.create"), 1);
    case.delete("iamsa", "billing");
    says_when(&case.told("iamsa", "billing", "Ready", "False", Reason::BackendThrottled));
    case.gone("iamsa", "billing");
    kept_away(&case, "disruptive.accounts.delete");

    asks(&case, "disruptive.members.create", &header());
    account_named(&case, "member", &json!({"roles": [{"role": DEVELOPER}]}));
    says_when(&case.told("iamsa", "member", "RolesBound", "False", Reason::BackendThrottled));
    holds_off(&case, "iamsa", "member", "disruptive.members.create");
    case.told("iamsa", "member", "RolesBound", "True", Reason::RolesBound);
    kept_away(&case, "disruptive.members.create");
    assert_eq!(done(&case, "disruptive.members.create"), 1);
}

fn trouble() {
    let case = case("dt-trouble", &json!({}));
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    for status in [500, 503, 504] {
        let name = format!("key-{status}");
        fails(case.iam(), "disruptive.keys.list", status);
        case.key(&name, &key(&json!({})));
        let message = case.told("iamsak", &name, "Ready", "False", Reason::BackendUnreachable);
        assert!(message.contains(&format!("{status} for a test")), "{message}");
        case.iam().clear_faults().unwrap();
        case.ready("iamsak", &name);
    }
    assert_eq!(done(&case, "disruptive.keys.create"), 3);

    // What may have been carried out is lost, and never sent again.
    let fail = json!({"status": 503, "canonical": "", "message": "upstream"});
    case.iam().fault(&json!({"operation": "disruptive.keys.create", "action": {"fail": fail}})).unwrap();
    case.key("lost", &key(&json!({})));
    let ready = case.ready("iamsak", "lost");
    assert_eq!(ready["status"]["lost"].as_array().map(Vec::len), Some(1), "{}", ready["status"]);

    // A token endpoint in trouble says nothing about a key.
    fails(case.iam(), "disruptive.token", 503);
    case.key("unproved", &key(&json!({})));
    case.told("iamsak", "unproved", "Ready", "False", Reason::BackendUnreachable);
    assert!(case.find("secret", "unproved").is_none(), "nobody sees it before it is proved");
    case.iam().clear_faults().unwrap();
    case.ready("iamsak", "unproved");
}

fn trouble_of_accounts() {
    let case = case("dt-down", &json!({}));
    let vendor = Vendor::at(case.iam());
    // What is there must be known before anything is made.
    for status in [500, 503, 504] {
        let (name, before) = (format!("account-{status}"), changed(&case));
        fails(case.iam(), "disruptive.accounts.list", status);
        account_named(&case, &name, &json!({}));
        let message = case.told("iamsa", &name, "Ready", "False", Reason::BackendUnreachable);
        assert!(message.contains(&format!("{status} for a test")), "{message}");
        assert_eq!(changed(&case), before, "{status}");
        case.iam().clear_faults().unwrap();
        case.ready("iamsa", &name);
        assert_eq!(vendor.named(&name), 1);
    }
    // It may have been carried out: no other is made before that is known.
    let (before, asked) = (changed(&case), || {
        let all = case.iam().requests().unwrap();
        all.iter().filter(|r| r.operation == "disruptive.accounts.create").count()
    });
    let sent = asked();
    fails(case.iam(), "disruptive.accounts.create", 503);
    account(&case, &json!({}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::AccountPending);
    assert!(message.contains("it may show itself until"), "{message}");
    case.iam().clear_faults().unwrap();
    // A look later it waits still.
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "another"}}));
    let waiting = case.when("iamsa", "billing", "looked at again", |object| {
        condition(object, "Ready")["observedGeneration"] == object["metadata"]["generation"]
    });
    assert_eq!(condition(&waiting, "Ready")["reason"], "AccountPending");
    assert_eq!((asked(), changed(&case)), (sent + 1, before), "sent once");

    // No answer at all.
    let drops = json!({"operation": "disruptive.accounts.get", "action": "drop_before", "times": 1000});
    case.iam().fault(&drops).unwrap();
    case.patch("iamsa", "account-500", &json!({"spec": {"displayName": "another"}}));
    case.told("iamsa", "account-500", "Ready", "False", Reason::BackendUnreachable);
    case.iam().clear_faults().unwrap();
    case.ready("iamsa", "account-500");
}
