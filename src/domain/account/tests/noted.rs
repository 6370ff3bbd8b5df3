//! Objects whose status was lost, and the note that says which account they had.

use super::creating::{made, plan_at, unnamed};
use super::roles::{all, policy};
use super::*;

/// The status is gone; the account is there.
fn wiped(note: &str) -> Observation {
    let mut obs = unnamed();
    obs.noted = Some(note.to_owned());
    obs.account = Some(Ok(Some(made("a1", "billing"))));
    obs
}

const OURS: &str = "a1 keywheel:c/u-1";

#[test]
fn an_account_is_taken_up_by_the_note_of_its_own_object() {
    let obs = wiped(OURS);
    assert_eq!(handle(&obs), "a1");
    let asked = plan_at(&Observation { account: None, ..obs.clone() }, 0);
    assert_eq!(asked.next, Next::NeedAccount, "no other one is made");
    let plan = plan_at(&obs, 0);
    assert_eq!((plan.next, plan.status.unique_id.as_deref()), (Next::Wait, Some("a1")));
    assert_eq!(plan.status.origin, Some(AccountOrigin::Created));
    let unread = Observation { shared_with: None, ..obs.clone() };
    assert_eq!(plan_at(&unread, 0).next, Next::NeedSharers);
    let shared = Observation { shared_with: Some(vec!["b/c".to_owned()]), ..obs.clone() };
    assert_eq!(reason(&plan_at(&shared, 0), STALLED), "AccountExists");
    let gone = plan_at(&Observation { account: Some(Ok(None)), ..obs }, 0);
    assert_eq!(reason(&gone, STALLED), "AccountGone");
    assert_eq!(gone.status.creating, None);
}

#[test]
fn a_note_is_worth_as_much_as_the_right_to_adopt() {
    let mut forged = wiped(OURS);
    forged.backend = Ok(Grants { can: Capabilities::disruptive(), adoption: false, ..granted() });
    assert_eq!(reason(&plan_at(&forged, 0), STALLED), "AccountExists");
    forged.spec.adoption_policy = AdoptionPolicy::IfExists;
    assert_eq!(reason(&plan_at(&forged, 0), STALLED), "AdoptionNotAllowed");
    for copied in ["a1 keywheel:c/u-2", "a1"] {
        let mut obs = wiped(copied);
        assert_eq!(reason(&plan_at(&obs, 0), STALLED), "AccountExists", "{copied}");
        obs.spec.adoption_policy = AdoptionPolicy::IfExists;
        assert_eq!(plan_at(&obs, 0).status.origin, Some(AccountOrigin::Adopted), "{copied}");
    }
}

#[test]
fn a_note_says_nothing_of_what_is_named_recorded_or_chosen() {
    let mut obs = wiped("a2 keywheel:c/u-1");
    obs.spec.account_id = Some("a1".to_owned());
    assert_eq!(handle(&obs), "a1");
    obs.spec.account_id = None;
    obs.status.unique_id = Some("a1".to_owned());
    assert_eq!(handle(&obs), "a1");
    obs.status.origin = Some(AccountOrigin::Created);
    assert_eq!(plan_at(&obs, 0).next, Next::Act(Step::Note { value: OURS.to_owned() }), "it is put right");
    obs.status.origin = Some(AccountOrigin::Adopted);
    assert_ne!(plan_at(&obs, 0).next, Next::Act(Step::Note { value: OURS.to_owned() }));
    for no_id in ["", "keywheel:c/u-1", "../b/a1 keywheel:c/u-1", "a 1"] {
        let obs = Observation { account: None, ..wiped(no_id) };
        assert_eq!((handle(&obs), plan_at(&obs, 0).next), ("billing", Next::NeedRoll), "{no_id}");
    }
    let mut chosen = fresh();
    chosen.noted = Some(OURS.to_owned());
    assert_eq!(handle(&chosen), "billing");
    let theirs = Observation { account: Some(Ok(Some(account("")))), ..chosen.clone() };
    let plan = plan_at(&theirs, 0);
    let stalled = conditions::find(&plan.status.conditions, STALLED).unwrap();
    assert!(stalled.message.contains("is already there"), "{}", stalled.message);
    chosen.account = Some(Ok(Some(ours())));
    assert_eq!(plan_at(&chosen, 0).status.unique_id.as_deref(), Some("100"));
}

#[test]
fn an_object_that_goes_ends_the_account_that_its_note_names() {
    let mut obs = wiped(OURS);
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    obs.policies = Some(Vec::new());
    let end = Next::Act(Step::Delete { unique_id: "a1".to_owned() });
    assert_eq!(plan_at(&obs, 100_000).next, end);
    let mut abandoned = obs.clone();
    abandoned.abandon = true;
    assert!(plan_at(&abandoned, 0).events[0].note.contains("a1"));

    // Nothing proves it: it stays, and who reads events is told.
    let leave = Next::Act(Step::RemoveFinalizer);
    let grants = || Grants { can: Capabilities::disruptive(), ..granted() };
    for grants in
        [Grants { adoption: false, ..grants() }, Grants { account_id: Err("b-.*".to_owned()), ..grants() }]
    {
        let plan = plan_at(&Observation { backend: Ok(grants), ..obs.clone() }, 100_000);
        assert_eq!(plan.next, leave, "it may be anybody's");
        assert!(plan.events[0].note.contains("a1@p"), "{:?}", plan.events);
    }
    // A status that knows another account was not lost: the one under its e-mail is none of its business.
    let mut another = Observation { noted: None, ..obs.clone() };
    another.status.unique_id = Some("a0".to_owned());
    let plan = plan_at(&another, 100_000);
    assert_eq!((plan.next, plan.events), (leave.clone(), Vec::new()));
    let copied = Observation { noted: Some("a1 keywheel:c/u-2".to_owned()), ..obs };
    let plan = plan_at(&copied, 100_000);
    assert_eq!((plan.next, plan.events), (leave, Vec::new()), "it never had one");
}

#[test]
fn an_account_that_another_object_has_stays_with_it() {
    let mut recorded = wiped(OURS);
    recorded.status.unique_id = Some("a1".to_owned());
    recorded.status.origin = Some(AccountOrigin::Created);
    for mut obs in [wiped(OURS), recorded] {
        obs.deleting = true;
        obs.keys = Some(Vec::new());
        obs.policies = Some(Vec::new());
        obs.shared_with = None;
        assert_eq!(plan_at(&obs, 100_000).next, Next::NeedSharers);
        obs.shared_with = Some(vec!["b/victim".to_owned()]);
        let plan = plan_at(&obs, 100_000);
        assert_eq!(plan.next, Next::Act(Step::RemoveFinalizer));
        assert!(plan.events[0].note.contains("b/victim"), "{:?}", plan.events);
        // What it bound and wants no more goes with it; the other one can have one role there only.
        let mut bound = obs.clone();
        bound.status.bound_roles = all(&["roles/project.user"]);
        bound.policies = Some(policy(&["roles/project.user"]));
        let Next::Act(Step::Bind(change)) = plan_at(&bound, 100_000).next else { panic!("it stays bound") };
        assert_eq!((change.add, change.remove), (Vec::new(), bound.status.bound_roles));
        obs.shared_with = Some(Vec::new());
        assert_eq!(plan_at(&obs, 100_000).next, Next::Act(Step::Delete { unique_id: "a1".to_owned() }));
    }
}

#[test]
fn an_account_that_is_gone_is_not_made_again_under_its_note() {
    let plan = plan_at(&Observation { account: Some(Ok(None)), ..wiped(OURS) }, 0);
    let stalled = conditions::find(&plan.status.conditions, STALLED).unwrap();
    assert_eq!(stalled.reason, "AccountGone");
    assert!(stalled.message.contains("account a1, ") && stalled.message.contains("Take the annotation off"));
}

#[test]
fn who_else_has_it_is_asked_before_it_is_taken_up() {
    let mut obs = wiped(OURS);
    obs.shared_with = None;
    assert_eq!(plan_at(&obs, 0).next, Next::NeedSharers);
    obs.status.unique_id = Some("a1".to_owned());
    assert_ne!(plan_at(&obs, 0).next, Next::NeedSharers, "it is recorded");
}
