//! A backend that says when it wants to be asked again is not asked before; our own waits are the least.

use std::time::Duration;

use super::super::*;
use super::builders::*;
use crate::domain::conditions::{self, ROTATING};
use crate::domain::{Class, Trouble};

fn throttled(seconds: u64) -> Trouble {
    Trouble::new(Class::Throttled, "Quota exceeded").until_after(Duration::from_secs(seconds))
}

/// A key is due, and its create was refused so at 3601.
fn refused(trouble: Trouble) -> (Observation, Plan) {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    (obs.own_intent, obs.sent) = (Some("n2".to_owned()), Some("n2".to_owned()));
    obs.refused = Some(Refusal::ByBackend(trouble));
    let told = decide(&obs, 3601);
    obs.status = Some(told.status.clone());
    (obs.refused, obs.own_intent, obs.sent) = (None, None, None);
    (obs, told)
}

/// When the next try begins, in seconds after `from`, however often the object wakes up before.
fn waits(obs: &Observation, from: i64) -> i64 {
    let mut now = from;
    loop {
        let plan = decide(obs, now);
        if plan.next != Next::Wait {
            return now - from;
        }
        assert!(plan.requeue >= Duration::from_secs(1), "{plan:?}");
        now += i64::try_from(plan.requeue.as_secs()).unwrap();
    }
}

#[test]
fn a_refused_create_waits_for_as_long_as_the_backend_asks() {
    let (obs, told) = refused(throttled(600));
    assert_eq!(told.status.retry_after, Some(at(3601 + 600)));
    let message = conditions::find(&told.status.conditions, ROTATING).unwrap().message.clone();
    assert!(message.contains("Quota exceeded; the backend asks not to be tried again before"), "{message}");
    assert!(message.contains(&format!("{:.0}", at(4201))), "{message}");
    assert_eq!((waits(&obs, 3601), waits(&obs, 4200), waits(&obs, 4201)), (600, 1, 0));
    assert_eq!(decide(&obs, 3700).status, told.status, "nothing new is told meanwhile");
}

#[test]
fn fractions_of_a_second_are_waited_for_too() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    obs.keys = Some(KeyList::Unreadable(throttled(600)));
    let late = at(50) + Duration::from_millis(900);
    assert_eq!(plan(&obs, late, &timing()).status.retry_after, Some(at(651)));
}

#[test]
fn our_own_wait_is_the_least_and_an_hour_the_most() {
    assert_eq!(waits(&refused(throttled(5)).0, 3601), 60);
    assert_eq!(waits(&refused(throttled(1_000_000)).0, 3601), 3600);
    let (obs, told) = refused(Trouble::new(Class::Throttled, "Quota exceeded"));
    assert_eq!((told.status.retry_after, waits(&obs, 3601)), (None, 60));
}

#[test]
fn keys_that_cannot_be_listed_are_asked_for_as_late() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(0));
    obs.keys = Some(KeyList::Unreadable(throttled(600)));
    obs.status = Some(decide(&obs, 50).status);
    obs.keys = None;
    assert_eq!((waits(&obs, 50), waits(&obs, 650)), (600, 0));
    // What comes after it says anew how long it takes.
    obs.keys = Some(KeyList::Unreadable(Trouble::new(Class::Unknown, "no")));
    assert_eq!(decide(&obs, 650).status.retry_after, None);
}

#[test]
fn a_change_of_the_spec_tries_at_once_and_a_leaked_key_soon() {
    let (mut obs, _) = refused(throttled(600));
    obs.requests.revoke_at = Some(at(3500));
    assert_eq!(waits(&obs, 3601), 60);
    obs.requests.revoke_at = None;
    obs.generation = Some(2);
    assert_eq!(waits(&obs, 3602), 0);
}

#[test]
fn an_upload_that_is_refused_later_waits_too() {
    let mut obs = settled();
    let mut attempt = pending("n2", 2, at(3600));
    attempt.public_key_sha256 = Some(sha("k2"));
    status(&mut obs).pending = Some(attempt);
    obs.staged = vec![Staged { key_id: None, ..staged("k2", "n2", 2) }];
    obs.upload = Some(Upload::Refused(throttled(600)));
    let given_up = decide(&obs, 3601).status;
    assert_eq!((given_up.lost.len(), given_up.retry_after), (1, Some(at(4201))));
    obs.upload = Some(Upload::Unavailable(throttled(600)));
    assert_eq!(decide(&obs, 3601).requeue.as_secs(), 600);
}

#[test]
fn a_proof_is_not_tried_before_the_token_endpoint_wants_it() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Unavailable(throttled(600)));
    assert_eq!(decide(&obs, 3601).requeue.as_secs(), 600);
    obs.proof = Some(Proof::Unavailable(throttled(1)));
    assert_eq!(decide(&obs, 3630).requeue.as_secs(), 30, "our own wait is the least");
}
