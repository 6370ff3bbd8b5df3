//! The methods of keys.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{Vendor, is_id, path};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::keys::a_secret_is_shown_once_and_outside_of_its_key", shown_once),
        trial("disruptive::keys::a_key_is_deleted_and_nothing_else", deleted),
        trial("disruptive::keys::there_is_nothing_but_deletion", nothing_else),
        trial("disruptive::keys::a_new_one_can_be_missing_from_lists", late),
    ]
}

async fn shown_once() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let (made, login) = vendor.key(&account).await;
    assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["key", "secret"]);
    let key = &made["key"];
    assert_eq!(key.as_object().unwrap().keys().collect::<Vec<_>>(), ["createTime", "id", "name"]);
    assert!(is_id(&login.key_id), "{key}");
    assert_eq!(key["name"], format!("{}/keys/{}", account["name"].as_str().unwrap(), login.key_id));
    let hexadecimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    assert!(login.secret.len() == 32 && hexadecimal(&login.secret), "{}", login.secret);
    // Bare, and without the secret.
    assert_eq!(vendor.get(&path(key)).await.ok(), *key);
    let (second, other) = vendor.key(&account).await;
    assert_ne!(other.secret, login.secret);
    let listed = vendor.get(&format!("{}/keys", path(&account))).await.ok();
    let mut expected = vec![key.clone(), second["key"].clone()];
    expected.sort_by_key(|key| key["id"].as_str().unwrap().to_owned());
    assert_eq!(listed["keys"], Value::from(expected));
}

async fn deleted() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let (one, first) = vendor.key(&account).await;
    let (_, second) = vendor.key(&account).await;
    let bearer = first.bearer(&vendor.iam).await;
    assert_eq!(vendor.delete(&path(&one["key"])).await.ok(), json!({}));
    vendor.get(&path(&one["key"])).await.refused(404);
    vendor.delete(&path(&one["key"])).await.refused(404);
    first.exchange(&vendor.iam).await.oauth_error(400, "invalid_grant", "");
    second.exchange(&vendor.iam).await.ok();
    // What it has earned lives on until it ends.
    vendor.iam.call_as(&bearer, Method::GET, "/v2/roles", None).await.ok();
    // A key is found on its own account only.
    let other = vendor.account("other").await;
    vendor.get(&format!("{}/keys/{}", path(&other), second.key_id)).await.refused(404);
    vendor.delete(&format!("{}/keys/{}", path(&other), second.key_id)).await.refused(404);
    second.exchange(&vendor.iam).await.ok();
}

async fn nothing_else() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let (made, _) = vendor.key(&account).await;
    let key = path(&made["key"]);
    for (method, path) in [
        (Method::POST, format!("{key}:disable")),
        (Method::PATCH, key.clone()),
        (Method::PUT, key.clone()),
        (Method::POST, format!("{}/keys:upload", path(&account))),
    ] {
        vendor.call(method, &path, Some(json!({}))).await.refused(404);
    }
}

async fn late() {
    let vendor = Vendor::start(&["--enable-fault-api", "--key-list-delay", "10s"]).await;
    let account = vendor.account("billing").await;
    let (made, login) = vendor.key(&account).await;
    let keys = format!("{}/keys", path(&account));
    assert_eq!(vendor.get(&keys).await.ok()["keys"], json!([]));
    login.exchange(&vendor.iam).await.ok();
    vendor.iam.put("/settings", json!({"clockOffset": "11s"})).await.ok();
    assert_eq!(vendor.get(&keys).await.ok()["keys"], json!([made["key"]]));
}
