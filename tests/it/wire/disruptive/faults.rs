//! The fault API and the request log: the same as for Google's API.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ACCOUNTS, Login, MEMBERS, Vendor, path};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::faults::apply_then_drop_keeps_the_effect_and_loses_the_answer", apply_then_drop),
        trial("disruptive::faults::drop_before_has_no_effect", drop_before),
        trial("disruptive::faults::a_delayed_call_is_carried_out", delay),
        trial("disruptive::faults::a_match_spares_other_accounts", matches),
        trial("disruptive::faults::the_token_endpoint_can_fail_too", token),
        trial("disruptive::faults::who_is_not_let_in_uses_no_fault_up", not_let_in),
        trial("disruptive::faults::the_request_log_says_who_asked_for_what", request_log),
    ]
}

async fn start() -> (Vendor, Value) {
    let vendor = Vendor::start(&["--enable-fault-api"]).await;
    let account = vendor.account("billing").await;
    (vendor, account)
}

async fn fault(vendor: &Vendor, operation: &str, action: Value) {
    vendor.iam.put("/faults", json!({"operation": operation, "action": action})).await.ok();
}

/// The call must end without an HTTP answer.
async fn broken(vendor: &Vendor, method: Method, path: &str) {
    let error = vendor.iam.try_call_as(&vendor.bearer, method, path, None).await.unwrap_err();
    assert!(error.is_request() && error.status().is_none() && !error.is_timeout(), "{error:?}");
}

async fn keys(vendor: &Vendor, account: &Value) -> usize {
    vendor.get(&format!("{}/keys", path(account))).await.ok()["keys"].as_array().unwrap().len()
}

/// What the request log says of the calls of an operation: status and fault.
fn logged(vendor: &Vendor, operation: &str) -> Vec<(Value, Value)> {
    let of = |entry: &Value| (entry["status"].clone(), entry["fault"].clone());
    vendor.iam.requests().iter().filter(|entry| entry["operation"] == operation).map(of).collect()
}

async fn apply_then_drop() {
    let (vendor, account) = start().await;
    fault(&vendor, "disruptive.keys.create", json!("apply_then_drop")).await;
    broken(&vendor, Method::POST, &format!("{}/keys", path(&account))).await;
    assert_eq!(keys(&vendor, &account).await, 1, "the key was made");
    assert_eq!(logged(&vendor, "disruptive.keys.create"), [(json!(200), json!("apply_then_drop"))]);
    fault(&vendor, "disruptive.accounts.create", json!("apply_then_drop")).await;
    let before = vendor.get(ACCOUNTS).await.ok()["serviceAccounts"].as_array().unwrap().len();
    broken(&vendor, Method::POST, ACCOUNTS).await;
    let vendor = Vendor::of(vendor.iam.kill_and_restart()).await;
    assert_eq!(vendor.get(ACCOUNTS).await.ok()["serviceAccounts"].as_array().unwrap().len(), before + 1);
}

async fn drop_before() {
    let (vendor, account) = start().await;
    fault(&vendor, "disruptive.keys.create", json!("drop_before")).await;
    broken(&vendor, Method::POST, &format!("{}/keys", path(&account))).await;
    assert_eq!(keys(&vendor, &account).await, 0, "no key was made");
    assert_eq!(logged(&vendor, "disruptive.keys.create"), [(json!(null), json!("drop_before"))]);
    fault(&vendor, "disruptive.accounts.delete", json!("drop_before")).await;
    broken(&vendor, Method::DELETE, &path(&account)).await;
    vendor.get(&path(&account)).await.ok();
}

async fn delay() {
    let (vendor, account) = start().await;
    fault(&vendor, "disruptive.keys.create", json!({"delay": {"millis": 300}})).await;
    let begun = std::time::Instant::now();
    vendor.key(&account).await;
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));
    assert_eq!(logged(&vendor, "disruptive.keys.create"), [(json!(200), json!("delay"))]);
}

async fn matches() {
    let (vendor, account) = start().await;
    let other = vendor.account("other").await;
    let at =
        |operation: &str| json!({"operation": operation, "action": "drop_before", "match": account["email"]});
    vendor.iam.put("/faults", at("disruptive.keys.create")).await.ok();
    vendor.key(&other).await;
    broken(&vendor, Method::POST, &format!("{}/keys", path(&account))).await;
    let member = vendor.join(&account, "roles/project.user").await;
    vendor.iam.put("/faults", at("disruptive.members.get")).await.ok();
    let spared = vendor.join(&other, "roles/project.user").await;
    vendor.get(&path(&spared)).await.ok();
    broken(&vendor, Method::GET, &path(&member)).await;
    vendor.delete(&path(&member)).await.ok();
    vendor.iam.put("/faults", at("disruptive.members.create")).await.ok();
    vendor.post(MEMBERS, json!({"email": "a@b.c", "roles": ["roles/project.user"]})).await.ok();
    let body = json!({"email": account["email"], "roles": ["roles/project.user"]});
    let answer = vendor.iam.try_call_as(&vendor.bearer, Method::POST, MEMBERS, Some(body)).await;
    assert!(answer.is_err(), "{answer:?}");
}

async fn token() {
    let (vendor, account) = start().await;
    let (_, login) = vendor.key(&account).await;
    let fail = json!({"fail": {"status": 503, "canonical": "temporarily_unavailable", "message": "later"}});
    let fault = json!({"operation": "disruptive.token", "action": fail, "match": login.email});
    vendor.iam.put("/faults", fault).await.ok();
    Login::administrators(&vendor.iam).exchange(&vendor.iam).await.ok();
    login.exchange(&vendor.iam).await.oauth_error(503, "temporarily_unavailable", "later");
    login.exchange(&vendor.iam).await.ok();
    // Google's is another operation.
    vendor.iam.put("/faults", json!({"operation": "token", "action": "drop_before"})).await.ok();
    login.exchange(&vendor.iam).await.ok();
}

async fn not_let_in() {
    let (vendor, account) = start().await;
    let (_, nobody) = vendor.caller(None).await;
    let fault = json!({"operation": "disruptive.accounts.get", "action": "drop_before", "times": 3});
    vendor.iam.put("/faults", fault).await.ok();
    for (bearer, status) in [("nonsense", 401), (nobody.as_str(), 403)] {
        vendor.iam.call_as(bearer, Method::GET, &path(&account), None).await.refused(status);
    }
    assert_eq!(vendor.iam.get("/faults").await.ok()["faults"][0]["times"], 3);
}

async fn request_log() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.post(ACCOUNTS, json!({"enableBasicAuth": true})).await.ok();
    let (_, login) = vendor.key(&account).await;
    vendor.basic(&login, "/v2/roles?pageSize=3").await.ok();
    vendor.iam.call_as("nonsense", Method::GET, ACCOUNTS, None).await.refused(401);
    vendor.get("/v2/projects").await.refused(501);
    vendor.get("/v2/nowhere").await.refused(404);
    let administrator = Login::administrators(&vendor.iam).email;
    let expected = [
        ("disruptive.token", "none", Some(&administrator), 200),
        ("disruptive.accounts.create", "access_token", Some(&administrator), 200),
        ("disruptive.keys.create", "access_token", Some(&administrator), 200),
        ("disruptive.roles.list", "basic", Some(&login.email), 200),
        ("disruptive.accounts.list", "access_token", None, 401),
        ("unbuilt", "access_token", None, 501),
        ("unknown", "access_token", None, 404),
    ];
    let entries = vendor.iam.requests();
    assert_eq!(entries.len(), expected.len(), "{entries:#?}");
    for (entry, (operation, auth, caller, status)) in entries.iter().zip(expected) {
        assert_eq!(
            (&entry["operation"], &entry["auth"], &entry["caller"], &entry["status"]),
            (&json!(operation), &json!(auth), &json!(caller), &json!(status))
        );
    }
    assert_eq!(entries[3]["query"], json!({"pageSize": ["3"]}));
    assert_eq!(
        (&entries[2]["method"], &entries[2]["path"]),
        (&json!("POST"), &json!(format!("{}/keys", path(&account))))
    );
}
