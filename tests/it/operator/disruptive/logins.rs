//! Logins that are refused, or that get no usable answer. What the token endpoint says no to is the login: it says nothing of the
//! accounts and keys that were asked for.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use keywheel::domain::Reason;
use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::super::case::{condition, soon, time};
use super::super::trial;
use super::super::world::set_login;
use super::{Case, Vendor, account, account_named, case, changed, fails, key};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::logins::a_secret_that_is_wrong_is_named_and_not_shown", wrong),
        trial("disruptive::logins::a_login_that_is_refused_says_nothing_of_accounts_and_keys", refused),
        trial("disruptive::logins::an_endpoint_in_trouble_refuses_nothing", trouble),
        trial("disruptive::logins::an_endpoint_that_answers_in_text", text),
        trial("disruptive::logins::a_login_that_may_not_is_told_what_it_lacks", weak),
        trial("disruptive::logins::a_key_that_no_endpoint_proves_is_not_published", unproved),
    ]
}

fn admin(case: &Case<'_>) -> Value {
    serde_json::from_slice(&std::fs::read(case.iam().disruptive_admin_key_file()).unwrap()).unwrap()
}

fn log_in(case: &Case<'_>, file: &Value) {
    set_login(&case.world.kube, OPERATOR_NAMESPACE, &case.backend, file.to_string().as_bytes());
}

/// The token that is held is not believed any more: the next call logs in.
fn forgotten(case: &Case<'_>) {
    let fail = json!({"status": 401, "canonical": "", "message": "Unauthorized"});
    case.iam().fault(&json!({"operation": "disruptive.permissions.list", "action": {"fail": fail}})).unwrap();
}

fn wrong() {
    let case = case("dt-login", &json!({}));
    case.ready("ciamb", &case.backend);
    let mut file = admin(&case);
    file["serviceAccount"]["secret"] = json!("0".repeat(32));
    log_in(&case, &file);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::LoginRefused);
    assert!(message.contains("serviceaccount.d21s.com") && !message.contains("0000"), "{message}");
}

/// An account and a key, both ready; what is known of them, which no login changes.
fn settled(case: &Case<'_>) -> (Value, String) {
    account(case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].clone();
    case.key("billing", &key(&json!({"rotation": {"overlap": "1s"}})));
    case.ready("iamsak", "billing");
    (id, case.active("billing"))
}

/// The old key has ended, and nobody asks for anything.
fn rests(case: &Case<'_>) {
    case.when("iamsak", "billing", "one key", |key| {
        key["status"]["keys"].as_array().is_some_and(|keys| keys.len() == 1)
    });
}

/// Both are looked at.
fn look(case: &Case<'_>, name: &str) {
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": name}}));
    let annotation = json!({"keywheel.dev/rotate-at": soon()});
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": annotation}}));
}

#[track_caller]
fn stays(case: &Case<'_>, known: &(Value, String), before: usize) {
    let (account, key) = (case.get("iamsa", "billing"), case.get("iamsak", "billing"));
    assert_eq!((&account["status"]["uniqueId"], &key["status"]["activeKeyId"]), (&known.0, &json!(known.1)));
    assert_eq!(condition(&key, "Ready")["status"], "True", "what is published is as good as before: {key}");
    assert_eq!(changed(case), before, "something was made or ended");
}

fn refused() {
    let case = case("dt-logins", &json!({}));
    let mut known = settled(&case);
    for status in [400, 401, 403, 404] {
        rests(&case);
        let before = changed(&case);
        fails(case.iam(), "disruptive.token", status);
        forgotten(&case);
        let words = format!("{status} for a test");
        let backend = case.when("ciamb", &case.backend, &words, |backend| {
            condition(backend, "Ready")["message"].as_str().is_some_and(|text| text.contains(&words))
        });
        let told = condition(&backend, "Ready");
        assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("LoginRefused")), "{told}");
        assert!(told["message"].to_string().contains("serviceaccount.d21s.com"), "{told}");
        look(&case, &words);
        let message = case.told("iamsa", "billing", "Ready", "False", Reason::LoginRefused);
        assert!(message.contains(&words), "{message}");
        case.told("iamsak", "billing", "Rotating", "False", Reason::LoginRefused);
        let (name, new) = (format!("key-{status}"), format!("account-{status}"));
        case.key(&name, &key(&json!({})));
        account_named(&case, &new, &json!({}));
        case.told("iamsa", &new, "Ready", "False", Reason::LoginRefused);
        stays(&case, &known, before);
        case.iam().clear_faults().unwrap();
        assert_eq!(case.ready("iamsa", "billing")["status"]["uniqueId"], known.0, "{status}");
        let turned = case.when("iamsak", "billing", "rotated", |key| {
            key["status"]["activeKeyId"] != json!(known.1) && condition(key, "Ready")["status"] == "True"
        });
        known.1 = turned["status"]["activeKeyId"].as_str().unwrap().to_owned();
        let all = case.iam().requests().unwrap();
        let mut creates = all.iter().filter(|request| request.operation == "disruptive.keys.create");
        assert!(
            creates.all(|request| request.status == Some(200)),
            "{status}: nothing was sent without a login"
        );
        case.ready("iamsak", &name);
        case.ready("iamsa", &new);
    }
}

fn trouble() {
    let case = case("dt-nologin", &json!({}));
    let known = settled(&case);
    let before = changed(&case);
    fails(case.iam(), "disruptive.token", 500);
    forgotten(&case);
    let message = case.told("ciamb", &case.backend, "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("login") && message.contains("500 for a test"), "{message}");
    look(&case, "in trouble");
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::BackendUnreachable);
    assert!(message.contains("login") && message.contains("500 for a test"), "{message}");
    case.told("iamsak", "billing", "BackendReachable", "False", Reason::BackendUnreachable);
    stays(&case, &known, before);
    case.iam().clear_faults().unwrap();
    case.ready("iamsa", "billing");
    case.when("iamsak", "billing", "rotated", |key| key["status"]["activeKeyId"] != json!(known.1));

    // A quota of its own.
    rests(&case);
    case.ready("ciamb", &case.backend);
    let before = changed(&case);
    let fail = json!({"status": 429, "canonical": "slow_down", "message": "", "retry_after": "7"});
    let fault = json!({"operation": "disruptive.token", "action": {"fail": fail}, "times": 1000});
    case.iam().fault(&fault).unwrap();
    forgotten(&case);
    case.told("ciamb", &case.backend, "Ready", "False", Reason::BackendThrottled);
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "throttled"}}));
    // A change of the spec is tried at once; after that it is left alone.
    let object = case.when("iamsa", "billing", "throttled", |object| {
        let told = condition(object, "Ready");
        told["reason"] == "BackendThrottled" && told["observedGeneration"] == object["metadata"]["generation"]
    });
    let message = condition(&object, "Ready")["message"].to_string();
    let words = ["slow_down", "not to be tried again before 20"];
    assert!(words.iter().all(|words| message.contains(words)), "{message}");
    let held = time(&object["status"]["retryAfter"]);
    assert_eq!(changed(&case), before);
    case.iam().clear_faults().unwrap();
    case.ready("iamsa", "billing");
    assert!(jiff::Timestamp::now() >= held, "the backend was not left alone");
    case.ready("ciamb", &case.backend);
}

/// Whatever is asked of it, it answers with this page, as something in between does.
fn page(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // The form has its assertion at its end.
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !request.windows(10).any(|words| words == b"assertion=") {
                match stream.read(&mut part) {
                    Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
                    _ => break,
                }
            }
            let text = "<html>the gateway speaks</html>";
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            // Whoever hung up needs no answer.
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

fn text() {
    let case = case("dt-text", &json!({}));
    let known = settled(&case);
    let endpoints = case.get("ciamb", &case.backend)["spec"]["disruptive"]["endpoints"].clone();
    let at = |url: &Value| {
        let spec = json!({"spec": {"disruptive": {"endpoints": {"token": url}}}});
        case.patch("ciamb", &case.backend, &spec);
    };
    for (status, reason, words) in [
        ("200 OK", Reason::BackendUnreachable, "no usable access token"),
        ("502 Bad Gateway", Reason::BackendUnreachable, "HTTP 502"),
        ("404 Not Found", Reason::LoginRefused, "no error document"),
    ] {
        let before = changed(&case);
        at(&json!(page(status)));
        let message = case.told("ciamb", &case.backend, "Ready", "False", reason);
        assert!(message.contains(words) && !message.contains("gateway speaks"), "{status}: {message}");
        case.patch("iamsa", "billing", &json!({"spec": {"displayName": status}}));
        let message = case.told("iamsa", "billing", "Ready", "False", reason);
        assert!(message.contains(words), "{status}: {message}");
        stays(&case, &known, before);
        at(&endpoints["token"]);
        case.ready("ciamb", &case.backend);
        case.ready("iamsa", "billing");
    }
}

fn weak() {
    let case = case("dt-weak", &json!({}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    let made = vendor.must("POST", "serviceaccounts", &json!({"displayName": "looks only"}));
    let id = made["name"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let member = json!({"roles": ["roles/project.user"], "email": made["email"]});
    vendor.must("POST", "members", &member);
    let minted = vendor.must("POST", &format!("serviceaccounts/{id}/keys"), &Value::Null);
    let (strong, mut file) = (admin(&case), admin(&case));
    file["serviceAccount"]["email"] = made["email"].clone();
    file["serviceAccount"]["secret"] = minted["secret"].clone();
    let key_id = minted["key"]["name"].as_str().unwrap().rsplit_once('/').unwrap().1;
    file["serviceAccount"]["keyId"] = json!(key_id);
    let before = changed(&case);
    log_in(&case, &file);
    let message = case.told("ciamb", &case.backend, "PermissionsGranted", "False", Reason::PermissionMissing);
    assert!(message.contains("serviceaccount.key.create"), "{message}");
    let missing = case.get("ciamb", &case.backend)["status"]["missingPermissions"].clone();
    for permission in ["serviceaccount.create", "serviceaccount.key.delete", "membership.update"] {
        assert!(missing.as_array().unwrap().contains(&json!(permission)), "{missing}");
    }
    assert!(!missing.to_string().contains(".read"), "{missing}");
    account_named(&case, "other", &json!({}));
    let message = case.told("iamsa", "other", "Ready", "False", Reason::PermissionMissing);
    assert!(message.contains("missing permission serviceaccount.create"), "{message}");
    case.key("billing", &key(&json!({})));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::PermissionMissing);
    assert!(message.contains("missing permission serviceaccount.key.create"), "{message}");
    assert_eq!(changed(&case), before);
    log_in(&case, &strong);
    case.ready("iamsa", "other");
    case.ready("iamsak", "billing");
    case.told("ciamb", &case.backend, "PermissionsGranted", "True", Reason::PermissionsComplete);
}

/// The endpoint at which keys are proved is not where it should be, or refuses everybody: that says nothing of the key.
fn unproved() {
    let case = case("dt-noproof", &json!({}));
    account(&case, &json!({}));
    case.ready("iamsa", "billing");
    for status in [403, 404] {
        let (name, made) = (format!("key-{status}"), super::done(&case, "disruptive.keys.create"));
        fails(case.iam(), "disruptive.token", status);
        case.key(&name, &key(&json!({})));
        let waiting = case.when("iamsak", &name, "a proof that fails", |key| {
            condition(key, "Ready")["message"].as_str().is_some_and(|m| m.contains("for a test"))
        });
        let told = condition(&waiting, "Ready");
        assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("LoginRefused")), "{told}");
        assert!(case.find("secret", &name).is_none(), "an unproved key was published");
        assert_eq!(super::done(&case, "disruptive.keys.delete"), 0, "{status}: it is as good as it was");
        case.iam().clear_faults().unwrap();
        let ready = case.ready("iamsak", &name);
        assert_eq!(ready["status"]["attempt"], 1, "the same key: {}", ready["status"]);
        assert_eq!(super::done(&case, "disruptive.keys.create"), made + 1);
    }
}
