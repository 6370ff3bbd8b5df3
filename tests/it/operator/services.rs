//! Services of the project: enabled within what the backend's `tenants` allow, and what Earth Engine says of the project.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::json;

use super::case::{Case, condition};
use super::trial;
use super::world::{World, set_login, start_iam};

const EARTH_ENGINE: &str = "earthengine.googleapis.com";
const STORAGE: &str = "storage.googleapis.com";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("services::they_are_enabled_and_waited_for_and_earth_engine_says_whether_it_knows_us", life),
        trial("services::a_login_that_may_not_enable_is_told_so", forbidden),
        trial("services::a_namespace_gets_what_the_tenants_rules_list", tenants),
    ]
}

fn case(prefix: &str) -> Case<'static> {
    let tenants = json!({"tenants": {"services": ["earthengine.*", STORAGE]}});
    Case::at(World::shared(), prefix, start_iam(IamOptions::default()), &tenants)
}

fn life() {
    let case = case("services");
    case.iam().settings(&json!({"serviceDelay": "3s"})).unwrap();
    case.account(&json!({"services": [EARTH_ENGINE, STORAGE]}));
    let message = case.told("iamsa", "billing", "ServicesEnabled", "False", Reason::ServicesPending);
    assert!(message.contains(EARTH_ENGINE) && message.contains(STORAGE), "{message}");
    let account = case.ready("iamsa", "billing");
    assert_eq!(condition(&account, "ServicesEnabled")["reason"], "ServicesEnabled", "{account}");
    let asked = case.iam().requests().unwrap();
    let enabled = asked.iter().filter(|r| r.operation == "services.enable").count();
    assert_eq!(enabled, 2, "one for each");

    // It works without a registration; only a person can see to that.
    let message =
        case.told("iamsa", "billing", "EarthEngineRegistered", "False", Reason::EarthEngineNotRegistered);
    assert!(message.contains("https://console.cloud.google.com/earth-engine"), "{message}");
    let registered = format!("{}=REGISTERED_COMMERCIALLY", case.iam().project());
    case.iam().settings(&json!({"earthEngine": [registered]})).unwrap();
    let touched = json!({"metadata": {"annotations": {"example.com/look": "again"}}});
    case.patch("iamsa", "billing", &touched);
    let message =
        case.told("iamsa", "billing", "EarthEngineRegistered", "True", Reason::EarthEngineRegistered);
    assert!(message.contains("REGISTERED_COMMERCIALLY"), "{message}");

    // Others may use them by now.
    let mark = case.iam().mark().unwrap();
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    let since = case.iam().requests_since(mark).unwrap();
    assert!(!since.iter().any(|r| r.operation.starts_with("services.disable")));
}

fn forbidden() {
    let case = case("unserved");
    let weak = {
        case.person.create_account("operator-weak", "");
        case.person.create_key("operator-weak").1
    };
    let admins = format!("serviceAccount:{}", case.person.email("operator-weak"));
    let bindings = |more: &[&str]| {
        let mut roles = vec!["roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin"];
        roles.extend(more);
        let all: Vec<_> = roles.iter().map(|role| json!({"role": role, "members": [admins]})).collect();
        json!({"policy": {"bindings": all}})
    };
    case.person.project("setIamPolicy", &bindings(&[]));
    set_login(&case.world.kube, keywheel_testbed::control_plane::OPERATOR_NAMESPACE, &case.backend, &weak);
    case.account(&json!({"services": [STORAGE]}));
    let message = case.told("iamsa", "billing", "ServicesEnabled", "False", Reason::PermissionMissing);
    assert!(message.contains("services.get"), "{message}");
    // Its keys work for all that.
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    case.accepted("billing");
    case.person.project("setIamPolicy", &bindings(&["roles/serviceusage.serviceUsageAdmin"]));
    case.ready("iamsa", "billing");
}

fn tenants() {
    let case = case("tenant-s");
    case.account(&json!({"services": ["bigquery.googleapis.com"]}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::ServiceNotAllowed);
    assert!(message.contains("bigquery.googleapis.com") && message.contains("earthengine.*"), "{message}");
    assert!(case.person.account(&case.name).is_none(), "nothing was made");
    case.patch("iamsa", "billing", &json!({"spec": {"services": [STORAGE]}}));
    case.ready("iamsa", "billing");
}
