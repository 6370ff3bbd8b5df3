//! Constraints of an organization: no new accounts, no new keys, no uploads, keys that end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use keywheel::credential::{Expiry, RsaKeyPair, self_signed};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::iam::{Iam, email, keys_path, list_path};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("constraints::what_is_forbidden_is_named", forbidden),
        trial("constraints::keys_end_after_the_time_that_is_set", expiry),
        trial("constraints::they_can_be_read", readable),
    ]
}

/// The certificate of a fresh pair, as `keys.upload` takes it.
fn certificate() -> String {
    let pair = RsaKeyPair::generate_2048().unwrap();
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let end = Expiry::At(now + SignedDuration::from_hours(24));
    STANDARD.encode(self_signed(&pair, "unused", now, end).unwrap())
}

fn violation(error: &Value) -> (&str, &str) {
    let violation = &error["details"][0]["violations"][0];
    (violation["type"].as_str().unwrap(), violation["subject"].as_str().unwrap())
}

async fn forbidden() {
    let iam = Iam::start(&["--constraint", "iam.disableServiceAccountKeyCreation", "--enable-fault-api"]);
    iam.account("billing").await;
    let keys = keys_path(&email("billing"));
    let upload = async || iam.post(&format!("{keys}:upload"), json!({"publicKeyData": certificate()})).await;
    let error = iam.post(&keys, json!({})).await.error(400, "FAILED_PRECONDITION");
    assert_eq!(error["message"], "Key creation is not allowed on this service account.");
    let subject = "projects/p1/serviceAccounts/billing@p1.iam.gserviceaccount.com\
                   ?configvalue=billing%40p1.iam.gserviceaccount.com";
    assert_eq!(violation(&error), ("constraints/iam.disableServiceAccountKeyCreation", subject));
    upload().await.ok();

    let set = async |constraints: Value| iam.put("/settings", json!({ "constraints": constraints })).await;
    set(json!(["iam.disableServiceAccountKeyUpload", "iam.disableServiceAccountCreation"])).await.ok();
    let error = upload().await.error(400, "FAILED_PRECONDITION");
    assert_eq!(violation(&error), ("constraints/iam.disableServiceAccountKeyUpload", subject));
    iam.post(&keys, json!({})).await.ok();
    let account = iam.post("/v1/projects/p1/serviceAccounts", json!({"accountId": "another"})).await;
    let error = account.error(400, "FAILED_PRECONDITION");
    assert_eq!(violation(&error), ("constraints/iam.disableServiceAccountCreation", "projects/p1"));
    // What was made before stays as it is.
    let listed = iam.get(&list_path(&email("billing"))).await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2);

    set(json!(["iam.unheardOf"])).await.error(400, "INVALID_ARGUMENT");
    set(json!([])).await.ok();
    iam.account("another").await;
}

async fn expiry() {
    let iam = Iam::start(&["--constraint", "iam.serviceAccountKeyExpiryHours=24", "--enable-fault-api"]);
    iam.account("billing").await;
    let (key, credentials) = iam.key(&email("billing")).await;
    let time = |name: &str| key[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    let life = time("validBeforeTime").duration_since(time("validAfterTime"));
    assert_eq!(life, SignedDuration::from_hours(24));
    iam.exchange(&credentials).await.ok();
    iam.put("/settings", json!({"clockOffset": "24h"})).await.ok();
    iam.exchange(&credentials).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    // It has its place until somebody deletes it, and the administrator's own key does not end.
    let bearer = iam.exchange(&iam.admin()).await;
    assert_eq!(bearer.status, 400, "the client's clock is a day behind: {}", bearer.body);
    iam.put("/settings", json!({"clockOffset": "0s", "constraints": []})).await.ok();
    let (key, _) = iam.key(&email("billing")).await;
    assert_eq!(key["validBeforeTime"], "9999-12-31T23:59:59Z");
}

async fn readable() {
    let iam = Iam::start(&[
        "--constraint",
        "iam.disableServiceAccountKeyCreation,iam.serviceAccountKeyExpiryHours=168",
    ]);
    let rules = async |constraint: &str| {
        let path = format!("/v2/projects/p1/policies/{constraint}:getEffectivePolicy");
        iam.get(&path).await.ok()["spec"]["rules"].clone()
    };
    assert_eq!(rules("iam.disableServiceAccountKeyCreation").await, json!([{"enforce": true}]));
    assert_eq!(rules("iam.managed.disableServiceAccountKeyCreation").await, json!([{"enforce": true}]));
    assert_eq!(rules("iam.disableServiceAccountKeyUpload").await, json!([{"enforce": false}]));
    let hours = json!([{"values": {"allowedValues": ["168h"]}}]);
    assert_eq!(rules("iam.serviceAccountKeyExpiryHours").await, hours);
    iam.get("/v2/projects/p1/policies/iam.unheardOf:getEffectivePolicy").await.error(404, "NOT_FOUND");
    iam.get("/v2/projects/p2/policies/iam.disableServiceAccountKeyUpload:getEffectivePolicy")
        .await
        .error(403, "PERMISSION_DENIED");
    iam.get("/v2/projects/p1/policies/iam.disableServiceAccountKeyUpload").await.error(501, "UNIMPLEMENTED");
}
