//! Roles where an account has one in a project, and no change carries a version.

use super::roles::{UNANSWERED, all, answer, asked, asking, change, policy, reads, unread};
use super::*;
use crate::domain::conditions::ROLES_BOUND;

/// At a backend where an account has one role in a project.
fn with_one_role(roles: &[&str]) -> Observation {
    let mut obs = asking(roles);
    let grants = obs.backend.as_mut().unwrap();
    grants.can = Capabilities { one_role: true, ..grants.can.clone() };
    obs
}

#[test]
fn one_role_of_ours_is_replaced_and_one_of_others_is_told_without_a_write_down() {
    let mut obs = with_one_role(&["roles/viewer"]);
    obs.status.origin = Some(AccountOrigin::Created);
    obs.policies = Some(policy(&["roles/owner"]));
    let told = decide(&obs);
    assert_eq!(reason(&told, ROLES_BOUND), "PreconditionFailed");
    assert_eq!((&told.status.bound_roles[..], told.status.roles_settle_at), (&[][..], None));
    // What it says next time is the same.
    obs.status = told.status.clone();
    assert_eq!(decide(&obs).status, told.status);
    // It is gone: ours is bound, and later another one in its place.
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    assert_eq!(change(&decide(&obs)).add, all(&["roles/viewer"]));
    obs.spec.roles = vec![asked("roles/editor")];
    obs.policies = Some(policy(&["roles/viewer"]));
    obs.status = decide(&obs).status;
    let replaced = decide(&obs);
    assert_eq!(change(&replaced).add, all(&["roles/editor"]));
    assert_eq!(change(&replaced).remove, all(&["roles/viewer"]));
}

#[test]
fn a_change_that_may_arrive_late_is_looked_for_once_it_must_have() {
    let mut obs = with_one_role(&["roles/viewer"]);
    obs.status.origin = Some(AccountOrigin::Created);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    let bind = decide(&obs);
    obs.policies = Some(answer(&["roles/viewer"], change(&bind)));
    let bound = decide(&obs);
    assert_eq!(reason(&bound, ROLES_BOUND), "RolesBound");
    let settle = Some(at(UNANSWERED));
    assert_eq!(
        (bound.status.roles_settle_at, bound.requeue.as_secs() <= 4270),
        (settle, true),
        "it has no version"
    );
    obs.status = bound.status;
    obs.policies = None;

    // Replaced, and the answer is lost: the old one stays written down for as long.
    obs.generation = Some(2);
    obs.spec.roles = vec![asked("roles/editor")];
    obs.policies = Some(policy(&["roles/viewer"]));
    obs.status = decide(&obs).status;
    obs.policies = Some(policy(&["roles/editor"]));
    obs.status = decide(&obs).status;
    assert_eq!(reason(&decide(&obs), ROLES_BOUND), "RolesBound");
    assert_eq!(obs.status.bound_roles, all(&["roles/viewer", "roles/editor"]));
    obs.policies = None;
    let at_rest = |seconds: i64, obs: &Observation| plan(obs, at(seconds), &Timing::default());
    assert!(!reads(&at_rest(UNANSWERED - 1, &obs)));
    assert!(reads(&at_rest(UNANSWERED, &obs)));

    // An older change arrived after all: what it put there is ours, and replaced.
    let late = Observation { policies: Some(policy(&["roles/viewer"])), ..obs.clone() };
    let intended = at_rest(UNANSWERED, &late);
    assert_eq!(reason(&intended, ROLES_BOUND), "RolesPending");
    let mended = at_rest(UNANSWERED, &Observation { status: intended.status, ..late });
    assert_eq!(
        (&change(&mended).add, &change(&mended).remove),
        (&all(&["roles/editor"]), &all(&["roles/viewer"]))
    );

    // It cannot be read: what is written down stays, and it is read again soon.
    let unread_again =
        at_rest(UNANSWERED, &Observation { policies: Some(unread(Class::Unknown)), ..obs.clone() });
    assert_eq!(
        (&unread_again.status.bound_roles, unread_again.requeue.as_secs()),
        (&obs.status.bound_roles, 60)
    );
    assert_eq!(unread_again.status.roles_settle_at, obs.status.roles_settle_at);
    // All is as it should be: nothing is under way any more.
    let settled =
        at_rest(UNANSWERED, &Observation { policies: Some(policy(&["roles/editor"])), ..obs.clone() });
    assert_eq!(settled.status.bound_roles, all(&["roles/editor"]));
    assert_eq!((settled.status.roles_settle_at, reads(&settled)), (None, false));
    let rest = at_rest(UNANSWERED + 1, &Observation { status: settled.status.clone(), ..obs });
    assert_eq!((rest.next, rest.status), (Next::Wait, settled.status));
}

#[test]
fn where_a_policy_has_a_version_nothing_is_written_at_the_end_of_the_wait() {
    let mut obs = asking(&["roles/viewer"]);
    obs.status.origin = Some(AccountOrigin::Created);
    obs.policies = Some(policy(&[]));
    obs.status = decide(&obs).status;
    obs.policies = Some(answer(&["roles/viewer"], change(&decide(&obs))));
    obs.status = decide(&obs).status;
    assert!(obs.status.roles_settle_at.is_some());
    obs.policies = Some(policy(&["roles/viewer"]));
    let rest = plan(&obs, at(UNANSWERED + 1), &Timing::default());
    assert_eq!((rest.next, rest.status.roles_settle_at), (Next::Wait, obs.status.roles_settle_at));
}
