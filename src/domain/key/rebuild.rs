//! Rule 2: a status that was lost is put together again from what is left.

use super::observation::{Published, Secret};
use super::step::{Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Credential, ledger};
use crate::api::v1alpha1::{KeyOrigin, KeyPhase, LostAttempt, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::schedule::add;
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
    pub(super) fn is_of_account(&self, secret: &Published) -> bool {
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
}
