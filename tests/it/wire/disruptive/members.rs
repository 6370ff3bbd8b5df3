//! The methods of members.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ADMINS, MEMBERS, Vendor, id, path};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::members::an_account_gets_a_role_another_one_and_none", life),
        trial("disruptive::members::an_organization_has_administrators_only", organization),
        trial("disruptive::members::people_are_invited_and_stay_pending", people),
        trial("disruptive::members::nobody_has_two_roles_and_no_role_is_made_up", refused),
        trial("disruptive::members::the_members_of_all_projects_are_found_by_id", wildcard),
        trial("disruptive::members::a_batch_is_done_whole_or_not_at_all", batches),
        trial("disruptive::members::a_batch_needs_the_permission_in_each_project", batch_access),
    ]
}

const ALL: &str = "/v2/projects/-/members";

async fn life() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let made = vendor.join(&account, "roles/project.developer").await;
    let expected = json!({
        "name": format!("projects/p1/members/{}", id(&account)),
        "displayName": "billing",
        "roles": ["roles/project.developer"],
        "status": "ACCEPTED",
        "email": account["email"],
        "accountType": "SERVICE_ACCOUNT",
        "createTime": made["createTime"],
    });
    assert_eq!(made, expected);
    assert_eq!(vendor.get(&path(&made)).await.ok(), made);
    assert_eq!(vendor.get(MEMBERS).await.ok(), json!({"members": [made], "nextPageToken": ""}));
    // The vendor's Terraform provider sends back all that it read.
    let mut whole = made.clone();
    whole["roles"] = json!(["roles/project.admin"]);
    let changed = vendor.patch(&path(&made), whole.clone()).await.ok();
    assert_eq!(changed, whole);
    assert_eq!(vendor.patch(&path(&made), json!({})).await.ok(), whole, "no role, no change");
    assert_eq!(vendor.delete(&path(&made)).await.ok(), json!({}));
    vendor.get(&path(&made)).await.refused(404);
    vendor.delete(&path(&made)).await.refused(404);
    vendor.patch(&path(&made), whole).await.refused(404);
    // The account is still there.
    vendor.get(&path(&account)).await.ok();
}

async fn organization() {
    let vendor = Vendor::start(&[]).await;
    let before = vendor.get(ADMINS).await.ok()["members"].as_array().unwrap().len();
    let account = vendor.account("billing").await;
    let body = json!({"email": account["email"], "roles": ["roles/organization.admin"]});
    let made = vendor.post(ADMINS, body.clone()).await.ok();
    assert_eq!(made["name"], format!("organizations/keywheel/members/{}", id(&account)));
    assert_eq!(vendor.get(&path(&made)).await.ok(), made);
    assert_eq!(vendor.get(ADMINS).await.ok()["members"].as_array().unwrap().len(), before + 1);
    // There is nothing to change it to.
    vendor.patch(&path(&made), body).await.refused(404);
    assert_eq!(vendor.delete(&path(&made)).await.ok(), json!({}));
    vendor.get(&path(&made)).await.refused(404);
}

async fn people() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let body = json!({"email": "somebody@example.com", "roles": ["roles/project.user"]});
    let made = vendor.post(MEMBERS, body.clone()).await.ok();
    assert_eq!((&made["status"], &made["accountType"]), (&json!("PENDING"), &json!("USER")));
    assert!(id(&made).bytes().all(|byte| byte.is_ascii_digit()), "{made}");
    let there = vendor.post("/v2/projects/p2/members", body).await.ok();
    assert_eq!(id(&there), id(&made), "one person, one id");
    let url = vendor.get(&format!("{}:getInviteUrl", path(&made))).await.ok()["inviteUrl"].clone();
    let path_of_url = url.as_str().unwrap().strip_prefix(&vendor.iam.url).unwrap().to_owned();
    vendor.get(&path_of_url).await.refused(501);
    let account = vendor.account("billing").await;
    let member = vendor.join(&account, "roles/project.user").await;
    vendor.get(&format!("{}:getInviteUrl", path(&member))).await.refused(400);
    vendor.get(&format!("{}:burn", path(&member))).await.refused(404);
}

async fn refused() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let email = &account["email"];
    for (body, status) in [
        (json!({"email": email}), 400),
        (json!({"email": email, "roles": []}), 400),
        (json!({"email": email, "roles": ["roles/project.user", "roles/project.admin"]}), 400),
        (json!({"email": email, "roles": ["project.user"]}), 400),
        (json!({"email": email, "roles": ["roles/organization.admin"]}), 400),
        (json!({"roles": ["roles/project.user"]}), 400),
        (json!({"email": "nobody", "roles": ["roles/project.user"]}), 400),
        (json!({"email": email, "roles": ["roles/project.user"], "colour": "red"}), 400),
        (json!({"email": "x@p1.serviceaccount.d21s.com", "roles": ["roles/project.user"]}), 404),
    ] {
        vendor.post(MEMBERS, body.clone()).await.refused(status);
    }
    let body = json!({"email": email, "roles": ["roles/project.admin"]});
    vendor.post(ADMINS, body.clone()).await.refused(400);
    let member = vendor.join(&account, "roles/project.user").await;
    assert_eq!(vendor.post(MEMBERS, body).await.refused(409), "already exists");
    let two = json!({"roles": ["roles/project.user", "roles/project.admin"]});
    vendor.patch(&path(&member), two).await.refused(400);
    vendor.patch(&path(&member), json!({"roles": ["roles/organization.admin"]})).await.refused(400);
    assert_eq!(vendor.get(&path(&member)).await.ok(), member, "nothing has changed");
}

fn names(list: &Value) -> Vec<&str> {
    list["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap()).collect()
}

async fn wildcard() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let (one, two) = (vendor.account("one").await, vendor.account("two").await);
    let mut expected = Vec::new();
    for project in ["p1", "p2"] {
        for account in [&one, &two] {
            let body = json!({"email": account["email"], "roles": ["roles/project.user"]});
            let made = vendor.post(&format!("/v2/projects/{project}/members"), body).await.ok();
            expected.push(made["name"].as_str().unwrap().to_owned());
        }
    }
    expected.sort();
    assert_eq!(names(&vendor.get(ALL).await.ok()), expected);
    let query =
        format!("memberId={}&organization=organizations%2Fkeywheel&pageSize=100&pageToken=", id(&two));
    let of_two = vendor.get(&format!("{ALL}?{query}")).await.ok();
    let with_two: Vec<&String> = expected.iter().filter(|name| name.ends_with(&id(&two))).collect();
    assert_eq!(names(&of_two), with_two);
    let first = vendor.get(&format!("{ALL}?pageSize=3")).await.ok();
    let token = first["nextPageToken"].as_str().unwrap();
    let second = vendor.get(&format!("{ALL}?pageSize=3&pageToken={token}")).await.ok();
    assert_eq!([names(&first), names(&second)].concat(), expected);
    assert_eq!(second["nextPageToken"], "");
    vendor.get(&format!("{ALL}?organization=organizations/other")).await.refused(404);
    // Only what the caller may look at.
    let bearer = vendor.key(&one).await.1.bearer(&vendor.iam).await;
    vendor.delete(&format!("/v2/projects/p2/members/{}", id(&one))).await.ok();
    let seen = vendor.iam.call_as(&bearer, reqwest::Method::GET, ALL, None).await.ok();
    assert!(names(&seen).iter().all(|name| name.starts_with("projects/p1/")), "{seen}");
    assert_eq!(names(&seen).len(), 2);
}

async fn batches() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let (one, two) = (vendor.account("one").await, vendor.account("two").await);
    let wanted = |project: &str, account: &Value| json!({"project": format!("projects/{project}"), "email": account["email"], "roles": ["roles/project.user"]});
    let create = async |members: Value| {
        vendor.post(&format!("{ALL}:batchCreate"), json!({ "members": members })).await
    };
    let made = create(json!([wanted("p1", &one), wanted("p2", &one)])).await.ok();
    let expected: Vec<String> =
        ["p1", "p2"].map(|project| format!("projects/{project}/members/{}", id(&one))).to_vec();
    assert_eq!(names(&made), expected);
    // The second one exists already, or is not possible: the first one is not made either.
    create(json!([wanted("p1", &two), wanted("p2", &one)])).await.refused(409);
    create(json!([wanted("p1", &two), wanted("p9", &two)])).await.refused(404);
    create(json!([wanted("p1", &two), {"project": "p2", "email": two["email"]}])).await.refused(400);
    create(json!([{"project": "organizations/keywheel", "email": two["email"], "roles": ["roles/organization.admin"]}]))
        .await
        .refused(400);
    assert_eq!(names(&vendor.get(ALL).await.ok()), expected);
    let delete =
        async |names: &[String]| vendor.post(&format!("{ALL}:batchDelete"), json!({ "names": names })).await;
    let missing = format!("projects/p2/members/{}", id(&two));
    delete(&[expected[0].clone(), missing]).await.refused(404);
    delete(&[expected[0].clone(), "projects/p1".to_owned()]).await.refused(400);
    delete(&["organizations/keywheel/members/x".to_owned()]).await.refused(400);
    assert_eq!(names(&vendor.get(ALL).await.ok()), expected);
    assert_eq!(delete(&expected).await.ok(), json!({}));
    assert_eq!(names(&vendor.get(ALL).await.ok()), Vec::<&str>::new());
}

async fn batch_access() {
    let vendor = Vendor::start(&["--project", "p2"]).await;
    let (account, bearer) = vendor.caller(Some("roles/project.admin")).await;
    let other = vendor.account("other").await;
    let post = async |verb: &str, body: Value| {
        let path = format!("{ALL}:{verb}");
        vendor.iam.call_as(&bearer, reqwest::Method::POST, &path, Some(body)).await
    };
    let wanted = |project: &str, of: &Value| json!({"project": format!("projects/{project}"), "email": of["email"], "roles": ["roles/project.user"]});
    post("batchCreate", json!({"members": [wanted("p1", &other), wanted("p2", &other)]})).await.refused(403);
    vendor.get(&format!("{MEMBERS}/{}", id(&other))).await.refused(404);
    post("batchCreate", json!({"members": [wanted("p1", &other)]})).await.ok();
    let body = wanted("p2", &account);
    vendor
        .post("/v2/projects/p2/members", json!({"email": body["email"], "roles": body["roles"]}))
        .await
        .ok();
    let names =
        [format!("projects/p1/members/{}", id(&other)), format!("projects/p2/members/{}", id(&account))];
    post("batchDelete", json!({ "names": names })).await.refused(403);
    vendor.get(&format!("{MEMBERS}/{}", id(&other))).await.ok();
    post("batchDelete", json!({ "names": &names[..1] })).await.ok();
}
