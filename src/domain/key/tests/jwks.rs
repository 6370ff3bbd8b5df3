//! The public halves of other keys in the Secret: those whose signatures are still good.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{EntryFormat, FormerSecret, KeyPhase, SecretEntry};
use crate::domain::{Reason, conditions};

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

/// As [`with_old`], where an entry asks for public halves and nothing at hand has that of `k0`, whose overlap goes on.
fn lacking() -> Observation {
    let mut obs = with_old(&[]);
    obs.spec.secret.entries =
        vec![SecretEntry { key: "jwks.json".to_owned(), format: EntryFormat::PublicJwks }];
    status(&mut obs).keys[1].disable_at = Some(at(900));
    obs.public_halves = ["k1".to_owned()].into();
    obs
}

fn asks_for(plan: &Plan, wanted: &str) -> bool {
    plan.next == Next::Need(Need::PublicHalf { id: wanted.to_owned() })
}

fn put_off(obs: &mut Observation) {
    let message = "it cannot be read".to_owned();
    let refused = Refused { until: at(80), reason: Reason::PermissionMissing, message };
    obs.put_off.insert(Subject::PublicHalf("k0".to_owned()), refused);
}

#[test]
fn an_entry_that_comes_during_an_overlap_shows_the_old_key_too() {
    let mut obs = lacking();
    secret(&mut obs).as_specified = false;
    assert!(asks_for(&decide(&obs, 50), "k0"));
    obs.public_halves.insert("k0".to_owned());
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, written(&plan).public.as_slice()), ("11", ["k0".to_owned()].as_slice()));
}

#[test]
fn a_public_half_that_cannot_be_had_holds_up_no_publication_and_is_told_and_tried_again() {
    let mut obs = lacking();
    secret(&mut obs).as_specified = false;
    put_off(&mut obs);
    assert!(matches!(step(&decide(&obs, 50)), Step::Publish(_)));
    secret(&mut obs).as_specified = true;
    let told = decide(&obs, 50);
    assert_eq!((&told.next, told.requeue.as_secs()), (&Next::Wait, 30));
    let told = conditions::find(&told.status.conditions, conditions::ROTATING).unwrap();
    assert_eq!((told.reason.as_str(), told.message.as_str()), ("PermissionMissing", "it cannot be read"));

    // Later it can be had: the Secret is mended, soon after its last write, too, and nobody is blamed for that.
    obs.put_off.clear();
    assert!(asks_for(&decide(&obs, 80), "k0"));
    obs.public_halves.insert("k0".to_owned());
    obs.rewrites_resume = Some(at(90));
    let soon = decide(&obs, 80);
    assert_eq!((&soon.next, soon.requeue.as_secs()), (&Next::Wait, 10));
    assert_eq!(reason(&soon, conditions::ROTATING), "");
    assert_eq!(written(&decide(&obs, 90)).public, ["k0"]);
    secret(&mut obs).public_ids = vec!["k0".to_owned()];
    assert_eq!(decide(&obs, 90).next, Next::Wait);
}

#[test]
fn only_what_was_published_and_is_wanted_is_asked_for() {
    let mut obs = lacking();
    obs.spec.secret.entries.clear();
    assert_eq!(decide(&obs, 50).next, Next::Wait, "no entry asks for it");
    let mut obs = lacking();
    status(&mut obs).keys[1].published_at = None;
    assert_eq!(decide(&obs, 50).next, Next::Wait, "it signed nothing");
    let mut obs = lacking();
    secret(&mut obs).public_ids = vec!["k0".to_owned()];
    obs.public_halves.insert("k0".to_owned());
    assert_eq!(decide(&obs, 50).next, Next::Wait, "it is there");
}

#[test]
fn a_secret_that_was_lost_shows_the_keys_before_as_well() {
    let mut obs = lacking();
    status(&mut obs).pending = Some(pending("n2", 2, at(40)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    (obs.secret, obs.public_halves) = (Secret::Absent, ["k1".to_owned()].into());
    assert!(asks_for(&decide(&obs, 50), "k0"));
    let mut without = obs.clone();
    put_off(&mut without);
    assert!(matches!(step(&decide(&without, 50)), Step::Publish(_)), "it does not wait");
    obs.public_halves.insert("k0".to_owned());
    let mut shown = written(&decide(&obs, 50)).public.clone();
    shown.sort();
    assert_eq!(shown, ["k0", "k1"]);
}

#[test]
fn a_secret_of_another_name_shows_them_too() {
    let mut obs = lacking();
    obs.renamed_from = obs.secret.ours().cloned();
    obs.secret = Secret::Absent;
    obs.spec.secret.name = Some("renamed".to_owned());
    let old = FormerSecret { name: "billing".to_owned(), uid: "s-1".to_owned(), delete_at: at(900) };
    let new = FormerSecret { name: "renamed".to_owned(), uid: String::new(), delete_at: at(900) };
    status(&mut obs).former_secrets = vec![old, new];
    assert!(asks_for(&decide(&obs, 50), "k0"));
    put_off(&mut obs);
    assert!(matches!(step(&decide(&obs, 50)), Step::Publish(_)));
}

#[test]
fn what_left_before_its_end_is_not_asked_for_again() {
    let mut obs = lacking();
    status(&mut obs).keys[1].disable_at = Some(at(10));
    obs.looked_at = at(50);
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    assert!(matches!(step(&plan), Step::DisableKey { .. }), "{plan:?}");
    // Where the wheel is stopped it does not end, and goes on signing.
    obs.spec.rotation.get_or_insert_default().suspend = true;
    assert!(asks_for(&decide(&obs, 50), "k0"));
}
