//! The controllers wired as in production: watches, wake-ups, waits.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]

use std::time::Duration;

use keywheel_sim::api_server::{Request, Verb};
use keywheel_sim::case::in_own_time;
use keywheel_sim::stage::{NAMESPACE, key_place, resource, secret_place};
use keywheel_sim::wiring::Cluster;
use serde_json::{Value, json};

const API: &str = "keywheel.dev/v1alpha1";

fn create(cluster: &Cluster, kind: &str, namespace: &str, object: Value) {
    let request = Request::by_person(Verb::Create, resource(kind), namespace, "", object);
    assert_eq!(cluster.request(&request), 201, "{}", request.summary());
}

fn delete(cluster: &Cluster, kind: &str, name: &str) {
    let request = Request::by_person(Verb::Delete, resource(kind), NAMESPACE, name, Value::Null);
    assert_eq!(cluster.request(&request), 200);
}

fn apply_all(cluster: &Cluster, keys: usize) {
    create(
        cluster,
        "Secret",
        "keywheel-system",
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" }, "stringData": { "key.json": "login" },
        }),
    );
    create(
        cluster,
        "ClusterIamBackend",
        "",
        json!({
            "apiVersion": API, "kind": "ClusterIamBackend", "metadata": { "name": "default" },
            "spec": { "embedded": { "endpoint": "http://iam.sim", "auth": { "secretRef": { "name": "login" } } } },
        }),
    );
    create(
        cluster,
        "ServiceAccount",
        NAMESPACE,
        json!({
            "apiVersion": API, "kind": "ServiceAccount", "metadata": { "name": "billing" },
            "spec": { "backendRef": { "name": "default" } },
        }),
    );
    for key in 0..keys {
        create(
            cluster,
            "ServiceAccountKey",
            NAMESPACE,
            json!({
                "apiVersion": API, "kind": "ServiceAccountKey", "metadata": { "name": format!("key-{key}") },
                "spec": { "serviceAccountRef": { "name": "billing" },
                    "rotation": { "every": "12h", "overlap": "1h", "deleteAfter": "2h" } },
            }),
        );
    }
}

fn is_ready(cluster: &Cluster, key: usize) -> bool {
    let object = cluster.object(&key_place(&format!("key-{key}"))).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        && object["status"]["pending"].is_null()
}

fn secret(cluster: &Cluster, key: usize) -> Option<Value> {
    cluster.object(&secret_place(&format!("key-{key}")))
}

fn all_ready(keys: usize) -> impl Fn(&Cluster) -> bool {
    move |cluster| (0..keys).all(|key| is_ready(cluster, key))
}

#[test]
fn watches_bring_keys_from_apply_to_ready_in_seconds() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        let operator = cluster.start(0);
        tokio::time::sleep(Duration::from_secs(5)).await;
        apply_all(&cluster, 3);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(3)).await);
        operator.stop().await;
    });
}

#[test]
fn a_deleted_secret_wakes_its_key_at_once() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 1);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(1)).await);
        delete(&cluster, "Secret", "key-0");
        assert!(cluster.comes(Duration::from_secs(10), |c| secret(c, 0).is_some()).await);
        operator.stop().await;
    });
}

#[test]
fn of_all_secrets_of_the_cluster_only_the_metadata_of_ours_is_read() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 1);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(1)).await);
        tokio::time::sleep(Duration::from_hours(2)).await;
        operator.stop().await;
        let asked = cluster.asked.lock().unwrap();
        let many = asked.iter().filter(|r| r.resource.kind == "Secret" && r.name.is_none());
        let everywhere: Vec<_> = many.filter(|r| matches!(r.verb, Verb::List | Verb::Watch)).collect();
        assert!(everywhere.iter().any(|r| r.verb == Verb::Watch), "none is watched");
        for request in everywhere.into_iter().filter(|r| r.namespace.is_none()) {
            let selector = request.query.get("labelSelector").cloned().unwrap_or_default();
            assert!(
                request.metadata_only && selector.contains("keywheel.dev/owned"),
                "{}",
                request.summary()
            );
        }
    });
}

#[test]
fn a_lost_watch_event_is_made_good_within_the_hour() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 1);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(1)).await);
        let next = cluster.api.with(|s| s.store.version()) + 1;
        cluster.api.lose_change(next);
        delete(&cluster, "Secret", "key-0");
        assert!(
            !cluster.comes(Duration::from_mins(1), |c| secret(c, 0).is_some()).await,
            "the event was not lost"
        );
        assert!(cluster.comes(Duration::from_hours(1), |c| secret(c, 0).is_some()).await);
        operator.stop().await;
    });
}

#[test]
fn a_forgotten_history_makes_the_watches_list_again() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 1);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(1)).await);
        // What happens is forgotten before any watch hears of it.
        let now = cluster.time.now();
        cluster.api.with(|s| {
            let request =
                Request::by_person(Verb::Delete, resource("Secret"), NAMESPACE, "key-0", Value::Null);
            assert_eq!(s.handle(&request, now).0, 200);
            s.store.compact();
        });
        assert!(cluster.comes(Duration::from_hours(1), |c| secret(c, 0).is_some()).await);
        // And it goes on hearing.
        delete(&cluster, "Secret", "key-0");
        assert!(cluster.comes(Duration::from_hours(1), |c| secret(c, 0).is_some()).await);
        operator.stop().await;
    });
}

#[test]
fn keys_rotate_and_retire_on_time_and_a_killed_operator_is_replaced() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 2);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(2)).await);
        tokio::time::sleep(Duration::from_hours(13)).await;
        operator.kill();
        let operator = cluster.start(1);
        tokio::time::sleep(Duration::from_hours(13)).await;
        for key in 0..2 {
            let object = cluster.object(&key_place(&format!("key-{key}"))).unwrap();
            assert_eq!(object["status"]["rotations"], 2, "{}", object["status"]);
        }
        let published: Vec<String> = (0..2)
            .filter_map(|key| secret(&cluster, key))
            .filter_map(|s| s["metadata"]["annotations"]["keywheel.dev/key-id"].as_str().map(str::to_owned))
            .collect();
        {
            let iam = cluster.iam.lock().unwrap();
            assert!(published.len() == 2 && published.iter().all(|id| iam.keys[id].works()));
        }
        operator.stop().await;
    });
}

#[test]
fn a_deleted_namespace_leaves_nothing_behind() {
    in_own_time(async {
        let cluster = Cluster::new(1);
        apply_all(&cluster, 2);
        let operator = cluster.start(0);
        assert!(cluster.comes(Duration::from_secs(30), all_ready(2)).await);
        let request = Request::by_person(Verb::Delete, resource("Namespace"), "", NAMESPACE, Value::Null);
        assert_eq!(cluster.request(&request), 200);
        let gone = |c: &Cluster| c.api.with(|s| !s.store.all().any(|(p, _)| p.namespace == NAMESPACE));
        assert!(cluster.comes(Duration::from_mins(10), gone).await);
        {
            let iam = cluster.iam.lock().unwrap();
            assert!(iam.keys.values().all(|k| k.deleted) && iam.accounts.values().all(|a| a.deleted));
        }
        operator.stop().await;
    });
}
