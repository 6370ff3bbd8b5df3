//! What cannot be done now holds up nothing else, and says so.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    DeletionPolicy, FormerSecret, KeyOrigin, KeyPhase, KeyReason, KeySeen, LedgerKey, PendingAttempt,
    Rotation, SuspectKey, Workload, WorkloadKind,
};
use crate::domain::Reason;
use crate::domain::conditions::{self, READY, ROTATING};

/// The end of a key was refused and is not tried again before 600.
fn put_off(subject: Subject) -> PutOff {
    let refused = Refused { until: at(600), reason: Reason::PermissionMissing, message: "no".to_owned() };
    PutOff::from([(subject, refused)])
}

#[test]
fn a_refused_ending_is_put_off_and_the_next_one_goes_on() {
    let mut obs = overdue();
    let mut older = key("k9", KeyPhase::Overlap, 0);
    older.disable_at = Some(at(20));
    status(&mut obs).keys.push(older);
    obs.put_off = put_off(Subject::Key("k0".to_owned()));
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k9".to_owned() });
    status(&mut obs).keys.pop();
    obs.looked_at = at(50);
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, ROTATING)), (Next::Wait, "PermissionMissing".to_owned()));
    assert_eq!((reason(&plan, READY), plan.requeue.as_secs() <= 550), ("KeyPublished".to_owned(), true));
    // The looks at the backend go on, too: somebody may have disabled the key in use.
    obs.looked_at = at(-86_400);
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Audit));
    obs.put_off.clear();
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
}

#[test]
fn a_revoked_key_that_cannot_be_deleted_does_not_keep_its_successor_from_being_made() {
    let mut obs = overdue();
    obs.requests.revoke_at = Some(at(40));
    assert_eq!(step(&decide(&obs, 50)), &Step::DeleteKey { id: "k0".to_owned() });
    obs.put_off = put_off(Subject::Key("k0".to_owned()));
    obs.keys = Some(listed(&["k0", "k1"], at(50)));
    obs.preflight = Some(Preflight::Accepted);
    let plan = decide(&obs, 50);
    let begun = plan.status.pending.as_ref().map(|p| p.reason);
    assert_eq!((plan.rule, begun), ("10", Some(KeyReason::Revoked)));
}

#[test]
fn a_suspended_wheel_still_replaces_a_key_before_it_stops_working_by_itself() {
    let mut obs = settled();
    obs.spec.rotation = Some(Rotation { suspend: true, ..obs.spec.rotation.clone().unwrap_or_default() });
    status(&mut obs).keys[0].expires_at = Some(at(9000));
    obs.looked_at = at(50);
    obs.looked_at = at(5990);
    let waiting = decide(&obs, 5990);
    assert_eq!((waiting.next, waiting.requeue.as_secs()), (Next::Wait, 10));
    obs.keys = Some(listed(&["k1"], at(6000)));
    obs.preflight = Some(Preflight::Accepted);
    let plan = decide(&obs, 6000);
    assert_eq!(plan.status.pending.map(|p| p.reason), Some(KeyReason::Expiring));
    // And publishes it.
    status(&mut obs).pending =
        Some(PendingAttempt { reason: KeyReason::Expiring, ..pending("n2", 2, at(6000)) });
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    assert!(matches!(step(&decide(&obs, 6010)), Step::Publish(_)));
}

#[test]
fn a_key_that_stopped_working_by_itself_is_not_ready() {
    let mut obs = settled();
    obs.spec.rotation = Some(Rotation { suspend: true, ..obs.spec.rotation.clone().unwrap_or_default() });
    status(&mut obs).keys[0].expires_at = Some(at(100));
    obs.put_off = PutOff::new();
    // The account is full: no other key can be made.
    let account = limited(1);
    obs.account = AccountView::Usable(account);
    obs.keys = Some(listed(&["k1"], at(200)));
    let plan = decide(&obs, 200);
    assert_eq!(reason(&plan, READY), "QuotaExhausted");
    assert_eq!(reason(&plan, conditions::SECRET_PUBLISHED), "KeyExpired");
    let mut told = obs.status.clone().unwrap();
    super::super::story::tell(&obs, &mut told, &super::super::story::Mood::Settled, at(200));
    assert_eq!(conditions::find(&told.conditions, READY).unwrap().reason, "KeyExpired");
}

#[test]
fn a_secret_that_somebodys_finalizer_holds_is_waited_for_and_named() {
    let mut obs = settled();
    obs.deleting = true;
    obs.confirmed = true;
    secret(&mut obs).held_by = Some("backup.example/hold".to_owned());
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "SecretHeld".to_owned()));
    let message = &conditions::find(&plan.status.conditions, READY).unwrap().message;
    assert!(message.contains("billing") && message.contains("backup.example/hold"), "{message}");
    // So is one that was to stay: somebody else deletes it.
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    obs.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(decide(&obs, 50).next, Next::Wait);
    secret(&mut obs).held_by = None;
    assert_eq!(step(&decide(&obs, 50)), &Step::RemoveFinalizer);
}

#[test]
fn a_staging_secret_that_cannot_go_holds_up_neither_endings_nor_the_end_of_other_keys() {
    let mut obs = overdue();
    obs.staged = vec![Staged { held_by: Some("x/y".to_owned()), ..staged("k0", "n0", 0) }];
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
    obs.staged = vec![staged("k0", "n0", 0)];
    assert!(matches!(step(&decide(&obs, 50)), Step::Unstage { .. }));
    obs.put_off = put_off(Subject::Secret(obs.staged[0].name.clone()));
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
    // A deleting object ends its keys, and then says what it waits for.
    obs.staged = vec![Staged { held_by: Some("x/y".to_owned()), ..staged("k0", "n0", 0) }];
    obs.put_off.clear();
    (obs.deleting, obs.secret) = (true, Secret::Absent);
    assert!(matches!(step(&decide(&obs, 50)), Step::DeleteKey { .. }));
    status(&mut obs).keys.clear();
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "SecretHeld".to_owned()));
}

#[test]
fn a_deleting_object_goes_on_with_other_keys_and_stays_for_the_one_that_was_refused() {
    let mut obs = overdue();
    (obs.deleting, obs.secret) = (true, Secret::Absent);
    obs.put_off = put_off(Subject::Key("k0".to_owned()));
    assert_eq!(step(&decide(&obs, 50)), &Step::DeleteKey { id: "k1".to_owned() });
    status(&mut obs).keys.retain(|k| k.id == "k0");
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "PermissionMissing".to_owned()));
    assert_eq!(plan.requeue.as_secs(), 550);
}

#[test]
fn a_deleting_object_ends_no_key_that_a_secret_of_a_former_name_still_shows() {
    let mut obs = overdue();
    (obs.deleting, obs.secret) = (true, Secret::Absent);
    let (name, uid) = ("before".to_owned(), "s-0".to_owned());
    status(&mut obs).former_secrets =
        vec![FormerSecret { name: name.clone(), uid: uid.clone(), delete_at: at(0) }];
    let (resource_version, key_ids) = ("3".to_owned(), vec!["k0".to_owned()]);
    obs.former = vec![Former { name: name.clone(), uid, resource_version, key_ids, held_by: None }];
    assert!(matches!(step(&decide(&obs, 50)), Step::DeleteFormer { .. }));
    obs.put_off = put_off(Subject::Secret(name));
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "PermissionMissing".to_owned()));
    // What was refused about something else holds nothing up.
    obs.put_off = put_off(Subject::Workload("Deployment web".to_owned()));
    (obs.former, status(&mut obs).former_secrets) = (Vec::new(), Vec::new());
    status(&mut obs).keys.clear();
    assert_eq!(step(&decide(&obs, 50)), &Step::RemoveFinalizer);
}

#[test]
fn workloads_that_cannot_be_read_or_restarted_hold_the_old_key_and_nothing_else() {
    let workload = Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() };
    let mut obs = overdue();
    obs.spec.rollout_restart = vec![workload.clone()];
    obs.looked_at = at(50);
    let unreadable = RolloutState::Unreadable { message: "forbidden".to_owned() };
    for (state, refusals) in
        [(unreadable, PutOff::new()), (RolloutState::Due, put_off(Subject::workload(&workload)))]
    {
        obs.rollout = Some(vec![Rollout { workload: workload.clone(), state }]);
        obs.put_off = refusals;
        let plan = decide(&obs, 50);
        assert_eq!((plan.next.clone(), reason(&plan, ROTATING)), (Next::Wait, "RolloutNotDone".to_owned()));
        assert_eq!(reason(&plan, READY), "KeyPublished");
    }
}

#[test]
fn a_stuck_rollout_is_told_once_and_since_when() {
    let workload = Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() };
    let mut obs = overdue();
    obs.spec.rollout_restart = vec![workload.clone()];
    obs.looked_at = at(50);
    let state = RolloutState::Progressing { progress: "1 of 3".to_owned() };
    obs.rollout = Some(vec![Rollout { workload, state }]);
    let first = decide(&obs, 50);
    obs.status = Some(first.status.clone());
    obs.looked_at = at(110);
    assert_eq!(decide(&obs, 110).status, first.status, "nothing new, nothing to write");
}

#[test]
fn a_known_key_of_an_attempt_that_is_given_up_stays_known() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
    // Its staging Secret was deleted by somebody.
    let plan = decide(&obs, 100);
    assert_eq!((plan.rule, plan.status.lost.len()), ("8d", 1));
    let kept = ledger::find(&plan.status, "k2").unwrap();
    assert_eq!((kept.phase, kept.origin), (KeyPhase::Overlap, KeyOrigin::Abandoned));
    assert_eq!(kept.disable_at, Some(at(100 + 600)));
    // Nothing more can come of it, and a deleting object gives it no time.
    assert!(ledger::is_answered(&plan.status, &plan.status.lost[0]));
    obs.deleting = true;
    assert_eq!(ledger::find(&decide(&obs, 100).status, "k2").unwrap().disable_at, Some(at(100)));
}

#[test]
fn a_secret_is_written_down_before_it_is_created_under_whatever_name() {
    // The first one with the intent.
    let mut obs = fresh();
    obs.keys = Some(listed(&[], at(0)));
    obs.preflight = Some(Preflight::Accepted);
    assert_eq!(decide(&obs, 0).status.secret_name.as_deref(), Some("billing"));
    // The name changes before it is published, and once more before that is recorded.
    let mut obs = settled();
    status(&mut obs).active_key_id = None;
    status(&mut obs).keys.clear();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    (obs.secret, obs.staged) = (Secret::Absent, vec![staged("k2", "n2", 2)]);
    obs.proof = Some(Proof::Accepted { times: 1 });
    assert!(matches!(step(&decide(&obs, 5)), Step::Publish(_)));
    obs.spec.secret.name = Some("second".to_owned());
    let plan = decide(&obs, 5);
    assert_eq!(step(&plan), &Step::WriteStatus);
    let announced = FormerSecret { name: "second".to_owned(), uid: String::new(), delete_at: at(605) };
    assert_eq!(plan.status.former_secrets, [announced]);
    obs.status = Some(plan.status);
    assert!(matches!(step(&decide(&obs, 6)), Step::Publish(_)));
    obs.spec.secret.name = Some("third".to_owned());
    let plan = decide(&obs, 7);
    assert_eq!(plan.status.former_secrets.len(), 2, "{:?}", plan.status.former_secrets);
    // What was published there in between keeps its key alive.
    obs.status = Some(plan.status);
    status(&mut obs).pending = None;
    status(&mut obs).active_key_id = Some("k3".to_owned());
    status(&mut obs).keys = vec![key("k3", KeyPhase::Active, 3), {
        let mut old = key("k2", KeyPhase::Overlap, 2);
        old.disable_at = Some(at(10));
        old
    }];
    status(&mut obs).secret_name = Some("third".to_owned());
    obs.secret = Secret::Ours(published("k3", 3));
    (obs.staged, obs.confirmed, obs.looked_at) = (Vec::new(), true, at(50));
    obs.former = vec![Former {
        name: "second".to_owned(),
        uid: "s-2".to_owned(),
        resource_version: "9".to_owned(),
        key_ids: vec!["k2".to_owned()],
        held_by: None,
    }];
    assert_ne!(decide(&obs, 50).next, Next::Act(Step::DisableKey { id: "k2".to_owned() }));
    assert!(matches!(step(&decide(&obs, 700)), Step::DeleteFormer { name, .. } if name == "second"));
}

/// A full account must not stand in the way of a repair: what is out of service makes room, wherever the Secret stands.
#[test]
fn a_repair_finds_room_on_a_full_account() {
    let mut obs = settled();
    obs.account = AccountView::Usable(limited(2));
    status(&mut obs).keys.push(key("k0", KeyPhase::Disabled, 0));
    obs.keys = Some(listed(&["k0", "k1"], at(50_000)));
    list_disabled(&mut obs, "k0");
    obs.preflight = Some(Preflight::Accepted);
    let delete = Step::DeleteKey { id: "k0".to_owned() };
    let ended = |obs: &mut Observation| status(obs).keys[0].seen = Some(KeySeen::Disabled);
    let gone: fn(&mut Observation) = |obs| obs.secret = Secret::Absent;
    let broken: fn(&mut Observation) = |obs| secret(obs).credential = Credential::Missing;
    for strike in [gone, broken, ended as fn(&mut Observation)] {
        let mut obs = obs.clone();
        strike(&mut obs);
        obs.confirmed = false;
        let plan = decide(&obs, 50_000);
        assert_eq!((plan.rule, plan.next), ("10", Next::Need(Need::Confirm)));
        obs.confirmed = true;
        assert_eq!(step(&decide(&obs, 50_000)), &delete);
    }
    // Not where the Secret holds its private half after all, whatever its mark says.
    obs.confirmed = true;
    status(&mut obs).keys[1].public_key_sha256 = Some(sha("k0"));
    secret(&mut obs).credential = Credential::Readable { public_key_sha256: sha("k0") };
    assert_ne!(decide(&obs, 50_000).next, Next::Act(delete));
    // One whose overlap is over is taken out of service first.
    obs.secret = Secret::Absent;
    let mut over = key("k0", KeyPhase::Overlap, 0);
    over.disable_at = Some(at(100));
    status(&mut obs).keys[1] = over;
    assert_eq!(step(&decide(&obs, 50_000)), &Step::DisableKey { id: "k0".to_owned() });
    status(&mut obs).keys[1].disable_at = Some(at(60_000));
    assert_eq!(reason(&decide(&obs, 50_000), conditions::READY), "QuotaExhausted");
}

/// It may have been enabled during an incident; the next audit would have found it.
#[test]
fn room_is_not_made_of_a_key_that_the_list_shows_at_work_again() {
    let mut obs = settled();
    obs.account = AccountView::Usable(limited(2));
    obs.secret = Secret::Absent;
    obs.confirmed = true;
    obs.keys = Some(listed(&["k0", "k1"], at(50_000)));
    status(&mut obs).keys.push(key("k0", KeyPhase::Disabled, 0));
    status(&mut obs).keys[1].disabled_at = Some(at(100));
    assert_eq!(reason(&decide(&obs, 50_000), conditions::READY), "QuotaExhausted");
    // A list may lag.
    status(&mut obs).keys[1].disabled_at = Some(at(49_990));
    assert_eq!(step(&decide(&obs, 50_000)), &Step::DeleteKey { id: "k0".to_owned() });
}

/// A rollout that ends late, or never, holds the old key and nothing else.
#[test]
fn a_stuck_rollout_holds_up_neither_looks_nor_requests_nor_keys_that_are_disabled() {
    let workload = Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() };
    let stuck = || {
        let mut obs = overdue();
        obs.spec.rollout_restart = vec![workload.clone()];
        let state = RolloutState::Progressing { progress: "1 of 2".to_owned() };
        obs.rollout = Some(vec![Rollout { workload: workload.clone(), state }]);
        obs.looked_at = at(50);
        obs
    };
    let mut obs = stuck();
    obs.status = Some(decide(&obs, 50).status);
    assert_eq!(reason(&decide(&obs, 50), ROTATING), "RolloutNotDone");
    // Somebody disables the key in use meanwhile.
    obs.looked_at = at(-86_400);
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Audit));
    status(&mut obs).keys[0].published_at = Some(at(-86_400));
    obs.keys = Some(listed(&["k1", "k0"], at(50)));
    list_disabled(&mut obs, "k1");
    let found = decide(&obs, 50);
    assert_eq!(found.status.keys[0].seen, Some(KeySeen::Disabled));
    // A suspect is claimed.
    let mut obs = stuck();
    status(&mut obs).suspects =
        vec![SuspectKey { id: "k9".to_owned(), created_at: Some(at(0)), since: at(0) }];
    obs.requests.claim = vec!["k9".to_owned()];
    let claimed = decide(&obs, 50);
    assert!(claimed.status.suspects.is_empty() && ledger::find(&claimed.status, "k9").is_some());
    assert_eq!(reason(&claimed, ROTATING), "RolloutNotDone", "in one write");
    // A key that was disabled before is deleted on time.
    let mut obs = stuck();
    let disabled = LedgerKey { delete_at: Some(at(40)), ..key("k8", KeyPhase::Disabled, 0) };
    status(&mut obs).keys.push(disabled);
    assert_eq!(step(&decide(&obs, 50)), &Step::DeleteKey { id: "k8".to_owned() });
}

#[test]
fn a_secret_that_may_not_be_written_again_holds_up_nothing_else() {
    let mut obs = overdue();
    secret(&mut obs).as_specified = false;
    obs.looked_at = at(50);
    assert!(matches!(step(&decide(&obs, 50)), Step::Publish(_)));
    assert_eq!(step(&decide(&obs, 50)).subject(), Some(Subject::Rewriting));
    obs.put_off = put_off(Subject::Rewriting);
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
    // A key that it shows beside the active one stays: it cannot be taken out.
    obs.spec.secret.previous = true;
    secret(&mut obs).as_specified = true;
    secret(&mut obs).previous_key_id = Some("k0".to_owned());
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, ROTATING)), (Next::Wait, "PermissionMissing".to_owned()));
    obs.looked_at = at(-86_400);
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Audit), "the looks go on");
    obs.looked_at = at(50);
    obs.requests.revoke_at = Some(at(40));
    status(&mut obs).keys[0].minted_at = Some(at(45));
    assert!(!matches!(decide(&obs, 50).next, Next::Act(Step::DeleteKey { .. })), "nor when it is revoked");
    // One that is being deleted says so.
    obs.requests = Requests::default();
    obs.deleting = true;
    obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "PermissionMissing".to_owned()));
}

#[test]
fn a_secret_that_may_not_be_fenced_holds_up_nothing_else() {
    let mut obs = overdue();
    status(&mut obs).lost = vec![lost("n9", 9, at(0), false)];
    obs.looked_at = at(50);
    assert!(matches!(step(&decide(&obs, 50)), Step::Fence { .. }));
    obs.put_off = put_off(Subject::Fencing);
    assert_eq!(step(&decide(&obs, 50)), &Step::DisableKey { id: "k0".to_owned() });
    // An object that is being deleted waits, if its Secret stays.
    (obs.deleting, obs.spec.secret.deletion_policy) = (true, DeletionPolicy::Retain);
    let plan = decide(&obs, 50);
    assert_eq!((plan.next.clone(), reason(&plan, READY)), (Next::Wait, "PermissionMissing".to_owned()));
    obs.secret = Secret::Absent;
    assert_eq!(step(&decide(&obs, 50)), &Step::WriteStatus, "without one there is nothing to fence");
}
