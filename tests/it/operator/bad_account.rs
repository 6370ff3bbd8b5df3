//! Accounts that cannot be had: each gets its reason, nothing of anybody else is touched, and it goes on once it can.

use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{World, add_backend};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bad_account::a_key_waits_for_an_account_that_does_not_exist_or_is_not_ready", missing),
        trial("bad_account::no_key_is_made_for_an_account_that_is_being_deleted", deleting),
        trial("bad_account::a_key_of_a_disabled_account_is_not_ready_and_is_kept", disabled),
        trial("bad_account::an_account_that_is_there_is_not_taken_without_being_asked", adoption),
        trial("bad_account::an_account_that_must_be_there_is_not_created", required),
        trial("bad_account::a_backend_decides_what_namespaces_may_adopt", tenants_adoption),
        trial("bad_account::a_backend_decides_which_account_ids_namespaces_may_have", tenants_pattern),
    ]
}

fn missing() {
    let case = Case::new(World::shared(), "missing");
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::AccountMissing);
    assert!(message.contains("billing"), "{message}");
    case.event("billing", Reason::AccountMissing);

    // The account is there now, its backend is not.
    let absent = format!("{}-absent", case.name);
    case.account(&json!({"backendRef": {"name": absent}}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::BackendNotFound);
    assert!(message.contains(&absent), "{message}");
    case.event("billing", Reason::BackendNotFound);
    case.told("iamsak", "billing", "Ready", "False", Reason::AccountNotReady);
    assert_eq!(case.person.account(&case.name), None);

    add_backend(&case.world.kube, &absent, case.iam(), &json!({}));
    case.ready("iamsa", "billing");
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

fn deleting() {
    let case = Case::new(World::shared(), "deleting");
    case.settled(&json!({}));
    case.delete("iamsa", "billing");
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::WaitingForKeys);
    assert!(message.contains("billing"), "{message}");
    case.key("late", &json!({}));
    let message = case.told("iamsak", "late", "Ready", "False", Reason::AccountDeleting);
    assert!(message.contains("is being deleted"), "{message}");
    case.event("late", Reason::AccountDeleting);
    case.told("iamsak", "billing", "Ready", "False", Reason::AccountDeleting);
    case.accepted("billing");
    assert_eq!((case.count("keys.create"), case.find("secret", "late")), (1, None));

    for key in ["late", "billing"] {
        case.delete("iamsak", key);
        case.gone("iamsak", key);
    }
    case.gone("iamsa", "billing");
    assert_eq!(case.person.account(&case.name), None);
}

fn disabled() {
    let case = Case::new(World::shared(), "disabled");
    case.settled(&json!({}));
    let (active, file) = (case.active("billing"), case.data("billing")["key.json"].clone());
    case.patch("iamsa", "billing", &json!({"spec": {"disabled": true}}));
    case.told("iamsa", "billing", "Ready", "True", Reason::AccountDisabled);
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::AccountNotReady);
    assert!(message.contains("disabled"), "{message}");
    case.refused(&file);
    case.patch("iamsa", "billing", &json!({"spec": {"disabled": false}}));
    case.ready("iamsak", "billing");
    assert_eq!((case.active("billing"), case.data("billing")["key.json"].clone()), (active, file));
    case.accepted("billing");
}

fn adoption() {
    let case = Case::new(World::shared(), "adoption");
    let before = case.person.create_account(&case.name, "made by hand");
    let (their_key, their_file) = case.person.create_key(&case.name);
    case.account(&json!({}));
    case.key("billing", &json!({}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountExists);
    assert!(message.contains(&case.email()) && message.contains("adoptionPolicy"), "{message}");
    case.told("iamsa", "billing", "Ready", "False", Reason::AccountExists);
    case.event("billing", Reason::AccountExists);
    case.told("iamsak", "billing", "Ready", "False", Reason::AccountNotReady);
    assert_eq!(case.person.account(&case.name).unwrap(), before, "it was touched");
    assert_eq!(case.person.keys(&case.name).len(), 1);

    case.patch("iamsa", "billing", &json!({"spec": {"adoptionPolicy": "IfExists"}}));
    let adopted = case.ready("iamsa", "billing");
    assert_eq!(adopted["status"]["origin"], "Adopted");
    assert_eq!(condition(&adopted, "Stalled"), Value::Null);
    case.event("billing", Reason::AccountAdopted);
    case.ready("iamsak", "billing");
    case.accepted("billing");
    let after = case.person.account(&case.name).unwrap();
    assert_eq!(
        (&after["description"], &after["displayName"]),
        (&before["description"], &before["displayName"])
    );

    // An adopted account outlives its object; so does the key that a person made.
    case.delete("iamsak", "billing");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert!(case.person.account(&case.name).is_some());
    let left = case.person.keys(&case.name);
    assert_eq!(left.iter().map(|key| (&key.id, key.disabled)).collect::<Vec<_>>(), [(&their_key, false)]);
    assert!(case.judge(&their_file).accepted());
}

fn required() {
    let case = Case::new(World::shared(), "required");
    case.account(&json!({"adoptionPolicy": "Required"}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::AccountNotFound);
    assert!(message.contains(&case.name), "{message}");
    case.event("billing", Reason::AccountNotFound);
    assert_eq!(case.person.account(&case.name), None);
    case.person.create_account(&case.name, "at last");
    let adopted = case.ready("iamsa", "billing");
    assert_eq!(adopted["status"]["origin"], "Adopted");
}

fn tenants_adoption() {
    let world = World::shared();
    let case = Case::at(world, "noadopt", &world.iam, &json!({}));
    let before = case.person.create_account(&case.name, "of another team");
    case.account(&json!({"adoptionPolicy": "IfExists"}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AdoptionNotAllowed);
    assert!(message.contains("tenants.adoption"), "{message}");
    case.event("billing", Reason::AdoptionNotAllowed);
    assert_eq!(case.person.account(&case.name).unwrap(), before, "it was touched");
    case.patch("ciamb", &case.backend, &json!({"spec": {"tenants": {"adoption": true}}}));
    case.ready("iamsa", "billing");
}

fn tenants_pattern() {
    let world = World::shared();
    let pattern = json!({"tenants": {"accountIdPattern": "{namespace}-[a-z]+"}});
    let case = Case::at(world, "pattern", &world.iam, &pattern);
    case.account(&json!({}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountIdNotAllowed);
    assert!(message.contains(&format!("{}-[a-z]+", case.name.replace('-', "\\-"))), "{message}");
    case.event("billing", Reason::AccountIdNotAllowed);
    assert_eq!(case.person.account(&case.name), None);
    case.account_named("other", &format!("{}-pay", case.name), &json!({}));
    case.ready("iamsa", "other");

    // A pattern that is no regular expression lets nothing through.
    case.patch("ciamb", &case.backend, &json!({"spec": {"tenants": {"accountIdPattern": "("}}}));
    case.told("iamsa", "other", "Stalled", "True", Reason::AccountIdNotAllowed);
    case.patch("ciamb", &case.backend, &json!({"spec": {"tenants": {"accountIdPattern": "{namespace}.*"}}}));
    case.ready("iamsa", "other");
    case.ready("iamsa", "billing");
}
