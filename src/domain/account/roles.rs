//! Roles of an account: it is a member in the policies of others. Only what this object bound is ever taken back, and that is
//! written down before it is bound. A change whose answer was lost may still arrive, and a read may show what was before: what
//! is written down is forgotten only once neither can be.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan::Table;
use super::{Account, Grants, Next, Plan, Step};
use crate::api::v1alpha1::{AccountOrigin, BoundRole, RoleBinding, ServiceAccountSpec, ServiceAccountStatus};
use crate::defect;
use crate::domain::conditions::{self, Conditions, Is, READY, ROLES_BOUND};
use crate::domain::schedule::{add, between};
use crate::domain::{Class, Event, Reason, Trouble, left_alone, names};

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

/// All that a spec asks for.
pub(super) fn asked(spec: &ServiceAccountSpec) -> Vec<RoleBinding> {
    let memberships = spec.disruptive.iter().flat_map(|own| &own.memberships);
    let memberships = memberships.map(|membership| RoleBinding {
        role: membership.role.clone(),
        resource: Some(membership.resource()),
        condition: None,
    });
    spec.roles.iter().cloned().chain(memberships).collect()
}

/// Why a role may not be asked for.
pub(super) fn refused(roles: &[RoleBinding], grants: &Grants) -> Option<(Reason, String)> {
    roles.iter().find_map(|binding| refusal(binding, grants)).or_else(|| one_of_two(roles, grants))
}

/// Two roles where there can be one.
fn one_of_two(roles: &[RoleBinding], grants: &Grants) -> Option<(Reason, String)> {
    let project = format!("projects/{}", grants.project);
    let on = |binding: &RoleBinding| binding.resource.clone().unwrap_or_else(|| project.clone());
    let second = |(at, binding): (usize, &RoleBinding)| {
        let mut before = roles.iter().take(at);
        before.find(|first| on(first) == on(binding) && first.role != binding.role).map(|first| {
            let (first, second) = (&first.role, &binding.role);
            format!(
                "{first} and {second} are asked for on {}, where an account has one role: keep one of them",
                on(binding)
            )
        })
    };
    let message = roles.iter().enumerate().find_map(second).filter(|_| grants.can.one_role)?;
    Some((Reason::InvalidSpec, message))
}

fn refusal(binding: &RoleBinding, grants: &Grants) -> Option<(Reason, String)> {
    let project = format!("projects/{}", grants.project);
    let role = &binding.role;
    let resource = binding.resource.as_ref().unwrap_or(&project);
    // An account can be a member of other projects and organizations only where the backend has members.
    let elsewhere = *resource != project && !resource.starts_with(&format!("{project}/"));
    if elsewhere && !grants.can.one_role {
        let message =
            format!("{role} is asked for on {resource}; this backend's accounts get roles within {project}");
        return Some((Reason::ResourceNotAllowed, message));
    }
    let allowed = grants.roles.as_ref()?;
    if *resource != project {
        let message = format!(
            "{role} is asked for on {resource}: a ClusterIamBackend gives roles on its project only. Use an IamBackend of \
             this namespace"
        );
        return Some((Reason::ResourceNotAllowed, message));
    }
    (!allowed.iter().any(|pattern| matches(pattern, role))).then(|| {
        let message = format!(
            "The backend's tenants.roles does not let namespaces ask for {role}; it lists {}",
            if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
        );
        (Reason::RoleNotAllowed, message)
    })
}

/// A star at the end of a pattern stands for anything.
pub(super) fn matches(pattern: &str, role: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == role, |beginning| role.starts_with(beginning))
}

impl Table<'_> {
    /// What the spec asks for and may, each once, on what it is.
    fn wanted_roles(&self, account: &Account, grants: &Grants) -> Vec<BoundRole> {
        let project = names::project_of(&account.name).unwrap_or_default();
        let mut wanted: Vec<BoundRole> = Vec::new();
        for binding in asked(&self.obs.spec).iter().filter(|binding| refusal(binding, grants).is_none()) {
            let bound = BoundRole {
                role: binding.role.clone(),
                resource: binding.resource.clone().unwrap_or_else(|| format!("projects/{project}")),
                condition: binding.condition.clone(),
            };
            if !wanted.contains(&bound) {
                wanted.push(bound);
            }
        }
        wanted
    }

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
        let all_read = !views.is_empty() && views.iter().all(|view| view.told.is_ok());
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

    /// An account that is gone, by somebody else's hand, leaves its ghost in the policies: a later account of its e-mail could
    /// be bound to nothing there.
    pub(super) fn unhaunted(&self) -> Option<Plan> {
        let status = &self.obs.status;
        let gone = Account {
            name: status.resource_name.clone()?,
            email: status.email.clone()?,
            unique_id: status.unique_id.clone()?,
            display_name: String::new(),
            description: String::new(),
            disabled: false,
            basic_auth: false,
        };
        self.unbound(&gone, true).filter(|plan| plan.next != Next::Wait)
    }

    fn changed(&self, change: PolicyChange) -> Plan {
        let note = format!("Roles of {} on {} are changed as the spec says", change.email, change.resource);
        let events = vec![Event::normal(Reason::AccountUpdated, note)];
        Plan { events, ..self.act(Step::Bind(change)) }
    }

    /// By when a change whose intent is written now has taken effect and shows, whatever became of its answer.
    fn unanswered(&self) -> Timestamp {
        let timing = self.timing;
        add(self.now, timing.settle + timing.send_window + timing.horizon + timing.list_lag)
    }

    /// Before an account goes, or is let go: what this object bound goes first, but for what stays with the account. `held_up`:
    /// the account goes, so what cannot be read or changed, or does not show yet, is waited for.
    pub(super) fn unbound(&self, account: &Account, held_up: bool) -> Option<Plan> {
        let obs = self.obs;
        let grants = obs.backend.as_ref().ok()?;
        let wanted = if held_up { Vec::new() } else { self.wanted_roles(account, grants) };
        let mut ours = obs.status.bound_roles.clone();
        ours.retain(|role| !wanted.contains(role));
        if ours.is_empty() {
            return None;
        }
        if let Some(trouble) = &obs.done.bind_refused {
            return held_up.then(|| self.deletion_fails(trouble));
        }
        let Some(views) = &obs.policies else {
            return Some(Plan { next: Next::NeedPolicies { resources: resources(&ours) }, ..self.keep() });
        };
        for view in views {
            let Some(Membership { held, ghosts }) = readable(view, &[]) else { continue };
            let mut remove = on(&ours, view);
            remove.retain(|role| held.contains(role) || ghosts.contains(role));
            if !remove.is_empty() {
                return Some(self.changed(change(account, view, Vec::new(), remove)));
            }
        }
        let mut troubles = views.iter().filter(|view| readable(view, &[]).is_none());
        if !held_up {
            return None;
        }
        if let Some(trouble) = troubles.find_map(|view| view.told.as_ref().err()) {
            return Some(self.deletion_fails(trouble));
        }
        self.hides(views, &ours).filter(|_| !defect!(BoundUnseen))
    }

    /// A change whose answer was lost may still arrive, and a read may show what was before one that was answered: what does not
    /// show is not known to be gone before that is over. After the account nobody would look.
    fn hides(&self, views: &[PolicyView], ours: &[BoundRole]) -> Option<Plan> {
        let until = self.shown_at().filter(|at| *at > self.now)?;
        let read = |role: &&BoundRole| {
            let mut of = views.iter().filter(|view| view.resource == role.resource);
            of.any(|view| view.told.is_ok() && view.answers.is_none())
        };
        let hidden = ours.iter().find(read)?;
        let message = format!(
            "{} on {} may still be bound although the policy does not show it; that is known at {until:.0}. The annotation \
             keywheel.dev/abandon lets the object go at once and leaves the account",
            hidden.role, hidden.resource
        );
        Some(self.deletion_waits(Reason::Deleting, message, between(self.now, until)))
    }

    /// By when a read shows what is bound, and nothing can be bound any more. What the backend refused is not on its way: what
    /// was bound before it shows within the lag of reads.
    fn shown_at(&self) -> Option<Timestamp> {
        let (status, timing) = (&self.obs.status, self.timing);
        let settled = status.roles_settle_at?;
        let told =
            conditions::find(&status.conditions, ROLES_BOUND).filter(|c| c.status == Is::False.as_str());
        let refusals = [
            Reason::RequestRefused,
            Reason::PermissionMissing,
            Reason::PreconditionFailed,
            Reason::OrgPolicyForbids,
            Reason::LoginRefused,
            Reason::BackendThrottled,
        ];
        let refused = told.filter(|c| refusals.iter().any(|reason| c.reason == reason.as_str()));
        // Of an earlier intent the answer may have been lost before this one was refused.
        let intended = |c: &&Condition| {
            let whole = between(self.now, self.unanswered());
            add(c.last_transition_time.0, whole) >= settled
        };
        let refused = refused.filter(intended);
        let since = refused.map(|c| add(c.last_transition_time.0, timing.settle + timing.send_window));
        Some(since.map_or(settled, |since| settled.min(add(since, timing.list_lag))))
    }
}

fn change(account: &Account, view: &PolicyView, add: Vec<BoundRole>, remove: Vec<BoundRole>) -> PolicyChange {
    PolicyChange {
        resource: view.resource.clone(),
        email: account.email.clone(),
        unique_id: account.unique_id.clone(),
        add,
        remove,
    }
}

/// What a policy says. Of something that is gone, where nothing is wanted: nothing.
fn readable(view: &PolicyView, wanted: &[BoundRole]) -> Option<Membership> {
    match &view.told {
        Ok(membership) => Some(membership.clone()),
        Err(trouble) if trouble.class == Class::NotFound && on(wanted, view).is_empty() => {
            Some(Membership::default())
        }
        Err(_) => None,
    }
}

fn on(roles: &[BoundRole], view: &PolicyView) -> Vec<BoundRole> {
    roles.iter().filter(|role| role.resource == view.resource).cloned().collect()
}

fn resources(roles: &[BoundRole]) -> Vec<String> {
    let mut resources: Vec<String> = roles.iter().map(|role| role.resource.clone()).collect();
    resources.sort();
    resources.dedup();
    resources
}
