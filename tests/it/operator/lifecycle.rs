//! A key's life: made, proved, published, replaced, disabled, deleted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use keywheel::credential::{RsaKeyPair, SecretBytes, parse_certificate, read_pkcs12, spki_sha256};
use keywheel::domain::Reason;
use keywheel_testbed::python::Judge;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, data_of, entry, time};
use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("lifecycle::a_key_is_made_proved_published_and_accepted_by_google_auth", create),
        trial("lifecycle::a_rotation_never_leaves_a_moment_without_an_accepted_key", rotate),
    ]
}

fn create() {
    let case = Case::new(World::shared(), "create");
    case.account(&json!({"displayName": "Billing", "description": "sends bills"}));
    case.key(
        "billing",
        &json!({"secret": {
            "name": "billing-key",
            "labels": {"team": "pay"},
            "annotations": {"example.com/note": "by keywheel"},
            "entries": [
                {"key": "key.json", "format": "GoogleCredentials"},
                {"key": "private.pem", "format": "PrivateKeyPem"},
                {"key": "public.pem", "format": "PublicKeyPem"},
                {"key": "certificate.pem", "format": "CertificatePem"},
                {"key": "key.p12", "format": "Pkcs12"},
                {"key": "password", "format": "Pkcs12Password"},
                {"key": "project", "format": "ProjectId"},
                {"key": "id", "format": "KeyId"},
                {"key": "email", "format": "Email"},
            ],
        }}),
    );
    let account = case.ready("iamsa", "billing");
    assert_eq!(account["status"]["email"], case.email());
    assert_eq!(account["status"]["origin"], "Created");
    let at_backend = case.person.account(&case.name).unwrap();
    assert_eq!(at_backend["displayName"], "Billing");
    let description = at_backend["description"].as_str().unwrap();
    assert!(description.starts_with("sends bills keywheel:"), "{description}");

    let key = case.ready("iamsak", "billing");
    let active = case.active("billing");
    published_as_specified(&case, &active);
    for type_ in ["Ready", "KeyVerified", "SecretPublished", "BackendReachable"] {
        assert_eq!(condition(&key, type_)["status"], "True", "{type_}: {}", key["status"]);
    }
    for type_ in ["Stalled", "Reconciling", "Rotating"] {
        assert_eq!(condition(&key, type_), Value::Null, "{type_}: {}", key["status"]);
    }
    let status = &key["status"];
    assert_eq!((&status["attempt"], &status["rotations"]), (&json!(1), &Value::Null));
    assert_eq!((&status["secretName"], &status["pending"]), (&json!("billing-key"), &Value::Null));
    assert_eq!(status["nextRotationTime"], Value::Null, "no rotation is configured");
    assert_eq!(status["keys"].as_array().map(Vec::len), Some(1));
    let entry = entry(&key, &active);
    assert_eq!((&entry["phase"], &entry["origin"]), (&json!("Active"), &json!("Rotation")));
    assert_eq!((&entry["reason"], &entry["attempt"]), (&json!("FirstKey"), &json!(1)));
    assert_eq!(entry["publishedAt"], status["lastRotationTime"]);
    assert!(time(&entry["mintedAt"]) <= time(&entry["publishedAt"]), "{entry}");
    case.unstaged();
    let listed = case.person.keys(&case.name);
    assert_eq!(listed.iter().map(|key| (&key.id, key.disabled)).collect::<Vec<_>>(), [(&active, false)]);
    case.event("billing", Reason::AccountCreated);
    assert!(case.event("billing", Reason::KeyPublished).contains(&active));
}

fn published_as_specified(case: &Case<'_>, active: &str) {
    let secret = case.get("secret", "billing-key");
    let meta = &secret["metadata"];
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(
        (&meta["labels"]["team"], &meta["labels"]["keywheel.dev/owned"]),
        (&json!("pay"), &json!("true"))
    );
    let annotation = |name: &str| meta["annotations"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(annotation("example.com/note"), "by keywheel");
    assert_eq!(
        (annotation("keywheel.dev/owner"), annotation("keywheel.dev/key-id")),
        ("billing".into(), active.into())
    );
    assert_eq!(meta["ownerReferences"], Value::Null, "the garbage collector must not take a credential");
    let data = data_of(&secret);
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    let all = [
        "certificate.pem",
        "email",
        "id",
        "key.json",
        "key.p12",
        "password",
        "private.pem",
        "project",
        "public.pem",
    ];
    assert_eq!(keys, all);
    assert_eq!(data["project"], case.iam().project().as_bytes());
    let public = RsaKeyPair::from_pkcs8_pem(&SecretBytes::new(data["private.pem"].clone())).unwrap();
    let certificate = parse_certificate(&data["certificate.pem"]).unwrap();
    assert_eq!(spki_sha256(&certificate.spki_der), public.public_key_sha256());
    let password = std::str::from_utf8(&data["password"]).unwrap();
    let pair = read_pkcs12(&SecretBytes::new(data["key.p12"].clone()), password).unwrap();
    assert_eq!(pair.public_key_sha256(), public.public_key_sha256());
    assert_eq!(data["email"], case.email().into_bytes());
    assert_eq!(data["id"], active.as_bytes());
    let file: Value = serde_json::from_slice(&data["key.json"]).unwrap();
    assert_eq!((&file["private_key_id"], &file["client_email"]), (&json!(active), &json!(case.email())));
    let pem = String::from_utf8(data["private.pem"].clone()).unwrap();
    assert_eq!(file["private_key"].as_str().unwrap().trim(), pem.trim());
    assert!(data["public.pem"].starts_with(b"-----BEGIN PUBLIC KEY-----"));
    case.accepted("billing-key");
}

/// Exchanges whatever the Secret holds, without a pause, until told to stop; returns the ids it saw.
pub fn watch(case: &Case<'_>, over: &AtomicBool) -> (BTreeSet<String>, usize) {
    let mut judge = Judge::start().unwrap();
    let (mut seen, mut looks) = (BTreeSet::new(), 0);
    loop {
        // What was there when it was told to stop is looked at, too.
        let last = over.load(Ordering::Relaxed);
        let secret = case.get("secret", "billing");
        let path = case.file("watched.json", &data_of(&secret)["key.json"]);
        let verdict = judge.exchange(&path).unwrap();
        let id = secret["metadata"]["annotations"]["keywheel.dev/key-id"].as_str().unwrap().to_owned();
        assert!(verdict.accepted(), "look {looks}, key {id}: {verdict:?}");
        seen.insert(id);
        looks += 1;
        if last {
            return (seen, looks);
        }
    }
}

fn rotate() {
    let case = Case::new(World::shared(), "rotate");
    case.settled(&json!({"rotation": {"every": "30s", "overlap": "12s", "deleteAfter": "10s"}}));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&case, &over));
        // Told to stop in any case: a scope waits for its threads.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| turn(&case)));
        over.store(true, Ordering::Relaxed);
        let (seen, looks) = watcher.join().unwrap();
        let (old, new) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(seen.contains(&old) && seen.contains(&new), "{seen:?}");
        assert!(looks > 20, "only {looks} looks");
    });
}

/// One turn of the wheel; the ids of the old and the new key.
fn turn(case: &Case<'_>) -> (String, String) {
    let first = case.get("iamsak", "billing");
    let old = case.active("billing");
    let old_file = case.data("billing")["key.json"].clone();
    let due = time(&first["status"]["nextRotationTime"]);
    assert_eq!(due, time(&first["status"]["lastRotationTime"]) + jiff::SignedDuration::from_secs(30));

    let turned = case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    let new = case.active("billing");
    assert_ne!(old, new);
    let published = time(&entry(&turned, &new)["publishedAt"]);
    assert!(published >= due, "{published} is before {due}");
    assert_eq!(entry(&turned, &new)["phase"], "Active");
    assert_eq!(entry(&turned, &new)["reason"], "Schedule");
    let before = entry(&turned, &old);
    assert_eq!(before["phase"], "Overlap");
    assert_eq!(time(&before["disableAt"]), published + jiff::SignedDuration::from_secs(12));
    assert!(case.judge(&old_file).accepted(), "the overlap is not over");
    case.accepted("billing");
    assert!(jiff::Timestamp::now() < time(&before["disableAt"]), "too slow to judge the overlap");

    let disabled =
        case.when("iamsak", "billing", "old key disabled", |key| entry(key, &old)["phase"] == "Disabled");
    let now = jiff::Timestamp::now();
    assert!(now >= time(&before["disableAt"]), "the overlap was cut short");
    let until = time(&entry(&disabled, &old)["deleteAt"]);
    assert!(until >= time(&before["disableAt"]) + jiff::SignedDuration::from_secs(10), "{until}");
    case.refused(&old_file);
    assert!(case.person.keys(&case.name).iter().any(|key| key.id == old && key.disabled), "{old}");

    case.when("iamsak", "billing", "old key deleted", |key| entry(key, &old).is_null());
    assert!(!case.person.keys(&case.name).iter().any(|key| key.id == old));
    assert!(jiff::Timestamp::now() >= until, "deleted before its time");
    case.refused(&old_file);
    assert!(case.event("billing", Reason::KeyDisabled).contains(&old));
    assert!(case.event("billing", Reason::KeyDeleted).contains(&old));
    (old, new)
}
