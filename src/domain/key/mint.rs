//! Rule 10: a key is needed, and the intent to make one is written.

use jiff::Timestamp;

use super::observation::KeyList;
use super::step::{Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, ledger, need};
use crate::api::v1alpha1::{KeyReason, KeySource, ServiceAccountKeyStatus};
use crate::domain::schedule::{Schedule, between};
use crate::domain::{Event, Reason};

impl Table<'_> {
    /// Rule 10: a key is needed.
    pub(super) fn mint(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let obs = self.obs;
        let why = need::reason(self, status, schedule)?;
        match need::gate(self, status, account, schedule, why) {
            need::Gate::Ask(ask) => Some(Plan::need("10", ask, status)),
            need::Gate::MakeRoom(ending) => {
                let event = match &ending.step {
                    Step::DisableKey { id } => {
                        Event::normal(Reason::KeyDisabled, format!("Key {id}: its overlap is over"))
                    }
                    _ => Event::normal(
                        Reason::KeyDeleted,
                        "A disabled key is deleted before its time: the account has no room for a new one",
                    ),
                };
                Some(Plan { events: vec![event], ..Plan::act("10", ending.step, ending.status) })
            }
            need::Gate::Failed { reason, message, asked } => {
                Some(self.fail("10", status.clone(), reason, (message, asked)))
            }
            need::Gate::NotBefore(until) => Some(self.kept_waiting(status, schedule, until, None)),
            need::Gate::BackOff { until, message } => {
                Some(self.kept_waiting(status, schedule, until, Some(message)))
            }
            need::Gate::Open { backend_time, listed } => {
                let list = KeyList::Listed { keys: listed.clone(), backend_time };
                if why == KeyReason::KeyEnded
                    && let Some((after, events)) = self.compared(status, schedule, &list)
                {
                    // Nobody ended it after all, or it was enabled again.
                    return Some(Plan { events, ..Plan::act("10", Step::WriteStatus, after) });
                }
                let mut after = status.clone();
                let pair = obs.fresh_pair.clone().filter(|_| obs.spec.key_source == KeySource::Local);
                ledger::begin(
                    &mut after,
                    obs.fresh_nonce.clone(),
                    why,
                    self.now,
                    backend_time,
                    &listed,
                    pair,
                );
                after.account_unique_id = Some(account.unique_id.clone());
                // Before anything is published under it.
                after.secret_name.get_or_insert_with(|| story::secret_name(obs));
                story::backend(obs, &mut after, Ok(()), self.now);
                story::tell(obs, &mut after, &Mood::Working, self.now);
                Some(Plan::act("10", Step::WriteStatus, after))
            }
        }
    }

    /// A key is needed and must not be made yet. An unfenced attempt is fenced meanwhile.
    pub(super) fn kept_waiting(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        until: Timestamp,
        message: Option<String>,
    ) -> Plan {
        if let Some(fence) = self.fence(status) {
            return fence;
        }
        let plan = match message {
            Some(message) => {
                let message = format!("{message}; no key is made before {until:.0}");
                self.wait("10", status.clone(), &Mood::Waiting(Reason::BackingOff, message), schedule)
            }
            // The failure that made us wait has been told.
            None => self.silent("10", status.clone(), schedule),
        };
        Plan { requeue: plan.requeue.min(between(self.exact, until)), ..plan }
    }
}
