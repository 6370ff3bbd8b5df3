//! The policies of projects and accounts, and what they allow.

use google_cloud_auth::credentials::service_account;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam as Client;
use google_cloud_iam_v1::model::{Binding, GetPolicyOptions};
use keywheel::credential::GoogleCredentials;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email, keys_path};
use super::trial;

const PROJECT: &str = "/v1/projects/p1";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("policies::a_replacement_is_guarded_by_the_etag", guarded),
        trial("policies::both_versions_of_the_resource_manager_have_the_same_policy", versions),
        trial("policies::conditions_are_seen_by_who_knows_them", conditions),
        trial("policies::members_follow_their_accounts", members),
        trial("policies::what_cannot_be_bound_is_refused", refused),
        trial("policies::an_account_may_do_what_its_roles_allow", roles),
        trial("policies::everybody_may_ask_what_they_may_do", permissions),
        trial("policies::a_token_for_another_api_is_refused", scopes),
        trial("policies::a_policy_survives_a_crash", durable),
        trial("policies::the_rust_client_reads_and_writes_them", rust_client),
    ]
}

fn bound(role: &str, member: &str) -> Value {
    json!({"role": role, "members": [member]})
}

fn account(id: &str) -> String {
    format!("serviceAccount:{}", email(id))
}

async fn read(iam: &Iam, path: &str) -> Value {
    let body = json!({"options": {"requestedPolicyVersion": 3}});
    iam.post(&format!("{path}:getIamPolicy"), body).await.ok()
}

async fn write(iam: &Iam, path: &str, policy: Value) -> Value {
    iam.post(&format!("{path}:setIamPolicy"), json!({ "policy": policy })).await.ok()
}

async fn guarded() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    for path in [PROJECT.to_owned(), account_path(&email("billing"))] {
        let fresh = read(&iam, &path).await;
        assert_eq!(fresh, json!({"etag": "ACAB"}));
        let bindings = json!([bound("roles/viewer", &account("billing"))]);
        let policy = json!({"etag": "ACAB", "version": 3, "bindings": bindings});
        let written = write(&iam, &path, policy.clone()).await;
        assert_eq!(written["bindings"], bindings);
        assert_eq!(written["version"], 1);
        assert_eq!(read(&iam, &path).await, written);
        let stale = iam.post(&format!("{path}:setIamPolicy"), json!({ "policy": policy })).await;
        let error = stale.error(409, "ABORTED");
        assert!(error["message"].as_str().unwrap().contains("retry the whole read-modify-write"), "{error}");
        assert_eq!(read(&iam, &path).await, written, "a stale write changes nothing");
    }
}

async fn versions() {
    let iam = Iam::start(&[]);
    write(&iam, "/v3/projects/p1", json!({"bindings": [bound("roles/viewer", "user:a@example.com")]})).await;
    assert_eq!(read(&iam, PROJECT).await, read(&iam, "/v3/projects/p1").await);
    let other = iam.post("/v1/projects/p2:getIamPolicy", json!({})).await;
    other.error(403, "PERMISSION_DENIED");
    // Some clients send no body at all, and the version in the query.
    iam.account("billing").await;
    let path = format!("{}:getIamPolicy", account_path(&email("billing")));
    iam.call(Method::POST, &format!("{path}?options.requestedPolicyVersion=3"), None).await.ok();
    let bad = iam.call(Method::POST, &format!("{path}?options.requestedPolicyVersion=2"), None).await;
    bad.error(400, "INVALID_ARGUMENT");
}

async fn conditions() {
    let iam = Iam::start(&[]);
    let mut binding = bound("roles/viewer", "user:a@example.com");
    binding["condition"] = json!({"title": "night", "expression": "request.time.getHours() < 6"});
    let set = format!("{PROJECT}:setIamPolicy");
    let old = json!({"policy": {"version": 1, "bindings": [binding]}});
    iam.post(&set, old).await.error(400, "INVALID_ARGUMENT");
    let written = write(&iam, PROJECT, json!({"version": 3, "bindings": [binding]})).await;
    assert_eq!(written["version"], 3);
    assert_eq!(written["bindings"][0]["condition"], binding["condition"]);
    let seen = iam.post(&format!("{PROJECT}:getIamPolicy"), json!({})).await.ok();
    assert_eq!(seen["version"], 1);
    assert!(seen["bindings"][0]["role"].as_str().unwrap().starts_with("roles/viewer_withcond_"), "{seen}");
    iam.post(&set, json!({ "policy": seen })).await.error(400, "INVALID_ARGUMENT");
}

async fn members() {
    let iam = Iam::start(&[]);
    let first = iam.account("billing").await;
    let path = account_path(&email("billing"));
    write(&iam, PROJECT, json!({"bindings": [bound("roles/viewer", &account("billing"))]})).await;
    let shown = async |iam: &Iam| read(iam, PROJECT).await["bindings"][0]["members"][0].clone();
    iam.delete(&path).await.ok();
    let gone = format!("deleted:{}?uid={}", account("billing"), first["uniqueId"].as_str().unwrap());
    assert_eq!(shown(&iam).await, gone);
    iam.account("billing").await;
    assert_eq!(shown(&iam).await, gone, "the new account has nothing of the old one");
    // What was read can be written back.
    let policy = read(&iam, PROJECT).await;
    assert_eq!(write(&iam, PROJECT, policy).await["bindings"][0]["members"][0], gone);
    iam.delete(&path).await.ok();
    let undelete =
        format!("/v1/projects/p1/serviceAccounts/{}:undelete", first["uniqueId"].as_str().unwrap());
    iam.post(&undelete, json!({})).await.ok();
    assert_eq!(shown(&iam).await, account("billing"), "it comes back with what it had");
}

async fn refused() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let set = format!("{PROJECT}:setIamPolicy");
    for binding in [
        bound("roles/viewer", &account("nobody-here")),
        bound("roles/viewer", "allUsers"),
        bound("roles/viewer", "billing"),
        bound("roles/viewer", "user:"),
        bound("viewer", "user:a@example.com"),
        json!({"role": "roles/viewer", "members": ["user:a@example.com"], "colour": "red"}),
    ] {
        let body = json!({"policy": {"bindings": [binding]}});
        iam.post(&set, body.clone()).await.error(400, "INVALID_ARGUMENT");
    }
    for body in [
        json!({}),
        json!({"policy": {"etag": "A"}}),
        json!({"policy": {"version": 2}}),
        json!({"policy": {}, "updateMask": "colour"}),
        json!({"policy": {"bindings": {}}}),
    ] {
        iam.post(&set, body).await.error(400, "INVALID_ARGUMENT");
    }
    let public = json!({"bindings": [bound("roles/iam.serviceAccountTokenCreator", "allUsers")]});
    write(&iam, &account_path(&email("billing")), public).await;
    assert_eq!(read(&iam, PROJECT).await, json!({"etag": "ACAB"}));
}

/// The bearer token of an account's new key.
async fn login(iam: &Iam, id: &str) -> (String, GoogleCredentials) {
    iam.account(id).await;
    let (_, credentials) = iam.key(&email(id)).await;
    let token = iam.exchange(&credentials).await.ok();
    (token["access_token"].as_str().unwrap().to_owned(), credentials)
}

async fn roles() {
    let iam = Iam::start(&[]);
    let (bearer, _) = login(&iam, "turner").await;
    iam.account("billing").await;
    let keys = keys_path(&email("billing"));
    let accounts = "/v1/projects/p1/serviceAccounts";
    let make_key = async || iam.call_as(&bearer, Method::POST, &keys, Some(json!({}))).await;
    let make_account =
        async || iam.call_as(&bearer, Method::POST, accounts, Some(json!({"accountId": "another"}))).await;
    let error = make_key().await.error(403, "PERMISSION_DENIED");
    assert_eq!(error["details"][0]["metadata"]["permission"], "iam.serviceAccountKeys.create");
    let mut binding = bound("roles/iam.serviceAccountKeyAdmin", &account("turner"));
    binding["condition"] = json!({"title": "ever", "expression": "true"});
    write(&iam, PROJECT, json!({"version": 3, "bindings": [binding]})).await;
    make_key().await.error(403, "PERMISSION_DENIED");
    write(
        &iam,
        PROJECT,
        json!({"bindings": [bound("roles/iam.serviceAccountKeyAdmin", &account("turner"))]}),
    )
    .await;
    make_key().await.ok();
    make_account().await.error(403, "PERMISSION_DENIED");
    // On one account only.
    let role = bound("roles/iam.serviceAccountKeyAdmin", &account("turner"));
    write(&iam, PROJECT, json!({})).await;
    write(&iam, &account_path(&email("billing")), json!({"bindings": [role]})).await;
    make_key().await.ok();
    let others = keys_path(&email("turner"));
    iam.call_as(&bearer, Method::POST, &others, Some(json!({}))).await.error(403, "PERMISSION_DENIED");
    // That an account is missing is told to those who could see it.
    let nobody = account_path(&email("nobody-here"));
    iam.call_as(&bearer, Method::GET, &nobody, None).await.error(403, "PERMISSION_DENIED");
    write(&iam, PROJECT, json!({"bindings": [bound("roles/viewer", &account("turner"))]})).await;
    iam.call_as(&bearer, Method::GET, &nobody, None).await.error(404, "NOT_FOUND");
}

async fn permissions() {
    let iam = Iam::start(&[]);
    let (bearer, _) = login(&iam, "turner").await;
    let asked = json!({"permissions": ["iam.serviceAccounts.create", "iam.serviceAccountKeys.create"]});
    let path = format!("{PROJECT}:testIamPermissions");
    assert_eq!(iam.post(&path, asked.clone()).await.ok(), asked, "administrators may do everything");
    let test = async || iam.call_as(&bearer, Method::POST, &path, Some(asked.clone())).await.ok();
    assert_eq!(test().await, json!({}));
    write(
        &iam,
        PROJECT,
        json!({"bindings": [bound("roles/iam.serviceAccountKeyAdmin", &account("turner"))]}),
    )
    .await;
    assert_eq!(test().await, json!({"permissions": ["iam.serviceAccountKeys.create"]}));
    let wild = json!({"permissions": ["iam.serviceAccounts.*"]});
    iam.post(&path, wild).await.error(400, "INVALID_ARGUMENT");
    let on_account = format!("{}:testIamPermissions", account_path(&email("turner")));
    let held = iam.call_as(&bearer, Method::POST, &on_account, Some(asked)).await.ok();
    assert_eq!(held, json!({"permissions": ["iam.serviceAccountKeys.create"]}));
}

async fn scopes() {
    let iam = Iam::start(&[]);
    let admin = iam.admin();
    let now = super::iam::now();
    let bearer = |claims: Value| {
        let mut all = json!({"iss": admin.client_email(), "sub": admin.client_email(), "iat": now,
            "exp": now + 3600});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        super::iam::jwt(&admin, &json!({"alg": "RS256", "kid": admin.private_key_id()}), &all)
    };
    let path = format!("{PROJECT}:getIamPolicy");
    let get = async |claims: Value| iam.call_as(&bearer(claims), Method::POST, &path, None).await;
    get(json!({"aud": "https://cloudresourcemanager.googleapis.com/"})).await.ok();
    get(json!({"scope": "https://www.googleapis.com/auth/cloud-platform"})).await.ok();
    for other in [
        json!({"aud": "https://iam.googleapis.com/"}),
        json!({"scope": "https://www.googleapis.com/auth/iam"}),
    ] {
        let error = get(other).await.error(403, "PERMISSION_DENIED");
        assert_eq!(error["details"][0]["metadata"]["service"], "cloudresourcemanager.googleapis.com");
    }
}

async fn durable() {
    let iam = Iam::start(&[]);
    let written =
        write(&iam, PROJECT, json!({"bindings": [bound("roles/viewer", "user:a@example.com")]})).await;
    let iam = iam.kill_and_restart();
    assert_eq!(read(&iam, PROJECT).await, written);
}

async fn rust_client() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let admin: Value = serde_json::from_slice(iam.admin().render().unwrap().expose()).unwrap();
    let client = Client::builder()
        .with_endpoint(iam.url.clone())
        .with_credentials(service_account::Builder::new(admin).build().unwrap())
        .with_retry_policy(NeverRetry)
        .build()
        .await
        .unwrap();
    let resource = format!("projects/p1/serviceAccounts/{}", email("billing"));
    let get = || {
        let options = GetPolicyOptions::new().set_requested_policy_version(3);
        client.get_iam_policy().set_resource(&resource).set_options(options)
    };
    let fresh = get().send().await.unwrap();
    let member = account("billing");
    let binding = Binding::new().set_role("roles/iam.workloadIdentityUser").set_members([member.clone()]);
    let policy = fresh.clone().set_version(3).set_bindings([binding]);
    let set = |policy| client.set_iam_policy().set_resource(&resource).set_policy(policy);
    let written = set(policy.clone()).send().await.unwrap();
    assert_eq!(get().send().await.unwrap(), written);
    assert_eq!(written.bindings[0].members, [member]);
    let stale = set(policy).send().await.unwrap_err();
    assert_eq!(stale.status().map(|status| status.code), Some(Code::Aborted));
    let held = client
        .test_iam_permissions()
        .set_resource(&resource)
        .set_permissions(["iam.serviceAccounts.get"])
        .send()
        .await
        .unwrap();
    assert_eq!(held.permissions, ["iam.serviceAccounts.get"]);
}
