//! Earth Engine: what a client asks before and while it computes, and who may.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::iam::{Iam, email};
use super::trial;

const SERVICE: &str = "/v1/projects/p1/services/earthengine.googleapis.com";
const COMPUTE: &str = "/v1/projects/p1/value:compute";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("earth_engine::it_describes_itself_to_everybody", described),
        trial("earth_engine::who_may_compute", permissions),
        trial("earth_engine::a_project_must_be_registered", registered),
    ]
}

fn sum() -> Value {
    let argument = |number: u8| json!({"constantValue": number});
    let call =
        json!({"functionName": "Number.add", "arguments": {"left": argument(1), "right": argument(2)}});
    json!({"expression": {"result": "0", "values": {"0": {"functionInvocationValue": call}}}})
}

async fn described() {
    let iam = Iam::start(&[]);
    let told = iam.call_as("", Method::GET, "/$discovery/rest?version=v1&prettyPrint=false", None).await.ok();
    assert_eq!(told["rootUrl"], format!("{}/", iam.url));
    let resources = &told["resources"]["projects"];
    for method in [
        &resources["methods"]["getConfig"],
        &resources["resources"]["algorithms"]["methods"]["list"],
        &resources["resources"]["value"]["methods"]["compute"],
    ] {
        // Without it clients take the answer for bytes.
        let schema = method["response"]["$ref"].as_str().unwrap();
        assert!(told["schemas"][schema].is_object(), "{method}");
    }
}

async fn bind(iam: &Iam, roles: &[&str]) {
    let member = format!("serviceAccount:{}", email("mapper"));
    let bindings: Vec<Value> = roles.iter().map(|role| json!({"role": role, "members": [member]})).collect();
    iam.post("/v1/projects/p1:setIamPolicy", json!({"policy": {"bindings": bindings}})).await.ok();
}

/// Both roles, and the service: with one of the three missing nothing is computed.
async fn permissions() {
    let iam = Iam::start(&["--earth-engine", "p1=REGISTERED_NOT_COMMERCIALLY"]);
    iam.account("mapper").await;
    let (_, file) = iam.key(&email("mapper")).await;
    let token = iam.exchange(&file).await.ok()["access_token"].as_str().unwrap().to_owned();
    let compute = async || iam.call_as(&token, Method::POST, COMPUTE, Some(sum())).await;
    let (viewer, consumer) = ("roles/earthengine.viewer", "roles/serviceusage.serviceUsageConsumer");
    bind(&iam, &[viewer, consumer]).await;
    let disabled = compute().await.error(403, "PERMISSION_DENIED");
    assert_eq!(disabled["details"][0]["reason"], "SERVICE_DISABLED");
    iam.post(&format!("{SERVICE}:enable"), json!({})).await.ok();
    assert_eq!(compute().await.ok(), json!({"result": 3}));
    let algorithms = iam.call_as(&token, Method::GET, "/v1/projects/p1/algorithms", None).await.ok();
    assert!(algorithms["algorithms"].to_string().contains("Number.add"));
    for (roles, permission) in
        [(vec![viewer], "serviceusage.services.use"), (vec![consumer], "earthengine.computations.create")]
    {
        bind(&iam, &roles).await;
        let error = compute().await.error(403, "PERMISSION_DENIED");
        assert_eq!(error["details"][0]["metadata"]["permission"], permission);
    }
}

async fn registered() {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.post(&format!("{SERVICE}:enable"), json!({})).await.ok();
    let config = iam.get("/v1/projects/p1/config").await.ok();
    assert_eq!(config["registrationState"], "NOT_REGISTERED");
    let refused = iam.post(COMPUTE, sum()).await.error(403, "PERMISSION_DENIED");
    assert!(refused["message"].as_str().unwrap().contains("is not registered to use Earth Engine"));
    iam.put("/settings", json!({"earthEngine": ["p1=REGISTERED_COMMERCIALLY"]})).await.ok();
    assert_eq!(iam.get("/v1/projects/p1/config").await.ok()["registrationState"], "REGISTERED_COMMERCIALLY");
    iam.post(COMPUTE, sum()).await.ok();
    iam.post(COMPUTE, json!({"expression": {"result": "0", "values": {}}}))
        .await
        .error(400, "INVALID_ARGUMENT");
}
