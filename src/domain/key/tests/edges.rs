//! Functions of the plan at their edges: the second before and the second itself, one fact changed at a time.

use std::time::Duration;

use super::super::table::Table;
use super::super::*;
use super::super::{need, requests, retire};
use super::builders::*;
use crate::api::v1alpha1::{
    FormerSecret, KeyPhase, KeyReason, KeySeen, KeySource, LedgerKey, Rotation, ServiceAccountKeyStatus,
    Workload, WorkloadKind,
};
use crate::domain::Reason;
use crate::domain::conditions::{READY, ROTATING, STALLED};
use crate::domain::schedule::Schedule;

fn at_table<T>(
    obs: &Observation,
    seconds: i64,
    ask: impl FnOnce(&Table<'_>, &ServiceAccountKeyStatus, &Schedule) -> T,
) -> T {
    let (timing, now) = (timing(), at(seconds));
    let schedule = Schedule::parse(&obs.spec.rotation.clone().unwrap_or_default(), now).unwrap();
    let status = obs.status.clone().unwrap_or_default();
    ask(&Table { obs, now, exact: now, timing: &timing }, &status, &schedule)
}

fn needed(obs: &Observation, seconds: i64) -> Option<KeyReason> {
    at_table(obs, seconds, need::reason)
}

#[test]
fn a_request_is_due_once_for_each_time_that_it_names() {
    for (handled, due) in [(None, true), (Some(39), true), (Some(40), false), (Some(41), false)] {
        let mut obs = settled();
        obs.requests.revoke_at = Some(at(40));
        obs.requests.rotate_at = Some(at(40));
        status(&mut obs).handled.revoke_at = handled.map(at);
        status(&mut obs).handled.rotate_at = handled.map(at);
        let expected = due.then_some(at(40));
        let asked = at_table(&obs, 50, |t, s, _| (requests::revocation(t, s), requests::rotation(t, s)));
        assert_eq!(asked, (expected, expected), "{handled:?}");
        let early = at_table(&obs, 39, |t, s, _| (requests::revocation(t, s), requests::rotation(t, s)));
        assert_eq!(early, (None, None));
    }
}

#[test]
fn a_key_of_the_very_second_of_a_revocation_is_not_revoked_and_does_not_answer_a_rotation() {
    let made = |at| LedgerKey { minted_at: at, ..key("k1", KeyPhase::Active, 1) };
    let revoked =
        [Some(at(39)), Some(at(40)), Some(at(41)), None].map(|m| requests::is_revoked(&made(m), at(40)));
    assert_eq!(revoked, [true, false, false, true]);
    let handled = |published: i64, begun: Option<i64>| {
        let mut obs = settled();
        obs.requests.rotate_at = Some(at(40));
        obs.requests.revoke_at = Some(at(40));
        status(&mut obs).keys[0].minted_at = Some(at(40));
        status(&mut obs).keys[0].published_at = Some(at(published));
        status(&mut obs).pending = begun.map(|begun| pending("n2", 2, at(begun)));
        let mut after = obs.status.clone().unwrap();
        at_table(&obs, 50, |t, _, _| requests::mark_handled(t, &mut after));
        (after.handled.rotate_at.is_some(), after.handled.revoke_at.is_some())
    };
    assert_eq!(handled(40, None), (false, true));
    assert_eq!(handled(41, Some(39)), (true, false), "an older attempt is still open");
    assert_eq!(handled(41, Some(40)), (true, true));
    assert_eq!(handled(41, Some(41)), (true, true));
}

#[test]
fn a_revoked_key_ends_only_where_nothing_publishes_it() {
    let revoking = || {
        let mut obs = overdue();
        obs.requests.revoke_at = Some(at(40));
        status(&mut obs).keys[0].minted_at = Some(at(45));
        obs
    };
    let ends = |obs: &Observation| at_table(obs, 50, |t, s, _| t.revoke_old(s, &account())).map(|p| p.next);
    let delete = Some(Next::Act(Step::DeleteKey { id: "k0".to_owned() }));
    assert_eq!(ends(&revoking()), delete);
    let mut obs = revoking();
    secret(&mut obs).key_id = Some("k0".to_owned());
    assert_eq!(ends(&obs), None, "the Secret shows it");
    let mut obs = revoking();
    obs.renamed_from = Some(published("k0", 0));
    assert_eq!(ends(&obs), None, "the Secret of the name before shows it");
    obs.renamed_from = Some(published("k1", 1));
    assert_eq!(ends(&obs), delete);
    let mut obs = revoking();
    let former = |ids: &[&str]| Former {
        name: "old".to_owned(),
        uid: "s-0".to_owned(),
        resource_version: "3".to_owned(),
        key_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        held_by: None,
    };
    obs.former = vec![former(&["k0"])];
    status(&mut obs).former_secrets =
        vec![FormerSecret { name: "old".to_owned(), uid: "s-0".to_owned(), delete_at: at(900) }];
    assert!(matches!(ends(&obs), Some(Next::Act(Step::DeleteFormer { .. }))), "that Secret goes first");
    status(&mut obs).keys[0].minted_at = Some(at(0));
    assert_eq!(ends(&obs), None, "as long as the one of today is revoked, too, it is all there is");
    status(&mut obs).keys[0].minted_at = Some(at(45));
    obs.secret = Secret::Absent;
    obs.renamed_from = Some(published("k1", 1));
    assert_eq!(ends(&obs), None, "nor while there is none");
    let mut obs = revoking();
    obs.former = vec![former(&["k1"])];
    assert_eq!(ends(&obs), delete, "one that shows only the good key may stay");
    let mut obs = revoking();
    obs.spec.rollout_restart = vec![Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() }];
    assert_eq!(ends(&obs), delete, "no workload is waited for");
}

#[test]
fn why_a_key_is_needed() {
    let mut obs = settled();
    assert_eq!(needed(&obs, 50), None);
    obs.secret = Secret::Absent;
    assert_eq!(needed(&obs, 50), Some(KeyReason::SecretMissing));
    obs.renamed_from = Some(published("k1", 1));
    assert_eq!(needed(&obs, 50), None, "it is published under the name before");
    obs.renamed_from = Some(published("k0", 0));
    assert_eq!(needed(&obs, 50), Some(KeyReason::SecretMissing), "that is another key");
}

#[test]
fn a_key_that_expires_before_its_turn_is_replaced_for_that_reason() {
    let due = |next: i64, expires: i64, every: Option<&str>| {
        let mut obs = settled();
        obs.spec.rotation.as_mut().unwrap().every = every.map(crate::api::v1alpha1::Span::new);
        status(&mut obs).next_rotation_time = Some(at(next));
        status(&mut obs).keys[0].expires_at = Some(at(expires));
        needed(&obs, 10_000)
    };
    assert_eq!(due(3000, 9000, Some("1h")), Some(KeyReason::Expiring), "before the schedule says so");
    assert_eq!(due(3600, 9000, Some("1h")), Some(KeyReason::Schedule));
    assert_eq!(due(3700, 9000, Some("1h")), Some(KeyReason::Schedule));
    assert_eq!(due(3000, 3000, Some("1h")), Some(KeyReason::Schedule), "its end does not come before it");
    assert_eq!(due(3000, 9000, None), Some(KeyReason::Expiring), "there is no schedule");
}

#[test]
fn clocks_may_differ_by_as_much_as_is_said() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    gates_open(&mut obs, 50);
    obs.keys = Some(listed(&["k1"], at(50 + 300)));
    assert_eq!(intent(&obs, 50), KeyReason::Schedule);
    obs.keys = Some(listed(&["k1"], at(50 + 301)));
    let told = decide(&obs, 50);
    assert_eq!(told.status.failures, 1);
    let message = need::clock_message(at(50), at(351));
    assert!(
        message.contains("2027-01-15T08:00:50Z") && message.contains("2027-01-15T08:05:51Z"),
        "{message}"
    );
    let mut obs = settled();
    let mut usable = account();
    usable.clock_skew = Some(Duration::from_mins(5));
    obs.account = AccountView::Usable(usable.clone());
    assert_eq!(reason(&decide(&obs, 50), ROTATING), "");
    usable.clock_skew = Some(Duration::from_secs(301));
    obs.account = AccountView::Usable(usable);
    assert_eq!(reason(&decide(&obs, 50), ROTATING), "ClockSkew");
}

#[test]
fn a_backend_without_upload_serves_keys_of_its_own() {
    let mut obs = settled();
    obs.account = AccountView::Usable(able(|can| can.upload_keys = false));
    assert_eq!(reason(&decide(&obs, 50), READY), "KeyPublished");
    obs.spec.key_source = KeySource::Local;
    assert_eq!(reason(&decide(&obs, 50), STALLED), "CapabilityMissing");
}

#[test]
fn three_open_windows_or_three_burnt_attempts_stop_new_ones_until_the_first_is_over() {
    let open = || {
        let mut obs = settled();
        status(&mut obs).next_rotation_time = Some(at(0));
        // The first one is over at 3610 + 600.
        status(&mut obs).lost =
            (0..3).map(|n| lost(&format!("n{n}"), n + 5, at(i64::from(n) * 10), true)).collect();
        obs.looked_at = at(10_000);
        obs
    };
    let gated = |obs: &Observation, seconds| {
        at_table(obs, seconds, |t, s, schedule| need::gate(t, s, &account(), schedule, KeyReason::Schedule))
    };
    assert!(matches!(gated(&open(), 4209), need::Gate::BackOff { until, .. } if until == at(4210)));
    assert!(!matches!(gated(&open(), 4210), need::Gate::BackOff { .. }), "over in that second");
    let mut obs = settled();
    status(&mut obs).unpublished_attempts = vec![at(0), at(10), at(20)];
    let day = 24 * 3600;
    assert!(matches!(gated(&obs, day - 1), need::Gate::BackOff { until, .. } if until == at(day)));
    assert!(!matches!(gated(&obs, day), need::Gate::BackOff { .. }));
}

#[test]
fn drift_waits_only_where_the_same_spec_was_repaired_before() {
    let repaired = |why: KeyReason, reason: Option<KeyReason>, generation| {
        let mut obs = settled();
        status(&mut obs).keys[0].reason = reason;
        status(&mut obs).observed_generation = Some(generation);
        obs.confirmed = true;
        let gate = at_table(&obs, 60, |t, s, schedule| need::gate(t, s, &account(), schedule, why));
        matches!(gate, need::Gate::BackOff { .. })
    };
    let drift = Some(KeyReason::SecretMissing);
    assert!(repaired(KeyReason::SecretMissing, drift, 1));
    assert!(!repaired(KeyReason::Schedule, drift, 1), "this is no drift");
    assert!(!repaired(KeyReason::SecretMissing, Some(KeyReason::Schedule), 1), "the last one was none");
    assert!(!repaired(KeyReason::SecretMissing, drift, 0), "the spec was changed since");
}

/// A key `k0` in this phase beside the active one, and whether it may end.
fn may_end(phase: KeyPhase, change: impl FnOnce(&mut Observation)) -> bool {
    let mut obs = settled();
    status(&mut obs).keys.push(key("k0", phase, 0));
    change(&mut obs);
    let status = obs.status.clone().unwrap();
    retire::may_end(&obs, obs.secret.ours(), &status, ledger::find(&status, "k0").unwrap())
}

#[test]
fn a_key_may_end_unless_something_shows_it_or_speaks_for_it() {
    let overlap = KeyPhase::Overlap;
    assert!(may_end(overlap, |_| {}));
    assert!(!may_end(overlap, |obs| secret(obs).key_id = Some("k0".to_owned())));
    assert!(!may_end(overlap, |obs| status(obs).active_key_id = Some("k0".to_owned())));
    assert!(!may_end(overlap, |obs| obs.renamed_from = Some(published("k0", 0))));
    assert!(may_end(overlap, |obs| obs.renamed_from = Some(published("k1", 1))));
    let former = |id: &str| Former {
        name: "old".to_owned(),
        uid: "s-0".to_owned(),
        resource_version: "3".to_owned(),
        key_ids: vec![id.to_owned()],
        held_by: None,
    };
    assert!(!may_end(overlap, |obs| obs.former = vec![former("k0")]));
    assert!(may_end(overlap, |obs| obs.former = vec![former("k1")]));
    let refused = || Refused { until: at(600), reason: Reason::PermissionMissing, message: "no".to_owned() };
    assert!(!may_end(overlap, |obs| obs.put_off = PutOff::from([(Subject::Key("k0".to_owned()), refused())])));
    assert!(!may_end(overlap, |obs| status(obs).keys[1].seen = Some(KeySeen::Enabled)));
    assert!(!may_end(overlap, |obs| status(obs).lost = vec![lost("n0", 0, at(0), false)]));
}

#[test]
fn room_is_made_by_disabled_keys_first_then_by_what_is_over_or_revoked() {
    let early = |change: &dyn Fn(&mut Observation)| {
        let mut obs = settled();
        for (id, phase, attempt) in
            [("k3", KeyPhase::Overlap, 3), ("k2", KeyPhase::Disabled, 2), ("k4", KeyPhase::Disabled, 4)]
        {
            let mut key = key(id, phase, attempt);
            key.disable_at = Some(at(40));
            status(&mut obs).keys.push(key);
        }
        change(&mut obs);
        at_table(&obs, 50, |t, s, schedule| retire::early(t, s, &account(), schedule, &[])).map(|e| e.step)
    };
    let delete = |id: &str| Some(Step::DeleteKey { id: id.to_owned() });
    let disable = |id: &str| Some(Step::DisableKey { id: id.to_owned() });
    assert_eq!(early(&|_| {}), delete("k2"), "the oldest disabled one");
    assert_eq!(early(&|obs| status(obs).keys.remove(2).id.clear()), delete("k4"));
    let only_overlap = |obs: &mut Observation| status(obs).keys.retain(|k| k.phase != KeyPhase::Disabled);
    assert_eq!(early(&only_overlap), disable("k3"));
    let still = |obs: &mut Observation| {
        only_overlap(obs);
        status(obs).keys[1].disable_at = Some(at(51));
    };
    assert_eq!(early(&still), None, "its overlap is not over");
    let revoked = |obs: &mut Observation| {
        still(obs);
        obs.requests.revoke_at = Some(at(30));
    };
    assert_eq!(early(&revoked), disable("k3"), "none is owed to it");
    let awaited = |obs: &mut Observation| {
        only_overlap(obs);
        obs.spec.rollout_restart = vec![Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() }];
    };
    assert_eq!(early(&awaited), None, "workloads still read it");
    let shown = |obs: &mut Observation| {
        only_overlap(obs);
        secret(obs).previous_key_id = Some("k3".to_owned());
    };
    assert_eq!(early(&shown), None, "it is readable as the previous one");
    let shown_and_revoked = |obs: &mut Observation| {
        shown(obs);
        obs.requests.revoke_at = Some(at(30));
    };
    assert_eq!(early(&shown_and_revoked), disable("k3"));
}

fn suspended(obs: &mut Observation) {
    obs.spec.rotation = Some(Rotation { suspend: true, ..obs.spec.rotation.clone().unwrap_or_default() });
}

#[test]
fn a_secret_of_a_former_name_goes_when_it_is_over_and_the_new_one_is_good() {
    let former = |change: &dyn Fn(&mut Observation)| {
        let mut obs = settled();
        obs.former = vec![Former {
            name: "old".to_owned(),
            uid: "s-0".to_owned(),
            resource_version: "3".to_owned(),
            key_ids: vec!["k1".to_owned()],
            held_by: None,
        }];
        obs.confirmed = true;
        status(&mut obs).former_secrets =
            vec![FormerSecret { name: "old".to_owned(), uid: "s-0".to_owned(), delete_at: at(50) }];
        change(&mut obs);
        at_table(&obs, 50, |table, status, schedule| Some(table.end_former(status, schedule)?.next))
    };
    assert!(matches!(former(&|_| {}), Some(Next::Act(Step::DeleteFormer { .. }))));
    assert_eq!(former(&|obs| status(obs).former_secrets[0].delete_at = at(51)), None);
    assert_eq!(former(&suspended), None);
    assert_eq!(former(&|obs| secret(obs).key_id = Some("k9".to_owned())), None, "the new one is not good");
    let renamed = |obs: &mut Observation| {
        obs.secret = Secret::Absent;
        obs.renamed_from = Some(published("k1", 1));
    };
    assert_eq!(former(&renamed), None, "the new one is not there");
}

#[test]
fn what_comes_at_this_very_second_wakes_nobody_again() {
    let audit = timing().audit.as_secs();
    let wakes = |change: &dyn Fn(&mut Observation)| {
        let mut obs = settled();
        obs.spec.rotation.as_mut().unwrap().every = None;
        status(&mut obs).next_rotation_time = None;
        obs.looked_at = at(100);
        change(&mut obs);
        at_table(&obs, 100, |table, status, schedule| table.requeue(status, schedule).as_secs())
    };
    assert_eq!(wakes(&|_| {}), audit);
    let expires = |at| move |obs: &mut Observation| status(obs).keys[0].expires_at = Some(at);
    assert_eq!(wakes(&expires(at(400))), 300);
    assert_eq!((wakes(&expires(at(100))), wakes(&expires(at(99)))), (audit, audit), "it is over");
    let lost_at =
        |from: i64| move |obs: &mut Observation| status(obs).lost = vec![lost("n9", 9, at(from), true)];
    assert_eq!(wakes(&lost_at(-19)), 1, "the first look");
    assert!(wakes(&lost_at(-20)) > 2400, "that was now");
    let asked = |at| move |obs: &mut Observation| obs.requests.rotate_at = Some(at);
    assert_eq!((wakes(&asked(at(101))), wakes(&asked(at(100)))), (1, audit));
}
