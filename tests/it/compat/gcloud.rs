//! The command line of Google Cloud, where it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use keywheel::credential::{Expiry, RsaKeyPair, self_signed};
use keywheel_testbed::iam::{IamOptions, IamServer};
use keywheel_testbed::process::Scratch;
use serde_json::{Value, json};

use super::{bind, mounted, passed, told};
use crate::operator::{Case, World, start_iam};

pub const TRIALS: &[(&str, fn())] = &[
    ("compat::gcloud_works_with_the_file_from_the_secret_and_with_pkcs12", everything),
    ("compat::gcloud_logs_in_with_the_pkcs12_file_of_every_key_of_a_rotation", rotation),
];

/// gcloud with a configuration of its own, whose endpoints are the server's.
struct Gcloud<'a> {
    folder: &'a Path,
    iam: &'a IamServer,
}

impl Gcloud<'_> {
    fn run(&self, words: &[&str]) -> String {
        let endpoint = format!("{}/", self.iam.url());
        let mut command = Command::new("gcloud");
        command.args(words).arg("--quiet").current_dir(self.folder);
        command.env("CLOUDSDK_CONFIG", self.folder.join("config"));
        command.env("CLOUDSDK_CORE_PROJECT", self.iam.project());
        command.env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1");
        command.env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1");
        command.env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1");
        // A PKCS#12 file does not say where its tokens come from.
        command.env("CLOUDSDK_AUTH_TOKEN_HOST", format!("{}/token", self.iam.url()));
        for api in ["IAM", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE"] {
            command.env(format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), &endpoint);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "gcloud {words:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let text = self.run(&[words, &["--format=json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("gcloud {words:?}: {error}: {text}"))
    }

    fn keys(&self, words: &[&str], email: &str) -> Value {
        self.json(&[&["iam", "service-accounts", "keys"], words, &["--iam-account", email]].concat())
    }
}

fn everything() {
    let case = Case::at(World::shared(), "gcloud", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({}));
    bind(&case, &["roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin", "roles/owner"]);
    let (folder, email) = (Scratch::new("compat").unwrap(), case.email());
    let file = mounted(&case);
    let gcloud = Gcloud { folder: folder.path(), iam: case.iam() };
    gcloud.run(&["auth", "activate-service-account", "--key-file", file.to_str().unwrap()]);
    let accounts = gcloud.json(&["iam", "service-accounts", "list"]);
    assert!(accounts.as_array().unwrap().iter().any(|account| account["email"] == email.as_str()));

    gcloud.keys(&["create", "second.p12", "--key-file-type=p12"], &email);
    gcloud.run(&["auth", "activate-service-account", &email, "--key-file=second.p12"]);
    assert!(gcloud.run(&["auth", "print-access-token", &email]).trim().len() > 20);
    let before = gcloud.keys(&["list", "--managed-by=user"], &email);
    gcloud.keys(&["create", "third.json"], &email);
    let made: Value = serde_json::from_slice(&fs::read(folder.path().join("third.json")).unwrap()).unwrap();
    let id = made["private_key_id"].as_str().unwrap();
    gcloud.keys(&["disable", id], &email);
    let shown = gcloud.keys(&["list", "--managed-by=user"], &email);
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), before.as_array().unwrap().len() + 1);
    let name = |key: &Value| key["name"].as_str().is_some_and(|name| name.ends_with(id));
    assert_eq!(shown.iter().find(|key| name(key)).unwrap()["disabled"], true);
    gcloud.keys(&["enable", id], &email);
    gcloud.run(&[
        "beta",
        "iam",
        "service-accounts",
        "keys",
        "get-public-key",
        id,
        "--iam-account",
        &email,
        "--output-file=public.pem",
    ]);
    let public = fs::read_to_string(folder.path().join("public.pem")).unwrap();
    assert!(public.starts_with("-----BEGIN CERTIFICATE-----"), "{public}");
    gcloud.keys(&["delete", id], &email);

    let pair = RsaKeyPair::generate_2048().unwrap();
    let certificate = self_signed(&pair, "unused", jiff::Timestamp::now(), Expiry::Never).unwrap();
    fs::write(folder.path().join("uploaded.pem"), certificate).unwrap();
    let uploaded = gcloud.keys(&["upload", "uploaded.pem"], &email);
    assert_eq!(uploaded["keyOrigin"], "USER_PROVIDED");
    let member = format!("serviceAccount:{email}");
    let project = case.iam().project();
    for verb in ["add-iam-policy-binding", "remove-iam-policy-binding"] {
        let policy = gcloud.json(&["projects", verb, project, "--member", &member, "--role", "roles/viewer"]);
        assert_eq!(policy.to_string().contains("roles/viewer"), verb.starts_with("add"), "{policy}");
    }
    let version = gcloud.json(&["version"]);
    let version = version["Google Cloud SDK"].as_str().unwrap().to_owned();
    let calls = "activate (json, p12), accounts list, keys list, create, disable, enable, get-public-key, upload, \
                 delete, project bindings";
    passed("gcloud", &version, calls);
}

/// The Secret holds the PKCS#12 file beside the key that a repair is made from.
fn rotation() {
    let case = Case::at(World::shared(), "pkcs12", start_iam(IamOptions::default()), &json!({}));
    let entries = json!([
        {"key": "key.p12", "format": "Pkcs12"}, {"key": "password", "format": "Pkcs12Password"},
        {"key": "key.pem", "format": "PrivateKeyPem"},
    ]);
    case.settled(&json!({"secret": {"entries": entries}, "rotation": {"overlap": "1h"}}));
    let (folder, email) = (Scratch::new("compat").unwrap(), case.email());
    let gcloud = Gcloud { folder: folder.path(), iam: case.iam() };
    let logs_in = |name: &str, data: &BTreeMap<String, Vec<u8>>| {
        fs::write(folder.path().join(name), &data["key.p12"]).unwrap();
        fs::write(folder.path().join("password"), &data["password"]).unwrap();
        let file = format!("--key-file={name}");
        gcloud.run(&["auth", "activate-service-account", &email, &file, "--password-file=password"]);
        gcloud.run(&["auth", "print-access-token", &email]).trim().len() > 20
    };
    let (first, old) = (case.active("billing"), case.data("billing"));
    assert!(logs_in("old.p12", &old));
    let now = jiff::Timestamp::now().to_string();
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {"keywheel.dev/rotate-at": now}}}));
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    let new = case.data("billing");
    assert!(new["key.p12"] != old["key.p12"] && logs_in("new.p12", &new) && logs_in("old.p12", &old));
    // Somebody damages a part of it: it is made anew, and no key is.
    let second = case.active("billing");
    case.patch("secret", "billing", &json!({"data": {"password": null}}));
    case.when("secret", "billing", "the password again", |secret| secret["data"]["password"].is_string());
    assert!(logs_in("mended.p12", &case.data("billing")));
    assert_eq!((case.active("billing"), case.count("keys.create")), (second, 2));
    let version = gcloud.json(&["version"])["Google Cloud SDK"].as_str().unwrap().to_owned();
    passed("gcloud (PKCS#12 rotation)", &version, "activate with the file before and after a rotation");
}
