//! Observations for tests: a settled key, and what a test changes about it.

use std::time::Duration;

use jiff::Timestamp;

use super::super::*;
use crate::api::v1alpha1::{
    Algorithm, DeletionPolicy, KeyOrigin, KeyPhase, KeyReason, KeySource, LedgerKey, LocalRef, LostAttempt,
    PendingAttempt, Rotation, SecretTemplate, ServiceAccountKeySpec, ServiceAccountKeyStatus, Span,
    SuspectKey, Verification,
};
use crate::domain::Capabilities;
use crate::domain::schedule::add;
use crate::domain::{Reason, Timing, conditions};

/// A moment of the tests' calendar, in seconds after its beginning.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn spec() -> ServiceAccountKeySpec {
    ServiceAccountKeySpec {
        service_account_ref: LocalRef { name: "billing".to_owned() },
        key_source: KeySource::default(),
        algorithm: Some(Algorithm::default()),
        rotation: Some(Rotation {
            every: Some(Span::new("1h")),
            overlap: Span::new("10m"),
            delete_after: Some(Span::new("20m")),
            ..Rotation::default()
        }),
        verification: Verification::default(),
        secret: SecretTemplate::default(),
        validity: None,
        rollout_restart: Vec::new(),
        deletion_policy: DeletionPolicy::default(),
    }
}

pub fn account() -> Account {
    Account {
        project: "p".to_owned(),
        email: "billing@p.iam.gserviceaccount.com".to_owned(),
        unique_id: "100".to_owned(),
        can: Capabilities { algorithms: vec!["RSA_2048".to_owned()], ..Capabilities::google() },
        basic_auth: false,
        exclusive: false,
        clock_skew: Some(Duration::ZERO),
    }
}

/// An object that was just created: nothing is recorded, nothing exists.
pub fn fresh() -> Observation {
    Observation {
        name: "billing".to_owned(),
        uid: "1b4e28ba".to_owned(),
        generation: Some(1),
        created_at: at(0),
        deleting: false,
        has_finalizer: true,
        requests: Requests::default(),
        spec: spec(),
        status: None,
        secret: Secret::Absent,
        renamed_from: None,
        former: Vec::new(),
        staged: Vec::new(),
        account: AccountView::Usable(account()),
        keys: None,
        audited: None,
        // No audit is due unless a test says so.
        looked_at: at(10_000_000),
        siblings: None,
        rollout: None,
        last_use: std::collections::BTreeMap::new(),
        public_halves: std::collections::BTreeSet::new(),
        fresh_pair: None,
        staged_here: None,
        upload: None,
        preflight: None,
        proof: None,
        secret_proof: None,
        confirmed: false,
        own_finalizer: true,
        own_intent: None,
        sent: None,
        refused: None,
        rewrites_resume: None,
        put_off: PutOff::new(),
        fresh_nonce: "fresh".to_owned(),
    }
}

pub fn sha(id: &str) -> String {
    format!("sha-of-{id}")
}

pub fn key(id: &str, phase: KeyPhase, attempt: u32) -> LedgerKey {
    let mut key = ledger::entry(id, phase, KeyOrigin::Rotation, attempt);
    key.algorithm = Some("RSA_2048".to_owned());
    key.minted_at = Some(at(0));
    key.created_at = Some(at(0));
    key.published_at = Some(at(0));
    key.public_key_sha256 = Some(sha(id));
    key
}

pub fn published(id: &str, attempt: u32) -> Published {
    Published {
        uid: "s-1".to_owned(),
        resource_version: "7".to_owned(),
        key_id: Some(id.to_owned()),
        attempt,
        published_at: Some(at(0)),
        account: Some("p/100".to_owned()),
        ledger: Vec::new(),
        credential: Credential::Readable { public_key_sha256: sha(id) },
        previous_key_id: None,
        public_ids: Vec::new(),
        as_specified: true,
        immutable: false,
        held_by: None,
    }
}

/// A key `k1` that was published at the beginning, all at rest; the next rotation is due after an hour.
pub fn settled() -> Observation {
    let mut obs = fresh();
    let mut status = ServiceAccountKeyStatus {
        attempt: 1,
        active_key_id: Some("k1".to_owned()),
        account_unique_id: Some("100".to_owned()),
        secret_name: Some("billing".to_owned()),
        secret_resource_version: Some("7".to_owned()),
        last_rotation_time: Some(at(0)),
        next_rotation_time: Some(at(3600)),
        observed_generation: Some(1),
        keys: vec![key("k1", KeyPhase::Active, 1)],
        ..ServiceAccountKeyStatus::default()
    };
    obs.secret = Secret::Ours(published("k1", 1));
    super::super::story::tell(&obs.clone(), &mut status, &super::super::story::Mood::Settled, at(0));
    obs.status = Some(status);
    obs
}

pub fn staged(id: &str, nonce: &str, attempt: u32) -> Staged {
    Staged {
        name: format!("kw-1b4e28ba-{nonce}"),
        uid: format!("u-{nonce}"),
        nonce: nonce.to_owned(),
        attempt,
        key_id: Some(id.to_owned()),
        account: "p/100".to_owned(),
        public_key_sha256: Some(sha(id)),
        created_at: Some(at(0)),
        expires_at: None,
        held_by: None,
    }
}

pub fn pending(nonce: &str, attempt: u32, started_at: Timestamp) -> PendingAttempt {
    PendingAttempt {
        attempt,
        nonce: nonce.to_owned(),
        reason: KeyReason::Schedule,
        started_at,
        backend_time: started_at,
        known_key_ids: Vec::new(),
        public_key_sha256: None,
    }
}

pub fn lost(nonce: &str, attempt: u32, from: Timestamp, fenced: bool) -> LostAttempt {
    LostAttempt {
        attempt,
        nonce: nonce.to_owned(),
        backend_time: from,
        until: add(from, Duration::from_secs(3610)),
        known_key_ids: Vec::new(),
        fenced,
        public_key_sha256: None,
    }
}

pub fn listed(ids: &[&str], when: Timestamp) -> KeyList {
    let keys = ids
        .iter()
        .map(|id| ListedKey {
            id: (*id).to_owned(),
            created_at: Some(at(0)),
            expires_at: None,
            disabled: false,
            made_by_backend: true,
            disable_reason: None,
            extended_status: None,
            public_key_sha256: None,
            nonce: None,
        })
        .collect();
    KeyList::Listed { keys, backend_time: when }
}

/// The list shows this key as disabled.
pub fn list_disabled(obs: &mut Observation, id: &str) {
    let Some(KeyList::Listed { keys, .. }) = &mut obs.keys else { panic!("not listed") };
    keys.iter_mut().filter(|k| k.id == id).for_each(|k| k.disabled = true);
}

/// The status of an observation, to change it.
pub fn status(obs: &mut Observation) -> &mut ServiceAccountKeyStatus {
    obs.status.as_mut().unwrap()
}

/// The Secret of an observation, to change it.
pub fn secret(obs: &mut Observation) -> &mut Published {
    match &mut obs.secret {
        Secret::Ours(published) => published,
        other => panic!("no Secret of ours: {other:?}"),
    }
}

pub fn timing() -> Timing {
    Timing::default()
}

pub fn step(plan: &Plan) -> &Step {
    match &plan.next {
        Next::Act(step) => step,
        other => panic!("rule {}: {other:?} is no step", plan.rule),
    }
}

pub fn reason(plan: &Plan, type_: &str) -> String {
    conditions::find(&plan.status.conditions, type_).map(|c| c.reason.clone()).unwrap_or_default()
}

pub fn decide(obs: &Observation, seconds: i64) -> Plan {
    told(obs, plan(obs, at(seconds), &timing()))
}

/// Whatever the plan: what a person should hear of is told with its step.
pub fn told(obs: &Observation, plan: Plan) -> Plan {
    let has = |reason| plan.events.iter().any(|event| event.reason == reason);
    let before = obs.status.clone().unwrap_or_default();
    let gained = |origin| {
        let mut keys = plan.status.keys.iter();
        keys.any(|k| k.origin == origin && ledger::find(&before, &k.id).is_none())
    };
    let heard = match (&plan.next, plan.rule) {
        (Next::Act(Step::DisableKey { .. }), _) => has(Reason::KeyDisabled),
        (Next::Act(Step::DeleteKey { .. }), _) => has(Reason::KeyDeleted),
        (Next::Act(Step::EnableKey { .. }), _) => has(Reason::KeyEnabled),
        (Next::Act(Step::Restart { .. }), _) => has(Reason::WorkloadRestarted),
        (Next::Act(Step::TakeOver { .. }), _) => has(Reason::SecretTakenOver),
        (Next::Act(Step::DeleteFormer { .. }), _) => has(Reason::FormerSecretDeleted),
        (Next::Act(Step::Publish(_)), "11") => has(Reason::SecretRepaired) || has(Reason::KeyPublished),
        (Next::Act(Step::WriteStatus), "2") => has(Reason::StatusRebuilt),
        (Next::Act(Step::WriteStatus), "5") => has(Reason::AccountRecreated),
        (Next::Act(Step::WriteStatus), "7") => {
            plan.status.active_key_id == before.active_key_id || has(Reason::KeyPublished)
        }
        (Next::Act(Step::WriteStatus), "15") => !gained(KeyOrigin::Orphan) || has(Reason::OrphanAdopted),
        _ => true,
    };
    assert!(heard, "rule {}: {:?} is done without a word: {:?}", plan.rule, plan.next, plan.events);
    plan
}

/// A settled key beside `k0`, whose overlap was over at 10.
pub fn overdue() -> Observation {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(10));
    status(&mut obs).keys.push(old);
    obs.confirmed = true;
    obs
}

/// Nothing stands in the way of an attempt.
pub fn gates_open(obs: &mut Observation, now: i64) {
    obs.keys = Some(listed(&["k1", "k0"], at(now)));
    obs.preflight = Some(Preflight::Accepted);
    obs.confirmed = true;
}

/// Why an attempt is begun.
pub fn intent(obs: &Observation, now: i64) -> KeyReason {
    let plan = decide(obs, now);
    plan.status.pending.unwrap_or_else(|| panic!("{:?}", plan.next)).reason
}

pub fn suspect(id: &str) -> SuspectKey {
    SuspectKey { id: id.to_owned(), created_at: Some(at(0)), since: at(0) }
}

/// One fenced lost attempt, its window from 0 to 3610, looked for at 600; `seen` are listed beside `k1`.
pub fn losing(seen: &[&str]) -> Observation {
    let mut obs = settled();
    status(&mut obs).lost = vec![lost("n2", 2, at(0), true)];
    let all: Vec<&str> = ["k1"].iter().chain(seen).copied().collect();
    obs.keys = Some(listed(&all, at(600)));
    obs.siblings = Some(Siblings { fenced_attempts: 1, ..Siblings::default() });
    obs
}

/// An account at a backend that can do something else.
pub fn able(change: impl Fn(&mut Capabilities)) -> Account {
    let mut account = account();
    change(&mut account.can);
    account
}

/// An account on which so many keys fit.
pub fn limited(keys: u32) -> Account {
    able(|can| can.key_limit = Some(keys))
}
