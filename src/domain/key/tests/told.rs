//! What conditions say of a decision.

use super::super::story::{self, Mood};
use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyPhase, ServiceAccountKeyStatus};
use crate::domain::conditions::{self, BACKEND_REACHABLE, Is, QUOTA_EXHAUSTED, READY, RECONCILING, ROTATING};
use crate::domain::{Class, Reason, Trouble};

fn tell(
    obs: &Observation,
    change: impl FnOnce(&mut ServiceAccountKeyStatus),
    mood: &Mood,
) -> ServiceAccountKeyStatus {
    let mut status = obs.status.clone().unwrap_or_default();
    change(&mut status);
    story::tell(obs, &mut status, mood, at(10));
    status
}

fn why(status: &ServiceAccountKeyStatus, type_: &str) -> Option<String> {
    conditions::find(&status.conditions, type_).map(|c| format!("{} {}", c.status, c.reason))
}

fn says(status: &ServiceAccountKeyStatus, type_: &str, expected: &str) -> bool {
    why(status, type_).as_deref() == Some(expected)
}

#[test]
fn a_first_key_is_created_and_a_refused_one_is_waited_for() {
    let making = tell(&fresh(), |s| s.pending = Some(pending("n1", 1, at(0))), &Mood::Working);
    assert!(says(&making, READY, "False Creating"));
    assert!(says(&making, RECONCILING, "True Creating"));
    assert_eq!(why(&making, ROTATING), None, "there is nothing to rotate");
    let refused = tell(&fresh(), |s| s.keys.push(key("k1", KeyPhase::Pending, 1)), &Mood::Working);
    assert!(says(&refused, READY, "False KeyNotYetAccepted"));
}

#[test]
fn a_replacement_is_told_beside_the_key_that_stays_good() {
    let open = tell(&settled(), |s| s.pending = Some(pending("n2", 2, at(0))), &Mood::Working);
    assert!(says(&open, READY, "True KeyPublished") && says(&open, ROTATING, "True Rotating"));
    let waiting = Mood::Waiting(Reason::BackingOff, "later".to_owned());
    let held = tell(&settled(), |_| {}, &waiting);
    assert!(says(&held, READY, "True KeyPublished") && says(&held, ROTATING, "False BackingOff"));
    let mut gone = settled();
    gone.secret = Secret::Absent;
    let broken = tell(&gone, |_| {}, &waiting);
    assert!(says(&broken, READY, "False BackingOff"));
    assert_eq!(why(&broken, ROTATING), None, "nothing is published");
}

#[test]
fn a_quota_is_told_until_something_goes_on() {
    let full = Mood::Waiting(Reason::QuotaExhausted, "full".to_owned());
    let mut obs = settled();
    obs.status = Some(tell(&obs, |_| {}, &full));
    assert!(says(obs.status.as_ref().unwrap(), QUOTA_EXHAUSTED, "True QuotaExhausted"));
    let other = tell(&obs, |_| {}, &Mood::Waiting(Reason::BackingOff, "later".to_owned()));
    assert!(says(&other, QUOTA_EXHAUSTED, "True QuotaExhausted"), "nobody looked");
    for mood in [Mood::Settled, Mood::Working] {
        assert_eq!(why(&tell(&obs, |_| {}, &mood), QUOTA_EXHAUSTED), None);
    }
}

#[test]
fn an_answer_of_any_kind_shows_that_the_backend_is_there() {
    let obs = settled();
    let told = |answer: Result<(), Class>| {
        let mut status = ServiceAccountKeyStatus::default();
        let trouble = answer.err().map(|class| Trouble::new(class, "no"));
        story::backend(&obs, &mut status, trouble.as_ref().map_or(Ok(()), Err), at(10));
        why(&status, BACKEND_REACHABLE).unwrap()
    };
    assert_eq!(told(Ok(())), "True BackendReady");
    assert_eq!(told(Err(Class::Forbidden)), "True BackendReady");
    assert_eq!(told(Err(Class::Unknown)), "False BackendUnreachable");
    assert_eq!(told(Err(Class::Throttled)), "False BackendThrottled");
}

#[test]
fn failures_are_counted_per_spec_and_say_what_they_are_about() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    let unlisted = |class| Some(KeyList::Unreadable(Trouble::new(class, "no")));
    obs.keys = unlisted(Class::Unknown);
    let failed = decide(&obs, 50).status;
    assert_eq!(failed.failures, 1);
    assert!(says(&failed, BACKEND_REACHABLE, "False BackendUnreachable"));
    obs.keys = unlisted(Class::Forbidden);
    assert_eq!(why(&decide(&obs, 50).status, BACKEND_REACHABLE), None, "it answered");
    obs.keys = unlisted(Class::Throttled);
    obs.status = Some(failed);
    let again = decide(&obs, 50 + 60).status;
    assert_eq!(again.failures, 2);
    assert!(says(&again, BACKEND_REACHABLE, "False BackendThrottled"));
    obs.generation = Some(2);
    assert_eq!(decide(&obs, 50 + 60).status.failures, 1, "another spec begins anew");
}

#[test]
fn a_condition_holds_only_as_it_says() {
    let status = tell(&settled(), |_| {}, &Mood::Settled);
    assert!(conditions::is(&status.conditions, READY, Is::True));
    assert!(!conditions::is(&status.conditions, READY, Is::False));
}
