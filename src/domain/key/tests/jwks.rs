//! The public halves of other keys in the Secret: those whose signatures are still good.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::KeyPhase;
use crate::domain::Reason;

fn with_old(shown: &[&str]) -> Observation {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    secret(&mut obs).public_ids = shown.iter().map(|&id| id.to_owned()).collect();
    obs.looked_at = at(50);
    obs.confirmed = true;
    obs
}

fn written(plan: &Plan) -> &Publication {
    match step(plan) {
        Step::Publish(publication) => publication,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_key_is_published_with_the_public_half_of_the_one_before() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(10)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    assert_eq!(written(&decide(&obs, 12)).public, ["k1"]);
    obs.requests.revoke_at = Some(at(9));
    assert!(written(&decide(&obs, 12)).public.is_empty(), "what is revoked is not to be believed");
}

#[test]
fn a_key_leaves_before_it_is_disabled() {
    let mut obs = with_old(&["k0"]);
    let first = decide(&obs, 50);
    assert_eq!((first.rule, written(&first).key_id.as_str()), ("13p", "k1"));
    assert!(written(&first).public.is_empty());
    secret(&mut obs).public_ids.clear();
    assert!(matches!(step(&decide(&obs, 50)), Step::DisableKey { .. }));
}

#[test]
fn an_overlap_that_goes_on_is_left_alone() {
    let mut obs = with_old(&["k0"]);
    status(&mut obs).keys[1].disable_at = Some(at(900));
    assert_eq!(decide(&obs, 50).next, Next::Wait);
    // Its public half cannot be had any more: nothing is written over and over.
    secret(&mut obs).public_ids.clear();
    assert_eq!(decide(&obs, 50).next, Next::Wait);
}

#[test]
fn one_that_ended_otherwise_or_is_not_ours_is_taken_out() {
    let mut obs = with_old(&["k0"]);
    status(&mut obs).keys[1].phase = KeyPhase::Disabled;
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, written(&plan).public.len()), ("11", 0));
    let mut obs = with_old(&["k0", "a-stranger"]);
    status(&mut obs).keys[1].disable_at = Some(at(900));
    assert_eq!(written(&decide(&obs, 50)).public, ["k0"]);
}

#[test]
fn a_secret_that_cannot_be_written_holds_no_ending_for_it() {
    let mut obs = with_old(&["k0"]);
    let refused = Refused { until: at(5000), reason: Reason::PermissionMissing, message: String::new() };
    obs.put_off.insert(Subject::Rewriting, refused);
    assert!(matches!(step(&decide(&obs, 50)), Step::DisableKey { .. }));
    obs.requests.revoke_at = Some(at(40));
    assert!(matches!(step(&decide(&obs, 50)), Step::DeleteKey { .. }));
}
