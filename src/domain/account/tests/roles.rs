//! Roles: written down, bound, mended, taken back; what a lost answer or a stale read may hide.

use super::*;
use crate::api::v1alpha1::{BoundRole, RoleBinding, RoleCondition};
use crate::domain::conditions::ROLES_BOUND;

/// SETTLE, the send window, H and LAG.
pub(super) const UNANSWERED: i64 = 60 + 10 + 60 * 60 + 10 * 60;

pub(super) fn asked(role: &str) -> RoleBinding {
    RoleBinding { role: role.to_owned(), resource: None, condition: None }
}

fn bound(role: &str) -> BoundRole {
    BoundRole { role: role.to_owned(), resource: "projects/p".to_owned(), condition: None }
}

pub(super) fn all(roles: &[&str]) -> Vec<BoundRole> {
    roles.iter().map(|role| bound(role)).collect()
}

pub(super) fn policy(held: &[&str]) -> Vec<PolicyView> {
    let told = Ok(Membership { held: all(held), ghosts: Vec::new() });
    vec![PolicyView { resource: "projects/p".to_owned(), told, answers: None }]
}

pub(super) fn unread(class: Class) -> Vec<PolicyView> {
    let told = Err(Trouble::new(class, "no"));
    vec![PolicyView { resource: "projects/p".to_owned(), told, answers: None }]
}

/// The answer to a change.
pub(super) fn answer(held: &[&str], change: &PolicyChange) -> Vec<PolicyView> {
    policy(held).into_iter().map(|view| PolicyView { answers: Some(change.clone()), ..view }).collect()
}

/// An account that is there and was never bound to anything.
pub(super) fn asking(roles: &[&str]) -> Observation {
    let mut obs = fresh();
    obs.spec.roles = roles.iter().map(|role| asked(role)).collect();
    obs.account = Some(Ok(Some(ours())));
    obs
}

/// With its roles bound by a change that was answered, at rest.
fn having(roles: &[&str]) -> Observation {
    let mut obs = asking(roles);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    let bind = decide(&obs);
    obs.policies = Some(answer(roles, change(&bind)));
    obs.status = decide(&obs).status;
    obs.policies = None;
    assert_eq!(reason(&decide(&obs), ROLES_BOUND), "RolesBound");
    obs
}

/// The same after a change that was refused.
fn refused(obs: &Observation, trouble: Trouble) -> Observation {
    let done = Done { bind_refused: Some(trouble), ..obs.done.clone() };
    Observation { done, ..obs.clone() }
}

#[track_caller]
pub(super) fn change(plan: &Plan) -> &PolicyChange {
    match &plan.next {
        Next::Act(Step::Bind(change)) => change,
        other => panic!("{other:?}"),
    }
}

pub(super) fn reads(plan: &Plan) -> bool {
    matches!(plan.next, Next::NeedPolicies { .. })
}

#[test]
fn a_role_is_written_down_then_bound_then_called_bound() {
    let mut obs = asking(&["roles/viewer"]);
    assert_eq!(decide(&obs).next, Next::NeedPolicies { resources: vec!["projects/p".to_owned()] });
    obs.policies = Some(policy(&[]));
    let intended = decide(&obs);
    assert_eq!((&intended.next, intended.requeue), (&Next::Wait, Duration::ZERO));
    assert_eq!(intended.status.bound_roles, all(&["roles/viewer"]), "before it is bound");
    assert_eq!(intended.status.roles_settle_at, Some(at(UNANSWERED)));
    assert_eq!(intended.status.unique_id.as_deref(), Some("100"), "in the same write");
    assert_eq!(intended.status.created_at, Some(at(0)));
    assert_eq!(reason(&intended, READY), "RolesPending");
    obs.status = intended.status;
    let bind = decide(&obs);
    let PolicyChange { resource, email, unique_id, add, remove } = change(&bind);
    assert_eq!((resource.as_str(), email.as_str(), unique_id.as_str()), ("projects/p", "billing@p", "100"));
    assert_eq!((add, remove.len()), (&all(&["roles/viewer"]), 0));
    assert_eq!(bind.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::AccountUpdated]);
    obs.policies = Some(answer(&["roles/viewer"], change(&bind)));
    let done = decide(&obs);
    assert_eq!(
        (reason(&done, READY), reason(&done, ROLES_BOUND)),
        ("AccountReady".into(), "RolesBound".into())
    );
    assert_eq!(done.status.roles_settle_at, Some(at(600)), "an answer leaves the lag of reads only");
    obs.status = done.status;
    obs.policies = None;
    let rest = decide(&obs);
    assert_eq!((rest.next, rest.status), (Next::Wait, obs.status), "at rest nothing is read or written");
}

#[test]
fn a_change_leaves_only_while_its_intent_is_young() {
    let mut obs = asking(&["roles/viewer"]);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    assert_eq!(change(&plan(&obs, at(60), &Timing::default())).add, all(&["roles/viewer"]));
    let again = plan(&obs, at(61), &Timing::default());
    assert_eq!((again.next, again.status.roles_settle_at), (Next::Wait, Some(at(61 + UNANSWERED))));
}

#[test]
fn what_is_no_longer_asked_for_is_taken_back_first_and_nothing_else() {
    let mut obs = having(&["roles/viewer", "roles/editor"]);
    obs.generation = Some(2);
    obs.spec.roles = vec![asked("roles/editor"), asked("roles/browser")];
    obs.policies = Some(policy(&["roles/viewer", "roles/editor", "roles/owner"]));
    let intended = decide(&obs).status;
    assert_eq!(intended.roles_settle_at, Some(at(UNANSWERED)));
    obs.status = intended;
    let plan = decide(&obs);
    assert_eq!(
        (change(&plan).add.len(), &change(&plan).remove),
        (0, &all(&["roles/viewer"])),
        "the owner is not ours"
    );
    obs.policies = Some(answer(&["roles/editor", "roles/owner"], change(&plan)));
    obs.status = decide(&obs).status;
    assert_eq!(obs.status.bound_roles, all(&["roles/viewer", "roles/editor", "roles/browser"]));
    let plan = decide(&obs);
    assert_eq!((&change(&plan).add, change(&plan).remove.len()), (&all(&["roles/browser"]), 0));
    obs.policies = Some(answer(&["roles/editor", "roles/owner", "roles/browser"], change(&plan)));
    assert_eq!(decide(&obs).status.bound_roles, all(&["roles/editor", "roles/browser"]));
}

#[test]
fn a_role_that_a_read_does_not_show_is_remembered_until_it_must_show() {
    let mut obs = having(&["roles/viewer"]);
    obs.generation = Some(2);
    obs.spec.roles.clear();
    // A read from before it was bound, or a change whose answer was lost.
    obs.policies = Some(policy(&[]));
    let waiting = decide(&obs);
    assert_eq!((&waiting.next, waiting.requeue.as_secs()), (&Next::Wait, 600));
    assert_eq!(waiting.status.bound_roles, all(&["roles/viewer"]));
    obs.status = waiting.status;
    obs.policies = None;
    assert_eq!(plan(&obs, at(599), &Timing::default()).next, Next::Wait, "not asked for every second");
    let due = plan(&obs, at(600), &Timing::default());
    assert!(reads(&due));
    obs.policies = Some(policy(&["roles/viewer"]));
    assert_eq!(plan(&obs, at(600), &Timing::default()).status.roles_settle_at, Some(at(600 + UNANSWERED)));
    obs.policies = Some(policy(&[]));
    let forgotten = plan(&obs, at(600), &Timing::default()).status;
    assert_eq!((forgotten.bound_roles.len(), forgotten.roles_settle_at), (0, None));
    assert!(conditions::find(&forgotten.conditions, ROLES_BOUND).is_none());
}

#[test]
fn a_role_that_somebody_took_away_comes_back_with_the_next_audit() {
    let mut obs = having(&["roles/viewer"]);
    obs.census_due = true;
    assert!(reads(&decide(&obs)));
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    assert_eq!(change(&decide(&obs)).add, all(&["roles/viewer"]));
    let mut obs = having(&["roles/viewer"]);
    obs.census_due = true;
    obs.policies = Some(policy(&["roles/viewer"]));
    assert!(matches!(decide(&obs).next, Next::NeedCensus { .. }));
    obs.policies = Some(unread(Class::Unknown));
    assert!(matches!(decide(&obs).next, Next::NeedCensus { .. }), "it is looked at another time");
}

#[test]
fn what_cannot_be_read_or_bound_is_told_and_holds_up_nothing_else() {
    let mut obs = asking(&["roles/viewer"]);
    obs.policies = Some(unread(Class::Forbidden));
    let told = decide(&obs);
    assert!(told.status.bound_roles.is_empty(), "nothing was asked for");
    for type_ in [READY, ROLES_BOUND] {
        assert_eq!(reason(&told, type_), "PermissionMissing");
    }
    assert_eq!((told.requeue.as_secs(), told.status.unique_id.as_deref()), (60, Some("100")));
    obs.status = told.status;
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    obs.done.bind_refused = Some(Trouble::new(Class::Invalid, "no such role"));
    let refused = decide(&obs);
    assert_eq!(
        (reason(&refused, ROLES_BOUND).as_str(), reason(&refused, READY).as_str()),
        ("RequestRefused", "RequestRefused")
    );
    assert_eq!(refused.status.exclusive, Some(true), "the rest goes on");
    obs.status = refused.status;
    obs.leftovers = Some(vec![leftover(-60)]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { .. })));
}

#[test]
fn a_form_that_the_backend_does_not_show_is_not_sent_again_and_again() {
    let mut obs = asking(&["roles/viewer"]);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    let bind = decide(&obs);
    obs.policies = Some(answer(&["roles/Viewer"], change(&bind)));
    assert_eq!(reason(&decide(&obs), ROLES_BOUND), "RequestRefused");
}

#[test]
fn what_was_there_is_ours_only_on_an_account_that_we_made() {
    let mut obs = asking(&["roles/viewer", "roles/editor"]);
    obs.policies = Some(policy(&["roles/viewer", "roles/editor"]));
    assert_eq!(decide(&obs).status.bound_roles.len(), 2);
    obs.spec.adoption_policy = AdoptionPolicy::IfExists;
    obs.account = Some(Ok(Some(account("made by hand"))));
    assert_eq!(decide(&obs).status.bound_roles.len(), 0);
    obs.policies = Some(policy(&["roles/viewer"]));
    assert_eq!(decide(&obs).status.bound_roles, all(&["roles/editor"]));
}

#[test]
fn an_account_leaves_its_bindings_before_it_goes() {
    let mut obs = having(&["roles/viewer"]);
    (obs.deleting, obs.keys) = (true, Some(Vec::new()));
    assert!(reads(&decide(&obs)));
    obs.policies = Some(policy(&["roles/viewer", "roles/owner"]));
    assert_eq!(change(&decide(&obs)).remove, all(&["roles/viewer"]));
    obs.done.bind_refused = Some(Trouble::new(Class::Forbidden, "no"));
    assert_eq!(reason(&decide(&obs), READY), "PermissionMissing");
    obs.done.bind_refused = None;
    obs.policies = Some(unread(Class::Forbidden));
    assert_eq!(reason(&decide(&obs), READY), "PermissionMissing");
    for gone in [policy(&["roles/owner"]), unread(Class::NotFound)] {
        obs.policies = Some(gone);
        assert!(matches!(plan(&obs, at(600), &Timing::default()).next, Next::Act(Step::Delete { .. })));
    }
}

/// A bind whose answer was lost may still arrive, and a read may show what was before one that was answered.
#[test]
fn an_account_goes_only_once_a_read_must_show_what_it_was_bound_to() {
    let mut obs = having(&["roles/viewer"]);
    (obs.deleting, obs.keys) = (true, Some(Vec::new()));
    obs.policies = Some(policy(&["roles/viewer"]));
    let remove = change(&decide(&obs)).clone();
    obs.policies = Some(answer(&[], &remove));
    assert!(matches!(decide(&obs).next, Next::Act(Step::Delete { .. })), "its own change is no lag");
    obs.policies = Some(policy(&[]));
    let waits = decide(&obs);
    assert_eq!((&waits.next, waits.requeue.as_secs()), (&Next::Wait, 600));
    assert_eq!(reason(&waits, READY), "Deleting");
    let due = plan(&obs, at(600), &Timing::default());
    assert!(matches!(due.next, Next::Act(Step::Delete { .. })));
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Retain);
    assert!(matches!(decide(&obs).next, Next::Act(Step::Describe { .. })), "it is let go");
}

/// A slip of the pen in a spec holds up nobody for an hour.
#[test]
fn what_was_refused_is_not_on_its_way() {
    let mut obs = asking(&["roles/viewr"]);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    let deleting = |obs: &Observation, class: Class| {
        let refused = refused(obs, Trouble::new(class, "no"));
        let status = decide(&refused).status;
        let plan = decide(&Observation { deleting: true, keys: Some(Vec::new()), status, ..obs.clone() });
        assert_eq!((&plan.next, reason(&plan, READY).as_str()), (&Next::Wait, "Deleting"), "{class:?}");
        i64::try_from(plan.requeue.as_secs()).unwrap()
    };
    for class in [Class::Invalid, Class::Forbidden, Class::OrgPolicy, Class::Throttled] {
        assert_eq!(deleting(&obs, class), 60 + 10 + 600, "{class:?}");
    }
    assert_eq!(deleting(&obs, Class::Unknown), UNANSWERED + 1, "a timeout is not a no");
    let mut unsaid = decide(&refused(&obs, Trouble::new(Class::Unknown, "no answer"))).status;
    unsaid.roles_settle_at = Some(at(UNANSWERED));
    let waits =
        decide(&Observation { deleting: true, keys: Some(Vec::new()), status: unsaid, ..obs.clone() });
    assert_eq!(i64::try_from(waits.requeue.as_secs()).unwrap(), UNANSWERED);
    // Nor does a no that comes after it say that it never arrives.
    let lost = refused(&obs, Trouble::new(Class::Unknown, "no answer"));
    obs.status = decide(&lost).status;
    assert_eq!(deleting(&obs, Class::Forbidden), UNANSWERED + 1);
    // An intent that was renewed was there before.
    obs.status.roles_settle_at = Some(at(UNANSWERED + 61));
    assert_eq!(deleting(&obs, Class::Forbidden), UNANSWERED + 61);
}

#[test]
fn an_account_that_stays_keeps_what_is_listed_and_leaves_the_rest() {
    let mut obs = having(&["roles/viewer", "roles/editor"]);
    obs.generation = Some(2);
    obs.spec.roles = vec![asked("roles/editor")];
    (obs.deleting, obs.keys) = (true, Some(Vec::new()));
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Retain);
    assert!(reads(&decide(&obs)));
    obs.policies = Some(policy(&["roles/viewer", "roles/editor"]));
    assert_eq!(change(&decide(&obs)).remove, all(&["roles/viewer"]));
    for done in [policy(&["roles/editor"]), unread(Class::Forbidden)] {
        obs.policies = Some(done);
        assert!(matches!(decide(&obs).next, Next::Act(Step::Describe { .. })), "it is let go");
    }
}

#[test]
fn the_ghost_of_an_account_that_others_deleted_is_laid() {
    let mut obs = having(&["roles/viewer"]);
    (obs.deleting, obs.keys, obs.account) = (true, Some(Vec::new()), Some(Ok(None)));
    let later = |obs: &Observation| plan(obs, at(601), &Timing::default());
    assert!(reads(&later(&obs)));
    let told = Ok(Membership { held: Vec::new(), ghosts: all(&["roles/viewer", "roles/owner"]) });
    obs.policies = Some(vec![PolicyView { told, ..policy(&[]).remove(0) }]);
    assert_eq!(change(&later(&obs)).remove, all(&["roles/viewer"]));
    for done in [policy(&[]), unread(Class::Forbidden)] {
        obs.policies = Some(done);
        assert_eq!(later(&obs).next, Next::Act(Step::RemoveFinalizer));
    }
}

#[test]
fn conditions_tell_bindings_apart_and_doubles_are_one() {
    let until = RoleCondition {
        title: "until".to_owned(),
        description: String::new(),
        expression: "true".to_owned(),
    };
    let mut obs = asking(&["roles/viewer", "roles/viewer"]);
    obs.spec.roles.push(RoleBinding { condition: Some(until.clone()), ..asked("roles/viewer") });
    let conditional = BoundRole { condition: Some(until), ..bound("roles/viewer") };
    obs.policies = Some(policy(&[]));
    assert_eq!(decide(&obs).status.bound_roles, [bound("roles/viewer"), conditional]);
}

#[test]
fn what_a_namespace_may_not_ask_for_is_said() {
    let other = |resource: &str| RoleBinding { resource: Some(resource.to_owned()), ..asked("roles/viewer") };
    let account = "projects/p/serviceAccounts/other@p";
    let allowed = |roles: &[&str]| Some(roles.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
    let cases = [
        (asked("roles/viewer"), None, None),
        (other(account), None, None),
        (other("projects/q"), None, Some("ResourceNotAllowed")),
        (other("projects/pq"), None, Some("ResourceNotAllowed")),
        (asked("roles/viewer"), allowed(&[]), Some("RoleNotAllowed")),
        (asked("roles/viewer"), allowed(&["roles/view"]), Some("RoleNotAllowed")),
        (asked("roles/viewer"), allowed(&["roles/editor", "roles/viewer"]), None),
        (asked("roles/viewer"), allowed(&["roles/v*"]), None),
        (other("projects/p"), allowed(&["*"]), None),
        (other(account), allowed(&["*"]), Some("ResourceNotAllowed")),
    ];
    for (binding, roles, refused) in cases {
        let mut obs = asking(&[]);
        obs.spec.roles = vec![binding.clone()];
        obs.backend = Ok(Grants { roles, ..granted() });
        let plan = decide(&obs);
        match refused {
            Some(expected) => assert_eq!(reason(&plan, STALLED), expected, "{binding:?}"),
            None => assert!(reads(&plan), "{binding:?}"),
        }
    }
}

#[test]
fn a_role_that_is_not_allowed_any_more_is_taken_back_and_the_account_is_looked_after() {
    let mut obs = having(&["roles/viewer"]);
    obs.census_due = true;
    obs.backend = Ok(Grants { roles: Some(Vec::new()), ..granted() });
    assert!(reads(&decide(&obs)));
    obs.policies = Some(policy(&["roles/viewer"]));
    obs.status = decide(&obs).status;
    let remove = decide(&obs);
    assert_eq!(change(&remove).remove, all(&["roles/viewer"]));
    obs.policies = Some(answer(&[], change(&remove)));
    let told = decide(&obs);
    assert_eq!(reason(&told, ROLES_BOUND), "RoleNotAllowed");
    obs.status = told.status;
    assert!(obs.status.bound_roles.is_empty());
    obs.spec.disabled = true;
    assert!(matches!(decide(&obs).next, Next::Act(Step::SetDisabled { .. })));
}

/// Each write wakes the object again: one that differed from the one before by its time alone would have no end.
#[test]
fn what_an_account_lacks_is_written_once() {
    let mut obs = having(&["roles/viewer"]);
    obs.backend = Ok(Grants { roles: Some(Vec::new()), ..granted() });
    obs.policies = Some(policy(&[]));
    let settled = |obs: &Observation| plan(obs, at(700), &Timing::default());
    obs.status = settled(&obs).status;
    assert_eq!(reason(&settled(&obs), READY), "RoleNotAllowed");
    let later = plan(&obs, at(3600), &Timing::default());
    assert_eq!(later.status, obs.status);

    // Nor one that is not made because of it.
    let mut obs = Observation { account: None, ..obs };
    obs.status = ServiceAccountStatus::default();
    obs.status = decide(&obs).status;
    assert_eq!(reason(&decide(&obs), STALLED), "RoleNotAllowed");
    assert_eq!(plan(&obs, at(3600), &Timing::default()).status, obs.status);
}

#[test]
fn what_another_process_sent_may_arrive_although_the_policy_shows_it() {
    let mut obs = asking(&["roles/viewer"]);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    // It died after the change; the answer was lost with it.
    obs.policies = Some(policy(&["roles/viewer"]));
    let done = decide(&obs).status;
    assert_eq!((done.roles_settle_at, done.bound_roles), (Some(at(UNANSWERED)), all(&["roles/viewer"])));
}

#[test]
fn a_policy_that_was_never_read_is_no_audit_that_can_wait() {
    let mut obs = asking(&["roles/viewer"]);
    for (class, expected) in [(Class::Unknown, "BackendUnreachable"), (Class::Throttled, "BackendThrottled")]
    {
        obs.policies = Some(unread(class));
        assert_eq!(reason(&decide(&obs), ROLES_BOUND), expected);
    }
}

#[test]
fn roles_that_are_still_being_taken_back_are_counted() {
    let pending = |others: usize| {
        let mut obs = asking(&["roles/viewer"]);
        obs.status = decide(&settled()).status;
        obs.status.bound_roles = (0..others).map(|n| bound(&format!("roles/r{n}"))).collect();
        obs.status.roles_settle_at = Some(at(500));
        obs.policies = Some(policy(&[]));
        decide(&obs)
    };
    assert_eq!((pending(99).next, pending(99).status.bound_roles.len()), (Next::Wait, 100));
    let held = pending(100);
    assert_eq!((held.status.bound_roles.len(), held.requeue.as_secs()), (100, 60));
    assert!(conditions::is(&held.status.conditions, ROLES_BOUND, Is::False));
}
