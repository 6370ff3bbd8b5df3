//! Several things at once: what each rule alone would get wrong.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    DeletionPolicy, FormerSecret, KeyOrigin, KeyPhase, KeyReason, KeySeen, KeySource,
    ServiceAccountKeyStatus, Span, SuspectKey, Workload, WorkloadKind,
};
use crate::domain::{Reason, conditions};

fn workload() -> Workload {
    Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() }
}

fn rollout(state: RolloutState) -> Vec<Rollout> {
    vec![Rollout { workload: workload(), state }]
}

#[test]
fn a_stuck_rollout_holds_the_old_key_also_while_another_attempt_waits() {
    let mut obs = overdue();
    obs.spec.rollout_restart = vec![workload()];
    // The next key is staged and not accepted yet: that rule waits, and the ending is looked at beside it.
    status(&mut obs).pending = Some(pending("n2", 2, at(40)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.keys = Some(listed(&["k0", "k1", "k2"], at(50)));
    obs.proof = Some(Proof::Refused { message: "invalid_grant".to_owned() });
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Rollout));
    obs.rollout = Some(rollout(RolloutState::Progressing { progress: "1 of 3".to_owned() }));
    assert_eq!(decide(&obs, 50).next, Next::Wait);
    obs.rollout = Some(rollout(RolloutState::Done));
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
}

#[test]
fn workloads_are_restarted_also_where_no_older_key_is_left() {
    let mut obs = settled();
    obs.spec.rollout_restart = vec![workload()];
    status(&mut obs).pending = Some(pending("n2", 2, at(40)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(Published { published_at: Some(at(45)), ..published("k2", 2) });
    let recorded = decide(&obs, 50).status;
    assert_eq!(recorded.restart_owed_for.as_deref(), Some("k2"));
    // The key before it was revoked.
    obs.status = Some(recorded);
    obs.staged.clear();
    status(&mut obs).keys.retain(|k| k.id == "k2");
    assert_eq!(decide(&obs, 60).next, Next::Need(Need::Rollout));
    obs.rollout = Some(rollout(RolloutState::Due));
    assert!(matches!(step(&decide(&obs, 60)), Step::Restart { key_id, .. } if key_id == "k2"));
    obs.rollout = Some(rollout(RolloutState::Progressing { progress: "1 of 3".to_owned() }));
    let plan = decide(&obs, 60);
    assert_eq!((step(&plan), &plan.status.restart_owed_for), (&Step::WriteStatus, &None));
    obs.status = Some(plan.status);
    obs.rollout = None;
    assert_eq!(decide(&obs, 70).next, Next::Wait, "once for each key");
}

#[test]
fn a_key_that_does_not_outlive_its_overlap_turns_the_wheel_and_does_not_spin_it() {
    let mut obs = settled();
    obs.spec.rotation = None;
    obs.generation = Some(2);
    status(&mut obs).keys[0].expires_at = Some(at(12 * 3600));
    let next = decide(&obs, 60).status.next_rotation_time;
    assert_eq!(next, Some(at(4 * 3600)), "a day of overlap does not fit: a third of its life");
    // The old one has no overlap beyond its own end.
    let mut obs = settled();
    let rotation = obs.spec.rotation.as_mut().unwrap();
    (rotation.every, rotation.overlap) = (None, Span::new("24h"));
    status(&mut obs).keys[0].expires_at = Some(at(3600));
    status(&mut obs).pending = Some(pending("n2", 2, at(40)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.secret = Secret::Ours(Published { published_at: Some(at(45)), ..published("k2", 2) });
    assert_eq!(ledger::find(&decide(&obs, 50).status, "k1").unwrap().disable_at, Some(at(3600)));
}

#[test]
fn an_end_that_nobody_remembers_is_read_from_the_list() {
    let mut obs = settled();
    obs.looked_at = at(0);
    obs.spec.rotation = None;
    status(&mut obs).next_rotation_time = None;
    let mut list = listed(&["k1"], at(50_000));
    if let KeyList::Listed { keys, .. } = &mut list {
        keys[0].expires_at = Some(at(30 * 86_400));
    }
    obs.keys = Some(list);
    let plan = decide(&obs, 50_000);
    assert_eq!((plan.rule, step(&plan)), ("13a", &Step::WriteStatus));
    assert_eq!(plan.status.keys[0].expires_at, Some(at(30 * 86_400)));
    assert_eq!(plan.status.next_rotation_time, Some(at(20 * 86_400)));
}

#[test]
fn a_second_key_of_a_published_pair_is_looked_for_while_it_may_appear() {
    let mut obs = settled();
    obs.spec.key_source = KeySource::Local;
    let mut open = pending("n2", 2, at(0));
    open.public_key_sha256 = Some(sha("k2"));
    status(&mut obs).pending = Some(open);
    let mut pair = staged("k2", "n2", 2);
    pair.key_id = None;
    obs.staged = vec![pair];
    obs.upload = Some(Upload::There {
        id: "k2".to_owned(),
        created_at: Some(at(1)),
        expires_at: None,
        disabled: false,
        only: false,
    });
    obs.secret = Secret::Ours(Published { published_at: Some(at(5)), ..published("k2", 2) });
    let mut recorded = decide(&obs, 6).status;
    recorded.next_rotation_time = Some(at(99_999));
    let mut obs =
        Observation { staged: Vec::new(), upload: None, looked_at: at(6), status: Some(recorded), ..obs };
    secret(&mut obs).resource_version = "8".to_owned();
    assert_eq!(decide(&obs, 200).next, Next::Need(Need::Fingerprints));
    let mut list = listed(&["k1", "k2", "twin"], at(200));
    if let KeyList::Listed { keys, .. } = &mut list {
        keys[2].made_by_backend = false;
        keys[2].public_key_sha256 = Some(sha("k2"));
    }
    obs.keys = Some(list);
    let plan = decide(&obs, 200);
    let twin = ledger::find(&plan.status, "twin").unwrap();
    assert_eq!((twin.origin, twin.phase), (KeyOrigin::Orphan, KeyPhase::Overlap));
}

#[test]
fn a_revoked_key_that_is_staged_is_unstaged_before_it_ends() {
    let mut obs = settled();
    obs.requests.revoke_at = Some(at(10));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.confirmed = true;
    let mut old = key("k2", KeyPhase::Overlap, 2);
    old.minted_at = Some(at(5));
    status(&mut obs).keys.push(old);
    assert!(matches!(step(&decide(&obs, 20)), Step::Unstage { .. }));
    obs.staged.clear();
    assert!(matches!(step(&decide(&obs, 20)), Step::DeleteKey { .. }));
}

/// A fenced lost attempt at 0 on an account that is ours alone.
fn orphan() -> Observation {
    let mut obs = settled();
    obs.account = AccountView::Usable(Account { exclusive: true, ..account() });
    obs.looked_at = at(0);
    status(&mut obs).lost = vec![lost("n5", 5, at(0), true)];
    status(&mut obs).next_rotation_time = Some(at(99_999));
    obs.siblings = Some(Siblings { fenced_attempts: 1, ..Siblings::default() });
    obs
}

#[test]
fn one_lost_attempt_answers_for_one_key() {
    // The backend names the key of the attempt: another one in its window is a person's.
    let mut obs = orphan();
    obs.keys = Some(listed(&["k1", "ours", "theirs"], at(5000)));
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        keys[1].nonce = Some("n5".to_owned());
    }
    let plan = decide(&obs, 5000);
    assert!(ledger::find(&plan.status, "ours").is_some() && ledger::find(&plan.status, "theirs").is_none());
    assert!(plan.status.lost.is_empty() && plan.status.suspects.is_empty());
    // What it made was found before: what appears later is told, not taken.
    let mut obs = orphan();
    let mut ours = ledger::entry("ours", KeyPhase::Overlap, KeyOrigin::Orphan, 5);
    ours.created_at = Some(at(0));
    status(&mut obs).keys.push(ours);
    let mut siblings = Siblings::default();
    siblings.add(obs.status.as_ref(), true);
    assert_eq!(siblings.fenced_attempts, 0);
    obs.siblings = Some(siblings);
    obs.keys = Some(listed(&["k1", "ours", "theirs"], at(5000)));
    let plan = decide(&obs, 5000);
    assert!(ledger::find(&plan.status, "theirs").is_none());
    assert_eq!(plan.status.suspects.len(), 1);
}

#[test]
fn what_another_object_suspects_is_not_presumed_to_be_ours() {
    let mut obs = orphan();
    obs.keys = Some(listed(&["k1", "x"], at(5000)));
    let mut other = settled().status.unwrap();
    other.suspects = vec![SuspectKey { id: "x".to_owned(), created_at: None, since: at(0) }];
    obs.siblings.as_mut().unwrap().add(Some(&other), false);
    let plan = decide(&obs, 5000);
    assert!(ledger::find(&plan.status, "x").is_none() && plan.status.suspects.len() == 1);
}

#[test]
fn a_revocation_goes_on_under_suspension_and_waits_a_minute_at_most() {
    // A rotation was staged, then the wheel was stopped, then the active key was revoked: the staged one replaces it.
    let mut obs = settled();
    obs.spec.rotation.as_mut().unwrap().suspend = true;
    status(&mut obs).pending = Some(pending("n2", 2, at(100)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    assert_eq!(decide(&obs, 110).next, Next::Wait);
    obs.requests.revoke_at = Some(at(90));
    assert!(matches!(step(&decide(&obs, 110)), Step::Publish(_)));
    // Failures of before hold it up for a minute, not for an hour.
    let mut obs = settled();
    obs.requests.revoke_at = Some(at(100));
    status(&mut obs).failures = 9;
    status(&mut obs).last_failure_time = Some(at(100));
    obs.keys = Some(listed(&["k1"], at(160)));
    obs.preflight = Some(Preflight::Accepted);
    let waiting = decide(&obs, 101);
    assert_eq!((waiting.next, waiting.requeue.as_secs()), (Next::Wait, 59));
    assert_eq!(decide(&obs, 160).status.pending.unwrap().reason, KeyReason::Revoked);
}

#[test]
fn a_staged_key_past_its_end_or_overtaken_by_a_request_is_given_up() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.staged = vec![Staged { expires_at: Some(at(60)), ..staged("k2", "n2", 2) }];
    assert!(matches!(decide(&obs, 59).next, Next::Need(Need::Proof { .. })));
    assert_eq!((decide(&obs, 60).rule, decide(&obs, 60).status.lost.len()), ("8b", 1));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.requests.rotate_at = Some(at(30));
    assert!(matches!(decide(&obs, 60).next, Next::Need(Need::Proof { .. })), "it was never refused");
    status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
    assert_eq!(decide(&obs, 60).rule, "8b");
}

#[test]
fn a_revocation_of_before_is_not_carried_out_again_on_a_rebuilt_status() {
    let mut obs = settled();
    obs.status = None;
    obs.own_finalizer = false;
    obs.requests.revoke_at = Some(at(-100));
    let plan = decide(&obs, 50);
    assert_eq!(plan.rule, "2");
    obs.status = Some(plan.status);
    let plan = decide(&obs, 60);
    assert!(plan.status.pending.is_none() && plan.next != Next::Need(Need::Keys), "{:?}", plan.next);
}

#[test]
fn a_published_key_that_somebody_ended_is_not_ready_and_ends_no_other() {
    let mut obs = overdue();
    status(&mut obs).next_rotation_time = Some(at(99_999));
    obs.keys = Some(listed(&["k0"], at(5000)));
    // Held by the spec, so that nothing is ended before the list is compared.
    obs.spec.rotation.as_mut().unwrap().suspend = true;
    let plan = decide(&obs, 5000);
    assert_eq!((plan.rule, plan.status.keys[0].seen), ("13a", Some(KeySeen::Gone)));
    assert!(conditions::is(&plan.status.conditions, conditions::READY, conditions::Is::False));
    obs.status = Some(plan.status);
    obs.spec.rotation.as_mut().unwrap().suspend = false;
    status(&mut obs).failures = 9;
    status(&mut obs).last_failure_time = Some(at(5000));
    let plan = decide(&obs, 5001);
    assert_eq!(plan.next, Next::Wait, "its replacement is held up; the older one may be the last that works");
}

#[test]
fn a_revoked_key_that_was_put_back_is_not_enabled() {
    let mut obs = settled();
    status(&mut obs).keys.push(key("k0", KeyPhase::Disabled, 0));
    obs.secret = Secret::Ours(published("k0", 0));
    obs.confirmed = true;
    assert!(matches!(step(&decide(&obs, 50)), Step::EnableKey { .. }));
    obs.requests.revoke_at = Some(at(40));
    assert_eq!((decide(&obs, 50).rule, step(&decide(&obs, 50))), ("7", &Step::WriteStatus));
}

#[test]
fn a_rebuilt_window_outlives_the_record_of_a_publication_of_its_number() {
    let mut obs = settled();
    status(&mut obs).keys.clear();
    status(&mut obs).active_key_id = None;
    status(&mut obs).lost = vec![lost(ledger::REBUILT, 1, at(-50), true)];
    status(&mut obs).pending = Some(pending("n1", 1, at(0)));
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, plan.status.lost.len()), ("7", 1));
}

#[test]
fn a_status_that_knows_nothing_but_a_rebuilt_window_is_rebuilt_from_the_secret_once_that_is_ours() {
    let mut obs = settled();
    let window = lost(ledger::REBUILT, 1, at(0), false);
    obs.status = Some(ServiceAccountKeyStatus { attempt: 1, lost: vec![window], ..Default::default() });
    obs.own_finalizer = false;
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, plan.status.active_key_id.as_deref()), ("2", Some("k1")));
    assert_eq!(plan.status.lost.len(), 1);
}

#[test]
fn a_revoked_key_ends_after_the_secret_of_a_former_name_that_shows_it() {
    let mut obs = settled();
    status(&mut obs).keys[0].minted_at = Some(at(200));
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(9_999));
    status(&mut obs).keys.push(old);
    let (name, uid) = ("before".to_owned(), "s-0".to_owned());
    let entry = FormerSecret { name: name.clone(), uid: uid.clone(), delete_at: at(9_999) };
    status(&mut obs).former_secrets = vec![entry];
    obs.former = vec![Former {
        name,
        uid,
        resource_version: "3".to_owned(),
        key_ids: vec!["k0".to_owned()],
        held_by: None,
    }];
    obs.requests.revoke_at = Some(at(100));
    obs.confirmed = true;
    let plan = decide(&obs, 300);
    assert!(matches!(step(&plan), Step::DeleteFormer { name, .. } if name == "before"), "{:?}", plan.next);
    obs.status = Some(plan.status);
    obs.former.clear();
    assert_eq!(step(&decide(&obs, 300)), &Step::DeleteKey { id: "k0".to_owned() });
}

#[test]
fn a_retained_secret_of_the_former_name_outlives_an_unfinished_rename() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    obs.spec.deletion_policy = DeletionPolicy::Retain;
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    obs.spec.secret.name = Some("elsewhere".to_owned());
    obs.renamed_from = Some(published("k1", 1));
    for secret in [Secret::Absent, Secret::Foreign { why: "it is another's".to_owned() }] {
        obs.secret = secret;
        assert_eq!(step(&decide(&obs, 60)), &Step::RemoveFinalizer);
    }
}

#[test]
fn an_ending_that_waited_for_no_workload_does_not_take_back_what_they_are_owed() {
    let mut obs = settled();
    obs.spec.rollout_restart = vec![workload()];
    obs.confirmed = true;
    obs.rollout = Some(rollout(RolloutState::Due));
    let refused = Refused { until: at(600), reason: Reason::PermissionMissing, message: "no".to_owned() };
    obs.put_off.insert(Subject::workload(&workload()), refused);
    status(&mut obs).restart_owed_for = Some("k1".to_owned());
    let mut orphan = key("k0", KeyPhase::Overlap, 0);
    (orphan.published_at, orphan.disable_at) = (None, Some(at(10)));
    status(&mut obs).keys.push(orphan);
    let plan = decide(&obs, 50);
    assert_eq!(step(&plan), &Step::DisableKey { id: "k0".to_owned() });
    assert_eq!(plan.status.restart_owed_for.as_deref(), Some("k1"));
}

#[test]
fn a_secret_of_a_former_name_that_was_made_again_is_not_forgotten() {
    let mut obs = settled();
    obs.confirmed = true;
    let entry = FormerSecret { name: "old".to_owned(), uid: "s-0".to_owned(), delete_at: at(10) };
    status(&mut obs).former_secrets = vec![entry];
    obs.former = vec![Former {
        name: "old".to_owned(),
        uid: "s-9".to_owned(),
        resource_version: "9".to_owned(),
        key_ids: vec!["k1".to_owned()],
        held_by: None,
    }];
    let delete = Step::DeleteFormer {
        name: "old".to_owned(),
        uid: "s-9".to_owned(),
        resource_version: "9".to_owned(),
    };
    assert_eq!(step(&decide(&obs, 50)), &delete);
}

/// The `.previous` entries can only be taken away together with a good credential.
#[test]
fn a_revoked_key_that_an_emptied_secret_shows_as_the_previous_one_holds_up_nothing() {
    let mut obs = settled();
    obs.spec.secret.previous = true;
    obs.requests.revoke_at = Some(at(100));
    status(&mut obs).keys.push(key("k0", KeyPhase::Overlap, 0));
    secret(&mut obs).previous_key_id = Some("k0".to_owned());
    secret(&mut obs).credential = Credential::Missing;
    gates_open(&mut obs, 100);
    assert_eq!(intent(&obs, 100), KeyReason::Revoked);
    // Beside a good one they go first.
    secret(&mut obs).credential = published("k1", 1).credential;
    let Step::Publish(written) = step(&decide(&obs, 100)).clone() else { panic!("{:?}", decide(&obs, 100)) };
    assert_eq!((written.key_id.as_str(), written.previous), ("k1", None));
}
