//! Accounts that cannot be had: each gets its reason, nothing of anybody else is touched, and it goes on once it can.

use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{Own, World, add_backend};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bad_account::a_key_waits_for_an_account_that_does_not_exist_or_is_not_ready", missing),
        trial("bad_account::no_key_is_made_for_an_account_that_is_being_deleted", deleting),
        trial("bad_account::a_key_of_a_disabled_account_is_not_ready_and_is_kept", disabled),
        trial("bad_account::an_account_that_is_there_is_not_taken_without_being_asked", adoption),
        trial("bad_account::an_account_that_must_be_there_is_not_created", required),
        trial("bad_account::a_backend_decides_what_namespaces_may_adopt", tenants_adoption),
        trial("bad_account::a_backend_decides_which_account_ids_namespaces_may_have", tenants_pattern),
        trial(
            "bad_account::an_account_of_two_namespaces_is_nobodys_alone_and_none_ends_the_others_keys",
            shared,
        ),
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

/// A key that nobody claims is ended 4 s after it was first seen so, a look is taken every 2 s. An attempt has 3 s to be
/// sent, also on a busy machine, and one that was not is followed by another at once.
const BRISK: &str = r#"{"settle": 3000, "backoffBase": 500, "backoffCap": 4000, "retryBase": 200, "retryCap": 2000,
    "proofBase": 300, "probe": 5000, "audit": 2000, "listLag": 1000, "horizon": 3000}"#;

fn shared() {
    let world = World::own(Own { timing: Some(BRISK), ..Own::default() });
    let first = Case::new(&world, "sharer");
    let before = first.person.create_account(&first.name, "made by hand");
    let (by_hand, _) = first.person.create_key(&first.name);
    first.account(&json!({"adoptionPolicy": "Required"}));
    first.key("billing", &json!({}));
    first.ready("iamsak", "billing");
    let active = first.active("billing");

    // Another namespace adopts the same account and asks for all of its keys.
    let second = Case::new(&world, "sharer");
    let all = json!({"adoptionPolicy": "Required", "unmanagedKeys": "Delete"});
    second.account_named("billing", &first.name, &all);
    let message = second.told("iamsa", "billing", "AccountShared", "True", Reason::AccountShared);
    assert!(message.contains(&format!("{}/billing", first.name)), "{message}");
    second.event("billing", Reason::AccountShared);
    second.ready("iamsa", "billing");
    // It counts the other's key as owned, and several looks later nothing was ended and nothing marked.
    let counted = second.when("iamsa", "billing", "counted", |a| a["status"]["keys"]["unmanaged"] == 1);
    assert_eq!(counted["status"]["unmanagedKeys"][0]["id"], by_hand.as_str());
    assert_eq!(counted["status"]["exclusive"], false);
    std::thread::sleep(std::time::Duration::from_secs(10));
    let ids = || {
        let mut ids: Vec<String> = first.person.keys(&first.name).into_iter().map(|key| key.id).collect();
        ids.sort();
        ids
    };
    let mut both = [by_hand, active.clone()];
    both.sort();
    assert_eq!(ids(), both);
    assert_eq!(first.person.account(&first.name).unwrap()["description"], before["description"]);
    first.accepted("billing");

    // Both ask for them: neither gets them.
    first.patch("iamsa", "billing", &json!({"spec": {"unmanagedKeys": "Delete"}}));
    first.told("iamsa", "billing", "AccountShared", "True", Reason::AccountShared);
    // Once one is gone the other has the account alone, and only what nobody claims is ended.
    second.delete("iamsa", "billing");
    second.gone("iamsa", "billing");
    let alone = first.when("iamsa", "billing", "alone", |a| a["status"]["exclusive"] == true);
    assert_eq!(condition(&alone, "AccountShared"), Value::Null);
    first.until("the key that nobody claims to end", || match ids() {
        ids if ids == [active.clone()] => Ok(()),
        ids => Err(json!(ids)),
    });
    first.event("billing", Reason::UnmanagedKeyEnded);
    first.accepted("billing");
    let events = world.kube.list(&second.path("event", ""));
    let told = events.iter().filter(|event| event["reason"] == "AccountShared").count();
    assert_eq!(told, 1, "{events:?}");
}
