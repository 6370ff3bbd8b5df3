//! Private material is in the Secrets and in memory, and nowhere else: operator and IAM server log all they can, and
//! nobody finds it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use regex::Regex;
use serde_json::{Value, json};

use super::case::{Case, data_of, entry};
use super::kube::path;
use super::trial;
use super::world::{HASTY, Own, World, add_backend};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("secrecy::at_trace_level_no_key_token_or_assertion_is_told_anywhere", nothing_is_told),
        trial("secrecy::the_search_finds_what_is_hidden_in_any_form", the_search_works),
    ]
}

/// Every value of every Secret that is ever seen in a namespace.
fn collect(case: &Case<'_>, over: &AtomicBool) -> BTreeSet<Vec<u8>> {
    let mut seen = BTreeSet::new();
    loop {
        let last = over.load(Ordering::Relaxed);
        for secret in case.world.kube.list(&case.path("secret", "")) {
            seen.extend(data_of(&secret).into_values());
        }
        if last {
            return seen;
        }
    }
}

fn nothing_is_told() {
    let iam =
        IamOptions { log: "trace".into(), key_activation_delay: Some("1s".into()), ..IamOptions::default() };
    let world =
        World::own(Own { iam, timing: Some(HASTY), log: Some("trace"), bare: true, ..Own::default() });
    let case = Case::new(&world, "secrecy");
    let over = AtomicBool::new(false);
    let (mut told, secrets) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| collect(&case, &over));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(&case)));
        over.store(true, Ordering::Relaxed);
        let secrets = collector.join().unwrap();
        (outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), secrets)
    });
    let read = |path: &std::path::Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let operator = world.operator().log();
    let iam = world.iam.log();
    assert!(operator.contains("TRACE") && iam.contains("TRACE"), "the logs are not at trace level");
    told.push(("request log", read(&world.iam.request_log_path())));
    told.push(("audit log", read(&world.cp().folder().join("audit.log"))));
    told.push(("operator's log", operator));
    told.push(("IAM server's log", iam));

    let login = std::fs::read(world.iam.admin_key_file()).unwrap();
    let pems: BTreeSet<String> = secrets.iter().chain([&login]).filter_map(|value| pem_in(value)).collect();
    assert!(pems.len() >= 4, "two keys, a repair and the login make four, not {}", pems.len());
    for (place, text) in &told {
        assert!(!text.is_empty(), "{place} is empty");
        for pem in &pems {
            if let Some(form) = found(text, pem) {
                panic!("{place} tells a private key, {form}");
            }
        }
        for (what, pattern) in patterns() {
            if let Some(hit) = pattern.find(text) {
                let line = text.get(..hit.start()).unwrap().lines().last().unwrap_or_default();
                panic!("{place} tells {what} after {line:?}");
            }
        }
    }
}

/// Create, a proof that is refused at first, rotate, repair, failures, delete; returns what the API server shows.
fn live(case: &Case<'_>) -> Vec<(&'static str, String)> {
    let entries = json!([
        {"key": "key.json", "format": "GoogleCredentials"}, {"key": "key.pem", "format": "PrivateKeyPem"},
    ]);
    let rotation = json!({"every": "12s", "overlap": "3s", "deleteAfter": "2s"});
    case.settled(&json!({"rotation": rotation, "secret": {"entries": entries}}));
    let first = case.active("billing");
    case.event_saying("billing", Reason::KeyPublished, &first);
    case.accepted("billing");
    case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    case.when("iamsak", "billing", "old key deleted", |key| entry(key, &first).is_null());

    // A credential that is cut in the middle of the private key.
    let second = case.active("billing");
    let mut cut = case.data("billing");
    for value in cut.values_mut() {
        value.truncate(value.len() / 2);
    }
    let encoded: Value =
        cut.iter().map(|(key, value)| (key.clone(), json!(STANDARD.encode(value)))).collect();
    case.patch("secret", "billing", &json!({ "data": encoded }));
    case.when("iamsak", "billing", "repaired", |key| {
        let active = &key["status"]["activeKeyId"];
        active != second.as_str() && active.is_string() && key["status"]["pending"].is_null()
    });
    // A refusal, a broken connection, and a login that is cut.
    for action in [
        json!("apply_then_drop"),
        json!({"fail": {"status": 403, "canonical": "PERMISSION_DENIED", "message": "no"}}),
    ] {
        let fault = json!({"operation": "keys.create", "action": action, "match": case.email()});
        case.iam().fault(&fault).unwrap();
    }
    case.key("second", &json!({}));
    case.ready("iamsak", "second");
    let login = std::fs::read(case.iam().admin_key_file()).unwrap();
    add_backend(&case.world.kube, "cut", case.iam(), &json!({}));
    let namespace = keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
    super::world::set_login(&case.world.kube, namespace, "cut", login.get(..login.len() / 2).unwrap());
    case.told("ciamb", "cut", "Ready", "False", Reason::LoginInvalid);

    let mut told = shown(case);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    told.extend(shown(case));
    told
}

/// Objects, events, and the metadata of Secrets.
fn shown(case: &Case<'_>) -> Vec<(&'static str, String)> {
    let kube = &case.world.kube;
    let list = |kind: &str| json!(kube.list(&path(kind, &case.name, ""))).to_string();
    let secrets = kube.list(&case.path("secret", ""));
    let metadata: Value = secrets.iter().map(|secret| secret["metadata"].clone()).collect();
    vec![
        ("keys", list("iamsak")),
        ("accounts", list("iamsa")),
        ("backends", list("ciamb")),
        ("events", list("event")),
        ("metadata of Secrets", metadata.to_string()),
    ]
}

/// The PEM text of a private key, from any entry.
fn pem_in(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    match serde_json::from_str::<Value>(text) {
        Ok(file) => file["private_key"].as_str().map(str::to_owned),
        Err(_) => text.starts_with("-----BEGIN PRIVATE KEY").then(|| text.to_owned()),
    }
}

/// How a private key shows in a text, if it does.
fn found(text: &str, pem: &str) -> Option<&'static str> {
    let lines: Vec<&str> = pem.lines().filter(|line| line.len() == 64).collect();
    let der: Vec<u8> =
        STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).ok()?;
    let middle = der.get(der.len() / 2..der.len() / 2 + 24)?;
    // The first line is the same in all keys.
    let picked = [1, lines.len() / 2, lines.len() - 1].map(|index| lines[index]);
    let numbers = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let mut forms = vec![
        ("as the bytes of its DER", numbers(middle)),
        ("as its DER in hex", hex::encode(middle)),
        ("as its DER in HEX", hex::encode_upper(middle)),
    ];
    for line in picked {
        forms.push(("as PEM", line.to_owned()));
        forms.push(("as the bytes of its PEM", numbers(line.as_bytes().get(..24)?)));
        forms.push(("as hex", hex::encode(line)));
        for skip in 0..3 {
            // Any of three phases, by where the line begins in what was encoded.
            let whole = line.as_bytes().get(skip..skip + 48)?;
            forms.push(("in base64", STANDARD.encode(whole)));
            forms.push(("in base64 for URLs", URL_SAFE_NO_PAD.encode(whole)));
        }
    }
    forms.into_iter().find(|(_, needle)| text.contains(needle.as_str())).map(|(form, _)| form)
}

fn patterns() -> Vec<(&'static str, Regex)> {
    let pattern = |what, text: &str| (what, Regex::new(text).unwrap());
    vec![
        pattern("a private key's frame", "PRIVATE KEY"),
        pattern("an access token", "kwat_[A-Za-z0-9_-]{8}"),
        // Assertions, and the token that the operator shows to the API server.
        pattern("a signed token", r"eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        pattern("an assertion in a form", "assertion=[A-Za-z0-9]"),
        pattern("a login", "(?i)bearer [A-Za-z0-9_.-]{12}"),
    ]
}

fn the_search_works() {
    let case = Case::new(World::shared(), "search");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    let (_, file) = case.person.create_key(&case.name);
    let pem = pem_in(&file).unwrap();
    let other = pem_in(&case.person.create_key(&case.name).1).unwrap();
    for text in [
        String::from_utf8(file.clone()).unwrap(),
        pem.clone(),
        json!({ "escaped": String::from_utf8(file.clone()).unwrap() }).to_string(),
        STANDARD.encode(&file),
        STANDARD.encode(format!("x{pem}")),
        STANDARD.encode(format!("xy{pem}")),
        format!("{file:?}"),
        hex::encode(&file),
        STANDARD
            .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
            .map(hex::encode)
            .unwrap(),
    ] {
        assert!(found(&text, &pem).is_some(), "{}", text.get(..60).unwrap());
        assert!(found(&text, &other).is_none());
    }
    let assertion =
        format!("{}.{}.x", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#), "e".repeat(20));
    let texts =
        [pem, "kwat_0123456789".into(), assertion, "a=1&assertion=e30".into(), "Bearer 0123456789ab".into()];
    for ((what, pattern), text) in patterns().into_iter().zip(texts) {
        assert!(pattern.is_match(&text), "{what}");
    }
}
