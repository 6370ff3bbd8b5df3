//! The same for the API of Disruptive Technologies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_testbed::iam::IamServer;
use serde_json::{Value, json};

use super::routes::{Bench, JWT_BEARER, asks};
use crate::wire::disruptive::vendor::Login;

/// Paths of the API; `@` stands for a segment, `{project}` for the project that there is.
const ROUTES: &[&str] = &[
    "oauth2/token",
    "v2/roles",
    "v2/roles/@",
    "v2/projects/@",
    "v2/projects/{project}/permissions",
    "v2/projects/{project}/members",
    "v2/projects/{project}/members/@",
    "v2/projects/{project}/members/@:getInviteUrl",
    "v2/projects/-/members:batchCreate",
    "v2/projects/-/members:batchDelete",
    "v2/organizations/keywheel/permissions",
    "v2/organizations/keywheel/members",
    "v2/organizations/keywheel/members/@",
    "v2/projects/{project}/serviceaccounts",
    "v2/projects/{project}/serviceaccounts/@",
    "v2/projects/{project}/serviceaccounts/@/keys",
    "v2/projects/{project}/serviceaccounts/@/keys/@",
    "v2/@/@/@",
    "v2/projects/-/members",
    "v2/projects/@/serviceaccounts/@/keys/@",
    "v2/projects/@/members/@",
    "v2/organizations/@/members/@",
];

/// A token of the administrator in the API of Disruptive Technologies, and the login of an account that may be lost.
async fn vendors(iam: &IamServer, http: &reqwest::Client) -> (String, Login) {
    let base = format!("{}/v2/projects/{}", iam.url(), iam.project());
    let form = [
        ("grant_type", JWT_BEARER.to_owned()),
        ("assertion", Login::read(&iam.disruptive_admin_key_file()).assertion(iam.url())),
    ];
    let granted = http.post(format!("{}/oauth2/token", iam.url())).form(&form);
    let granted: Value = granted.send().await.unwrap().json().await.unwrap();
    let bearer = granted["access_token"].as_str().unwrap().to_owned();
    let post = async |path: &str, body: Value| -> Value {
        let request = http.post(format!("{base}/{path}")).bearer_auth(&bearer).json(&body);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let account = post("serviceaccounts", json!({"enableBasicAuth": true})).await;
    let email = account["email"].as_str().unwrap().to_owned();
    post("members", json!({"email": email, "roles": ["roles/project.admin"]})).await;
    let id = email.split('@').next().unwrap();
    let key = post(&format!("serviceaccounts/{id}/keys"), json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let login = Login { key_id: text(&key["key"]["id"]), secret: text(&key["secret"]), email };
    (bearer, login)
}

pub fn run() {
    // Unknown fields would keep most inputs from the methods.
    let bench = Bench::start(&["--page", "--strict=false"]);
    let iam = &bench.iam;
    let (bearer, fuzzed) = bench.runtime.block_on(vendors(iam, &bench.http));
    let segments = ["keywheel", "-", iam.project(), fuzzed.account_id(), &fuzzed.key_id];
    let logins = vec![
        format!("Bearer {bearer}"),
        format!("Basic {}", STANDARD.encode(format!("{}:{}", fuzzed.key_id, fuzzed.secret))),
    ];
    let assertion = fuzzed.assertion(iam.url());
    let project = format!("projects/{}", iam.project());
    let member =
        json!({"project": project, "email": "somebody@example.com", "roles": ["roles/project.user"]});
    let bodies = [
        json!({"displayName": "a", "enableBasicAuth": true}),
        json!({ "members": [member] }),
        json!({"names": [format!("{project}/members/1")]}),
        json!({"email": "somebody@example.com", "roles": []}),
        member,
    ];
    // Most of a path is right, so that the rest of it is looked at.
    let routes = ROUTES.iter().map(|route| route.replace("{project}", iam.project())).collect();
    let asks = asks(routes, segments.map(str::to_owned).to_vec(), logins, &[assertion], &bodies);
    super::fuzz("the vendor's routes", 4096, &asks, |ask| bench.check(&ask));
    // The inputs are near enough to come through to the methods.
    let requests = iam.requests().unwrap();
    let good = requests.iter().filter(|request| request.status == Some(200));
    let mut methods: Vec<&str> = good.map(|request| request.operation.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    assert!(methods.len() > 10, "{methods:?}");
}
