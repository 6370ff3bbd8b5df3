//! The methods of accounts.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ACCOUNTS, MEMBERS, Vendor, id, is_id, path};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::accounts::an_account_is_made_shown_changed_and_deleted", life),
        trial("disruptive::accounts::every_success_is_200_with_a_document", successes),
        trial("disruptive::accounts::pages_are_complete_and_any_token_is_taken", pages),
        trial("disruptive::accounts::malformed_requests_are_refused", malformed),
        trial("disruptive::accounts::lenient_servers_take_unknown_fields", lenient),
        trial("disruptive::accounts::what_is_not_built_says_so_and_googles_paths_stay_googles", unbuilt),
        trial("disruptive::accounts::a_new_one_can_be_late", late),
    ]
}

async fn life() {
    let vendor = Vendor::start(&[]).await;
    let made = vendor.post(ACCOUNTS, json!({"displayName": "Billing", "enableBasicAuth": true})).await.ok();
    let fields: Vec<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["createTime", "displayName", "email", "enableBasicAuth", "name", "updateTime"]);
    assert!(is_id(&id(&made)), "{made}");
    assert_eq!(made["name"], format!("projects/p1/serviceaccounts/{}", id(&made)));
    assert_eq!(made["email"], format!("{}@p1.serviceaccount.d21s.com", id(&made)));
    assert_eq!((&made["displayName"], &made["enableBasicAuth"]), (&json!("Billing"), &json!(true)));
    assert_eq!(made["createTime"], made["updateTime"]);
    made["createTime"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(vendor.get(&path(&made)).await.ok(), made);

    // One field at a time; what was read can be sent back.
    let renamed = vendor.patch(&path(&made), json!({"displayName": "New"})).await.ok();
    assert_eq!((&renamed["displayName"], &renamed["enableBasicAuth"]), (&json!("New"), &json!(true)));
    assert_eq!(renamed["createTime"], made["createTime"]);
    assert!(renamed["updateTime"].as_str() > made["updateTime"].as_str(), "{renamed}");
    let off = vendor.patch(&path(&made), json!({"enableBasicAuth": false})).await.ok();
    assert_eq!((&off["displayName"], &off["enableBasicAuth"]), (&json!("New"), &json!(false)));
    assert_eq!(vendor.patch(&path(&made), off.clone()).await.ok(), off, "nothing changed");
    assert_eq!(vendor.patch(&path(&made), json!({"displayName": ""})).await.ok()["displayName"], "");

    // Nothing is left of it: not its keys, not its memberships.
    let (key, login) = vendor.key(&made).await;
    let member = vendor.join(&made, "roles/project.user").await;
    assert_eq!(vendor.delete(&path(&made)).await.ok(), json!({}));
    for gone in [&made, &key["key"], &member] {
        vendor.get(&path(gone)).await.refused(404);
    }
    vendor.delete(&path(&made)).await.refused(404);
    assert_eq!(vendor.get(MEMBERS).await.ok()["members"], json!([]));
    login.exchange(&vendor.iam).await.oauth_error(400, "invalid_grant", "");
}

async fn successes() {
    let vendor = Vendor::start(&[]).await;
    // No body at all, which the documentation allows.
    let answer = vendor.call(Method::POST, ACCOUNTS, None).await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    let account = answer.ok();
    // What is empty is said, not left out.
    assert_eq!((&account["displayName"], &account["enableBasicAuth"]), (&json!(""), &json!(false)));
    let at = path(&account);
    let keys = vendor.get(&format!("{at}/keys")).await.ok();
    assert_eq!(keys, json!({"keys": [], "nextPageToken": ""}));
    let (key, _) = vendor.key(&account).await;
    let member = vendor.join(&account, "roles/project.user").await;
    for list in [ACCOUNTS, MEMBERS, "/v2/roles", "/v2/projects/p1/permissions", "/v2/projects/-/members"] {
        assert_eq!(vendor.get(list).await.ok()["nextPageToken"], "", "{list}");
    }
    for doomed in [&member, &key["key"], &account] {
        assert_eq!(vendor.delete(&path(doomed)).await.ok(), json!({}));
    }
}

fn ids(list: &Value) -> Vec<String> {
    list["serviceAccounts"].as_array().unwrap().iter().map(id).collect()
}

async fn pages() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let mut expected = ids(&vendor.get(ACCOUNTS).await.ok());
    assert_eq!(expected.len(), 1, "the administrator");
    for number in 0..5 {
        expected.push(id(&vendor.account(&format!("account {number}")).await));
    }
    vendor.post("/v2/projects/p2/serviceaccounts", json!({})).await.ok();
    expected.sort();
    assert_eq!(ids(&vendor.get(ACCOUNTS).await.ok()), expected);
    let first = vendor.get(&format!("{ACCOUNTS}?pageSize=4&pageToken=")).await.ok();
    let token = first["nextPageToken"].as_str().unwrap();
    let second = vendor.get(&format!("{ACCOUNTS}?pageSize=4&pageToken={token}")).await.ok();
    assert_eq!([ids(&first), ids(&second)].concat(), expected);
    assert_eq!(second["nextPageToken"], "");
    // A full last page has no successor.
    assert_eq!(vendor.get(&format!("{ACCOUNTS}?pageSize=6")).await.ok()["nextPageToken"], "");
    // The vendor's library carries the token of one list into all others.
    let p2 = vendor.get(&format!("/v2/projects/p2/serviceaccounts?pageToken={token}")).await.ok();
    assert_eq!(ids(&p2).len(), 1);
    assert_eq!(ids(&vendor.get(&format!("{ACCOUNTS}?pageToken=nonsense!")).await.ok()), expected);
    let account = vendor.account("with keys").await;
    let (key, _) = vendor.key(&account).await;
    let keys = vendor.get(&format!("{}/keys?pageToken={token}", path(&account))).await.ok();
    assert_eq!(keys["keys"], json!([key["key"]]));
    for bad in ["pageSize=-1", "pageSize=many"] {
        vendor.get(&format!("{ACCOUNTS}?{bad}")).await.refused(400);
    }
}

async fn malformed() {
    let vendor = Vendor::start(&[]).await;
    for body in
        [json!({"displayName": 5}), json!({"enableBasicAuth": "yes"}), json!([]), json!({"colour": "red"})]
    {
        vendor.post(ACCOUNTS, body.clone()).await.refused(400);
        let account = vendor.account("billing").await;
        vendor.patch(&path(&account), body).await.refused(400);
    }
    vendor.post(&format!("{ACCOUNTS}?colour=red"), json!({})).await.refused(400);
    let text = vendor.post(ACCOUNTS, json!({"displayName": "x".repeat(1024 * 1024)})).await.refused(400);
    assert!(text.contains("too long"), "{text}");
    let account = vendor.account("billing").await;
    vendor.post(&format!("{}/keys", path(&account)), json!({"expires": "never"})).await.refused(400);
}

async fn lenient() {
    let vendor = Vendor::start(&["--strict", "false"]).await;
    vendor.post(&format!("{ACCOUNTS}?colour=red"), json!({"colour": "red"})).await.ok();
}

async fn unbuilt() {
    let vendor = Vendor::start(&[]).await;
    for missing in ["/v2/projects", "/v2/projects/p1", "/v2/organizations", "/v2/projects/p1/devices"] {
        assert!(vendor.get(missing).await.refused(501).contains("not built"), "{missing}");
    }
    for nowhere in ["/v2", "/v2/projects/p1/serviceaccount/x", "/v2/nothing", "/v2/folders/x"] {
        vendor.get(nowhere).await.refused(404);
    }
    let constraint = "/v2/projects/p1/policies/iam.disableServiceAccountCreation:getEffectivePolicy";
    vendor.iam.get(constraint).await.ok();
    vendor.iam.get("/v2/projects/p1/constraints").await.error(501, "UNIMPLEMENTED");
    vendor.iam.get("/oauth2/token").await.error(404, "NOT_FOUND");
    vendor.iam.get("/oauth2/v1/certs").await.ok();
}

/// At first it is sometimes missing and sometimes somebody else's, as in Google's API.
async fn late() {
    let vendor = Vendor::start(&["--enable-fault-api", "--account-visibility-delay", "10s"]).await;
    let account = vendor.account("billing").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(vendor.get(&path(&account)).await.status);
    }
    seen.sort_unstable();
    assert_eq!(seen, [403, 403, 404, 404]);
    assert!(!ids(&vendor.get(ACCOUNTS).await.ok()).contains(&id(&account)));
    vendor.iam.put("/settings", json!({"clockOffset": "11s"})).await.ok();
    vendor.get(&path(&account)).await.ok();
    assert!(ids(&vendor.get(ACCOUNTS).await.ok()).contains(&id(&account)));
}
