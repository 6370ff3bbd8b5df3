//! Fences, endings, settlements, deletion; and what brings a rotation forward or takes it back.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{DeletionPolicy, KeyPhase, Span, SuspectKey};
use crate::domain::conditions::{self, Is};
use crate::domain::{Class, Reason, Trouble};

#[test]
fn rule_12_fences_a_lost_attempt_through_the_secret() {
    let mut obs = settled();
    status(&mut obs).lost = vec![lost("n5", 5, at(0), false)];
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, step(&plan)), ("12", &Step::Fence { mark: "n5".to_owned() }));
    assert!(plan.status.lost[0].fenced);
}

#[test]
fn rule_13_ends_a_key_only_when_all_is_proved() {
    let due = || {
        let mut obs = settled();
        let mut old = key("k0", KeyPhase::Overlap, 0);
        old.disable_at = Some(at(50));
        status(&mut obs).keys.push(old);
        obs
    };
    let mut obs = due();
    assert_eq!(decide(&obs, 49).next, Next::Wait, "not before its time");
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    assert_eq!(step(&plan), &Step::DisableKey { id: "k0".to_owned() });
    let ended = ledger::find(&plan.status, "k0").unwrap();
    assert_eq!((ended.phase, ended.delete_at), (KeyPhase::Disabled, Some(at(50 + 1200))));
    obs.status = Some(plan.status);
    let plan = decide(&obs, 50 + 1200);
    assert_eq!(step(&plan), &Step::DeleteKey { id: "k0".to_owned() });
    assert!(ledger::find(&plan.status, "k0").is_none());

    // Nothing that is not all right lets a key end.
    let mut publishes_it = due();
    secret(&mut publishes_it).key_id = Some("k0".to_owned());
    let mut absent = due();
    absent.secret = Secret::Absent;
    // Somebody put the old credential back and left our mark: pods read k0 now.
    let mut holds_it = due();
    secret(&mut holds_it).credential = Credential::Readable { public_key_sha256: sha("k0") };
    status(&mut holds_it).failures = 1;
    status(&mut holds_it).last_failure_time = Some(at(59));
    let mut unfenced = due();
    status(&mut unfenced).lost = vec![lost("n0", 0, at(0), false)];
    for (name, mut obs) in
        [("publishes", publishes_it), ("holds", holds_it), ("absent", absent), ("unfenced", unfenced)]
    {
        obs.confirmed = true;
        let plan = decide(&obs, 60);
        let ends = matches!(plan.next, Next::Act(Step::DisableKey { .. } | Step::DeleteKey { .. }));
        assert!(!ends, "{name}: {plan:?}");
    }
}

#[test]
fn rule_13_deletes_at_once_where_the_backend_cannot_disable() {
    let mut obs = settled();
    obs.account = AccountView::Usable(able(|can| can.disable_keys = false));
    obs.spec.rotation.as_mut().unwrap().delete_after = None;
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(50));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    assert_eq!(step(&decide(&obs, 50)), &Step::DeleteKey { id: "k0".to_owned() });
}

#[test]
fn rules_14_and_15_report_what_appeared_in_a_lost_window_and_touch_nothing() {
    let mut obs = settled();
    status(&mut obs).lost = vec![lost("n5", 5, at(0), true)];
    let over = 3610 + 600 + 1;
    status(&mut obs).next_rotation_time = Some(at(99_999));
    assert_eq!(decide(&obs, over - 2).next, Next::Wait, "its key may still surface");
    assert_eq!(decide(&obs, over).next, Next::Need(Need::Keys));
    obs.keys = Some(listed(&["k1", "stranger"], at(over)));
    assert_eq!(decide(&obs, over).next, Next::Need(Need::Siblings), "another object may own it");
    obs.siblings = Some(Siblings { fenced_attempts: 1, ..Siblings::default() });
    let plan = decide(&obs, over);
    assert_eq!((plan.rule, step(&plan)), ("15", &Step::WriteStatus));
    assert!(plan.status.lost.is_empty());
    assert_eq!(plan.status.suspects.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["stranger"]);
    assert_eq!(reason(&plan, conditions::SUSPECT_KEYS), "SuspectKeys");
    obs.keys = Some(KeyList::Unreadable(Trouble::new(Class::Unknown, "timeout")));
    assert_eq!(decide(&obs, over).next, Next::Wait, "a timeout closes nothing");
}

#[test]
fn a_deleting_object_lets_the_secret_go_before_its_keys() {
    let mut obs = settled();
    obs.deleting = true;
    status(&mut obs).keys.push(key("k0", KeyPhase::Disabled, 0));
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let first = decide(&obs, 60);
    assert!(matches!(step(&first), Step::DeleteSecret { .. }));
    obs.secret = Secret::Absent;
    for expected in ["k1", "k0"] {
        let plan = decide(&obs, 60);
        assert_eq!(step(&plan), &Step::DeleteKey { id: expected.to_owned() });
        obs.status = Some(plan.status);
    }
    assert_eq!(step(&decide(&obs, 60)), &Step::RemoveFinalizer);
}

#[test]
fn a_deleting_object_keeps_what_its_policies_retain() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    obs.spec.deletion_policy = DeletionPolicy::Retain;
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    status(&mut obs).keys.push(key("k0", KeyPhase::Overlap, 0));
    let plan = decide(&obs, 60);
    assert_eq!(step(&plan), &Step::DeleteKey { id: "k0".to_owned() }, "older keys end either way");
    obs.status = Some(plan.status);
    assert_eq!(step(&decide(&obs, 60)), &Step::RemoveFinalizer);
}

#[test]
fn a_deleting_object_waits_for_a_lost_attempt_and_says_until_when() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    obs.secret = Secret::Absent;
    status(&mut obs).keys.clear();
    status(&mut obs).active_key_id = None;
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    let given_up = decide(&obs, 10);
    assert_eq!(given_up.status.lost.len(), 1);
    obs.status = Some(given_up.status);
    let fenced = decide(&obs, 10);
    assert!(fenced.status.lost[0].fenced, "with the Secret gone nobody can publish it");
    obs.status = Some(fenced.status);
    let waiting = decide(&obs, 10);
    assert_eq!(waiting.next, Next::Wait);
    assert_eq!(reason(&waiting, conditions::WAITING_FOR_LOST_ATTEMPT), "WaitingForLostAttempt");
    obs.status = Some(waiting.status);
    obs.keys = Some(listed(&[], at(4300)));
    let closed = decide(&obs, 4300);
    assert!(closed.status.lost.is_empty());
    obs.status = Some(closed.status);
    assert_eq!(step(&decide(&obs, 4300)), &Step::RemoveFinalizer);
}

#[test]
fn a_deleting_object_without_a_backend_waits_until_it_is_abandoned() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    obs.secret = Secret::Absent;
    obs.account =
        AccountView::Unusable { reason: Reason::AccountMissing, message: String::new(), account: None };
    let plan = decide(&obs, 60);
    assert_eq!(plan.next, Next::Wait);
    obs.requests.abandon = true;
    let plan = decide(&obs, 60);
    assert_eq!(step(&plan), &Step::RemoveFinalizer);
    assert!(plan.events[0].note.contains("k1"), "the event names what is left: {:?}", plan.events);
}

#[test]
fn expiry_brings_a_rotation_forward_even_where_none_is_configured() {
    let mut obs = settled();
    obs.spec.rotation = None;
    obs.generation = Some(2);
    status(&mut obs).keys[0].expires_at = Some(at(30 * 86_400));
    let plan = decide(&obs, 60);
    assert_eq!(plan.status.next_rotation_time, Some(at(20 * 86_400)), "a third of its life before its end");
}

#[test]
fn an_algorithm_change_makes_the_key_due() {
    let mut obs = settled();
    status(&mut obs).keys[0].algorithm = Some("RSA_1024".to_owned());
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Keys));
}

#[test]
fn a_longer_period_in_the_spec_takes_back_what_was_due() {
    let mut obs = settled();
    obs.spec.rotation.as_mut().unwrap().every = Some(Span::new("2h"));
    obs.generation = Some(2);
    let plan = decide(&obs, 3700);
    assert_eq!((plan.rule, &plan.next), ("16", &Next::Wait));
    assert_eq!(
        plan.status.next_rotation_time,
        Some(at(7200)),
        "counted from the last rotation, not from now"
    );
}

#[test]
fn an_object_deleted_while_its_key_is_proved_goes_without_waiting_for_a_lost_answer() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    obs.secret = Secret::Absent;
    status(&mut obs).keys.clear();
    status(&mut obs).active_key_id = None;
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.staged = vec![staged("k2", "n2", 2)];
    let mut steps = Vec::new();
    for _ in 0..8 {
        let plan = decide(&obs, 10);
        let step = step(&plan).clone();
        obs.status = Some(plan.status);
        if matches!(step, Step::Unstage { .. }) {
            obs.staged.clear();
        }
        steps.push(step);
        if steps.last() == Some(&Step::RemoveFinalizer) {
            break;
        }
    }
    let deletes = steps.iter().position(|s| *s == Step::DeleteKey { id: "k2".to_owned() });
    assert!(deletes.is_some(), "{steps:?}");
    assert_eq!(steps.last(), Some(&Step::RemoveFinalizer), "{steps:?}");
}

#[test]
fn a_retained_secret_keeps_the_key_that_it_publishes_although_nobody_recorded_it() {
    let mut obs = settled();
    obs.deleting = true;
    obs.spec.deletion_policy = DeletionPolicy::Retain;
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    // The process died between the publication of k2 and its record.
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(published("k2", 2));
    let mut steps = Vec::new();
    for _ in 0..12 {
        obs.confirmed = true;
        let plan = decide(&obs, 10);
        let step = step(&plan).clone();
        obs.status = Some(plan.status);
        if matches!(step, Step::Unstage { .. }) {
            obs.staged.clear();
        }
        let over = step == Step::RemoveFinalizer;
        steps.push(step);
        if over {
            break;
        }
    }
    assert!(!steps.contains(&Step::DeleteKey { id: "k2".to_owned() }), "{steps:?}");
    assert!(steps.contains(&Step::DeleteKey { id: "k1".to_owned() }), "{steps:?}");
    assert_eq!(steps.last(), Some(&Step::RemoveFinalizer));
}

#[test]
fn an_immutable_secret_of_ours_holds_and_is_deleted_before_its_keys() {
    let mut obs = settled();
    secret(&mut obs).immutable = true;
    status(&mut obs).next_rotation_time = Some(at(0));
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("6", &Next::Wait));
    obs.deleting = true;
    obs.confirmed = true;
    assert!(matches!(step(&decide(&obs, 60)), Step::DeleteSecret { .. }));
}

#[test]
fn what_a_restored_credential_replaced_gets_a_full_overlap_from_now() {
    let mut obs = settled();
    let mut newer = key("k2", KeyPhase::Active, 2);
    newer.published_at = Some(at(100));
    status(&mut obs).keys = vec![key("k1", KeyPhase::Overlap, 1), newer];
    status(&mut obs).active_key_id = Some("k2".to_owned());
    obs.confirmed = true;
    let plan = decide(&obs, 90_000);
    let replaced = ledger::find(&plan.status, "k2").unwrap();
    assert_eq!(replaced.disable_at, Some(at(90_000 + 600)), "pods read it until now");
}

#[test]
fn three_lost_answers_without_a_secret_are_over_when_their_windows_are() {
    let mut obs = fresh();
    obs.status = Some(crate::api::v1alpha1::ServiceAccountKeyStatus::default());
    status(&mut obs).lost = (0..3).map(|n| lost(&format!("n{n}"), n + 1, at(0), false)).collect();
    let held = decide(&obs, 60);
    assert_eq!((held.rule, &held.next), ("10", &Next::Wait));
    obs.status = Some(held.status);
    assert_eq!(Some(decide(&obs, 61).status), obs.status, "nothing that is told changes with the time");
    // Its windows are over: a key may be made again, and the list closes them.
    let over = 3610 + 600 + 1;
    assert_eq!(decide(&obs, over).next, Next::Need(Need::Keys));
}

#[test]
fn three_attempts_without_a_key_stop_the_making_for_a_day() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    status(&mut obs).unpublished_attempts = vec![at(10), at(20), at(30)];
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("10", &Next::Wait));
    assert_eq!(reason(&plan, conditions::ROTATING), "BackingOff");
    assert_eq!(decide(&obs, 10 + 86_401).next, Next::Need(Need::Keys));
}

#[test]
fn a_contested_secret_is_left_alone_for_a_while() {
    let mut obs = settled();
    secret(&mut obs).as_specified = false;
    obs.rewrites_resume = Some(at(90));
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("11", &Next::Wait));
    assert_eq!(reason(&plan, conditions::ROTATING), "SecretContested");
    assert_eq!(plan.requeue, std::time::Duration::from_secs(30));
    assert!(matches!(step(&decide(&obs, 90)), Step::Publish(_)));
}

#[test]
fn nothing_is_ended_on_one_clock() {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(50));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    obs.account = AccountView::Usable(Account { clock_skew: None, ..account() });
    assert_eq!(decide(&obs, 60).next, Next::Wait);
}

#[test]
fn a_step_that_fails_is_told_once_and_the_next_success_clears_it() {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(50));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    let told = failed_step(&obs, Reason::PermissionMissing, "may not", at(60));
    let events = conditions::events(&obs.status.as_ref().unwrap().conditions, &told.conditions);
    assert_eq!(events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::PermissionMissing]);
    assert!(conditions::is(&told.conditions, conditions::READY, Is::True), "the published key works on");
    obs.status = Some(told.clone());
    assert_eq!(failed_step(&obs, Reason::PermissionMissing, "may not", at(70)), told, "told once");
    let again = decide(&obs, 120);
    assert_eq!(step(&again), &Step::DisableKey { id: "k0".to_owned() });
    assert!(conditions::find(&again.status.conditions, conditions::ROTATING).is_none());
    obs.deleting = true;
    let told = failed_step(&obs, Reason::BackendUnreachable, "no answer", at(60));
    assert!(conditions::is(&told.conditions, conditions::READY, Is::False));
}

#[test]
fn suspects_that_a_deleted_object_leaves_are_named() {
    let mut obs = settled();
    (obs.confirmed, obs.deleting) = (true, true);
    obs.secret = Secret::Absent;
    status(&mut obs).keys.clear();
    status(&mut obs).active_key_id = None;
    status(&mut obs).suspects = vec![SuspectKey { id: "k7".to_owned(), created_at: None, since: at(0) }];
    let plan = decide(&obs, 50);
    assert_eq!(step(&plan), &Step::RemoveFinalizer);
    let told = plan.events.iter().find(|e| e.reason == Reason::SuspectKeys).map(|e| e.note.clone());
    assert!(told.is_some_and(|note| note.contains("k7")), "{:?}", plan.events);
}
