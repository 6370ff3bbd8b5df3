//! The end: in any order, with a namespace at once, and as the policies say; what waits says for what.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, entry};
use super::kube::path;
use super::trial;
use super::world::{World, set_login, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("deletion::account_first_waits_for_its_keys_and_names_them", account_first),
        trial("deletion::backend_first_waits_for_its_accounts_and_names_them", backend_first),
        trial("deletion::key_first_leaves_the_account_without_keys", key_first),
        trial(
            "deletion::a_namespace_at_once_leaves_nothing_though_its_login_dies_with_it",
            namespace_at_once,
        ),
        trial("deletion::a_retained_key_goes_on_working_and_older_ones_end", retained_key),
        trial("deletion::an_account_is_retained_or_disabled_as_its_policy_says", account_policies),
        trial("deletion::an_object_whose_backend_is_gone_is_let_go_by_annotation", abandon),
        trial("deletion::an_attempt_without_an_answer_is_waited_for_and_explained", lost_attempt),
    ]
}

/// A key with one rotation behind it: two keys are at the backend.
fn rotated(case: &Case<'_>, spec: &Value) -> (String, String) {
    let mut whole = json!({"rotation": {"every": "10s", "overlap": "9s", "deleteAfter": "1h"}});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    case.key("billing", &whole);
    case.ready("iamsak", "billing");
    let old = case.active("billing");
    case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    // The wheel stops here, and holds the old key alive.
    case.patch("iamsak", "billing", &json!({"spec": {"rotation": {"suspend": true}}}));
    case.ready("iamsak", "billing");
    let new = case.active("billing");
    let at_backend = case.person.keys(&case.name);
    assert!(at_backend.len() >= 2 && at_backend.iter().any(|key| key.id == old), "{at_backend:?}");
    (old, new)
}

/// Nothing of the case is left anywhere.
fn nothing_left(case: &Case<'_>) {
    for (kind, name) in [("iamsak", "billing"), ("iamsa", "billing"), ("ciamb", case.backend.as_str())] {
        case.gone(kind, name);
    }
    assert_eq!(case.find("secret", "billing"), None);
    assert_eq!(case.staged(), Vec::<String>::new());
    assert_eq!(case.person.account(&case.name), None);
    assert_eq!(case.person.keys(&case.name), []);
}

fn case_of_own_backend(prefix: &str) -> Case<'static> {
    let world = World::shared();
    let case = Case::at(world, prefix, &world.iam, &json!({}));
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case
}

fn account_first() {
    let case = case_of_own_backend("accfirst");
    rotated(&case, &json!({}));
    let file = case.data("billing")["key.json"].clone();
    case.delete("iamsa", "billing");
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::WaitingForKeys);
    assert!(message.contains("delete billing (1 in all)"), "{message}");
    assert!(case.judge(&file).accepted(), "the key was taken out of service before its object was deleted");
    case.delete("ciamb", &case.backend);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::WaitingForAccounts);
    assert!(message.contains(&format!("{}/billing", case.name)), "{message}");
    case.delete("iamsak", "billing");
    nothing_left(&case);
    case.refused(&file);
    case.event_saying("billing", Reason::AccountDeleted, &case.email());
}

fn backend_first() {
    let case = case_of_own_backend("bckfirst");
    let (old, new) = rotated(&case, &json!({}));
    case.delete("ciamb", &case.backend);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::WaitingForAccounts);
    assert!(message.contains(&format!("{}/billing", case.name)), "{message}");
    // Its login goes, too: the one in use is good for the end.
    let login = path("secret", keywheel_testbed::control_plane::OPERATOR_NAMESPACE, &case.backend);
    case.world.kube.delete(&login);
    case.accepted("billing");
    case.delete("iamsa", "billing");
    case.told("iamsa", "billing", "Ready", "False", Reason::WaitingForKeys);
    case.delete("iamsak", "billing");
    nothing_left(&case);
    for id in [old, new] {
        case.event_saying("billing", Reason::KeyDeleted, &id);
    }
}

fn key_first() {
    let case = case_of_own_backend("keyfirst");
    rotated(&case, &json!({}));
    let (their_key, _) = case.person.create_key(&case.name);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    assert_eq!(case.find("secret", "billing"), None);
    let left: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(left, [their_key], "a key that a person made is not ours to end");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    case.delete("ciamb", &case.backend);
    nothing_left(&case);
}

fn namespace_at_once() {
    let world = World::shared();
    let case = Case::new(world, "atonce");
    set_login(&world.kube, &case.name, "login", &std::fs::read(world.iam.admin_key_file()).unwrap());
    let backend = json!({
        "apiVersion": "keywheel.dev/v1alpha1", "kind": "IamBackend", "metadata": {"name": "mine"},
        "spec": {"embedded": {"auth": {"secretRef": {"name": "login"}}}},
    });
    case.create("iamb", &backend);
    case.account(&json!({"backendRef": {"kind": "IamBackend", "name": "mine"}}));
    case.ready("iamsa", "billing");
    rotated(&case, &json!({}));
    let file = case.data("billing")["key.json"].clone();
    world.kube.delete(&path("namespace", "", &case.name));
    case.gone("namespace", &case.name);
    assert_eq!(case.person.account(&case.name), None);
    case.refused(&file);
}

fn retained_key() {
    let case = case_of_own_backend("retain");
    let policy = json!({"deletionPolicy": "Retain", "secret": {"deletionPolicy": "Retain"}});
    let (old, new) = rotated(&case, &policy);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    case.event_saying("billing", Reason::Deleting, &new);
    case.accepted("billing");
    let left: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(left, [new]);
    assert!(!left.contains(&old));
}

fn account_policies() {
    let case = Case::new(World::shared(), "policies");
    for (policy, disabled) in [("Retain", None), ("Disable", Some(true))] {
        let id = format!("{}-{}", case.name, policy.to_lowercase());
        case.account_named("kept", &id, &json!({"deletionPolicy": policy}));
        case.ready("iamsa", "kept");
        case.delete("iamsa", "kept");
        case.gone("iamsa", "kept");
        let left = case.person.account(&id).unwrap();
        assert_eq!(left["disabled"].as_bool(), disabled, "{policy}: {left}");
        // It is nobody's now, so a new object can take it over.
        case.account_named("kept", &id, &json!({"adoptionPolicy": "Required"}));
        let adopted = case.ready("iamsa", "kept");
        assert_eq!(
            (&adopted["status"]["uniqueId"], &adopted["status"]["origin"]),
            (&left["uniqueId"], &json!("Adopted"))
        );
        case.delete("iamsa", "kept");
        case.gone("iamsa", "kept");
    }
    // Unset: what was created is deleted. What was adopted stays, see `bad_account`; unless the policy says otherwise.
    let id = format!("{}-adopted", case.name);
    case.person.create_account(&id, "by hand");
    let policy = json!({"adoptionPolicy": "IfExists", "deletionPolicy": "Delete"});
    case.account_named("adopted", &id, &policy);
    case.ready("iamsa", "adopted");
    case.delete("iamsa", "adopted");
    case.gone("iamsa", "adopted");
    assert_eq!(case.person.account(&id), None);
}

fn abandon() {
    let mut case = Case::at(World::shared(), "abandon", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({}));
    let active = case.active("billing");
    case.own_iam().kill9().unwrap();
    case.delete("iamsak", "billing");
    case.delete("iamsa", "billing");
    case.delete("ciamb", &case.backend);
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::WaitingForKeys);
    assert!(message.contains("billing"), "{message}");
    // The Secret goes first, whatever the backend says.
    case.gone("secret", "billing");
    assert!(
        !entry(&case.get("iamsak", "billing"), &active).is_null(),
        "a key that was not deleted was forgotten"
    );
    let annotation = json!({"metadata": {"annotations": {"keywheel.dev/abandon": "yes"}}});
    case.patch("iamsak", "billing", &annotation);
    case.gone("iamsak", "billing");
    case.event_saying("billing", Reason::Abandoned, &active);
    case.told("iamsa", "billing", "Ready", "False", Reason::BackendUnreachable);
    case.patch("iamsa", "billing", &annotation);
    case.gone("iamsa", "billing");
    case.event_saying("billing", Reason::Abandoned, &case.email());
    case.gone("ciamb", &case.backend);
}

fn lost_attempt() {
    let case = case_of_own_backend("lostend");
    // Nobody knows that it was not applied. A key that it made would be found at the first look and end with its object.
    let fault = json!({"operation": "keys.create", "action": "drop_before", "match": case.email()});
    case.iam().fault(&fault).unwrap();
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    let key = case.get("iamsak", "billing");
    assert_eq!(key["status"]["lost"].as_array().map(Vec::len), Some(1), "{}", key["status"]);
    let until = key["status"]["lost"][0]["until"].as_str().unwrap().to_owned();
    case.delete("iamsak", "billing");
    let message =
        case.told("iamsak", "billing", "WaitingForLostAttempt", "True", Reason::WaitingForLostAttempt);
    assert!(message.contains("until") && message.contains("keywheel.dev/abandon"), "{message} ({until})");
    case.event("billing", Reason::WaitingForLostAttempt);
    let waiting = case.get("iamsak", "billing");
    assert_eq!(condition(&waiting, "Ready")["reason"], Reason::Deleting.as_str());
    assert_eq!(waiting["status"]["keys"], Value::Null, "its own key has ended");
    assert_eq!(case.find("secret", "billing"), None);
    assert_eq!(case.person.keys(&case.name), [], "its own key has ended at the backend, too");
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {"keywheel.dev/abandon": "yes"}}}));
    case.gone("iamsak", "billing");
}
