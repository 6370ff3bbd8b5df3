//! One role in each project or organization: what is changed in one call, what is left and joined again, and what is somebody
//! else's.

use std::time::Duration;

use keywheel::api::v1alpha1::BoundRole;
use keywheel::backend::{
    BackendError, DisruptiveCloud, DisruptiveEndpoints, IamBackend, NewAccount, System, connect,
};
use keywheel::credential::SecretBytes;
use keywheel::domain::account::{Account, PolicyChange};
use keywheel::domain::{Class, Reason};
use keywheel_testbed::iam::IamServer;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::super::trial;
use super::{Case, DEVELOPER, IamOptions, Vendor, account, account_named, case, start_iam};

/// The organization of the embedded server, and the only role there.
const ORGANIZATION: &str = "organizations/keywheel";
const ADMIN: &str = "roles/organization.admin";
const USER: &str = "roles/project.user";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::memberships::a_role_that_others_gave_stays_until_they_take_it", foreign),
        trial("disruptive::memberships::what_a_cluster_wide_backend_does_not_give_is_told", elsewhere),
        trial("disruptive::memberships::two_roles_in_one_place_contradict_each_other", two),
        trial("disruptive::memberships::an_organization_is_left_and_joined_again", organization),
        trial("disruptive::memberships::a_project_changes_a_role_in_one_call", project),
    ]
}

fn wanted(case: &Case<'_>, role: &str) -> Value {
    json!({"disruptive": {"memberships": [{"project": case.iam().project(), "role": role}]}})
}

fn foreign() {
    let case = case("dt-theirs", &json!({"tenants": {"roles": ["roles/project.*"]}}));
    let vendor = Vendor::at(case.iam());
    account(&case, &json!({}));
    let made = case.ready("iamsa", "billing");
    let id = made["status"]["uniqueId"].as_str().unwrap().to_owned();
    vendor.must("POST", "members", &json!({"roles": [USER], "email": made["status"]["email"]}));
    case.patch("iamsa", "billing", &json!({"spec": wanted(&case, DEVELOPER)}));
    let message = case.told("iamsa", "billing", "RolesBound", "False", Reason::PreconditionFailed);
    for words in [USER, "Remove that membership, or list that role", case.iam().project()] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(vendor.role(&id).as_deref(), Some(USER), "it is somebody else's");
    // Somebody takes it away.
    vendor.must("DELETE", &format!("members/{id}"), &Value::Null);
    case.told("iamsa", "billing", "RolesBound", "True", Reason::RolesBound);
    assert_eq!(vendor.role(&id).as_deref(), Some(DEVELOPER));
    // What was taken away by hand is given again with the next look.
    vendor.must("DELETE", &format!("members/{id}"), &Value::Null);
    case.patch("iamsa", "billing", &json!({"spec": {"displayName": "Sensors"}}));
    case.until("the role again", || match vendor.role(&id) {
        Some(role) if role == DEVELOPER => Ok(()),
        role => Err(json!(role)),
    });
    let operations = ["disruptive.members.patch", "disruptive.members.delete"];
    let all = case.iam().requests().unwrap();
    let person = |request: &keywheel_testbed::iam::Request| request.operation == operations[1];
    assert_eq!(all.iter().filter(|r| person(r)).count(), 2, "both by a person");
    assert!(!all.iter().any(|r| r.operation == operations[0]));
}

fn elsewhere() {
    let case = case("dt-other", &json!({"tenants": {"roles": [DEVELOPER]}}));
    let member = |place: &str, id: &str, role: &str| {
        let mut membership = json!({"role": role});
        membership[place] = json!(id);
        json!({"disruptive": {"memberships": [membership]}})
    };
    for (name, spec, reason, words) in [
        ("org", member("organization", "keywheel", ADMIN), Reason::ResourceNotAllowed, "Use an IamBackend"),
        ("project", member("project", "other", DEVELOPER), Reason::ResourceNotAllowed, "Use an IamBackend"),
        ("role", wanted(&case, USER), Reason::RoleNotAllowed, "tenants.roles"),
    ] {
        account_named(&case, name, &spec);
        let message = case.told("iamsa", name, "Stalled", "True", reason);
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(super::changed(&case), 0);
}

fn two() {
    let case = case("dt-two", &json!({"tenants": {"roles": ["roles/project.*"]}}));
    let mut spec = wanted(&case, USER);
    spec["roles"] = json!([{"role": DEVELOPER}]);
    account(&case, &spec);
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::InvalidSpec);
    assert!(message.contains(USER) && message.contains(DEVELOPER), "{message}");
    assert_eq!(super::changed(&case), 0);
    case.patch("iamsa", "billing", &json!({"spec": {"roles": null}}));
    let id = case.ready("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    assert_eq!(Vendor::at(case.iam()).role(&id).as_deref(), Some(USER));
}

/// The client as the operator has it. An `IamBackend`, which alone may name organizations, has no other addresses than the vendor's.
struct Client {
    runtime: tokio::runtime::Runtime,
    backend: std::sync::Arc<dyn IamBackend>,
    account: Account,
}

impl Client {
    fn at(iam: &IamServer) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let login = SecretBytes::new(std::fs::read(iam.disruptive_admin_key_file()).unwrap());
        let url = iam.url();
        let endpoints =
            DisruptiveEndpoints { api: format!("{url}/v2"), token: format!("{url}/oauth2/token") };
        let cloud = DisruptiveCloud { project: iam.project(), login: &login, endpoints };
        let timeout = Duration::from_secs(8);
        let backend = runtime.block_on(connect(System::Disruptive(cloud), timeout)).unwrap();
        let new = NewAccount {
            account_id: String::new(),
            display_name: "member".to_owned(),
            description: String::new(),
            basic_auth: false,
        };
        // What changes something goes with a token at hand, or not at all.
        runtime.block_on(backend.ready());
        let account = runtime.block_on(backend.create_account(&new)).unwrap();
        Self { runtime, backend, account }
    }

    /// The roles afterwards, and whether anything was written.
    fn change(
        &self,
        resource: &str,
        add: &[&str],
        remove: &[&str],
    ) -> Result<(Vec<String>, bool), BackendError> {
        let bound = |role: &&str| BoundRole {
            role: (*role).to_owned(),
            resource: resource.to_owned(),
            condition: None,
        };
        let change = PolicyChange {
            resource: resource.to_owned(),
            email: self.account.email.clone(),
            unique_id: self.account.unique_id.clone(),
            add: add.iter().map(bound).collect(),
            remove: remove.iter().map(bound).collect(),
        };
        let changed = self.runtime.block_on(self.backend.change_policy(&change, &|| true))?.unwrap();
        let told = changed.told.held.into_iter().map(|held| held.role).collect();
        Ok((told, changed.written))
    }
}

/// The writes to members, in order, and how each was answered.
fn writes(iam: &IamServer) -> Vec<(String, Option<u16>)> {
    let all = iam.requests().unwrap();
    let kinds = ["create", "patch", "delete"].map(|kind| format!("disruptive.members.{kind}"));
    let writes = all.into_iter().filter(|request| kinds.contains(&request.operation));
    writes.map(|request| (request.operation.replace("disruptive.members.", ""), request.status)).collect()
}

fn organization() {
    let iam = start_iam(IamOptions::default());
    let (client, vendor) = (Client::at(&iam), Vendor::at(&iam));
    let id = client.account.unique_id.clone();
    let role = || {
        let (status, member) = vendor.call_at("GET", &format!("{ORGANIZATION}/members/{id}"), &Value::Null);
        (status == 200).then(|| member["roles"][0].as_str().unwrap().to_owned())
    };
    let one = |role: &str| vec![role.to_owned()];
    assert_eq!(client.change(ORGANIZATION, &[ADMIN], &[]).unwrap(), (one(ADMIN), true));
    assert_eq!(role().as_deref(), Some(ADMIN));
    assert_eq!(client.change(ORGANIZATION, &[ADMIN], &[]).unwrap(), (one(ADMIN), false), "it is so");
    // Another role: there is no call that changes one, so the first change leaves, and says so; the next one joins.
    let other = "roles/organization.user";
    assert_eq!(client.change(ORGANIZATION, &[other], &[ADMIN]).unwrap(), (Vec::new(), true));
    assert_eq!(role(), None);
    let refused = client.change(ORGANIZATION, &[other], &[ADMIN]).unwrap_err();
    assert_eq!(refused.class(), Class::Invalid, "the embedded server has one role there: {refused}");
    assert_eq!(client.change(ORGANIZATION, &[ADMIN], &[other]).unwrap(), (one(ADMIN), true));
    let answered = |kind: &str, status| (kind.to_owned(), Some(status));
    let told =
        [answered("create", 200), answered("delete", 200), answered("create", 400), answered("create", 200)];
    assert_eq!(writes(&iam), told, "never a patch, one write a change");
    // One that is not ours is neither replaced nor left.
    let theirs = client.change(ORGANIZATION, &[other], &[]).unwrap_err();
    assert_eq!(theirs.class(), Class::Precondition, "{theirs}");
    assert!(theirs.to_string().contains(ADMIN), "{theirs}");
    assert_eq!(client.change(ORGANIZATION, &[], &[other]).unwrap(), (one(ADMIN), false));
    assert_eq!(client.change(ORGANIZATION, &[], &[ADMIN]).unwrap(), (Vec::new(), true));
    assert_eq!(client.change(ORGANIZATION, &[], &[ADMIN]).unwrap(), (Vec::new(), false), "gone is gone");
    assert_eq!(role(), None);
    // A place that is not there is no place where the account is not.
    let nowhere = client.change("organizations/other", &[ADMIN], &[]).unwrap_err();
    assert_eq!(nowhere.class(), Class::NotFound, "{nowhere}");
}

fn project() {
    let iam = start_iam(IamOptions::default());
    let client = Client::at(&iam);
    let place = format!("projects/{}", iam.project());
    let one = |role: &str| vec![role.to_owned()];
    assert_eq!(client.change(&place, &[USER], &[]).unwrap(), (one(USER), true));
    assert_eq!(client.change(&place, &[DEVELOPER], &[USER]).unwrap(), (one(DEVELOPER), true));
    let theirs = client.change(&place, &[USER], &[]).unwrap_err();
    assert_eq!(theirs.class(), Class::Precondition, "{theirs}");
    assert_eq!(client.change(&place, &[], &[DEVELOPER]).unwrap(), (Vec::new(), true));
    let answered = |kind: &str| (kind.to_owned(), Some(200));
    assert_eq!(writes(&iam), ["create", "patch", "delete"].map(answered));
}
