//! Accounts that the spec names by e-mail, and accounts that come back.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::Case;
use super::trial;
use super::world::{Own, World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("named::a_default_account_is_taken_up_by_its_email_and_outlives_its_object", default_account),
        trial("named::what_contradicts_an_email_is_refused_at_once", admission),
        trial("named::a_deleted_account_comes_back_by_its_id", undeleted),
    ]
}

fn case<'w>(world: &'w World, prefix: &str, args: &[&str]) -> Case<'w> {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let iam = start_iam(IamOptions { args, ..IamOptions::default() });
    Case::at(world, prefix, iam, &json!({"tenants": {"adoption": true, "undelete": true}}))
}

/// What was made is missed three seconds later. A first attempt has that long to be sent, also on a busy machine.
const BRISK: &str = r#"{"settle": 3000, "backoffBase": 500, "backoffCap": 4000, "retryBase": 200, "retryCap": 2000,
    "proofBase": 300, "listLag": 1000, "audit": 2000}"#;

fn object(name: &str, backend: &str, spec: &Value) -> Value {
    let mut whole = json!({"backendRef": {"name": backend}});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccount", "metadata": {"name": name}, "spec": whole})
}

fn default_account() {
    let case = case(World::shared(), "by-email", &["--default-accounts"]);
    let email = format!("{}@appspot.gserviceaccount.com", case.iam().project());
    case.create("iamsa", &object("billing", &case.backend, &json!({"email": email})));
    let account = case.ready("iamsa", "billing");
    assert_eq!(
        (&account["status"]["email"], &account["status"]["origin"]),
        (&json!(email), &json!("Adopted"))
    );
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    case.accepted("billing");
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    let left = case.person.call("GET", &format!("/{email}"), &Value::Null);
    assert_eq!((left.0, &left.1["description"]), (200, &Value::Null), "it is as it was: {}", left.1);
    assert_eq!(case.count("accounts.create") + case.count("accounts.delete"), 0);

    let missing = format!("nobody@{}.iam.gserviceaccount.com", case.iam().project());
    case.create("iamsa", &object("missing", &case.backend, &json!({"email": missing})));
    let message = case.told("iamsa", "missing", "Ready", "False", Reason::AccountNotFound);
    assert!(message.contains(&missing), "{message}");
    assert_eq!(case.count("accounts.create"), 0);
}

fn admission() {
    let case = Case::new(World::shared(), "email-rules");
    let email = "someone@p1.iam.gserviceaccount.com";
    for (spec, words) in [
        (json!({"email": email, "accountId": "someone"}), "set accountId or email, not both"),
        (json!({"email": email, "adoptionPolicy": "IfExists"}), "is taken up and never created"),
        (json!({"email": email, "deletionPolicy": "Delete"}), "is never deleted"),
        (json!({"email": "no address"}), "spec.email"),
        (json!({"undelete": "latest"}), "spec.undelete"),
    ] {
        let object = object("someone", &case.backend, &spec);
        let refused = case.world.kube.create(&case.path("iamsa", ""), &object).unwrap_err();
        assert!(format!("{refused:?}").contains(words), "{spec}: {refused:?}");
    }
}

fn undeleted() {
    let world = World::own(Own { timing: Some(BRISK), ..Own::default() });
    let case = case(&world, "undelete", &[]);
    case.settled(&json!({}));
    let id = case.get("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    assert_eq!(case.person.call("DELETE", &format!("/{id}"), &Value::Null).0, 200);
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "look again"}}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountGone);
    assert!(message.contains(&format!("undelete: \"{id}\"")), "{message}");
    case.patch("iamsa", "billing", &json!({"spec": {"undelete": id}}));
    case.event("billing", Reason::AccountRestored);
    let account = case.ready("iamsa", "billing");
    assert_eq!(account["status"]["uniqueId"], id);
    case.accepted("billing");

    // The objects go with the account, and are applied again with the id that is to come back.
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    let mark = case.iam().mark().unwrap();
    case.account(&json!({"undelete": id}));
    let account = case.ready("iamsa", "billing");
    assert_eq!(
        (&account["status"]["uniqueId"], &account["status"]["origin"]),
        (&json!(id), &json!("Created"))
    );
    let asked = case.iam().requests_since(mark).unwrap();
    let operations: Vec<&str> = asked.iter().map(|request| request.operation.as_str()).collect();
    assert!(
        !operations.contains(&"accounts.create") && operations.contains(&"accounts.undelete"),
        "{operations:?}"
    );
}
