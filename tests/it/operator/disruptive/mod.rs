//! The backend of Disruptive Technologies: accounts without chosen ids, one role each, keys that are there or not.

mod capabilities;
mod edits;
mod errors;
mod logins;
mod lost_status;
mod memberships;
mod timeouts;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywheel::credential::{DisruptiveCredentials, SecretBytes, shared_secret_assertion};
use keywheel::domain::Reason;
use keywheel_testbed::http;
use keywheel_testbed::iam::{IamOptions, IamServer};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub use super::case::Case;
use super::trial;
use super::world::{World, start_iam};

const DEVELOPER: &str = "roles/project.developer";
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

pub fn trials() -> Vec<Trial> {
    let mut all = vec![
        trial("disruptive::a_key_lives_from_its_account_to_its_end_without_ever_being_disabled", life),
        trial("disruptive::members_and_basic_auth_are_as_the_spec_says", members),
        trial("disruptive::an_account_whose_answer_was_lost_is_found_by_its_name", lost_account),
        trial("disruptive::a_key_whose_answer_was_lost_is_a_suspect", lost_key),
        trial("disruptive::an_account_is_adopted_by_id_and_by_email", adoption),
        trial("disruptive::a_pattern_of_ids_is_for_those_that_a_spec_names", pattern),
    ];
    all.extend(edits::trials());
    all.extend(errors::trials());
    all.extend(lost_status::trials());
    all.extend(timeouts::trials());
    all.extend(logins::trials());
    all.extend(capabilities::trials());
    all.extend(memberships::trials());
    all
}

/// Who may do everything in the project, behind the operator's back.
struct Vendor {
    base: String,
    project: String,
    token: String,
}

impl Vendor {
    fn at(iam: &IamServer) -> Self {
        let file = std::fs::read(iam.disruptive_admin_key_file()).unwrap();
        let token = token(iam, &file).unwrap();
        Self { base: iam.url().to_owned(), project: iam.project().to_owned(), token }
    }

    fn call(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        self.call_at(method, &format!("projects/{}/{path}", self.project), body)
    }

    fn call_at(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v2/{path}", self.base);
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = http::call(method, &url, &self.token, body.as_deref()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    #[track_caller]
    fn must(&self, method: &'static str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    fn keys(&self, account: &str) -> Vec<String> {
        let listed = self.must("GET", &format!("serviceaccounts/{account}/keys"), &Value::Null);
        let id = |key: &Value| key["name"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
        listed["keys"].as_array().unwrap().iter().map(id).collect()
    }

    /// Accounts that people call so.
    fn named(&self, display_name: &str) -> usize {
        let listed = self.must("GET", "serviceaccounts", &Value::Null);
        let accounts = listed["serviceAccounts"].as_array().unwrap().iter();
        accounts.filter(|account| account["displayName"] == display_name).count()
    }

    fn account(&self, id: &str) -> Option<Value> {
        let (status, account) = self.call("GET", &format!("serviceaccounts/{id}"), &Value::Null);
        (status == 200).then_some(account)
    }

    fn role(&self, account: &str) -> Option<String> {
        let (status, member) = self.call("GET", &format!("members/{account}"), &Value::Null);
        (status == 200).then(|| member["roles"][0].as_str().unwrap().to_owned())
    }
}

/// What the token endpoint gives for a credentials file.
pub fn token(iam: &IamServer, file: &[u8]) -> Result<String, (u16, String)> {
    let file = DisruptiveCredentials::parse(&SecretBytes::new(file.to_vec())).unwrap();
    let assertion = shared_secret_assertion(
        file.secret(),
        file.key_id(),
        file.email(),
        file.token_endpoint(),
        Timestamp::now(),
        Duration::from_hours(1),
    );
    let assertion = assertion.unwrap().expose_str().unwrap().to_owned();
    let url = format!("{}/oauth2/token", iam.url());
    let answer = http::post_form(&url, &format!("grant_type={GRANT}&assertion={assertion}")).unwrap();
    if answer.status != 200 {
        return Err((answer.status, answer.body));
    }
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    Ok(answer["access_token"].as_str().unwrap().to_owned())
}

pub fn case(prefix: &str, spec: &Value) -> Case<'static> {
    case_in(World::shared(), prefix, spec, |_| ())
}

/// In another world, or where something must be so before the backend is first asked.
fn case_in<'w>(world: &'w World, prefix: &str, spec: &Value, before: impl FnOnce(&IamServer)) -> Case<'w> {
    let iam = start_iam(IamOptions::default());
    Case::named(world, prefix, iam, |iam, name| {
        before(iam);
        let url = iam.url();
        let endpoints = json!({"api": format!("{url}/v2"), "token": format!("{url}/oauth2/token")});
        let auth = json!({"secretRef": {"name": name}});
        let mut whole =
            json!({"disruptive": {"projectId": iam.project(), "auth": auth, "endpoints": endpoints}});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        whole
    })
}

/// Carries out the next call of this operation, and loses its answer.
fn drop_once(case: &Case<'_>, operation: &str) {
    let faults = json!({"operation": operation, "action": "apply_then_drop", "times": 1});
    case.iam().fault(&faults).unwrap();
}

/// Until it is taken back.
fn fails(iam: &IamServer, operation: &str, status: u16) {
    let text = format!("{status} for a test");
    // The token endpoint tells its code only.
    let fail = json!({"status": status, "canonical": text, "message": text});
    iam.fault(&json!({"operation": operation, "action": {"fail": fail}, "times": 1000})).unwrap();
}

/// How often this operation was carried out.
fn done(case: &Case<'_>, operation: &str) -> usize {
    let all = case.iam().requests().unwrap();
    all.iter().filter(|r| r.operation == operation && r.status == Some(200)).count()
}

/// What was made, changed and ended at the backend: by the answers, not by the calls.
fn changed(case: &Case<'_>) -> usize {
    let all = case.iam().requests().unwrap();
    let kinds = [".create", ".patch", ".delete"];
    let changes = |operation: &str| kinds.iter().any(|kind| operation.ends_with(kind));
    all.iter().filter(|r| changes(&r.operation) && r.status == Some(200)).count()
}

pub fn account(case: &Case<'_>, spec: &Value) {
    account_named(case, "billing", spec);
}

fn account_named(case: &Case<'_>, name: &str, spec: &Value) {
    let mut whole = json!({"backendRef": {"name": case.backend}, "disruptive": {}});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let object = json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccount",
        "metadata": {"name": name}, "spec": whole});
    case.create("iamsa", &object);
}

/// All that a Secret can hold.
pub fn key(spec: &Value) -> Value {
    let entry = |key: &str, format: &str| json!({"key": key, "format": format});
    let entries = [
        entry("credentials.json", "DisruptiveCredentials"),
        entry("DT_SERVICE_ACCOUNT_KEY_ID", "KeyId"),
        entry("DT_SERVICE_ACCOUNT_SECRET", "Secret"),
        entry("DT_SERVICE_ACCOUNT_EMAIL", "Email"),
        entry("endpoint", "TokenEndpoint"),
        entry("project", "ProjectId"),
    ];
    let mut whole = json!({"secret": {"entries": entries}});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    whole
}

fn life() {
    let case = case("sensors", &json!({"tenants": {"roles": [DEVELOPER]}}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({"roles": [{"role": DEVELOPER}]}));
    case.key("billing", &key(&json!({"rotation": {"every": "30s", "overlap": "5s"}})));
    let made = case.ready("iamsa", "billing");
    let id = made["status"]["uniqueId"].as_str().unwrap().to_owned();
    case.ready("iamsak", "billing");
    let backend = case.ready("ciamb", &case.backend);
    let can = &backend["status"]["capabilities"];
    assert_eq!(
        (&can["disableKeys"], &can["uploadKeys"], &can["accountIds"]),
        (&json!(false), &json!(false), &json!(false))
    );
    assert_eq!(vendor.account(&id).unwrap()["displayName"], "billing");
    assert_eq!(vendor.role(&id).as_deref(), Some(DEVELOPER));

    let (first, data) = (case.active("billing"), case.data("billing"));
    let text = |key: &str| std::str::from_utf8(&data[key]).unwrap();
    let file: Value = serde_json::from_slice(&data["credentials.json"]).unwrap();
    assert_eq!(file["serviceAccount"]["secret"], text("DT_SERVICE_ACCOUNT_SECRET"));
    assert_eq!((text("DT_SERVICE_ACCOUNT_KEY_ID"), text("project")), (first.as_str(), case.iam().project()));
    assert_eq!(text("DT_SERVICE_ACCOUNT_EMAIL"), made["status"]["email"]);
    token(case.iam(), &data["credentials.json"]).unwrap();

    // The next one is published, and the first one is deleted at the end of its overlap.
    let second = case.until("a rotation", || match case.active("billing") {
        id if id == first => Err(json!(id)),
        id => Ok(id),
    });
    token(case.iam(), &data["credentials.json"]).unwrap();
    case.until("the end of the first key", || match vendor.keys(&id) {
        ids if ids == [second.clone()] => Ok(()),
        ids => Err(json!(ids)),
    });
    assert_eq!(token(case.iam(), &data["credentials.json"]).unwrap_err().0, 400);
    token(case.iam(), &case.data("billing")["credentials.json"]).unwrap();

    // An edit of the secret alone is seen: a new key.
    let edited = STANDARD.encode("5d".repeat(16));
    let patch = json!({"data": {"credentials.json": null, "DT_SERVICE_ACCOUNT_SECRET": edited}});
    case.patch("secret", "billing", &patch);
    case.until("another key", || match case.data("billing").get("credentials.json") {
        Some(file) if token(case.iam(), file).is_ok() => Ok(()),
        _ => Err(json!(case.active("billing"))),
    });

    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    assert_eq!((vendor.keys(&id), case.find("secret", "billing")), (Vec::new(), None));
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert_eq!((vendor.account(&id), vendor.role(&id)), (None, None));
}

fn members() {
    let case = case("members", &json!({"tenants": {"roles": ["roles/project.*"]}}));
    let vendor = Vendor::at(case.iam());
    let wanted = |role: &str, basic_auth: bool| {
        let memberships = json!([{"project": case.iam().project(), "role": role}]);
        json!({"disruptive": {"basicAuth": basic_auth, "memberships": memberships}})
    };
    account(&case, &wanted("roles/project.user", true));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    assert_eq!(vendor.role(&id).as_deref(), Some("roles/project.user"));
    assert_eq!(vendor.account(&id).unwrap()["enableBasicAuth"], true);
    case.key("billing", &key(&json!({})));
    case.ready("iamsak", "billing");
    let ways = case.iam().requests().unwrap();
    let proved = |request: &&keywheel_testbed::iam::Request| request.raw["auth"] == "basic";
    assert!(ways.iter().any(|request| proved(&request)), "a key is proved by basic auth, too");

    // One change: it is never without a role.
    case.patch("iamsa", "billing", &json!({"spec": wanted(DEVELOPER, false)}));
    case.until("the other role", || {
        match (vendor.role(&id), vendor.account(&id).unwrap()["enableBasicAuth"].clone()) {
            (Some(role), Value::Bool(false)) if role == DEVELOPER => Ok(()),
            other => Err(json!(format!("{other:?}"))),
        }
    });
    let all = case.iam().requests().unwrap();
    assert!(!all.iter().any(|request| request.operation == "disruptive.members.delete"));

    // Switched on by hand, it is switched off with the next look.
    vendor.must("PATCH", &format!("serviceaccounts/{id}"), &json!({"enableBasicAuth": true}));
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Sensors"}}));
    case.until("basic auth to end", || match vendor.account(&id).unwrap() {
        account if account["enableBasicAuth"] == false && account["displayName"] == "Sensors" => Ok(()),
        account => Err(account),
    });

    // Taken back with the spec.
    case.patch("iamsa", "billing", &json!({"spec": {"disruptive": {"memberships": null}}}));
    case.until("no role", || vendor.role(&id).map_or(Ok(()), |role| Err(json!(role))));
}

fn lost_account() {
    let case = case("lost", &json!({}));
    let vendor = Vendor::at(case.iam());
    drop_once(&case, "disruptive.accounts.create");
    account(&case, &json!({}));
    let made = case.ready("iamsa", "billing");
    assert_eq!(made["status"]["origin"], "Created");
    let id = made["status"]["uniqueId"].as_str().unwrap();
    assert_eq!(vendor.account(id).unwrap()["displayName"], "billing");
    assert_eq!(vendor.named("billing"), 1);
    let sent = case.iam().requests().unwrap();
    assert_eq!(sent.iter().filter(|r| r.operation == "disruptive.accounts.create").count(), 1);
}

fn lost_key() {
    let case = case("suspect", &json!({}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    drop_once(&case, "disruptive.keys.create");
    case.key("billing", &key(&json!({})));
    case.ready("iamsak", "billing");
    // Its secret went with the answer; whose it is cannot be proved here, so it is left alone.
    let status = case.get("iamsak", "billing")["status"].clone();
    assert_eq!(status["lost"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(vendor.keys(&id).len(), 2);
    token(case.iam(), &case.data("billing")["credentials.json"]).unwrap();
}

fn adoption() {
    let case = case("adopted", &json!({"tenants": {"adoption": true}}));
    let vendor = Vendor::at(case.iam());
    let there = vendor.must("POST", "serviceaccounts", &json!({"displayName": "made by hand"}));
    let (email, id) = (there["email"].as_str().unwrap(), there["name"].as_str().unwrap());
    let id = id.rsplit_once('/').unwrap().1;
    account(&case, &json!({"email": email}));
    let adopted = case.ready("iamsa", "billing");
    assert_eq!(
        (&adopted["status"]["uniqueId"], &adopted["status"]["origin"]),
        (&json!(id), &json!("Adopted"))
    );
    assert_eq!(vendor.account(id).unwrap()["displayName"], "made by hand");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    account(&case, &json!({"accountId": id, "adoptionPolicy": "Required"}));
    assert_eq!(case.ready("iamsa", "billing")["status"]["uniqueId"], id);
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert!(vendor.account(id).is_some(), "it was there before, and stays");
}

/// The backend chooses the ids of what is made there: a pattern can hold for those only that somebody asked for by name.
fn pattern() {
    let tenants = json!({"tenants": {"accountIdPattern": "{namespace}-.*", "adoption": true}});
    let case = case("pattern", &tenants);
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    case.key("billing", &key(&json!({})));
    case.ready("iamsak", "billing");
    // Not later either, when its id is known.
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Sensors"}}));
    case.until("its other name", || match vendor.account(&id).unwrap() {
        account if account["displayName"] == "Sensors" => Ok(()),
        account => Err(account),
    });
    case.ready("iamsa", "billing");
    let there = vendor.must("POST", "serviceaccounts", &json!({"displayName": "theirs"}));
    let (email, theirs) = (&there["email"], there["name"].as_str().unwrap());
    let theirs = theirs.rsplit_once('/').unwrap().1;
    for (name, spec) in [
        ("by-id", json!({"accountId": theirs, "adoptionPolicy": "Required"})),
        ("by-email", json!({"email": email})),
    ] {
        account_named(&case, name, &spec);
        let message = case.told("iamsa", name, "Stalled", "True", Reason::AccountIdNotAllowed);
        assert!(message.contains("pattern") && message.contains(theirs), "{message}");
    }
    case.delete("iamsa", "billing");
    case.delete("iamsak", "billing");
    case.gone("iamsa", "billing");
    assert_eq!((vendor.account(&id), vendor.account(theirs).is_some()), (None, true));
}
