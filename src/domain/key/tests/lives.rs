//! Whole lives of a key in a small pure world: steps are applied, processes die anywhere, answers are lost, and
//! what must always hold is checked after every effect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyPhase, LedgerKey, ServiceAccountKeyStatus};
use crate::domain::Timing;
use crate::domain::schedule::add;

/// What may go wrong with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies after the effect, before anything else.
    CrashAfter,
    /// A create is applied, its answer is lost.
    AnswerLost,
    /// A create is refused.
    Refused,
}

#[derive(Clone)]
struct Backend {
    /// Whether it is enabled, and when it was made.
    keys: BTreeMap<String, (bool, Timestamp)>,
    next: u32,
}

struct World {
    now: Timestamp,
    backend: Backend,
    obs: Observation,
    faults: Vec<(usize, Fault)>,
    effects: usize,
    published_at: BTreeMap<String, Timestamp>,
    ever_published: BTreeSet<String>,
    created: BTreeSet<String>,
    looked: bool,
}

impl World {
    fn new(faults: Vec<(usize, Fault)>) -> Self {
        Self {
            now: at(0),
            backend: Backend { keys: BTreeMap::new(), next: 0 },
            obs: Observation { looked_at: at(0), ..fresh() },
            faults,
            effects: 0,
            published_at: BTreeMap::new(),
            ever_published: BTreeSet::new(),
            created: BTreeSet::new(),
            looked: false,
        }
    }

    fn status(&self) -> ServiceAccountKeyStatus {
        self.obs.status.clone().unwrap_or_default()
    }

    /// A reconcile knows nothing of the calls of the one before, nor of a process that died.
    fn forget(&mut self) {
        self.obs.own_intent = None;
        self.obs.sent = None;
        self.obs.refused = None;
    }

    fn forget_reads(&mut self) {
        self.obs.keys = None;
        self.obs.audited = None;
        self.obs.siblings = None;
        self.obs.preflight = None;
        self.obs.proof = None;
        self.obs.confirmed = false;
        self.obs.fresh_nonce = format!("n{}", self.effects);
    }

    fn answer(&mut self, need: &Need) {
        match need {
            Need::Confirm => self.obs.confirmed = true,
            Need::Keys | Need::Fingerprints | Need::Audit => {
                self.looked = true;
                let keys = self.backend.keys.iter().map(|(id, (enabled, created_at))| ListedKey {
                    id: id.clone(),
                    created_at: Some(*created_at),
                    expires_at: None,
                    disabled: !enabled,
                    made_by_backend: true,
                    disable_reason: None,
                    extended_status: None,
                    public_key_sha256: None,
                    nonce: None,
                });
                self.obs.keys = Some(KeyList::Listed { keys: keys.collect(), backend_time: self.now });
            }
            Need::Siblings => {
                let fenced_attempts = self.status().lost.iter().filter(|l| l.fenced).count();
                self.obs.siblings = Some(Siblings { fenced_attempts, ..Siblings::default() });
            }
            Need::Pair
            | Need::Find { .. }
            | Need::Rollout
            | Need::LastUse { .. }
            | Need::PublicHalf { .. }
            | Need::SecretProof => {
                panic!("nothing here asks for {need:?}")
            }
            Need::Preflight => self.obs.preflight = Some(Preflight::Accepted),
            Need::Proof { nonce, times } => {
                let id = self.obs.staged.iter().find(|s| s.nonce == *nonce).and_then(|s| s.key_id.clone());
                let good = id.is_some_and(|id| self.works(&id));
                self.obs.proof = Some(if good {
                    Proof::Accepted { times: *times }
                } else {
                    Proof::Refused { message: "invalid_grant".to_owned() }
                });
            }
        }
    }

    fn works(&self, id: &str) -> bool {
        self.backend.keys.get(id).is_some_and(|(enabled, _)| *enabled)
    }

    fn switch(&mut self, id: &str, on: bool) {
        if let Some((enabled, _)) = self.backend.keys.get_mut(id) {
            *enabled = on;
        }
    }

    /// One reconcile: passes until it waits or the process dies. Returns how long it would sleep.
    fn reconcile(&mut self) -> Duration {
        self.forget();
        for _ in 0..64 {
            self.forget_reads();
            let decided = loop {
                let decided = told(&self.obs, plan(&self.obs, self.now, &Timing::default()));
                match &decided.next {
                    Next::Need(need) => self.answer(&need.clone()),
                    _ => break decided,
                }
            };
            if std::mem::take(&mut self.looked)
                && (decided.next == Next::Wait || ["13a", "15"].contains(&decided.rule))
            {
                self.obs.looked_at = self.now;
            }
            let Next::Act(step) = decided.next.clone() else {
                self.obs.status = Some(decided.status);
                return decided.requeue;
            };
            self.effects += 1;
            let fault = self.faults.iter().find(|(n, _)| *n == self.effects).map(|(_, f)| *f);
            if fault == Some(Fault::CrashBefore) {
                self.forget();
                return Duration::from_secs(1);
            }
            self.effect(&step, fault);
            self.check(&format!("effect {}, rule {}, {step:?}", self.effects, decided.rule));
            if fault == Some(Fault::CrashAfter) {
                self.forget();
                return Duration::from_secs(1);
            }
            if !matches!(step, Step::Create { .. }) {
                self.record(&step, &decided.status);
            }
            self.check(&format!("record {}, rule {}, {step:?}", self.effects, decided.rule));
        }
        panic!("the plan never waits");
    }

    fn record(&mut self, step: &Step, status: &ServiceAccountKeyStatus) {
        let before = self.status().pending.map(|p| p.nonce);
        if matches!(step, Step::AddFinalizer) {
            return;
        }
        self.obs.status = Some(status.clone());
        if let Some(pending) = status.pending.as_ref().filter(|p| before.as_ref() != Some(&p.nonce)) {
            self.obs.own_intent = Some(pending.nonce.clone());
            self.obs.refused = None;
            self.obs.sent = None;
        }
    }

    fn effect(&mut self, step: &Step, fault: Option<Fault>) {
        match step {
            Step::AddFinalizer => self.obs.has_finalizer = true,
            Step::WriteStatus | Step::Fence { .. } => {}
            Step::Create { nonce } => self.create(nonce, fault),
            Step::Publish(publication) => self.publish(publication),
            Step::Unstage { name, .. } => self.obs.staged.retain(|s| s.name != *name),
            Step::EnableKey { id } => {
                self.switch(id, true);
            }
            Step::DisableKey { id } => {
                self.may_end(id);
                self.switch(id, false);
            }
            Step::DeleteKey { id } => {
                self.may_end(id);
                self.backend.keys.remove(id);
            }
            Step::RemoveFinalizer | Step::DeleteSecret { .. } => panic!("nobody deletes this object"),
            Step::StagePair { .. }
            | Step::Upload { .. }
            | Step::TakeOver { .. }
            | Step::DeleteFormer { .. }
            | Step::Restart { .. } => panic!("nobody asked for {step:?}"),
        }
    }

    fn create(&mut self, nonce: &str, fault: Option<Fault>) {
        self.obs.sent = Some(nonce.to_owned());
        if fault == Some(Fault::Refused) {
            let trouble = crate::domain::Trouble::new(crate::domain::Class::Precondition, "no");
            self.obs.refused = Some(Refusal::ByBackend(trouble));
            return;
        }
        self.backend.next += 1;
        let id = format!("k{}", self.backend.next);
        assert!(self.created.insert(id.clone()));
        self.backend.keys.insert(id.clone(), (true, self.now));
        if fault == Some(Fault::AnswerLost) || fault == Some(Fault::CrashAfter) {
            return;
        }
        let attempt = self.status().attempt;
        self.obs.staged.push(Staged { created_at: Some(self.now), ..staged(&id, nonce, attempt) });
    }

    fn publish(&mut self, publication: &Publication) {
        let id = publication.key_id.clone();
        assert!(self.works(&id), "only a key that works is published");
        if let Secret::Ours(old) = &self.obs.secret
            && let Some(old) = &old.key_id
        {
            self.published_at.insert(old.clone(), publication.published_at);
        }
        self.ever_published.insert(id.clone());
        self.obs.secret = Secret::Ours(Published {
            published_at: Some(publication.published_at),
            ledger: publication.ledger.clone(),
            resource_version: format!("{}", self.effects),
            ..published(&id, publication.attempt)
        });
    }

    /// No premature end: no Secret publishes it, and its overlap is over.
    fn may_end(&self, id: &str) {
        let Secret::Ours(secret) = &self.obs.secret else { panic!("{id} is ended without a Secret") };
        assert_ne!(secret.key_id.as_deref(), Some(id), "{id} is ended while it is published");
        if self.ever_published.contains(id) {
            let replaced = self.published_at.get(id).copied().unwrap();
            assert!(self.now >= add(replaced, Duration::from_mins(10)), "{id} is ended inside its overlap");
        }
    }

    fn check(&self, when: &str) {
        let status = self.status();
        // No outage.
        if let Secret::Ours(secret) = &self.obs.secret {
            let id = secret.key_id.as_deref().unwrap_or_default();
            assert!(self.works(id), "{when}: the Secret publishes a dead key {id}");
        }
        // Covered.
        for id in self.backend.keys.keys() {
            let in_ledger = ledger::find(&status, id).is_some();
            let staged = self.obs.staged.iter().any(|s| s.key_id.as_ref() == Some(id));
            let published = matches!(&self.obs.secret, Secret::Ours(s) if s.key_id.as_deref() == Some(id));
            let suspect = status.suspects.iter().any(|s| s.id == *id);
            let open = status.pending.is_some() || !status.lost.is_empty();
            assert!(
                in_ledger || staged || published || suspect || open,
                "{when}: {id} is leaked\n{status:?}"
            );
        }
        let active = status.keys.iter().filter(|k: &&LedgerKey| k.phase == KeyPhase::Active).count();
        assert!(active <= 1, "{when}: {active} active keys");
    }

    fn live(&mut self, seconds: u64) {
        let end = add(self.now, Duration::from_secs(seconds));
        while self.now < end {
            let wait = self.reconcile().max(Duration::from_secs(1));
            self.now = add(self.now, wait);
        }
    }
}

#[test]
fn a_day_without_faults_turns_the_wheel_once_an_hour() {
    let mut world = World::new(Vec::new());
    world.live(24 * 3600);
    let status = world.status();
    assert_eq!(status.rotations, world.backend.next - 1);
    assert!((22..=24).contains(&status.rotations), "{}", status.rotations);
    assert!(world.backend.keys.len() <= 2, "old keys are gone: {:?}", world.backend.keys);
    assert!(status.lost.is_empty() && status.pending.is_none() && world.obs.staged.is_empty());
    // Finalizer apart: intent, create and its staging, publish, record, unstage, disable, delete.
    let rotations = usize::try_from(status.rotations).unwrap();
    assert!(world.effects <= 7 * (rotations + 1), "{} effects", world.effects);
}

#[test]
fn every_single_fault_of_the_first_two_turns_is_survived() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter, Fault::AnswerLost, Fault::Refused] {
        for position in 1..=16 {
            let mut world = World::new(vec![(position, fault)]);
            world.live(6 * 3600);
            let status = world.status();
            assert!(status.rotations >= 3, "{fault:?} at {position}: the wheel stands still: {status:?}");
            assert!(
                status.lost.is_empty() && world.obs.staged.is_empty(),
                "{fault:?} at {position}: {status:?}"
            );
            let owned: BTreeSet<&String> = status.keys.iter().map(|k| &k.id).collect();
            for id in world.backend.keys.keys() {
                let known = owned.contains(id) || status.suspects.iter().any(|s| s.id == *id);
                assert!(known, "{fault:?} at {position}: {id} is leaked");
            }
        }
    }
}

/// Each of them may have made a key: the fourth attempt waits until the first one is a day old.
#[test]
fn three_attempts_without_a_result_use_up_a_day() {
    let mut world = World::new([2, 5, 8].map(|position| (position, Fault::CrashBefore)).to_vec());
    world.live(23 * 3600);
    let status = world.status();
    assert_eq!((status.active_key_id, status.attempt), (None, 3));
    world.live(2 * 3600);
    assert!(world.status().active_key_id.is_some());
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let fault = prop_oneof![
        Just(Fault::CrashBefore),
        Just(Fault::CrashAfter),
        Just(Fault::AnswerLost),
        Just(Fault::Refused)
    ];
    proptest::collection::vec((1_usize..60, fault), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_fault_leaks_a_key_or_takes_a_working_one_away(faults in faults()) {
        let mut world = World::new(faults);
        // Longer than the day that three lost attempts use up.
        world.live(36 * 3600);
        prop_assert!(world.status().active_key_id.is_some());
    }
}
