//! Rules 8 and 9: the open attempt, and staged keys that no open attempt claims.

use std::time::Duration;

use super::observation::{KeyList, Proof, Refusal, Staged, StagedKey, Upload};
use super::step::{Need, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, ledger, requests};
use crate::api::v1alpha1::{
    KeyOrigin, KeyPhase, KeyReason, KeySource, LedgerKey, PendingAttempt, ServiceAccountKeyStatus,
    VerificationMode,
};
use crate::defect;
use crate::domain::conditions::Is;
use crate::domain::schedule::{Schedule, add, between};
use crate::domain::{Class, Reason, Trouble};

/// How many proofs in a row a key needs once it was refused: replicas of a backend differ for minutes.
const PROOFS_AFTER_REFUSAL: u32 = 3;

impl Table<'_> {
    /// Rule 8: the open attempt.
    pub(super) fn attempt(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let obs = self.obs;
        let revived = if defect!(PublishLost) { ledger::wrongly_revived(status, &obs.staged) } else { None };
        let pending = status.pending.as_ref().or(revived.as_ref())?;
        if let Some(staged) = obs.staged.iter().find(|s| s.nonce == pending.nonce) {
            return Some(match obs.staged_key(staged) {
                Some(staged) => self.staged(status, pending, &staged, schedule, account), // 8b, 8c
                None => self.upload(status, pending, schedule),                           // 8c, Local
            });
        }
        let sent = obs.sent.as_ref() == Some(&pending.nonce);
        let settled = add(pending.started_at, self.timing.settle);
        let ours = obs.own_intent.as_ref() == Some(&pending.nonce) || defect!(ResumeIntent);
        let may_send = ours && !sent && (self.now < settled || defect!(LateCreate));
        match &obs.refused {
            Some(refusal) if sent => return Some(self.refused(status, refusal)), // 8a, refused
            // Too late, it would outlive the window that begins with its intent.
            _ if may_send => {
                let nonce = pending.nonce.clone();
                let local = pending.public_key_sha256.is_some();
                let step = if local { Step::StagePair { nonce } } else { Step::Create { nonce } };
                return Some(Plan::act("8a", step, status.clone()));
            }
            _ => {}
        }
        // 8d: never sent again. What we sent ourselves and is not staged need not settle.
        if sent || settled <= self.now {
            return Some(self.give_up("8d", status));
        }
        let plan = self.wait("8d", status.clone(), &Mood::Working, schedule);
        Some(Plan { requeue: plan.requeue.min(between(self.exact, settled)), ..plan })
    }

    /// Rule 8c for a pair that was made here: its public half goes to the backend, unless it is there already. Only the
    /// process that staged it knows without a look that it is not.
    fn upload(
        &self,
        status: &ServiceAccountKeyStatus,
        pending: &PendingAttempt,
        schedule: &Schedule,
    ) -> Plan {
        let obs = self.obs;
        let nonce = pending.nonce.clone();
        let first = obs.staged_here.as_ref() == Some(&pending.nonce);
        match &obs.upload {
            None if first || defect!(UploadBlindly) => {
                Plan::act("8c", Step::Upload { nonce }, status.clone())
            }
            None | Some(Upload::There { .. }) => Plan::need("8c", Need::Find { nonce }, status),
            Some(Upload::NotThere) => Plan::act("8c", Step::Upload { nonce }, status.clone()),
            // Nothing of it was ever sent before.
            Some(Upload::Refused(trouble)) if first => {
                self.refused(status, &Refusal::ByBackend(trouble.clone()))
            }
            Some(Upload::Refused(trouble)) => {
                let mut plan = self.give_up("8c", status);
                plan.status.retry_after = self.timing.asked_until(self.exact, trouble.retry_after);
                plan
            }
            Some(Upload::Unavailable(trouble)) => {
                let mut after = status.clone();
                story::backend(obs, &mut after, Err(trouble), self.now);
                let mood = Mood::Waiting(trouble.class.reason(), trouble.message.clone());
                let plan = self.wait("8c", after, &mood, schedule);
                Plan { requeue: self.until_next_proof(plan.requeue, pending, trouble), ..plan }
            }
        }
    }

    pub(super) fn refused(&self, status: &ServiceAccountKeyStatus, refusal: &Refusal) -> Plan {
        let mut after = status.clone();
        after.pending = None;
        let (reason, message, asked) = match refusal {
            Refusal::ByBackend(trouble) => {
                let way_out = self.way_out(trouble);
                (
                    trouble.class.reason(),
                    format!("The backend refused to make a key: {}{way_out}", trouble.message),
                    trouble.retry_after,
                )
            }
            Refusal::Unstageable { message } => (
                Reason::SecretRefused,
                format!("The API server refused to store the new key, which was not kept: {message}"),
                None,
            ),
        };
        self.fail("8a", after, reason, (message, asked))
    }

    /// Constraints forbid keys that Google makes and keys that are uploaded one by one.
    fn way_out(&self, trouble: &Trouble) -> &'static str {
        let local = self.obs.spec.key_source == KeySource::Local;
        match trouble.class {
            Class::OrgPolicy if local => ". keySource: Backend may work: the backend then makes the pair",
            Class::OrgPolicy => {
                ". keySource: Local may work: the pair is then made here, and only its public half is uploaded"
            }
            _ => "",
        }
    }

    /// Rules 8b and 8c: the staged key of the open attempt is proved, then published.
    pub(super) fn staged(
        &self,
        status: &ServiceAccountKeyStatus,
        pending: &PendingAttempt,
        staged: &StagedKey,
        schedule: &Schedule,
        account: &Account,
    ) -> Plan {
        let obs = self.obs;
        let expired = staged.expires_at.is_some_and(|end| end <= self.now);
        // A refused key need not wait for its turn any longer when another one was asked for since.
        let overtaken = status.keys.iter().any(|k| k.phase == KeyPhase::Pending)
            && requests::rotation(self, status).is_some_and(|at| pending.started_at < at);
        if staged.ended || expired || overtaken {
            return self.give_up("8b", status);
        }
        let revoked = requests::revocation(self, status)
            .zip(ledger::active(status))
            .is_some_and(|(at, active)| requests::is_revoked(active, at));
        let repairs = matches!(
            pending.reason,
            KeyReason::FirstKey
                | KeyReason::SecretMissing
                | KeyReason::SecretEdited
                | KeyReason::KeyEnded
                | KeyReason::Revoked
                | KeyReason::Expiring
        ) || revoked
            || !story::publishes(obs, status);
        if schedule.suspend && !repairs {
            let mood = Mood::Waiting(
                Reason::Suspended,
                "Rotation is suspended; the new key stays staged".to_owned(),
            );
            return self.wait("8c", noted(status, pending, staged), &mood, schedule);
        }
        let refused_before = status.keys.iter().any(|k| k.phase == KeyPhase::Pending);
        let times = if refused_before { PROOFS_AFTER_REFUSAL } else { 1 };
        match (&obs.proof, obs.spec.verification.mode) {
            _ if defect!(PublishBeforeVerify) => self.publish(status, pending, staged, schedule, account),
            (_, VerificationMode::None) => self.publish(status, pending, staged, schedule, account),
            (Some(Proof::Accepted { times: n }), _) if *n >= times => {
                self.publish(status, pending, staged, schedule, account)
            }
            (None | Some(Proof::Accepted { .. }), _) => {
                Plan::need("8c", Need::Proof { nonce: pending.nonce.clone(), times }, status)
            }
            (Some(Proof::Refused { message }), _) => match &obs.keys {
                None => Plan::need("8c", Need::Keys, status),
                Some(list) if self.is_dead(list, staged) => self.give_up("8b", status),
                Some(_) => self.not_yet_accepted(status, pending, staged, message, schedule),
            },
            (Some(Proof::Unavailable(trouble)), _) => {
                let mut after = noted(status, pending, staged);
                story::backend(obs, &mut after, Err(trouble), self.now);
                let mood = Mood::Waiting(trouble.class.reason(), trouble.message.clone());
                let plan = self.wait("8c", after, &mood, schedule);
                Plan { requeue: self.until_next_proof(plan.requeue, pending, trouble), ..plan }
            }
        }
    }

    pub(super) fn give_up(&self, rule: &'static str, status: &ServiceAccountKeyStatus) -> Plan {
        let mut after = status.clone();
        let rotation = self.obs.spec.rotation.clone().unwrap_or_default();
        let overlap = rotation.overlap.to_duration().unwrap_or_default();
        ledger::pending_to_lost(&mut after, self.now, self.timing, overlap);
        if defect!(GivenUpForgotten) {
            after.lost.clear();
        }
        after.failures = after.failures.saturating_add(1);
        after.last_failure_time = Some(self.now);
        after.retry_after = None;
        story::tell(self.obs, &mut after, &Mood::Working, self.now);
        Plan::act(rule, Step::WriteStatus, after)
    }

    /// Whether a staged key is gone or disabled at the backend. Absence counts only once a list must show it.
    pub(super) fn is_dead(&self, list: &KeyList, staged: &StagedKey) -> bool {
        let KeyList::Listed { keys, backend_time } = list else { return false };
        match keys.iter().find(|k| k.id == staged.id) {
            Some(key) => key.disabled,
            None if defect!(AbsentIsGone) => true,
            None => staged.created_at.is_some_and(|at| between(at, *backend_time) > self.timing.list_lag),
        }
    }

    pub(super) fn not_yet_accepted(
        &self,
        status: &ServiceAccountKeyStatus,
        pending: &PendingAttempt,
        staged: &StagedKey,
        refusal: &str,
        schedule: &Schedule,
    ) -> Plan {
        let obs = self.obs;
        let mut after = status.clone();
        ledger::put(&mut after, pending_entry(pending, staged));
        let timeout = obs.spec.verification.timeout.to_duration().unwrap_or(Duration::MAX);
        let late = between(pending.started_at, self.now) >= timeout;
        let reason = if late { Reason::VerificationTimeout } else { Reason::KeyNotYetAccepted };
        let message =
            format!("The backend does not accept the new key yet: {refusal}. The same key is tried again");
        story::verified(obs, &mut after, Is::False, reason, &message, self.now);
        let mood = if late { Mood::Waiting(reason, message) } else { Mood::Working };
        let plan = self.wait("8c", after, &mood, schedule);
        Plan { requeue: plan.requeue.min(self.proof_wait(pending)), ..plan }
    }

    /// As long again as the attempt is old, within bounds: few tries, and none much too late.
    pub(super) fn proof_wait(&self, pending: &PendingAttempt) -> Duration {
        between(pending.started_at, self.now).clamp(self.timing.proof_base, self.timing.proof_cap)
    }

    /// The same after a try of which nothing was learned: not before the backend wants to be asked, whatever else is due.
    fn until_next_proof(&self, due: Duration, pending: &PendingAttempt, trouble: &Trouble) -> Duration {
        let asked = trouble.retry_after.unwrap_or_default().min(self.timing.asked_cap);
        due.min(self.proof_wait(pending)).max(asked)
    }

    /// Rule 9.
    pub(super) fn staged_by_none(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
    ) -> Option<Plan> {
        let staged = self.unstageable().next()?;
        let overlap = if defect!(OrphanNoOverlap) { Duration::ZERO } else { schedule.overlap };
        Some(self.adopt_or_unstage("9", status, staged, overlap))
    }

    /// Staging Secrets that can be deleted, as far as is known: those that somebody's finalizer holds, or whose deletion was
    /// refused, hold up nothing else.
    pub(super) fn unstageable(&self) -> impl Iterator<Item = &Staged> {
        self.obs.staged.iter().filter(|s| s.held_by.is_none() && !self.obs.is_secret_put_off(&s.name))
    }

    /// A staged key that no open attempt claims: first into the ledger, then its staging Secret goes.
    pub(super) fn adopt_or_unstage(
        &self,
        rule: &'static str,
        status: &ServiceAccountKeyStatus,
        staged: &Staged,
        overlap: Duration,
    ) -> Plan {
        let mut after = status.clone();
        let settled = match &staged.key_id {
            Some(id) => ledger::find(status, id).is_some(),
            // Whatever becomes of a pair that may have been uploaded: its key is known by its public half.
            None => ledger::remembers(status, staged.public_key_sha256.as_deref()),
        };
        if settled || defect!(UnstageFirst) {
            let step = Step::Unstage { name: staged.name.clone(), uid: staged.uid.clone() };
            if staged.key_id.is_some() {
                // The one create of this attempt is accounted for: nothing of it can still surface.
                after.lost.retain(|l| !(l.fenced && l.nonce == staged.nonce));
            }
            return Plan::act(rule, step, after);
        }
        let Some(id) = &staged.key_id else {
            ledger::remember(&mut after, staged, self.now, self.timing);
            return Plan::act(rule, Step::WriteStatus, after);
        };
        let mut key = ledger::entry(id, KeyPhase::Overlap, KeyOrigin::Abandoned, staged.attempt);
        key.minted_at = staged.created_at;
        key.created_at = staged.created_at;
        key.expires_at = staged.expires_at;
        key.public_key_sha256.clone_from(&staged.public_key_sha256);
        // A deposed process may have published it for a moment: it gets the full overlap.
        key.disable_at = Some(add(self.now, overlap));
        ledger::put(&mut after, key);
        Plan::act(rule, Step::WriteStatus, after)
    }
}

/// The id of an uploaded key is written down before anything is waited for: its staging Secret does not have it.
fn noted(
    status: &ServiceAccountKeyStatus,
    pending: &PendingAttempt,
    staged: &StagedKey,
) -> ServiceAccountKeyStatus {
    let mut after = status.clone();
    if pending.public_key_sha256.is_some() {
        ledger::put(&mut after, pending_entry(pending, staged));
    }
    after
}

/// The ledger's entry of a key that is not published yet.
fn pending_entry(pending: &PendingAttempt, staged: &StagedKey) -> LedgerKey {
    let mut key = ledger::entry(&staged.id, KeyPhase::Pending, KeyOrigin::Rotation, pending.attempt);
    key.source = source_of(pending);
    key.minted_at = Some(pending.started_at);
    key.created_at = staged.created_at;
    key.expires_at = staged.expires_at;
    key.reason = Some(pending.reason);
    key.public_key_sha256.clone_from(&staged.public_key_sha256);
    key
}

/// Where the pair of an attempt is made.
pub(super) fn source_of(pending: &PendingAttempt) -> KeySource {
    if pending.public_key_sha256.is_some() { KeySource::Local } else { KeySource::Backend }
}
