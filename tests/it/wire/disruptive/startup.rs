//! The first administrator, what outlives the process, and what nobody gets to see.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use keywheel_testbed::process::Scratch;
use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ACCOUNTS, ADMINS, Login, MEMBERS, Vendor, exchange, path};
use crate::wire::iam::{Iam, PROJECT, keywheel_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::startup::the_admin_key_is_private_and_made_once", admin_key),
        trial("disruptive::startup::a_lost_admin_key_is_replaced", lost_admin_key),
        trial("disruptive::startup::a_foreign_admin_key_is_refused", foreign_admin_key),
        trial("disruptive::startup::everything_answered_survives_a_kill", survives),
        trial("disruptive::startup::no_secret_is_logged_and_the_data_file_is_its_owners", nothing_leaks),
        trial("disruptive::startup::the_page_shows_accounts_and_keys", page),
    ]
}

async fn admin_key() {
    let vendor = Vendor::start(&[]).await;
    let file = vendor.iam.file("disruptive.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    let read: Value = serde_json::from_slice(&before).unwrap();
    let account = &read["serviceAccount"];
    assert_eq!(account["tokenEndpoint"], format!("{}/oauth2/token", vendor.iam.url));
    assert_eq!(account["algorithm"], "HS256");
    let admins = vendor.get(ADMINS).await.ok();
    assert_eq!(admins["members"][0]["email"], account["email"]);
    assert_eq!(admins["members"].as_array().unwrap().len(), 1);
    let vendor = Vendor::of(vendor.iam.kill_and_restart()).await;
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(vendor.get(ADMINS).await.ok(), admins);
}

async fn lost_admin_key() {
    let vendor = Vendor::start(&[]).await;
    let old = Login::administrators(&vendor.iam);
    let accounts = vendor.get(ACCOUNTS).await.ok();
    fs::remove_file(vendor.iam.file("disruptive.json")).unwrap();
    let vendor = Vendor::of(vendor.iam.kill_and_restart()).await;
    let new = Login::administrators(&vendor.iam);
    assert_eq!(new.email, old.email, "the account is the same");
    assert_ne!(new.key_id, old.key_id);
    assert_eq!(vendor.get(ACCOUNTS).await.ok(), accounts);
    old.exchange(&vendor.iam).await.ok();
}

async fn foreign_admin_key() {
    let iam = Iam::start(&[]);
    let folder = Scratch::new("wire").unwrap();
    let (data, file) = (folder.path().join("other.redb"), iam.file("disruptive.json"));
    let output = keywheel_iam()
        .args(["--listen", "127.0.0.1:0", "--project", PROJECT, "--data", data.to_str().unwrap()])
        .args(["--disruptive-admin-key-file", file.to_str().unwrap()])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&Login::administrators(&iam).key_id) && text.contains("remove the file"), "{text}");
}

async fn survives() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.post(ACCOUNTS, json!({"displayName": "b", "enableBasicAuth": true})).await.ok();
    let member = vendor.join(&account, "roles/project.admin").await;
    let (kept, login) = vendor.key(&account).await;
    let (gone, lost) = vendor.key(&account).await;
    vendor.delete(&path(&gone["key"])).await.ok();
    let bearer = vendor.bearer.clone();

    let vendor = Vendor::of(vendor.iam.kill_and_restart()).await;
    let shown = vendor.iam.call_as(&bearer, Method::GET, &path(&account), None).await;
    assert_eq!(shown.ok(), account, "the access token is still known");
    assert_eq!(vendor.get(&path(&member)).await.ok(), member);
    let keys = vendor.get(&format!("{}/keys", path(&account))).await.ok();
    assert_eq!(keys["keys"], json!([kept["key"]]));
    vendor.basic(&login, ACCOUNTS).await.ok();
    login.exchange(&vendor.iam).await.ok();
    lost.exchange(&vendor.iam).await.oauth_error(400, "invalid_grant", "");
    vendor.delete(&path(&account)).await.ok();

    let vendor = Vendor::of(vendor.iam.kill_and_restart()).await;
    vendor.get(&path(&account)).await.refused(404);
    assert_eq!(vendor.get(MEMBERS).await.ok()["members"], json!([]));
    vendor.basic(&login, ACCOUNTS).await.refused(401);
}

async fn nothing_leaks() {
    let vendor = Vendor::start(&["--enable-fault-api", "--page"]).await;
    let account = vendor.post(ACCOUNTS, json!({"enableBasicAuth": true})).await.ok();
    let (_, login) = vendor.key(&account).await;
    let signed = login.assertion(&vendor.iam.url);
    let bearer = login.bearer(&vendor.iam).await;
    // Errors on the way of a secret, too.
    exchange(&vendor.iam, signed.get(..signed.len() - 6).unwrap()).await.oauth_error(
        400,
        "invalid_grant",
        "",
    );
    vendor.basic(&login, ACCOUNTS).await.refused(403);
    vendor.basic(&Login { key_id: "x".into(), ..login.clone() }, ACCOUNTS).await.refused(401);
    vendor.iam.call_as(&bearer, Method::GET, &format!("{ACCOUNTS}?access_token=hush-hush"), None).await;
    vendor
        .iam
        .put("/faults", json!({"operation": "disruptive.keys.create", "action": "apply_then_drop"}))
        .await
        .ok();
    let keys = format!("{}/keys", path(&account));
    assert!(vendor.iam.try_call_as(&vendor.bearer, Method::POST, &keys, None).await.is_err());

    let administrator = Login::administrators(&vendor.iam).secret;
    let pair = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("{}:{}", login.key_id, login.secret),
    );
    let mut secrets =
        vec![login.secret.clone(), administrator, pair, bearer, vendor.bearer.clone(), signed.clone()];
    secrets.extend(signed.split('.').skip(1).map(str::to_owned));
    secrets.push("hush-hush".to_owned());
    let (stderr, log) = (vendor.iam.stderr(), fs::read_to_string(vendor.iam.file("requests.jsonl")).unwrap());
    assert!(stderr.contains("disruptive.keys.create") && log.contains("disruptive.keys.create"));
    let shown = vendor.iam.ask(Method::GET, "/", |request| request.header("accept", "text/html")).await;
    let shown = shown.body.as_str().unwrap().to_owned();
    for secret in &secrets {
        let begin = secret.get(..6).unwrap();
        assert!(!stderr.contains(secret.as_str()), "{begin}... is in the log");
        assert!(!log.contains(secret.as_str()), "{begin}... is in the request log");
        assert!(!shown.contains(secret.as_str()), "{begin}... is on the page");
    }
    // The server has to know what it checks signatures with; nobody else may read it there. Tokens it need not know.
    let mode = |iam: &Iam| fs::metadata(iam.file("iam.redb")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&vendor.iam), 0o600);
    let data = fs::read(vendor.iam.file("iam.redb")).unwrap();
    let holds = |text: &str| data.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&login.key_id) && !holds(&vendor.bearer), "the token is stored");
    // One that an earlier version made for others as well.
    fs::set_permissions(vendor.iam.file("iam.redb"), fs::Permissions::from_mode(0o644)).unwrap();
    let iam = vendor.iam.kill_and_restart();
    assert_eq!(mode(&iam), 0o600);
}

async fn page() {
    let vendor = Vendor::start(&["--page"]).await;
    let account = vendor.account("<b>billing</b>").await;
    let (_, login) = vendor.key(&account).await;
    let shown = vendor.iam.ask(Method::GET, "/", |request| request.header("accept", "text/html")).await;
    let text = shown.body.as_str().unwrap();
    let table = text.split("<table id=\"disruptive\">").nth(1).unwrap().split("</table>").next().unwrap();
    let row = table.split("<tr>").find(|row| row.contains(&login.key_id)).unwrap();
    assert!(row.contains(&login.email) && row.contains("&lt;b&gt;billing"), "{row}");
    assert!(row.contains("<td class=\"active\">active</td>"), "{row}");
    assert!(!text.contains("<b>billing"), "{text}");
    assert!(text.contains("<td>disruptive.keys.create</td>"), "{text}");
}
