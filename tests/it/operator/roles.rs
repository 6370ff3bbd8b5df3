//! Roles: bound beside those of others, within what the backend's `tenants` allow, and taken back.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{World, set_login, start_iam};

const VIEWER: &str = "roles/earthengine.viewer";
const CONSUMER: &str = "roles/serviceusage.serviceUsageConsumer";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("roles::they_are_bound_beside_those_of_others_and_taken_back", life),
        trial("roles::who_was_faster_is_not_overwritten", race),
        trial("roles::a_login_that_may_not_bind_is_told_so", forbidden),
        trial("roles::a_namespace_gets_what_the_tenants_rules_list", tenants),
        trial("roles::an_account_gets_a_role_on_another_account", on_an_account),
    ]
}

/// At a server of its own: a project has one policy.
fn case(prefix: &str) -> Case<'static> {
    let tenants = json!({"tenants": {"roles": ["roles/earthengine.*", CONSUMER]}});
    Case::at(World::shared(), prefix, start_iam(IamOptions::default()), &tenants)
}

fn roles(names: &[&str]) -> Value {
    let roles: Vec<Value> = names.iter().map(|role| json!({ "role": role })).collect();
    json!({ "roles": roles })
}

/// The policy, as who has what under which condition, sorted.
fn policy(case: &Case<'_>) -> Vec<(String, String, String)> {
    let asked = json!({"options": {"requestedPolicyVersion": 3}});
    flat(&case.person.project("getIamPolicy", &asked))
}

fn flat(policy: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for binding in policy["bindings"].as_array().into_iter().flatten() {
        for member in binding["members"].as_array().into_iter().flatten() {
            all.push((text(member), text(&binding["role"]), text(&binding["condition"]["title"])));
        }
    }
    all.sort();
    all
}

fn of(case: &Case<'_>) -> Vec<(String, String)> {
    let name = case.email();
    let ours = policy(case).into_iter().filter(|(member, _, _)| member.contains(&name));
    ours.map(|(_, role, condition)| (role, condition)).collect()
}

fn pair(role: &str, condition: &str) -> (String, String) {
    (role.to_owned(), condition.to_owned())
}

fn life() {
    let case = case("roles");
    let theirs = json!({"bindings": [{"role": VIEWER, "members": ["user:ada@example.com"]},
        {"role": "roles/viewer", "members": ["user:ada@example.com"], "condition": {"title": "office",
            "expression": "request.time < timestamp(\"2100-01-01T00:00:00Z\")"}}]});
    case.person.project("setIamPolicy", &json!({"policy": merge(&theirs, &json!({"version": 3}))}));
    let before = policy(&case);
    let until = json!({"title": "until", "expression": "request.time < timestamp(\"2099-01-01T00:00:00Z\")"});
    case.account(&json!({"roles": [{"role": VIEWER}, {"role": CONSUMER, "condition": until}]}));
    let account = case.ready("iamsa", "billing");
    assert_eq!(condition(&account, "RolesBound")["status"], "True", "{account}");
    assert_eq!(account["status"]["boundRoles"].as_array().unwrap().len(), 2);
    assert_eq!(of(&case), [pair(VIEWER, ""), pair(CONSUMER, "until")]);
    let of_others: Vec<_> =
        policy(&case).into_iter().filter(|(m, _, _)| !m.contains(&case.email())).collect();
    assert_eq!(of_others, before, "with their conditions");
    assert_eq!(
        case.iam().requests().unwrap().iter().filter(|r| r.operation == "projects.setIamPolicy").count(),
        2,
        "one by the person, one for both roles"
    );

    case.patch("iamsa", "billing", &json!({"spec": roles(&[VIEWER])}));
    case.when("iamsa", "billing", "one role", |account| {
        account["status"]["boundRoles"].as_array().is_some_and(|roles| roles.len() == 1)
    });
    case.ready("iamsa", "billing");
    assert_eq!(of(&case), [pair(VIEWER, "")]);
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert_eq!(policy(&case), before, "not even a ghost of the account is left");
}

fn merge(a: &Value, b: &Value) -> Value {
    let mut all = a.clone();
    all.as_object_mut().unwrap().extend(b.as_object().unwrap().clone());
    all
}

fn race() {
    let case = case("faster");
    let refusal = json!({"fail": {"status": 409, "canonical": "ABORTED", "message": "There were concurrent policy changes."}});
    case.iam().fault(&json!({"operation": "projects.setIamPolicy", "action": refusal, "times": 2})).unwrap();
    case.account(&roles(&[VIEWER]));
    case.ready("iamsa", "billing");
    assert_eq!(of(&case), [pair(VIEWER, "")]);
    let all = case.iam().requests().unwrap();
    let count = |operation: &str| all.iter().filter(|r| r.operation == operation).count();
    assert_eq!(count("projects.setIamPolicy"), 3);
    assert!(count("projects.getIamPolicy") >= 4, "each of them rests on a new read");
}

fn forbidden() {
    let case = case("unbound");
    let (_, weak) = {
        case.person.create_account("operator-weak", "");
        case.person.create_key("operator-weak")
    };
    let admins = format!("serviceAccount:{}", case.person.email("operator-weak"));
    let bindings = json!([{"role": "roles/iam.serviceAccountAdmin", "members": [admins]},
        {"role": "roles/iam.serviceAccountKeyAdmin", "members": [admins]}]);
    case.person.project("setIamPolicy", &json!({"policy": {"bindings": bindings}}));
    set_login(&case.world.kube, keywheel_testbed::control_plane::OPERATOR_NAMESPACE, &case.backend, &weak);
    case.account(&roles(&[VIEWER]));
    let message = case.told("iamsa", "billing", "RolesBound", "False", Reason::PermissionMissing);
    assert!(message.contains("getIamPolicy"), "{message}");
    // Its keys work for all that.
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    case.accepted("billing");
    let roles = json!([{"role": "roles/iam.serviceAccountAdmin", "members": [admins]},
        {"role": "roles/iam.serviceAccountKeyAdmin", "members": [admins]},
        {"role": "roles/resourcemanager.projectIamAdmin", "members": [admins]}]);
    case.person.project("setIamPolicy", &json!({"policy": {"bindings": roles}}));
    case.ready("iamsa", "billing");
    assert_eq!(of(&case), [pair(VIEWER, "")]);
}

fn tenants() {
    let case = case("tenant");
    case.account(&roles(&["roles/owner"]));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::RoleNotAllowed);
    assert!(message.contains("roles/owner") && message.contains("roles/earthengine.*"), "{message}");
    assert!(case.person.account(&case.name).is_none(), "nothing was made");
    case.patch(
        "iamsa",
        "billing",
        &json!({"spec": {"roles": [{"role": VIEWER, "resource": "projects/another"}]}}),
    );
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::ResourceNotAllowed);
    assert!(message.contains("projects/another"), "{message}");
    case.patch("iamsa", "billing", &json!({"spec": roles(&[VIEWER])}));
    case.ready("iamsa", "billing");
}

/// In its own namespace, with a login of its own, a tenant binds what its login may bind.
fn on_an_account() {
    let world = World::shared();
    let case = Case::new(world, "robot");
    let login = std::fs::read(world.iam.admin_key_file()).unwrap();
    set_login(&world.kube, &case.name, "login", &login);
    let spec = json!({"embedded": {"auth": {"secretRef": {"name": "login"}}}});
    case.create(
        "iamb",
        &json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": "IamBackend",
        "metadata": {"name": "mine"}, "spec": spec}),
    );
    let target = format!("{}-t", case.name);
    case.person.create_account(&target, "");
    let resource = format!("projects/{}/serviceAccounts/{}", world.iam.project(), case.person.email(&target));
    let role = "roles/iam.serviceAccountTokenCreator";
    let spec = json!({"backendRef": {"kind": "IamBackend", "name": "mine"},
        "roles": [{"role": role, "resource": resource}]});
    case.account(&spec);
    case.ready("iamsa", "billing");
    let read = || {
        let (status, policy) =
            case.person.call("POST", &format!("/{}:getIamPolicy", case.person.email(&target)), &json!({}));
        assert_eq!(status, 200, "{policy}");
        flat(&policy)
    };
    assert_eq!(read(), [(format!("serviceAccount:{}", case.email()), role.to_owned(), String::new())]);
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    assert_eq!(read(), []);
    // Where the other account goes first, nothing holds this one up.
    case.account_named("second", &format!("{}-s", case.name), &spec);
    case.ready("iamsa", "second");
    let (status, answer) =
        case.person.call("DELETE", &format!("/{}", case.person.email(&target)), &Value::Null);
    assert_eq!(status, 200, "{answer}");
    case.delete("iamsa", "second");
    case.gone("iamsa", "second");
}
