//! Before an account goes, or is let go, what its object bound goes. After the account nobody would look.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::plan::Table;
use super::roles::{change, on, readable, resources};
use super::{Account, Membership, Next, Plan, PolicyView};
use crate::api::v1alpha1::BoundRole;
use crate::defect;
use crate::domain::Reason;
use crate::domain::conditions::{self, Is, ROLES_BOUND};
use crate::domain::schedule::{add, between};

impl Table<'_> {
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
}
