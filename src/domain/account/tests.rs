//! Accounts, case by case.

use std::time::Duration;

use super::*;
use crate::api::v1alpha1::{
    AccountDeletionPolicy, AccountOrigin, AdoptionPolicy, BackendKind, BackendRef, UnmanagedKey,
    UnmanagedKeys,
};
use crate::domain::conditions::{self, ACCOUNT_SHARED, Is, READY, STALLED};
use crate::domain::{Class, Timing};

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn fresh() -> Observation {
    Observation {
        name: "billing".to_owned(),
        uid: "u-1".to_owned(),
        generation: Some(1),
        deleting: false,
        has_finalizer: true,
        abandon: false,
        spec: ServiceAccountSpec {
            backend_ref: BackendRef { kind: BackendKind::default(), name: "default".to_owned() },
            account_id: None,
            display_name: None,
            description: None,
            disabled: false,
            adoption_policy: AdoptionPolicy::Never,
            deletion_policy: None,
            unmanaged_keys: UnmanagedKeys::Report,
        },
        status: ServiceAccountStatus::default(),
        owner_mark: "keywheel:c/u-1".to_owned(),
        backend: Ok(Grants { adoption: true, account_id: Ok(()) }),
        account: None,
        shared_with: Some(Vec::new()),
        keys: None,
        leftovers: Some(Vec::new()),
        census_due: false,
        census: None,
        ended_keys: Vec::new(),
        ended: false,
        refused: None,
    }
}

fn account(description: &str) -> Account {
    Account {
        name: "projects/p/serviceAccounts/billing@p".to_owned(),
        email: "billing@p".to_owned(),
        unique_id: "100".to_owned(),
        display_name: String::new(),
        description: description.to_owned(),
        disabled: false,
    }
}

fn ours() -> Account {
    account("keywheel:c/u-1")
}

fn settled() -> Observation {
    let mut obs = fresh();
    obs.account = Some(Ok(Some(ours())));
    obs.status = decide(&obs).status;
    obs
}

fn decide(obs: &Observation) -> Plan {
    plan(obs, at(0), &Timing::default())
}

fn reason(plan: &Plan, type_: &str) -> String {
    conditions::find(&plan.status.conditions, type_).map(|c| c.reason.clone()).unwrap_or_default()
}

#[test]
fn a_missing_account_is_created_with_our_mark() {
    let mut obs = fresh();
    obs.spec.description = Some("invoices".to_owned());
    assert_eq!(decide(&obs).next, Next::NeedAccount);
    obs.account = Some(Ok(None));
    // First it is written down that one may appear.
    let intended = decide(&obs);
    assert_eq!((&intended.next, intended.requeue), (&Next::Wait, Duration::ZERO));
    obs.status = intended.status;
    assert_eq!(obs.status.created_at, Some(at(0)));
    let Next::Act(Step::Create { account_id, description, .. }) = decide(&obs).next else { panic!() };
    assert_eq!((account_id.as_str(), description.as_str()), ("billing", "invoices keywheel:c/u-1"));
}

#[test]
fn an_object_whose_create_may_be_under_way_stays_until_the_account_must_show() {
    let mut obs = fresh();
    obs.account = Some(Ok(None));
    obs.status = decide(&obs).status;
    // The process dies, the object is deleted, the backend's reads lag.
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    assert_eq!(reason(&decide(&obs), READY), "Deleting");
    let later = at(0) + Timing::default().horizon * 2;
    assert_eq!(plan(&obs, later, &Timing::default()).next, Next::Act(Step::RemoveFinalizer));
    obs.account = Some(Ok(Some(ours())));
    assert!(matches!(decide(&obs).next, Next::Act(Step::Delete { .. })));
}

#[test]
fn an_account_at_rest_is_written_once() {
    let obs = settled();
    assert_eq!(obs.status.origin, Some(AccountOrigin::Created));
    let again = decide(&obs);
    assert_eq!((again.next, again.status), (Next::Wait, obs.status));
}

#[test]
fn an_account_of_others_is_adopted_only_if_all_agree() {
    let theirs = account("made by hand");
    let cases = [
        (AdoptionPolicy::Never, true, Some("AccountExists")),
        (AdoptionPolicy::IfExists, false, Some("AdoptionNotAllowed")),
        (AdoptionPolicy::IfExists, true, None),
        (AdoptionPolicy::Required, true, None),
    ];
    for (policy, adoption, stalled) in cases {
        let mut obs = fresh();
        obs.spec.adoption_policy = policy;
        obs.backend = Ok(Grants { adoption, account_id: Ok(()) });
        obs.account = Some(Ok(Some(theirs.clone())));
        let plan = decide(&obs);
        assert_eq!(plan.next, Next::Wait, "{policy:?}: nothing is changed about it");
        match stalled {
            Some(expected) => assert_eq!(reason(&plan, STALLED), expected),
            None => assert_eq!(plan.status.origin, Some(AccountOrigin::Adopted)),
        }
    }
    let mut obs = fresh();
    obs.spec.adoption_policy = AdoptionPolicy::Required;
    obs.account = Some(Ok(None));
    assert_eq!(reason(&decide(&obs), READY), "AccountNotFound");
}

#[test]
fn an_account_with_our_mark_is_ours_although_the_answer_was_lost() {
    let mut obs = fresh();
    obs.account = Some(Ok(Some(ours())));
    assert_eq!(decide(&obs).status.origin, Some(AccountOrigin::Created));
    obs.account = Some(Ok(Some(account("keywheel:another-cluster/u-1"))));
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists", "a foreign mark is not ours");
    obs.spec.adoption_policy = AdoptionPolicy::IfExists;
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists", "nor is it adopted");
}

#[test]
fn an_account_that_was_made_again_is_not_touched() {
    let mut obs = settled();
    obs.account = Some(Ok(Some(Account { unique_id: "200".to_owned(), ..ours() })));
    assert_eq!(reason(&decide(&obs), STALLED), "AccountRecreated");
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    assert_eq!(decide(&obs).next, Next::Act(Step::RemoveFinalizer), "it is not deleted either");
}

#[test]
fn absence_right_after_the_creation_is_lag() {
    let mut obs = settled();
    obs.account = Some(Ok(None));
    let waiting = decide(&obs);
    assert_eq!((waiting.next, &waiting.status), (Next::Wait, &obs.status));
    let gone = plan(&obs, at(601), &Timing::default());
    assert_eq!(reason(&gone, STALLED), "AccountGone");
}

#[test]
fn a_403_is_not_a_404() {
    let mut obs = fresh();
    for (class, expected) in [
        (Class::Forbidden, "PermissionMissing"),
        (Class::Unknown, "BackendUnreachable"),
        (Class::Unauthenticated, "LoginRefused"),
    ] {
        obs.account = Some(Err(Trouble::new(class, "no")));
        let plan = decide(&obs);
        assert_eq!(plan.next, Next::Wait, "{class:?}: nothing is created on it");
        assert_eq!((reason(&plan, READY).as_str(), plan.status.failures), (expected, 1));
    }
}

#[test]
fn a_failure_waits_unless_the_spec_was_changed() {
    let mut obs = fresh();
    obs.account = Some(Err(Trouble::new(Class::Unknown, "no")));
    obs.status = decide(&obs).status;
    obs.account = None;
    assert_eq!(decide(&obs).next, Next::Wait);
    obs.generation = Some(2);
    assert_eq!(decide(&obs).next, Next::NeedAccount);
}

#[test]
fn differences_are_mended_and_an_adopted_account_keeps_what_the_spec_does_not_name() {
    let mut obs = settled();
    obs.spec.display_name = Some("Billing".to_owned());
    let Next::Act(Step::Describe { display_name, description, .. }) = decide(&obs).next else { panic!() };
    assert_eq!((display_name.as_deref(), description), (Some("Billing"), None));
    obs.spec.display_name = None;
    obs.spec.disabled = true;
    let Next::Act(Step::SetDisabled { disabled, .. }) = decide(&obs).next else { panic!() };
    assert!(disabled);
    let mut adopted = fresh();
    adopted.spec.adoption_policy = AdoptionPolicy::IfExists;
    adopted.account =
        Some(Ok(Some(Account { display_name: "By hand".to_owned(), ..account("made by hand") })));
    assert_eq!(decide(&adopted).next, Next::Wait);
}

#[test]
fn bad_ids_and_tenants_rules_are_said() {
    let mut obs = fresh();
    obs.spec.account_id = Some("Bad_".to_owned());
    assert_eq!(reason(&decide(&obs), STALLED), "InvalidSpec");
    obs.spec.account_id = None;
    obs.backend = Ok(Grants { adoption: true, account_id: Err("team-.*".to_owned()) });
    assert_eq!(reason(&decide(&obs), STALLED), "AccountIdNotAllowed");
    for (id, good) in
        [("abcdef", true), ("abc", false), ("1bcdef", false), ("abcde-", false), ("abcDef", false)]
    {
        assert_eq!(is_account_id(id), good, "{id}");
    }
}

#[test]
fn deletion_waits_for_keys_then_follows_the_policy() {
    let mut obs = settled();
    obs.deleting = true;
    assert_eq!(decide(&obs).next, Next::NeedKeys);
    obs.keys = Some(vec!["web".to_owned()]);
    let waiting = decide(&obs);
    assert_eq!(reason(&waiting, READY), "WaitingForKeys");
    assert!(conditions::find(&waiting.status.conditions, READY).unwrap().message.contains("web"));
    obs.keys = Some(Vec::new());
    let delete = Next::Act(Step::Delete { unique_id: "100".to_owned() });
    let disable = Next::Act(Step::SetDisabled { unique_id: "100".to_owned(), disabled: true });
    let leave = Next::Act(Step::RemoveFinalizer);
    // With our mark no later object could adopt it.
    let description = Some(String::new());
    let unmark = Next::Act(Step::Describe { unique_id: "100".to_owned(), display_name: None, description });
    for (policy, origin, expected) in [
        (None, AccountOrigin::Created, &delete),
        (None, AccountOrigin::Adopted, &unmark),
        (Some(AccountDeletionPolicy::Delete), AccountOrigin::Adopted, &delete),
        (Some(AccountDeletionPolicy::Disable), AccountOrigin::Created, &disable),
        (Some(AccountDeletionPolicy::Retain), AccountOrigin::Created, &unmark),
    ] {
        obs.spec.deletion_policy = policy;
        obs.status.origin = Some(origin);
        assert_eq!(&decide(&obs).next, expected, "{policy:?} {origin:?}");
    }
    let there = obs.account.clone();
    obs.refused = Some(Trouble::new(Class::Forbidden, "no"));
    assert_eq!(decide(&obs).next, leave, "what stays holds nothing up");
    obs.refused = None;
    if let Some(Ok(Some(account))) = &mut obs.account {
        account.description.clear();
    }
    assert_eq!(decide(&obs).next, leave);
    obs.account = there;
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Disable);
    if let Some(Ok(Some(account))) = &mut obs.account {
        account.disabled = true;
    }
    assert_eq!(decide(&obs).next, unmark);
    obs.spec.deletion_policy = None;
    obs.account = Some(Ok(None));
    assert_eq!(decide(&obs).next, Next::Wait, "right after its creation a read may not show it yet");
    assert_eq!(plan(&obs, at(601), &Timing::default()).next, leave, "gone is deleted");
    obs.ended = true;
    assert_eq!(decide(&obs).next, leave, "we deleted it ourselves");
}

#[test]
fn deletion_without_a_backend_waits_until_it_is_abandoned() {
    let mut obs = settled();
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    obs.backend = Err((Reason::BackendLoginLost, "gone".to_owned()));
    let waiting = decide(&obs);
    assert!(conditions::is(&waiting.status.conditions, READY, Is::False));
    assert_eq!((waiting.next, reason(&decide(&obs), READY).as_str()), (Next::Wait, "BackendLoginLost"));
    obs.abandon = true;
    let plan = decide(&obs);
    assert_eq!(plan.next, Next::Act(Step::RemoveFinalizer));
    assert!(plan.events[0].note.contains("billing@p"), "the event names what is left");
}

fn leftover(since: i64) -> Leftover {
    Leftover {
        name: "kw-1-abc".to_owned(),
        uid: "s-1".to_owned(),
        key_id: Some("k-1".to_owned()),
        published: false,
        since: at(since),
    }
}

#[test]
fn what_a_force_deleted_key_left_is_ended_key_first_after_a_second_look() {
    let mut obs = settled();
    obs.leftovers = None;
    assert_eq!(decide(&obs).next, Next::NeedLeftovers);
    obs.leftovers = Some(vec![leftover(-30)]);
    let plan = decide(&obs);
    assert_eq!((plan.next, plan.requeue.as_secs()), (Next::Wait, 30), "a request may be on its way");
    obs.leftovers = Some(vec![leftover(-60)]);
    let delete = Step::DeleteKey { unique_id: "100".to_owned(), key_id: "k-1".to_owned() };
    assert_eq!(decide(&obs).next, Next::Act(delete));
    obs.ended_keys = vec!["k-1".to_owned()];
    let unstage = Step::Unstage { name: "kw-1-abc".to_owned(), uid: "s-1".to_owned() };
    assert_eq!(decide(&obs).next, Next::Act(unstage.clone()));
    // A key that some Secret publishes is in use: only its second copy goes.
    obs.ended_keys.clear();
    obs.leftovers = Some(vec![Leftover { published: true, ..leftover(-60) }]);
    assert_eq!(decide(&obs).next, Next::Act(unstage));
    obs.leftovers = Some(Vec::new());
    assert_eq!(decide(&obs).next, Next::Wait);
}

#[test]
fn a_retained_account_is_let_go_after_its_leftovers() {
    let mut obs = settled();
    obs.deleting = true;
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Retain);
    obs.keys = Some(Vec::new());
    obs.leftovers = None;
    assert_eq!(decide(&obs).next, Next::NeedLeftovers);
    obs.leftovers = Some(vec![leftover(-10)]);
    assert_eq!(decide(&obs).next, Next::Wait);
    obs.leftovers = Some(vec![leftover(-60)]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { .. })));
    obs.backend = Err((crate::domain::Reason::BackendUnreachable, "down".to_owned()));
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "BackendUnreachable".to_owned()));
    obs.leftovers = Some(Vec::new());
    assert_eq!(decide(&obs).next, Next::Act(Step::RemoveFinalizer));
}

/// An adopted account without a mark, as an object with `unmanagedKeys: Report` has it.
fn adopted() -> Observation {
    let mut obs = fresh();
    obs.spec.adoption_policy = AdoptionPolicy::IfExists;
    obs.account = Some(Ok(Some(account("made by hand"))));
    obs.status = decide(&obs).status;
    assert_eq!((obs.status.origin, obs.status.exclusive), (Some(AccountOrigin::Adopted), Some(false)));
    obs
}

/// A key that nobody claims, seen for long enough.
fn unclaimed(id: &str) -> Unclaimed {
    let key = UnmanagedKey {
        id: id.to_owned(),
        uploaded: false,
        created_at: Some(at(-90_000)),
        expires_at: None,
        disabled: false,
        disable_reason: None,
    };
    Unclaimed { key, undecided: false, since: at(-80_000) }
}

fn counted(obs: &mut Observation) {
    obs.census_due = true;
    obs.census = Some(Ok(Census { managed: 0, limit: None, unmanaged: vec![unclaimed("k-9")] }));
}

/// Looks again with the status that was decided, until nothing is to be recorded any more.
fn settle(obs: &mut Observation) -> Plan {
    for _ in 0..4 {
        let decided = decide(obs);
        if decided.next != Next::Wait || decided.status == obs.status {
            return decided;
        }
        obs.status = decided.status;
    }
    panic!("{:?}", decide(obs))
}

fn mark_written(plan: &Plan) -> bool {
    matches!(&plan.next, Next::Act(Step::Describe { description: Some(text), .. }) if text.contains("keywheel:c/u-1"))
}

#[test]
fn an_account_is_marked_and_its_unclaimed_keys_end_once_nobody_else_has_it() {
    for policy in [UnmanagedKeys::Disable, UnmanagedKeys::Delete] {
        let mut obs = adopted();
        obs.spec.unmanaged_keys = policy;
        obs.shared_with = None;
        assert_eq!(decide(&obs).next, Next::NeedSharers, "asked before it is marked");
        obs.shared_with = Some(Vec::new());
        assert!(mark_written(&decide(&obs)));
        obs.account = Some(Ok(Some(account("made by hand keywheel:c/u-1"))));
        obs.shared_with = None;
        assert_eq!(decide(&obs).next, Next::NeedSharers, "and before it is called ours alone");
        obs.shared_with = Some(Vec::new());
        counted(&mut obs);
        obs.status = decide(&obs).status;
        assert_eq!(obs.status.exclusive, Some(true));
        let unique_id = "100".to_owned();
        let key_id = "k-9".to_owned();
        let expected = match policy {
            UnmanagedKeys::Disable => Step::DisableKey { unique_id, key_id },
            _ => Step::DeleteKey { unique_id, key_id },
        };
        assert_eq!(settle(&mut obs).next, Next::Act(expected));
        assert!(conditions::find(&obs.status.conditions, ACCOUNT_SHARED).is_none());
    }
}

#[test]
fn an_adoption_is_recorded_before_its_mark_is_written() {
    let mut obs = fresh();
    obs.spec.adoption_policy = AdoptionPolicy::IfExists;
    obs.spec.unmanaged_keys = UnmanagedKeys::Delete;
    let there = Account { display_name: "By hand".to_owned(), ..account("made by hand") };
    obs.account = Some(Ok(Some(there.clone())));
    let recorded = decide(&obs);
    assert_eq!((&recorded.next, recorded.requeue), (&Next::Wait, Duration::ZERO));
    assert_eq!(recorded.status.origin, Some(AccountOrigin::Adopted));
    assert_eq!(recorded.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::AccountAdopted]);
    obs.status = recorded.status;
    assert!(mark_written(&decide(&obs)));
    // It stays a person's: neither emptied of what the spec does not name, nor deleted with the object.
    let marked = Account { description: "made by hand keywheel:c/u-1".to_owned(), ..there };
    obs.account = Some(Ok(Some(marked)));
    let rest = decide(&obs);
    assert_eq!((rest.next, rest.status.origin), (Next::Wait, Some(AccountOrigin::Adopted)));
    assert_eq!((rest.status.exclusive, rest.events.len()), (Some(true), 0));
}

#[test]
fn a_foreign_mark_stays_and_nothing_is_ended() {
    let theirs = "made by hand keywheel:another-cluster/u-7";
    for policy in [UnmanagedKeys::Disable, UnmanagedKeys::Delete] {
        let mut obs = adopted();
        obs.account = Some(Ok(Some(account(theirs))));
        obs.spec.unmanaged_keys = policy;
        // It is no longer so, and the keys were counted as those of one account.
        obs.status.exclusive = Some(true);
        counted(&mut obs);
        let before = obs.status.conditions.clone();
        let rest = settle(&mut obs);
        assert_eq!(rest.next, Next::Wait, "{policy:?}: neither marked nor ended");
        assert_eq!(rest.status.exclusive, Some(false));
        assert!(conditions::is(&rest.status.conditions, READY, Is::True), "its keys work");
        let told = conditions::find(&rest.status.conditions, ACCOUNT_SHARED).unwrap();
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "AccountShared"));
        for words in ["keywheel:another-cluster/u-7", "unmanagedKeys: Report", "take its mark off"] {
            assert!(told.message.contains(words), "{}", told.message);
        }
        assert_eq!(conditions::events(&before, &rest.status.conditions).len(), 1, "said once");
        // What the spec names is written, with their mark behind it.
        obs.spec.description = Some("invoices".to_owned());
        let Next::Act(Step::Describe { description, .. }) = decide(&obs).next else { panic!() };
        assert_eq!(description.as_deref(), Some("invoices keywheel:another-cluster/u-7"));
        obs.spec.description = None;
        obs.spec.unmanaged_keys = UnmanagedKeys::Report;
        assert!(conditions::find(&decide(&obs).status.conditions, ACCOUNT_SHARED).is_none());
    }
}

#[test]
fn a_mark_on_an_account_that_we_created_is_not_written_over() {
    let mut obs = settled();
    assert_eq!(obs.status.exclusive, Some(true));
    obs.account = Some(Ok(Some(account("keywheel:another-cluster/u-7"))));
    let rest = settle(&mut obs);
    assert_eq!((rest.next, rest.status.exclusive), (Next::Wait, Some(false)));
    assert_eq!(reason(&decide(&obs), ACCOUNT_SHARED), "AccountShared");
    // A mark that is lost is written again.
    obs.account = Some(Ok(Some(account(""))));
    assert!(mark_written(&decide(&obs)));
}

#[test]
fn an_account_that_other_objects_have_is_neither_marked_nor_cleared() {
    let others = || Some(vec!["team-a/billing".to_owned(), "team-b/other".to_owned()]);
    let mut obs = adopted();
    obs.spec.unmanaged_keys = UnmanagedKeys::Delete;
    obs.shared_with = others();
    counted(&mut obs);
    let rest = settle(&mut obs);
    assert_eq!((rest.next.clone(), rest.status.exclusive), (Next::Wait, Some(false)), "not marked");
    assert!(conditions::is(&rest.status.conditions, READY, Is::True));
    let told = conditions::find(&rest.status.conditions, ACCOUNT_SHARED).unwrap();
    assert!(told.message.contains("team-a/billing, team-b/other"), "{}", told.message);
    // One that was marked before the others came, and one that we created, are no more ours alone.
    for origin in [AccountOrigin::Adopted, AccountOrigin::Created] {
        obs.account = Some(Ok(Some(ours())));
        obs.status.origin = Some(origin);
        obs.status.exclusive = Some(true);
        let rest = settle(&mut obs);
        assert_eq!((rest.next, rest.status.exclusive), (Next::Wait, Some(false)), "{origin:?}");
    }
    obs.shared_with = Some(Vec::new());
    assert!(matches!(settle(&mut obs).next, Next::Act(Step::DeleteKey { .. })), "they are gone");
    assert_eq!(obs.status.exclusive, Some(true));
}

#[test]
fn who_else_has_an_account_is_asked_with_each_census_and_not_at_rest() {
    let mut obs = settled();
    obs.shared_with = None;
    assert_eq!((decide(&obs).next, decide(&obs).status), (Next::Wait, obs.status.clone()));
    obs.census_due = true;
    assert_eq!(decide(&obs).next, Next::NeedSharers);
    obs.shared_with = Some(Vec::new());
    assert_eq!(decide(&obs).next, Next::NeedCensus { everywhere: false }, "ours alone, and nothing is ended");
    obs.spec.unmanaged_keys = UnmanagedKeys::Delete;
    assert_eq!(decide(&obs).next, Next::NeedCensus { everywhere: true });
    // Keys are not ended on what was recorded an hour ago.
    counted(&mut obs);
    obs.census_due = false;
    obs.shared_with = None;
    assert_eq!(decide(&obs).next, Next::Wait);
    let mut open = adopted();
    open.shared_with = None;
    open.census_due = true;
    assert_eq!(decide(&open).next, Next::NeedCensus { everywhere: true }, "anybody may make keys on it");
}
