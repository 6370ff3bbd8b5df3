//! What an account publishes in `ConfigMaps`: it follows the keys, leaves alone what is others', and goes with its names.

use std::collections::BTreeMap;

use keywheel::credential::Jwks;
use keywheel::domain::Reason;
use keywheel_testbed::control_plane::OPERATOR_USER;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, entry, soon};
use super::trial;
use super::world::World;

const PROVIDER: &str = "projects/7/locations/global/workloadIdentityPools/cluster/providers/kubernetes";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("documents::public_keys_follow_the_keys_of_the_account", keys),
        trial("documents::what_did_not_change_is_not_written_and_an_edit_is_mended", edits),
        trial("documents::a_foreign_config_map_is_left_alone_and_former_ones_go", names),
        trial("documents::what_the_api_server_refuses_is_told_and_tried_again", refused),
        trial("documents::they_go_with_the_account", deletion),
    ]
}

fn keys_in(name: &str) -> Value {
    json!({"publicKeys": {"configMapName": name}})
}

/// The ids in both documents, sorted.
fn ids(map: &Value) -> Vec<String> {
    let jwks = map["data"]["jwks.json"].as_str().unwrap_or_default();
    let x509 = map["data"]["x509.json"].as_str().unwrap_or("{}");
    let jwks: Vec<String> = Jwks::parse(jwks.as_bytes()).keys.into_iter().map(|jwk| jwk.kid).collect();
    let x509: BTreeMap<String, String> = serde_json::from_str(x509).unwrap_or_default();
    assert!(x509.values().all(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")), "{map}");
    let by_certificate: Vec<String> = x509.into_keys().collect();
    // Between two requests a key may come or go.
    if jwks == by_certificate { jwks } else { Vec::new() }
}

#[track_caller]
fn published(case: &Case<'_>, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
    ids(&case.when("configmap", "keys", what, |map| holds(&ids(map))))
}

/// How often the public keys of the account were read.
fn looks(case: &Case<'_>) -> usize {
    let path = format!("/service_accounts/v1/jwk/{}", case.email());
    case.requests().iter().filter(|request| request.raw["path"] == json!(path)).count()
}

fn keys() {
    let case = Case::new(World::shared(), "pubkeys");
    case.account(&keys_in("keys"));
    case.ready("iamsa", "billing");
    let system = ids(&case.get("configmap", "keys"));
    assert!(
        !system.is_empty() && case.person.keys(&case.name).is_empty(),
        "those that the backend keeps: {system:?}"
    );
    case.key("billing", &json!({"rotation": {"overlap": "1h", "deleteAfter": "1h"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    published(&case, "the first key", |ids| ids.contains(&first) && system.iter().all(|id| ids.contains(id)));

    let annotation = |name: &str| json!({"metadata": {"annotations": {name: soon()}}});
    case.patch("iamsak", "billing", &annotation("keywheel.dev/rotate-at"));
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    let second = case.active("billing");
    published(&case, "both keys", |ids| ids.contains(&first) && ids.contains(&second));

    let short = json!({"spec": {"rotation": {"overlap": "1s", "deleteAfter": "1h"}}});
    case.patch("iamsak", "billing", &short);
    case.patch("iamsak", "billing", &annotation("keywheel.dev/rotate-at"));
    case.when("iamsak", "billing", "the second one disabled", |key| {
        entry(key, &second)["phase"] == "Disabled"
    });
    let third = case.active("billing");
    let left = published(&case, "the second one gone", |ids| ids.contains(&third) && !ids.contains(&second));
    assert!(system.iter().all(|id| left.contains(id)), "{left:?}");
}

fn edits() {
    let case = Case::new(World::shared(), "edited");
    let mut spec = keys_in("keys");
    spec["federation"] = json!({"provider": PROVIDER, "configMapName": "keyless", "tokenFile": "/token"});
    case.account(&spec);
    let account = case.ready("iamsa", "billing");
    assert_eq!(account["status"]["configMaps"], json!(["keys", "keyless"]));
    assert_eq!(condition(&account, "ConfigMapsPublished")["reason"], "ConfigMapsPublished");
    let uid = &account["metadata"]["uid"];
    let maps = ["keys", "keyless"].map(|name| case.get("configmap", name));
    for map in &maps {
        let meta = &map["metadata"];
        assert_eq!(meta["annotations"]["keywheel.dev/owner-uid"], *uid);
        assert_eq!(meta["annotations"]["keywheel.dev/owner"], "billing");
        assert_eq!(meta["annotations"]["keywheel.dev/owner-namespace"], json!(case.name));
        assert_eq!(meta["labels"]["keywheel.dev/owned"], "true");
        assert_eq!(meta["ownerReferences"][0]["uid"], *uid);
    }
    let file: Value = serde_json::from_str(maps[1]["data"]["credentials.json"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&file["audience"], &file["credential_source"]["file"]),
        (&json!(format!("//iam.googleapis.com/{PROVIDER}")), &json!("/token"))
    );

    // Looks without a change write nothing, not even the same again.
    let audit = case.world.cp().audit();
    let (before, mark) = (looks(&case), audit.mark().unwrap());
    case.until("three more looks", || match looks(&case) {
        now if now >= before + 3 => Ok(()),
        now => Err(json!(now)),
    });
    for map in &maps {
        let name = map["metadata"]["name"].as_str().unwrap();
        let now = case.get("configmap", name);
        assert_eq!(now["metadata"]["resourceVersion"], map["metadata"]["resourceVersion"], "{name}");
    }
    let mut writes = audit.writes_since(mark, OPERATOR_USER).unwrap().real;
    writes.retain(|entry| entry.namespace == case.name);
    assert!(writes.is_empty(), "{writes:?}");

    // What people add stays, what they break is mended.
    let patch = json!({"data": {"jwks.json": "{}", "mine": "too"},
        "metadata": {"labels": {"keywheel.dev/owned": null, "team": "a"}, "annotations": {"note": "b"}}});
    case.patch("configmap", "keys", &patch);
    let mended = case
        .when("configmap", "keys", "mended", |map| map["data"]["jwks.json"] == maps[0]["data"]["jwks.json"]);
    assert_eq!(
        (&mended["data"]["mine"], &mended["metadata"]["annotations"]["note"]),
        (&json!("too"), &json!("b"))
    );
    let labels = &mended["metadata"]["labels"];
    assert_eq!((&labels["keywheel.dev/owned"], &labels["team"]), (&json!("true"), &json!("a")));
    case.delete("configmap", "keyless");
    case.when("configmap", "keyless", "made again", |map| map["data"] == maps[1]["data"]);
}

fn names() {
    let case = Case::new(World::shared(), "maps");
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"},
        "data": {"jwks.json": "theirs"}});
    case.create("configmap", &theirs);
    let before = case.get("configmap", "theirs");
    case.account(&keys_in("theirs"));
    let message = case.told("iamsa", "billing", "ConfigMapsPublished", "False", Reason::ConfigMapConflict);
    assert!(message.contains("theirs") && message.contains("configMapName"), "{message}");
    case.told("iamsa", "billing", "Ready", "False", Reason::ConfigMapConflict);

    for name in ["keys", "keys.2"] {
        case.patch("iamsa", "billing", &json!({ "spec": keys_in(name) }));
        case.when("iamsa", "billing", name, |account| account["status"]["configMaps"] == json!([name]));
        case.ready("iamsa", "billing");
        assert!(!ids(&case.get("configmap", name)).is_empty());
    }
    assert!(case.find("configmap", "keys").is_none(), "the former one is gone");

    case.patch("iamsa", "billing", &json!({"spec": {"publicKeys": null}}));
    case.gone("configmap", "keys.2");
    let account = case.when("iamsa", "billing", "nothing published", |account| {
        account["status"]["configMaps"].is_null() && condition(account, "ConfigMapsPublished").is_null()
    });
    assert_eq!(condition(&account, "Ready")["status"], "True", "{account}");
    assert_eq!(case.get("configmap", "theirs"), before);
}

fn refused() {
    let case = Case::new(World::shared(), "frozen");
    case.account(&keys_in("keys"));
    case.ready("iamsa", "billing");
    case.patch("configmap", "keys", &json!({"immutable": true}));
    let (key, _) = case.person.create_key(&case.name);
    let message = case.told("iamsa", "billing", "ConfigMapsPublished", "False", Reason::ConfigMapRefused);
    assert!(message.contains("keys") && message.contains("immutable"), "{message}");
    case.delete("configmap", "keys");
    case.ready("iamsa", "billing");
    published(&case, "the new key", |ids| ids.contains(&key));
}

fn deletion() {
    let case = Case::new(World::shared(), "unpub");
    let mut spec = keys_in("keys");
    spec["federation"] = json!({"provider": PROVIDER, "configMapName": "keyless"});
    case.account(&spec);
    case.ready("iamsa", "billing");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    // The next object of this name gets its own, once those are gone.
    let former = case.find("configmap", "keys").map(|map| map["metadata"]["uid"].clone());
    case.account(&keys_in("keys"));
    case.ready("iamsa", "billing");
    let owner = &case.get("iamsa", "billing")["metadata"]["uid"];
    let keys = case.get("configmap", "keys");
    assert_eq!(keys["metadata"]["annotations"]["keywheel.dev/owner-uid"], *owner);
    assert_ne!(Some(&keys["metadata"]["uid"]), former.as_ref());
    case.gone("configmap", "keyless");
}
