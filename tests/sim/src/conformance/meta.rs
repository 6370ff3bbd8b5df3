//! Object metadata: finalizers, owners, names, labels.

use serde_json::{Value, json};

use super::desk::MERGE;
use super::{Scenario, scenario};

const KEY: &str = "ServiceAccountKey";

fn held(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "finalizers": ["keywheel.dev/finalizer"] },
        "spec": { "serviceAccountRef": { "name": "billing" } },
    })
}

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "k": "v" } })
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("finalizer-holds-until-it-is-removed", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", Value::Null).await;
            d.get(KEY, "a").await;
            d.delete(KEY, "a", Value::Null).await;
            d.patch(KEY, "a", MERGE, json!({ "metadata": { "finalizers": [] } })).await;
            d.get(KEY, "a").await;
        }),
        scenario!("finalizer-of-a-deleting-object-cannot-be-added", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", Value::Null).await;
            let two = json!({ "metadata": { "finalizers": ["keywheel.dev/finalizer", "example.com/other"] } });
            d.patch(KEY, "a", MERGE, two).await;
            d.patch(KEY, "a", MERGE, json!({ "metadata": { "finalizers": null } })).await;
        }),
        scenario!("deleting-object-can-still-be-changed", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", Value::Null).await;
            d.patch(KEY, "a", MERGE, json!({ "metadata": { "annotations": { "keywheel.dev/abandon": "" } } })).await;
            d.patch(KEY, "a", MERGE, json!({ "spec": { "deletionPolicy": "Retain" } })).await;
            d.patch(KEY, "a/status", MERGE, json!({ "status": { "attempt": 1 } })).await;
        }),
        scenario!("deletion-cannot-be-taken-back", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", Value::Null).await;
            d.patch(KEY, "a", MERGE, json!({ "metadata": { "deletionTimestamp": null } })).await;
        }),
        scenario!("deletion-guarded-while-held", d => {
            let made = d.post(KEY, held("a")).await;
            d.delete(KEY, "a", json!({ "preconditions": { "uid": "11111111-2222-4333-8444-555555555555" } })).await;
            d.delete(KEY, "a", json!({ "preconditions": { "uid": made["metadata"]["uid"] } })).await;
        }),
        scenario!("deletion-dry-run-while-held", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", json!({ "dryRun": ["All"] })).await;
            d.get(KEY, "a").await;
        }),
        scenario!("name-while-deleting-is-taken", d => {
            d.post(KEY, held("a")).await;
            d.delete(KEY, "a", Value::Null).await;
            d.post(KEY, held("a")).await;
        }),
        scenario!("owner-that-is-gone-takes-what-it-owns", d => {
            let owner = d.post("ConfigMap", map("owner")).await;
            let mut owned = map("owned");
            owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap",
                "name": "owner", "uid": owner["metadata"]["uid"] }]);
            d.post("ConfigMap", owned).await;
            d.delete("ConfigMap", "owner", json!({ "propagationPolicy": "Background" })).await;
            d.until("the owned one is gone", "ConfigMap", "owned", |code, _| code == 404).await;
        }),
        scenario!("owner-with-a-stale-uid-takes-what-it-seems-to-own", d => {
            d.post("ConfigMap", map("owner")).await;
            let mut owned = map("owned");
            owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap",
                "name": "owner", "uid": "11111111-2222-4333-8444-555555555555" }]);
            d.post("ConfigMap", owned).await;
            d.until("the owned one is gone", "ConfigMap", "owned", |code, _| code == 404).await;
        }),
        scenario!("name-must-be-one", d => {
            d.post("ConfigMap", map("Not_A_Name")).await;
            d.post("ConfigMap", json!({ "metadata": {}, "data": {} })).await;
        }),
        scenario!("labels-must-be-labels", d => {
            let mut bad = map("a");
            bad["metadata"]["labels"] = json!({ "x": "not a label" });
            d.post("ConfigMap", bad).await;
            let mut bad = map("a");
            bad["metadata"]["labels"] = json!({ "not a key": "x" });
            d.post("ConfigMap", bad).await;
        }),
        scenario!("version-on-create", d => {
            let mut versioned = map("a");
            versioned["metadata"]["resourceVersion"] = json!("1");
            d.post("ConfigMap", versioned).await;
        }),
        scenario!("uid-on-create-is-not-taken", d => {
            let mut named = map("a");
            named["metadata"]["uid"] = json!("11111111-2222-4333-8444-555555555555");
            let made = d.post("ConfigMap", named).await;
            let taken = made["metadata"]["uid"] == "11111111-2222-4333-8444-555555555555";
            assert!(!taken, "a uid of the client's own was taken");
        }),
        scenario!("namespace-of-the-body-must-fit", d => {
            let mut elsewhere = map("a");
            elsewhere["metadata"]["namespace"] = json!("elsewhere");
            d.post("ConfigMap", elsewhere).await;
        }),
        scenario!("kind-of-the-body-must-fit", d => {
            let mut other = map("a");
            other["kind"] = json!("Secret");
            d.post("ConfigMap", other).await;
        }),
    ]
}
