//! One test a rule or gate.

use std::time::Duration;

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    Algorithm, KeyOrigin, KeyPhase, KeyReason, Rotation, ServiceAccountKeyStatus, Span, VerificationMode,
};
use crate::domain::conditions::{self, Is};
use crate::domain::{Class, Reason, Trouble};

#[test]
fn a_settled_key_waits_and_writes_nothing() {
    let obs = settled();
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("16", &Next::Wait));
    assert_eq!(Some(&plan.status), obs.status.as_ref(), "no write at rest");
    assert!(plan.events.is_empty());
    assert!(plan.requeue <= Duration::from_mins(59) && plan.requeue > Duration::from_mins(30));
}

#[test]
fn rule_2_rebuilds_a_lost_status_from_the_secret() {
    let mut obs = settled();
    obs.status = None;
    obs.own_finalizer = false;
    secret(&mut obs).ledger = vec![key("k0", KeyPhase::Disabled, 1)];
    secret(&mut obs).attempt = 4;
    let plan = decide(&obs, 500);
    assert_eq!((plan.rule, step(&plan)), ("2", &Step::WriteStatus));
    assert_eq!(plan.status.active_key_id.as_deref(), Some("k1"));
    let older = ledger::find(&plan.status, "k0").unwrap();
    assert_eq!(
        (older.phase, older.disable_at),
        (KeyPhase::Overlap, Some(at(500 + 600))),
        "a full overlap again"
    );
    assert_eq!(plan.status.attempt, 5, "no attempt number is used twice");
    assert_eq!(plan.status.lost.len(), 1, "an attempt may be under way that nobody remembers");
    assert!(!plan.status.lost[0].fenced);
}

#[test]
fn rule_2_takes_an_absent_status_beside_a_finalizer_of_earlier_for_a_lost_one() {
    let mut obs = fresh();
    obs.keys = Some(listed(&[], at(0)));
    obs.preflight = Some(Preflight::Accepted);
    assert_eq!(decide(&obs, 0).rule, "10", "this reconcile added the finalizer: there was no status");
    obs.own_finalizer = false;
    let plan = decide(&obs, 0);
    assert_eq!((plan.rule, step(&plan)), ("2", &Step::WriteStatus));
    assert!(!plan.status.lost[0].fenced, "an attempt may be under way that left no Secret");
}

#[test]
fn rule_4_adds_the_finalizer_before_anything_is_made() {
    let mut obs = fresh();
    obs.has_finalizer = false;
    assert_eq!(step(&decide(&obs, 0)), &Step::AddFinalizer);
}

#[test]
fn rule_5_holds_on_every_refused_spec() {
    let cases: [(&str, Rotation, Reason); 6] = [
        ("cron", rotation(|r| r.schedule = Some("61 * * * *".into())), Reason::InvalidSchedule),
        ("never", rotation(|r| r.schedule = Some("0 0 30 2 *".into())), Reason::InvalidSchedule),
        ("six fields", rotation(|r| r.schedule = Some("0 0 3 * * 1".into())), Reason::InvalidSchedule),
        (
            "zone",
            rotation(|r| {
                r.schedule = Some("0 3 * * 1".into());
                r.time_zone = Some("Europe/Olso".into());
            }),
            Reason::InvalidTimeZone,
        ),
        ("duration", rotation(|r| r.overlap = Span::new("soon")), Reason::InvalidDuration),
        ("overlap", rotation(|r| r.schedule = Some("0 * * * *".into())), Reason::OverlapTooLong),
    ];
    for (name, rotation, expected) in cases {
        let mut obs = settled();
        // Due, so that it would rotate if it could.
        status(&mut obs).next_rotation_time = Some(at(0));
        obs.spec.rotation = Some(rotation);
        let plan = decide(&obs, 60);
        assert_eq!((plan.rule, &plan.next), ("5", &Next::Wait), "{name}");
        assert_eq!(reason(&plan, conditions::STALLED), expected.as_str(), "{name}");
        assert_eq!(plan.status.active_key_id.as_deref(), Some("k1"), "{name}: nothing is lost");
    }
}

fn rotation(change: impl FnOnce(&mut Rotation)) -> Rotation {
    let mut rotation = Rotation::default();
    change(&mut rotation);
    rotation
}

#[test]
fn rule_5_neither_makes_nor_ends_anything_while_clocks_disagree() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    obs.account = AccountView::Usable(Account { clock_skew: Some(Duration::from_secs(301)), ..account() });
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("5", &Next::Wait));
    assert_eq!(plan.requeue, timing().retry_cap, "no watch tells that the clock was set right");
}

#[test]
fn rule_5_names_the_algorithms_on_offer() {
    let mut obs = fresh();
    obs.spec.algorithm = Some(crate::api::v1alpha1::Algorithm::Rsa1024);
    let plan = decide(&obs, 0);
    assert_eq!(reason(&plan, conditions::STALLED), "AlgorithmUnsupported");
}

#[test]
fn rule_6_mints_nothing_into_a_foreign_secret() {
    let mut obs = fresh();
    obs.secret = Secret::Foreign { why: "it is not ours".to_owned() };
    let plan = decide(&obs, 0);
    assert_eq!((plan.rule, &plan.next), ("6", &Next::Wait));
    assert_eq!(reason(&plan, conditions::STALLED), "SecretConflict");
    assert_eq!(reason(&plan, conditions::READY), "SecretConflict");
    assert_eq!(plan.requeue, timing().retry_cap, "no watch tells that it went away");
}

#[test]
fn rule_7_records_a_published_key_and_keeps_the_old_one_for_the_overlap() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    status(&mut obs).lost = vec![lost("n0", 0, at(0), false)];
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(Published { published_at: Some(at(3605)), ..published("k2", 2) });
    let plan = decide(&obs, 3610);
    assert_eq!((plan.rule, step(&plan)), ("7", &Step::WriteStatus));
    let s = &plan.status;
    assert_eq!(s.active_key_id.as_deref(), Some("k2"));
    assert!(s.pending.is_none());
    assert_eq!(s.next_rotation_time, Some(at(3605 + 3600)), "counted from the publication");
    assert_eq!(s.rotations, 1);
    let old = ledger::find(s, "k1").unwrap();
    assert_eq!((old.phase, old.disable_at), (KeyPhase::Overlap, Some(at(3605 + 600))));
    assert!(s.lost[0].fenced, "the publish was the fence of older attempts");
    assert_eq!(reason(&plan, conditions::READY), "KeyPublished");
}

#[test]
fn rule_7_warns_of_a_key_that_can_be_broken() {
    let warned = |algorithm: Algorithm| {
        let mut obs = settled();
        obs.spec.algorithm = Some(algorithm);
        let both = || vec!["RSA_1024".to_owned(), "RSA_2048".to_owned()];
        obs.account = AccountView::Usable(able(|can| can.algorithms = both()));
        status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
        obs.staged = vec![staged("k2", "n2", 2)];
        obs.secret = Secret::Ours(Published { published_at: Some(at(3605)), ..published("k2", 2) });
        decide(&obs, 3610).events.iter().any(|event| event.reason == Reason::WeakAlgorithm)
    };
    assert!(warned(Algorithm::Rsa1024) && !warned(Algorithm::Rsa2048));
}

#[test]
fn rule_7_confirms_before_it_believes_an_older_key() {
    let mut obs = settled();
    let mut newer = key("k2", KeyPhase::Active, 2);
    newer.published_at = Some(at(100));
    status(&mut obs).keys = vec![key("k1", KeyPhase::Overlap, 1), newer];
    status(&mut obs).active_key_id = Some("k2".to_owned());
    let asked = decide(&obs, 200);
    assert_eq!(asked.next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 200);
    assert_eq!(plan.status.active_key_id.as_deref(), Some("k1"), "what the Secret publishes is a fact");
    // The next pass rotates: an old credential came back.
    obs.status = Some(plan.status);
    assert_eq!(decide(&obs, 201).next, Next::Need(Need::Keys));
}

#[test]
fn rule_7_enables_a_disabled_key_that_the_secret_publishes() {
    let mut obs = settled();
    status(&mut obs).keys = vec![key("k1", KeyPhase::Disabled, 1), key("k2", KeyPhase::Active, 2)];
    status(&mut obs).active_key_id = Some("k2".to_owned());
    obs.confirmed = true;
    assert_eq!(step(&decide(&obs, 10)), &Step::EnableKey { id: "k1".to_owned() });
}

#[test]
fn rule_8a_sends_only_the_intent_that_this_pass_wrote() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(100)));
    let found = decide(&obs, 130);
    assert_eq!((found.rule, &found.next), ("8d", &Next::Wait), "a found intent is never sent");
    obs.own_intent = Some("n2".to_owned());
    assert_eq!(step(&decide(&obs, 130)), &Step::Create { nonce: "n2".to_owned() });
    // Sent, and its staging Secret vanished: lost, never a second create under one intent.
    obs.sent = Some("n2".to_owned());
    let lost = decide(&obs, 130);
    assert_eq!((lost.rule, lost.status.lost.len()), ("8d", 1));
}

#[test]
fn rule_8a_sends_nothing_that_would_outlive_the_window_of_its_intent() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.own_intent = Some("n2".to_owned());
    assert_eq!(step(&decide(&obs, 59)), &Step::Create { nonce: "n2".to_owned() });
    let plan = decide(&obs, 60);
    assert_eq!(
        (plan.rule, plan.status.lost.len()),
        ("8d", 1),
        "a process that stood still does not send it any more"
    );
}

#[test]
fn rule_8a_counts_a_refusal_and_backs_off() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.own_intent = Some("n2".to_owned());
    obs.sent = Some("n2".to_owned());
    obs.refused = Some(Refusal::ByBackend(Trouble::new(Class::Forbidden, "no")));
    let plan = decide(&obs, 3601);
    assert_eq!(step(&plan), &Step::WriteStatus);
    assert!(
        plan.status.pending.is_none() && plan.status.lost.is_empty(),
        "a definite no leaves nothing behind"
    );
    assert_eq!((plan.status.failures, plan.status.last_failure_time), (1, Some(at(3601))));
    let ready = conditions::find(&plan.status.conditions, conditions::READY).unwrap();
    assert_eq!(ready.status, "True", "the published key is as good as before");
    obs.status = Some(plan.status);
    obs.refused = None;
    obs.own_intent = None;
    let waiting = decide(&obs, 3602);
    assert_eq!((waiting.rule, &waiting.next), ("10", &Next::Wait));
    assert_eq!(waiting.requeue, Duration::from_secs(59));
    assert_eq!(decide(&obs, 3661).next, Next::Need(Need::Keys));
}

#[test]
fn rule_8b_gives_up_a_staged_key_that_is_dead_at_the_backend() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Refused { message: "no".to_owned() });
    obs.keys = Some(listed(&["k1"], at(30)));
    assert_eq!(decide(&obs, 30).rule, "8c", "a young key may be missing in a list");
    obs.keys = Some(listed(&["k1"], at(601)));
    let plan = decide(&obs, 601);
    assert_eq!((plan.rule, plan.status.lost.len()), ("8b", 1));
    obs.keys = Some(KeyList::Unreadable(Trouble::new(Class::Forbidden, "403")));
    assert_eq!(decide(&obs, 601).rule, "8c", "a 403 is not a 404");
}

#[test]
fn rule_8c_publishes_only_what_was_proved() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.staged = vec![staged("k2", "n2", 2)];
    assert_eq!(decide(&obs, 3601).next, Next::Need(Need::Proof { nonce: "n2".to_owned(), times: 1 }));
    obs.proof = Some(Proof::Accepted { times: 1 });
    let publish = decide(&obs, 3601);
    let Step::Publish(publication) = step(&publish) else { panic!("{publish:?}") };
    assert_eq!((publication.key_id.as_str(), publication.attempt), ("k2", 2));
    assert_eq!(publication.ledger.len(), 1, "the Secret remembers the older key");
    assert!(publication.published_at >= at(3601));
}

#[test]
fn rule_8c_tries_the_same_key_again_and_wants_three_proofs_after_a_refusal() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Refused { message: "invalid_grant".to_owned() });
    obs.keys = Some(listed(&["k1", "k2"], at(3601)));
    let plan = decide(&obs, 3601);
    assert_eq!((plan.rule, &plan.next), ("8c", &Next::Wait));
    assert_eq!(reason(&plan, conditions::KEY_VERIFIED), "KeyNotYetAccepted");
    assert_eq!(ledger::find(&plan.status, "k2").unwrap().phase, KeyPhase::Pending);
    obs.status = Some(plan.status);
    let again = decide(&obs, 3650);
    assert_eq!(Some(&again.status), obs.status.as_ref(), "the refusal is written once");
    obs.proof = None;
    assert_eq!(decide(&obs, 3650).next, Next::Need(Need::Proof { nonce: "n2".to_owned(), times: 3 }));
    obs.proof = Some(Proof::Refused { message: "invalid_grant".to_owned() });
    let late = decide(&obs, 3600 + 601);
    assert_eq!(reason(&late, conditions::KEY_VERIFIED), "VerificationTimeout");
    assert!(late.status.pending.is_some(), "a new key would cure nothing");
}

#[test]
fn rule_8c_without_verification_says_so() {
    let mut obs = fresh();
    obs.spec.verification.mode = VerificationMode::None;
    let secret_name = Some("billing".to_owned());
    obs.status = Some(ServiceAccountKeyStatus { secret_name, ..ServiceAccountKeyStatus::default() });
    status(&mut obs).pending = Some(pending("n1", 1, at(0)));
    obs.staged = vec![staged("k1", "n1", 1)];
    assert!(matches!(step(&decide(&obs, 1)), Step::Publish(_)));
    obs.secret = Secret::Ours(published("k1", 1));
    let plan = decide(&obs, 1);
    assert!(conditions::is(&plan.status.conditions, conditions::KEY_VERIFIED, Is::Unknown));
}

#[test]
fn rule_8d_declares_an_attempt_lost_after_it_had_time_to_settle() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    assert_eq!(decide(&obs, 3659).next, Next::Wait);
    let plan = decide(&obs, 3660);
    assert_eq!((plan.rule, step(&plan)), ("8d", &Step::WriteStatus));
    let lost = &plan.status.lost[0];
    assert_eq!((lost.nonce.as_str(), lost.until, lost.fenced), ("n2", at(3600 + 10 + 3600), false));
    obs.sent = Some("n2".to_owned());
    assert_eq!(decide(&obs, 3601).rule, "8d", "our own failed try need not settle");
    assert_eq!(decide(&obs, 3601).status.lost.len(), 1);
}

#[test]
fn rule_9_adopts_a_staged_key_before_its_secret_goes() {
    let mut obs = settled();
    obs.staged = vec![staged("k9", "n9", 9)];
    let adopt = decide(&obs, 100);
    let adopted = ledger::find(&adopt.status, "k9").unwrap();
    assert_eq!((adopted.phase, adopted.origin), (KeyPhase::Overlap, KeyOrigin::Abandoned));
    assert_eq!(adopted.disable_at, Some(at(100 + 600)), "a deposed process may have published it");
    obs.status = Some(adopt.status);
    let unstage = decide(&obs, 101);
    assert_eq!(step(&unstage), &Step::Unstage { name: "kw-1b4e28ba-n9".to_owned(), uid: "u-n9".to_owned() });
}

#[test]
fn rule_10_passes_its_gates_in_order_and_writes_the_intent_before_anything_is_sent() {
    let mut obs = fresh();
    assert_eq!(decide(&obs, 5).next, Next::Need(Need::Keys));
    obs.keys = Some(listed(&["theirs"], at(5)));
    assert_eq!(decide(&obs, 5).next, Next::Need(Need::Preflight));
    obs.preflight = Some(Preflight::Accepted);
    let plan = decide(&obs, 5);
    assert_eq!((plan.rule, step(&plan)), ("10", &Step::WriteStatus));
    let intent = plan.status.pending.as_ref().unwrap();
    assert_eq!((intent.nonce.as_str(), intent.attempt, intent.reason), ("fresh", 1, KeyReason::FirstKey));
    assert_eq!(intent.known_key_ids, ["theirs"]);
    assert_eq!(intent.backend_time, at(5));
}

#[test]
fn rule_10_never_mints_on_what_it_cannot_read_or_store() {
    let mut obs = fresh();
    for class in [Class::Forbidden, Class::Unknown, Class::NotFound, Class::Unauthenticated] {
        obs.keys = Some(KeyList::Unreadable(Trouble::new(class, "no list")));
        let plan = decide(&obs, 5);
        assert!(plan.status.pending.is_none(), "{class:?}");
        assert_eq!(plan.status.failures, 1);
        assert_eq!(reason(&plan, conditions::READY), class.reason().as_str());
    }
    obs.keys = Some(listed(&[], at(5)));
    obs.preflight = Some(Preflight::Refused { message: "exceeded quota".to_owned() });
    let plan = decide(&obs, 5);
    assert!(plan.status.pending.is_none());
    assert_eq!(reason(&plan, conditions::READY), "SecretRefused");
}

#[test]
fn rule_10_names_the_keys_when_the_account_is_full() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    let ids: Vec<String> = (0..10).map(|n| format!("key{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    obs.keys = Some(listed(&ids, at(60)));
    let plan = decide(&obs, 60);
    let full = conditions::find(&plan.status.conditions, conditions::QUOTA_EXHAUSTED).unwrap();
    assert!(full.message.contains("key7"), "{}", full.message);
    assert!(
        conditions::is(&plan.status.conditions, conditions::READY, Is::True),
        "the published key still works"
    );
    assert!(plan.status.pending.is_none());
    // A disabled key of ours makes room.
    let mut disabled = key("key3", KeyPhase::Disabled, 0);
    disabled.delete_at = Some(at(9999));
    status(&mut obs).keys.push(disabled);
    list_disabled(&mut obs, "key3");
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    assert_eq!(step(&decide(&obs, 60)), &Step::DeleteKey { id: "key3".to_owned() });
}

#[test]
fn rule_10_confirms_before_a_missing_secret_costs_a_key() {
    let mut obs = settled();
    obs.secret = Secret::Absent;
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Keys));
}

#[test]
fn rule_10_spaces_out_the_repair_of_drift() {
    let mut obs = settled();
    status(&mut obs).keys[0].reason = Some(KeyReason::SecretMissing);
    obs.secret = Secret::Absent;
    obs.confirmed = true;
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("10", &Next::Wait));
    assert_eq!(reason(&plan, conditions::READY), "BackingOff");
    assert_eq!(plan.requeue, Duration::from_mins(9));
    assert_eq!(decide(&obs, 600).next, Next::Need(Need::Keys));
    // A Secret that is there and holds something else is no better.
    obs.secret = settled().secret;
    secret(&mut obs).credential = Credential::Missing;
    let plan = decide(&obs, 60);
    assert_eq!(reason(&plan, conditions::READY), "BackingOff");
    assert_eq!(reason(&plan, conditions::SECRET_PUBLISHED), "SecretEdited");
}

#[test]
fn rule_10_stops_at_three_lost_attempts() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    status(&mut obs).lost = (0..3).map(|n| lost(&format!("n{n}"), 10 + n, at(0), true)).collect();
    let plan = decide(&obs, 60);
    assert_eq!((plan.rule, &plan.next), ("10", &Next::Wait));
    assert!(plan.status.pending.is_none());
}

#[test]
fn suspend_stops_the_wheel_and_holds_old_keys_alive() {
    let mut obs = settled();
    obs.spec.rotation.as_mut().unwrap().suspend = true;
    status(&mut obs).next_rotation_time = Some(at(0));
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(1));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    assert_eq!(decide(&obs, 60).next, Next::Wait);
    obs.secret = Secret::Absent;
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Keys), "the repair of a lost Secret goes on");
}

#[test]
fn rule_11_writes_the_secret_again_without_a_new_key() {
    let mut obs = settled();
    secret(&mut obs).as_specified = false;
    let plan = decide(&obs, 60);
    let Step::Publish(publication) = step(&plan) else { panic!("{plan:?}") };
    assert_eq!((publication.staged_nonce.as_ref(), publication.key_id.as_str()), (None, "k1"));
    assert_eq!(publication.published_at, at(0), "it was published when it was published");
}
