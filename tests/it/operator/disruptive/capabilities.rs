//! What a spec can ask for and this backend lacks: each is refused by its name before anything is made, and what the backend has
//! in its place is said.

use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::super::case::condition;
use super::super::trial;
use super::{Case, World, account, account_named, case, changed, key};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::capabilities::what_keys_lack_is_named", keys),
        trial("disruptive::capabilities::what_accounts_lack_is_named", accounts),
        trial("disruptive::capabilities::what_is_not_asked_for_is_not_lacking", unset),
        trial("disruptive::capabilities::what_other_backends_lack_is_named", others),
    ]
}

const ID: &str = "c0kqf0000000000000tg";

fn keys() {
    let case = case("lacking", &json!({}));
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    let before = changed(&case);
    let rotation = |more: &str| {
        let mut rotation = json!({"every": "1h", "overlap": "5m"});
        rotation[more] = json!("1h");
        json!({"rotation": rotation})
    };
    let entry = |format: &str| json!({"secret": {"entries": [{"key": "a", "format": "DisruptiveCredentials"}, {"key": "b", "format": format}]}});
    for (name, spec, words) in [
        ("local", json!({"keySource": "Local"}), "set keySource: Backend"),
        // The schema lets it stand beside that only.
        ("validity", json!({"keySource": "Local", "validity": "48h"}), "set keySource: Backend"),
        ("algorithm", json!({"algorithm": "RSA_2048"}), "remove algorithm"),
        ("small", json!({"algorithm": "RSA_1024"}), "remove algorithm"),
        ("later", rotation("deleteAfter"), "remove rotation.deleteAfter"),
        ("unused", rotation("requireUnusedFor"), "remove rotation.requireUnusedFor"),
        ("default", json!({"secret": {}}), "GoogleCredentials"),
        ("pem", entry("PrivateKeyPem"), "PrivateKeyPem"),
        ("p12", entry("Pkcs12"), "Pkcs12"),
        ("jwks", entry("PublicJwks"), "PublicJwks"),
    ] {
        case.key(name, &key(&spec));
        let message = case.told("iamsak", name, "Stalled", "True", Reason::CapabilityMissing);
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(condition(&case.get("iamsak", name), "Ready")["status"], "False", "{name}");
        case.event(name, Reason::CapabilityMissing);
    }
    assert_eq!(changed(&case), before, "nothing is made of what cannot be as it is asked for");
    // Without it, it is made.
    case.patch("iamsak", "later", &json!({"spec": {"rotation": {"deleteAfter": null}}}));
    let ready = case.ready("iamsak", "later");
    assert_eq!(condition(&ready, "Stalled"), Value::Null);
}

fn accounts() {
    let case = case("lacks", &json!({"tenants": {"adoption": true, "undelete": true, "services": ["*"]}}));
    let role = json!({"role": "roles/project.user", "condition": {"title": "t", "expression": "true"}});
    let provider = "projects/1/locations/global/workloadIdentityPools/pool/providers/cluster";
    let federation = json!({"provider": provider, "configMapName": "federation"});
    for (name, spec, words) in [
        ("chosen", json!({"accountId": ID}), "remove accountId"),
        ("nobody", json!({"adoptionPolicy": "Required"}), "by accountId or email"),
        ("undelete", json!({"undelete": "1"}), "remove undelete"),
        ("description", json!({"description": "text"}), "remove description"),
        ("disabled", json!({"disabled": true}), "remove disabled"),
        ("policy", json!({"deletionPolicy": "Disable"}), "deletionPolicy: Delete or Retain"),
        ("keys", json!({"unmanagedKeys": "Disable"}), "unmanagedKeys: Report or Delete"),
        ("condition", json!({"roles": [role]}), "remove condition"),
        ("services", json!({"services": ["pubsub.googleapis.com"]}), "remove services"),
        ("public", json!({"publicKeys": {"configMapName": "keys"}}), "remove publicKeys"),
        ("federation", json!({ "federation": federation }), "remove federation"),
    ] {
        account_named(&case, name, &spec);
        let message = case.told("iamsa", name, "Stalled", "True", Reason::CapabilityMissing);
        assert!(message.contains(words), "{name}: {message}");
        let object = case.get("iamsa", name);
        assert_eq!(condition(&object, "Ready")["status"], "False", "{name}");
        assert_eq!(object["status"]["creating"], Value::Null, "{name}");
        case.event(name, Reason::CapabilityMissing);
    }
    assert_eq!(changed(&case), 0, "nothing is made of what cannot be as it is asked for");
    // An account that is there is left as it is, and goes on once the field is gone.
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].clone();
    case.patch("iamsa", "billing", &json!({"spec": {"disabled": true}}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::CapabilityMissing);
    assert!(message.contains("remove disabled"), "{message}");
    case.patch("iamsa", "billing", &json!({"spec": {"disabled": false}}));
    let ready = case.ready("iamsa", "billing");
    assert_eq!((&ready["status"]["uniqueId"], condition(&ready, "Stalled")), (&id, Value::Null));
    // An object that was refused goes without a call.
    let before = changed(&case);
    case.delete("iamsa", "services");
    case.gone("iamsa", "services");
    assert_eq!(changed(&case), before);
}

fn unset() {
    let case = case("lackless", &json!({}));
    let bare = json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccount",
        "metadata": {"name": "bare-account"}, "spec": {"backendRef": {"name": case.backend}}});
    case.create("iamsa", &bare);
    case.ready("iamsa", "bare-account");
    // What is written out, and is what holds anyway.
    let written = json!({"disabled": false, "deletionPolicy": "Delete", "unmanagedKeys": "Report", "roles": [],
        "services": [], "adoptionPolicy": "Never", "displayName": "Billing", "disruptive": {"basicAuth": false}});
    account(&case, &written);
    case.ready("iamsa", "billing");
    for (name, spec) in [
        ("key", json!({})),
        ("written", json!({"keySource": "Backend", "verification": {"mode": "TokenExchange"}})),
        ("blind", json!({"verification": {"mode": "None"}})),
        ("wheel", json!({"rotation": {"every": "1h", "overlap": "5m"}})),
    ] {
        case.key(name, &key(&spec));
        let ready = case.ready("iamsak", name);
        assert_eq!(condition(&ready, "Stalled"), Value::Null, "{name}");
    }
}

/// The other way round.
fn others() {
    let case = Case::new(World::shared(), "not-dt");
    case.account(&json!({"disruptive": {"basicAuth": true}}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::CapabilityMissing);
    assert!(message.contains("remove disruptive"), "{message}");
    case.patch("iamsa", "billing", &json!({"spec": {"disruptive": null}}));
    case.ready("iamsa", "billing");
    case.key("billing", &key(&json!({})));
    let message = case.told("iamsak", "billing", "Stalled", "True", Reason::CapabilityMissing);
    assert!(message.contains("DisruptiveCredentials"), "{message}");
}
