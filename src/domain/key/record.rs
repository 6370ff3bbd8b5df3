//! Rules 2 and 7: the status follows what is written elsewhere.

use std::time::Duration;

use super::observation::{Published, Secret, Upload};
use super::step::{Need, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, Credential, attempt, ledger, requests};
use crate::api::v1alpha1::{
    KeyOrigin, KeyPhase, KeySeen, LedgerKey, LostAttempt, ServiceAccountKeyStatus, VerificationMode,
};
use crate::defect;
use crate::domain::conditions::Is;
use crate::domain::schedule::{Schedule, add};
use crate::domain::{Event, Reason, names};

impl Table<'_> {
    /// Rule 2. Without a status nobody knows which keys are ours but the Secret and the staging Secrets; and an
    /// attempt may be under way that nobody remembers.
    pub(super) fn rebuild(&self) -> Option<Plan> {
        let obs = self.obs;
        let evidence = matches!(obs.secret, Secret::Ours(_)) || !obs.staged.is_empty();
        if !self.is_lost(evidence) {
            return None;
        }
        let overlap = obs.spec.rotation.clone().unwrap_or_default().overlap.to_duration().unwrap_or_default();
        let mut status = ServiceAccountKeyStatus::default();
        let mut highest = obs.staged.iter().map(|s| s.attempt).max().unwrap_or(0);
        // A Secret that publishes another account's key says nothing about ours.
        if let Some(secret) = obs.secret.ours().filter(|s| self.is_of_account(s)) {
            for older in &secret.ledger {
                let mut key = older.clone();
                ledger::to_overlap(&mut key, add(self.now, overlap));
                highest = highest.max(key.attempt);
                ledger::put(&mut status, key);
            }
            if let Some(id) = &secret.key_id {
                let mut key = ledger::entry(id, KeyPhase::Active, KeyOrigin::Rotation, secret.attempt);
                key.published_at = secret.published_at;
                // It is not older than a revocation that came after it was published, whoever remembers its making.
                key.minted_at = secret.published_at;
                if let Credential::Readable { public_key_sha256 } = &secret.credential {
                    key.public_key_sha256 = Some(public_key_sha256.clone());
                }
                ledger::put(&mut status, key);
                highest = highest.max(secret.attempt);
                status.active_key_id = Some(id.clone());
                status.secret_name = Some(story::secret_name(obs));
                status.last_rotation_time = secret.published_at;
            }
        }
        status.attempt = highest.saturating_add(1);
        let window = LostAttempt {
            attempt: status.attempt,
            nonce: ledger::REBUILT.to_owned(),
            backend_time: obs.created_at,
            until: add(self.now, self.timing.horizon),
            known_key_ids: Vec::new(),
            fenced: false,
            public_key_sha256: None,
        };
        // Where there was no status before, there was no attempt of this object either.
        let in_flight = !obs.own_finalizer && !defect!(RebuildForgetsInFlight);
        status.lost.extend(Some(window).filter(|_| in_flight));
        story::tell(obs, &mut status, &Mood::Working, self.now);
        let note = "The status was lost and is rebuilt from the Secret; older keys get a full overlap again";
        let event = Event::warning(Reason::StatusRebuilt, note);
        Some(Plan { events: vec![event], ..Plan::act("2", Step::WriteStatus, status) })
    }

    /// Whether a Secret publishes a key of our account, as far as both are known.
    fn is_of_account(&self, secret: &Published) -> bool {
        let ours = self.obs.account.reachable().map(|a| names::account(&a.project, &a.unique_id));
        secret.account.is_none() || ours.is_none() || secret.account == ours
    }

    /// No status, or one that knows no key although the Secret publishes one. The finalizer alone is evidence, too: an
    /// attempt may have been sent since it was added, and have left neither Secret.
    fn is_lost(&self, evidence: bool) -> bool {
        let emptied = |s: &ServiceAccountKeyStatus| {
            let published = |secret: &Published| secret.key_id.is_some() && self.is_of_account(secret);
            let published = self.obs.secret.ours().is_some_and(published);
            let nothing = s.lost.iter().all(|l| l.nonce == ledger::REBUILT);
            published && s.keys.is_empty() && s.pending.is_none() && nothing
        };
        let absent = evidence || !(self.obs.own_finalizer || defect!(FinalizerIsNoTrace));
        self.obs.has_finalizer && self.obs.status.as_ref().map_or(absent, emptied)
    }

    /// Rule 7: what the Secret publishes is a fact; the status follows.
    pub(super) fn record(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        let id = secret.key_id.as_ref().filter(|id| Some(*id) != status.active_key_id.as_ref())?;
        let pending = status.pending.as_ref().filter(|p| p.attempt == secret.attempt);
        let known = ledger::find(status, id);
        let lost = status.lost.iter().any(|l| l.attempt == secret.attempt && ledger::is_attempt(l));
        let another = known.and_then(|k| k.public_key_sha256.as_ref()).is_some_and(|expected| {
            matches!(&secret.credential, Credential::Readable { public_key_sha256 } if public_key_sha256 != expected)
        });
        // Its own staging Secret proves a key, too: a status that was rebuilt meanwhile knows nothing of its attempt.
        let staged = self.obs.staged.iter().any(|s| s.key_id.as_ref() == Some(id));
        if (pending.is_none() && known.is_none() && !lost && !staged) || another {
            return None; // an annotation that none of us wrote: rule 11 sets it right
        }
        if pending.is_none() && !self.obs.confirmed {
            return Some(Plan::need("7", Need::Confirm, status));
        }
        let revoked =
            |k: &LedgerKey| requests::revocation(self, status).is_some_and(|at| requests::is_revoked(k, at));
        if let Some(disabled) = known.filter(|k| k.phase == KeyPhase::Disabled && !revoked(k)) {
            let mut after = status.clone();
            if let Some(key) = ledger::find_mut(&mut after, &disabled.id) {
                ledger::to_overlap(key, add(self.now, schedule.overlap));
            }
            let note = format!("Key {id} is enabled again: the Secret publishes it");
            let event = Event::warning(Reason::KeyEnabled, note);
            return Some(Plan {
                events: vec![event],
                ..Plan::act("7", Step::EnableKey { id: id.clone() }, after)
            });
        }
        let after = self.recorded(status, schedule, account, secret, id);
        let note = format!("Secret {} publishes key {id}", story::secret_name(self.obs));
        let event = Event::normal(Reason::KeyPublished, note);
        Some(Plan { events: vec![event], ..Plan::act("7", Step::WriteStatus, after) })
    }

    /// How the key that was published by its own attempt was proved.
    fn tell_verified(&self, after: &mut ServiceAccountKeyStatus) {
        let obs = self.obs;
        let (is, reason, message) = match obs.spec.verification.mode {
            VerificationMode::TokenExchange => {
                (Is::True, Reason::KeyAccepted, "The backend accepted the key before it was published")
            }
            VerificationMode::None => (Is::Unknown, Reason::NotVerified, "verification.mode is None"),
        };
        story::verified(obs, after, is, reason, message, self.now);
        story::backend(obs, after, Ok(()), self.now);
    }

    pub(super) fn recorded(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
        secret: &Published,
        id: &str,
    ) -> ServiceAccountKeyStatus {
        let obs = self.obs;
        let mut after = status.clone();
        let published_at = secret.published_at.unwrap_or(self.now);
        let pending = status.pending.as_ref().filter(|p| p.attempt == secret.attempt);
        let staged = obs.staged.iter().find(|s| match &s.key_id {
            Some(staged) => staged == id,
            None => pending.is_some_and(|p| p.nonce == s.nonce),
        });
        let restored = pending.is_none() && ledger::find(status, id).is_some();

        let (mut gone, mut second) = (None, false);
        if let Some(old) = status.active_key_id.as_deref().and_then(|old| ledger::find_mut(&mut after, old)) {
            // A credential that was put back was published long ago: what it replaced was read until now.
            let since = if restored { self.now.max(published_at) } else { published_at };
            let revoked = requests::revocation(self, status).is_some_and(|at| requests::is_revoked(old, at));
            let overlap = if revoked || defect!(NoOverlap) { Duration::ZERO } else { schedule.overlap };
            let since =
                if defect!(OverlapFromIntent) { pending.map_or(since, |p| p.started_at) } else { since };
            match old.seen.take() {
                // No overlap is owed to what somebody else ended.
                Some(KeySeen::Disabled) => {
                    old.phase = KeyPhase::Disabled;
                    old.disabled_at = Some(self.now);
                    old.delete_at = Some(add(self.now, schedule.delete_after));
                }
                Some(KeySeen::Gone) => gone = Some(old.id.clone()),
                Some(KeySeen::Enabled) | None => ledger::to_overlap(old, add(since, overlap)),
            }
            after.rotations = after.rotations.saturating_add(1);
            after.restart_owed_for = Some(id.to_owned()).filter(|_| !obs.spec.rollout_restart.is_empty());
        }
        after.keys.retain(|k| gone.as_ref() != Some(&k.id));
        let mut key = ledger::find(status, id)
            .cloned()
            .unwrap_or_else(|| ledger::entry(id, KeyPhase::Active, KeyOrigin::Rotation, secret.attempt));
        key.phase = KeyPhase::Active;
        key.disable_at = None;
        key.disabled_at = None;
        key.delete_at = None;
        key.seen = None;
        key.published_at = Some(published_at);
        if let Some(pending) = pending {
            key.minted_at = Some(pending.started_at);
            key.reason = Some(pending.reason);
            key.algorithm = Some(obs.spec.algorithm.as_str().to_owned());
            key.source = attempt::source_of(pending);
        }
        if let Some(staged) = staged {
            // Of an uploaded key, the staging Secret knows neither; the ledger may.
            key.created_at = staged.created_at.or(key.created_at);
            key.expires_at = staged.expires_at.or(key.expires_at);
            key.public_key_sha256.clone_from(&staged.public_key_sha256);
            let mut only = staged.key_id.is_some();
            if let Some(Upload::There { created_at, expires_at, only: once, .. }) = &obs.upload {
                key.created_at = *created_at;
                key.expires_at = *expires_at;
                only |= once;
            }
            second = !only;
        } else if let Credential::Readable { public_key_sha256 } = &secret.credential {
            key.public_key_sha256 = Some(public_key_sha256.clone());
        }
        let (created_at, expires_at) = (key.created_at, key.expires_at);
        ledger::put(&mut after, key.clone());

        if defect!(SupersededDropped) {
            after.keys.retain(|k| k.id == id || k.phase != KeyPhase::Overlap);
        }
        after.active_key_id = Some(id.to_owned());
        self.named(&mut after, schedule);
        after.secret_resource_version = Some(secret.resource_version.clone());
        after.account_unique_id = Some(account.unique_id.clone());
        if pending.is_some() {
            after.pending = None;
        }
        // A window that was rebuilt has a number like an attempt's, and is none.
        let open = |l: &LostAttempt| l.attempt != secret.attempt || !ledger::is_attempt(l);
        after.lost.retain(|l| open(l) && !defect!(RecordClosesAll));
        if second {
            let until = add(self.now, self.timing.send_window + self.timing.horizon);
            ledger::expect_second(&mut after, &key, self.now, until);
        }
        for older in after.lost.iter_mut().filter(|l| l.attempt < secret.attempt) {
            older.fenced = true;
        }
        if !restored {
            after.last_rotation_time = Some(published_at);
        }
        after.failures = 0;
        after.unpublished_attempts.clear();
        after.last_failure_time = None;
        after.next_rotation_time = after
            .last_rotation_time
            .and_then(|last| schedule.next_rotation(last, &obs.uid, created_at, expires_at));
        if let Some(due) = status.next_rotation_time.filter(|_| defect!(MissedTurnsRepeated)) {
            after.next_rotation_time = schedule.next_rotation(due, &obs.uid, created_at, expires_at);
        }
        if pending.is_some() {
            self.tell_verified(&mut after);
        }
        requests::mark_handled(self, &mut after);
        story::tell(obs, &mut after, &Mood::Settled, self.now);
        after
    }
}
