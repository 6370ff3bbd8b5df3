//! Accounts whose id the backend chooses: nothing but the name that a create carries tells, after a lost answer, which account
//! it made. The name is written down before the create leaves, and leaves once; what it made is looked for until nothing can
//! be made of it any more.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;

use super::plan::Table;
use super::{Account, Next, Plan, Step};
use crate::api::v1alpha1::{AccountAttempt, AccountOrigin, ServiceAccountStatus};
use crate::defect;
use crate::domain::schedule::{add, between, up_to_the_minute};
use crate::domain::{Capabilities, Event, Reason};

/// The accounts of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// All of them.
    pub accounts: Vec<Account>,
    /// The backend's clock when it answered.
    pub backend_time: Timestamp,
}

/// What became of an attempt.
enum Found {
    /// This account was made by it.
    Ours(Account),
    /// Somebody uses an account of its name already, or there are several: a person must look.
    Suspect(Vec<String>),
    /// Whether anybody uses it must be read first.
    Unread(String),
    /// None yet.
    Nothing,
}

/// How all such names begin.
const LABEL: &str = "keywheel-";

/// The name that an account carries until it is recorded.
fn label(attempt: &AccountAttempt) -> String {
    format!("{LABEL}{}", attempt.nonce)
}

fn suspected(attempt: &AccountAttempt, ids: &[String]) -> String {
    format!(
        "The answer to the creation of an account was lost, and {} may be what it made: it has the name {} and is in use, or is \
         not the only one. Delete it at the backend, or give it another name there",
        ids.join(", "),
        label(attempt)
    )
}

impl Table<'_> {
    /// No account is recorded, and none is named.
    pub(super) fn creating(&self, can: &Capabilities) -> Plan {
        let obs = self.obs;
        let Some(attempt) = &obs.status.creating else {
            return match &obs.roll {
                None => Plan { next: Next::NeedRoll, ..self.keep() },
                Some(Err(trouble)) => self.failed(trouble),
                Some(Ok(roll)) => self.intend(roll),
            };
        };
        if let Some(Ok(Some(made))) = &obs.account {
            return self.record(made);
        }
        if self.is_unsent(attempt) && self.now >= add(attempt.started_at, self.timing.settle) {
            // It never left: another one is written down.
            return self.begun_anew();
        }
        if self.is_unsent(attempt) || defect!(AccountSentAgain) {
            let note = "An account is created".to_owned();
            let step = Step::Create {
                account_id: String::new(),
                display_name: label(attempt),
                description: String::new(),
                basic_auth: can.basic_auth && self.wants_basic_auth().unwrap_or(false),
            };
            return Plan { events: vec![Event::normal(Reason::AccountCreated, note)], ..self.act(step) };
        }
        match self.made_by(attempt) {
            ControlFlow::Break(plan) => plan,
            ControlFlow::Continue(Found::Ours(account)) => self.record(&account),
            ControlFlow::Continue(Found::Unread(unique_id)) => {
                Plan { next: Next::NeedUse { unique_id }, ..self.keep() }
            }
            ControlFlow::Continue(Found::Suspect(ids)) => {
                let message = format!(
                    "{}. To have it, delete this object with the annotation keywheel.dev/abandon, and apply another one with its \
                     id as accountId and adoptionPolicy: Required",
                    suspected(attempt, &ids)
                );
                self.stalled(Reason::AccountSuspect, message)
            }
            ControlFlow::Continue(Found::Nothing) => match self.open_until(attempt) {
                Some(until) => {
                    let message = format!(
                        "The answer to the creation of an account was lost: it may show itself until {:.0}, and no other is made \
                         before",
                        up_to_the_minute(until)
                    );
                    let requeue = between(self.now, until).min(self.timing.retry_cap);
                    Plan { requeue, ..self.waiting(Reason::AccountPending, message) }
                }
                None => self.begun_anew(),
            },
        }
    }

    /// Before the create leaves: what it will be called, and which accounts it did not make.
    fn intend(&self, roll: &Roll) -> Plan {
        // Of all others the name says that it did not make them.
        let before = roll.accounts.iter().filter(|account| account.display_name.starts_with(LABEL));
        let attempt = AccountAttempt {
            nonce: self.obs.fresh_nonce.clone(),
            started_at: self.now,
            backend_time: roll.backend_time,
            known_account_ids: before.map(|account| account.unique_id.clone()).collect(),
        };
        let mut status = self.obs.status.clone();
        status.creating = Some(attempt);
        // Whoever ends the object must know that the account may still show itself.
        status.created_at = Some(self.now);
        Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() }
    }

    fn record(&self, account: &Account) -> Plan {
        let mut status = self.obs.status.clone();
        status.creating = None;
        status.unique_id = Some(account.unique_id.clone());
        status.email = Some(account.email.clone());
        status.resource_name = Some(account.name.clone());
        status.origin = Some(AccountOrigin::Created);
        status.created_at = Some(self.now);
        Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() }
    }

    fn made_by(&self, attempt: &AccountAttempt) -> ControlFlow<Plan, Found> {
        let obs = self.obs;
        let roll = match &obs.roll {
            None => return ControlFlow::Break(Plan { next: Next::NeedRoll, ..self.keep() }),
            Some(Err(trouble)) if obs.deleting => return ControlFlow::Break(self.deletion_fails(trouble)),
            Some(Err(trouble)) => return ControlFlow::Break(self.failed(trouble)),
            Some(Ok(roll)) => roll,
        };
        let unknown = |account: &&Account| !attempt.known_account_ids.contains(&account.unique_id);
        let named = |account: &&Account| account.display_name == label(attempt);
        let found: Vec<&Account> = roll.accounts.iter().filter(unknown).filter(named).collect();
        let ids = || found.iter().map(|account| account.unique_id.clone()).collect();
        match (&found[..], &obs.in_use) {
            ([], _) => ControlFlow::Continue(Found::Nothing),
            ([only], _) if defect!(AccountUseUnread) => ControlFlow::Continue(Found::Ours((*only).clone())),
            ([only], None) => ControlFlow::Continue(Found::Unread(only.unique_id.clone())),
            ([_], Some(Err(trouble))) if obs.deleting => ControlFlow::Break(self.deletion_fails(trouble)),
            ([_], Some(Err(trouble))) => ControlFlow::Break(self.failed(trouble)),
            ([only], Some(Ok(false))) => ControlFlow::Continue(Found::Ours((*only).clone())),
            _ => ControlFlow::Continue(Found::Suspect(ids())),
        }
    }

    /// Until when something can still be made of an attempt, and is not seen by everybody.
    fn open_until(&self, attempt: &AccountAttempt) -> Option<Timestamp> {
        let timing = self.timing;
        let whole = if defect!(AccountClosedEarly) {
            Duration::ZERO
        } else {
            timing.settle + timing.send_window + timing.horizon + timing.list_lag
        };
        let ours = Some(add(attempt.started_at, whole)).filter(|until| *until > self.now);
        // Whoever began it may have another clock, or ours was set: the backend's own must have run as far.
        let told = self.obs.roll.as_ref().and_then(|roll| roll.as_ref().ok());
        let left = told.map(|roll| between(roll.backend_time, add(attempt.backend_time, whole)));
        let theirs = left.filter(|left| !left.is_zero()).map(|left| add(self.now, left));
        ours.max(theirs)
    }

    /// Whether this process wrote the attempt down and has not sent it.
    fn is_unsent(&self, attempt: &AccountAttempt) -> bool {
        self.obs.own_attempt.as_ref() == Some(&attempt.nonce)
    }

    /// Nothing was made, and nothing can be.
    fn begun_anew(&self) -> Plan {
        let status = ServiceAccountStatus { creating: None, created_at: None, ..self.obs.status.clone() };
        Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() }
    }

    /// The name under which an account may be there that nobody has recorded.
    pub(super) fn unrecorded(&self) -> Option<String> {
        self.obs.status.creating.as_ref().map(label)
    }

    /// An object that goes looks for what its attempt made, too.
    pub(super) fn found_before_the_end(&self) -> Option<Plan> {
        let attempt = self.obs.status.creating.as_ref().filter(|_| !defect!(AccountUnderWayLeft))?;
        if self.is_unsent(attempt) {
            return Some(self.begun_anew());
        }
        if let Err((reason, message)) = &self.obs.backend {
            return Some(self.deletion_waits(*reason, message.clone(), self.timing.retry_cap));
        }
        if let Some(until) = self.backing_off() {
            return Some(Plan { requeue: between(self.exact, until), ..self.keep() });
        }
        match self.made_by(attempt) {
            ControlFlow::Break(plan) => Some(plan),
            ControlFlow::Continue(Found::Ours(account)) => Some(self.record(&account)),
            ControlFlow::Continue(Found::Unread(unique_id)) => {
                Some(Plan { next: Next::NeedUse { unique_id }, ..self.keep() })
            }
            // It is not provably ours, and somebody must know of it.
            ControlFlow::Continue(Found::Suspect(ids)) => {
                let message = format!(
                    "{}. The annotation keywheel.dev/abandon lets the object go and leaves it",
                    suspected(attempt, &ids)
                );
                Some(self.deletion_waits(Reason::AccountSuspect, message, self.timing.retry_cap))
            }
            ControlFlow::Continue(Found::Nothing) => {
                // One that stays is no less ours to know of.
                let until = up_to_the_minute(self.open_until(attempt)?);
                let message = format!(
                    "The answer to the creation of an account was lost: it may show itself until {until:.0}. Let the object go at \
                     once with the annotation keywheel.dev/abandon"
                );
                Some(self.deletion_waits(Reason::Deleting, message, self.timing.settle))
            }
        }
    }

    /// Whether keys are to be let in by basic auth; `None` where the spec does not say.
    pub(super) fn wants_basic_auth(&self) -> Option<bool> {
        self.obs.spec.disruptive.as_ref().and_then(|own| own.basic_auth)
    }
}
