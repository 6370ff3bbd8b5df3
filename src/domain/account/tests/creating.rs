//! Accounts whose id the backend chooses.

use super::*;
use crate::api::v1alpha1::{DisruptiveAccount, DisruptiveMembership, RoleBinding};
use crate::domain::Trouble;
use crate::domain::conditions::RECONCILING;
use crate::domain::schedule::add;

pub(super) fn unnamed() -> Observation {
    let mut obs = fresh();
    obs.backend = Ok(Grants { can: Capabilities::disruptive(), ..granted() });
    obs
}

pub(super) fn plan_at(obs: &Observation, seconds: i64) -> Plan {
    plan(obs, at(seconds), &Timing::default())
}

pub(super) fn made(id: &str, display_name: &str) -> Account {
    Account {
        name: format!("projects/p/serviceaccounts/{id}"),
        email: format!("{id}@p"),
        unique_id: id.to_owned(),
        display_name: display_name.to_owned(),
        ..account("")
    }
}

fn roll(accounts: Vec<Account>) -> Roll {
    Roll { accounts, backend_time: at(1) }
}

/// One that was written down at 0, when `old` was there, by another process.
fn begun() -> Observation {
    let mut obs = unnamed();
    obs.roll = Some(Ok(roll(vec![made("old", "keywheel-n1")])));
    obs.status = plan_at(&obs, 0).status;
    obs.fresh_nonce = "n2".to_owned();
    obs.roll = None;
    obs
}

#[test]
fn what_a_create_is_called_is_written_down_before_it_leaves_once() {
    let mut obs = unnamed();
    assert_eq!(plan_at(&obs, 0).next, Next::NeedRoll);
    obs.roll = Some(Err(Trouble::new(Class::Unknown, "no answer")));
    assert_eq!(plan_at(&obs, 0).status.creating, None, "what is there already must be known");
    let obs = begun();
    let attempt = obs.status.creating.clone().unwrap();
    assert_eq!((attempt.nonce.as_str(), &attempt.known_account_ids[..]), ("n1", &["old".to_owned()][..]));
    assert_eq!(
        (attempt.started_at, attempt.backend_time, obs.status.created_at),
        (at(0), at(1), Some(at(0)))
    );

    let by = |own: Option<&str>, seconds| {
        let obs = Observation { own_attempt: own.map(str::to_owned), ..obs.clone() };
        plan_at(&obs, seconds).next
    };
    let Next::Act(Step::Create { display_name, basic_auth, .. }) = by(Some("n1"), 59) else {
        panic!("not sent")
    };
    assert_eq!((display_name.as_str(), basic_auth), ("keywheel-n1", false));
    let unsent = Observation { own_attempt: Some("n1".to_owned()), ..obs.clone() };
    let anew = plan_at(&unsent, 60);
    assert_eq!(
        (anew.next, anew.status.creating, anew.status.created_at),
        (Next::Wait, None, None),
        "it never left"
    );
    assert_eq!(by(Some("n0"), 0), Next::NeedRoll);
    assert_eq!(by(None, 0), Next::NeedRoll, "another process may have sent it");
}

#[test]
fn an_answer_is_recorded_and_the_account_gets_its_name() {
    let mut obs = begun();
    obs.account = Some(Ok(Some(made("new", "keywheel-n1"))));
    let recorded = plan_at(&obs, 5);
    assert_eq!(recorded.next, Next::Wait);
    obs.status = recorded.status;
    let status = &obs.status;
    assert_eq!((status.unique_id.as_deref(), status.origin), (Some("new"), Some(AccountOrigin::Created)));
    assert_eq!((&status.creating, handle(&obs)), (&None, "new"));
    let note = "new keywheel:c/u-1".to_owned();
    assert_eq!(plan_at(&obs, 6).next, Next::Act(Step::Note { value: note.clone() }), "a status can be lost");
    obs.noted = Some(note);
    let Next::Act(Step::Describe { display_name, description, .. }) = plan_at(&obs, 6).next else {
        panic!("it keeps the name of its attempt")
    };
    assert_eq!((display_name.as_deref(), description), (Some("billing"), None));
    obs.account = Some(Ok(Some(made("new", "billing"))));
    let plan = plan_at(&obs, 7);
    assert_eq!((reason(&plan, READY).as_str(), plan.status.exclusive), ("AccountReady", Some(false)));
    obs.spec.unmanaged_keys = UnmanagedKeys::Delete;
    assert_eq!(plan_at(&obs, 7).status.exclusive, Some(true), "all its keys are handed to us");
}

#[test]
fn after_a_lost_answer_only_an_unused_account_of_the_name_is_ours() {
    let found = |accounts: Vec<Account>, in_use: Option<bool>| {
        let mut obs = begun();
        obs.roll = Some(Ok(roll(accounts)));
        obs.in_use = in_use.map(Ok);
        plan_at(&obs, 100)
    };
    let (ours, old) = (|| made("new", "keywheel-n1"), || made("old", "keywheel-n1"));
    let read = Next::NeedUse { unique_id: "new".to_owned() };
    assert_eq!(found(vec![old(), ours(), made("other", "keywheel-n7")], None).next, read);
    assert_eq!(found(vec![old(), ours()], Some(false)).status.unique_id.as_deref(), Some("new"));
    for (accounts, in_use) in [(vec![ours()], true), (vec![ours(), made("new2", "keywheel-n1")], false)] {
        let plan = found(accounts, Some(in_use));
        assert_eq!((reason(&plan, STALLED).as_str(), plan.status.unique_id), ("AccountSuspect", None));
    }
    let waiting = found(vec![old()], None);
    assert_eq!(reason(&waiting, READY), "AccountPending");
    assert!(waiting.status.creating.is_some());
}

#[test]
fn no_other_account_is_made_before_nothing_can_be_made_of_the_first() {
    let timing = Timing::default();
    let whole = timing.settle + timing.send_window + timing.horizon + timing.list_lag;
    let mut obs = begun();
    obs.roll = Some(Ok(roll(vec![made("old", "keywheel-n1")])));
    let over = add(at(0), whole).as_second() - at(0).as_second();
    let told = |obs: &mut Observation, seconds| {
        let accounts = vec![made("old", "keywheel-n1")];
        obs.roll = Some(Ok(Roll { accounts, backend_time: at(seconds) }));
    };
    told(&mut obs, over + 1);
    assert!(plan_at(&obs, over - 1).status.creating.is_some());
    let forgotten = plan_at(&obs, over);
    assert_eq!((forgotten.next, forgotten.status.creating), (Next::Wait, None));
    // A clock that is ahead, ours or that of another process, closes nothing.
    told(&mut obs, over);
    let waiting = plan_at(&obs, over);
    assert!(waiting.status.creating.is_some());
    assert_eq!(waiting.requeue, Duration::from_secs(1));

    let refused = |class| {
        let obs = Observation { refused: Some(Trouble::new(class, "no")), ..begun() };
        plan_at(&obs, 1).status.creating
    };
    assert_eq!(refused(Class::Forbidden), None, "nothing was made");
    assert!(refused(Class::Unknown).is_some());
}

#[test]
fn an_object_that_goes_looks_for_what_it_made() {
    let mut obs = begun();
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    assert_eq!(plan_at(&obs, 100).next, Next::NeedRoll);
    obs.roll = Some(Ok(roll(Vec::new())));
    assert_eq!(reason(&plan_at(&obs, 100), READY), "Deleting", "it may show itself yet");
    let mut later = obs.clone();
    later.roll = Some(Ok(Roll { accounts: Vec::new(), backend_time: at(100_000) }));
    assert_eq!(plan_at(&later, 100_000).next, Next::Act(Step::RemoveFinalizer));
    later.own_attempt = Some("n1".to_owned());
    assert_eq!(plan_at(&later, 5).status.creating, None, "it never left");
    obs.roll = Some(Ok(roll(vec![made("new", "keywheel-n1")])));
    assert_eq!(plan_at(&obs, 100).next, Next::NeedUse { unique_id: "new".to_owned() });
    obs.in_use = Some(Ok(true));
    let suspect = plan_at(&obs, 100_000);
    assert_eq!((reason(&suspect, READY).as_str(), suspect.next), ("AccountSuspect", Next::Wait));
    let let_go = plan_at(&Observation { abandon: true, ..obs.clone() }, 100_000);
    assert_eq!(let_go.next, Next::Act(Step::RemoveFinalizer));
    assert!(let_go.events[0].note.contains("keywheel-n1"), "{:?}", let_go.events);
    obs.in_use = Some(Ok(false));
    obs.status = plan_at(&obs, 100).status;
    obs.account = Some(Ok(Some(made("new", "keywheel-n1"))));
    assert_eq!(plan_at(&obs, 100).next, Next::Act(Step::Delete { unique_id: "new".to_owned() }));
}

#[test]
fn an_account_that_is_named_is_adopted_and_never_made() {
    let mut obs = unnamed();
    obs.spec.account_id = Some("c0kqf0000000000000tg".to_owned());
    assert_eq!(reason(&plan_at(&obs, 0), STALLED), "CapabilityMissing", "ids are not chosen");
    obs.spec.adoption_policy = AdoptionPolicy::IfExists;
    assert_eq!(plan_at(&obs, 0).next, Next::NeedAccount);
    obs.account = Some(Ok(None));
    assert_eq!(reason(&plan_at(&obs, 0), READY), "AccountNotFound");
    let told = |obs: &Observation| {
        conditions::find(&plan_at(obs, 0).status.conditions, READY).unwrap().message.contains("IfExists")
    };
    assert!(!told(&obs), "none is made with that id");
    let mut by_email =
        Observation { spec: ServiceAccountSpec { account_id: None, ..obs.spec.clone() }, ..obs.clone() };
    by_email.spec.email = Some("a@p".to_owned());
    by_email.spec.adoption_policy = AdoptionPolicy::Required;
    assert_eq!(reason(&plan_at(&by_email, 0), READY), "AccountNotFound");
    assert!(!told(&by_email));
    let mut chosen = fresh();
    chosen.account = Some(Ok(None));
    chosen.spec.adoption_policy = AdoptionPolicy::Required;
    assert!(told(&chosen));
    obs.account = Some(Ok(Some(made("c0kqf0000000000000tg", "theirs"))));
    let plan = plan_at(&obs, 0);
    assert_eq!(plan.status.origin, Some(AccountOrigin::Adopted));
    assert_eq!((plan.next, plan.status.exclusive), (Next::Wait, Some(false)), "it keeps its name");
}

#[test]
fn an_account_without_room_for_a_mark_is_one_objects_only() {
    let mut obs = unnamed();
    obs.spec.email = Some("new@p".to_owned());
    obs.account = Some(Ok(Some(made("new", "theirs"))));
    obs.shared_with = None;
    assert_eq!(plan_at(&obs, 0).next, Next::NeedSharers);
    obs.shared_with = Some(vec!["other/billing".to_owned()]);
    let refused = plan_at(&obs, 0);
    assert_eq!((reason(&refused, STALLED).as_str(), &refused.status.unique_id), ("AccountExists", &None));
    obs.shared_with = Some(Vec::new());
    assert_eq!(plan_at(&obs, 0).status.unique_id.as_deref(), Some("new"));

    let mut nobody = unnamed();
    nobody.spec.adoption_policy = AdoptionPolicy::Required;
    assert_eq!(reason(&plan_at(&nobody, 0), STALLED), "CapabilityMissing", "whom?");
}

#[test]
fn basic_auth_is_as_the_spec_says() {
    let switched = |spec: Option<bool>, origin, there: bool| {
        let mut obs = unnamed();
        obs.spec.disruptive =
            spec.map(|wanted| DisruptiveAccount { basic_auth: Some(wanted), memberships: Vec::new() });
        obs.status.unique_id = Some("new".to_owned());
        obs.status.origin = Some(origin);
        obs.noted = Some("new keywheel:c/u-1".to_owned());
        obs.account = Some(Ok(Some(Account { basic_auth: there, ..made("new", "billing") })));
        match plan_at(&obs, 0).next {
            Next::Act(Step::Describe { basic_auth, display_name: None, .. }) => basic_auth,
            Next::Wait => None,
            other => panic!("{other:?}"),
        }
    };
    let (created, adopted) = (AccountOrigin::Created, AccountOrigin::Adopted);
    assert_eq!(switched(Some(true), created, false), Some(true));
    assert_eq!(switched(Some(true), created, true), None);
    assert_eq!(switched(Some(false), adopted, true), Some(false));
    assert_eq!(switched(None, created, true), Some(false));
    assert_eq!(switched(None, adopted, true), None);
}

#[test]
fn a_role_is_replaced_in_one_change_where_there_is_one() {
    let membership = |project: &str, role: &str| DisruptiveMembership {
        project: Some(project.to_owned()),
        organization: None,
        role: role.to_owned(),
    };
    let mut obs = unnamed();
    obs.status.unique_id = Some("new".to_owned());
    obs.status.origin = Some(AccountOrigin::Created);
    obs.noted = Some("new keywheel:c/u-1".to_owned());
    obs.account = Some(Ok(Some(made("new", "billing"))));
    let mine = |role: &str, resource: &str| crate::api::v1alpha1::BoundRole {
        role: role.to_owned(),
        resource: resource.to_owned(),
        condition: None,
    };
    let (user, admin) = ("roles/project.user", "roles/project.admin");
    obs.spec.disruptive =
        Some(DisruptiveAccount { basic_auth: None, memberships: vec![membership("other", admin)] });
    obs.status.bound_roles = vec![mine(user, "projects/other"), mine(admin, "projects/other")];
    obs.status.roles_settle_at = Some(add(at(0), Timing::default().horizon * 2));
    let told = Ok(Membership { held: vec![mine(user, "projects/other")], ghosts: Vec::new() });
    obs.policies = Some(vec![PolicyView { resource: "projects/other".to_owned(), told, answers: None }]);
    let Next::Act(Step::Bind(change)) = plan_at(&obs, 0).next else { panic!("{:?}", plan_at(&obs, 0)) };
    assert_eq!(
        (change.add, change.remove),
        (vec![mine(admin, "projects/other")], vec![mine(user, "projects/other")])
    );

    // One in each place, or the same one twice, is one; two of them contradict each other.
    obs.spec.roles = vec![RoleBinding { role: user.to_owned(), resource: None, condition: None }];
    for memberships in [vec![membership("other", admin)], vec![membership("p", user)]] {
        let mut obs = Observation { status: ServiceAccountStatus::default(), noted: None, ..obs.clone() };
        obs.spec.disruptive = Some(DisruptiveAccount { basic_auth: None, memberships });
        assert_eq!(reason(&plan_at(&obs, 0), STALLED), "");
    }
    obs.spec.disruptive =
        Some(DisruptiveAccount { basic_auth: None, memberships: vec![membership("p", admin)] });
    let plan = plan_at(&Observation { status: ServiceAccountStatus::default(), noted: None, ..obs }, 0);
    assert_eq!(reason(&plan, STALLED), "InvalidSpec");
}

#[test]
fn what_the_backend_lacks_is_refused_by_name() {
    let lacks = |change: &dyn Fn(&mut ServiceAccountSpec)| {
        let mut obs = unnamed();
        change(&mut obs.spec);
        let plan = plan_at(&obs, 0);
        assert_eq!((reason(&plan, STALLED).as_str(), &plan.next), ("CapabilityMissing", &Next::Wait));
        let mut google = fresh();
        change(&mut google.spec);
        assert_eq!(reason(&plan_at(&google, 0), STALLED), "");
        conditions::find(&plan.status.conditions, STALLED).unwrap().message.clone()
    };
    assert!(lacks(&|s| s.undelete = Some("1".to_owned())).contains("undelete"));
    assert!(lacks(&|s| s.description = Some("text".to_owned())).contains("description"));
    assert!(lacks(&|s| s.disabled = true).contains("disabled"));
    let disable = Some(AccountDeletionPolicy::Disable);
    assert!(lacks(&|s| s.deletion_policy = disable).contains("deletionPolicy"));
    assert!(lacks(&|s| s.unmanaged_keys = UnmanagedKeys::Disable).contains("unmanagedKeys"));
    assert!(lacks(&|s| s.services = vec!["a.example".to_owned()]).contains("services"));
    let mut google = fresh();
    google.spec.disruptive = Some(DisruptiveAccount::default());
    assert_eq!(reason(&plan_at(&google, 0), STALLED), "CapabilityMissing");
}

#[test]
fn an_attempt_that_never_left_is_begun_anew_under_another_name() {
    let unsent = Observation { own_attempt: Some("n1".to_owned()), ..begun() };
    let anew = plan_at(&unsent, 60);
    assert_eq!((anew.requeue, &anew.status.creating), (Duration::ZERO, &None));
    let mut next = Observation { own_attempt: None, status: anew.status, ..unsent };
    assert_eq!(plan_at(&next, 60).next, Next::NeedRoll, "what is there now must be known");
    next.roll = Some(Ok(Roll { accounts: vec![made("newer", "keywheel-n7")], backend_time: at(61) }));
    let attempt = plan_at(&next, 60).status.creating.unwrap();
    assert_eq!((attempt.nonce.as_str(), attempt.started_at, attempt.backend_time), ("n2", at(60), at(61)));
    assert_eq!(attempt.known_account_ids, ["newer"]);
    // What another process may have sent is not begun anew at that age.
    let other =
        Observation { own_attempt: Some("n0".to_owned()), roll: Some(Ok(roll(Vec::new()))), ..begun() };
    assert!(plan_at(&other, 60).status.creating.is_some());
}

#[test]
fn what_an_object_that_goes_may_leave_is_told_by_name() {
    let going = |accounts: Vec<Account>, in_use: Option<bool>| {
        let mut obs = begun();
        obs.deleting = true;
        obs.keys = Some(Vec::new());
        obs.roll = Some(Ok(roll(accounts)));
        obs.in_use = in_use.map(Ok);
        let plan = plan_at(&obs, 100);
        assert_eq!(plan.next, Next::Wait, "it stays");
        assert!(plan.status.creating.is_some());
        conditions::find(&plan.status.conditions, READY).unwrap().message.clone()
    };
    let abandon = "keywheel.dev/abandon";
    let used = going(vec![made("new", "keywheel-n1")], Some(true));
    assert!(["new", "keywheel-n1", abandon].iter().all(|words| used.contains(words)), "{used}");
    let twins = vec![made("new", "keywheel-n1"), made("new2", "keywheel-n1"), made("old", "keywheel-n1")];
    let two = going(twins, Some(false));
    assert!(two.contains("new, new2 may be") && two.contains(abandon) && !two.contains("old"), "{two}");
    let open = going(vec![made("old", "keywheel-n1")], None);
    assert!(open.contains("may show itself until 20") && open.contains(abandon), "{open}");
    assert!(open.contains(":00Z. Let"), "to the minute: a second more or less is no news: {open}");

    let left = |obs: Observation| {
        let plan = plan_at(&Observation { deleting: true, abandon: true, ..obs }, 100);
        assert_eq!(plan.next, Next::Act(Step::RemoveFinalizer));
        assert_eq!(plan.events[0].reason, Reason::Abandoned);
        plan.events[0].note.clone()
    };
    assert!(left(begun()).contains("keywheel-n1"), "{}", left(begun()));
    let mut recorded = unnamed();
    recorded.status.unique_id = Some("new".to_owned());
    recorded.status.email = Some("new@p".to_owned());
    assert!(left(recorded.clone()).contains("new@p"), "{}", left(recorded));
    assert!(left(unnamed()).contains("no known account"), "{}", left(unnamed()));
}

#[test]
fn a_role_in_an_organization_is_left_before_another_one_is_joined() {
    let mine = |role: &str| crate::api::v1alpha1::BoundRole {
        role: role.to_owned(),
        resource: "organizations/o".to_owned(),
        condition: None,
    };
    let (user, admin) = (mine("roles/organization.user"), mine("roles/organization.admin"));
    let mut obs = unnamed();
    obs.status.unique_id = Some("new".to_owned());
    obs.status.origin = Some(AccountOrigin::Created);
    obs.noted = Some("new keywheel:c/u-1".to_owned());
    obs.account = Some(Ok(Some(made("new", "billing"))));
    let membership =
        DisruptiveMembership { project: None, organization: Some("o".to_owned()), role: admin.role.clone() };
    obs.spec.disruptive = Some(DisruptiveAccount { basic_auth: None, memberships: vec![membership] });
    obs.status.bound_roles = vec![user.clone()];
    let seen = |obs: &mut Observation, held: Vec<_>, answers: Option<PolicyChange>| {
        let told = Ok(Membership { held, ghosts: Vec::new() });
        obs.policies = Some(vec![PolicyView { resource: "organizations/o".to_owned(), told, answers }]);
    };
    seen(&mut obs, vec![user.clone()], None);
    // What leaves is written down before.
    obs.status = plan_at(&obs, 0).status;
    let Next::Act(Step::Bind(leave)) = plan_at(&obs, 0).next else { panic!("{:?}", plan_at(&obs, 0)) };
    assert_eq!((leave.add.clone(), leave.remove.clone()), (Vec::new(), vec![user.clone()]));
    seen(&mut obs, Vec::new(), Some(leave));
    obs.status = plan_at(&obs, 1).status;
    assert_eq!(obs.status.bound_roles, [user, admin.clone()], "and that before it is joined");
    let Next::Act(Step::Bind(join)) = plan_at(&obs, 1).next else { panic!("{:?}", plan_at(&obs, 1)) };
    assert_eq!((join.add.clone(), join.remove.clone()), (vec![admin.clone()], Vec::new()));
    seen(&mut obs, vec![admin], Some(join));
    let plan = plan_at(&obs, 2);
    assert_eq!((reason(&plan, conditions::ROLES_BOUND).as_str(), plan.next), ("RolesBound", Next::Wait));
}

#[test]
fn an_object_that_goes_waits_after_a_list_that_failed() {
    let mut obs = begun();
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    obs.roll = Some(Err(Trouble::new(Class::Unknown, "no answer")));
    let failed = plan_at(&obs, 100);
    assert_eq!((failed.next, failed.status.failures), (Next::Wait, 1));
    obs.status = failed.status.clone();
    obs.roll = None;
    let waits = plan_at(&obs, 100);
    assert_eq!((&waits.next, &waits.status), (&Next::Wait, &failed.status), "its own write woke it");
    assert_eq!(waits.requeue, failed.requeue);
    assert_eq!(plan_at(&obs, 100 + 3600).next, Next::NeedRoll);
}

#[test]
fn what_cannot_be_read_is_told_of_a_life_and_of_an_end() {
    let no = || Trouble::new(Class::Forbidden, "no");
    let found = || Some(Ok(roll(vec![made("new", "keywheel-n1")])));
    for (roll, in_use) in [(Some(Err(no())), None), (found(), Some(Err(no())))] {
        for (deleting, told) in [(true, "Deleting"), (false, "")] {
            let keys = Some(Vec::new());
            let obs = Observation { deleting, keys, roll: roll.clone(), in_use: in_use.clone(), ..begun() };
            let plan = plan_at(&obs, 100);
            assert_eq!(reason(&plan, READY), "PermissionMissing");
            assert_eq!(reason(&plan, RECONCILING), told);
            assert_eq!(plan.status.failures, 1);
            assert!(plan.status.creating.is_some());
        }
    }
}

#[test]
fn a_create_is_told_as_it_leaves() {
    let plan = plan_at(&Observation { own_attempt: Some("n1".to_owned()), ..begun() }, 1);
    assert_eq!(plan.events.iter().map(|event| event.reason).collect::<Vec<_>>(), [Reason::AccountCreated]);
}

#[test]
fn an_end_asks_for_what_is_recorded_under_its_id() {
    let mut obs = Observation { deleting: true, keys: Some(Vec::new()), ..unnamed() };
    assert_eq!(plan_at(&obs, 100).next, Next::Act(Step::RemoveFinalizer), "nothing was made");
    obs.status.unique_id = Some("a1".to_owned());
    assert_eq!(plan_at(&obs, 100).next, Next::NeedAccount);
}

#[test]
fn basic_auth_is_left_alone_where_there_is_none() {
    let mut obs = settled();
    obs.account = Some(Ok(Some(Account { basic_auth: true, ..ours() })));
    assert_eq!(plan_at(&obs, 0).next, Next::Wait);
}
