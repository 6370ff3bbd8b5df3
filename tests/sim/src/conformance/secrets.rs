//! Secrets: what the operator writes, and what can go wrong with it.

use serde_json::{Value, json};

use super::desk::{JSON, MERGE, STRATEGIC};
use super::{Scenario, scenario};

fn secret(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "k": "dg==" } })
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn uid(object: &Value) -> Value {
    object["metadata"]["uid"].clone()
}

fn version(object: &Value) -> Value {
    object["metadata"]["resourceVersion"].clone()
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("secret-create-read-delete", d => {
            d.post("Secret", secret("a")).await;
            d.get("Secret", "a").await;
            d.delete("Secret", "a", Value::Null).await;
            d.get("Secret", "a").await;
            d.delete("Secret", "a", Value::Null).await;
        }),
        scenario!("secret-create-twice", d => {
            d.post("Secret", secret("a")).await;
            d.post("Secret", secret("a")).await;
        }),
        scenario!("secret-create-dry-run-stores-nothing", d => {
            d.post_with("Secret", "dryRun=All", secret("a")).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-create-dry-run-over-an-existing-one", d => {
            d.post("Secret", secret("a")).await;
            d.post_with("Secret", "dryRun=All", secret("a")).await;
        }),
        scenario!("secret-string-data", d => {
            d.post("Secret", json!({ "metadata": { "name": "a" }, "stringData": { "k": "plain" } })).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-bad-base64", d => {
            d.post("Secret", json!({ "metadata": { "name": "a" }, "data": { "k": "!" } })).await;
        }),
        scenario!("secret-bad-data-key", d => {
            d.post("Secret", json!({ "metadata": { "name": "a" }, "data": { "a/b": "dg==" } })).await;
        }),
        scenario!("secret-too-large", d => {
            let big = "AAAA".repeat(400_000);
            d.post("Secret", json!({ "metadata": { "name": "a" }, "data": { "k": big } })).await;
        }),
        scenario!("secret-without-data", d => {
            d.post("Secret", json!({ "metadata": { "name": "a" } })).await;
        }),
        scenario!("secret-replace-guarded", d => {
            let made = d.post("Secret", secret("a")).await;
            let again = d.put("Secret", "a", with(made.clone(), "data", json!({ "k": "dzI=" }))).await;
            d.put("Secret", "a", with(made, "data", json!({ "k": "dzM=" }))).await;
            d.put("Secret", "a", with(again, "data", json!({ "k": "dzQ=" }))).await;
        }),
        scenario!("secret-replace-unguarded", d => {
            d.post("Secret", secret("a")).await;
            d.put("Secret", "a", json!({ "metadata": { "name": "a" }, "data": { "k": "dzI=" } })).await;
        }),
        scenario!("secret-replace-with-anothers-uid", d => {
            let mut made = d.post("Secret", secret("a")).await;
            made["metadata"]["uid"] = json!("11111111-2222-4333-8444-555555555555");
            d.put("Secret", "a", made).await;
        }),
        scenario!("secret-replace-one-that-is-gone", d => {
            let made = d.post("Secret", secret("a")).await;
            d.delete("Secret", "a", Value::Null).await;
            d.put("Secret", "a", made).await;
        }),
        scenario!("secret-replace-one-that-was-made-again", d => {
            let made = d.post("Secret", secret("a")).await;
            d.delete("Secret", "a", Value::Null).await;
            d.post("Secret", secret("a")).await;
            d.put("Secret", "a", made).await;
        }),
        scenario!("secret-replace-without-change", d => {
            let made = d.post("Secret", secret("a")).await;
            d.put("Secret", "a", made).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-replace-dry-run", d => {
            let made = d.post("Secret", secret("a")).await;
            d.put_with("Secret", "a", "dryRun=All", with(made, "data", json!({ "k": "dzI=" }))).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-replace-dry-run-stale", d => {
            let made = d.post("Secret", secret("a")).await;
            d.put("Secret", "a", with(made.clone(), "data", json!({ "k": "dzI=" }))).await;
            d.put_with("Secret", "a", "dryRun=All", made).await;
        }),
        scenario!("secret-replace-under-another-name", d => {
            let made = d.post("Secret", secret("a")).await;
            d.put("Secret", "b", made).await;
        }),
        scenario!("secret-type-is-immutable", d => {
            let made = d.post("Secret", secret("a")).await;
            d.put("Secret", "a", with(made, "type", json!("other/type"))).await;
        }),
        scenario!("secret-immutable-data", d => {
            let made = d.post("Secret", with(secret("a"), "immutable", json!(true))).await;
            d.put("Secret", "a", with(made.clone(), "data", json!({ "k": "dzI=" }))).await;
            d.put("Secret", "a", with(made.clone(), "immutable", json!(false))).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "labels": { "l": "1" } } })).await;
            d.delete("Secret", "a", Value::Null).await;
        }),
        scenario!("secret-delete-guarded-by-uid", d => {
            let made = d.post("Secret", secret("a")).await;
            let wrong = "11111111-2222-4333-8444-555555555555";
            d.delete("Secret", "a", json!({ "preconditions": { "uid": wrong } })).await;
            d.delete("Secret", "a", json!({ "preconditions": { "uid": uid(&made) } })).await;
        }),
        scenario!("secret-delete-guarded-by-version", d => {
            let made = d.post("Secret", secret("a")).await;
            let again = d.put("Secret", "a", with(made.clone(), "data", json!({ "k": "dzI=" }))).await;
            let guard = |o: &Value| json!({ "preconditions": { "uid": uid(o), "resourceVersion": version(o) } });
            d.delete("Secret", "a", guard(&made)).await;
            d.delete("Secret", "a", guard(&again)).await;
        }),
        scenario!("secret-delete-dry-run", d => {
            d.post("Secret", secret("a")).await;
            d.delete("Secret", "a", json!({ "dryRun": ["All"] })).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-delete-one-that-was-made-again", d => {
            let made = d.post("Secret", secret("a")).await;
            d.delete("Secret", "a", Value::Null).await;
            d.post("Secret", secret("a")).await;
            d.delete("Secret", "a", json!({ "preconditions": { "uid": uid(&made) } })).await;
        }),
        scenario!("secret-merge-patch", d => {
            d.post("Secret", secret("a")).await;
            d.patch("Secret", "a", MERGE, json!({ "data": { "k": null, "m": "dzI=" } })).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "annotations": { "x": "1", "y": "2" } } })).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "annotations": { "x": null } } })).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "annotations": { "y": null } } })).await;
        }),
        scenario!("secret-merge-patch-guarded-by-version", d => {
            let made = d.post("Secret", secret("a")).await;
            d.patch("Secret", "a", MERGE, json!({ "data": { "m": "dzI=" } })).await;
            let stale = json!({ "metadata": { "resourceVersion": version(&made) }, "data": { "n": "dzI=" } });
            d.patch("Secret", "a", MERGE, stale).await;
        }),
        scenario!("secret-merge-patch-without-change", d => {
            d.post("Secret", secret("a")).await;
            d.patch("Secret", "a", MERGE, json!({ "data": { "k": "dg==" } })).await;
        }),
        scenario!("secret-merge-patch-of-none", d => {
            d.patch("Secret", "a", MERGE, json!({ "data": { "k": "dg==" } })).await;
        }),
        scenario!("secret-strategic-patch", d => {
            d.post("Secret", secret("a")).await;
            d.patch("Secret", "a", STRATEGIC, json!({ "data": { "m": "dzI=" }, "metadata": { "labels": { "l": "1" } } })).await;
        }),
        scenario!("secret-json-patch", d => {
            d.post("Secret", secret("a")).await;
            d.patch("Secret", "a", JSON, json!([{ "op": "add", "path": "/data/m", "value": "dzI=" }])).await;
            d.patch("Secret", "a", JSON, json!([{ "op": "test", "path": "/data/m", "value": "no" }])).await;
            d.patch("Secret", "a", JSON, json!([{ "op": "remove", "path": "/data/none" }])).await;
        }),
        scenario!("secret-apply-creates-and-owns", d => {
            d.apply("Secret", "a", "one", false, secret("a")).await;
            d.apply("Secret", "a", "one", false, with(secret("a"), "data", json!({ "m": "dzI=" }))).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-apply-conflict-and-force", d => {
            d.apply("Secret", "a", "one", false, secret("a")).await;
            let theirs = with(secret("a"), "data", json!({ "k": "dzI=" }));
            d.apply("Secret", "a", "two", false, theirs.clone()).await;
            d.apply("Secret", "a", "two", true, theirs).await;
            d.apply("Secret", "a", "one", false, json!({ "metadata": { "name": "a" } })).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-apply-over-an-update", d => {
            d.post_with("Secret", "fieldManager=keywheel", secret("a")).await;
            d.apply("Secret", "a", "two", false, with(secret("a"), "data", json!({ "k": "dzI=" }))).await;
            d.apply("Secret", "a", "two", false, secret("a")).await;
        }),
        scenario!("secret-apply-labels-of-two-managers", d => {
            let labelled = |l: Value| json!({ "metadata": { "name": "a", "labels": l } });
            d.apply("Secret", "a", "one", false, labelled(json!({ "x": "1" }))).await;
            d.apply("Secret", "a", "two", false, labelled(json!({ "y": "2" }))).await;
            d.apply("Secret", "a", "one", false, labelled(json!({}))).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-apply-dry-run", d => {
            d.patch_with("Secret", "a", "fieldManager=one&dryRun=All", super::desk::APPLY,
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" }, "data": { "k": "dg==" } })).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-apply-without-manager", d => {
            d.patch("Secret", "a", super::desk::APPLY,
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "a" } })).await;
        }),
        scenario!("secret-quota", d => {
            // The real one counts late, and now and then too few: there is room for none.
            d.post("Secret", secret("a")).await;
            d.post("ResourceQuota", json!({ "metadata": { "name": "q" }, "spec": { "hard": { "count/secrets": "0" } } })).await;
            let status = json!({ "status": { "hard": { "count/secrets": "0" }, "used": { "count/secrets": "0" } } });
            d.patch("ResourceQuota", "q/status", MERGE, status).await;
            d.post_with("Secret", "dryRun=All", secret("b")).await;
            d.post("Secret", secret("b")).await;
            d.put("Secret", "a", json!({ "metadata": { "name": "a" }, "data": { "k": "dzI=" } })).await;
        }),
        scenario!("secret-quota-with-room", d => {
            d.post("ResourceQuota", json!({ "metadata": { "name": "q" }, "spec": { "hard": { "count/secrets": "5" } } })).await;
            let status = json!({ "status": { "hard": { "count/secrets": "5" }, "used": { "count/secrets": "0" } } });
            d.patch("ResourceQuota", "q/status", MERGE, status).await;
            d.post("Secret", secret("a")).await;
        }),
        scenario!("secret-in-a-missing-namespace", d => {
            "no-such-namespace".clone_into(&mut d.namespace);
            d.post("Secret", secret("a")).await;
            d.get("Secret", "a").await;
        }),
        scenario!("secret-in-a-terminating-namespace", d => {
            let held = json!({ "metadata": { "name": "held", "finalizers": ["example.com/hold"] } });
            d.post("ConfigMap", held).await;
            d.post("Secret", secret("old")).await;
            d.delete_namespace().await;
            d.until("the old Secret is gone", "Secret", "old", |code, _| code == 404).await;
            d.post("Secret", secret("a")).await;
            d.post_with("Secret", "dryRun=All", secret("a")).await;
            d.until("the held one is marked", "ConfigMap", "held", |_, o| !o["metadata"]["deletionTimestamp"].is_null()).await;
            d.patch("ConfigMap", "held", MERGE, json!({ "metadata": { "finalizers": null } })).await;
            d.until("the content is gone", "ConfigMap", "held", |code, _| code == 404).await;
        }),
    ]
}
