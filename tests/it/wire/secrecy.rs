//! What the request log says, and what no log ever says.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, JWT_BEARER, account_path, assertion, email, file_in, key_path, keys_path};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("secrecy::the_request_log_says_who_asked_for_what", request_log),
        trial("secrecy::no_secret_is_logged_or_stored", nothing_leaks),
    ]
}

async fn request_log() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    iam.key(&email("billing")).await;
    let path = format!("{}?keyTypes=1&access_token=hush", keys_path(&email("billing")));
    iam.get(&path).await.ok();
    iam.call_as("nonsense", Method::GET, &account_path(&email("billing")), None).await;
    let signed = assertion(&iam.admin(), "https://iam.googleapis.com/");
    iam.call_as(&signed, Method::GET, "/nowhere", None).await;
    let entries = iam.requests();
    let operations: Vec<&str> = entries.iter().map(|entry| entry["operation"].as_str().unwrap()).collect();
    assert_eq!(
        operations,
        ["token", "accounts.create", "keys.create", "keys.list", "accounts.get", "unknown"]
    );
    let admin = json!(email("keywheel-admin"));
    let [token, create, _, list, refused, unknown] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((&token["auth"], &token["caller"]), (&json!("none"), &admin));
    assert_eq!((&create["auth"], &create["caller"]), (&json!("access_token"), &admin));
    assert_eq!((&create["method"], &create["status"]), (&json!("POST"), &json!(200)));
    assert_eq!(list["path"], keys_path(&email("billing")));
    assert_eq!(list["query"], json!({"keyTypes": ["1"], "access_token": ["(hidden)"]}));
    assert_eq!(list["user_agent"], "wire-test");
    assert_eq!((&refused["status"], &refused["caller"]), (&json!(401), &Value::Null));
    assert_eq!((&unknown["status"], &unknown["auth"]), (&json!(404), &json!("self_signed_jwt")));
    for entry in &entries {
        entry["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(entry["fault"], Value::Null);
    }
}

async fn nothing_leaks() {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.account("billing").await;
    let (key, file) = iam.key(&email("billing")).await;
    let data = key["privateKeyData"].as_str().unwrap().to_owned();
    let signed = assertion(&file, &format!("{}/token", iam.url));
    let granted = iam.token_request(JWT_BEARER, &signed).await.ok();
    // Errors on the way of a secret, too.
    let cut = signed.get(..signed.len() - 6).unwrap();
    iam.token_request(JWT_BEARER, cut).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    iam.post(&format!("{}:upload", keys_path(&email("billing"))), json!({"publicKeyData": data}))
        .await
        .error(400, "INVALID_ARGUMENT");
    let bearer = jwt_bearer(&iam);
    iam.call_as(&bearer, Method::GET, &account_path(&email("billing")), None).await.ok();
    iam.put("/faults", json!({"operation": "keys.create", "action": "apply_then_drop"})).await.ok();
    let opaque = iam.bearer().await.to_owned();
    let dropped =
        iam.try_call_as(&opaque, Method::POST, &keys_path(&email("billing")), Some(json!({}))).await;
    assert!(dropped.is_err());
    iam.delete(&key_path(&key)).await.ok();

    let pem = file.private_key_pem().expose_str().unwrap().to_owned();
    let admin_pem = iam.admin().private_key_pem().expose_str().unwrap().to_owned();
    let lines =
        |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect::<Vec<_>>();
    let mut secrets = [lines(&pem), lines(&admin_pem)].concat();
    secrets.extend([data.get(..64).unwrap().to_owned(), opaque, bearer, signed.clone(), cut.to_owned()]);
    secrets.push(granted["access_token"].as_str().unwrap().to_owned());
    secrets.extend(signed.split('.').skip(1).map(str::to_owned));
    secrets.push("PRIVATE KEY".to_owned());

    let (stderr, log) = (iam.stderr(), fs::read_to_string(iam.file("requests.jsonl")).unwrap());
    assert!(stderr.contains("keys.create") && log.contains("keys.create"), "the logs are the right ones");
    let store = fs::read(iam.file("iam.redb")).unwrap();
    let public = file_in(&key).expose_str().is_ok();
    assert!(public && contains(&store, email("billing").as_bytes()), "the store is the right one");
    for secret in &secrets {
        let shown = secret.get(..8.min(secret.len())).unwrap();
        assert!(!stderr.contains(secret.as_str()), "{shown}... is in the log");
        assert!(!log.contains(secret.as_str()), "{shown}... is in the request log");
        assert!(!contains(&store, secret.as_bytes()), "{shown}... is in the store");
    }
    // The private key's bytes in any encoding of the store: DER as well.
    let der: String = lines(&pem).concat();
    let der = STANDARD.decode(der).unwrap();
    let middle = der.get(der.len() / 2..der.len() / 2 + 32).unwrap();
    assert!(!contains(&store, middle), "the private key's DER is in the store");
}

fn jwt_bearer(iam: &Iam) -> String {
    assertion(&iam.admin(), "https://iam.googleapis.com/")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
