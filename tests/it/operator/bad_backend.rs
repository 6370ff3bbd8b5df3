//! Backends that cannot be used: missing, forbidden, unreachable, with a login that is missing, malformed, unknown or weak.
//! What is published stays, and it goes on once the backend can be used.

use std::net::TcpListener;

use keywheel::domain::Reason;
use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{World, set_login, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("bad_backend::a_namespace_that_is_not_named_may_not_use_it", names),
        trial("bad_backend::a_namespace_that_is_not_selected_may_not_use_it", selector),
        trial("bad_backend::one_that_does_not_answer_is_unreachable", unreachable),
        trial("bad_backend::one_that_goes_down_takes_no_published_key_along", goes_down),
        trial("bad_backend::a_login_is_missing_malformed_unknown_or_too_weak", logins),
        trial("bad_backend::a_namespaced_one_needs_a_login_in_its_namespace", namespaced),
        trial("bad_backend::nothing_is_made_while_the_clocks_differ", clock),
    ]
}

fn names() {
    let world = World::shared();
    let case = Case::at(world, "names", &world.iam, &json!({}));
    case.settled(&json!({}));
    let active = case.active("billing");
    case.patch("ciamb", &case.backend, &json!({"spec": {"allowedNamespaces": {"names": ["elsewhere"]}}}));
    forbidden(&case);
    assert_eq!(case.active("billing"), active);
    // Neither is anything new made there.
    case.key("late", &json!({}));
    case.told("iamsak", "late", "Ready", "False", Reason::AccountNotReady);
    assert_eq!(case.count("keys.create"), 1);

    let names = json!(["elsewhere", case.name]);
    case.patch("ciamb", &case.backend, &json!({"spec": {"allowedNamespaces": {"names": names}}}));
    case.ready("iamsa", "billing");
    case.ready("iamsak", "billing");
    case.ready("iamsak", "late");
    assert_eq!(case.active("billing"), active);
}

fn forbidden(case: &Case<'_>) {
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::NamespaceNotAllowed);
    assert!(message.contains(&case.name) && message.contains("allowedNamespaces"), "{message}");
    case.event("billing", Reason::NamespaceNotAllowed);
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::AccountNotReady);
    assert!(message.contains("NamespaceNotAllowed"), "{message}");
    case.accepted("billing");
}

fn selector() {
    let world = World::shared();
    let selector = json!({"allowedNamespaces": {"selector": {"matchLabels": {"team": "pay"}}}});
    let case = Case::at(world, "selector", &world.iam, &selector);
    case.account(&json!({}));
    case.told("iamsa", "billing", "Ready", "False", Reason::NamespaceNotAllowed);
    assert_eq!(case.person.account(&case.name), None);
    case.patch("namespace", &case.name, &json!({"metadata": {"labels": {"team": "pay"}}}));
    case.ready("iamsa", "billing");
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    case.patch("namespace", &case.name, &json!({"metadata": {"labels": {"team": "other"}}}));
    // Nothing tells the operator of the label; the next look at the account does.
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Pay"}}));
    forbidden(&case);
}

/// A port that nobody serves: the kernel gave it to us a moment ago.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn unreachable() {
    let world = World::shared();
    let case = Case::at(world, "closed", &world.iam, &json!({}));
    let endpoint = |url: &str| json!({"spec": {"embedded": {"endpoint": url}}});
    case.patch("ciamb", &case.backend, &endpoint(&closed_port()));
    case.told("ciamb", &case.backend, "Ready", "False", Reason::BackendUnreachable);
    case.account(&json!({}));
    case.told("iamsa", "billing", "Ready", "False", Reason::BackendUnreachable);
    case.event("billing", Reason::BackendUnreachable);
    case.key("billing", &json!({}));
    case.told("iamsak", "billing", "Ready", "False", Reason::AccountNotReady);
    case.patch("ciamb", &case.backend, &endpoint(world.iam.url()));
    case.ready("ciamb", &case.backend);
    case.ready("iamsa", "billing");
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

fn goes_down() {
    let mut case = Case::at(World::shared(), "down", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({"rotation": {"every": "12s", "overlap": "5s", "deleteAfter": "1h"}}));
    let (first, file) = (case.active("billing"), case.data("billing"));
    case.own_iam().kill9().unwrap();
    // It is down when the rotation comes.
    let message = case.told("iamsak", "billing", "BackendReachable", "False", Reason::BackendUnreachable);
    assert!(message.contains("keys.list") || message.contains("connect"), "{message}");
    case.event("billing", Reason::BackendUnreachable);
    let key = case.get("iamsak", "billing");
    assert_eq!(condition(&key, "Ready")["status"], "True", "the published key is as good as before: {key}");
    assert_eq!(key["status"]["activeKeyId"], json!(first));
    assert_eq!(case.data("billing"), file);
    case.own_iam().restart().unwrap();
    case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    case.accepted("billing");
    let ids: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(ids.len(), 2, "a try that could not reach the backend left a key: {ids:?}");
    assert_eq!(condition(&case.get("iamsak", "billing"), "BackendReachable")["status"], "True");
}

fn logins() {
    let world = World::shared();
    let stranger = start_iam(IamOptions::default());
    let case = Case::at(world, "logins", &world.iam, &json!({}));
    case.settled(&json!({}));
    let weak = case.data("billing")["key.json"].clone();
    let good = std::fs::read(world.iam.admin_key_file()).unwrap();
    let unknown = std::fs::read(stranger.admin_key_file()).unwrap();
    let path = super::kube::path("secret", OPERATOR_NAMESPACE, &case.backend);
    // A key whose lines were joined on its way: a client that says what is wrong with it would quote it.
    let mut joined: Value = serde_json::from_slice(&good).unwrap();
    let key = joined["private_key"].as_str().unwrap().to_owned();
    joined["private_key"] = json!(key.replace('\n', " "));
    let joined = joined.to_string();
    let quoted: Vec<String> = key.as_bytes()[..24].iter().map(u8::to_string).collect();
    for (login, reason) in [
        (Some(joined.as_bytes()), Reason::LoginInvalid),
        (Some(&unknown[..]), Reason::LoginRefused),
        (None, Reason::LoginMissing),
        (Some(b"{}"), Reason::LoginInvalid),
        (Some(b"not even JSON"), Reason::LoginInvalid),
        (Some(&weak[..]), Reason::PermissionMissing),
    ] {
        match login {
            Some(content) => set_login(&world.kube, OPERATOR_NAMESPACE, &case.backend, content),
            None => world.kube.delete(&path),
        }
        let message = case.told("ciamb", &case.backend, "Ready", "False", reason);
        assert!(!message.contains("BEGIN PRIVATE") && !message.contains(&quoted.join(", ")), "{message}");
        // An account that is asked for meanwhile says why it has to wait.
        let name = format!("{}-{}", case.name, reason.as_str().to_lowercase().get(..6).unwrap());
        case.account_named("another", &name, &json!({}));
        case.told("iamsa", "another", "Ready", "False", reason);
        case.event("another", reason);
        assert_eq!(case.person.account(&name), None);
        case.accepted("billing");
        set_login(&world.kube, OPERATOR_NAMESPACE, &case.backend, &good);
        case.ready("ciamb", &case.backend);
        case.ready("iamsa", "another");
        case.delete("iamsa", "another");
        case.gone("iamsa", "another");
    }
    let absent = json!({"spec": {"embedded": {"auth": {"secretRef": {"key": "other.json"}}}}});
    case.patch("ciamb", &case.backend, &absent);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::LoginMissing);
    assert!(message.contains("other.json"), "{message}");
}

fn namespaced() {
    let world = World::shared();
    let case = Case::new(world, "local");
    let backend = json!({
        "apiVersion": "keywheel.dev/v1alpha1", "kind": "IamBackend", "metadata": {"name": "mine"},
        "spec": {"embedded": {"auth": {"secretRef": {"name": "login"}}}},
    });
    case.create("iamb", &backend);
    case.account(&json!({"backendRef": {"kind": "IamBackend", "name": "mine"}}));
    case.key("billing", &json!({}));
    case.told("iamb", "mine", "Ready", "False", Reason::LoginMissing);
    case.told("iamsa", "billing", "Ready", "False", Reason::LoginMissing);
    set_login(&world.kube, &case.name, "login", &std::fs::read(world.iam.admin_key_file()).unwrap());
    let mine = case.ready("iamb", "mine");
    assert_eq!(mine["status"]["projectId"], world.iam.project());
    assert_eq!(mine["status"]["capabilities"]["keyLimit"], 10);
    case.ready("iamsa", "billing");
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

fn clock() {
    let iam = start_iam(IamOptions { clock_offset: Some("10m".into()), ..IamOptions::default() });
    let case = Case::at(World::shared(), "clock", iam, &json!({}));
    let message = case.told("ciamb", &case.backend, "ClockInSync", "False", Reason::ClockSkew);
    assert!(message.contains("ahead"), "{message}");
    case.account(&json!({}));
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::ClockSkew);
    assert!(message.contains("differ"), "{message}");
    case.event("billing", Reason::ClockSkew);
    assert_eq!((case.count("keys.create"), case.find("secret", "billing")), (0, None));
    case.iam().settings(&json!({"clockOffset": "0s"})).unwrap();
    case.told("ciamb", &case.backend, "ClockInSync", "True", Reason::ClocksAgree);
    case.ready("iamsak", "billing");
    assert_eq!(condition(&case.ready("ciamb", &case.backend), "Stalled"), Value::Null);
    case.accepted("billing");
}
