//! Starting, stopping, and refusing to start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use keywheel_testbed::process::Scratch;
use libtest_mimic::Trial;
use serde_json::json;

use super::iam::{Iam, PROJECT, email, keywheel_iam};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("startup::the_admin_key_is_private_and_made_once", admin_key),
        trial("startup::a_lost_admin_key_is_replaced", lost_admin_key),
        trial("startup::a_foreign_admin_key_is_refused", foreign_admin_key),
        trial("startup::a_data_file_and_an_address_have_one_server", one_server),
        trial("startup::bad_settings_are_refused", bad_settings),
        trial("startup::sigterm_ends_it_cleanly", sigterm),
        trial("startup::a_page_shows_keys_and_requests_if_it_was_asked_for", page),
    ]
}

async fn admin_key() {
    let iam = Iam::start(&[]);
    let mode = fs::metadata(iam.file("admin.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(iam.admin().client_email(), email("keywheel-admin"));
    assert_eq!(iam.admin().token_uri(), format!("{}/token", iam.url));
    let text = fs::read_to_string(iam.file("address")).unwrap();
    assert_eq!(text, iam.url);
    let before = fs::read(iam.file("admin.json")).unwrap();
    let iam = iam.kill_and_restart();
    assert_eq!(fs::read(iam.file("admin.json")).unwrap(), before);
    iam.exchange(&iam.admin()).await.ok();
}

async fn lost_admin_key() {
    let iam = Iam::start(&[]);
    let old = iam.admin();
    fs::remove_file(iam.file("admin.json")).unwrap();
    let iam = iam.kill_and_restart();
    assert_ne!(iam.admin().private_key_id(), old.private_key_id());
    assert_eq!(iam.admin().client_id(), old.client_id(), "the account is the same");
    iam.exchange(&iam.admin()).await.ok();
    let keys = format!("/v1/projects/{PROJECT}/serviceAccounts/{}/keys", email("keywheel-admin"));
    let keys = format!("{keys}?keyTypes=USER_MANAGED");
    assert_eq!(iam.get(&keys).await.ok()["keys"].as_array().unwrap().len(), 2);
}

/// What a browser gets.
async fn browse(iam: &Iam) -> (u16, String, String) {
    let client = reqwest::Client::new();
    let answer = client.get(&iam.url).header("accept", "text/html,*/*").send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

async fn page() {
    let iam = Iam::start(&["--page"]);
    iam.account("billing").await;
    let (key, file) = iam.key(&email("billing")).await;
    let (status, kind, text) = browse(&iam).await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=UTF-8"));
    let row = format!("<code>{}</code>", file.private_key_id());
    assert!(text.contains(&row) && text.contains("<td class=\"active\">active</td>"), "{text}");
    assert!(text.contains("<td>keys.create</td>"), "{text}");
    iam.post(&format!("{}:disable", super::iam::key_path(&key)), serde_json::json!({})).await.ok();
    assert!(browse(&iam).await.2.contains("<td class=\"disabled\">disabled</td>"));
    assert_eq!(browse(&Iam::start(&[])).await.0, 404, "off unless it was asked for");
}

/// Runs a server that must not come up; what it said.
fn refused(arguments: &[&str]) -> String {
    let output = keywheel_iam()
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

async fn foreign_admin_key() {
    let iam = Iam::start(&[]);
    let folder = Scratch::new("wire").unwrap();
    let (data, file) = (folder.path().join("other.redb"), iam.file("admin.json"));
    let text = refused(&[
        "--project",
        PROJECT,
        "--data",
        data.to_str().unwrap(),
        "--admin-key-file",
        file.to_str().unwrap(),
    ]);
    assert!(text.contains(iam.admin().private_key_id()) && text.contains("remove the file"), "{text}");
}

async fn one_server() {
    let iam = Iam::start(&[]);
    let text = refused(&["--data", iam.file("iam.redb").to_str().unwrap()]);
    assert!(text.contains("iam.redb") && text.contains("already open"), "{text}");
    // Nor does an address; what the system said is in the message.
    let folder = Scratch::new("wire").unwrap();
    let data = folder.path().join("iam.redb");
    let output = keywheel_iam()
        .args(["--listen", iam.url.trim_start_matches("http://"), "--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("127.0.0.1:") && text.contains("Address already in use"), "{text}");
    iam.account("billing").await;
}

async fn bad_settings() {
    let folder = Scratch::new("wire").unwrap();
    let data = folder.path().join("iam.redb");
    let data = data.to_str().unwrap();
    for (flags, names) in [
        (["--project", "Bad_Project"], "Bad_Project"),
        (["--key-limit", "0"], "key limit"),
        (["--external-url", "ftp://x"], "ftp://x"),
        (["--key-activation-delay=-5s", "--strict"], "activation delay"),
    ] {
        let text = refused(&[&["--data", data], &flags[..]].concat());
        assert!(text.contains(names), "{text}");
    }
    assert!(!folder.path().join("iam.redb").exists(), "nothing is made before the settings are checked");
}

async fn sigterm() {
    let iam = Iam::start(&[]);
    // The connection of this client stays open, idle, and must not hold the server up.
    iam.post("/v1/projects/p1/serviceAccounts", json!({"accountId": "billing"})).await.ok();
    let (status, took) = iam.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    assert!(iam.stderr().contains("stopped"));
}
