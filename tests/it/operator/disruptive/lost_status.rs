//! An account whose object lost its status: nothing at the platform says whose it is, the object's own note does.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Vendor, account, case, key};
use crate::operator::trial;
use keywheel::domain::Reason;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::an_account_is_found_again_by_the_note_on_its_object", noted),
        trial("disruptive::a_note_is_worth_as_much_as_the_right_to_adopt", not_allowed),
    ]
}

fn wiped() -> Value {
    json!({"status": null})
}

fn noted() {
    let case = case("noted", &json!({"tenants": {"adoption": true}}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    case.key("billing", &key(&json!({})));
    case.ready("iamsak", "billing");
    let before = case.ready("iamsa", "billing");
    let id = before["status"]["uniqueId"].as_str().unwrap().to_owned();
    let note = before["metadata"]["annotations"]["keywheel.dev/account-id"].as_str().unwrap();
    assert!(note.starts_with(&format!("{id} keywheel:")), "{note}");

    case.patch("iamsa", "billing/status", &wiped());
    let after = case.ready("iamsa", "billing");
    assert_eq!((&after["status"]["uniqueId"], &after["status"]["origin"]), (&json!(id), &json!("Created")));
    case.ready("iamsak", "billing");
    let all = case.iam().requests().unwrap();
    assert_eq!(all.iter().filter(|request| request.operation == "disruptive.accounts.create").count(), 1);

    // A copy of the object has the note and not the account.
    let mut copy = json!({"apiVersion": after["apiVersion"], "kind": after["kind"], "spec": after["spec"]});
    copy["metadata"] = json!({"name": "copy", "annotations": {"keywheel.dev/account-id": note}});
    case.create("iamsa", &copy);
    let message = case.told("iamsa", "copy", "Stalled", "True", Reason::AccountExists);
    assert!(message.contains(&id), "{message}");
    case.delete("iamsa", "copy");
    case.gone("iamsa", "copy");
    assert!(vendor.account(&id).is_some());

    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert!(vendor.account(&id).is_none(), "it was made for this object");
}

fn not_allowed() {
    let case = case("not-allowed", &json!({}));
    account(&case, &json!({}));
    let before = case.ready("iamsa", "billing");
    let id = before["status"]["uniqueId"].as_str().unwrap();
    case.patch("iamsa", "billing/status", &wiped());
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountExists);
    assert!(message.contains(id) && message.contains("tenants.adoption"), "{message}");
    let all = case.iam().requests().unwrap();
    assert_eq!(all.iter().filter(|request| request.operation == "disruptive.accounts.create").count(), 1);
}
