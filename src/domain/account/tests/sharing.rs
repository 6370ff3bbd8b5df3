//! Who else has an account, and what that means for its keys.

use super::*;

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
    obs.census =
        Some(Ok(Census { managed: 0, system_managed: None, limit: None, unmanaged: vec![unclaimed("k-9")] }));
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
