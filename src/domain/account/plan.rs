//! The decisions about an account, first match wins.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;

use super::sharing::Hold;
use super::sweep::{Sweep, Swept, sweep};
use super::{Account, Grants, Next, Observation, Plan, Step};
use super::{asked_roles, capability, noted, services, unmanaged};
use crate::api::v1alpha1::{AccountOrigin, AdoptionPolicy, ServiceAccountStatus, UnmanagedKeys};
use crate::domain::conditions::{
    self, ACCOUNT_SHARED, CONFIG_MAPS_PUBLISHED, Conditions, Is, READY, RECONCILING, ROLES_BOUND,
    SERVICES_ENABLED, STALLED,
};
use crate::domain::names::{join_mark, split_mark};
use crate::domain::schedule::{add, audit_wait, between, whole_second_before};
use crate::domain::{Event, Reason, Timing, Trouble, left_alone};

/// What the backend finds the account by: its e-mail where the spec names one, else its id, which is the object's name where the
/// backend lets us choose. No id has an `@`.
pub fn handle(obs: &Observation) -> &str {
    let named = obs.spec.email.as_deref().or(obs.spec.account_id.as_deref());
    let known = || obs.status.unique_id.as_deref().or(noted::id(obs)).filter(|_| !chooses_ids(obs));
    named.or_else(known).unwrap_or(&obs.name)
}

/// Whether we choose the ids of accounts, as far as the backend is known.
pub(super) fn chooses_ids(obs: &Observation) -> bool {
    obs.backend.as_ref().ok().is_none_or(|grants| grants.can.chosen_ids)
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
    let table = Table { obs, now: whole_second_before(now), exact: now, timing };
    if obs.deleting { table.deleting() } else { table.living() }
}

pub(super) struct Table<'a> {
    pub(super) obs: &'a Observation,
    /// In whole seconds, as the status has it.
    pub(super) now: Timestamp,
    /// To come not too early.
    pub(super) exact: Timestamp,
    pub(super) timing: &'a Timing,
}

impl Table<'_> {
    fn living(&self) -> Plan {
        let obs = self.obs;
        if !obs.has_finalizer {
            return self.act(Step::AddFinalizer);
        }
        let id = handle(obs);
        let chosen = chooses_ids(obs);
        let grants = match &obs.backend {
            Ok(grants) => grants,
            Err((reason, message)) => return self.waiting(*reason, message.clone()),
        };
        if obs.spec.email.is_none() && chosen && !is_account_id(id) {
            let message = format!(
                "{id:?} is no account id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter \
                 and not ending with a hyphen. Set spec.accountId in a new object"
            );
            return self.stalled(Reason::InvalidSpec, message);
        }
        if let Some((reason, message)) =
            capability::lacking(&obs.spec, &grants.can, obs.status.unique_id.is_some())
        {
            return self.stalled(reason, message);
        }
        if let Err(pattern) = &grants.account_id {
            let message = format!(
                "The backend lets this namespace have account ids that match {pattern}; {id} does not"
            );
            return self.stalled(Reason::AccountIdNotAllowed, message);
        }
        // Nothing is made for what cannot be; an account that is there is looked after.
        let refused = asked_roles::refused(&asked_roles::asked(&obs.spec), grants)
            .or_else(|| services::refused(&obs.spec.services, grants));
        if let Some((reason, message)) = refused.filter(|_| obs.status.unique_id.is_none()) {
            return self.stalled(reason, message);
        }
        if let Some(trouble) = &obs.refused {
            let mut plan = self.failed(&self.with_way_out(trouble));
            if trouble.class.is_definite_refusal() {
                plan.status.creating = None;
            }
            return plan;
        }
        if let Some(until) = self.backing_off() {
            return Plan { requeue: between(self.exact, until), ..self.keep() };
        }
        let named = obs.spec.email.is_some() || obs.spec.account_id.is_some() || noted::id(obs).is_some();
        if !chosen && !named && obs.status.unique_id.is_none() {
            return self.creating(&grants.can);
        }
        match &obs.account {
            None => Plan { next: Next::NeedAccount, ..self.keep() },
            Some(Err(trouble)) => self.failed(trouble),
            Some(Ok(None)) => self.absent(),
            Some(Ok(Some(account))) => self.present(account, grants),
        }
    }

    /// After a failure the next try waits, unless the spec was changed since.
    pub(super) fn backing_off(&self) -> Option<Timestamp> {
        let status = &self.obs.status;
        let same_spec = status.observed_generation == self.obs.generation;
        let failed = status.last_failure_time.filter(|_| same_spec)?;
        let until = add(failed, self.timing.retry(status.failures)).max(status.retry_after.unwrap_or(failed));
        Some(until).filter(|until| *until > self.exact)
    }

    /// Until when something of which a condition says that it was refused for a quota is left alone, as the backend asked.
    pub(super) fn is_left_alone(&self, type_: &str) -> Option<Timestamp> {
        let status = &self.obs.status;
        let told = conditions::find(&status.conditions, type_)?;
        let same_spec = status.observed_generation == self.obs.generation;
        let throttled = same_spec && told.reason == Reason::BackendThrottled.as_str();
        status.retry_after.filter(|until| throttled && *until > self.exact)
    }

    /// What was refused is tried again no sooner than the backend asked.
    pub(super) fn leave_alone(&self, status: &mut ServiceAccountStatus, asked: Option<Duration>) -> Duration {
        let until = self.timing.asked_until(self.exact, asked);
        status.retry_after = status.retry_after.max(until);
        until.map_or(Duration::ZERO, |until| between(self.exact, until))
    }

    fn absent(&self) -> Plan {
        let obs = self.obs;
        let fresh = |at: &Timestamp| between(*at, self.now) <= self.timing.list_lag;
        if obs.status.unique_id.is_some() && obs.status.created_at.as_ref().is_some_and(fresh) {
            // Reads lag behind writes.
            return Plan { requeue: self.timing.settle, ..self.keep() };
        }
        if let Some(plan) = self.restored() {
            return plan;
        }
        if obs.spec.undelete.is_none() && obs.status.restoring.as_ref().is_some_and(|asked| asked.done) {
            let status = ServiceAccountStatus { restoring: None, ..obs.status.clone() };
            return Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() };
        }
        if let Some(unique_id) = &obs.status.unique_id {
            let undelete = obs.backend.as_ref().is_ok_and(|grants| grants.can.undelete);
            let again = if obs.status.restoring.as_ref().is_some_and(|r| r.done && r.unique_id == *unique_id)
            {
                "It was brought back once; for another time take undelete out of the spec and put it in again, or \
                 delete"
                    .to_owned()
            } else if undelete {
                format!("Have it brought back with undelete: {unique_id:?}, or delete")
            } else {
                "Delete".to_owned()
            };
            let message = format!(
                "The account {} ({unique_id}) is gone. {again} this object and apply it again",
                obs.status.email.as_deref().unwrap_or_default()
            );
            return self.stalled(Reason::AccountGone, message);
        }
        let chosen = chooses_ids(obs);
        if let Some(id) = noted::id(obs).filter(|id| *id == handle(obs)) {
            return self.stalled(Reason::AccountGone, noted::gone(id));
        }
        if obs.spec.email.is_some() || !chosen || obs.spec.adoption_policy == AdoptionPolicy::Required {
            let also =
                if obs.spec.email.is_some() || !chosen { "" } else { ", or set adoptionPolicy: IfExists" };
            let message = format!("There is no account {} to adopt; create it{also}", handle(obs));
            return self.waiting(Reason::AccountNotFound, message);
        }
        if obs.status.created_at.is_none_or(|at| between(at, self.now) > self.timing.settle) {
            // Before the create leaves: whoever ends the object must know that the account may still show itself.
            let status = ServiceAccountStatus { created_at: Some(self.now), ..obs.status.clone() };
            return Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() };
        }
        let description = join_mark(obs.spec.description.as_deref().unwrap_or_default(), &obs.owner_mark);
        let note = format!("Account {} is created", handle(obs));
        let step = Step::Create {
            account_id: handle(obs).to_owned(),
            display_name: obs.spec.display_name.clone().unwrap_or_default(),
            description,
            basic_auth: false,
        };
        Plan { events: vec![Event::normal(Reason::AccountCreated, note)], ..self.act(step) }
    }

    fn present(&self, account: &Account, grants: &Grants) -> Plan {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        let ours = self.is_ours(account, grants);
        if let Some(plan) = self.contended(account, grants, ours) {
            return plan;
        }
        // What is back with a mark was made for an object of this cluster that no longer has it.
        let made = ours || self.is_noted(account, grants) || (self.restores(account) && mark.is_some());
        let origin =
            obs.status.origin.unwrap_or(if made { AccountOrigin::Created } else { AccountOrigin::Adopted });
        let hold = self.hold(account, origin, ours);
        if hold == Hold::Unread {
            return Plan { next: Next::NeedSharers, ..self.keep() };
        }
        let mut status = obs.status.clone();
        let adopted = status.unique_id.is_none() && origin == AccountOrigin::Adopted;
        status.email = Some(account.email.clone());
        status.unique_id = Some(account.unique_id.clone());
        status.resource_name = Some(account.name.clone());
        status.origin = Some(origin);
        self.note_restored(&mut status, account);
        if let Some(plan) = self.noting(account, grants, origin) {
            return plan;
        }
        let mut events = Vec::new();
        if adopted {
            events.push(Event::normal(
                Reason::AccountAdopted,
                format!("Account {} was there and is adopted", account.email),
            ));
        }
        if let Some(step) = self.difference(account, grants, origin, &hold) {
            if adopted {
                // Once it carries our mark it looks like one that we created; and others must see that we have it.
                return Plan { next: Next::Wait, status, requeue: Duration::ZERO, events };
            }
            let note = format!("Account {} is changed as the spec says", account.email);
            return Plan { events: vec![Event::normal(Reason::AccountUpdated, note)], ..self.act(step) };
        }
        if obs.status.unique_id.is_none() && origin == AccountOrigin::Created {
            status.created_at = Some(self.now);
        }
        status.retry_after = obs.status.retry_after.filter(|until| *until > self.exact);
        let due = match self.arranged(account, grants, &mut status, &events) {
            ControlFlow::Break(plan) => return plan,
            ControlFlow::Continue(due) => due,
        };
        status.disabled = Some(account.disabled);
        // Without a mark nobody can tell a person's key from ours, unless all of them are handed to us.
        let told = grants.can.descriptions || obs.spec.unmanaged_keys == UnmanagedKeys::Delete;
        status.exclusive = Some(ours && told && hold == Hold::Alone);
        status.failures = 0;
        status.last_failure_time = None;
        status.observed_generation = obs.generation;
        let (reason, message) = if account.disabled {
            (Reason::AccountDisabled, "The account is disabled, as the spec says: its keys open nothing")
        } else {
            (Reason::AccountReady, "The account is at the backend as the spec says")
        };
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        conditions.clear(STALLED).clear(RECONCILING);
        let needed = [CONFIG_MAPS_PUBLISHED, SERVICES_ENABLED, ROLES_BOUND];
        conditions.set_true_unless(READY, &needed, reason, message);
        match hold {
            // Its keys work, so it is Ready.
            Hold::Shared(message) => conditions.set(ACCOUNT_SHARED, Is::True, Reason::AccountShared, message),
            _ => conditions.clear(ACCOUNT_SHARED),
        };
        let requeue = audit_wait(self.timing, &obs.uid).min(due.unwrap_or(Duration::MAX));
        let rest = Plan { next: Next::Wait, status, requeue, events };
        // What is to be recorded is recorded first.
        if rest.status == obs.status { self.looked_after(account, rest) } else { rest }
    }

    /// Roles, services and what is published: what is next about them, or when they are looked at again.
    fn arranged(
        &self,
        account: &Account,
        grants: &Grants,
        status: &mut ServiceAccountStatus,
        events: &[Event],
    ) -> ControlFlow<Plan, Option<Duration>> {
        let roles = self.bind(account, grants, status, events)?;
        let services = self.enable(grants, status, events)?;
        let registration = self.registered(status)?;
        let documents = self.publish(status, events)?;
        ControlFlow::Continue([roles, services, registration, documents].into_iter().flatten().min())
    }

    /// What force-deleted keys left behind, and the keys that no object owns.
    fn looked_after(&self, account: &Account, rest: Plan) -> Plan {
        let counted = || self.counted(&account.unique_id, &rest);
        match self.swept(&account.unique_id, false) {
            // What is waited for stops nobody from counting.
            Some(waiting) if waiting.next == Next::Wait => {
                let plan = counted().unwrap_or_else(|| rest.clone());
                Plan { requeue: plan.requeue.min(waiting.requeue), ..plan }
            }
            Some(swept) => swept,
            None => counted().unwrap_or(rest),
        }
    }

    /// Once an audit period: how many keys there are, and what becomes of those that no object owns.
    fn counted(&self, unique_id: &str, rest: &Plan) -> Option<Plan> {
        let obs = self.obs;
        let census = match &obs.census {
            None if obs.census_due => {
                // Where the account is ours alone, nobody else in the cluster makes keys on it.
                let everywhere = self.owns_all_keys() || obs.status.exclusive != Some(true);
                return Some(Plan { next: Next::NeedCensus { everywhere }, ..self.keep() });
            }
            // What cannot be listed is listed another time: the keys themselves say so when it matters.
            None | Some(Err(_)) => return None,
            Some(Ok(census)) => census,
        };
        let policy = obs.spec.unmanaged_keys;
        // What is recorded may be an audit period old: an ending rests on what was read now.
        let nobody_else = obs.shared_with.as_ref().is_some_and(Vec::is_empty);
        let exclusive = obs.status.exclusive == Some(true) && nobody_else;
        let ending =
            || unmanaged::ending(policy, census, (unique_id, &obs.done.tried), self.now, self.timing);
        if let Some((step, id)) = exclusive.then(ending).flatten() {
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

    /// What force-deleted keys left behind goes. `None`: there is nothing. `goes`: the account is about to.
    pub(super) fn swept(&self, unique_id: &str, goes: bool) -> Option<Plan> {
        let obs = self.obs;
        let Some(leftovers) = &obs.leftovers else {
            return Some(Plan { next: Next::NeedLeftovers, ..self.keep() });
        };
        let account = Swept { unique_id, goes };
        match sweep(leftovers, &obs.done.ended, account, self.now, self.timing) {
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

    pub(super) fn owns_all_keys(&self) -> bool {
        matches!(self.obs.spec.unmanaged_keys, UnmanagedKeys::Disable | UnmanagedKeys::Delete)
    }

    /// Counts a failure; how long the next try waits.
    pub(super) fn count_failure(&self, status: &mut ServiceAccountStatus, trouble: &Trouble) -> Duration {
        let same_spec = self.obs.status.observed_generation == self.obs.generation;
        status.failures = if same_spec { status.failures.saturating_add(1) } else { 1 };
        status.last_failure_time = Some(self.now);
        status.retry_after = None;
        self.timing.retry(status.failures).max(self.leave_alone(status, trouble.retry_after))
    }

    /// What the backend said, and until when it is left alone.
    pub(super) fn words(&self, trouble: &Trouble) -> String {
        left_alone(&trouble.message, self.timing.asked_until(self.exact, trouble.retry_after))
    }

    pub(super) fn failed(&self, trouble: &Trouble) -> Plan {
        let mut plan = self.waiting(trouble.class.reason(), self.words(trouble));
        plan.requeue = self.count_failure(&mut plan.status, trouble);
        plan
    }

    pub(super) fn stalled(&self, reason: Reason, message: String) -> Plan {
        let mut plan = self.told(reason, message.clone());
        let mut conditions = Conditions::of(&mut plan.status.conditions, self.obs.generation, self.now);
        conditions.set(STALLED, Is::True, reason, message);
        plan
    }

    pub(super) fn waiting(&self, reason: Reason, message: String) -> Plan {
        let mut plan = self.told(reason, message);
        Conditions::of(&mut plan.status.conditions, self.obs.generation, self.now).clear(STALLED);
        plan
    }

    /// Not Ready. Whether a person must change something is not said yet: what is cleared and set again gets another time.
    fn told(&self, reason: Reason, message: String) -> Plan {
        let mut status = self.obs.status.clone();
        status.observed_generation = self.obs.generation;
        Conditions::of(&mut status.conditions, self.obs.generation, self.now)
            .set(READY, Is::False, reason, message)
            .clear(RECONCILING);
        Plan { next: Next::Wait, status, requeue: self.timing.retry_cap, events: Vec::new() }
    }

    pub(super) fn keep(&self) -> Plan {
        let requeue = audit_wait(self.timing, &self.obs.uid);
        Plan { next: Next::Wait, status: self.obs.status.clone(), requeue, events: Vec::new() }
    }

    pub(super) fn act(&self, step: Step) -> Plan {
        Plan { next: Next::Act(step), ..self.keep() }
    }
}
