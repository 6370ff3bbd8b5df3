//! Lists and watches.

use serde_json::{Value, json};

use super::desk::MERGE;
use super::{Scenario, scenario};

const KEY: &str = "ServiceAccountKey";

fn labelled(name: &str, team: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "team": team } } })
}

fn key_of(name: &str, account: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "serviceAccountRef": { "name": account } } })
}

pub(super) fn all() -> Vec<Scenario> {
    vec![
        scenario!("list-by-labels", d => {
            d.post("Secret", labelled("a", "red")).await;
            d.post("Secret", labelled("b", "blue")).await;
            d.post("Secret", json!({ "metadata": { "name": "c" } })).await;
            for selector in ["team=red", "team!=red", "team", "!team", "team%20in%20(red,blue)", "team%20notin%20(red)"] {
                d.list("Secret", &format!("labelSelector={selector}")).await;
            }
        }),
        scenario!("list-by-fields", d => {
            d.post(KEY, key_of("a", "one")).await;
            d.post(KEY, key_of("b", "two")).await;
            d.list(KEY, "fieldSelector=spec.serviceAccountRef.name%3Done").await;
            d.list(KEY, "fieldSelector=metadata.name%3Db").await;
            d.list(KEY, "fieldSelector=spec.algorithm%3DRSA_2048").await;
        }),
        scenario!("list-in-pages", d => {
            for name in ["a", "b", "c"] {
                d.post("Secret", labelled(name, "red")).await;
            }
            let first = d.list("Secret", "limit=2").await;
            let token = first["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
            d.list("Secret", &format!("limit=2&continue={token}")).await;
        }),
        scenario!("list-of-nothing", d => {
            d.list(KEY, "").await;
        }),
        scenario!("list-of-a-kind-that-is-not-served", d => {
            let path = format!("/apis/keywheel.dev/v1alpha1/namespaces/{}/wheels", d.namespace);
            d.ask("GET", &path, "application/json", Value::Null).await;
        }),
        scenario!("watch-from-nothing", d => {
            d.post("Secret", labelled("a", "red")).await;
            d.watch("Secret", "", 1).await;
        }),
        scenario!("watch-from-a-version", d => {
            let made = d.post("Secret", labelled("a", "red")).await;
            d.patch("Secret", "a", MERGE, json!({ "data": { "k": "dg==" } })).await;
            d.delete("Secret", "a", Value::Null).await;
            let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            d.watch("Secret", &format!("resourceVersion={version}"), 2).await;
        }),
        scenario!("watch-sees-what-enters-and-leaves-a-selector", d => {
            let made = d.post("Secret", labelled("a", "blue")).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "labels": { "team": "red" } } })).await;
            d.patch("Secret", "a", MERGE, json!({ "data": { "k": "dg==" } })).await;
            d.patch("Secret", "a", MERGE, json!({ "metadata": { "labels": { "team": "blue" } } })).await;
            let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            d.watch("Secret", &format!("resourceVersion={version}&labelSelector=team%3Dred"), 3).await;
        }),
        scenario!("watch-from-a-version-that-is-forgotten", d => {
            d.post(KEY, key_of("a", "one")).await;
            d.watch(KEY, "resourceVersion=1", 1).await;
        }),
        scenario!("watch-of-our-kind", d => {
            let made = d.post(KEY, key_of("a", "one")).await;
            d.patch(KEY, "a/status", MERGE, json!({ "status": { "attempt": 1 } })).await;
            let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            d.watch(KEY, &format!("resourceVersion={version}"), 1).await;
        }),
    ]
}
