//! Roles of an account: it is a member in the policies of others. Only what this object bound is ever taken back, and that is
//! written down before it is bound. A change whose answer was lost may still arrive, and a read may show what was before: what
//! is written down is forgotten only once neither can be.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;

use super::asked_roles::{asked, one_of_two, refused};
use super::plan::Table;
use super::{Account, Grants, Next, Plan, Step};
use crate::api::v1alpha1::{AccountOrigin, BoundRole, ServiceAccountStatus};
use crate::defect;
use crate::domain::conditions::{self, Conditions, Is, READY, ROLES_BOUND};
use crate::domain::schedule::{add, between};
use crate::domain::{Class, Event, Reason, Trouble, left_alone};

/// Roles that are written down at most: twice what a spec can ask for.
const MOST: usize = 100;

/// What the policy of one resource says of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// The resource.
    pub resource: String,
    /// What it says, or why it cannot be read.
    pub told: Result<Membership, Trouble>,
    /// The change of this reconcile that it is the answer to: it is as new as can be then. No older change can arrive, unless a
    /// policy has no version (`Capabilities::one_role`).
    pub answers: Option<PolicyChange>,
}

/// The account in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Bindings that have the account as a member.
    pub held: Vec<BoundRole>,
    /// Bindings that have this very account as one that was deleted.
    pub ghosts: Vec<BoundRole>,
}

/// A change to the policy of one resource. What it says already is no change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The resource.
    pub resource: String,
    /// E-mail of the account.
    pub email: String,
    /// Its unique id: a deleted account of this e-mail with another one is somebody else's.
    pub unique_id: String,
    /// Bindings that it becomes a member of.
    pub add: Vec<BoundRole>,
    /// Bindings that it leaves.
    pub remove: Vec<BoundRole>,
}

/// What is to be done about the roles of an account.
enum Roles {
    /// They are as the spec says. Some that are no longer wanted are still written down, until then.
    Bound(Option<Timestamp>),
    /// The policies of these resources are read.
    Read(Vec<String>),
    /// These are written down, and that a change is about to leave.
    Intend(Vec<BoundRole>),
    /// One policy changes.
    Change(PolicyChange),
    /// They cannot be as the spec says.
    Refused(Reason, String, Option<Duration>),
}

impl Table<'_> {
    /// What is done about the roles of an account of this status. It goes on, with what the status says of them and when they
    /// are looked at again, if there is nothing to be done now.
    pub(super) fn bind(
        &self,
        account: &Account,
        grants: &Grants,
        status: &mut ServiceAccountStatus,
        events: &[Event],
    ) -> ControlFlow<Plan, Option<Duration>> {
        let obs = self.obs;
        if let Some(until) = self.is_left_alone(ROLES_BOUND).filter(|_| obs.done.bind_refused.is_none()) {
            return ControlFlow::Continue(Some(between(self.exact, until)));
        }
        let wanted = self.wanted_roles(account, grants);
        if let Some((reason, message)) = one_of_two(&asked(&obs.spec), grants) {
            // Which of them would be chance.
            Conditions::of(&mut status.conditions, obs.generation, self.now).set(
                ROLES_BOUND,
                Is::False,
                reason,
                message,
            );
            return ControlFlow::Continue(None);
        }
        let roles = self.roles(account, &wanted, status.origin, grants);
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        match roles {
            Roles::Bound(until) => {
                if let Some((reason, message)) = refused(&asked(&obs.spec), grants) {
                    conditions.set(ROLES_BOUND, Is::False, reason, message);
                } else if wanted.is_empty() {
                    conditions.clear(ROLES_BOUND);
                } else {
                    let message = format!("Roles that are bound: {}", wanted.len());
                    conditions.set(ROLES_BOUND, Is::True, Reason::RolesBound, message);
                }
                self.note_bound(status, &wanted, until.is_some(), grants);
                ControlFlow::Continue(until.map(|until| between(self.now, until)))
            }
            Roles::Refused(reason, message, asked) => {
                let until = self.timing.asked_until(self.exact, asked);
                conditions.set(ROLES_BOUND, Is::False, reason, left_alone(&message, until));
                if obs.done.bind_refused.as_ref().is_some_and(|trouble| !trouble.class.is_definite_refusal())
                {
                    // It may arrive later: no refusal that comes after it says otherwise.
                    status.roles_settle_at = Some(add(self.unanswered(), Duration::from_secs(1)));
                }
                ControlFlow::Continue(Some(self.timing.settle.max(self.leave_alone(status, asked))))
            }
            Roles::Intend(all) => {
                let message = format!("{} roles are being bound", wanted.len());
                conditions.set(ROLES_BOUND, Is::False, Reason::RolesPending, message.clone());
                conditions.set(READY, Is::False, Reason::RolesPending, message);
                status.bound_roles = all;
                status.roles_settle_at = Some(self.unanswered());
                let (status, events) = (status.clone(), events.to_vec());
                ControlFlow::Break(Plan { next: Next::Wait, status, requeue: Duration::ZERO, events })
            }
            Roles::Read(resources) => {
                ControlFlow::Break(Plan { next: Next::NeedPolicies { resources }, ..self.keep() })
            }
            Roles::Change(change) => ControlFlow::Break(self.changed(change)),
        }
    }

    /// What is written down once the policies say what they should. `lingers`: what is no longer wanted may still show itself.
    fn note_bound(
        &self,
        status: &mut ServiceAccountStatus,
        wanted: &[BoundRole],
        lingers: bool,
        grants: &Grants,
    ) {
        if !lingers {
            status.bound_roles.retain(|role| wanted.contains(role));
        }
        if status.origin == Some(AccountOrigin::Created) {
            let recorded = &mut status.bound_roles;
            let missing: Vec<_> = wanted.iter().filter(|role| !recorded.contains(role)).cloned().collect();
            recorded.extend(missing);
        }
        let views = self.obs.policies.as_deref().unwrap_or_default();
        let all_answered = !views.is_empty() && views.iter().all(|view| view.answers.is_some());
        if all_answered && !grants.can.one_role {
            // Nothing is under way any more; reads may lag.
            status.roles_settle_at = Some(add(self.now, self.timing.list_lag));
        }
        let all_read = views.iter().all(|view| view.told.is_ok());
        if grants.can.one_role
            && all_read
            && !lingers
            && status.roles_settle_at.is_some_and(|at| at <= self.now)
        {
            status.roles_settle_at = None;
        }
        if status.bound_roles.is_empty() {
            status.roles_settle_at = None;
        }
    }

    fn roles(
        &self,
        account: &Account,
        wanted: &[BoundRole],
        origin: Option<AccountOrigin>,
        grants: &Grants,
    ) -> Roles {
        let obs = self.obs;
        let recorded = &obs.status.bound_roles;
        if wanted.is_empty() && recorded.is_empty() {
            return Roles::Bound(None);
        }
        let unsettled = obs.status.roles_settle_at.filter(|at| *at > self.now);
        let lingering = |role: &&BoundRole| !wanted.contains(role);
        let settled = obs.status.observed_generation == obs.generation
            && !conditions::is(&obs.status.conditions, ROLES_BOUND, Is::False)
            && (wanted.is_empty() || conditions::is(&obs.status.conditions, ROLES_BOUND, Is::True));
        // A change of a member carries no version: one whose answer was lost can arrive after another one that was answered, and
        // what it did is seen once that is over.
        let one_role = grants.can.one_role;
        let overdue = one_role && unsettled.is_none() && obs.status.roles_settle_at.is_some();
        let lingers = unsettled.filter(|_| one_role || recorded.iter().any(|role| lingering(&role)));
        let rests = !overdue && !recorded.iter().any(|role| lingering(&role));
        if settled && !obs.census_due && (lingers.is_some() || rests) {
            return Roles::Bound(lingers);
        }
        if let Some(trouble) = &obs.done.bind_refused {
            return Roles::Refused(trouble.class.reason(), trouble.message.clone(), trouble.retry_after);
        }
        let mut all = recorded.clone();
        all.extend(wanted.iter().filter(|role| !recorded.contains(role)).cloned());
        let Some(views) = &obs.policies else { return Roles::Read(resources(&all)) };
        // First and alone what goes: a role that cannot be bound must not keep another one.
        // An organization has no such change: there the one goes first.
        let replaced = |view: &PolicyView| {
            grants.can.one_role && view.resource.starts_with("projects/") && !on(wanted, view).is_empty()
        };
        let mut leave = views.iter().filter(|view| !replaced(view)).filter_map(|view| {
            let held = readable(view, wanted)?.held;
            let mut remove = if defect!(ForeignRoleTaken) { held.clone() } else { on(recorded, view) };
            remove.retain(|role| held.contains(role) && !wanted.contains(role));
            (!remove.is_empty()).then(|| change(account, view, Vec::new(), remove))
        });
        if let Some(change) = leave.next() {
            return self.intended(change, &[]);
        }
        for view in views {
            let Some(membership) = readable(view, wanted) else { continue };
            let mut add = on(wanted, view);
            add.retain(|role| !membership.held.contains(role));
            let Some(first) = add.first() else { continue };
            if view.answers.as_ref().is_some_and(|change| change.add.contains(first)) {
                let message = format!(
                    "The backend took {} on {} and shows it in another form. Write role and condition as it shows them",
                    first.role, first.resource
                );
                return Roles::Refused(Reason::RequestRefused, message, None);
            }
            let theirs = |role: &&BoundRole| grants.can.one_role && !recorded.contains(role);
            if let Some(theirs) = membership.held.iter().find(theirs).filter(|_| !defect!(MemberTaken)) {
                // Nothing is written down for what cannot be sent.
                let message = format!(
                    "{}: the account has {} there, which this object did not give it, and can have one role only. Remove \
                     that membership, or list that role",
                    view.resource, theirs.role
                );
                return Roles::Refused(Reason::PreconditionFailed, message, None);
            }
            // One that can only be replaced leaves with the same change.
            let mut remove = on(recorded, view);
            remove.retain(|role| replaced(view) && membership.held.contains(role) && !wanted.contains(role));
            // On an account that others made, what is there already is theirs.
            let ours = if origin == Some(AccountOrigin::Created) { wanted.to_vec() } else { add.clone() };
            return self.intended(change(account, view, add, remove), &ours);
        }
        let mut troubles = views.iter().filter(|view| readable(view, wanted).is_none());
        if let Some((view, trouble)) = troubles.find_map(|view| Some((view, view.told.as_ref().err()?))) {
            // Looked at again another time.
            if settled && trouble.class.is_passing() {
                let wait = self.timing.settle.max(trouble.retry_after.unwrap_or_default());
                let again = Some(add(self.now, wait)).filter(|_| overdue);
                return Roles::Bound(lingers.or(again));
            }
            let message = format!("The policy of {} cannot be read: {}", view.resource, trouble.message);
            return Roles::Refused(trouble.class.reason(), message, trouble.retry_after);
        }
        // What our own change took away cannot come back; what a read does not show may.
        let answered = |role: &&BoundRole| {
            views.iter().any(|view| view.resource == role.resource && view.answers.is_some())
        };
        let open = recorded.iter().filter(lingering).any(|role| !answered(&role)) && !defect!(RoleForgotten);
        Roles::Bound(unsettled.filter(|_| open || one_role))
    }

    /// A change leaves within SETTLE of its intent, in which all that it adds is written down.
    fn intended(&self, change: PolicyChange, ours: &[BoundRole]) -> Roles {
        let status = &self.obs.status;
        let mut all = status.bound_roles.clone();
        all.extend(ours.iter().filter(|role| !status.bound_roles.contains(role)).cloned());
        if all.len() > MOST {
            let message =
                format!("{} roles are still being taken back: the others wait", status.bound_roles.len());
            return Roles::Refused(Reason::RolesPending, message, None);
        }
        let fresh = status.roles_settle_at.is_some_and(|at| self.unanswered() <= add(at, self.timing.settle));
        let intended = fresh && all == status.bound_roles || defect!(RoleUnrecorded);
        if intended { Roles::Change(change) } else { Roles::Intend(all) }
    }

    pub(super) fn changed(&self, change: PolicyChange) -> Plan {
        let note = format!("Roles of {} on {} are changed as the spec says", change.email, change.resource);
        let events = vec![Event::normal(Reason::AccountUpdated, note)];
        Plan { events, ..self.act(Step::Bind(change)) }
    }

    /// By when a change whose intent is written now has taken effect and shows, whatever became of its answer.
    pub(super) fn unanswered(&self) -> Timestamp {
        let timing = self.timing;
        add(self.now, timing.settle + timing.send_window + timing.horizon + timing.list_lag)
    }
}

pub(super) fn change(
    account: &Account,
    view: &PolicyView,
    add: Vec<BoundRole>,
    remove: Vec<BoundRole>,
) -> PolicyChange {
    PolicyChange {
        resource: view.resource.clone(),
        email: account.email.clone(),
        unique_id: account.unique_id.clone(),
        add,
        remove,
    }
}

/// What a policy says. Of something that is gone, where nothing is wanted: nothing.
pub(super) fn readable(view: &PolicyView, wanted: &[BoundRole]) -> Option<Membership> {
    match &view.told {
        Ok(membership) => Some(membership.clone()),
        Err(trouble) if trouble.class == Class::NotFound && on(wanted, view).is_empty() => {
            Some(Membership::default())
        }
        Err(_) => None,
    }
}

pub(super) fn on(roles: &[BoundRole], view: &PolicyView) -> Vec<BoundRole> {
    roles.iter().filter(|role| role.resource == view.resource).cloned().collect()
}

pub(super) fn resources(roles: &[BoundRole]) -> Vec<String> {
    let mut resources: Vec<String> = roles.iter().map(|role| role.resource.clone()).collect();
    resources.sort();
    resources.dedup();
    resources
}
