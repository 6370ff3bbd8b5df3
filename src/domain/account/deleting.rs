//! An account whose object is being deleted: what ends first, what stays, what is waited for.

use std::time::Duration;

use super::plan::{Table, chooses_ids, handle};
use super::{Account, Content, Grants, Next, Plan, Step, noted};
use crate::api::v1alpha1::{AccountDeletionPolicy, AccountOrigin};
use crate::defect;
use crate::domain::conditions::{Conditions, Is, READY, RECONCILING};
use crate::domain::names::split_mark;
use crate::domain::schedule::{add, between};
use crate::domain::{Event, Reason, Trouble};

impl Table<'_> {
    pub(super) fn deleting(&self) -> Plan {
        let obs = self.obs;
        if !obs.has_finalizer {
            return self.keep();
        }
        if obs.abandon {
            let note = format!(
                "Let go by annotation. Left at the backend: {}",
                obs.status
                    .email
                    .clone()
                    .or(self.unrecorded())
                    .or(noted::id(obs).map(str::to_owned))
                    .unwrap_or_else(|| "no known account".to_owned())
            );
            return Plan {
                events: vec![Event::warning(Reason::Abandoned, note)],
                ..self.act(Step::RemoveFinalizer)
            };
        }
        match &obs.keys {
            None => return Plan { next: Next::NeedKeys, ..self.keep() },
            Some(keys) if !keys.is_empty() => {
                let shown: Vec<&str> = keys.iter().take(10).map(String::as_str).collect();
                let message = format!(
                    "ServiceAccountKeys refer to this account, and go first: delete {} ({} in all)",
                    shown.join(", "),
                    keys.len()
                );
                return self.deletion_waits(Reason::WaitingForKeys, message, self.timing.audit);
            }
            Some(_) => {}
        }
        if let Some(swept) = self.swept_before_the_end() {
            return swept;
        }
        if let Some(plan) = self.found_before_the_end().filter(|_| obs.status.unique_id.is_none()) {
            return plan;
        }
        if self.is_retained() {
            return self.let_go();
        }
        if obs.ended {
            return self.act(Step::RemoveFinalizer);
        }
        if let Err((reason, message)) = &obs.backend {
            let nothing_begun = obs.status.unique_id.is_none() && obs.status.created_at.is_none();
            return if nothing_begun && *reason == Reason::BackendNotFound {
                // Without a backend nothing can have been created.
                self.act(Step::RemoveFinalizer)
            } else {
                self.deletion_waits(*reason, message.clone(), self.timing.retry_cap)
            };
        }
        if let Some(trouble) = &obs.refused {
            return self.deletion_fails(trouble);
        }
        if let Some(until) = self.backing_off() {
            return Plan { requeue: between(self.exact, until), ..self.keep() };
        }
        // Nothing was made: it has no id to be asked by.
        let unmade = !chooses_ids(obs) && obs.status.unique_id.is_none() && handle(obs) == obs.name;
        match &obs.account {
            None if unmade => self.act(Step::RemoveFinalizer),
            None => Plan { next: Next::NeedAccount, ..self.keep() },
            Some(Err(trouble)) => self.deletion_fails(trouble),
            Some(Ok(None)) => self.absent_for_good(),
            Some(Ok(Some(account))) => self.end(account),
        }
    }

    /// Whether the account outlives its object.
    fn is_retained(&self) -> bool {
        let policy = self.obs.spec.deletion_policy;
        // An account that was named by its e-mail was there before, and stays.
        let named = self.obs.spec.email.is_some() && policy != Some(AccountDeletionPolicy::Disable);
        policy == Some(AccountDeletionPolicy::Retain)
            || named
            || (policy.is_none() && self.obs.status.origin == Some(AccountOrigin::Adopted))
    }

    /// Whether the account goes with its object. One that is disabled stays, with its keys.
    fn is_deleted(&self) -> bool {
        !self.is_retained() && self.obs.spec.deletion_policy != Some(AccountDeletionPolicy::Disable)
    }

    /// The same before the account goes or is let go: nobody looks after that.
    fn swept_before_the_end(&self) -> Option<Plan> {
        let obs = self.obs;
        let unique_id = obs.status.unique_id.as_deref().filter(|_| !obs.ended)?;
        let swept = self.swept(unique_id, self.is_deleted())?;
        if swept.next == Next::NeedLeftovers {
            return Some(swept);
        }
        if let Err((reason, message)) = &obs.backend {
            return Some(self.deletion_waits(*reason, message.clone(), self.timing.retry_cap));
        }
        if let Some(trouble) = &obs.refused {
            return Some(self.deletion_fails(trouble));
        }
        if let Some(until) = self.backing_off() {
            return Some(Plan { requeue: between(self.exact, until), ..self.keep() });
        }
        if swept.next == Next::Wait {
            let left = obs.leftovers.iter().flatten();
            let unsearched = left.clone().any(|l| l.content == Content::Unsearched);
            let names: Vec<&str> = left.map(|l| l.name.as_str()).collect();
            let why = if unsearched {
                ": a ServiceAccountKey here is malformed, or the account's keys cannot be read"
            } else {
                ""
            };
            let message = format!(
                "A deleted key left staging Secrets ({}), whose keys are ended first{why}. The annotation \
                 keywheel.dev/abandon lets the object go without",
                names.join(", ")
            );
            return Some(self.deletion_waits(Reason::Deleting, message, swept.requeue));
        }
        Some(swept)
    }

    /// A retained account loses our mark, or no later object could adopt it. Where that cannot be done it goes without: an
    /// account that stays is no reason to hold its object.
    fn let_go(&self) -> Plan {
        let obs = self.obs;
        let reachable = obs.backend.is_ok() && obs.refused.is_none() && obs.status.unique_id.is_some();
        match &obs.account {
            None if reachable => Plan { next: Next::NeedAccount, ..self.keep() },
            // What somebody made again under its e-mail is none of ours.
            Some(Ok(Some(account)))
                if reachable && obs.status.unique_id.as_ref() == Some(&account.unique_id) =>
            {
                self.left(account)
            }
            _ => self.act(Step::RemoveFinalizer),
        }
    }

    /// An account that stays loses what its object bound and no longer wants, then our mark.
    fn left(&self, account: &Account) -> Plan {
        let unbound = || self.unbound(account, false);
        unbound().or_else(|| self.unmarked(account)).unwrap_or_else(|| self.act(Step::RemoveFinalizer))
    }

    /// Takes our mark off the account.
    fn unmarked(&self, account: &Account) -> Option<Plan> {
        let (text, mark) = split_mark(&account.description);
        let known = self.obs.status.unique_id.as_ref() == Some(&account.unique_id);
        (known && mark == Some(self.obs.owner_mark.as_str())).then(|| {
            let description = Some(text.to_owned());
            let unique_id = account.unique_id.clone();
            self.act(Step::Describe { unique_id, display_name: None, description, basic_auth: None })
        })
    }

    /// Absence counts only once a read must show the account: not right after its creation, and not while a create
    /// that got no answer may still be applied.
    fn absent_for_good(&self) -> Plan {
        let status = &self.obs.status;
        let until = if status.unique_id.is_some() {
            status.created_at.map(|at| add(at, self.timing.list_lag))
        } else {
            // The create leaves within SETTLE of its intent, takes effect within H, and shows within LAG.
            let timing = self.timing;
            let whole = timing.settle + timing.send_window + timing.horizon + timing.list_lag;
            status.created_at.max(status.last_failure_time).map(|at| add(at, whole))
        };
        // One that is being brought back shows itself as late as one that is created.
        let asked = status.restoring.as_ref().filter(|asked| !asked.done).map(|asked| {
            let timing = self.timing;
            add(asked.asked_at, timing.settle + timing.send_window + timing.horizon + timing.list_lag)
        });
        match until.max(asked).filter(|until| *until > self.now) {
            None => self.unhaunted().unwrap_or_else(|| self.act(Step::RemoveFinalizer)),
            Some(until) => {
                let message = format!(
                    "The backend does not show the account; a create may still be under way until {until:.0}. Let the \
                     object go at once with the annotation keywheel.dev/abandon"
                );
                self.deletion_waits(Reason::Deleting, message, self.timing.settle)
            }
        }
    }

    /// An account that other objects have, too, loses what this one bound and no longer wants.
    fn left_to(&self, account: &Account, others: &[String]) -> Plan {
        let why = format!("other ServiceAccount objects have it: {}", others.join(", "));
        self.unbound(account, false).unwrap_or_else(|| self.left_behind(account, &why))
    }

    /// Lets the object go without its account, and says so.
    fn left_behind(&self, account: &Account, why: &str) -> Plan {
        let note =
            format!("Account {} stays at the backend, with what it may do there: {why}", account.email);
        Plan { events: vec![Event::warning(Reason::Abandoned, note)], ..self.act(Step::RemoveFinalizer) }
    }

    fn end(&self, account: &Account) -> Plan {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        let noted = |grants: &Grants| grants.account_id.is_ok() && self.is_noted(account, grants);
        let ours = match &obs.status.unique_id {
            Some(known) => *known == account.unique_id,
            None => mark == Some(obs.owner_mark.as_str()) || obs.backend.as_ref().is_ok_and(noted),
        };
        let unique_id = account.unique_id.clone();
        let shared = obs.shared_with.as_deref().filter(|_| !self.marks());
        match obs.spec.deletion_policy {
            _ if !ours && obs.status.unique_id.is_none() && self.is_own_note() => {
                let why = "the object's status was lost, and its annotation counts only where the backend lets this \
                           namespace adopt that account";
                self.left_behind(account, why)
            }
            // Another one under its e-mail.
            _ if !ours => self.act(Step::RemoveFinalizer),
            Some(AccountDeletionPolicy::Delete) | None if !self.marks() && shared.is_none() => {
                Plan { next: Next::NeedSharers, ..self.keep() }
            }
            Some(AccountDeletionPolicy::Delete) | None if shared.is_some_and(|others| !others.is_empty()) => {
                self.left_to(account, shared.unwrap_or_default())
            }
            Some(AccountDeletionPolicy::Retain) => self.let_go(),
            Some(AccountDeletionPolicy::Disable) if account.disabled => self.left(account),
            Some(AccountDeletionPolicy::Disable) => self.act(Step::SetDisabled { unique_id, disabled: true }),
            Some(AccountDeletionPolicy::Delete) | None => {
                if let Some(plan) = self.unbound(account, true).filter(|_| !defect!(RolesOutlive)) {
                    return plan;
                }
                let note = format!("Account {} is deleted", account.email);
                let events = vec![Event::normal(Reason::AccountDeleted, note)];
                Plan { events, ..self.act(Step::Delete { unique_id }) }
            }
        }
    }

    pub(super) fn deletion_waits(&self, reason: Reason, message: String, requeue: Duration) -> Plan {
        let mut status = self.obs.status.clone();
        status.observed_generation = self.obs.generation;
        Conditions::of(&mut status.conditions, self.obs.generation, self.now)
            .set(READY, Is::False, reason, message)
            .set(RECONCILING, Is::True, Reason::Deleting, "The object is being deleted");
        Plan { next: Next::Wait, status, requeue, events: Vec::new() }
    }

    pub(super) fn deletion_fails(&self, trouble: &Trouble) -> Plan {
        let mut plan = self.deletion_waits(trouble.class.reason(), self.words(trouble), Duration::ZERO);
        plan.requeue = self.count_failure(&mut plan.status, trouble);
        plan
    }
}
