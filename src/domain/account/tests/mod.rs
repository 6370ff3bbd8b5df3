//! Accounts, case by case.

mod creating;
mod deletion;
mod documents;
mod edges;
mod named;
mod noted;
mod one_role;
mod retry_after;
mod roles;
mod services;
mod sharing;
mod unmanaged;

use std::time::Duration;

use super::*;
use crate::api::v1alpha1::{
    AccountDeletionPolicy, AccountOrigin, AdoptionPolicy, BackendKind, BackendRef, UnmanagedKey,
    UnmanagedKeys,
};
use crate::domain::conditions::{self, ACCOUNT_SHARED, Is, READY, STALLED};
use crate::domain::{Capabilities, Class, Timing};

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A backend that allows everything.
fn granted() -> Grants {
    Grants {
        can: Capabilities::google(),
        adoption: true,
        undelete: true,
        account_id: Ok(()),
        project: "p".to_owned(),
        roles: None,
        services: None,
    }
}

fn fresh() -> Observation {
    Observation {
        name: "billing".to_owned(),
        uid: "u-1".to_owned(),
        generation: Some(1),
        deleting: false,
        has_finalizer: true,
        abandon: false,
        roll: None,
        in_use: None,
        fresh_nonce: "n1".to_owned(),
        own_attempt: None,
        spec: ServiceAccountSpec {
            disruptive: None,
            backend_ref: BackendRef { kind: BackendKind::default(), name: "default".to_owned() },
            account_id: None,
            email: None,
            undelete: None,
            display_name: None,
            description: None,
            disabled: false,
            adoption_policy: AdoptionPolicy::Never,
            deletion_policy: None,
            unmanaged_keys: UnmanagedKeys::Report,
            roles: Vec::new(),
            services: Vec::new(),
            public_keys: None,
            federation: None,
        },
        status: ServiceAccountStatus::default(),
        noted: None,
        owner_mark: "keywheel:c/u-1".to_owned(),
        backend: Ok(granted()),
        account: None,
        shared_with: Some(Vec::new()),
        keys: None,
        leftovers: Some(Vec::new()),
        census_due: false,
        census: None,
        policies: None,
        services: None,
        earth_engine: None,
        documents_due: false,
        documents: None,
        done: Done::default(),
        ended: false,
        refused: None,
    }
}

fn account(description: &str) -> Account {
    Account {
        basic_auth: false,
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
        obs.backend = Ok(Grants { adoption, ..granted() });
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
    obs.backend = Ok(Grants { account_id: Err("team-.*".to_owned()), ..granted() });
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
    let unmark = Next::Act(Step::Describe {
        unique_id: "100".to_owned(),
        display_name: None,
        description,
        basic_auth: None,
    });
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
        to_end: vec!["k-1".to_owned()],
        content: Content::Key,
        since: at(since),
    }
}

#[test]
fn a_pair_that_a_force_deleted_key_left_is_looked_for_until_it_can_surface_no_more() {
    let mut obs = settled();
    let pair = |since: i64| Leftover { to_end: Vec::new(), content: Content::Pair, ..leftover(since) };
    obs.leftovers = Some(vec![Leftover { content: Content::Unsearched, ..pair(-100_000) }]);
    assert_eq!(decide(&obs).next, Next::Wait, "nobody looked");
    obs.leftovers = Some(vec![pair(-60)]);
    assert_eq!(decide(&obs).next, Next::Wait, "its upload may still surface");
    // It holds up nothing else.
    obs.leftovers = Some(vec![pair(-70), Leftover { uid: "s-2".to_owned(), ..leftover(-60) }]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { .. })));
    obs.leftovers = Some(vec![Leftover { to_end: vec!["k-1".to_owned()], ..pair(-60) }]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { .. })));
    obs.done.ended = vec!["k-1".to_owned()];
    assert_eq!(decide(&obs).next, Next::Wait, "it may have been uploaded twice");
    let both = vec!["k-1".to_owned(), "k-2".to_owned()];
    obs.leftovers = Some(vec![Leftover { to_end: both, ..pair(-70 * 60) }]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { key_id, .. }) if key_id == "k-2"));
    obs.leftovers = Some(vec![pair(-70 * 60)]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::Unstage { .. })));
    // Nothing is waited for where the account goes itself; one that is disabled stays.
    (obs.deleting, obs.keys) = (true, Some(Vec::new()));
    obs.leftovers = Some(vec![Leftover { content: Content::Unsearched, ..pair(-60) }]);
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Delete);
    assert!(matches!(decide(&obs).next, Next::Act(Step::Unstage { .. })));
    obs.done.ended.clear();
    obs.leftovers = Some(vec![Leftover { content: Content::Unsearched, ..leftover(-60) }]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::DeleteKey { .. })), "before nobody knows of it");
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Disable);
    let waiting = decide(&obs);
    assert_eq!((waiting.next, waiting.requeue.as_secs()), (Next::Wait, 60));
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
    obs.done.ended = vec!["k-1".to_owned()];
    let unstage = Step::Unstage { name: "kw-1-abc".to_owned(), uid: "s-1".to_owned() };
    assert_eq!(decide(&obs).next, Next::Act(unstage.clone()));
    // A key that some Secret publishes is in use: only its second copy goes.
    obs.done.ended.clear();
    obs.leftovers = Some(vec![Leftover { to_end: Vec::new(), ..leftover(-60) }]);
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
