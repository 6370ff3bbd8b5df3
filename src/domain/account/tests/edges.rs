//! What a living account waits for, to the second, and what is told.

use super::*;

fn told(plan: &Plan) -> Vec<Reason> {
    plan.events.iter().map(|e| e.reason).collect()
}

#[test]
fn digits_and_hyphens_are_letters_of_an_id() {
    assert!(is_account_id("abc-12") && !is_account_id("abc_12"));
}

#[test]
fn a_failure_is_waited_for_to_its_second() {
    let timing = Timing::default();
    let mut obs = fresh();
    obs.status.failures = 2;
    obs.status.last_failure_time = Some(at(0));
    obs.status.observed_generation = obs.generation;
    let waiting = decide(&obs);
    assert_eq!((waiting.next, waiting.requeue), (Next::Wait, timing.retry(2)));
    assert_eq!(plan(&obs, at(0) + timing.retry(2), &timing).next, Next::NeedAccount);
}

#[test]
fn an_account_that_does_not_show_yet_is_looked_for_again_soon() {
    let mut obs = settled();
    obs.account = Some(Ok(None));
    assert_eq!(decide(&obs).requeue, Timing::default().settle);
}

#[test]
fn a_create_leaves_while_its_intent_is_young() {
    let timing = Timing::default();
    let mut obs = fresh();
    obs.account = Some(Ok(None));
    obs.status.created_at = Some(at(0));
    let create = plan(&obs, at(0) + timing.settle, &timing);
    assert!(matches!(create.next, Next::Act(Step::Create { .. })));
    assert_eq!(told(&create), [Reason::AccountCreated]);
    for late in [timing.settle + Duration::from_secs(1), timing.settle * 2] {
        let again = plan(&obs, at(0) + late, &timing);
        assert_eq!((again.next, again.status.created_at), (Next::Wait, Some(at(0) + late)));
    }
}

#[test]
fn a_change_is_told_and_the_time_of_creation_is_kept() {
    let mut obs = settled();
    assert_eq!(obs.status.created_at, Some(at(0)));
    obs.spec.display_name = Some("Billing".to_owned());
    assert_eq!(told(&decide(&obs)), [Reason::AccountUpdated]);
    obs.spec.display_name = None;
    let later = plan(&obs, at(100), &Timing::default());
    assert_eq!(later.status.created_at, Some(at(0)));
    let mut adopted = fresh();
    adopted.spec.adoption_policy = AdoptionPolicy::IfExists;
    adopted.account = Some(Ok(Some(account("made by hand"))));
    assert_eq!(decide(&adopted).status.created_at, None, "we did not create it");
}

#[test]
fn what_a_sweep_waits_for_stops_no_count_and_its_endings_are_told() {
    let mut obs = settled();
    obs.census_due = true;
    obs.leftovers = Some(vec![leftover(-30)]);
    assert_eq!(decide(&obs).next, Next::NeedCensus { everywhere: false });
    obs.leftovers = Some(vec![leftover(-60)]);
    assert_eq!(told(&decide(&obs)), [Reason::KeyDeleted]);
    obs.done.ended = vec!["k-1".to_owned()];
    assert_eq!(told(&decide(&obs)), [], "its staging Secret is nobody's news");
}

#[test]
fn a_pair_is_looked_for_until_reads_must_show_its_upload() {
    let mut obs = settled();
    let pair = |since: i64| Leftover { to_end: Vec::new(), content: Content::Pair, ..leftover(since) };
    obs.leftovers = Some(vec![pair(-(70 * 60 - 1))]);
    assert_eq!(decide(&obs).next, Next::Wait);
    obs.leftovers = Some(vec![pair(-70 * 60)]);
    assert!(matches!(decide(&obs).next, Next::Act(Step::Unstage { .. })));
}

#[test]
fn failures_of_another_spec_do_not_count() {
    let mut obs = fresh();
    obs.account = Some(Err(Trouble::new(Class::Unknown, "no")));
    obs.status.failures = 4;
    obs.status.observed_generation = obs.generation;
    assert_eq!(decide(&obs).status.failures, 5);
    obs.status.observed_generation = Some(0);
    assert_eq!(decide(&obs).status.failures, 1);
}
