//! Accounts that the spec names by e-mail, and those that it wants back.

use super::*;
use crate::api::v1alpha1::Restoring;

const DEFAULT: &str = "p@appspot.gserviceaccount.com";

fn named() -> Observation {
    let mut obs = fresh();
    obs.spec.email = Some(DEFAULT.to_owned());
    obs
}

fn there() -> Account {
    Account {
        name: format!("projects/p/serviceAccounts/{DEFAULT}"),
        email: DEFAULT.to_owned(),
        ..account("by hand")
    }
}

#[test]
fn an_account_that_is_named_by_its_email_is_taken_up_and_never_created() {
    let mut obs = named();
    assert_eq!(handle(&obs), DEFAULT);
    obs.account = Some(Ok(None));
    let plan = decide(&obs);
    assert_eq!((plan.next, reason(&decide(&obs), READY)), (Next::Wait, "AccountNotFound".to_owned()));
    obs.account = Some(Ok(Some(there())));
    assert_eq!(decide(&obs).status.origin, Some(AccountOrigin::Adopted));
    obs.backend = Ok(Grants { adoption: false, ..granted() });
    assert_eq!(reason(&decide(&obs), STALLED), "AdoptionNotAllowed");
    obs.backend = Ok(Grants { account_id: Err("team-.*".to_owned()), ..granted() });
    assert_eq!(reason(&decide(&obs), STALLED), "AccountIdNotAllowed");
}

#[test]
fn it_is_never_deleted_whatever_the_policy() {
    let mut obs = named();
    obs.account = Some(Ok(Some(there())));
    obs.status = decide(&obs).status;
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    for policy in [None, Some(AccountDeletionPolicy::Delete), Some(AccountDeletionPolicy::Retain)] {
        obs.spec.deletion_policy = policy;
        assert_eq!(decide(&obs).next, Next::Act(Step::RemoveFinalizer), "{policy:?}");
    }
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Disable);
    assert!(matches!(decide(&obs).next, Next::Act(Step::SetDisabled { disabled: true, .. })));
}

const WANTED: &str = "100";

/// An object that wants an account back, which is not there.
fn wanting() -> Observation {
    let mut obs = fresh();
    obs.spec.undelete = Some(WANTED.to_owned());
    obs.account = Some(Ok(None));
    obs
}

fn asks(plan: &Plan) -> bool {
    plan.next == Next::Act(Step::Undelete { unique_id: WANTED.to_owned() })
}

#[test]
fn an_account_is_asked_back_once_it_is_written_down_and_not_while_reads_lag() {
    let mut obs = wanting();
    let intended = decide(&obs);
    assert_eq!((&intended.next, intended.requeue), (&Next::Wait, Duration::ZERO));
    let asked = Restoring { unique_id: WANTED.to_owned(), asked_at: at(0), done: false };
    assert_eq!((&intended.status.restoring, intended.status.created_at), (&Some(asked), Some(at(0))));
    obs.status = intended.status;
    assert!(asks(&decide(&obs)));
    assert_eq!(decide(&obs).events[0].reason, Reason::AccountRestored);
    obs.done.restored = Some("billing@p".to_owned());
    assert_eq!((decide(&obs).next, decide(&obs).status), (Next::Wait, obs.status.clone()));
    obs.done.restored = None;
    assert!(asks(&plan(&obs, at(60), &Timing::default())), "a crash came between");
    for waits in [61, 600] {
        let plan = plan(&obs, at(waits), &Timing::default());
        assert_eq!((plan.next, plan.status), (Next::Wait, obs.status.clone()), "{waits}");
        assert_eq!(plan.requeue, Timing::default().settle);
    }
    let again = plan(&obs, at(601), &Timing::default());
    assert_eq!(again.status.restoring.unwrap().asked_at, at(601));
    // The object goes: the account may still show itself.
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    assert_eq!(reason(&decide(&obs), READY), "Deleting");
}

/// Whoever wrote the spec named another account: it is told, and not asked for again.
#[test]
fn what_came_back_under_another_name_is_left_alone() {
    let mut obs = wanting();
    obs.status = decide(&obs).status;
    obs.done.restored = Some("another@p.iam.gserviceaccount.com".to_owned());
    let told = decide(&obs);
    assert_eq!((told.next.clone(), reason(&told, STALLED)), (Next::Wait, "InvalidSpec".to_owned()));
    let message = &conditions::find(&told.status.conditions, STALLED).unwrap().message;
    assert!(message.contains("another@p") && message.contains("not billing"), "{message}");
    obs.status = told.status;
    obs.done.restored = None;
    for later in [30, 3600, 86_400] {
        let plan = plan(&obs, at(later), &Timing::default());
        assert_eq!((plan.next.clone(), reason(&plan, STALLED)), (Next::Wait, "InvalidSpec".to_owned()));
    }
}

#[test]
fn what_is_gone_for_good_is_told_and_no_new_one_is_made() {
    let mut obs = wanting();
    obs.status = decide(&obs).status;
    obs.refused = Some(Trouble::new(Class::NotFound, "Unknown service account"));
    let told = decide(&obs);
    assert_eq!((told.next.clone(), told.status.failures), (Next::Wait, 1));
    let message = &conditions::find(&told.status.conditions, READY).unwrap().message;
    assert!(message.contains("take undelete out of the spec"), "{message}");
}

#[test]
fn only_who_may_have_any_account_gets_one_back_that_was_not_its_own() {
    for adoption in [false, true] {
        let grants = Grants { adoption, undelete: false, ..granted() };
        let obs = Observation { backend: Ok(grants.clone()), ..wanting() };
        assert_eq!(reason(&decide(&obs), STALLED), "AdoptionNotAllowed");
        // Its own needs no leave.
        let mut own = Observation { account: Some(Ok(None)), backend: Ok(grants), ..settled() };
        own.status.created_at = None;
        assert_eq!(reason(&decide(&own), STALLED), "AccountGone");
        own.spec.undelete = Some(WANTED.to_owned());
        own.status = decide(&own).status;
        assert!(asks(&decide(&own)));
        own.spec.undelete = Some("99".to_owned());
        assert_eq!(reason(&decide(&own), STALLED), "AccountGone", "another would not be this object's");
    }
}

#[test]
fn it_is_brought_back_once() {
    let mut obs = Observation { account: Some(Ok(None)), ..settled() };
    obs.status.created_at = None;
    obs.spec.undelete = Some(WANTED.to_owned());
    obs.status = decide(&obs).status;
    obs.account = Some(Ok(Some(ours())));
    obs.status = decide(&obs).status;
    assert!(obs.status.restoring.as_ref().unwrap().done);
    // Somebody deletes it again, and means it.
    obs.account = Some(Ok(None));
    let gone = plan(&obs, at(3600), &Timing::default());
    assert_eq!(reason(&gone, STALLED), "AccountGone");
    assert!(
        conditions::find(&gone.status.conditions, STALLED).unwrap().message.contains("brought back once")
    );
    // To ask for it again it is taken out of the spec, where the account is there and where it is not.
    obs.spec.undelete = None;
    assert_eq!(
        decide(&Observation { account: Some(Ok(Some(ours()))), ..obs.clone() }).status.restoring,
        None
    );
    assert_eq!(plan(&obs, at(3600), &Timing::default()).status.restoring, None);
}

/// The object goes while its account may still come back.
#[test]
fn an_account_of_its_own_that_may_come_back_holds_its_object() {
    let mut obs = Observation { account: Some(Ok(None)), ..settled() };
    obs.status.created_at = None;
    obs.spec.undelete = Some(WANTED.to_owned());
    obs.status = decide(&obs).status;
    (obs.deleting, obs.keys) = (true, Some(Vec::new()));
    let later = |seconds| plan(&obs, at(seconds), &Timing::default());
    assert_eq!(reason(&later(4269), READY), "Deleting");
    assert_eq!(later(4270).next, Next::Act(Step::RemoveFinalizer));
}

/// Naming the id of an account is no right to it.
#[test]
fn an_account_that_is_there_is_not_taken_by_its_id() {
    let mut obs = wanting();
    obs.account = Some(Ok(Some(account("keywheel:c/u-0"))));
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists");
    obs.account = Some(Ok(Some(account("made by hand"))));
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists");
}

#[test]
fn what_came_back_is_taken_up_if_nobody_has_it() {
    let back = |mark: &str, sharers: Option<Vec<String>>| {
        let mut obs = wanting();
        obs.status = decide(&obs).status;
        obs.account = Some(Ok(Some(account(mark))));
        obs.shared_with = sharers;
        obs
    };
    let free = back("keywheel:c/u-0", Some(Vec::new()));
    let Next::Act(Step::Describe { description, .. }) = decide(&free).next else {
        panic!("{:?}", decide(&free))
    };
    assert_eq!(
        description.as_deref(),
        Some("keywheel:c/u-1"),
        "it carries the mark of this object from now on"
    );
    assert_eq!(decide(&back("keywheel:c/u-0", None)).next, Next::NeedSharers);
    let shared = back("keywheel:c/u-0", Some(vec!["a/billing".to_owned()]));
    assert_eq!(reason(&decide(&shared), STALLED), "AccountExists");
    let foreign = back("keywheel:another-cluster/u-0", Some(Vec::new()));
    assert_eq!(reason(&decide(&foreign), STALLED), "AccountExists");
    let by_hand = back("made by hand", Some(Vec::new()));
    assert_eq!(decide(&by_hand).status.origin, Some(AccountOrigin::Adopted));
    assert_eq!(decide(&back("made by hand", None)).next, Next::NeedSharers);
    // What was asked for by a spec that was changed since, or that may not ask any more, is nothing.
    let mut changed = back("made by hand", Some(Vec::new()));
    changed.spec.undelete = None;
    assert_eq!(reason(&decide(&changed), STALLED), "AccountExists");
    let mut barred = back("made by hand", Some(Vec::new()));
    barred.backend = Ok(Grants { undelete: false, ..granted() });
    assert_eq!(reason(&decide(&barred), STALLED), "AccountExists");
}
