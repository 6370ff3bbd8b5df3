//! A Secret that an earlier object of this name left, by policy or by a restore, and an account that was made again.

use super::observation::{Proof, Published, Secret};
use super::step::{Need, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, Credential};
use crate::api::v1alpha1::{ServiceAccountKeyStatus, VerificationMode};
use crate::defect;
use crate::domain::{Event, Reason, Trouble, names};

impl Table<'_> {
    /// The Secret becomes ours in one guarded write, which is also the fence against everybody who wrote it before.
    /// What it says about keys is believed if the account is ours and the backend accepts its key; the status is then
    /// rebuilt from it (rule 2).
    pub(super) fn take_over(&self, status: &ServiceAccountKeyStatus, account: &Account) -> Option<Plan> {
        let Secret::Left(secret) = &self.obs.secret else { return None };
        let of_account =
            secret.account.as_ref() == Some(&names::account(&account.project, &account.unique_id));
        let readable = secret.key_id.is_some() && secret.credential != Credential::Missing;
        if !of_account || !readable || status.active_key_id.is_some() {
            return Some(self.taken(status, secret, of_account && status.active_key_id.is_some()));
        }
        if self.obs.spec.verification.mode == VerificationMode::None {
            return Some(self.taken(status, secret, true));
        }
        Some(match &self.obs.secret_proof {
            None => Plan::need("6", Need::SecretProof, status),
            Some(Proof::Accepted { .. }) => self.taken(status, secret, true),
            Some(Proof::Refused { .. }) => self.taken(status, secret, defect!(TakenUnproved)),
            Some(Proof::Unavailable(trouble)) => self.unproved("6", status, trouble),
        })
    }

    /// Nothing is decided about a Secret while the backend cannot say what its key is worth.
    pub(super) fn unproved(
        &self,
        rule: &'static str,
        status: &ServiceAccountKeyStatus,
        trouble: &Trouble,
    ) -> Plan {
        let mood = Mood::Waiting(trouble.class.reason(), trouble.message.clone());
        let plan = self.hold(rule, status.clone(), &mood);
        Plan { requeue: plan.requeue.min(self.timing.retry_cap), ..plan }
    }

    fn taken(&self, status: &ServiceAccountKeyStatus, secret: &Published, keep: bool) -> Plan {
        let name = story::secret_name(self.obs);
        let key = secret.key_id.as_deref().unwrap_or("no key");
        let note = if keep {
            format!("Secret {name}, left by an earlier object of this name, is taken over with key {key}")
        } else {
            format!(
                "Secret {name}, left by an earlier object of this name, is taken over; {key} is not accepted for this \
                 account: a new key is made and the old one is left alone"
            )
        };
        let event = Event::normal(Reason::SecretTakenOver, note);
        Plan { events: vec![event], ..Plan::act("6", Step::TakeOver { keep }, status.clone()) }
    }

    /// The account is another one than the ledger's, as its own controller positively read: the old keys went with the
    /// old account. They are dropped without a call, and a key is made for the new one.
    pub(super) fn other_account(&self, status: &ServiceAccountKeyStatus, account: &Account) -> Option<Plan> {
        let known = status.account_unique_id.as_ref().filter(|known| **known != account.unique_id)?;
        let mut after = status.clone();
        let dropped: Vec<String> = after.keys.drain(..).map(|k| k.id).collect();
        after.active_key_id = None;
        after.pending = None;
        after.lost.clear();
        after.suspects.clear();
        after.next_rotation_time = None;
        after.account_unique_id = Some(account.unique_id.clone());
        story::tell(self.obs, &mut after, &Mood::Working, self.now);
        let note = format!(
            "The account was made again ({}, was {known}): its old keys are gone with it ({}), a new one is made",
            account.unique_id,
            dropped.join(", ")
        );
        let event = Event::warning(Reason::AccountRecreated, note);
        Some(Plan { events: vec![event], ..Plan::act("5", Step::WriteStatus, after) })
    }
}
