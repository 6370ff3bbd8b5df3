//! Google's own Python library, unmodified, as the judge: nothing here is signed or checked by Keywheel's code.

use std::path::Path;
use std::process::Command;

use keywheel_testbed::python::{Exchange, exchange, interpreter};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email, file_in, key_path};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("python::google_auth_follows_a_keys_life", life),
        trial("python::google_auth_names_skew_and_activation", waits),
        trial("python::google_auth_finds_the_public_keys", identity),
    ]
}

async fn judge(path: &Path) -> Exchange {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || exchange(&path)).await.unwrap().unwrap()
}

async fn life() {
    let iam = Iam::start(&[]);
    assert!(judge(&iam.file("admin.json")).await.accepted());
    iam.account("billing").await;
    let (key, _) = iam.key(&email("billing")).await;
    let path = iam.file("key.json");
    std::fs::write(&path, file_in(&key).expose()).unwrap();
    let (account, key) = (account_path(&email("billing")), key_path(&key));
    assert!(judge(&path).await.accepted());
    for (call, refusal) in [
        (format!("{key}:disable"), Some("invalid_grant: Invalid JWT Signature.")),
        (format!("{key}:enable"), None),
        (format!("{account}:disable"), Some("invalid_grant: Invalid grant: account not found")),
        (format!("{account}:enable"), None),
    ] {
        iam.post(&call, json!({})).await.ok();
        let verdict = judge(&path).await;
        match refusal {
            Some(words) => assert!(verdict.refused_with(words), "{call}: {verdict:?}"),
            None => assert!(verdict.accepted(), "{call}: {verdict:?}"),
        }
    }
    iam.delete(&key).await.ok();
    let verdict = judge(&path).await;
    assert!(verdict.refused_with("invalid_grant: Invalid JWT Signature."), "{verdict:?}");
}

async fn waits() {
    let iam = Iam::start(&["--enable-fault-api", "--key-activation-delay", "1h"]);
    iam.account("billing").await;
    let (key, _) = iam.key(&email("billing")).await;
    let path = iam.file("key.json");
    std::fs::write(&path, file_in(&key).expose()).unwrap();
    let verdict = judge(&path).await;
    assert!(verdict.refused_with("invalid_grant: Invalid JWT Signature."), "{verdict:?}");
    iam.put("/settings", json!({"keyActivationDelay": "0s", "clockOffset": "10m"})).await.ok();
    assert!(judge(&path).await.accepted(), "a token of 1 h is good for most of it on a clock 10 min ahead");
    iam.put("/settings", json!({"clockOffset": "-10m"})).await.ok();
    let verdict = judge(&path).await;
    assert!(
        verdict.refused_with("invalid_grant: Invalid JWT: Token must be a short-lived token"),
        "{verdict:?}"
    );
}

/// Runs the script that checks a credential against the public key endpoints.
async fn identity_of(path: &Path) -> (Option<i32>, Value) {
    let path = path.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/identity.py");
        Command::new(interpreter().unwrap()).arg(script).arg(path).output().unwrap()
    });
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = serde_json::from_str(&text);
    (
        output.status.code(),
        said.unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))),
    )
}

async fn identity() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let (key, file) = iam.key(&email("billing")).await;
    iam.key(&email("billing")).await;
    let path = iam.file("key.json");
    std::fs::write(&path, file_in(&key).expose()).unwrap();
    let (code, said) = identity_of(&path).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said["issuer"], email("billing"));
    assert_eq!(said["key"], file.private_key_id());
    // The third is one that the system keeps.
    assert_eq!(said["published"], 3);
    assert_eq!(said["not_after"], "9999-12-31T23:59:59Z");
    iam.post(&format!("{}:disable", key_path(&key)), json!({})).await.ok();
    let (code, said) = identity_of(&path).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said["refused"].is_string(), "{said}");
}
