//! The methods of accounts.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email};
use super::trial;

const ACCOUNTS: &str = "/v1/projects/p1/serviceAccounts";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("accounts::an_account_is_made_shown_and_omits_defaults", made_and_shown),
        trial("accounts::a_taken_address_is_a_typed_conflict", conflict),
        trial("accounts::malformed_requests_are_refused", malformed),
        trial("accounts::lenient_servers_take_unknown_fields", lenient),
        trial("accounts::a_missing_account_is_404_or_403", missing),
        trial("accounts::unique_ids_and_encoded_addresses_find_accounts", lookups),
        trial("accounts::pages_are_complete_and_ordered", pages),
        trial("accounts::patch_needs_a_mask_and_answers_partially", patch),
        trial("accounts::put_takes_the_display_name_only", put),
        trial("accounts::disable_and_enable_are_idempotent", disable),
        trial("accounts::deleted_accounts_come_back_by_unique_id", undelete),
        trial("accounts::a_deleted_account_is_gone_for_good_after_30_days", purged),
        trial("accounts::what_is_not_built_says_so", unbuilt),
        trial("accounts::every_answer_has_the_servers_date", dates),
        trial("accounts::a_new_one_can_be_late", late),
    ]
}

async fn made_and_shown() {
    let iam = Iam::start(&[]);
    let body =
        json!({"accountId": "billing", "serviceAccount": {"displayName": "Billing", "description": "d"}});
    let made = iam.post(ACCOUNTS, body).await.ok();
    let address = email("billing");
    assert_eq!(made["name"], format!("projects/p1/serviceAccounts/{address}"));
    assert_eq!(made["projectId"], "p1");
    assert_eq!(made["email"], address);
    assert_eq!(made["displayName"], "Billing");
    assert_eq!(made["description"], "d");
    let unique_id = made["uniqueId"].as_str().unwrap();
    assert!(unique_id.len() == 21 && unique_id.bytes().all(|byte| byte.is_ascii_digit()), "{unique_id}");
    assert_eq!(made["oauth2ClientId"], made["uniqueId"]);
    assert_eq!(iam.get(&account_path(&address)).await.ok(), made);
    let plain = iam.account("plain-one").await;
    for absent in ["displayName", "description", "disabled"] {
        assert!(plain.get(absent).is_none(), "{plain}");
    }
}

async fn conflict() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let error = iam.post(ACCOUNTS, json!({"accountId": "billing"})).await.error(409, "ALREADY_EXISTS");
    let name = format!("projects/p1/serviceAccounts/{}", email("billing"));
    assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.ResourceInfo");
    assert_eq!(error["details"][0]["resourceName"], name);
}

async fn malformed() {
    let iam = Iam::start(&[]);
    for id in ["", "short", "Bad_one", "1billing", "billing-", &"a".repeat(31)] {
        iam.post(ACCOUNTS, json!({"accountId": id})).await.error(400, "INVALID_ARGUMENT");
    }
    for account in [
        json!({"displayName": "ä".repeat(51)}),
        json!({"description": "x".repeat(257)}),
        json!({"displayName": 5}),
        json!({"colour": "red"}),
    ] {
        let body = json!({"accountId": "billing", "serviceAccount": account});
        iam.post(ACCOUNTS, body).await.error(400, "INVALID_ARGUMENT");
    }
    iam.post(ACCOUNTS, json!({"accountId": "billing", "colour": "red"})).await.error(400, "INVALID_ARGUMENT");
    iam.post(&format!("{ACCOUNTS}?colour=red"), json!({"accountId": "billing"}))
        .await
        .error(400, "INVALID_ARGUMENT");
    iam.post(ACCOUNTS, json!([])).await.error(400, "INVALID_ARGUMENT");
    let long = json!({"accountId": "x".repeat(1024 * 1024)});
    let error = iam.post(ACCOUNTS, long).await.error(400, "INVALID_ARGUMENT");
    assert!(error["message"].as_str().unwrap().contains("too long"), "{error}");
    iam.get(&account_path(&email("billing"))).await.error(404, "NOT_FOUND");
}

async fn lenient() {
    let iam = Iam::start(&["--strict", "false"]);
    iam.post(&format!("{ACCOUNTS}?colour=red"), json!({"accountId": "billing", "colour": "red"})).await.ok();
}

async fn missing() {
    let iam = Iam::start(&[]);
    let address = email("nobody");
    let error = iam.get(&account_path(&address)).await.error(404, "NOT_FOUND");
    assert_eq!(error["message"], "Unknown service account");
    for wildcard in [address.as_str(), "123456789012345678901", "someone@example.com"] {
        let error = iam
            .get(&format!("/v1/projects/-/serviceAccounts/{wildcard}"))
            .await
            .error(403, "PERMISSION_DENIED");
        let detail = &error["details"][0];
        assert_eq!(detail["reason"], "IAM_PERMISSION_DENIED");
        assert_eq!(detail["domain"], "iam.googleapis.com");
        assert_eq!(detail["metadata"]["permission"], "iam.serviceAccounts.get");
    }
    // A project that does not exist is not ours to know about.
    iam.get("/v1/projects/p2/serviceAccounts").await.error(403, "PERMISSION_DENIED");
    iam.post("/v1/projects/p2/serviceAccounts", json!({"accountId": "billing"}))
        .await
        .error(403, "PERMISSION_DENIED");
}

async fn lookups() {
    let iam = Iam::start(&["--project", "p2"]);
    let made = iam.account("billing").await;
    let unique_id = made["uniqueId"].as_str().unwrap();
    let address = email("billing");
    for path in [
        format!("/v1/projects/p1/serviceAccounts/{unique_id}"),
        format!("/v1/projects/-/serviceAccounts/{unique_id}"),
        format!("/v1/projects/-/serviceAccounts/{address}"),
        format!("/v1/projects/p1/serviceAccounts/{}", address.replace('@', "%40")),
        format!("/v1/projects/p1/serviceAccounts/{address}?alt=json&prettyPrint=false&%24.xgafv=2"),
    ] {
        assert_eq!(iam.get(&path).await.ok(), made, "{path}");
    }
    for path in [
        format!("/v1/projects/p2/serviceAccounts/{address}"),
        format!("/v1/projects/p2/serviceAccounts/{unique_id}"),
    ] {
        iam.get(&path).await.error(404, "NOT_FOUND");
    }
}

async fn pages() {
    let iam = Iam::start(&[]);
    let mut expected = vec![email("keywheel-admin")];
    for number in 0..24 {
        let id = format!("account-{number:02}");
        iam.account(&id).await;
        expected.push(email(&id));
    }
    expected.sort();
    let addresses = |page: &Value| -> Vec<String> {
        let accounts = page["accounts"].as_array().unwrap();
        accounts.iter().map(|account| account["email"].as_str().unwrap().to_owned()).collect()
    };
    let first = iam.get(&format!("{ACCOUNTS}?pageSize=0&pageToken=")).await.ok();
    assert_eq!(addresses(&first).len(), 20, "the default page");
    let token = first["nextPageToken"].as_str().unwrap();
    let second = iam.get(&format!("{ACCOUNTS}?pageToken={token}")).await.ok();
    assert!(second.get("nextPageToken").is_none(), "{second}");
    assert_eq!([addresses(&first), addresses(&second)].concat(), expected);
    assert_eq!(addresses(&iam.get(&format!("{ACCOUNTS}?pageSize=1000")).await.ok()), expected);
    assert!(
        iam.get(&format!("{ACCOUNTS}?pageSize=25")).await.ok().get("nextPageToken").is_none(),
        "a full last page has no successor"
    );
    for bad in ["pageSize=-1", "pageSize=many", "pageToken=!!"] {
        iam.get(&format!("{ACCOUNTS}?{bad}")).await.error(400, "INVALID_ARGUMENT");
    }
}

async fn patch() {
    let iam = Iam::start(&[]);
    let made = iam.account("billing").await;
    let path = account_path(&email("billing"));
    let send = async |body: Value| iam.call(Method::PATCH, &path, Some(body)).await;
    let account = json!({"displayName": "New", "description": "Other"});
    for mask in [None, Some(""), Some("email"), Some("displayName,uniqueId")] {
        send(json!({"serviceAccount": account, "updateMask": mask})).await.error(400, "INVALID_ARGUMENT");
    }
    let reply = send(json!({"serviceAccount": account, "updateMask": "display_name"})).await.ok();
    assert_eq!(reply, json!({"name": made["name"], "displayName": "New"}));
    let after = iam.get(&path).await.ok();
    assert_eq!(after["displayName"], "New");
    assert!(after.get("description").is_none(), "not in the mask: {after}");
    assert_ne!(after["etag"], made["etag"]);
    let reply =
        send(json!({"service_account": account, "update_mask": "displayName,description"})).await.ok();
    assert_eq!(reply, json!({"name": made["name"], "displayName": "New", "description": "Other"}));
    let reply = send(json!({"updateMask": "displayName"})).await.ok();
    assert_eq!(reply, json!({"name": made["name"]}), "cleared");
}

async fn put() {
    let iam = Iam::start(&[]);
    let mut account = iam.account("billing").await;
    account["displayName"] = json!("New");
    account["description"] = json!("Other");
    let reply = iam.call(Method::PUT, &account_path(&email("billing")), Some(account)).await.ok();
    assert_eq!(reply["displayName"], "New");
    assert!(reply.get("description").is_none(), "{reply}");
}

async fn disable() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let path = account_path(&email("billing"));
    for _ in 0..2 {
        assert_eq!(iam.post(&format!("{path}:disable"), json!({})).await.ok(), json!({}));
        assert_eq!(iam.get(&path).await.ok()["disabled"], true);
    }
    for _ in 0..2 {
        // Some clients send no body at all.
        assert_eq!(iam.call(Method::POST, &format!("{path}:enable"), None).await.ok(), json!({}));
        assert!(iam.get(&path).await.ok().get("disabled").is_none());
    }
    iam.post(&format!("{path}:disable"), json!({"why": "?"})).await.error(400, "INVALID_ARGUMENT");
}

async fn undelete() {
    let iam = Iam::start(&[]);
    let old = iam.account("billing").await;
    let (_, credentials) = iam.key(&email("billing")).await;
    let path = account_path(&email("billing"));
    let by_id = account_path(old["uniqueId"].as_str().unwrap());
    assert_eq!(iam.delete(&path).await.ok(), json!({}));
    iam.get(&path).await.error(404, "NOT_FOUND");
    iam.get(&by_id).await.error(404, "NOT_FOUND");
    iam.delete(&path).await.error(404, "NOT_FOUND");
    iam.exchange(&credentials).await.oauth_error(400, "invalid_grant", "Invalid grant: account not found");
    iam.post(&format!("{path}:undelete"), json!({})).await.error(400, "INVALID_ARGUMENT");

    let new = iam.account("billing").await;
    assert_ne!(new["uniqueId"], old["uniqueId"], "the address names somebody else now");
    iam.exchange(&credentials).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    iam.post(&format!("{by_id}:undelete"), json!({})).await.error(409, "ALREADY_EXISTS");
    iam.delete(&path).await.ok();

    let wildcard = format!("/v1/projects/-/serviceAccounts/{}:undelete", old["uniqueId"].as_str().unwrap());
    let restored = iam.post(&wildcard, json!({})).await.ok();
    assert_eq!(restored["restoredAccount"]["uniqueId"], old["uniqueId"]);
    assert_eq!(restored["restoredAccount"]["email"], old["email"]);
    iam.exchange(&credentials).await.ok();
    iam.post(&format!("{by_id}:undelete"), json!({})).await.error(400, "FAILED_PRECONDITION");
    iam.post(&account_path("123456789012345678901:undelete"), json!({})).await.error(404, "NOT_FOUND");
}

async fn purged() {
    let iam = Iam::start(&["--enable-fault-api"]);
    let mut ids = Vec::new();
    for id in ["first-one", "second-one"] {
        ids.push(iam.account(id).await["uniqueId"].as_str().unwrap().to_owned());
        iam.delete(&account_path(&email(id))).await.ok();
    }
    let undelete = |id: &str| format!("{}:undelete", account_path(id));
    // The administrator's token would not outlive the jump, so each leap logs in anew.
    iam.put("/settings", json!({"clockOffset": "719h"})).await.ok();
    let bearer = bearer_at(&iam, 719).await;
    iam.call_as(&bearer, Method::POST, &undelete(&ids[0]), None).await.ok();
    iam.put("/settings", json!({"clockOffset": "721h"})).await.ok();
    let bearer = bearer_at(&iam, 721).await;
    iam.call_as(&bearer, Method::POST, &undelete(&ids[1]), None).await.error(404, "NOT_FOUND");
}

/// An access token on a server whose clock is ahead.
async fn bearer_at(iam: &Iam, hours: i64) -> String {
    use super::iam::{CLOUD_PLATFORM, GOOGLE_TOKEN_URL, JWT_BEARER, jwt, now};
    let admin = iam.admin();
    let iat = now() + hours * 3600;
    let claims = json!({"iss": admin.client_email(), "scope": CLOUD_PLATFORM, "aud": GOOGLE_TOKEN_URL,
        "iat": iat, "exp": iat + 3600});
    let header = json!({"alg": "RS256", "kid": admin.private_key_id()});
    let answer = iam.token_request(JWT_BEARER, &jwt(&admin, &header, &claims)).await.ok();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// At first it is sometimes missing and sometimes somebody else's.
async fn late() {
    let iam = Iam::start(&["--enable-fault-api", "--account-visibility-delay", "10s"]);
    iam.account("billing").await;
    let path = account_path(&email("billing"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(iam.get(&path).await.status);
    }
    seen.sort_unstable();
    assert_eq!(seen, [403, 403, 404, 404]);
    let listed = iam.get("/v1/projects/p1/serviceAccounts").await.ok();
    assert!(!listed.to_string().contains("billing"));
    iam.put("/settings", json!({"clockOffset": "10s"})).await.ok();
    iam.get(&path).await.ok();
}

async fn unbuilt() {
    let iam = Iam::start(&[]);
    let path = account_path(&email("keywheel-admin"));
    for (method, path, names) in [
        (Method::POST, format!("{path}:signBlob"), "signBlob"),
        (Method::POST, format!("{path}:signJwt"), "signJwt"),
        (Method::GET, "/v1/projects".to_owned(), "Resource Manager"),
        (Method::GET, "/v1/projects/p1/roles".to_owned(), "roles"),
        (Method::POST, format!("{path}:generateIdToken"), "generateIdToken"),
    ] {
        let error = iam.call(method, &path, None).await.error(501, "UNIMPLEMENTED");
        assert!(error["message"].as_str().unwrap().contains(names), "{error}");
    }
    iam.get("/v1/nothing/here").await.error(404, "NOT_FOUND");
    // Off unless asked for: the paths do not exist.
    iam.get("/faults").await.error(404, "NOT_FOUND");
    iam.put("/settings", json!({"clockOffset": "1h"})).await.error(404, "NOT_FOUND");
}

async fn dates() {
    let iam = Iam::start(&["--clock-offset=-2h"]);
    for path in ["/v1/projects/p1/serviceAccounts", "/nowhere", "/robot/v1/metadata/x509/nobody"] {
        let answer = iam.call_as("", Method::GET, path, None).await;
        let date = answer.headers["date"].to_str().unwrap();
        let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
        let behind = jiff::Timestamp::now().duration_since(date).as_secs();
        assert!((7195..7260).contains(&behind), "{path}: {behind} s behind");
    }
}
