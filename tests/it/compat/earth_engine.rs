//! Earth Engine's own client, by both ways in that its documentation shows.

use keywheel_testbed::iam::{IamOptions, IamServer};
use serde_json::{Value, json};

use super::{bind, mounted, passed, script};
use crate::operator::{Case, World, start_iam};

const ROLES: [&str; 2] = ["roles/earthengine.viewer", "roles/serviceusage.serviceUsageConsumer"];

/// A project that is registered and may use Earth Engine.
fn server() -> IamServer {
    let options = IamOptions::default();
    let registered = format!("{}=REGISTERED_NOT_COMMERCIALLY", options.project);
    start_iam(IamOptions { args: vec!["--earth-engine".to_owned(), registered], ..options })
}

fn case() -> Case<'static> {
    let case = Case::at(World::shared(), "earth", server(), &json!({}));
    case.settled(&json!({}));
    bind(&case, &ROLES);
    case.person.project("services/earthengine.googleapis.com:enable", &json!({}));
    case
}

pub fn by_file() {
    let case = case();
    let file = mounted(&case);
    let iam = case.iam();
    let told = script("earth_engine.py", &[file.to_str().unwrap(), iam.url(), iam.project()], &[]);
    assert_eq!((&told["sum"], &told["rest"]), (&json!(3), &json!(7)));
    assert_eq!(told["list"], json!([1, "two"]));
    assert_eq!(told["registered"], "REGISTERED_NOT_COMMERCIALLY");
    passed("earthengine-api (file)", version(&told), "Initialize, algorithms, value:compute, getConfig");
}

/// No key at all: the machine's metadata server hands out tokens of its account.
pub fn by_machine() {
    let case = case();
    let iam = case.iam();
    iam.settings(&json!({"metadataAccount": case.email()})).unwrap();
    let host = iam.url().trim_start_matches("http://").to_owned();
    let environment = [("GCE_METADATA_HOST", host.as_str()), ("GCE_METADATA_IP", host.as_str())];
    let told = script("earth_engine.py", &["--machine", iam.url(), iam.project()], &environment);
    assert_eq!(told["sum"], 3);
    passed("earthengine-api (machine)", version(&told), "Initialize, algorithms, value:compute");
}

fn version(told: &Value) -> &str {
    told["version"].as_str().unwrap()
}
