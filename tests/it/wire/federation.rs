//! Callers without a key here: pods whose cluster vouches for them, accounts that speak for others, and programs on a
//! machine that has an account.

use std::fs;

use google_cloud_auth::credentials::{CacheableResource, Credentials, external_account, mds};
use libtest_mimic::Trial;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::iam::{CLOUD_PLATFORM, Iam, account_path, email, now};
use super::trial;
use crate::cluster::{Cluster, POD};

const IAM_SCOPE: &str = "https://www.googleapis.com/auth/iam";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("federation::a_pod_gets_a_token_by_its_own_and_may_do_what_is_bound_to_it", pod),
        trial("federation::a_token_that_nobody_vouches_for_is_refused", strangers),
        trial("federation::a_request_that_is_not_one_is_refused", malformed),
        trial("federation::keys_of_a_provider_can_be_renewed", renewed),
        trial("federation::a_pod_speaks_for_an_account", impersonation),
        trial("federation::delegates_speak_for_each_other", delegates),
        trial("federation::the_rust_client_reads_an_external_account", rust_external_account),
        trial("metadata::a_machine_has_an_account", machine),
        trial("metadata::nobody_is_answered_without_the_header", header),
        trial("metadata::there_is_none_unless_it_is_asked_for", no_machine),
        trial("metadata::the_rust_client_asks_it", rust_metadata),
    ]
}

/// A server that believes a cluster.
fn start(cluster: &Cluster, more: &[&str]) -> Iam {
    let provider = cluster.provider();
    let mut flags = vec!["--identity-provider", &provider];
    flags.extend(more);
    Iam::start(&flags)
}

async fn number(iam: &Iam) -> String {
    iam.get("/v1/projects/p1").await.ok()["projectNumber"].as_str().unwrap().to_owned()
}

async fn pool(iam: &Iam) -> String {
    format!(
        "iam.googleapis.com/projects/{}/locations/global/workloadIdentityPools/cluster",
        number(iam).await
    )
}

async fn audience(iam: &Iam) -> String {
    format!("//{}/providers/kubernetes", pool(iam).await)
}

async fn exchange(iam: &Iam, audience: &str, scope: &str, token: &str) -> super::iam::Answer {
    iam.form(
        "/v1/token",
        &[
            ("grant_type", EXCHANGE),
            ("audience", audience),
            ("scope", scope),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token", token),
            ("subject_token_type", JWT),
        ],
    )
    .await
}

async fn bind(iam: &Iam, path: &str, role: &str, member: &str) {
    let policy = json!({"bindings": [{"role": role, "members": [member]}]});
    iam.post(&format!("{path}:setIamPolicy"), json!({ "policy": policy })).await.ok();
}

fn bearer(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn pod() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    iam.account("billing").await;
    let audience = audience(&iam).await;
    // The line break at the end of the file is sent along.
    let token = cluster.token(&audience, &json!({})) + "\n";
    let answer = exchange(&iam, &audience, CLOUD_PLATFORM, &token).await.ok();
    assert_eq!(
        (&answer["issued_token_type"], &answer["token_type"]),
        (&json!(ACCESS_TOKEN), &json!("Bearer"))
    );
    assert!(answer["expires_in"].as_i64().unwrap() > 3000);
    let bearer = bearer(&answer);
    let get = async || iam.call_as(&bearer, Method::GET, &account_path(&email("billing")), None).await;
    get().await.error(403, "PERMISSION_DENIED");
    let one = format!("principal://{}/subject/{POD}", pool(&iam).await);
    bind(&iam, "/v1/projects/p1", "roles/viewer", &one).await;
    get().await.ok();
    bind(&iam, "/v1/projects/p1", "roles/viewer", &format!("{one}-2")).await;
    get().await.error(403, "PERMISSION_DENIED");
    bind(&iam, "/v1/projects/p1", "roles/viewer", &format!("principalSet://{}/*", pool(&iam).await)).await;
    get().await.ok();
    let iam = iam.kill_and_restart();
    iam.call_as(&bearer, Method::GET, &account_path(&email("billing")), None).await.ok();
    let calls = iam.requests();
    let call = calls.iter().rfind(|call| call["operation"] == "accounts.get").unwrap();
    assert_eq!(call["caller"], one);
    assert!(
        !iam.stderr().contains(token.trim())
            && !fs::read_to_string(iam.file("requests.jsonl")).unwrap().contains(token.trim())
    );
}

async fn strangers() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    let audience = audience(&iam).await;
    let refused = async |claims: Value, reason: &str| {
        let token = cluster.token(&audience, &claims);
        let answer = exchange(&iam, &audience, CLOUD_PLATFORM, &token).await;
        answer.oauth_error(400, "invalid_grant", reason);
    };
    refused(json!({"iss": "https://elsewhere.example"}), "The issuer").await;
    refused(json!({"aud": "//iam.googleapis.com/projects/1/other"}), "The audience").await;
    refused(json!({"aud": null}), "The audience").await;
    refused(json!({"exp": now() - 600, "iat": now() - 4000}), "The subject token is expired").await;
    refused(json!({"exp": now() + 90_000}), "The subject token is expired").await;
    refused(json!({"sub": ""}), "The subject token has no claim sub").await;
    let other = Cluster::new();
    let forged = other.token(&audience, &json!({}));
    let answer = exchange(&iam, &audience, CLOUD_PLATFORM, &forged).await;
    answer.oauth_error(400, "invalid_grant", "The signature");
}

async fn malformed() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    let audience = audience(&iam).await;
    let token = cluster.token(&audience, &json!({}));
    let elsewhere = audience.replace("kubernetes", "unheard-of");
    let answer = exchange(&iam, &elsewhere, CLOUD_PLATFORM, &token).await;
    answer.oauth_error(400, "invalid_target", "The target service");
    exchange(&iam, &audience, "", &token).await.oauth_error(
        400,
        "invalid_request",
        "Invalid value for \"scope\"",
    );
    let answer = exchange(&iam, &audience, CLOUD_PLATFORM, "x").await;
    answer.oauth_error(400, "invalid_request", "Invalid value for \"subject_token\"");
    let answer = iam.form("/v1/token", &[("grant_type", "password")]).await;
    answer.oauth_error(400, "unsupported_grant_type", "Unsupported grant type");
}

async fn renewed() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    let audience = audience(&iam).await;
    let old = cluster.token(&audience, &json!({}));
    let next = Cluster::new();
    cluster.publish(&next.pair);
    let token = next.token(&audience, &json!({}));
    exchange(&iam, &audience, CLOUD_PLATFORM, &token).await.ok();
    let answer = exchange(&iam, &audience, CLOUD_PLATFORM, &old).await;
    answer.oauth_error(400, "invalid_grant", "The signature");
}

fn generate(id: &str) -> String {
    format!("/v1/projects/-/serviceAccounts/{}:generateAccessToken", email(id))
}

async fn impersonation() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    iam.account("billing").await;
    let audience = audience(&iam).await;
    let token = cluster.token(&audience, &json!({}));
    let pod = bearer(&exchange(&iam, &audience, IAM_SCOPE, &token).await.ok());
    // As google-auth sends it.
    let body = json!({"scope": [CLOUD_PLATFORM], "lifetime": "600s", "delegates": null});
    let ask = async || iam.call_as(&pod, Method::POST, &generate("billing"), Some(body.clone())).await;
    let error = ask().await.error(403, "PERMISSION_DENIED");
    assert_eq!(error["details"][0]["metadata"]["permission"], "iam.serviceAccounts.getAccessToken");
    let member = format!("principal://{}/subject/{POD}", pool(&iam).await);
    bind(&iam, &account_path(&email("billing")), "roles/iam.workloadIdentityUser", &member).await;
    let answer = ask().await.ok();
    let ends: jiff::Timestamp = answer["expireTime"].as_str().unwrap().parse().unwrap();
    assert_eq!(answer["expireTime"].as_str().unwrap().len(), "2026-01-01T00:00:00Z".len(), "whole seconds");
    assert!((595..=605).contains(&(ends.as_second() - now())), "{ends}");
    let spoken = answer["accessToken"].as_str().unwrap();
    let held = json!({"permissions": ["iam.serviceAccounts.get"]});
    let path = format!("{}:testIamPermissions", account_path(&email("billing")));
    iam.call_as(spoken, Method::POST, &path, Some(held.clone())).await.ok();
    let calls = iam.requests();
    let call = calls.iter().rfind(|call| call["operation"] == "accounts.testIamPermissions").unwrap();
    assert_eq!(call["caller"], email("billing"));
    for bad in [
        json!({"scope": []}),
        json!({"scope": [CLOUD_PLATFORM], "lifetime": "3601s"}),
        json!({"scope": [CLOUD_PLATFORM], "lifetime": "soon"}),
        json!({"scope": [CLOUD_PLATFORM], "delegates": ["billing"]}),
        json!({"scope": [CLOUD_PLATFORM], "colour": "red"}),
    ] {
        let answer = iam.call_as(&pod, Method::POST, &generate("billing"), Some(bad)).await;
        answer.error(400, "INVALID_ARGUMENT");
    }
    // Who is disabled cannot be spoken for, and what was spoken before ends.
    iam.post(&format!("{}:disable", account_path(&email("billing"))), json!({})).await.ok();
    ask().await.error(400, "FAILED_PRECONDITION");
    iam.call_as(spoken, Method::POST, &path, Some(held)).await.error(401, "UNAUTHENTICATED");
}

async fn delegates() {
    let iam = Iam::start(&[]);
    for id in ["billing", "middle", "caller"] {
        iam.account(id).await;
    }
    let (_, credentials) = iam.key(&email("caller")).await;
    let caller = bearer(&iam.exchange(&credentials).await.ok());
    let role = "roles/iam.serviceAccountTokenCreator";
    let member = |id: &str| format!("serviceAccount:{}", email(id));
    bind(&iam, &account_path(&email("billing")), role, &member("middle")).await;
    let delegate = format!("projects/-/serviceAccounts/{}", email("middle"));
    let body = json!({"scope": [CLOUD_PLATFORM], "delegates": [delegate]});
    let ask = async || iam.call_as(&caller, Method::POST, &generate("billing"), Some(body.clone())).await;
    ask().await.error(403, "PERMISSION_DENIED");
    bind(&iam, &account_path(&email("middle")), role, &member("caller")).await;
    ask().await.ok();
    let alone = json!({"scope": [CLOUD_PLATFORM]});
    let answer = iam.call_as(&caller, Method::POST, &generate("billing"), Some(alone)).await;
    answer.error(403, "PERMISSION_DENIED");
}

/// Headers that a client would send.
async fn headers(credentials: Credentials) -> HeaderMap {
    match credentials.headers(http::Extensions::new()).await.unwrap() {
        CacheableResource::New { data, .. } => data,
        CacheableResource::NotModified => panic!("nothing was cached"),
    }
}

async fn works(iam: &Iam, headers: &HeaderMap, id: &str) {
    let value = headers["authorization"].to_str().unwrap();
    let bearer = value.strip_prefix("Bearer ").unwrap();
    iam.call_as(bearer, Method::GET, &account_path(&email(id)), None).await.ok();
}

async fn rust_external_account() {
    let cluster = Cluster::new();
    let iam = start(&cluster, &[]);
    iam.account("billing").await;
    bind(&iam, "/v1/projects/p1", "roles/viewer", &format!("serviceAccount:{}", email("billing"))).await;
    let member = format!("principal://{}/subject/{POD}", pool(&iam).await);
    bind(&iam, &account_path(&email("billing")), "roles/iam.workloadIdentityUser", &member).await;
    let audience = audience(&iam).await;
    let file = cluster.projected(&audience);
    let configuration = json!({
        "type": "external_account",
        "audience": audience,
        "subject_token_type": JWT,
        "token_url": format!("{}/v1/token", iam.url),
        "credential_source": {"file": file},
        "service_account_impersonation_url": format!("{}{}", iam.url, generate("billing")),
    });
    let credentials = external_account::Builder::new(configuration).build().unwrap();
    works(&iam, &headers(credentials).await, "billing").await;
}

async fn machine() {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.account("machine-1").await;
    iam.put("/settings", json!({"metadataAccount": email("machine-1")})).await.ok();
    let base = "/computeMetadata/v1";
    let default = format!("{base}/instance/service-accounts/default");
    let text = async |path: &str| match iam.metadata(path).await.ok() {
        Value::String(text) => text,
        number => number.to_string(),
    };
    assert_eq!(text(&format!("{default}/email")).await, email("machine-1"));
    assert_eq!(text(&format!("{base}/project/project-id")).await, "p1");
    assert_eq!(text(&format!("{base}/project/numeric-project-id")).await, number(&iam).await);
    assert_eq!(text(&format!("{base}/universe/universe-domain")).await, "googleapis.com");
    assert!(text(&format!("{base}/instance/service-accounts/")).await.contains(&email("machine-1")));
    let told = iam.metadata(&format!("{default}/?recursive=true")).await.ok();
    assert_eq!(told["email"], email("machine-1"));
    assert_eq!(told["aliases"], json!(["default"]));
    let token = iam.metadata(&format!("{default}/token")).await;
    assert_eq!(token.headers["metadata-flavor"], "Google");
    let token = bearer(&token.ok());
    bind(&iam, "/v1/projects/p1", "roles/viewer", &format!("serviceAccount:{}", email("machine-1"))).await;
    iam.call_as(&token, Method::GET, "/v1/projects/p1", None).await.ok();
    let narrow = iam.metadata(&format!("{default}/token?scopes={IAM_SCOPE}")).await.ok();
    let answer = iam.call_as(&bearer(&narrow), Method::GET, "/v1/projects/p1", None).await;
    answer.error(403, "PERMISSION_DENIED");
    let identity = text(&format!("{default}/identity?audience=https://app.example")).await;
    assert_eq!(identity.split('.').count(), 3);
    assert_eq!(iam.metadata(&format!("{default}/identity")).await.status, 400);
    let by_name = format!("{base}/instance/service-accounts/{}/email", email("machine-1"));
    assert_eq!(text(&by_name).await, email("machine-1"));
    assert_eq!(iam.metadata(&by_name.replace("machine-1", "machine-2")).await.status, 404);
    // A machine whose account is disabled has none.
    iam.post(&format!("{}:disable", account_path(&email("machine-1"))), json!({})).await.ok();
    assert_eq!(iam.metadata(&format!("{default}/token")).await.status, 404);
}

async fn header() {
    let iam = Iam::start(&["--metadata-account", "keywheel-admin@p1.iam.gserviceaccount.com"]);
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let answer = iam.call_as("", Method::GET, path, None).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.body.to_string().contains("access_token"));
    assert_eq!(iam.metadata("/").await.headers["metadata-flavor"], "Google");
}

async fn no_machine() {
    let iam = Iam::start(&[]);
    assert_eq!(iam.metadata("/computeMetadata/v1/instance/service-accounts/default/token").await.status, 404);
    assert_eq!(iam.metadata("/").await.status, 404);
}

async fn rust_metadata() {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.account("machine-1").await;
    iam.put("/settings", json!({"metadataAccount": email("machine-1")})).await.ok();
    bind(&iam, "/v1/projects/p1", "roles/viewer", &format!("serviceAccount:{}", email("machine-1"))).await;
    let credentials = mds::Builder::default().with_endpoint(&iam.url).build().unwrap();
    works(&iam, &headers(credentials).await, "machine-1").await;
}
