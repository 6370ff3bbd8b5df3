//! A backend that says when it wants to be asked again is not asked before, about the account, its roles or its services.

use super::*;
use crate::api::v1alpha1::RoleBinding;
use crate::domain::conditions::{ROLES_BOUND, SERVICES_ENABLED};

fn throttled(seconds: u64) -> Trouble {
    Trouble::new(Class::Throttled, "Quota exceeded").until_after(Duration::from_secs(seconds))
}

fn later(obs: &Observation, seconds: i64) -> Plan {
    plan(obs, at(seconds), &Timing::default())
}

fn message(plan: &Plan, type_: &str) -> String {
    conditions::find(&plan.status.conditions, type_).unwrap().message.clone()
}

#[test]
fn a_refused_step_waits_for_as_long_as_the_backend_asks() {
    let mut obs = fresh();
    obs.account = Some(Ok(None));
    obs.refused = Some(throttled(600));
    let told = decide(&obs);
    assert_eq!((told.status.retry_after, told.requeue), (Some(at(600)), Duration::from_mins(10)));
    let words = message(&told, READY);
    let until = format!("Quota exceeded; the backend asks not to be tried again before {:.0}", at(600));
    assert_eq!(words, until);
    (obs.status, obs.refused, obs.account) = (told.status, None, None);
    assert_eq!((later(&obs, 599).next, later(&obs, 599).requeue.as_secs()), (Next::Wait, 1));
    assert_eq!(later(&obs, 600).next, Next::NeedAccount);
    obs.generation = Some(2);
    assert_eq!(later(&obs, 1).next, Next::NeedAccount, "a person changed something");
}

#[test]
fn our_own_wait_is_the_least_and_an_hour_the_most() {
    let timing = Timing::default();
    let waits = |failures, asked| {
        let mut obs = fresh();
        obs.account = Some(Err(throttled(asked)));
        (obs.status.failures, obs.status.observed_generation) = (failures, obs.generation);
        decide(&obs).requeue
    };
    assert_eq!(waits(7, 5), timing.retry(8));
    assert_eq!(waits(0, 1_000_000), Duration::from_hours(1));
}

#[test]
fn it_is_over_once_the_account_is_there() {
    let mut obs = fresh();
    obs.account = Some(Err(throttled(600)));
    obs.status = decide(&obs).status;
    obs.account = Some(Ok(Some(ours())));
    let there = later(&obs, 600);
    assert_eq!((there.status.retry_after, reason(&there, READY).as_str()), (None, "AccountReady"));
}

#[test]
fn a_deletion_waits_as_long() {
    let mut obs = settled();
    (obs.deleting, obs.keys, obs.refused) = (true, Some(Vec::new()), Some(throttled(600)));
    let told = decide(&obs);
    assert_eq!((told.status.retry_after, told.requeue), (Some(at(600)), Duration::from_mins(10)));
    (obs.status, obs.refused) = (told.status, None);
    assert_eq!(later(&obs, 599).next, Next::Wait);
    assert!(matches!(later(&obs, 600).next, Next::Act(Step::Delete { .. })));
}

#[test]
fn a_change_of_roles_waits_and_the_account_does_not() {
    let mut obs = settled();
    obs.spec.roles = vec![RoleBinding { role: "roles/viewer".to_owned(), resource: None, condition: None }];
    let membership = Membership { held: Vec::new(), ghosts: Vec::new() };
    let view = PolicyView { resource: "projects/p".to_owned(), told: Ok(membership), answers: None };
    obs.policies = Some(vec![view]);
    obs.status = decide(&obs).status;
    assert!(matches!(decide(&obs).next, Next::Act(Step::Bind(_))));
    obs.done.bind_refused = Some(throttled(600));
    let told = decide(&obs);
    assert_eq!((told.status.retry_after, told.requeue), (Some(at(600)), Duration::from_mins(10)));
    assert_eq!(reason(&told, ROLES_BOUND), "BackendThrottled");
    assert!(message(&told, ROLES_BOUND).contains("not to be tried again before"));
    (obs.status, obs.done.bind_refused, obs.policies) = (told.status, None, None);
    let waiting = later(&obs, 599);
    assert_eq!((&waiting.next, waiting.requeue.as_secs()), (&Next::Wait, 1));
    assert_eq!(waiting.status, obs.status);
    assert!(matches!(later(&obs, 600).next, Next::NeedPolicies { .. }));
    let changed = Observation { generation: Some(2), ..obs.clone() };
    assert!(matches!(later(&changed, 1).next, Next::NeedPolicies { .. }), "a person changed something");
    // What the backend says about one thing is no word about another.
    obs.spec.disabled = true;
    assert!(matches!(later(&obs, 1).next, Next::Act(Step::SetDisabled { .. })));
}

#[test]
fn services_wait_all_together() {
    let mut obs = settled();
    let names = ["storage.googleapis.com", "pubsub.googleapis.com"];
    obs.spec.services = names.map(str::to_owned).to_vec();
    obs.generation = Some(2);
    let missing = |name: &str| ServiceView { name: name.to_owned(), enabled: Ok(false) };
    obs.services = Some(names.map(missing).to_vec());
    obs.done.asked.push(names[0].to_owned());
    obs.done.refused.push((names[0].to_owned(), throttled(600)));
    let told = decide(&obs);
    assert_eq!((&told.next, told.requeue), (&Next::Wait, Duration::from_mins(10)));
    assert_eq!(reason(&told, SERVICES_ENABLED), "BackendThrottled");
    (obs.status, obs.done, obs.services) = (told.status, Done::default(), None);
    assert_eq!((later(&obs, 599).next, later(&obs, 599).requeue.as_secs()), (Next::Wait, 1));
    assert!(matches!(later(&obs, 600).next, Next::NeedServices { .. }));
}
