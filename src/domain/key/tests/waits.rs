//! When a plan that waits looks again, to the second.

use std::time::Duration;

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{FormerSecret, KeyPhase, KeySource, Rotation, Workload, WorkloadKind};
use crate::domain::{Class, Reason, Trouble};

fn waits(obs: &Observation, seconds: i64) -> u64 {
    let plan = decide(obs, seconds);
    assert_eq!(plan.next, Next::Wait, "rule {}", plan.rule);
    plan.requeue.as_secs()
}

fn down() -> Trouble {
    Trouble::new(Class::Unknown, "timeout")
}

/// With an attempt that began at 3600 and whose key is staged.
fn proving() -> Observation {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.keys = Some(listed(&["k1", "k2"], at(3600)));
    obs
}

#[test]
fn a_proof_is_tried_again_after_as_long_as_the_attempt_is_old() {
    let mut obs = proving();
    for proof in [Proof::Refused { message: "invalid_grant".to_owned() }, Proof::Unavailable(down())] {
        obs.proof = Some(proof);
        assert_eq!((waits(&obs, 3600), waits(&obs, 3604), waits(&obs, 3640)), (1, 4, 40));
    }
}

#[test]
fn an_upload_is_looked_for_again_after_as_long_as_the_attempt_is_old() {
    let mut obs = settled();
    obs.spec.key_source = KeySource::Local;
    status(&mut obs).keys[0].source = KeySource::Local;
    let mut open = pending("n2", 2, at(0));
    open.public_key_sha256 = Some(sha("pair"));
    status(&mut obs).pending = Some(open);
    obs.staged = vec![Staged { key_id: None, ..staged("pair", "n2", 2) }];
    obs.upload = Some(Upload::Unavailable(down()));
    assert_eq!((waits(&obs, 0), waits(&obs, 7)), (1, 7));
}

/// Being deleted, with everything gone but what a test leaves.
fn going() -> Observation {
    let mut obs = settled();
    (obs.deleting, obs.confirmed, obs.secret) = (true, true, Secret::Absent);
    obs
}

#[test]
fn a_deleting_object_looks_again_for_what_no_watch_shows() {
    let mut obs = going();
    obs.staged = vec![Staged { held_by: Some("x/y".to_owned()), ..staged("k0", "n0", 0) }];
    status(&mut obs).keys.clear();
    assert_eq!(waits(&obs, 50), 60, "somebody's finalizer");

    let mut obs = going();
    obs.account = AccountView::Unusable {
        reason: Reason::BackendLoginLost,
        message: "no login".to_owned(),
        account: None,
    };
    assert_eq!(waits(&obs, 50), 300, "a login that comes back");

    let mut obs = going();
    status(&mut obs).keys.clear();
    let refused =
        |until| Refused { until: at(until), reason: Reason::PermissionMissing, message: "no".to_owned() };
    status(&mut obs).keys.push(key("k0", KeyPhase::Overlap, 0));
    obs.put_off = PutOff::from([(Subject::Key("k0".to_owned()), refused(600))]);
    assert_eq!(waits(&obs, 50), 550, "its refusal");
    obs.put_off = PutOff::from([(Subject::Key("k0".to_owned()), refused(90_000))]);
    let audit = timing().audit.as_secs();
    assert_eq!(waits(&obs, 50), audit, "nothing sits still for longer than an audit period");
}

#[test]
fn a_deleting_object_wakes_up_when_its_lost_attempt_is_over() {
    let mut obs = going();
    status(&mut obs).keys.clear();
    status(&mut obs).lost = vec![lost("n1", 1, at(0), true)];
    obs.looked_at = at(4000);
    // The window of 3610 s, LAG and a second.
    let over = 3610 + 600;
    assert_eq!(waits(&obs, 4000), over + 1 - 4000);
    obs.keys = Some(KeyList::Unreadable(down()));
    assert_eq!(waits(&obs, i64::try_from(over).unwrap()), 1, "not before the second after");
    assert_eq!(waits(&obs, 5000), 300, "a list that cannot be had");
}

#[test]
fn a_rollout_is_looked_at_again_soon() {
    let workload = Workload { kind: WorkloadKind::Deployment, name: "web".to_owned() };
    let mut obs = overdue();
    obs.spec.rollout_restart = vec![workload.clone()];
    obs.rollout =
        Some(vec![Rollout { workload, state: RolloutState::Unreadable { message: "forbidden".to_owned() } }]);
    obs.looked_at = at(50);
    assert_eq!(waits(&obs, 50), 60);
}

#[test]
fn a_secret_whose_key_cannot_be_tried_is_tried_again() {
    let mut obs = fresh();
    obs.secret = Secret::Left(published("k1", 1));
    obs.secret_proof = Some(Proof::Unavailable(down()));
    assert_eq!(waits(&obs, 50), 300);
}

#[test]
fn the_earliest_of_all_that_is_due_wakes() {
    let calm = || {
        let mut obs = settled();
        obs.spec.rotation = Some(Rotation { every: None, ..obs.spec.rotation.clone().unwrap_or_default() });
        status(&mut obs).next_rotation_time = None;
        obs.looked_at = at(100);
        obs
    };
    let audit = timing().audit.as_secs();
    assert_eq!(waits(&calm(), 100), audit);
    let mut obs = calm();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(400));
    status(&mut obs).keys.push(old);
    assert_eq!(waits(&obs, 100), 300, "the end of an overlap");
    status(&mut obs).keys[1].phase = KeyPhase::Disabled;
    status(&mut obs).keys[1].delete_at = Some(at(500));
    assert_eq!(waits(&obs, 100), 400, "the end of a disabled key");
    obs.spec.rotation.as_mut().unwrap().suspend = true;
    assert_eq!(waits(&obs, 100), audit, "a wheel that stands ends nothing");
    let mut obs = calm();
    obs.requests.rotate_at = Some(at(150));
    assert_eq!(waits(&obs, 100), 50, "what was asked for");
    let mut obs = calm();
    status(&mut obs).former_secrets =
        vec![FormerSecret { name: "old".to_owned(), uid: "s-0".to_owned(), delete_at: at(180) }];
    assert_eq!(waits(&obs, 100), 80, "a Secret of a former name");
    let mut obs = calm();
    status(&mut obs).lost = vec![lost("n9", 9, at(-1200), true)];
    let over = 3610 - 1200 + 600 + 1;
    assert_eq!(waits(&obs, 100), over - 100, "the end of a window");
}

#[test]
fn a_wait_counts_from_this_very_moment_and_a_status_in_whole_seconds() {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(60));
    status(&mut obs).keys.push(old);
    obs.looked_at = at(50);
    let plan = plan(&obs, at(50) + Duration::from_millis(300), &timing());
    assert_eq!((plan.next, plan.requeue), (Next::Wait, Duration::from_millis(9700)));
}
