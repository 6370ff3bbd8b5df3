//! Keys that no object owns: counted, named, ended.

use super::*;

fn unclaimed(since: i64) -> Unclaimed {
    let key = UnmanagedKey {
        id: "k-9".to_owned(),
        uploaded: false,
        created_at: Some(at(-90_000)),
        expires_at: None,
        disabled: false,
        disable_reason: None,
    };
    Unclaimed { key, undecided: false, since: at(since) }
}

fn counted(policy: UnmanagedKeys, unmanaged: Vec<Unclaimed>) -> Observation {
    let mut obs = settled();
    obs.spec.unmanaged_keys = policy;
    obs.census_due = true;
    obs.census = Some(Ok(Census { managed: 2, system_managed: None, limit: Some(10), unmanaged }));
    obs
}

#[test]
fn a_count_is_recorded_when_it_changes() {
    let mut obs = counted(UnmanagedKeys::Report, Vec::new());
    let none = decide(&obs);
    assert_eq!((none.next, &none.status), (Next::Wait, &obs.status), "there is nothing to report");
    obs = counted(UnmanagedKeys::Report, vec![unclaimed(-1), Unclaimed { undecided: true, ..unclaimed(-1) }]);
    let one = decide(&obs);
    let keys = one.status.keys.unwrap();
    assert_eq!((keys.managed, keys.unmanaged, keys.limit), (2, 1, Some(10)));
    assert_eq!(one.status.unmanaged_keys, [unclaimed(-1).key]);
    obs.status = one.status;
    obs.census = Some(Ok(Census {
        managed: 3,
        system_managed: None,
        limit: Some(10),
        unmanaged: vec![unclaimed(-1)],
    }));
    assert_eq!(decide(&obs).status, obs.status, "a rotation of a managed key costs no write");
    let mut disabled = unclaimed(-1);
    disabled.key.disabled = true;
    obs.census = Some(Ok(Census {
        managed: 3,
        system_managed: None,
        limit: Some(10),
        unmanaged: vec![disabled.clone()],
    }));
    assert_eq!(decide(&obs).status.unmanaged_keys, [disabled.key], "as many as before, and one is another");
}

#[test]
fn ignored_keys_are_counted_and_not_named() {
    let plan = decide(&counted(UnmanagedKeys::Ignore, vec![unclaimed(-1)]));
    assert_eq!(plan.status.keys.map(|k| k.unmanaged), Some(1));
    assert!(plan.status.unmanaged_keys.is_empty());
}

#[test]
fn a_key_is_ended_once_no_attempt_of_ours_can_claim_it() {
    let whole = 70 * 60;
    let ends = |unclaimed: Unclaimed| {
        matches!(
            decide(&counted(UnmanagedKeys::Delete, vec![unclaimed])).next,
            Next::Act(Step::DeleteKey { .. })
        )
    };
    assert!(ends(unclaimed(-whole)));
    assert!(!ends(unclaimed(-(whole - 1))), "not seen for long enough");
    assert!(!ends(Unclaimed { undecided: true, ..unclaimed(-whole) }), "an attempt may still claim it");
}

#[test]
fn an_ending_is_told_and_a_disabled_key_is_disabled_once() {
    let ended = |policy, disabled| {
        let mut key = unclaimed(-70 * 60);
        key.key.disabled = disabled;
        decide(&counted(policy, vec![key]))
    };
    for policy in [UnmanagedKeys::Disable, UnmanagedKeys::Delete] {
        let plan = ended(policy, false);
        assert!(matches!(plan.next, Next::Act(_)), "{policy:?}");
        assert_eq!(plan.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::UnmanagedKeyEnded]);
    }
    assert_eq!(ended(UnmanagedKeys::Disable, true).next, Next::Wait);
    assert!(matches!(ended(UnmanagedKeys::Delete, true).next, Next::Act(Step::DeleteKey { .. })));
}

#[test]
fn what_was_tried_in_this_reconcile_is_not_tried_again_and_the_next_key_is() {
    let key = |n: usize| {
        let mut unclaimed = unclaimed(-70 * 60);
        unclaimed.key.id = format!("k-{n}");
        unclaimed
    };
    let mut obs = counted(UnmanagedKeys::Disable, (0..20).map(key).collect());
    for n in 0..10 {
        let Next::Act(Step::DisableKey { key_id, .. }) = decide(&obs).next else { panic!("{n}") };
        assert_eq!(key_id, format!("k-{n}"));
        obs.done.tried.push(key_id);
    }
    // The others with the next count; all are reported.
    let plan = decide(&obs);
    assert_eq!((plan.next, plan.status.unmanaged_keys.len()), (Next::Wait, 20));
}
