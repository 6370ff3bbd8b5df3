//! The library of Disruptive Technologies and curl, straight against the embedded server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keywheel_testbed::iam::{IamOptions, IamServer};
use keywheel_testbed::process::Scratch;
use serde_json::{Value, json};

use super::{passed, script, told};
use crate::operator::{platform, start_iam};

/// The only organization of the embedded server.
const ORGANIZATION: &str = "keywheel";

/// Runs the library, as the administrator.
fn library(iam: &IamServer, command: &[&str]) -> Value {
    library_with(&iam.disruptive_admin_key_file(), iam, command)
}

fn library_with(credentials: &Path, iam: &IamServer, command: &[&str]) -> Value {
    let arguments = [&[credentials.to_str().unwrap(), iam.url()], command].concat();
    script("disruptive_client.py", &arguments, &[])
}

fn version(told: &Value) -> &str {
    told["version"].as_str().unwrap()
}

/// The statuses with which calls of an operation were answered.
fn statuses(iam: &IamServer, operation: &str) -> Vec<u16> {
    let requests = iam.requests().unwrap();
    requests
        .iter()
        .filter(|request| request.operation == operation)
        .filter_map(|request| request.status)
        .collect()
}

pub fn every_method() {
    let iam = start_iam(IamOptions::default());
    let told = library(&iam, &["every", iam.project(), ORGANIZATION]);
    let asked = iam.requests().unwrap();
    // What the library raised an error for was not asked twice.
    let refusals = |operation: &str, status: u16| {
        statuses(&iam, operation).iter().filter(|answered| **answered == status).count()
    };
    assert_eq!(refusals("disruptive.accounts.list", 403), 1);
    assert_eq!(refusals("disruptive.keys.get", 404), 1);
    assert_eq!(refusals("disruptive.members.create", 409), 1);
    assert_eq!(refusals("disruptive.members.getInviteUrl", 400), 2);
    assert_eq!(refusals("disruptive.token", 400), 1, "of a deleted key");
    // A list of keys came with the token of a list of accounts, and was whole.
    let carried = |operation: &str| {
        let with_token = |raw: &Value| raw["query"].get("pageToken").is_some();
        asked.iter().any(|request| request.operation == operation && with_token(&request.raw))
    };
    for list in ["accounts", "keys", "members", "roles"] {
        assert!(carried(&format!("disruptive.{list}.list")), "{list}: the library has changed its ways");
    }
    let methods = asked.iter().filter_map(|request| request.operation.strip_prefix("disruptive."));
    let mut methods: Vec<&str> = methods.collect();
    methods.sort_unstable();
    methods.dedup();
    let expected = [
        "accounts.create",
        "accounts.delete",
        "accounts.get",
        "accounts.list",
        "accounts.patch",
        "keys.create",
        "keys.delete",
        "keys.get",
        "keys.list",
        "members.create",
        "members.delete",
        "members.get",
        "members.getInviteUrl",
        "members.list",
        "members.patch",
        "permissions.list",
        "roles.get",
        "roles.list",
        "token",
    ];
    assert_eq!(methods, expected);
    passed("disruptive", version(&told), &methods.join(", "));
}

/// How often it asks, by what the server saw, and how long it would have waited in between.
pub fn failures() {
    let iam = start_iam(IamOptions::default());
    let told = library(&iam, &["failures", iam.project()]);
    let seen = statuses(&iam, "disruptive.accounts.get");
    let table: &[(u16, &str, usize, &[f64])] = &[
        (400, "BadRequest", 1, &[]),
        (401, "Unauthorized", 3, &[]),
        (403, "Forbidden", 1, &[]),
        (404, "NotFound", 1, &[]),
        (409, "Conflict", 1, &[]),
        (429, "TooManyRequests", 4, &[7.0, 7.0, 7.0]),
        (500, "InternalServerError", 4, &[0.0, 1.0, 4.0]),
        (503, "InternalServerError", 4, &[0.0, 1.0, 4.0]),
        (504, "InternalServerError", 4, &[9.0, 10.0, 13.0]),
    ];
    for (status, raised, requests, waits) in table {
        let name = status.to_string();
        assert_eq!(seen.iter().filter(|answered| *answered == status).count(), *requests, "{status}");
        assert_eq!(told["raised"][&name], *raised, "{status}");
        let waited: Vec<f64> =
            told["waits"][&name].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(waited, *waits, "{status}");
    }
    assert_eq!(seen.last(), Some(&200), "without a fault it goes on");
    passed("disruptive (errors)", version(&told), "400, 401, 403, 404, 409, 429, 500, 503, 504");
}

/// With nothing but what stands in the Secret: the file for the library, id and secret for curl.
pub fn rotation() {
    let case = platform::case("client", &json!({"tenants": {"roles": ["roles/project.*"]}}));
    let wanted = json!({"disruptive": {"basicAuth": true}, "roles": [{"role": "roles/project.user"}]});
    platform::account(&case, &wanted);
    case.key("billing", &platform::key(&json!({"rotation": {"every": "40s", "overlap": "15s"}})));
    case.ready("iamsa", "billing");
    case.ready("iamsak", "billing");
    let (iam, project) = (case.iam(), case.iam().project().to_owned());
    let mounted = |name: &str| {
        let data = case.data("billing");
        let text = |key: &str| String::from_utf8(data[key].clone()).unwrap();
        let pair = format!("{}:{}", text("DT_SERVICE_ACCOUNT_KEY_ID"), text("DT_SERVICE_ACCOUNT_SECRET"));
        (case.file(name, &data["credentials.json"]), pair)
    };
    let permissions = format!("{}/v2/projects/{project}/permissions", iam.url());
    let works = |(file, pair): &(PathBuf, String)| {
        let told = library_with(file, iam, &["use", &project]);
        assert!(told["permissions"].to_string().contains("serviceaccount.read"), "{told}");
        if has_curl() {
            assert_eq!(ask(pair, "GET", &permissions).0, "200");
        }
        version(&told).to_owned()
    };
    let first = (case.active("billing"), mounted("first.json"));
    works(&first.1);
    let second = case.until("a rotation", || match case.active("billing") {
        id if id == first.0 => Err(json!(id)),
        id => Ok(id),
    });
    let latest = mounted("second.json");
    let version = works(&latest);
    works(&first.1);
    case.when("iamsak", "billing", "the first key to end", |key| {
        !key["status"]["keys"].to_string().contains(&first.0)
    });
    assert_eq!(library_with(&first.1.0, iam, &["use", &project])["refused"], "Unauthorized");
    if has_curl() {
        assert_eq!(ask(&first.1.1, "GET", &permissions).0, "401");
        passed(
            "curl (file from the Secret)",
            &curl_version().unwrap(),
            "permissions.list, through a rotation",
        );
    }
    works(&latest);
    assert_ne!(second, first.0);
    passed("disruptive (file from the Secret)", &version, "permissions.list, through a rotation");
}

pub fn has_curl() -> bool {
    curl_version().is_some()
}

fn curl_version() -> Option<String> {
    let output = Command::new("curl").arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

/// A call with `curl -u`, as the vendor's documentation has it: the status and the document.
fn ask(pair: &str, method: &str, url: &str) -> (String, Value) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
        .args(["-X", method, "-u", pair, "-w", "\n%{http_code}", url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap())
}

pub fn curl() {
    let iam = start_iam(IamOptions::default());
    let folder = Scratch::new("compat").unwrap();
    let file = folder.path().join("disruptive.json");
    let made = library(&iam, &["make", iam.project(), file.to_str().unwrap()]);
    let id = made["id"].as_str().unwrap();
    let read: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let login = |field: &str| read["serviceAccount"][field].as_str().unwrap().to_owned();
    let pair = format!("{}:{}", login("keyId"), login("secret"));
    let accounts = format!("{}/v2/projects/{}/serviceaccounts", iam.url(), iam.project());

    let (status, document) = ask(&pair, "GET", &accounts);
    assert_eq!((status.as_str(), &document["nextPageToken"]), ("200", &json!("")), "{document}");
    let (status, document) = ask(&pair, "POST", &format!("{accounts}/{id}/keys"));
    assert_eq!((status.as_str(), &document["code"]), ("403", &json!(403)), "{document}");
    let (status, document) = ask(&format!("{}:wrong", login("keyId")), "GET", &accounts);
    assert_eq!((status.as_str(), &document["code"]), ("401", &json!(401)), "{document}");
    // Switched off it is worth nothing from the next call on; the same key still gets tokens.
    assert_eq!(library(&iam, &["basic", iam.project(), id, "off"])["basic"], false);
    assert_eq!(ask(&pair, "GET", &accounts).0, "401");
    assert_eq!(library(&iam, &["basic", iam.project(), id, "on"])["basic"], true);
    assert_eq!(ask(&pair, "GET", &accounts).0, "200");
    let by_password = iam.requests().unwrap();
    let by_password = by_password.iter().filter(|request| request.raw["auth"] == "basic");
    assert_eq!(by_password.filter(|request| request.caller == made["email"].as_str().unwrap()).count(), 3);
    passed("curl (basic auth)", &curl_version().unwrap(), "accounts.list, keys.create");
}
