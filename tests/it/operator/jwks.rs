//! `PublicJwks`: whoever checks signatures finds the keys whose signatures are good, and no others.

use keywheel::credential::{GoogleCredentials, Jwk, Jwks, RsaKeyPair, SecretBytes};
use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, entry, soon};
use super::trial;
use super::world::{World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("jwks::a_set_holds_the_active_key_and_those_in_their_overlap", life),
        trial("jwks::a_set_is_as_whole_under_another_name", renamed),
        trial("jwks::a_set_that_is_asked_for_during_an_overlap_is_whole", asked_for_later),
        trial("jwks::a_set_is_whole_again_after_its_secret_was_lost", lost),
        trial("jwks::a_set_lacks_what_cannot_be_read_until_it_can", unreadable),
    ]
}

fn ids(case: &Case<'_>) -> Vec<String> {
    let set = case.data("billing").remove("jwks.json").unwrap_or_default();
    Jwks::parse(&set).keys.into_iter().map(|jwk| jwk.kid).collect()
}

fn rotate(case: &Case<'_>, annotation: &str) {
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {annotation: soon()}}}));
}

fn sorted(ids: &[&String]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(|&id| id.clone()).collect();
    ids.sort();
    ids
}

fn life() {
    let case = Case::new(World::shared(), "jwks");
    let entries = json!([{"key": "key.json", "format": "GoogleCredentials"}, {"key": "jwks.json", "format": "PublicJwks"}]);
    case.settled(
        &json!({"rotation": {"overlap": "1h", "deleteAfter": "1h"}, "secret": {"entries": entries}}),
    );
    let first = case.active("billing");
    assert_eq!(ids(&case), vec![first.clone()]);

    rotate(&case, "keywheel.dev/rotate-at");
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    let second = case.active("billing");
    assert_eq!(ids(&case), sorted(&[&first, &second]));

    // Another entry: both are as good as before.
    let mut more = entries.clone();
    more.as_array_mut().unwrap().push(json!({"key": "id", "format": "KeyId"}));
    case.patch("iamsak", "billing", &json!({"spec": {"secret": {"entries": more}}}));
    case.until("the entry", || {
        if case.data("billing").contains_key("id") { Ok(()) } else { Err(json!("none")) }
    });
    assert_eq!(ids(&case), sorted(&[&first, &second]));

    // Its overlap is cut short: its signatures are good no more.
    let short = json!({"spec": {"rotation": {"overlap": "1s", "deleteAfter": "1h"}}});
    case.patch("iamsak", "billing", &short);
    rotate(&case, "keywheel.dev/rotate-at");
    case.when("iamsak", "billing", "the second one disabled", |key| {
        entry(key, &second)["phase"] == "Disabled"
    });
    let third = case.active("billing");
    assert!(!ids(&case).contains(&second) && ids(&case).contains(&third), "{:?}", ids(&case));

    rotate(&case, "keywheel.dev/revoke-at");
    case.when("iamsak", "billing", "a fourth one", |key| {
        key["status"]["activeKeyId"] != json!(third)
            && key["status"]["keys"].as_array().is_some_and(|k| k.len() == 1)
    });
    assert_eq!(ids(&case), [case.active("billing")]);
    case.accepted("billing");
    assert_eq!(case.count("keys.get"), 0, "all of them were at hand");
}

fn renamed() {
    let case = Case::new(World::shared(), "jwks-name");
    let entries = json!([{"key": "key.json", "format": "GoogleCredentials"}, {"key": "jwks.json", "format": "PublicJwks"}]);
    case.settled(
        &json!({"rotation": {"overlap": "1h", "deleteAfter": "1h"}, "secret": {"entries": entries}}),
    );
    let first = case.active("billing");
    rotate(&case, "keywheel.dev/rotate-at");
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    let second = case.active("billing");
    case.patch("iamsak", "billing", &json!({"spec": {"secret": {"name": "renamed"}}}));
    case.when("iamsak", "billing", "renamed", |key| key["status"]["secretName"] == "renamed");
    let set = case.data("renamed").remove("jwks.json").unwrap();
    let kids: Vec<String> = Jwks::parse(&set).keys.into_iter().map(|jwk| jwk.kid).collect();
    assert_eq!(kids, sorted(&[&first, &second]));
}

fn without_a_set() -> Value {
    json!([{"key": "key.json", "format": "GoogleCredentials"}])
}

fn with_a_set() -> Value {
    json!([{"key": "key.json", "format": "GoogleCredentials"}, {"key": "jwks.json", "format": "PublicJwks"}])
}

/// A key and the one before it, in its overlap.
fn overlapping(case: &Case<'_>, entries: &Value) -> (String, String) {
    let rotation = json!({"overlap": "1h", "deleteAfter": "1h"});
    case.settled(&json!({"rotation": rotation, "secret": {"entries": entries}}));
    let first = case.active("billing");
    rotate(case, "keywheel.dev/rotate-at");
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    (first, case.active("billing"))
}

fn ask_for_a_set(case: &Case<'_>) {
    case.patch("iamsak", "billing", &json!({"spec": {"secret": {"entries": with_a_set()}}}));
    case.until("the entry", || {
        if case.data("billing").contains_key("jwks.json") { Ok(()) } else { Err(json!("none")) }
    });
}

/// What the set says of a key is what its owner signs with.
fn is_signed_with(case: &Case<'_>, jwk: &Jwk, file: &[u8]) {
    let file = GoogleCredentials::parse(&SecretBytes::new(file.to_vec())).unwrap();
    let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).unwrap();
    assert_eq!(file.private_key_id(), jwk.kid, "{}", case.name);
    assert_eq!(Some(pair.public_key_sha256()), jwk.public_key_sha256());
}

fn asked_for_later() {
    for (prefix, source) in [("jwks-later", "Backend"), ("jwks-local", "Local")] {
        let case = Case::new(World::shared(), prefix);
        case.settled(&json!({"keySource": source, "rotation": {"overlap": "1h", "deleteAfter": "1h"},
            "secret": {"entries": without_a_set()}}));
        let (first, old) = (case.active("billing"), case.data("billing").remove("key.json").unwrap());
        rotate(&case, "keywheel.dev/rotate-at");
        case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
        let second = case.active("billing");
        let asked = case.count("keys.get");
        ask_for_a_set(&case);
        assert_eq!(ids(&case), sorted(&[&first, &second]), "{source}");
        assert_eq!(case.count("keys.get"), asked + 1, "{source}: one key was not at hand");
        let set = Jwks::parse(&case.data("billing")["jwks.json"]).keys;
        is_signed_with(&case, set.iter().find(|jwk| jwk.kid == first).unwrap(), &old);
    }
}

fn lost() {
    let case = Case::new(World::shared(), "jwks-lost");
    let (first, second) = overlapping(&case, &with_a_set());
    case.delete("secret", "billing");
    case.when("iamsak", "billing", "a third key", |key| key["status"]["activeKeyId"] != json!(second));
    // They may be read from memory until their overlap ends.
    assert_eq!(ids(&case), sorted(&[&first, &second, &case.active("billing")]));
}

fn unreadable() {
    let iam = start_iam(IamOptions::default());
    let case = Case::at(World::shared(), "jwks-unread", iam, &json!({}));
    let (first, second) = overlapping(&case, &without_a_set());
    let denied = "Permission 'iam.serviceAccountKeys.get' denied on resource (or it may not exist).";
    let fail = json!({"status": 403, "canonical": "PERMISSION_DENIED", "message": denied});
    let fault = json!({"operation": "keys.get", "action": {"fail": fail}, "times": 1000});
    case.iam().fault(&fault).unwrap();
    ask_for_a_set(&case);
    assert_eq!(ids(&case), sorted(&[&second]), "it is published without");
    let message = case.told("iamsak", "billing", "Rotating", "False", Reason::PermissionMissing);
    assert!(message.contains(&first) && message.contains("iam.serviceAccountKeys.get"), "{message}");
    case.event("billing", Reason::PermissionMissing);
    assert_eq!(super::case::condition(&case.get("iamsak", "billing"), "Ready")["status"], "True");
    // Neither does a new key wait for it, and what is said stays true.
    rotate(&case, "keywheel.dev/rotate-at");
    case.when("iamsak", "billing", "a third key", |key| key["status"]["activeKeyId"] != json!(second));
    let third = case.active("billing");
    assert_eq!(ids(&case), sorted(&[&second, &third]));

    case.iam().clear_faults().unwrap();
    case.until("the whole set", || {
        let shown = ids(&case);
        if shown == sorted(&[&first, &second, &third]) { Ok(()) } else { Err(json!(shown)) }
    });
    case.when("iamsak", "billing", "nothing more to tell", |key| {
        super::case::condition(key, "Rotating").is_null()
    });
}
