//! Roles, and what they allow.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ACCOUNTS, ADMINS, MEMBERS, Vendor, path};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::access::a_new_account_may_do_nothing_even_in_its_own_project", nothing),
        trial("disruptive::access::managing_accounts_needs_an_administrator", managing),
        trial("disruptive::access::a_role_counts_in_its_project_and_the_organizations_everywhere", places),
        trial("disruptive::access::roles_and_the_callers_permissions_are_told", told),
    ]
}

/// Every call on accounts, keys and members.
fn calls(account: &str, key: &str, member: &str) -> Vec<(Method, String, Option<Value>)> {
    let get = |path: &str| (Method::GET, path.to_owned(), None);
    vec![
        get(ACCOUNTS),
        get(account),
        get(&format!("{account}/keys")),
        get(key),
        get(MEMBERS),
        get(member),
        (Method::POST, ACCOUNTS.to_owned(), Some(json!({}))),
        (Method::PATCH, account.to_owned(), Some(json!({"enableBasicAuth": true}))),
        (Method::POST, format!("{account}/keys"), None),
        (Method::POST, MEMBERS.to_owned(), Some(json!({"email": "a@b.c", "roles": ["roles/project.user"]}))),
        (Method::PATCH, member.to_owned(), Some(json!({"roles": ["roles/project.admin"]}))),
        (Method::DELETE, key.to_owned(), None),
        (Method::DELETE, member.to_owned(), None),
        (Method::DELETE, account.to_owned(), None),
    ]
}

/// How many of the calls only look.
const LOOKS: usize = 6;

/// An account with a key and a role, to be looked at and changed.
async fn victim(vendor: &Vendor) -> Vec<(Method, String, Option<Value>)> {
    let account = vendor.account("victim").await;
    let (key, _) = vendor.key(&account).await;
    let member = vendor.join(&account, "roles/project.user").await;
    calls(&path(&account), &path(&key["key"]), &path(&member))
}

async fn nothing() {
    let vendor = Vendor::start(&[]).await;
    let (_, bearer) = vendor.caller(None).await;
    for (method, path, body) in victim(&vendor).await {
        let text = vendor.iam.call_as(&bearer, method.clone(), &path, body.clone()).await.refused(403);
        assert!(text.starts_with("missing permission "), "{text}");
        vendor.iam.call_as("", method, &path, body).await.refused(401);
    }
    vendor.iam.call_as(&bearer, Method::GET, ADMINS, None).await.refused(403);
    vendor.iam.call_as(&bearer, Method::GET, "/v2/projects/-/members", None).await.refused(403);
    let own = vendor.iam.call_as(&bearer, Method::GET, "/v2/projects/p1/permissions", None).await.ok();
    assert_eq!(own, json!({"permissions": [], "nextPageToken": ""}));
    // What is not there is forbidden all the same; a project that is not there is missing.
    let ask = async |path: &str| vendor.iam.call_as(&bearer, Method::GET, path, None).await;
    ask(&format!("{ACCOUNTS}/c18ppqmoiv9008epsv1g")).await.refused(403);
    ask("/v2/projects/p9/serviceaccounts").await.refused(404);
    ask("/v2/organizations/other/members").await.refused(404);
}

async fn managing() {
    let vendor = Vendor::start(&[]).await;
    for role in ["roles/project.user", "roles/project.developer"] {
        let (_, bearer) = vendor.caller(Some(role)).await;
        for (number, (method, path, body)) in victim(&vendor).await.into_iter().enumerate() {
            let answer = vendor.iam.call_as(&bearer, method, &path, body).await;
            if number < LOOKS {
                answer.ok();
            } else {
                answer.refused(403);
            }
        }
    }
    let (_, bearer) = vendor.caller(Some("roles/project.admin")).await;
    for (method, path, body) in victim(&vendor).await {
        vendor.iam.call_as(&bearer, method, &path, body).await.ok();
    }
    vendor.iam.call_as(&bearer, Method::GET, ADMINS, None).await.refused(403);
}

async fn places() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let (account, bearer) = vendor.caller(Some("roles/project.admin")).await;
    let other = "/v2/projects/p2/serviceaccounts";
    let ask = async |path: &str| vendor.iam.call_as(&bearer, Method::GET, path, None).await;
    ask(ACCOUNTS).await.ok();
    ask(other).await.refused(403);
    // In another project than its own.
    let body = json!({"email": account["email"], "roles": ["roles/project.user"]});
    let there = vendor.post("/v2/projects/p2/members", body).await.ok();
    ask(other).await.ok();
    vendor.delete(&path(&there)).await.ok();
    ask(other).await.refused(403);
    // Above all projects.
    let body = json!({"email": account["email"], "roles": ["roles/organization.admin"]});
    let above = vendor.post(ADMINS, body).await.ok();
    ask(other).await.ok();
    ask(ADMINS).await.ok();
    vendor.delete(&path(&above)).await.ok();
    ask(other).await.refused(403);
    ask(ACCOUNTS).await.ok();
}

async fn told() {
    let vendor = Vendor::start(&[]).await;
    let roles = vendor.get("/v2/roles").await.ok();
    let names: Vec<&str> =
        roles["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["roles/organization.admin", "roles/project.admin", "roles/project.developer", "roles/project.user"]
    );
    for role in roles["roles"].as_array().unwrap() {
        let fields: Vec<&str> = role.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["description", "displayName", "name", "permissions"]);
        assert_eq!(vendor.get(&path(role)).await.ok(), *role);
        // The caller's permissions are those of its role.
        let name = role["name"].as_str().unwrap();
        if name.starts_with("roles/project.") {
            let (_, bearer) = vendor.caller(Some(name)).await;
            let own =
                vendor.iam.call_as(&bearer, Method::GET, "/v2/projects/p1/permissions", None).await.ok();
            assert_eq!(own["permissions"], role["permissions"], "{name}");
            let above = "/v2/organizations/keywheel/permissions";
            let above = vendor.iam.call_as(&bearer, Method::GET, above, None).await.ok();
            assert_eq!(above["permissions"], json!([]));
        }
    }
    let own = vendor.get("/v2/organizations/keywheel/permissions").await.ok();
    assert!(own["permissions"].as_array().unwrap().contains(&json!("organization.update")), "{own}");
    vendor.get("/v2/roles/project.owner").await.refused(404);
    vendor.get("/v2/roles?pageSize=3").await.ok()["nextPageToken"]
        .as_str()
        .filter(|t| !t.is_empty())
        .unwrap();
}
