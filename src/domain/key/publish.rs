//! What is written into the consumer Secret: a proved key (rule 8c), or the same one again (rule 11).

use std::time::Duration;

use super::observation::{Secret, Staged};
use super::step::{Plan, Publication, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, ledger};
use crate::api::v1alpha1::{KeyPhase, LedgerKey, PendingAttempt, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::schedule::{Schedule, add, between, whole_second_after};
use crate::domain::{Event, Reason, names};

impl Table<'_> {
    pub(super) fn publish(
        &self,
        status: &ServiceAccountKeyStatus,
        pending: &PendingAttempt,
        staged: &Staged,
        account: &Account,
    ) -> Plan {
        let publication = Publication {
            staged_nonce: Some(pending.nonce.clone()),
            key_id: staged.key_id.clone(),
            attempt: pending.attempt,
            published_at: whole_second_after(add(self.now, Duration::from_nanos(1))),
            account: staged.account.clone(),
            email: account.email.clone(),
            ledger: if defect!(NoLedgerCopy) { Vec::new() } else { older_keys(status, &staged.key_id) },
        };
        Plan::act("8c", Step::Publish(Box::new(publication)), status.clone())
    }

    /// Rule 11: the Secret's private half is good, the rest is not as specified.
    pub(super) fn rewrite(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        if secret.as_specified {
            return None;
        }
        let active = ledger::active(status)?;
        if let Some(until) = self.obs.rewrites_resume.filter(|until| *until > self.exact) {
            let message =
                "Somebody keeps changing entries, labels or annotations that the spec gives the Secret";
            let mood = Mood::Waiting(Reason::SecretContested, message.to_owned());
            let plan = self.wait("11", status.clone(), &mood, schedule);
            return Some(Plan { requeue: plan.requeue.min(between(self.exact, until)), ..plan });
        }
        let publication = Publication {
            staged_nonce: None,
            key_id: active.id.clone(),
            attempt: active.attempt,
            published_at: active.published_at.or(secret.published_at).unwrap_or(self.now),
            account: names::account(&account.project, &account.unique_id),
            email: account.email.clone(),
            ledger: older_keys(status, &active.id),
        };
        let note = format!("Secret {} is written again as the spec says", story::secret_name(self.obs));
        let event = Event::normal(Reason::SecretRepaired, note);
        Some(Plan {
            events: vec![event],
            ..Plan::act("11", Step::Publish(Box::new(publication)), status.clone())
        })
    }
}

/// What the Secret says about all keys but the one it publishes.
fn older_keys(status: &ServiceAccountKeyStatus, id: &str) -> Vec<LedgerKey> {
    status.keys.iter().filter(|k| k.id != id && k.phase != KeyPhase::Pending).cloned().collect()
}
