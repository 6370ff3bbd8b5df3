//! The libraries that log in: google-auth, and Google's Rust client as a program that knows nothing of the operator.

use google_cloud_auth::credentials::service_account;
use google_cloud_iam_admin_v1::client::Iam;
use google_cloud_iam_admin_v1::model::list_service_account_keys_request::KeyType;
use keywheel_testbed::iam::IamOptions;
use keywheel_testbed::python::{Exchange, exchange};
use serde_json::json;

use super::{bind, mounted, passed, script};
use crate::operator::{Case, World, start_iam};

/// A token, and an id token that whoever holds the account's public keys believes.
pub fn google_auth() {
    let case = Case::at(World::shared(), "google-auth", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({"keySource": "Local"}));
    let file = mounted(&case);
    assert!(matches!(exchange(&file).unwrap(), Exchange::Accepted { .. }));
    let told = script("identity.py", &[file.to_str().unwrap()], &[]);
    assert_eq!(
        (told["issuer"].as_str(), told["key"].as_str()),
        (Some(&*case.email()), Some(&*case.active("billing")))
    );
    let calls = "refresh, verify_token by client_x509_cert_url";
    passed("google-auth", told["version"].as_str().unwrap(), calls);
}

pub fn rust_client() {
    let case = Case::at(World::shared(), "rust", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({}));
    bind(&case, &["roles/iam.serviceAccountKeyAdmin", "roles/iam.serviceAccountViewer"]);
    let key = serde_json::from_slice(case.data("billing").get("key.json").unwrap()).unwrap();
    let (url, email, active) = (case.iam().url().to_owned(), case.email(), case.active("billing"));
    let account = format!("projects/{}/serviceAccounts/{email}", case.iam().project());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let credentials = service_account::Builder::new(key).build().unwrap();
        let client = Iam::builder().with_endpoint(url).with_credentials(credentials).build().await.unwrap();
        let shown = client.get_service_account().set_name(account.clone()).send().await.unwrap();
        assert_eq!(shown.email, email);
        let listed = client
            .list_service_account_keys()
            .set_name(account.clone())
            .set_key_types([KeyType::UserManaged])
            .send()
            .await
            .unwrap();
        assert!(listed.keys.iter().any(|key| key.name.ends_with(&active)), "{listed:?}");
    });
    passed(
        "google-cloud-iam-admin-v1 (Rust)",
        &locked("google-cloud-iam-admin-v1"),
        "accounts.get, keys.list",
    );
}

/// The version that the lock file has.
fn locked(name: &str) -> String {
    let lock = include_str!("../../../Cargo.lock");
    let package = lock.split("[[package]]").find(|package| package.contains(&format!("name = \"{name}\"\n")));
    let line = package.unwrap().lines().find(|line| line.starts_with("version")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}
