//! Interleavings that the protocol closes by one word each: what would happen without it is in `docs/failures.md`.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyOrigin, KeyPhase, ServiceAccountKeyStatus};
use crate::domain::conditions::{self, READY};
use crate::domain::{Class, Trouble};

#[test]
fn a_staging_secret_of_another_nonce_is_not_that_of_the_open_attempt() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    // Of the same number: the count began anew after a status was lost.
    obs.staged = vec![staged("k9", "n9", 2)];
    let plan = decide(&obs, 5);
    assert_eq!((plan.rule, plan.next), ("8d", Next::Wait), "neither proved nor published");
    status(&mut obs).pending = None;
    let plan = decide(&obs, 5);
    assert_eq!(ledger::find(&plan.status, "k9").unwrap().origin, KeyOrigin::Abandoned);
}

#[test]
fn an_open_attempt_is_looked_at_when_it_had_time_to_settle_and_burnt_ones_are_forgotten() {
    let mut obs = settled();
    let window = i64::try_from(timing().burn_window.as_secs()).unwrap();
    status(&mut obs).pending = Some(pending("n2", 2, at(window)));
    status(&mut obs).unpublished_attempts = vec![at(0), at(1)];
    status(&mut obs).next_rotation_time = Some(at(2 * window + 99_999));
    obs.looked_at = at(window);
    let settle = i64::try_from(timing().settle.as_secs()).unwrap();
    let plan = decide(&obs, window + settle - 7);
    assert_eq!((plan.next, plan.requeue.as_secs()), (Next::Wait, 7));
    let plan = decide(&obs, window + settle);
    assert_eq!((plan.rule, plan.status.unpublished_attempts), ("8d", vec![at(1), at(window)]));
}

#[test]
fn what_a_lost_attempt_published_is_recorded_before_the_next_one_begins() {
    let mut obs = settled();
    status(&mut obs).lost = vec![lost("n2", 2, at(3600), false)];
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(Published { published_at: Some(at(3605)), ..published("k2", 2) });
    // The next rotation is due, and would overwrite it.
    assert_eq!(decide(&obs, 3610).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 3610);
    assert_eq!((plan.rule, plan.status.active_key_id.as_deref()), ("7", Some("k2")));
    assert!(plan.status.lost.is_empty(), "{:?}", plan.status.lost);
    let old = ledger::find(&plan.status, "k1").unwrap();
    assert_eq!((old.phase, old.disable_at), (KeyPhase::Overlap, Some(at(3605 + 600))));
}

#[test]
fn the_staged_key_of_a_lost_attempt_is_taken_in_and_not_published() {
    let mut obs = settled();
    status(&mut obs).lost = vec![lost("n2", 2, at(0), false)];
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 3 });
    let plan = decide(&obs, 100);
    assert_eq!((plan.rule, step(&plan)), ("9", &Step::WriteStatus));
    assert_eq!(ledger::find(&plan.status, "k2").unwrap().phase, KeyPhase::Overlap);
}

#[test]
fn what_siblings_have_under_way_is_a_window() {
    let of = |status: Option<&ServiceAccountKeyStatus>| {
        let mut siblings = Siblings::default();
        siblings.add(status, false);
        let mut own = Siblings::default();
        own.add(status, true);
        assert_eq!(own.windows, [], "its own claims are no obstacle to it");
        siblings.windows
    };
    let mut status = ServiceAccountKeyStatus::default();
    assert_eq!(of(None), [Window { from: None, until: None }], "nobody knows what it has under way");
    assert_eq!(of(Some(&status)), []);
    status.pending = Some(pending("n2", 2, at(100)));
    assert_eq!(of(Some(&status)), [Window { from: Some(at(99)), until: None }]);
    status.pending = None;
    status.lost = vec![lost("n2", 2, at(100), false)];
    assert_eq!(of(Some(&status)), [Window { from: Some(at(99)), until: Some(at(100 + 3610)) }]);
    status.lost[0].fenced = true;
    assert_eq!(of(Some(&status)), [], "nobody can publish it any more");
}

#[test]
fn who_is_refused_the_last_place_counts_again_before_it_tries_again() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.sent = Some("n2".to_owned());
    obs.refused = Some(Refusal::ByBackend(Trouble::new(Class::Precondition, "Precondition check failed.")));
    let plan = decide(&obs, 3601);
    assert_eq!((plan.status.pending.is_none(), plan.status.lost.len()), (true, 0), "it left nothing");
    obs.status = Some(plan.status);
    (obs.sent, obs.refused, obs.confirmed) = (None, None, true);
    obs.account = AccountView::Usable(limited(2));
    obs.keys = Some(listed(&["k1", "theirs"], at(3700)));
    let plan = decide(&obs, 3700);
    assert_eq!(plan.status.pending, None);
    assert_eq!(reason(&plan, conditions::QUOTA_EXHAUSTED), "QuotaExhausted");
}

#[test]
fn a_secret_that_goes_with_its_namespace_is_not_replaced() {
    let mut obs = settled();
    (obs.secret, obs.confirmed) = (Secret::Absent, true);
    obs.keys = Some(listed(&["k1"], at(50)));
    obs.preflight = Some(Preflight::Refused { message: "namespace team-a is being terminated".to_owned() });
    let plan = decide(&obs, 50);
    assert_eq!((plan.status.pending.clone(), reason(&plan, READY)), (None, "SecretRefused".to_owned()));
}
