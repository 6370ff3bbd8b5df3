//! The fault API: every action does what it says, and no more.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email, keys_path};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("faults::fail_answers_and_does_nothing", fail),
        trial("faults::apply_then_drop_keeps_the_effect_and_loses_the_answer", apply_then_drop),
        trial("faults::drop_before_has_no_effect", drop_before),
        trial("faults::a_delayed_call_is_carried_out_though_its_client_has_gone", delay),
        trial("faults::a_match_spares_other_accounts", matches),
        trial("faults::the_token_endpoint_can_fail_too", token),
        trial("faults::faults_are_listed_cleared_and_checked", managed),
    ]
}

async fn start() -> (Iam, String) {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.account("billing").await;
    (iam, keys_path(&email("billing")))
}

async fn count(iam: &Iam, keys: &str) -> usize {
    iam.get(&format!("{keys}?keyTypes=USER_MANAGED"))
        .await
        .ok()
        .get("keys")
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// What the request log says of the calls of an operation: status and fault.
fn logged(iam: &Iam, operation: &str) -> Vec<(Value, Value)> {
    let of = |entry: &Value| (entry["status"].clone(), entry["fault"].clone());
    iam.requests().iter().filter(|entry| entry["operation"] == operation).map(of).collect()
}

async fn fail() {
    let (iam, keys) = start().await;
    let action = json!({"fail": {"status": 503, "canonical": "UNAVAILABLE", "message": "try later"}});
    let set =
        iam.put("/faults", json!({"operation": "keys.create", "action": action, "times": 2})).await.ok();
    assert_eq!(set["faults"][0]["times"], 2);
    for _ in 0..2 {
        let error = iam.post(&keys, json!({})).await.error(503, "UNAVAILABLE");
        assert_eq!(error["message"], "try later");
    }
    assert_eq!(count(&iam, &keys).await, 0);
    iam.post(&keys, json!({})).await.ok();
    let expected = [(json!(503), json!("fail")), (json!(503), json!("fail")), (json!(200), json!(null))];
    assert_eq!(logged(&iam, "keys.create"), expected);
}

/// The call must end without an HTTP answer.
async fn broken(iam: &Iam, method: Method, path: &str) {
    let bearer = iam.bearer().await.to_owned();
    let error = iam.try_call_as(&bearer, method, path, Some(json!({}))).await.unwrap_err();
    assert!(error.is_request() && error.status().is_none() && !error.is_timeout(), "{error:?}");
}

async fn apply_then_drop() {
    let (iam, keys) = start().await;
    iam.put("/faults", json!({"operation": "keys.create", "action": "apply_then_drop"})).await.ok();
    broken(&iam, Method::POST, &keys).await;
    assert_eq!(count(&iam, &keys).await, 1, "the key was made");
    assert_eq!(logged(&iam, "keys.create"), [(json!(200), json!("apply_then_drop"))]);
    iam.put("/faults", json!({"operation": "accounts.delete", "action": "apply_then_drop"})).await.ok();
    broken(&iam, Method::DELETE, &account_path(&email("billing"))).await;
    let iam = iam.kill_and_restart();
    iam.get(&account_path(&email("billing"))).await.error(404, "NOT_FOUND");
}

async fn drop_before() {
    let (iam, keys) = start().await;
    iam.put("/faults", json!({"operation": "keys.create", "action": "drop_before"})).await.ok();
    broken(&iam, Method::POST, &keys).await;
    assert_eq!(count(&iam, &keys).await, 0, "no key was made");
    assert_eq!(logged(&iam, "keys.create"), [(json!(null), json!("drop_before"))]);
}

async fn delay() {
    let (iam, keys) = start().await;
    let action = json!({"delay": {"millis": 400}});
    iam.put("/faults", json!({"operation": "keys.create", "action": action})).await.ok();
    let bearer = iam.bearer().await.to_owned();
    let begun = Instant::now();
    let call = iam.call_as(&bearer, Method::POST, &keys, Some(json!({})));
    let impatient = tokio::time::timeout(Duration::from_millis(100), call).await;
    assert!(impatient.is_err(), "the client should have given up");
    // The line appears when the call is over.
    while logged(&iam, "keys.create").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the call was not carried out");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(logged(&iam, "keys.create"), [(json!(200), json!("delay"))]);
    assert_eq!(count(&iam, &keys).await, 1);
}

async fn matches() {
    let (iam, keys) = start().await;
    let other = iam.account("other-one").await;
    let fault = |operation: &str, address: &str| json!({"operation": operation, "action": "drop_before", "match": address});
    iam.put("/faults", fault("keys.list", &email("billing"))).await.ok();
    iam.get(&keys_path(&email("other-one"))).await.ok();
    broken(&iam, Method::GET, &keys).await;
    iam.get(&keys).await.ok();
    // By unique id, and of an account that is yet to be.
    iam.put("/faults", fault("accounts.get", &email("other-one"))).await.ok();
    broken(&iam, Method::GET, &account_path(other["uniqueId"].as_str().unwrap())).await;
    let action = json!({"fail": {"status": 500, "canonical": "INTERNAL", "message": "no"}});
    let fault = json!({"operation": "accounts.create", "action": action, "match": email("third-one")});
    iam.put("/faults", fault).await.ok();
    iam.account("fourth-one").await;
    let body = json!({"accountId": "third-one"});
    iam.post("/v1/projects/p1/serviceAccounts", body).await.error(500, "INTERNAL");
}

async fn token() {
    let (iam, _) = start().await;
    let (_, file) = iam.key(&email("billing")).await;
    let action = json!({"fail": {"status": 503, "canonical": "temporarily_unavailable", "message": "later"}});
    let fault = json!({"operation": "token", "action": action, "match": email("billing")});
    iam.put("/faults", fault).await.ok();
    iam.exchange(&iam.admin()).await.ok();
    iam.exchange(&file).await.oauth_error(503, "temporarily_unavailable", "later");
    iam.exchange(&file).await.ok();
}

async fn managed() {
    let (iam, keys) = start().await;
    let fault = json!({"operation": "keys.list", "action": "drop_before", "times": 3});
    iam.put("/faults", fault.clone()).await.ok();
    assert_eq!(iam.get("/faults").await.ok(), json!({"faults": [fault]}));
    assert_eq!(iam.delete("/faults").await.ok(), json!({"faults": []}));
    iam.get(&keys).await.ok();
    for bad in [
        json!({"operation": "keys.burn", "action": "drop_before"}),
        json!({"operation": "keys.list", "action": "explode"}),
        json!({"operation": "keys.list", "action": "drop_before", "times": 0}),
        json!({"operation": "keys.list", "action": "drop_before", "when": "now"}),
        json!({"operation": "keys.list", "action": {"fail": {"status": 200, "canonical": "OK", "message": ""}}}),
        json!({}),
    ] {
        iam.put("/faults", bad).await.error(400, "INVALID_ARGUMENT");
    }
    // A caller that is not let in uses no fault up.
    iam.put("/faults", fault).await.ok();
    iam.call_as("nonsense", Method::GET, &keys, None).await.error(401, "UNAUTHENTICATED");
    assert_eq!(iam.get("/faults").await.ok()["faults"][0]["times"], 3);
}
