//! The decisions about an account, first match wins.

use std::time::Duration;

use jiff::Timestamp;

use super::sweep::{Sweep, sweep};
use super::unmanaged;
use super::{Account, Grants, Next, Observation, Plan, Step};
use crate::api::v1alpha1::{
    AccountDeletionPolicy, AccountOrigin, AdoptionPolicy, ServiceAccountStatus, UnmanagedKeys,
};
use crate::domain::conditions::{Conditions, Is, READY, RECONCILING, STALLED};
use crate::domain::names::{join_mark, split_mark};
use crate::domain::schedule::{add, audit_wait, between, whole_second_before};
use crate::domain::{Event, Reason, Timing, Trouble};

/// Id of the account at the backend.
pub fn account_id(obs: &Observation) -> &str {
    obs.spec.account_id.as_deref().unwrap_or(&obs.name)
}

/// Whether a text can be an account id: 6 to 30 lower-case letters, digits, hyphens.
pub fn is_account_id(id: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (6..=30).contains(&id.len())
        && id.chars().all(inner)
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
}

/// Decides one pass.
pub fn plan(obs: &Observation, now: Timestamp, timing: &Timing) -> Plan {
    let table = Table { obs, now: whole_second_before(now), timing };
    if obs.deleting { table.deleting() } else { table.living() }
}

struct Table<'a> {
    obs: &'a Observation,
    now: Timestamp,
    timing: &'a Timing,
}

impl Table<'_> {
    fn living(&self) -> Plan {
        let obs = self.obs;
        if !obs.has_finalizer {
            return self.act(Step::AddFinalizer);
        }
        let id = account_id(obs);
        if !is_account_id(id) {
            let message = format!(
                "{id:?} is no account id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter \
                 and not ending with a hyphen. Set spec.accountId in a new object"
            );
            return self.stalled(Reason::InvalidSpec, message);
        }
        let grants = match &obs.backend {
            Ok(grants) => grants,
            Err((reason, message)) => return self.waiting(*reason, message.clone()),
        };
        if let Err(pattern) = &grants.account_id {
            let message = format!(
                "The backend lets this namespace have account ids that match {pattern}; {id} does not"
            );
            return self.stalled(Reason::AccountIdNotAllowed, message);
        }
        if let Some(trouble) = &obs.refused {
            return self.failed(trouble);
        }
        if let Some(until) = self.backing_off() {
            return Plan { requeue: between(self.now, until), ..self.keep() };
        }
        match &obs.account {
            None => Plan { next: Next::NeedAccount, ..self.keep() },
            Some(Err(trouble)) => self.failed(trouble),
            Some(Ok(None)) => self.absent(),
            Some(Ok(Some(account))) => self.present(account, grants),
        }
    }

    /// After a failure the next try waits, unless the spec was changed since.
    fn backing_off(&self) -> Option<Timestamp> {
        let status = &self.obs.status;
        let same_spec = status.observed_generation == self.obs.generation;
        let failed = status.last_failure_time.filter(|_| same_spec)?;
        Some(add(failed, self.timing.retry(status.failures))).filter(|until| *until > self.now)
    }

    fn absent(&self) -> Plan {
        let obs = self.obs;
        if let Some(unique_id) = &obs.status.unique_id {
            let fresh = obs.status.created_at.is_some_and(|at| between(at, self.now) <= self.timing.list_lag);
            if fresh {
                // Reads lag behind writes.
                return Plan { requeue: self.timing.settle, ..self.keep() };
            }
            let message = format!(
                "The account {} ({unique_id}) is gone. Restore it at the backend, or delete this object and apply \
                 it again",
                obs.status.email.as_deref().unwrap_or_default()
            );
            return self.stalled(Reason::AccountGone, message);
        }
        if obs.spec.adoption_policy == AdoptionPolicy::Required {
            let message = format!(
                "There is no account {} to adopt; create it, or set adoptionPolicy: IfExists",
                account_id(obs)
            );
            return self.waiting(Reason::AccountNotFound, message);
        }
        if obs.status.created_at.is_none_or(|at| between(at, self.now) > self.timing.settle) {
            // Before the create leaves: whoever ends the object must know that the account may still show itself.
            let status = ServiceAccountStatus { created_at: Some(self.now), ..obs.status.clone() };
            return Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() };
        }
        let description = join_mark(obs.spec.description.as_deref().unwrap_or_default(), &obs.owner_mark);
        let note = format!("Account {} is created", account_id(obs));
        let step = Step::Create {
            account_id: account_id(obs).to_owned(),
            display_name: obs.spec.display_name.clone().unwrap_or_default(),
            description,
        };
        Plan { events: vec![Event::normal(Reason::AccountCreated, note)], ..self.act(step) }
    }

    fn present(&self, account: &Account, grants: &Grants) -> Plan {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        let ours = mark == Some(obs.owner_mark.as_str());
        match &obs.status.unique_id {
            Some(known) if *known != account.unique_id => {
                let message = format!(
                    "{} is now another account ({}, was {known}). Delete this object and apply it again",
                    account.email, account.unique_id
                );
                return self.stalled(Reason::AccountRecreated, message);
            }
            None if ours => {}
            None if mark.is_some() => {
                let message = format!(
                    "{} carries the mark of another ServiceAccount object, in this cluster or another: it is not adopted",
                    account.email
                );
                return self.stalled(Reason::AccountExists, message);
            }
            None if obs.spec.adoption_policy == AdoptionPolicy::Never => {
                let also =
                    if grants.adoption { "" } else { ", and have the backend's tenants.adoption allow it" };
                let message = format!(
                    "{} is already there. To take it over set adoptionPolicy: IfExists{also}",
                    account.email
                );
                return self.stalled(Reason::AccountExists, message);
            }
            None if !grants.adoption => {
                let message = format!(
                    "{} is already there, and the backend's tenants.adoption does not let namespaces adopt accounts",
                    account.email
                );
                return self.stalled(Reason::AdoptionNotAllowed, message);
            }
            Some(_) | None => {}
        }
        let origin =
            obs.status.origin.unwrap_or(if ours { AccountOrigin::Created } else { AccountOrigin::Adopted });
        if let Some(step) = self.difference(account, origin) {
            let note = format!("Account {} is changed as the spec says", account.email);
            return Plan { events: vec![Event::normal(Reason::AccountUpdated, note)], ..self.act(step) };
        }
        let mut status = obs.status.clone();
        let adopted = status.unique_id.is_none() && origin == AccountOrigin::Adopted;
        if status.unique_id.is_none() && origin == AccountOrigin::Created {
            status.created_at = Some(self.now);
        }
        status.email = Some(account.email.clone());
        status.unique_id = Some(account.unique_id.clone());
        status.resource_name = Some(account.name.clone());
        status.disabled = Some(account.disabled);
        status.exclusive = Some(ours && (origin == AccountOrigin::Created || self.owns_all_keys()));
        status.origin = Some(origin);
        status.failures = 0;
        status.last_failure_time = None;
        status.observed_generation = obs.generation;
        let (reason, message) = if account.disabled {
            (Reason::AccountDisabled, "The account is disabled, as the spec says: its keys open nothing")
        } else {
            (Reason::AccountReady, "The account is at the backend as the spec says")
        };
        Conditions::of(&mut status.conditions, obs.generation, self.now)
            .set(READY, Is::True, reason, message)
            .clear(STALLED)
            .clear(RECONCILING);
        let mut events = Vec::new();
        if adopted {
            events.push(Event::normal(
                Reason::AccountAdopted,
                format!("Account {} was there and is adopted", account.email),
            ));
        }
        let rest = Plan { next: Next::Wait, status, requeue: audit_wait(self.timing, &obs.uid), events };
        // What is to be recorded is recorded first.
        if rest.status != obs.status {
            return rest;
        }
        self.swept(&account.unique_id).or_else(|| self.counted(&account.unique_id, &rest)).unwrap_or(rest)
    }

    /// Once an audit period: how many keys there are, and what becomes of those that no object owns.
    fn counted(&self, unique_id: &str, rest: &Plan) -> Option<Plan> {
        let obs = self.obs;
        let census = match &obs.census {
            None if obs.census_due => return Some(Plan { next: Next::NeedCensus, ..self.keep() }),
            // What cannot be listed is listed another time: the keys themselves say so when it matters.
            None | Some(Err(_)) => return None,
            Some(Ok(census)) => census,
        };
        let policy = obs.spec.unmanaged_keys;
        let exclusive = obs.status.exclusive == Some(true);
        if let Some((step, id)) =
            unmanaged::ending(policy, exclusive, census, unique_id, self.now, self.timing)
        {
            let note =
                format!("Key {id} is ended: no ServiceAccountKey owns it, and unmanagedKeys is {policy:?}");
            return Some(Plan {
                events: vec![Event::normal(Reason::UnmanagedKeyEnded, note)],
                ..self.act(step)
            });
        }
        let mut status = rest.status.clone();
        unmanaged::report(&mut status, policy, census);
        (status != rest.status).then(|| Plan { status, ..rest.clone() })
    }

    /// What force-deleted keys left behind goes. `None`: there is nothing.
    fn swept(&self, unique_id: &str) -> Option<Plan> {
        let obs = self.obs;
        let Some(leftovers) = &obs.leftovers else {
            return Some(Plan { next: Next::NeedLeftovers, ..self.keep() });
        };
        match sweep(leftovers, &obs.ended_keys, unique_id, self.now, self.timing) {
            Sweep::Clean => None,
            Sweep::NotBefore(due) => Some(Plan { requeue: between(self.now, due), ..self.keep() }),
            Sweep::Act(step) => {
                let note = |key_id| {
                    format!(
                        "Key {key_id} is deleted: its ServiceAccountKey no longer exists, and no Secret publishes it"
                    )
                };
                let events = match &step {
                    Step::DeleteKey { key_id, .. } => vec![Event::normal(Reason::KeyDeleted, note(key_id))],
                    _ => Vec::new(),
                };
                Some(Plan { events, ..self.act(step) })
            }
        }
    }

    /// The same before the account goes or is let go: nobody looks after that.
    fn swept_before_the_end(&self) -> Option<Plan> {
        let obs = self.obs;
        let unique_id = obs.status.unique_id.as_deref().filter(|_| !obs.ended)?;
        let swept = self.swept(unique_id)?;
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
            return Some(Plan { requeue: between(self.now, until), ..self.keep() });
        }
        if swept.next == Next::Wait {
            let message = "A key that a deleted object left behind is ended first";
            return Some(self.deletion_waits(Reason::Deleting, message.to_owned(), swept.requeue));
        }
        Some(swept)
    }

    fn owns_all_keys(&self) -> bool {
        matches!(self.obs.spec.unmanaged_keys, UnmanagedKeys::Disable | UnmanagedKeys::Delete)
    }

    /// What differs from the spec. An adopted account keeps what the spec does not name.
    fn difference(&self, account: &Account, origin: AccountOrigin) -> Option<Step> {
        let spec = &self.obs.spec;
        let (text, mark) = split_mark(&account.description);
        let want_text = match (&spec.description, origin) {
            (Some(text), _) => text.as_str(),
            (None, AccountOrigin::Created) => "",
            (None, AccountOrigin::Adopted) => text,
        };
        let want_mark = match origin {
            AccountOrigin::Created => Some(self.obs.owner_mark.as_str()),
            // To hand all keys of an account to us is to say that nobody else has it.
            AccountOrigin::Adopted if self.owns_all_keys() => Some(self.obs.owner_mark.as_str()),
            AccountOrigin::Adopted => mark,
        };
        let description = want_mark.map_or_else(|| want_text.to_owned(), |mark| join_mark(want_text, mark));
        let display_name = match (&spec.display_name, origin) {
            (Some(name), _) => name.as_str(),
            (None, AccountOrigin::Created) => "",
            (None, AccountOrigin::Adopted) => account.display_name.as_str(),
        };
        let display_name = (display_name != account.display_name).then(|| display_name.to_owned());
        let description = (description != account.description).then_some(description);
        let unique_id = account.unique_id.clone();
        if display_name.is_some() || description.is_some() {
            return Some(Step::Describe { unique_id, display_name, description });
        }
        (account.disabled != spec.disabled)
            .then_some(Step::SetDisabled { unique_id, disabled: spec.disabled })
    }

    fn deleting(&self) -> Plan {
        let obs = self.obs;
        if !obs.has_finalizer {
            return self.keep();
        }
        if obs.abandon {
            let note = format!(
                "Let go by annotation. Left at the backend: {}",
                obs.status.email.as_deref().unwrap_or("no known account")
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
                let message = format!("{} keys refer to this account: {}", keys.len(), shown.join(", "));
                return self.deletion_waits(Reason::WaitingForKeys, message, self.timing.audit);
            }
            Some(_) => {}
        }
        if let Some(swept) = self.swept_before_the_end() {
            return swept;
        }
        let policy = obs.spec.deletion_policy;
        let retained = policy == Some(AccountDeletionPolicy::Retain)
            || (policy.is_none() && obs.status.origin == Some(AccountOrigin::Adopted));
        if retained {
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
            return Plan { requeue: between(self.now, until), ..self.keep() };
        }
        match &obs.account {
            None => Plan { next: Next::NeedAccount, ..self.keep() },
            Some(Err(trouble)) => self.deletion_fails(trouble),
            Some(Ok(None)) => self.absent_for_good(),
            Some(Ok(Some(account))) => self.end(account),
        }
    }

    /// A retained account loses our mark, or no later object could adopt it. Where that cannot be done it goes without: an
    /// account that stays is no reason to hold its object.
    fn let_go(&self) -> Plan {
        let obs = self.obs;
        let reachable = obs.backend.is_ok() && obs.refused.is_none() && obs.status.unique_id.is_some();
        match &obs.account {
            None if reachable => Plan { next: Next::NeedAccount, ..self.keep() },
            Some(Ok(Some(account))) if reachable => {
                self.unmarked(account).unwrap_or_else(|| self.act(Step::RemoveFinalizer))
            }
            _ => self.act(Step::RemoveFinalizer),
        }
    }

    /// Takes our mark off the account.
    fn unmarked(&self, account: &Account) -> Option<Plan> {
        let (text, mark) = split_mark(&account.description);
        let known = self.obs.status.unique_id.as_ref() == Some(&account.unique_id);
        (known && mark == Some(self.obs.owner_mark.as_str())).then(|| {
            let description = Some(text.to_owned());
            let unique_id = account.unique_id.clone();
            self.act(Step::Describe { unique_id, display_name: None, description })
        })
    }

    /// Absence counts only once a read must show the account: not right after its creation, and not while a create
    /// that got no answer may still be applied.
    fn absent_for_good(&self) -> Plan {
        let status = &self.obs.status;
        let until = if status.unique_id.is_some() {
            status.created_at.map(|at| add(at, self.timing.list_lag))
        } else {
            let failed = status.last_failure_time.filter(|_| status.failures > 0);
            // The create leaves within SETTLE of its intent, takes effect within H, and shows within LAG.
            let timing = self.timing;
            let whole = timing.settle + timing.send_window + timing.horizon + timing.list_lag;
            status.created_at.max(failed).map(|at| add(at, whole))
        };
        match until.filter(|until| *until > self.now) {
            None => self.act(Step::RemoveFinalizer),
            Some(until) => {
                let message = format!(
                    "The backend does not show the account; a create may still be under way until {until:.0}. Let the \
                     object go at once with the annotation keywheel.dev/abandon"
                );
                self.deletion_waits(Reason::Deleting, message, self.timing.settle)
            }
        }
    }

    fn end(&self, account: &Account) -> Plan {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        let ours = match &obs.status.unique_id {
            Some(known) => *known == account.unique_id,
            None => mark == Some(obs.owner_mark.as_str()),
        };
        let unique_id = account.unique_id.clone();
        match obs.spec.deletion_policy {
            _ if !ours => self.act(Step::RemoveFinalizer),
            Some(AccountDeletionPolicy::Retain) => self.let_go(),
            Some(AccountDeletionPolicy::Disable) if account.disabled => {
                self.unmarked(account).unwrap_or_else(|| self.act(Step::RemoveFinalizer))
            }
            Some(AccountDeletionPolicy::Disable) => self.act(Step::SetDisabled { unique_id, disabled: true }),
            Some(AccountDeletionPolicy::Delete) | None => {
                let note = format!("Account {} is deleted", account.email);
                let events = vec![Event::normal(Reason::AccountDeleted, note)];
                Plan { events, ..self.act(Step::Delete { unique_id }) }
            }
        }
    }

    fn deletion_waits(&self, reason: Reason, message: String, requeue: Duration) -> Plan {
        let mut status = self.obs.status.clone();
        status.observed_generation = self.obs.generation;
        Conditions::of(&mut status.conditions, self.obs.generation, self.now)
            .set(READY, Is::False, reason, message)
            .set(RECONCILING, Is::True, Reason::Deleting, "The object is being deleted");
        Plan { next: Next::Wait, status, requeue, events: Vec::new() }
    }

    fn deletion_fails(&self, trouble: &Trouble) -> Plan {
        let mut plan = self.deletion_waits(trouble.class.reason(), trouble.message.clone(), Duration::ZERO);
        self.count_failure(&mut plan.status);
        plan.requeue = self.timing.retry(plan.status.failures);
        plan
    }

    fn count_failure(&self, status: &mut ServiceAccountStatus) {
        let same_spec = self.obs.status.observed_generation == self.obs.generation;
        status.failures = if same_spec { status.failures.saturating_add(1) } else { 1 };
        status.last_failure_time = Some(self.now);
    }

    fn failed(&self, trouble: &Trouble) -> Plan {
        let mut plan = self.waiting(trouble.class.reason(), trouble.message.clone());
        self.count_failure(&mut plan.status);
        plan.requeue = self.timing.retry(plan.status.failures);
        plan
    }

    fn stalled(&self, reason: Reason, message: String) -> Plan {
        let mut plan = self.waiting(reason, message.clone());
        Conditions::of(&mut plan.status.conditions, self.obs.generation, self.now).set(
            STALLED,
            Is::True,
            reason,
            message,
        );
        plan
    }

    fn waiting(&self, reason: Reason, message: String) -> Plan {
        let mut status = self.obs.status.clone();
        status.observed_generation = self.obs.generation;
        Conditions::of(&mut status.conditions, self.obs.generation, self.now)
            .set(READY, Is::False, reason, message)
            .clear(STALLED)
            .clear(RECONCILING);
        Plan { next: Next::Wait, status, requeue: self.timing.retry_cap, events: Vec::new() }
    }

    fn keep(&self) -> Plan {
        let requeue = audit_wait(self.timing, &self.obs.uid);
        Plan { next: Next::Wait, status: self.obs.status.clone(), requeue, events: Vec::new() }
    }

    fn act(&self, step: Step) -> Plan {
        Plan { next: Next::Act(step), requeue: Duration::ZERO, ..self.keep() }
    }
}
