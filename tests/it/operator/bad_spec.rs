//! Specs that the schema lets through and that mean nothing: each gets its reason, the published key stays, and a
//! correction is all it takes.

use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bad_spec::a_published_key_outlives_every_mistake_in_its_spec", mistakes),
        trial("bad_spec::no_key_is_made_for_an_algorithm_that_the_backend_does_not_offer", algorithm),
        trial("bad_spec::kubectl_apply_says_what_the_schema_refuses", refused_at_apply),
    ]
}

fn mistakes() {
    let case = Case::new(World::shared(), "mistakes");
    case.settled(&json!({}));
    let (active, secret) = (case.active("billing"), case.get("secret", "billing"));
    let rotation = |rotation: Value| json!({ "rotation": rotation });
    for (spec, reason, words) in [
        (rotation(json!({"schedule": "every monday"})), Reason::InvalidSchedule, "every monday"),
        (rotation(json!({"schedule": "0 0 30 2 *"})), Reason::InvalidSchedule, "never fires"),
        (
            rotation(json!({"schedule": "0 3 * * 1", "timeZone": "Mars/Olympus"})),
            Reason::InvalidTimeZone,
            "Mars/Olympus",
        ),
        (rotation(json!({"schedule": "0 * * * *", "overlap": "2h"})), Reason::OverlapTooLong, "overlap"),
        (
            rotation(json!({"schedule": "0 * * * *", "overlap": "1m", "jitter": "3h"})),
            Reason::OverlapTooLong,
            "jitter",
        ),
        (json!({"algorithm": "RSA_1024"}), Reason::AlgorithmUnsupported, "RSA_2048"),
    ] {
        // Null takes away what the mistake before brought.
        let mut patch = json!({"rotation": null, "algorithm": "RSA_2048"});
        for (field, value) in spec.as_object().unwrap() {
            patch[field] = value.clone();
        }
        case.patch("iamsak", "billing", &json!({ "spec": patch }));
        let message = case.told("iamsak", "billing", "Stalled", "True", reason);
        assert!(message.contains(words), "{reason}: {message}");
        assert_eq!(case.told("iamsak", "billing", "Ready", "False", reason), message);
        case.event_saying("billing", reason, words);
        assert_eq!(case.active("billing"), active, "{reason}");
        assert_eq!(case.get("secret", "billing"), secret, "{reason}: the Secret was touched");

        case.patch("iamsak", "billing", &json!({"spec": {"rotation": null, "algorithm": "RSA_2048"}}));
        let good = case.ready("iamsak", "billing");
        assert_eq!(condition(&good, "Stalled"), Value::Null, "{reason}: {}", good["status"]);
    }
    case.accepted("billing");
    assert_eq!(case.count("keys.create"), 1, "a mistake is no reason for a key");
    assert_eq!(case.get("secret", "billing"), secret);
}

fn algorithm() {
    let case = Case::new(World::shared(), "algorithm");
    case.account(&json!({}));
    case.key("billing", &json!({"algorithm": "RSA_1024"}));
    case.ready("iamsa", "billing");
    let message = case.told("iamsak", "billing", "Stalled", "True", Reason::AlgorithmUnsupported);
    assert!(message.contains("RSA_1024") && message.contains("RSA_2048"), "{message}");
    assert_eq!((case.count("keys.create"), case.find("secret", "billing")), (0, None));
    case.patch("iamsak", "billing", &json!({"spec": {"algorithm": "RSA_2048"}}));
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

/// With kubectl itself, as a person sees it; the whole table of rules is in `admission`.
fn refused_at_apply() {
    let case = Case::new(World::shared(), "apply");
    let key = |spec: Value| {
        let mut whole = json!({"serviceAccountRef": {"name": "billing"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        ("ServiceAccountKey", "billing", whole)
    };
    let account = |name: &'static str, spec: Value| {
        let mut whole = json!({"backendRef": {"name": "shared"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        ("ServiceAccount", name, whole)
    };
    for ((kind, name, spec), words) in [
        (
            key(json!({"rotation": {"every": "30d", "schedule": "0 3 * * 1"}})),
            "set every or schedule, not both",
        ),
        (key(json!({"rotation": {"every": "a month"}})), "rotation.every"),
        (key(json!({"rotation": {"every": "30d", "overlap": "-1h"}})), "rotation.overlap"),
        (key(json!({"rotation": {"every": "99999999999999999999s"}})), "rotation.every"),
        (key(json!({"verification": {"timeout": "18446744073709551615w"}})), "verification.timeout"),
        (key(json!({"rotation": {"schedule": "0 3 * * 1", "timeZone": "not a zone!"}})), "rotation.timeZone"),
        (key(json!({"algorithm": "RSA_512"})), "Unsupported value: \"RSA_512\""),
        (key(json!({"secret": {"name": "Not_A_Name"}})), "secret.name"),
        (key(json!({"rotattion": {}})), "unknown field \"spec.rotattion\""),
        (account("billing", json!({"accountId": "Billing"})), "accountId"),
        (account("billing", json!({"accountId": "ends-with-"})), "accountId"),
        (
            account("short", json!({})),
            "without spec.accountId and spec.email, metadata.name is the account id",
        ),
        (account("billing", json!({"backendRef": {"kind": "Other", "name": "x"}})), "backendRef.kind"),
    ] {
        let object = json!({
            "apiVersion": "keywheel.dev/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "namespace": case.name},
        });
        match case.world.cp().apply_yaml(&object.to_string()) {
            Ok(said) => panic!("{object}: {said}"),
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains(words), "{object}: {said}");
            }
        }
    }
}
