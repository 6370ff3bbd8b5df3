//! Accounts that the spec names by e-mail, and those that it wants back.

use super::*;

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

#[test]
fn an_account_comes_back_where_the_spec_names_its_id() {
    let mut obs = fresh();
    obs.spec.undelete = Some("100".to_owned());
    obs.account = Some(Ok(None));
    let back = Next::Act(Step::Undelete { unique_id: "100".to_owned() });
    assert_eq!(decide(&obs).next, back);
    assert_eq!(decide(&obs).events.len(), 1);
    obs.refused = Some(Trouble::new(Class::NotFound, "purged"));
    assert_eq!((decide(&obs).next, decide(&obs).status.failures), (Next::Wait, 1), "and no new one is made");
    obs.refused = None;
    obs.backend = Ok(Grants { adoption: false, ..granted() });
    assert_eq!(reason(&decide(&obs), STALLED), "AdoptionNotAllowed");
    // Its own needs no leave.
    let mut own = Observation { account: Some(Ok(None)), ..settled() };
    own.status.created_at = None;
    own.backend = Ok(Grants { adoption: false, ..granted() });
    assert_eq!(reason(&decide(&own), STALLED), "AccountGone");
    own.spec.undelete = Some("100".to_owned());
    assert_eq!(decide(&own).next, back);
    own.spec.undelete = Some("99".to_owned());
    assert_eq!(reason(&decide(&own), STALLED), "AccountGone", "another would not be this object's");
}

#[test]
fn what_came_back_is_adopted_with_the_mark_of_its_former_object() {
    let mut obs = fresh();
    obs.account = Some(Ok(Some(account("keywheel:c/u-0"))));
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists");
    obs.spec.undelete = Some("100".to_owned());
    let plan = decide(&obs);
    assert_eq!(plan.status.origin, Some(AccountOrigin::Adopted));
    assert_ne!(plan.status.exclusive, Some(true), "its keys may be another's");
    obs.spec.undelete = Some("99".to_owned());
    assert_eq!(reason(&decide(&obs), STALLED), "AccountExists", "it is another account");
}
