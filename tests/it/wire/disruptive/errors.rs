//! Errors in the vendor's shape.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::json;

use super::trial;
use super::vendor::{ACCOUNTS, Login, MEMBERS, Vendor, path};

pub fn trials() -> Vec<Trial> {
    vec![trial("disruptive::errors::every_error_has_the_vendors_shape", every_error)]
}

/// Each status of the vendor's page on errors: those that the server comes to by itself, and those that it is told to give.
async fn every_error() {
    let vendor = Vendor::start(&["--enable-fault-api"]).await;
    let account = vendor.account("billing").await;
    let member = vendor.join(&account, "roles/project.user").await;
    let (_, bearer) = vendor.caller(None).await;
    vendor.post(MEMBERS, json!({"email": member["email"], "roles": []})).await.refused(400);
    vendor.iam.call_as("nonsense", Method::GET, ACCOUNTS, None).await.refused(401);
    let missing = vendor.iam.call_as(&bearer, Method::GET, ACCOUNTS, None).await.refused(403);
    assert_eq!(missing, "missing permission serviceaccount.read");
    vendor.get(&format!("{ACCOUNTS}/c18ppqmoiv9008epsv1g")).await.refused(404);
    let again = json!({"email": member["email"], "roles": ["roles/project.user"]});
    assert_eq!(vendor.post(MEMBERS, again).await.refused(409), "already exists");
    for status in [400, 401, 403, 404, 409, 429, 500, 503, 504] {
        let fail = json!({"fail": {"status": status, "canonical": "", "message": "as you wish"}});
        let fault = json!({"operation": "disruptive.accounts.get", "action": fail});
        vendor.iam.put("/faults", fault).await.ok();
        let answer = vendor.get(&path(&account)).await;
        assert_eq!(answer.refused(status), "as you wish");
        // An integer, which is all that the vendor's library can read.
        let wait = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(wait, (status == 429).then(|| "1".to_owned()), "{status}");
    }
    vendor.get(&path(&account)).await.ok();
    let fail = json!({"fail": {"status": 503, "canonical": "", "message": "later", "retry_after": "17"}});
    vendor.iam.put("/faults", json!({"operation": "disruptive.accounts.list", "action": fail})).await.ok();
    assert_eq!(vendor.get(ACCOUNTS).await.headers["retry-after"], "17");
    // The token endpoint waits in the same way, and speaks OAuth2.
    let fail = json!({"fail": {"status": 429, "canonical": "slow_down", "message": "later"}});
    vendor.iam.put("/faults", json!({"operation": "disruptive.token", "action": fail})).await.ok();
    let answer = Login::administrators(&vendor.iam).exchange(&vendor.iam).await;
    answer.oauth_error(429, "slow_down", "later");
    assert_eq!(answer.headers["retry-after"], "1");
}
