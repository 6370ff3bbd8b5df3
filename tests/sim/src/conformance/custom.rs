//! Our custom resources: schemas, rules, status, generation, finalizers.

use serde_json::{Value, json};

use super::desk::{JSON, MERGE};
use super::{Scenario, scenario};

const KEY: &str = "ServiceAccountKey";
const ACCOUNT: &str = "ServiceAccount";

fn key(spec: Value) -> Value {
    let mut object =
        json!({ "metadata": { "name": "a" }, "spec": { "serviceAccountRef": { "name": "billing" } } });
    json_patch::merge(&mut object["spec"], &spec);
    object
}

fn account() -> Value {
    json!({ "metadata": { "name": "billing" }, "spec": { "backendRef": { "name": "default" } } })
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("custom-defaults", d => {
            d.post(KEY, key(json!({}))).await;
            d.post(ACCOUNT, account()).await;
        }),
        scenario!("custom-defaults-below-an-object", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "30d" }, "secret": { "name": "s" } }))).await;
        }),
        scenario!("custom-unknown-fields-are-dropped", d => {
            d.post(KEY, key(json!({ "unknown": 1, "secret": { "colour": "red" } }))).await;
        }),
        scenario!("custom-null-is-absent", d => {
            d.post(KEY, json!({ "metadata": { "name": "a" }, "spec": {
                "serviceAccountRef": { "name": "b" }, "rotation": null, "secret": { "name": null } } })).await;
        }),
        scenario!("custom-required-field", d => {
            d.post(KEY, json!({ "metadata": { "name": "a" }, "spec": {} })).await;
            d.post(KEY, json!({ "metadata": { "name": "a" } })).await;
        }),
        scenario!("custom-wrong-type", d => {
            d.post(KEY, key(json!({ "rotation": { "suspend": "yes" } }))).await;
        }),
        scenario!("custom-enum", d => {
            d.post(KEY, key(json!({ "algorithm": "RSA_512" }))).await;
        }),
        scenario!("custom-pattern-and-length", d => {
            d.post(KEY, key(json!({ "secret": { "name": "Not-A-Name" } }))).await;
            d.post(ACCOUNT, json!({ "metadata": { "name": "billing" }, "spec": { "backendRef": { "name": "d" }, "accountId": "a" } })).await;
        }),
        scenario!("custom-duplicate-list-key", d => {
            let entry = json!({ "key": "k", "format": "GoogleCredentials" });
            d.post(KEY, key(json!({ "secret": { "entries": [entry, entry] } }))).await;
        }),
        scenario!("custom-empty-list", d => {
            d.post(KEY, key(json!({ "secret": { "entries": [] } }))).await;
        }),
        scenario!("custom-bad-duration", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "soon" } }))).await;
            d.post(KEY, key(json!({ "rotation": { "every": "1y" } }))).await;
        }),
        scenario!("rule-overlap-shorter-than-every", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "1h", "overlap": "1h" } }))).await;
            d.post(KEY, key(json!({ "rotation": { "every": "1h" } }))).await;
            d.post(KEY, key(json!({ "rotation": { "every": "2d", "overlap": "47h" } }))).await;
        }),
        scenario!("rule-every-or-schedule", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "30d", "schedule": "0 3 * * 1" } }))).await;
            d.post(KEY, key(json!({ "rotation": { "schedule": "0 3 * * 1", "timeZone": "Europe/Oslo" } }))).await;
        }),
        scenario!("rule-zone-needs-schedule", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "30d", "timeZone": "Europe/Oslo" } }))).await;
        }),
        scenario!("rule-every-in-range", d => {
            d.post(KEY, key(json!({ "rotation": { "every": "5s", "overlap": "1s" } }))).await;
        }),
        scenario!("rule-private-half-among-the-entries", d => {
            d.post(KEY, key(json!({ "secret": { "entries": [{ "key": "k", "format": "KeyId" }] } }))).await;
        }),
        scenario!("rule-reserved-names", d => {
            d.post(KEY, key(json!({ "secret": { "labels": { "keywheel.dev/owned": "true" } } }))).await;
            d.post(KEY, key(json!({ "secret": { "annotations": { "keywheel.dev/x": "1" } } }))).await;
            d.post(KEY, key(json!({ "secret": { "annotations": { "example.com/x": "1" } } }))).await;
        }),
        scenario!("rule-retained-secret-needs-retained-key", d => {
            d.post(KEY, key(json!({ "secret": { "deletionPolicy": "Retain" } }))).await;
            d.post(KEY, key(json!({ "secret": { "deletionPolicy": "Retain" }, "deletionPolicy": "Retain" }))).await;
        }),
        scenario!("rule-secret-type", d => {
            d.post(KEY, key(json!({ "secret": { "type": "kubernetes.io/service-account-token" } }))).await;
        }),
        scenario!("rule-immutable-reference", d => {
            d.post(KEY, key(json!({}))).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "serviceAccountRef": { "name": "other" } } })).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "secret": { "type": "other" } } })).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "secret": { "name": "other" } } })).await;
        }),
        scenario!("rule-account-id-from-the-name", d => {
            d.post(ACCOUNT, json!({ "metadata": { "name": "a" }, "spec": { "backendRef": { "name": "default" } } })).await;
            d.post(ACCOUNT, json!({ "metadata": { "name": "a" }, "spec": { "backendRef": { "name": "default" }, "accountId": "long-enough" } })).await;
        }),
        scenario!("rule-immutable-account", d => {
            d.post(ACCOUNT, account()).await;
            d.patch(ACCOUNT, "billing", MERGE, json!({ "spec": { "backendRef": { "name": "other" } } })).await;
            d.patch(ACCOUNT, "billing", MERGE, json!({ "spec": { "accountId": "another-id" } })).await;
            d.patch(ACCOUNT, "billing", MERGE, json!({ "spec": { "displayName": "Billing" } })).await;
        }),
        scenario!("status-is-a-part-of-its-own", d => {
            let mut object = key(json!({}));
            object["status"] = json!({ "attempt": 3 });
            let made = d.post(KEY, object).await;
            let mut changed = made.clone();
            changed["status"] = json!({ "attempt": 4 });
            changed["spec"]["algorithm"] = json!("RSA_1024");
            let after = d.put(KEY, "a/status", changed.clone()).await;
            changed["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
            changed["status"] = json!({ "attempt": 5 });
            d.put(KEY, "a", changed).await;
        }),
        scenario!("status-guarded", d => {
            let made = d.post(KEY, key(json!({}))).await;
            let mut changed = made.clone();
            changed["status"] = json!({ "attempt": 1 });
            d.put(KEY, "a/status", changed.clone()).await;
            changed["status"] = json!({ "attempt": 2 });
            d.put(KEY, "a/status", changed).await;
        }),
        scenario!("status-without-change", d => {
            let mut made = d.post(KEY, key(json!({}))).await;
            made["status"] = json!({ "attempt": 1 });
            let after = d.put(KEY, "a/status", made).await;
            d.put(KEY, "a/status", after).await;
        }),
        scenario!("status-is-checked", d => {
            let mut made = d.post(KEY, key(json!({}))).await;
            made["status"] = json!({ "attempt": -1 });
            d.put(KEY, "a/status", made).await;
        }),
        scenario!("status-cannot-change-labels", d => {
            let mut made = d.post(KEY, key(json!({}))).await;
            made["metadata"]["labels"] = json!({ "x": "1" });
            made["status"] = json!({ "attempt": 1 });
            d.put(KEY, "a/status", made).await;
        }),
        scenario!("status-merge-patch", d => {
            d.post(KEY, key(json!({}))).await;
            d.patch(KEY, "a/status", MERGE, json!({ "status": { "attempt": 2 } })).await;
            d.patch(KEY, "a/status", MERGE, json!({ "status": null })).await;
        }),
        scenario!("generation-counts-changes-of-the-spec", d => {
            d.post(KEY, key(json!({}))).await;
            d.patch(KEY, "a", MERGE, json!({ "metadata": { "labels": { "x": "1" } } })).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "algorithm": "RSA_1024" } })).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "algorithm": "RSA_1024" } })).await;
        }),
        scenario!("custom-replace-needs-a-version", d => {
            d.post(KEY, key(json!({}))).await;
            d.put(KEY, "a", key(json!({ "algorithm": "RSA_1024" }))).await;
        }),
        scenario!("custom-replace-with-anothers-uid", d => {
            let mut made = d.post(KEY, key(json!({}))).await;
            made["metadata"]["uid"] = json!("11111111-2222-4333-8444-555555555555");
            d.put(KEY, "a", made.clone()).await;
            let uid = json!({ "metadata": { "uid": made["metadata"]["uid"] } });
            d.patch(KEY, "a", MERGE, uid).await;
        }),
        scenario!("custom-merge-patch-guarded", d => {
            let made = d.post(KEY, key(json!({}))).await;
            let guard = json!({ "uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"],
                "finalizers": ["keywheel.dev/finalizer"] });
            d.patch_with(KEY, "a", "fieldManager=keywheel", MERGE, json!({ "metadata": guard })).await;
            d.patch_with(KEY, "a", "fieldManager=keywheel", MERGE, json!({ "metadata": guard })).await;
        }),
        scenario!("custom-json-patch", d => {
            d.post(KEY, key(json!({}))).await;
            d.patch(KEY, "a", JSON, json!([{ "op": "add", "path": "/spec/algorithm", "value": "RSA_1024" }])).await;
            d.patch(KEY, "a", JSON, json!([{ "op": "replace", "path": "/spec/algorithm", "value": "none" }])).await;
        }),
        scenario!("custom-strategic-patch-is-not-served", d => {
            d.post(KEY, key(json!({}))).await;
            d.patch(KEY, "a", super::desk::STRATEGIC, json!({ "spec": { "algorithm": "RSA_1024" } })).await;
        }),
        scenario!("custom-apply", d => {
            d.apply(KEY, "a", "flux", false, key(json!({ "rotation": { "every": "30d" } }))).await;
            d.apply(KEY, "a", "flux", false, key(json!({ "rotation": { "every": "60d" } }))).await;
            d.apply(KEY, "a", "flux", false, key(json!({}))).await;
        }),
        scenario!("custom-apply-conflict", d => {
            d.apply(KEY, "a", "flux", false, key(json!({ "algorithm": "RSA_2048" }))).await;
            d.patch_with(KEY, "a", "fieldManager=kubectl", MERGE, json!({ "spec": { "algorithm": "RSA_1024" } })).await;
            d.apply(KEY, "a", "flux", false, key(json!({ "algorithm": "RSA_2048" }))).await;
            d.apply(KEY, "a", "flux", true, key(json!({ "algorithm": "RSA_2048" }))).await;
        }),
        scenario!("custom-apply-list-of-entries", d => {
            let entries = |names: &[&str]| {
                let list: Vec<Value> = names.iter().map(|n| json!({ "key": n, "format": "GoogleCredentials" })).collect();
                key(json!({ "secret": { "entries": list } }))
            };
            d.apply(KEY, "a", "one", false, entries(&["x"])).await;
            d.apply(KEY, "a", "two", false, entries(&["y"])).await;
            d.apply(KEY, "a", "one", false, entries(&["z"])).await;
        }),
        scenario!("custom-apply-status", d => {
            d.post(KEY, key(json!({}))).await;
            d.apply(KEY, "a/status", "one", false, json!({ "metadata": { "name": "a" }, "status": { "attempt": 1 } })).await;
        }),
    ]
}
