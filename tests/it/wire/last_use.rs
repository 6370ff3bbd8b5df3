//! When keys were last used, as Policy Analyzer tells it.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, email, keys_path};
use super::trial;

const KEYS: &str =
    "/v1/projects/p1/locations/global/activityTypes/serviceAccountKeyLastAuthentication/activities:query";
const ACCOUNTS: &str =
    "/v1/projects/p1/locations/global/activityTypes/serviceAccountLastAuthentication/activities:query";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("last_use::a_login_is_told_by_its_day", told),
        trial("last_use::a_self_signed_token_is_a_use", self_signed),
        trial("last_use::it_is_told_late", late),
        trial("last_use::pages_and_filters", pages),
    ]
}

/// `//iam.googleapis.com/…` of a key.
fn full_name(key: &Value) -> String {
    format!("//iam.googleapis.com/{}", key["name"].as_str().unwrap())
}

async fn of(iam: &Iam, path: &str, name: &str) -> Value {
    let filter = format!("activities.fullResourceName%3D%22{name}%22");
    let mut found = iam.get(&format!("{path}?filter={filter}&pageSize=1000")).await.ok();
    assert_eq!(found["activities"].as_array().unwrap().len(), 1, "{found}");
    found["activities"][0].take()
}

fn last(activity: &Value) -> &Value {
    &activity["activity"]["lastAuthenticatedTime"]
}

async fn told() {
    let iam = Iam::start(&[]);
    let account = iam.account("billing").await;
    let (key, credentials) = iam.key(&email("billing")).await;
    let (other, _) = iam.key(&email("billing")).await;
    assert_eq!(last(&of(&iam, KEYS, &full_name(&key)).await), &Value::Null, "never used");
    iam.exchange(&credentials).await.ok();
    let used = of(&iam, KEYS, &full_name(&key)).await;
    let day = last(&used).as_str().unwrap();
    assert!(day.ends_with("T07:00:00Z") || day.ends_with("T08:00:00Z"), "{day}");
    assert_eq!(used["activityType"], "serviceAccountKeyLastAuthentication");
    assert_eq!(used["activity"]["serviceAccountKey"]["serviceAccountId"], account["uniqueId"]);
    assert!(used["observationPeriod"]["endTime"].is_string());
    assert_eq!(last(&of(&iam, KEYS, &full_name(&other)).await), &Value::Null);
    let account = format!("//iam.googleapis.com/{}", account["name"].as_str().unwrap());
    assert_eq!(last(&of(&iam, ACCOUNTS, &account).await), last(&used));
    // What has no key any more is not told of, and a crash loses nothing.
    let iam = iam.kill_and_restart();
    assert_eq!(last(&of(&iam, KEYS, &full_name(&key)).await), last(&used));
    iam.delete(&super::iam::key_path(&key)).await.ok();
    let rest = iam.get(KEYS).await.ok();
    assert!(!rest.to_string().contains(&full_name(&key)));
}

async fn self_signed() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let (key, credentials) = iam.key(&email("billing")).await;
    let now = super::iam::now();
    let claims = json!({"iss": credentials.client_email(), "sub": credentials.client_email(), "iat": now,
        "exp": now + 3600, "aud": "https://iam.googleapis.com/"});
    let header = json!({"alg": "RS256", "kid": credentials.private_key_id()});
    let bearer = super::iam::jwt(&credentials, &header, &claims);
    // That it may do nothing does not matter: it has logged in.
    let refused = iam.call_as(&bearer, Method::GET, &keys_path(&email("billing")), None).await;
    refused.error(403, "PERMISSION_DENIED");
    assert!(last(&of(&iam, KEYS, &full_name(&key)).await).is_string());
}

async fn late() {
    let iam = Iam::start(&["--activity-lag", "48h", "--enable-fault-api"]);
    iam.account("billing").await;
    let (key, credentials) = iam.key(&email("billing")).await;
    iam.exchange(&credentials).await.ok();
    assert_eq!(last(&of(&iam, KEYS, &full_name(&key)).await), &Value::Null);
    iam.put("/settings", json!({"activityLag": "0s"})).await.ok();
    assert!(last(&of(&iam, KEYS, &full_name(&key)).await).is_string());
}

async fn pages() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(full_name(&iam.key(&email("billing")).await.0));
    }
    let two = format!(
        "activities.fullResourceName%3D%22{}%22%20OR%20activities.full_resource_name%3D%22{}%22",
        names[0], names[1]
    );
    let first = iam.get(&format!("{KEYS}?filter={two}&pageSize=1")).await.ok();
    let token = first["nextPageToken"].as_str().unwrap();
    let second = iam.get(&format!("{KEYS}?filter={two}&pageSize=1&pageToken={token}")).await.ok();
    assert_eq!(second["nextPageToken"], Value::Null);
    let mut seen = [&first, &second].map(|page| page["activities"][0]["fullResourceName"].as_str().unwrap());
    seen.sort_unstable();
    let mut wanted = [names[0].as_str(), names[1].as_str()];
    wanted.sort_unstable();
    assert_eq!(seen, wanted);
    iam.get(&format!("{KEYS}?filter=colour%3D%22red%22")).await.error(400, "INVALID_ARGUMENT");
    let unknown = KEYS.replace("serviceAccountKeyLast", "somethingElse");
    iam.get(&unknown).await.error(404, "NOT_FOUND");
    iam.get(&KEYS.replace("p1", "p2")).await.error(403, "PERMISSION_DENIED");
}
