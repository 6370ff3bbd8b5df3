//! Backends of the kind `google`, at the embedded server: every way to log in, and what the login may not do.

use keywheel::domain::Reason;
use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::iam::{IamOptions, IamServer};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{World, set_login, start_iam};
use crate::cluster::{Cluster, POD};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("google::a_key_is_made_and_replaced_with_a_login_from_a_secret", by_file),
        trial("google::the_permissions_that_a_login_lacks_are_named", permissions),
        trial("google::the_account_of_the_pod_is_the_default_login", ambient),
        trial("google::a_projected_token_is_a_login_without_a_key", federated),
        trial("google::a_login_acts_as_another_account", impersonation),
        trial("google::a_namespace_logs_in_with_a_key_of_its_own_only", namespaced),
        trial("google::the_backend_gets_no_more_requests_than_its_limit", limited),
    ]
}

/// The backend's spec: this server in place of Google.
fn google(iam: &IamServer, auth: &Value) -> Value {
    let url = iam.url();
    let endpoints = json!({"iam": url, "resourceManager": url, "token": format!("{url}/token"), "sts": url,
        "iamCredentials": url});
    json!({"google": {"projectId": iam.project(), "auth": auth, "endpoints": endpoints}})
}

fn secret(name: &str) -> Value {
    json!({"secretRef": {"name": name}})
}

/// At the shared server; the login Secret has the name of the backend.
fn case(prefix: &str, auth: impl Fn(&str) -> Value) -> Case<'static> {
    let world = World::shared();
    Case::named(world, prefix, &world.iam, |iam, name| google(iam, &auth(name)))
}

/// Lets members do all that the operator may need.
fn grant(case: &Case<'_>, members: &[String]) {
    let roles = ["roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin"];
    let bindings: Vec<Value> = roles.iter().map(|role| json!({"role": role, "members": members})).collect();
    case.person.project("setIamPolicy", &json!({"policy": {"bindings": bindings}}));
}

/// Who made keys.
fn callers(case: &Case<'_>) -> Vec<String> {
    let made = case.requests().into_iter().filter(|request| request.operation == "keys.create");
    made.map(|request| request.caller).collect()
}

fn by_file() {
    let case = case("google", secret);
    case.settled(&json!({}));
    let backend =
        case.told("ciamb", &case.backend, "PermissionsGranted", "True", Reason::PermissionsComplete);
    assert!(backend.contains("may do all"), "{backend}");
    let status = case.get("ciamb", &case.backend)["status"].clone();
    assert_eq!(status["projectId"], case.iam().project());
    assert_eq!(status["capabilities"]["algorithms"], json!(["RSA_2048", "RSA_1024"]));
    case.accepted("billing");
    let first = case.active("billing");
    let now = jiff::Timestamp::now().to_string();
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {"keywheel.dev/revoke-at": now}}}));
    case.when("iamsak", "billing", "another key", |key| {
        key["status"]["activeKeyId"] != json!(first) && condition(key, "Ready")["status"] == "True"
    });
    case.accepted("billing");
    // A pair that is made here gets a file with Google's addresses.
    case.key("local", &json!({"keySource": "Local"}));
    case.ready("iamsak", "local");
    let file: Value = serde_json::from_slice(&case.data("local")["key.json"]).unwrap();
    assert_eq!(file["token_uri"], format!("{}/token", case.iam().url()));
    assert_eq!(file["auth_uri"], "https://accounts.google.com/o/oauth2/auth");
    let certificates = format!("metadata/x509/{}", case.email().replace('@', "%40"));
    assert!(file["client_x509_cert_url"].as_str().unwrap().ends_with(&certificates), "{file}");
    case.accepted("local");
}

fn permissions() {
    let iam = start_iam(IamOptions::default());
    let case = Case::named(World::shared(), "lacks", iam, |iam, name| google(iam, &secret(name)));
    case.settled(&json!({}));
    let (_, weak) = case.person.create_key(&case.name);
    set_login(&case.world.kube, OPERATOR_NAMESPACE, &case.backend, &weak);
    let message = case.told("ciamb", &case.backend, "PermissionsGranted", "False", Reason::PermissionMissing);
    for part in ["iam.serviceAccounts.create", "roles/iam.serviceAccountKeyAdmin", &case.email()] {
        assert!(message.contains(part), "{message}");
    }
    // It may have them on single accounts: the backend can be used.
    let backend = case.ready("ciamb", &case.backend);
    assert_eq!(backend["status"]["missingPermissions"].as_array().unwrap().len(), 12);
    case.account_named("another", &format!("{}-2", case.name), &json!({}));
    let message = case.told("iamsa", "another", "Ready", "False", Reason::PermissionMissing);
    assert!(message.contains("iam.serviceAccounts"), "{message}");
    case.accepted("billing");
    grant(&case, &[format!("serviceAccount:{}", case.email())]);
    case.ready("iamsa", "another");
    case.told("ciamb", &case.backend, "PermissionsGranted", "True", Reason::PermissionsComplete);
}

fn ambient() {
    let world = World::shared();
    let case = case("pod", |_| json!({}));
    let admin: Value = serde_json::from_slice(&std::fs::read(world.iam.admin_key_file()).unwrap()).unwrap();
    case.told("ciamb", &case.backend, "Ready", "False", Reason::LoginRefused);
    world.iam.settings(&json!({"metadataAccount": admin["client_email"]})).unwrap();
    case.settled(&json!({}));
    assert_eq!(case.ready("ciamb", &case.backend)["status"]["identity"], admin["client_email"]);
    case.accepted("billing");
}

/// A server that believes a cluster, and the file with a pod's token.
fn believing() -> (Cluster, IamServer) {
    let cluster = Cluster::new();
    let args = vec!["--identity-provider".to_owned(), cluster.provider()];
    let iam = start_iam(IamOptions { args, ..IamOptions::default() });
    (cluster, iam)
}

fn project_number(iam: &IamServer) -> String {
    let person = super::person::Person::at(iam);
    person.read_project()["projectNumber"].as_str().unwrap().to_owned()
}

fn federated() {
    let (cluster, iam) = believing();
    let number = project_number(&iam);
    let audience = Cluster::audience(&number);
    let file = cluster.projected(&audience);
    let federation = json!({"workloadIdentityFederation": {"audience": audience, "tokenFile": file}});
    let case = Case::named(World::shared(), "pool", iam, |iam, _| google(iam, &federation));
    let member = format!("principal://{}/subject/{POD}", Cluster::pool(&number));
    grant(&case, &[member]);
    case.settled(&json!({}));
    assert_eq!(case.ready("ciamb", &case.backend)["status"]["identity"], audience);
    case.accepted("billing");
    assert!(callers(&case).iter().all(|caller| caller.contains(POD)) && case.count("keys.create") == 1);
}

fn impersonation() {
    let (cluster, iam) = believing();
    let number = project_number(&iam);
    let audience = Cluster::audience(&number);
    let file = cluster.projected(&audience);
    let person = super::person::Person::at(&iam);
    person.create_account("keywheel-operator", "");
    let operator = person.email("keywheel-operator");
    let member = format!("principal://{}/subject/{POD}", Cluster::pool(&number));
    let policy = json!({"bindings": [{"role": "roles/iam.serviceAccountTokenCreator", "members": [member]}]});
    let set = person.call("POST", &format!("/{operator}:setIamPolicy"), &json!({ "policy": policy }));
    assert_eq!(set.0, 200, "{set:?}");
    let federation = json!({"audience": audience, "tokenFile": file});
    let auth = |more: Value| {
        let mut auth = json!({"impersonate": operator});
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        auth
    };
    let by_token = auth(json!({"workloadIdentityFederation": federation}));
    let case = Case::named(World::shared(), "acts", iam, |iam, _| google(iam, &by_token));
    grant(&case, &[format!("serviceAccount:{operator}")]);
    case.settled(&json!({}));
    assert_eq!(case.ready("ciamb", &case.backend)["status"]["identity"], json!(operator));
    assert_eq!(callers(&case), std::slice::from_ref(&operator));
    // The same from a file.
    let by_file = auth(json!({"secretRef": {"name": case.backend}, "workloadIdentityFederation": null}));
    case.patch("ciamb", &case.backend, &json!({"spec": {"google": {"auth": by_file}}}));
    case.key("second", &json!({}));
    case.ready("iamsak", "second");
    assert_eq!(callers(&case), [operator.clone(), operator]);
}

/// No network of the operator's own is lent, so nothing is reached in a test; what would be done can be told.
fn namespaced() {
    let world = World::shared();
    let case = Case::new(world, "tenant");
    let spec = json!({"google": {"projectId": "tenant-1", "auth": {"secretRef": {"name": "login"}}}});
    let backend = json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": "IamBackend",
        "metadata": {"name": "mine"}, "spec": spec});
    case.create("iamb", &backend);
    case.told("iamb", "mine", "Ready", "False", Reason::LoginMissing);
    let external = json!({"type": "external_account", "audience": "//iam.googleapis.com/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": case.iam().url(),
        "credential_source": {"file": "/etc/passwd"}});
    set_login(&world.kube, &case.name, "login", external.to_string().as_bytes());
    let message = case.told("iamb", "mine", "Ready", "False", Reason::LoginInvalid);
    assert!(message.contains("external_account"), "{message}");
}

/// Counts, not times: however slow the machine is, there are no more requests than tokens.
fn limited() {
    let iam = start_iam(IamOptions::default());
    let case = Case::named(World::shared(), "rate", iam, |iam, name| {
        let mut spec = google(iam, &secret(name));
        spec["rateLimit"] = json!({"requestsPerMinute": 600, "burst": 5});
        spec
    });
    case.account(&json!({}));
    let keys: Vec<String> = (0..8).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        case.key(key, &json!({}));
    }
    for key in &keys {
        case.ready("iamsak", key);
    }
    let all = case.iam().requests().unwrap();
    let paid: Vec<i64> = all
        .iter()
        // Proofs go to the token endpoint, which has no quota; the test itself asked for a project's number.
        .filter(|request| !["token", "projects.get"].contains(&request.operation.as_str()))
        .map(|request| super::case::time(&request.raw["time"]).as_millisecond())
        .collect();
    assert!(paid.len() > 16, "{all:?}");
    for (first, begin) in paid.iter().enumerate() {
        for (last, end) in paid.iter().enumerate().skip(first) {
            let sent = i64::try_from(last - first + 1).unwrap();
            // Five at once, one in 100 ms. A create was paid for by the list before it; a request takes its way.
            let most = 5 + (end - begin + 500) / 100 + 8;
            assert!(sent <= most, "{sent} requests within {} ms", end - begin);
        }
    }
}
