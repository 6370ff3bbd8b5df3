//! The key methods, by clients that were written for Google.

use keywheel_testbed::iam::IamOptions;
use serde_json::json;

use super::{bind, mounted, passed, script};
use crate::operator::{Case, World, start_iam};

/// With the credential from the Secret, whose account may administer keys.
pub fn every_method() {
    let case = Case::at(World::shared(), "apiclient", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({}));
    bind(&case, &["roles/iam.serviceAccountKeyAdmin"]);
    let file = mounted(&case);
    let iam = case.iam();
    let email = case.email();
    let arguments = [file.to_str().unwrap(), iam.url(), iam.project(), &email];
    let told = script("api_client.py", &arguments, &[]);
    let calls: Vec<&str> =
        told["calls"].as_array().unwrap().iter().filter_map(|call| call.as_str()).collect();
    assert_eq!(calls, ["create", "delete", "disable", "enable", "get", "list", "upload"]);
    passed(
        "google-api-python-client",
        told["version"].as_str().unwrap(),
        &format!("keys: {}", calls.join(", ")),
    );
}
