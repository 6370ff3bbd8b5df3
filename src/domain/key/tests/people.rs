//! What people do: ask by annotation, rename, end keys at the backend, put Secrets back, restart workloads.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    DeletionPolicy, FormerSecret, KeyPhase, KeyReason, KeySeen, SuspectKey, Workload, WorkloadKind,
};
use crate::domain::{Reason, conditions};

#[test]
fn rotate_at_is_done_once_by_any_publication_after_it() {
    let mut obs = settled();
    obs.requests.rotate_at = Some(at(100));
    let before = decide(&obs, 50);
    assert_eq!((before.next, before.requeue.as_secs()), (Next::Wait, 50));
    gates_open(&mut obs, 100);
    assert_eq!(intent(&obs, 100), KeyReason::Requested);
    // Published since: done, and the same annotation does nothing more.
    let mut obs = settled();
    obs.requests.rotate_at = Some(at(100));
    status(&mut obs).keys[0].published_at = Some(at(200));
    let plan = decide(&obs, 300);
    assert_eq!((step(&plan), plan.status.handled.rotate_at), (&Step::WriteStatus, Some(at(100))));
    assert!(
        plan.events.iter().any(|event| event.reason == Reason::RequestWithoutEffect),
        "{:?}",
        plan.events
    );
    status(&mut obs).handled.rotate_at = Some(at(100));
    assert_eq!(decide(&obs, 300).next, Next::Wait);
}

#[test]
fn revoke_at_ends_old_keys_first_then_replaces_then_ends_the_rest_without_overlap() {
    let mut obs = settled();
    obs.requests.revoke_at = Some(at(100));
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(9_999));
    status(&mut obs).keys.push(old);
    assert_eq!(decide(&obs, 100).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 100);
    assert_eq!(step(&plan), &Step::DeleteKey { id: "k0".to_owned() });
    obs.status = Some(plan.status);
    gates_open(&mut obs, 100);
    assert_eq!(intent(&obs, 100), KeyReason::Revoked);
    // The new one is published: the old one has no overlap, and ends at once.
    let mut open = pending("n2", 2, at(101));
    open.reason = KeyReason::Revoked;
    status(&mut obs).pending = Some(open);
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(Published { published_at: Some(at(105)), ..published("k2", 2) });
    let recorded = decide(&obs, 106);
    obs.staged.clear();
    assert_eq!(ledger::find(&recorded.status, "k1").unwrap().disable_at, Some(at(105)));
    assert_eq!(recorded.status.handled.revoke_at, None, "an older key is left");
    obs.status = Some(recorded.status);
    let plan = decide(&obs, 107);
    assert_eq!(step(&plan), &Step::DeleteKey { id: "k1".to_owned() });
    assert_eq!(plan.status.handled.revoke_at, Some(at(100)));
    obs.status = Some(plan.status);
    obs.keys = None;
    assert_eq!(decide(&obs, 108).next, Next::Wait);
}

#[test]
fn a_revocation_gives_up_an_older_attempt_and_spares_a_younger_one() {
    let mut obs = settled();
    obs.requests.revoke_at = Some(at(100));
    status(&mut obs).pending = Some(pending("n2", 2, at(99)));
    obs.staged = vec![staged("k2", "n2", 2)];
    let plan = decide(&obs, 101);
    assert!(plan.status.pending.is_none() && plan.status.lost.len() == 1, "{:?}", plan.status);
    status(&mut obs).pending = Some(pending("n2", 2, at(100)));
    assert!(matches!(decide(&obs, 101).next, Next::Need(Need::Proof { .. })));
}

#[test]
fn suspension_holds_a_requested_rotation_and_not_a_revocation() {
    let mut obs = settled();
    obs.spec.rotation.as_mut().unwrap().suspend = true;
    obs.requests.rotate_at = Some(at(100));
    gates_open(&mut obs, 100);
    assert_eq!(decide(&obs, 100).next, Next::Wait);
    obs.requests.revoke_at = Some(at(100));
    assert_eq!(intent(&obs, 100), KeyReason::Revoked);
}

#[test]
fn suspects_are_claimed_or_disowned_by_a_person() {
    let mut obs = settled();
    let suspect = |id: &str| SuspectKey { id: id.to_owned(), created_at: Some(at(1)), since: at(2) };
    status(&mut obs).suspects = vec![suspect("a"), suspect("b"), suspect("c")];
    obs.requests.claim = vec!["a".to_owned(), "not-a-suspect".to_owned()];
    obs.requests.disown = vec!["b".to_owned()];
    let plan = decide(&obs, 50);
    assert_eq!(plan.status.suspects.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["c"]);
    let key = ledger::find(&plan.status, "a").unwrap();
    assert_eq!((key.phase, key.disable_at), (KeyPhase::Overlap, Some(at(650))));
    assert!(ledger::find(&plan.status, "not-a-suspect").is_none());
}

#[test]
fn an_annotation_that_cannot_be_read_is_told() {
    let mut obs = settled();
    obs.requests.invalid = Some("keywheel.dev/rotate-at: soon".to_owned());
    assert_eq!(reason(&decide(&obs, 50), conditions::ROTATING), "InvalidAnnotation");
}

/// What the list says about the keys, by a change of it.
fn seen(change: impl Fn(&mut Vec<ListedKey>)) -> (Observation, Plan) {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(99_999));
    status(&mut obs).keys.push(LedgerKeyOf::disabled("k0"));
    obs.looked_at = at(0);
    obs.keys = Some(listed(&["k1", "k0"], at(7200)));
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        keys[1].disabled = true;
        change(keys);
    }
    let plan = decide(&obs, 7200);
    (obs, plan)
}

struct LedgerKeyOf;

impl LedgerKeyOf {
    fn disabled(id: &str) -> crate::api::v1alpha1::LedgerKey {
        let mut old = key(id, KeyPhase::Disabled, 0);
        old.disabled_at = Some(at(10));
        old.delete_at = Some(at(99_999));
        old
    }
}

#[test]
fn the_ledger_is_compared_with_the_backend_once_an_audit_period() {
    let mut obs = settled();
    status(&mut obs).next_rotation_time = Some(at(99_999));
    obs.looked_at = at(0);
    assert_eq!(decide(&obs, 3599).next, Next::Wait);
    assert_eq!(decide(&obs, 3600).next, Next::Need(Need::Audit));
    // Whatever woke it in between.
    assert_eq!(decide(&obs, 3540).requeue.as_secs(), 60);
    obs.audited = Some(listed(&["k1"], at(3600)));
    assert_eq!(decide(&obs, 3600).next, Next::Wait);
    obs.audited = Some(listed(&[], at(3600)));
    assert_eq!(decide(&obs, 3600).next, Next::Need(Need::Keys), "an older list is not acted on");
}

#[test]
fn a_key_that_somebody_ended_is_replaced_at_once() {
    for (change, expected) in [
        ((|keys| keys.retain(|k| k.id != "k1")) as fn(&mut Vec<ListedKey>), KeySeen::Gone),
        (|keys| keys[0].disabled = true, KeySeen::Disabled),
    ] {
        let (mut obs, plan) = seen(change);
        assert_eq!(plan.rule, "13a");
        assert_eq!(ledger::active(&plan.status).unwrap().seen, Some(expected));
        assert_eq!(plan.events.len(), 1);
        obs.status = Some(plan.status);
        obs.preflight = Some(Preflight::Accepted);
        assert_eq!(intent(&obs, 7200), KeyReason::KeyEnded);
        // It was enabled again in the meantime: nothing is made.
        obs.keys = Some(listed(&["k1", "k0"], at(7300)));
        let plan = decide(&obs, 7300);
        assert!(plan.status.pending.is_none() && ledger::active(&plan.status).unwrap().seen.is_none());
    }
}

#[test]
fn a_young_key_that_a_list_does_not_show_is_not_gone() {
    let mut obs = settled();
    obs.looked_at = at(-4000);
    status(&mut obs).keys[0].created_at = Some(at(0));
    obs.keys = Some(listed(&[], at(600)));
    assert_eq!(decide(&obs, 600).next, Next::Wait);
}

#[test]
fn a_disabled_key_that_somebody_enabled_is_left_to_them() {
    let (mut obs, plan) = seen(|keys| keys[1].disabled = false);
    assert_eq!(ledger::find(&plan.status, "k0").unwrap().seen, Some(KeySeen::Enabled));
    obs.status = Some(plan.status);
    obs.confirmed = true;
    status(&mut obs).keys[1].delete_at = Some(at(7000));
    assert_eq!(decide(&obs, 7200).next, Next::Wait, "it is not ended");
    let (_, plan) = seen(|keys| {
        keys.remove(1);
    });
    assert!(ledger::find(&plan.status, "k0").is_none(), "an old key that is gone leaves the ledger");
}

#[test]
fn what_the_backend_says_about_a_key_is_told_once() {
    let (mut obs, plan) = seen(|keys| keys[0].extended_status = Some("exposed: https://example".to_owned()));
    assert_eq!(plan.events[0].reason, crate::domain::Reason::KeyReported);
    assert_eq!(
        ledger::find(&plan.status, "k1").unwrap().extended_status.as_deref(),
        Some("exposed: https://example")
    );
    obs.status = Some(plan.status);
    assert_eq!(decide(&obs, 7200).next, Next::Wait);
}

/// Renamed in the spec; the old Secret publishes the key.
fn renamed() -> Observation {
    let mut obs = settled();
    obs.spec.secret.name = Some("new-name".to_owned());
    let Secret::Ours(old) = std::mem::replace(&mut obs.secret, Secret::Absent) else { panic!() };
    obs.renamed_from = Some(old);
    obs
}

#[test]
fn a_renamed_secret_is_written_down_then_copied_then_the_old_one_ends_after_the_overlap() {
    let mut obs = renamed();
    let first = decide(&obs, 50);
    assert_eq!(step(&first), &Step::WriteStatus);
    let former = FormerSecret { name: "billing".to_owned(), uid: "s-1".to_owned(), delete_at: at(650) };
    let announced = FormerSecret { name: "new-name".to_owned(), uid: String::new(), delete_at: at(650) };
    assert_eq!(first.status.former_secrets, [former.clone(), announced]);
    obs.status = Some(first.status);
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    assert_eq!((publication.key_id.as_str(), &publication.staged_nonce), ("k1", &None));
    // Published under the new name.
    obs.secret = Secret::Ours(Published { uid: "s-2".to_owned(), ..published("k1", 1) });
    let named = decide(&obs, 51);
    assert_eq!(named.status.secret_name.as_deref(), Some("new-name"));
    assert_eq!(named.status.former_secrets, [FormerSecret { delete_at: at(651), ..former }]);
    obs.status = Some(named.status);
    obs.renamed_from = None;
    obs.former = vec![Former {
        name: "billing".to_owned(),
        uid: "s-1".to_owned(),
        resource_version: "7".to_owned(),
        key_ids: vec!["k1".to_owned()],
        held_by: None,
    }];
    let waiting = decide(&obs, 52);
    assert_eq!((waiting.next, waiting.requeue.as_secs()), (Next::Wait, 599));
    let plan = decide(&obs, 651);
    assert!(matches!(step(&plan), Step::DeleteFormer { name, .. } if name == "billing"));
    assert!(plan.status.former_secrets.is_empty());
}

/// The clocks disagree, the name is changed, the rotation becomes due: when the clocks agree again the next key goes
/// straight into the new Secret, and the old one would be forgotten, with a key in it that ends.
#[test]
fn a_renamed_secret_is_written_down_before_the_next_key_is_made_or_published() {
    let mut obs = renamed();
    status(&mut obs).next_rotation_time = Some(at(10));
    let first = decide(&obs, 50);
    assert_eq!((step(&first), first.status.former_secrets.len()), (&Step::WriteStatus, 2));
    assert_eq!(first.status.pending, None);
    // Then the old key under the new name: an account without room for another one must not hold that up.
    obs.status = Some(first.status);
    obs.confirmed = true;
    assert!(matches!(step(&decide(&obs, 50)), Step::Publish(publication) if publication.key_id == "k1"));
    status(&mut obs).keys[0].seen = Some(KeySeen::Disabled);
    assert!(!matches!(decide(&obs, 50).next, Next::Act(Step::Publish(_))), "what is ended is not published");
    let mut obs = renamed();
    status(&mut obs).pending = Some(pending("n2", 2, at(10)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    let first = decide(&obs, 12);
    assert_eq!((step(&first), first.status.former_secrets.len()), (&Step::WriteStatus, 2));
    // Published under the new name later than the overlap: the old Secret stays until then, and an overlap longer.
    obs.status = Some(first.status);
    assert!(matches!(step(&decide(&obs, 5000)), Step::Publish(_)));
    obs.secret =
        Secret::Ours(Published { uid: "s-2".to_owned(), published_at: Some(at(5000)), ..published("k2", 2) });
    let recorded = decide(&obs, 5001);
    assert_eq!(recorded.status.active_key_id.as_deref(), Some("k2"));
    assert_eq!(recorded.status.former_secrets[0].delete_at, at(5601));
}

#[test]
fn a_key_that_a_former_secret_publishes_is_not_ended() {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    assert!(matches!(step(&decide(&obs, 50)), Step::DisableKey { .. }));
    obs.former = vec![Former {
        name: "old".to_owned(),
        uid: "s-0".to_owned(),
        resource_version: "1".to_owned(),
        key_ids: vec!["k0".to_owned()],
        held_by: None,
    }];
    assert_eq!(decide(&obs, 50).next, Next::Wait);
}

#[test]
fn renamed_and_lost_is_minted_anew() {
    let mut obs = renamed();
    obs.renamed_from = None;
    gates_open(&mut obs, 50);
    assert_eq!(intent(&obs, 50), KeyReason::SecretMissing);
}

#[test]
fn the_previous_credential_stands_in_the_secret_until_its_key_ends() {
    let mut obs = settled();
    obs.spec.secret.previous = true;
    status(&mut obs).pending = Some(pending("n2", 2, at(10)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    let plan = decide(&obs, 12);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    assert_eq!(publication.previous.as_deref(), Some("k1"));
    // Later: its overlap is over.
    let mut obs = settled();
    obs.spec.secret.previous = true;
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    secret(&mut obs).previous_key_id = Some("k0".to_owned());
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    assert_eq!((publication.key_id.as_str(), &publication.previous), ("k1", &None));
    secret(&mut obs).previous_key_id = None;
    assert!(matches!(step(&decide(&obs, 50)), Step::DisableKey { .. }));
}

#[test]
fn a_retained_secret_stops_showing_the_previous_credential_before_its_key_ends() {
    let mut obs = settled();
    obs.deleting = true;
    obs.spec.secret.previous = true;
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    obs.spec.deletion_policy = DeletionPolicy::Retain;
    status(&mut obs).keys.push(key("k0", KeyPhase::Overlap, 0));
    secret(&mut obs).previous_key_id = Some("k0".to_owned());
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    assert_eq!((publication.key_id.as_str(), &publication.previous), ("k1", &None));
    secret(&mut obs).previous_key_id = None;
    assert_eq!(step(&decide(&obs, 50)), &Step::DeleteKey { id: "k0".to_owned() });
}

#[test]
fn a_secret_that_an_earlier_object_left_is_taken_over_if_its_key_is_good() {
    let mut obs = fresh();
    obs.secret = Secret::Left(published("k1", 1));
    assert_eq!(decide(&obs, 0).next, Next::Need(Need::SecretProof));
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    assert_eq!(step(&decide(&obs, 0)), &Step::TakeOver { keep: true });
    obs.secret_proof = Some(Proof::Refused { message: "invalid_grant".to_owned() });
    assert_eq!(step(&decide(&obs, 0)), &Step::TakeOver { keep: false });
    obs.secret = Secret::Left(Published { account: Some("p/999".to_owned()), ..published("k1", 1) });
    assert_eq!(step(&decide(&obs, 0)), &Step::TakeOver { keep: false }, "another account's key is not ours");
}

#[test]
fn an_account_that_was_made_again_gets_a_key_and_its_old_ones_are_dropped_without_a_call() {
    let mut obs = settled();
    obs.account = AccountView::Usable(Account { unique_id: "200".to_owned(), ..account() });
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, step(&plan)), ("5", &Step::WriteStatus));
    assert!(plan.status.keys.is_empty() && plan.status.active_key_id.is_none());
    obs.status = Some(plan.status);
    gates_open(&mut obs, 50);
    assert_eq!(intent(&obs, 50), KeyReason::FirstKey);
}

#[test]
fn workloads_are_restarted_once_and_the_old_key_waits_for_them() {
    let workload = Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() };
    let mut obs = settled();
    obs.spec.rollout_restart = vec![workload.clone()];
    assert_eq!(decide(&obs, 5).next, Next::Wait, "no older key is in service");
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Rollout));
    let state = |state| Some(vec![Rollout { workload: workload.clone(), state }]);
    obs.rollout = state(RolloutState::Due);
    let restart = Step::Restart { workload: workload.clone(), key_id: "k1".to_owned() };
    assert_eq!(step(&decide(&obs, 50)), &restart);
    for stuck in [RolloutState::Progressing { progress: "1 of 3".to_owned() }, RolloutState::Missing] {
        obs.rollout = state(stuck);
        let plan = decide(&obs, 50);
        assert_eq!(
            (plan.next.clone(), reason(&plan, conditions::ROTATING)),
            (Next::Wait, "RolloutNotDone".to_owned())
        );
        assert_eq!(reason(&plan, conditions::READY), "KeyPublished");
    }
    obs.rollout = state(RolloutState::Done);
    assert!(matches!(step(&decide(&obs, 50)), Step::DisableKey { .. }));
}
