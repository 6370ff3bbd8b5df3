//! The projects of the server and their services.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::Iam;
use super::trial;

const EARTH: &str = "/v1/projects/p1/services/earthengine.googleapis.com";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("services::enabling_is_a_finished_operation", finished),
        trial("services::enabling_can_take_its_time", slow),
        trial("services::what_is_wanted_last_counts", last_wish),
        trial("services::several_at_once", batches),
        trial("services::the_list_has_pages_and_a_filter", listed),
        trial("services::unknown_ones_are_refused", refused),
        trial("services::an_api_that_is_disabled_says_so", disabled_api),
        trial("services::what_was_enabled_survives_a_crash", durable),
        trial("projects::both_versions_describe_it", described),
    ]
}

async fn number(iam: &Iam) -> String {
    iam.get("/v1/projects/p1").await.ok()["projectNumber"].as_str().unwrap().to_owned()
}

async fn state(iam: &Iam, path: &str) -> Value {
    iam.get(path).await.ok()["state"].clone()
}

async fn finished() {
    let iam = Iam::start(&[]);
    let number = number(&iam).await;
    let fresh = iam.get(EARTH).await.ok();
    assert_eq!(fresh["name"], format!("projects/{number}/services/earthengine.googleapis.com"));
    assert_eq!(fresh["parent"], format!("projects/{number}"));
    assert_eq!(fresh["config"]["name"], "earthengine.googleapis.com");
    assert_eq!(fresh["state"], "DISABLED");
    let operation = iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    assert_eq!(operation["done"], true);
    assert_eq!(operation["response"]["service"]["state"], "ENABLED");
    let kind = operation["response"]["@type"].as_str().unwrap();
    assert!(kind.ends_with("EnableServiceResponse"), "{kind}");
    assert_eq!(state(&iam, EARTH).await, "ENABLED");
    let name = operation["name"].as_str().unwrap();
    assert_eq!(iam.get(&format!("/v1/{name}")).await.ok(), operation);
    let again = iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    assert_eq!((&again["name"], &again["done"]), (&json!("operations/noop.DONE_OPERATION"), &json!(true)));
    // The project may be named by its number, and enums asked for as such.
    let by_number = format!("/v1/projects/{number}/services/earthengine.googleapis.com");
    assert_eq!(iam.get(&format!("{by_number}?%24alt=json%3Benum-encoding%3Dint")).await.ok()["state"], 2);
    iam.post(&format!("{EARTH}:disable"), json!({"disableDependentServices": false})).await.ok();
    assert_eq!(state(&iam, EARTH).await, "DISABLED");
}

async fn slow() {
    let iam = Iam::start(&["--service-delay", "10m", "--enable-fault-api"]);
    let operation = iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    assert_eq!(operation["done"], Value::Null);
    assert_eq!(operation["response"], Value::Null);
    let path = format!("/v1/{}", operation["name"].as_str().unwrap());
    assert_eq!(iam.get(&path).await.ok()["done"], Value::Null);
    assert_eq!(state(&iam, EARTH).await, "DISABLED");
    // To ask again does not make it begin again.
    iam.put("/settings", json!({"clockOffset": "5m"})).await.ok();
    let second = iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    assert_eq!(second["done"], Value::Null);
    iam.put("/settings", json!({"clockOffset": "10m"})).await.ok();
    let ended = iam.get(&path).await;
    assert_eq!(state(&iam, EARTH).await, "ENABLED");
    assert_eq!(ended.ok()["response"]["service"]["state"], "ENABLED");
    iam.get("/v1/operations/acf.nothing").await.error(404, "NOT_FOUND");
}

async fn last_wish() {
    let iam = Iam::start(&["--service-delay", "10m", "--enable-fault-api"]);
    iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    let operation = iam.post(&format!("{EARTH}:disable"), json!({})).await.ok();
    assert_ne!(operation["name"], "operations/noop.DONE_OPERATION", "it was about to be enabled");
    iam.put("/settings", json!({"clockOffset": "30m"})).await.ok();
    assert_eq!(state(&iam, EARTH).await, "DISABLED");
}

async fn batches() {
    let iam = Iam::start(&[]);
    let two = json!({"serviceIds": ["earthengine.googleapis.com", "storage.googleapis.com"]});
    let operation = iam.post("/v1/projects/p1/services:batchEnable", two).await.ok();
    assert_eq!(operation["response"]["services"].as_array().unwrap().len(), 2);
    let names = "names=projects/p1/services/earthengine.googleapis.com&names=projects/p1/services/storage.googleapis.com";
    let got = iam.get(&format!("/v1/projects/p1/services:batchGet?{names}")).await.ok();
    assert_eq!(got["services"], operation["response"]["services"]);
    let batch = "/v1/projects/p1/services:batchEnable";
    iam.post(batch, json!({"serviceIds": []})).await.error(400, "INVALID_ARGUMENT");
    let many = vec!["storage.googleapis.com"; 21];
    iam.post(batch, json!({ "serviceIds": many })).await.error(400, "INVALID_ARGUMENT");
    let one_wrong = json!({"serviceIds": ["pubsub.googleapis.com", "unheard.googleapis.com"]});
    iam.post(batch, one_wrong).await.error(403, "PERMISSION_DENIED");
    assert_eq!(state(&iam, "/v1/projects/p1/services/pubsub.googleapis.com").await, "DISABLED");
    iam.get("/v1/projects/p1/services:batchGet?names=projects/p2/services/storage.googleapis.com")
        .await
        .error(400, "INVALID_ARGUMENT");
}

async fn listed() {
    let iam = Iam::start(&[]);
    let names = |page: &Value| -> Vec<String> {
        let services = page["services"].as_array().unwrap().iter();
        services.map(|service| service["config"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let enabled = iam.get("/v1/projects/p1/services?filter=state:ENABLED").await.ok();
    assert!(names(&enabled).contains(&"iam.googleapis.com".to_owned()));
    assert!(!names(&enabled).contains(&"earthengine.googleapis.com".to_owned()));
    let whole = names(&iam.get("/v1/projects/p1/services?pageSize=0&pageToken=").await.ok());
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = iam.get(&format!("/v1/projects/p1/services?pageSize=4&pageToken={token}")).await.ok();
        seen.extend(names(&page));
        match page["nextPageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, whole);
    iam.get("/v1/projects/p1/services?filter=state:ODD").await.error(400, "INVALID_ARGUMENT");
}

async fn refused() {
    let iam = Iam::start(&[]);
    let unknown = "/v1/projects/p1/services/unheard.googleapis.com";
    let error = iam.get(unknown).await.error(403, "PERMISSION_DENIED");
    assert_eq!(error["details"][0]["reason"], "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED");
    iam.post(&format!("{unknown}:enable"), json!({})).await.error(403, "PERMISSION_DENIED");
    iam.get("/v1/projects/p2/services/iam.googleapis.com").await.error(403, "PERMISSION_DENIED");
    iam.post(&format!("{EARTH}:enable"), json!({"colour": "red"})).await.error(400, "INVALID_ARGUMENT");
    assert_eq!(state(&iam, EARTH).await, "DISABLED");
}

async fn disabled_api() {
    let iam = Iam::start(&[]);
    let analyzer = "/v1/projects/p1/services/policyanalyzer.googleapis.com";
    let query =
        "/v1/projects/p1/locations/global/activityTypes/serviceAccountLastAuthentication/activities:query";
    iam.get(query).await.ok();
    iam.post(&format!("{analyzer}:disable"), json!({})).await.ok();
    let error = iam.get(query).await.error(403, "PERMISSION_DENIED");
    assert_eq!(error["details"][0]["reason"], "SERVICE_DISABLED");
    assert_eq!(error["details"][0]["metadata"]["service"], "policyanalyzer.googleapis.com");
    iam.post(&format!("{analyzer}:enable"), json!({})).await.ok();
    iam.get(query).await.ok();
}

async fn durable() {
    let iam = Iam::start(&[]);
    let before = number(&iam).await;
    let operation = iam.post(&format!("{EARTH}:enable"), json!({})).await.ok();
    let iam = iam.kill_and_restart();
    assert_eq!(state(&iam, EARTH).await, "ENABLED");
    let path = format!("/v1/{}", operation["name"].as_str().unwrap());
    assert_eq!(iam.get(&path).await.ok(), operation);
    assert_eq!(number(&iam).await, before);
}

async fn described() {
    let iam = Iam::start(&[]);
    let one = iam.get("/v1/projects/p1").await.ok();
    let number = one["projectNumber"].as_str().unwrap();
    assert_eq!((&one["projectId"], &one["lifecycleState"]), (&json!("p1"), &json!("ACTIVE")));
    let three = iam.get(&format!("/v3/projects/{number}")).await.ok();
    assert_eq!(three["name"], format!("projects/{number}"));
    assert_eq!((&three["projectId"], &three["state"]), (&json!("p1"), &json!("ACTIVE")));
    assert_eq!(three["createTime"], one["createTime"]);
    iam.get("/v3/projects/p2").await.error(403, "PERMISSION_DENIED");
    iam.get("/v3/projects/123456789012").await.error(403, "PERMISSION_DENIED");
    iam.call(Method::DELETE, "/v3/projects/p1", None).await.error(501, "UNIMPLEMENTED");
    // Accounts can be asked for by the number too, and have the id in their names.
    iam.account("billing").await;
    let accounts = iam.get(&format!("/v1/projects/{number}/serviceAccounts")).await.ok();
    assert!(accounts["accounts"][0]["name"].as_str().unwrap().starts_with("projects/p1/"), "{accounts}");
}
