//! The credentials file without a key, as `federation` publishes it.

use keywheel_testbed::iam::IamOptions;
use serde_json::{Value, json};

use super::{bind, passed, script};
use crate::cluster::{Cluster, POD};
use crate::operator::{Case, Person, World, start_iam};

/// A pod's token, and nothing else that is secret.
pub fn federated() {
    let cluster = Cluster::new();
    let args = vec!["--identity-provider".to_owned(), cluster.provider()];
    let iam = start_iam(IamOptions { args, ..IamOptions::default() });
    let number = Person::at(&iam).read_project()["projectNumber"].as_str().unwrap().to_owned();
    let audience = Cluster::audience(&number);
    let token = cluster.projected(&audience);
    let case = Case::at(World::shared(), "keyless", iam, &json!({}));
    let provider = audience.strip_prefix("//iam.googleapis.com/").unwrap();
    case.account(
        &json!({"federation": {"provider": provider, "configMapName": "keyless", "tokenFile": token}}),
    );
    case.ready("iamsa", "billing");
    bind(&case, &["roles/viewer"]);
    let member = format!("principal://{}/subject/{POD}", Cluster::pool(&number));
    let policy = json!({"bindings": [{"role": "roles/iam.workloadIdentityUser", "members": [member]}]});
    let set =
        case.person.call("POST", &format!("/{}:setIamPolicy", case.email()), &json!({ "policy": policy }));
    assert_eq!(set.0, 200, "{set:?}");

    let map = case.get("configmap", "keyless");
    let text = map["data"]["credentials.json"].as_str().unwrap();
    let file = case.file("credentials.json", text.as_bytes());
    // The project is named, or the client would ask Google whose the pool is.
    let project = case.iam().project();
    let environment =
        [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()), ("GOOGLE_CLOUD_PROJECT", project)];
    let told: Value = script("keyless.py", &[case.iam().url(), project], &environment);
    assert_eq!((&told["status"], &told["project"]), (&json!(200), &json!(project)), "{told}");
    let asked = case.requests();
    let asked = asked.iter().rfind(|request| request.operation == "projects.get").unwrap();
    assert_eq!(asked.caller, case.email(), "it speaks for the account");
    assert!(case.person.keys(&case.name).is_empty(), "no key was made");
    passed(
        "google-auth (external_account)",
        told["version"].as_str().unwrap(),
        "sts token, generateAccessToken",
    );
}
