//! `PublicJwks`: whoever checks signatures finds the keys whose signatures are good, and no others.

use keywheel::credential::Jwks;
use libtest_mimic::Trial;
use serde_json::json;

use super::case::{Case, entry, soon};
use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("jwks::a_set_holds_the_active_key_and_those_in_their_overlap", life),
        trial("jwks::a_set_is_as_whole_under_another_name", renamed),
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
