//! Deletions, at the edges of what they wait for.

use super::*;

fn deleting() -> Observation {
    let mut obs = settled();
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    obs
}

/// Nothing of it was ever seen at the backend.
fn unseen() -> Observation {
    let mut obs = fresh();
    obs.deleting = true;
    obs.keys = Some(Vec::new());
    obs.account = Some(Ok(None));
    obs
}

fn failed_once(obs: &mut Observation) {
    obs.status.failures = 1;
    obs.status.last_failure_time = Some(at(0));
    obs.status.observed_generation = obs.generation;
}

#[test]
fn an_object_that_never_had_a_backend_goes_at_once() {
    let gone = Err((Reason::BackendNotFound, "there is none".to_owned()));
    let leave = Next::Act(Step::RemoveFinalizer);
    let next = |obs: &Observation| decide(obs).next;
    let mut obs = Observation { backend: gone, ..unseen() };
    assert_eq!(next(&obs), leave);
    obs.status.created_at = Some(at(-1));
    assert_eq!(next(&obs), Next::Wait, "a create may have left before the backend went");
    obs.status.created_at = None;
    obs.status.unique_id = Some("100".to_owned());
    assert_eq!(next(&obs), Next::Wait, "the account is known");
    obs.status.unique_id = None;
    obs.backend = Err((Reason::BackendLoginLost, "no login".to_owned()));
    assert_eq!(next(&obs), Next::Wait, "the backend is there");
}

#[test]
fn a_failure_is_waited_for_to_its_second() {
    let timing = Timing::default();
    let mut obs = Observation { account: None, ..deleting() };
    failed_once(&mut obs);
    let waiting = decide(&obs);
    assert_eq!((waiting.next, waiting.requeue), (Next::Wait, timing.retry(1)));
    let due = at(0) + timing.retry(1);
    assert_eq!(plan(&obs, due, &timing).next, Next::NeedAccount);
    obs.leftovers = Some(vec![leftover(-60)]);
    let waiting = decide(&obs);
    assert_eq!((waiting.next, waiting.requeue), (Next::Wait, timing.retry(1)));
}

#[test]
fn a_leftover_that_nobody_can_look_into_is_told_apart() {
    let mut obs = deleting();
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Disable);
    let told = |obs: &Observation| {
        let waiting = decide(obs);
        conditions::find(&waiting.status.conditions, READY).map(|c| c.message.clone()).unwrap_or_default()
    };
    obs.leftovers = Some(vec![leftover(-10)]);
    assert!(told(&obs).contains("kw-1-abc") && !told(&obs).contains("malformed"));
    obs.leftovers = Some(vec![Leftover { content: Content::Unsearched, ..leftover(-10) }]);
    assert!(told(&obs).contains("malformed"));
}

#[test]
fn a_retained_account_is_read_before_it_loses_our_mark() {
    let mut obs = Observation { account: None, ..deleting() };
    obs.spec.deletion_policy = Some(AccountDeletionPolicy::Retain);
    assert_eq!(decide(&obs).next, Next::NeedAccount);
    obs.refused = Some(Trouble::new(Class::Forbidden, "no"));
    assert_eq!(decide(&obs).next, Next::Act(Step::RemoveFinalizer), "it cannot be");
}

#[test]
fn a_create_without_an_answer_is_waited_for_as_long_as_it_may_show() {
    let timing = Timing::default();
    // SETTLE, the send window, H and LAG.
    let whole = Duration::from_secs(60 + 10 + 60 * 60 + 10 * 60);
    let mut intended = unseen();
    intended.status.created_at = Some(at(0));
    let mut failed = unseen();
    failed_once(&mut failed);
    for obs in [intended, failed] {
        let before = plan(&obs, at(0) + whole - Duration::from_secs(1), &timing);
        assert_eq!((&before.next, reason(&before, READY).as_str()), (&Next::Wait, "Deleting"));
        assert_eq!(plan(&obs, at(0) + whole, &timing).next, Next::Act(Step::RemoveFinalizer));
    }
}

#[test]
fn the_end_of_an_account_is_told() {
    let plan = decide(&deleting());
    assert!(matches!(plan.next, Next::Act(Step::Delete { .. })));
    assert_eq!(plan.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::AccountDeleted]);
}
