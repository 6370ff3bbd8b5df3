//! The ledger's own operations, and what siblings say, by themselves.

use std::time::Duration;

use super::super::siblings::{Siblings, Window};
use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    KeyOrigin, KeyPhase, LedgerKey, LostAttempt, PendingAttempt, ServiceAccountKeyStatus,
};
use crate::domain::schedule::sub;

fn with(keys: Vec<LedgerKey>) -> ServiceAccountKeyStatus {
    ServiceAccountKeyStatus { keys, ..ServiceAccountKeyStatus::default() }
}

#[test]
fn only_the_refused_key_of_the_attempt_is_abandoned_with_it() {
    let mut status = with(vec![
        key("refused", KeyPhase::Pending, 2),
        key("of-another", KeyPhase::Pending, 1),
        key("published", KeyPhase::Overlap, 2),
    ]);
    status.pending = Some(pending("n2", 2, at(50)));
    ledger::pending_to_lost(&mut status, at(60), &timing(), Duration::from_secs(5));
    let phases: Vec<_> = status.keys.iter().map(|k| (k.phase, k.origin, k.disable_at)).collect();
    assert_eq!(phases[0], (KeyPhase::Overlap, KeyOrigin::Abandoned, Some(at(65))));
    assert_eq!(phases[1], (KeyPhase::Pending, KeyOrigin::Rotation, None));
    assert_eq!(phases[2], (KeyPhase::Overlap, KeyOrigin::Rotation, None));
}

#[test]
fn the_pair_of_a_deleted_key_is_remembered_while_its_upload_may_surface_again() {
    let dropped = |until: i64, lost: Vec<_>| {
        let gone = LedgerKey { surfaces_until: Some(at(until)), ..key("k1", KeyPhase::Disabled, 1) };
        let mut status = ServiceAccountKeyStatus { lost, ..with(vec![gone.clone()]) };
        ledger::drop_key(&mut status, &gone, at(100));
        assert!(status.keys.is_empty());
        status.lost
    };
    assert!(dropped(99, Vec::new()).is_empty() && dropped(100, Vec::new()).is_empty());
    let second = dropped(101, Vec::new());
    assert_eq!((second[0].nonce.as_str(), second[0].until, second[0].fenced), ("second-k1", at(101), true));
    assert_eq!(dropped(101, second.clone()), second, "once");
    assert_eq!(dropped(101, vec![lost("n9", 9, at(0), true)]).len(), 2, "beside the windows of others");
}

#[test]
fn an_attempt_is_told_from_other_windows_and_answered_by_its_number() {
    let normal = lost("n1", 1, at(0), true);
    let rebuilt = LostAttempt { nonce: ledger::REBUILT.to_owned(), ..normal.clone() };
    let second = LostAttempt { nonce: format!("{}k1", ledger::SECOND), ..normal.clone() };
    let local = LostAttempt { public_key_sha256: Some(sha("pair")), ..normal.clone() };
    let attempts = [&normal, &rebuilt, &second, &local].map(ledger::is_attempt);
    assert_eq!(attempts, [true, false, false, true]);
    let known = with(vec![key("k1", KeyPhase::Overlap, 1)]);
    let answered = [&normal, &rebuilt, &second, &local].map(|l| ledger::is_answered(&known, l));
    assert_eq!(answered, [true, false, false, false], "a pair may surface twice");
    assert!(!ledger::is_answered(&with(vec![key("k2", KeyPhase::Overlap, 2)]), &normal));
    assert!(!ledger::is_answered(&with(Vec::new()), &normal));
}

#[test]
fn a_key_is_unfenced_while_its_attempt_or_a_rebuilt_window_is() {
    let unfenced = |lost: LostAttempt| {
        let status = ServiceAccountKeyStatus { lost: vec![lost], ..with(Vec::new()) };
        ledger::is_unfenced(&status, &key("k1", KeyPhase::Overlap, 1))
    };
    assert!(unfenced(lost("n1", 1, at(0), false)));
    assert!(!unfenced(lost("n1", 1, at(0), true)));
    assert!(!unfenced(lost("n2", 2, at(0), false)), "another attempt");
    assert!(unfenced(lost(ledger::REBUILT, 2, at(0), false)), "whose numbers nobody knows");
    assert!(!unfenced(lost(ledger::REBUILT, 2, at(0), true)));
}

#[test]
fn siblings_count_fenced_attempts_that_may_have_made_a_key() {
    let count = |lost: Vec<LostAttempt>| {
        let mut all = Siblings::default();
        let status = ServiceAccountKeyStatus { lost, ..with(vec![key("k5", KeyPhase::Overlap, 5)]) };
        all.add(Some(&status), true);
        all.add(Some(&status), true);
        all.fenced_attempts
    };
    assert_eq!(count(vec![lost("n1", 1, at(0), true), lost("n2", 2, at(0), true)]), 4);
    assert_eq!(count(vec![lost("n1", 1, at(0), false)]), 0, "it may still publish");
    assert_eq!(count(vec![lost(ledger::REBUILT, 1, at(0), true)]), 0, "a time, not an attempt");
    assert_eq!(count(vec![lost("n5", 5, at(0), true)]), 0, "its key is known");
}

#[test]
fn siblings_leave_open_only_the_windows_of_keys_that_nothing_tells() {
    let windows = |change: &dyn Fn(&mut ServiceAccountKeyStatus)| {
        let mut status = with(Vec::new());
        change(&mut status);
        let mut all = Siblings::default();
        all.add(Some(&status), false);
        all.windows
    };
    let open = Window { from: Some(sub(at(7), Duration::from_secs(1))), until: None };
    assert_eq!(windows(&|s| s.pending = Some(pending("n1", 1, at(7)))), [open]);
    let local = |s: &mut ServiceAccountKeyStatus| {
        s.pending = Some(PendingAttempt { public_key_sha256: Some(sha("pair")), ..pending("n1", 1, at(7)) });
    };
    assert_eq!(windows(&local), [], "its public half tells");
    assert_eq!(windows(&|s| s.lost = vec![lost("n1", 1, at(7), false)]).len(), 1);
    assert_eq!(windows(&|s| s.lost = vec![lost("n1", 1, at(7), true)]), []);
}
