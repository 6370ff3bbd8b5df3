//! What all rules share: the observation, the time, and the ways to wait, to hold and to fail.

use std::time::Duration;

use jiff::Timestamp;

use super::ledger;
use super::observation::Observation;
use super::step::{Next, Plan, Step};
use super::story::{self, Mood};
use crate::api::v1alpha1::{KeyPhase, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::conditions::{self, Is};
use crate::domain::schedule::{Schedule, add, between, until_audit};
use crate::domain::{Reason, Timing, left_alone};

/// What all rules share.
pub(super) struct Table<'a> {
    pub obs: &'a Observation,
    /// In whole seconds, as the status has it.
    pub now: Timestamp,
    /// To wake up on time.
    pub exact: Timestamp,
    pub timing: &'a Timing,
}

impl Table<'_> {
    /// Rule 16: the status as it should read, and the earliest time at which anything is due.
    pub(super) fn wait(
        &self,
        rule: &'static str,
        status: ServiceAccountKeyStatus,
        mood: &Mood,
        schedule: &Schedule,
    ) -> Plan {
        let mut plan = self.silent(rule, status, schedule);
        story::tell(self.obs, &mut plan.status, mood, self.now);
        plan
    }

    pub(super) fn silent(
        &self,
        rule: &'static str,
        mut status: ServiceAccountKeyStatus,
        schedule: &Schedule,
    ) -> Plan {
        self.reschedule(&mut status, schedule);
        let requeue = self.requeue(&status, schedule);
        Plan { rule, next: Next::Wait, status, requeue, events: Vec::new() }
    }

    /// The next rotation stands in the status; it is computed anew only when the spec changed.
    pub(super) fn reschedule(&self, status: &mut ServiceAccountKeyStatus, schedule: &Schedule) {
        let obs = self.obs;
        let changed = status.observed_generation != obs.generation || status.next_rotation_time.is_none();
        if let (true, Some(last), Some(active)) = (changed, status.last_rotation_time, ledger::active(status))
        {
            let last = if defect!(CountedFromNow) { self.now } else { last };
            status.next_rotation_time =
                schedule.next_rotation(last, &obs.uid, active.created_at, active.expires_at);
        }
    }

    pub(super) fn requeue(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Duration {
        let endings = status.keys.iter().filter(|_| !schedule.suspend).filter_map(|k| match k.phase {
            KeyPhase::Overlap => k.disable_at,
            KeyPhase::Disabled => k.delete_at,
            KeyPhase::Pending | KeyPhase::Active => None,
        });
        let active = ledger::active(status);
        let expiry = active.and_then(|k| schedule.before_expiry(k.created_at, k.expires_at));
        let rotation = if schedule.suspend { expiry } else { status.next_rotation_time };
        let end = active.and_then(|k| k.expires_at).filter(|at| *at > self.now);
        let put_off = self.obs.put_off.values().map(|refused| refused.until);
        let windows = status.lost.iter().map(|l| add(l.until, self.timing.list_lag + Duration::from_secs(1)));
        let looks = status.lost.iter().filter(|l| l.fenced).map(|l| self.first_look(l));
        let looks = looks.filter(|at| *at > self.obs.looked_at);
        let former = status.former_secrets.iter().filter(|_| !schedule.suspend).map(|f| f.delete_at);
        let requests = &self.obs.requests;
        let asked = requests.rotate_at.into_iter().chain(requests.revoke_at).filter(|at| *at > self.now);
        endings
            .chain(rotation)
            .chain(end)
            .chain(put_off)
            .chain(windows)
            .chain(looks)
            .chain(former)
            .chain(asked)
            // What is overdue and was not done waits for something else, which wakes us or has its own time.
            .map(|at| if at <= self.now { self.timing.settle } else { between(self.exact, at) })
            .min()
            .unwrap_or(Duration::MAX)
            .min(self.until_audit())
    }

    /// The keys of an account come after its own look, which is less than a period apart: they share its list.
    fn until_audit(&self) -> Duration {
        until_audit(self.timing.audit, self.obs.looked_at, self.exact)
    }

    /// A failed try: counted, told, tried again after the backoff.
    pub(super) fn fail(
        &self,
        rule: &'static str,
        mut status: ServiceAccountKeyStatus,
        reason: Reason,
        (message, asked): (String, Option<Duration>),
    ) -> Plan {
        let same_spec = status.observed_generation == self.obs.generation;
        status.failures = if same_spec { status.failures.saturating_add(1) } else { 1 };
        status.last_failure_time = Some(self.now);
        status.retry_after = self.timing.asked_until(self.exact, asked);
        let message = left_alone(&message, status.retry_after);
        if reason == Reason::BackendUnreachable || reason == Reason::BackendThrottled {
            let mut c = conditions::Conditions::of(&mut status.conditions, self.obs.generation, self.now);
            c.set(conditions::BACKEND_REACHABLE, Is::False, reason, &message);
        }
        story::tell(self.obs, &mut status, &Mood::Waiting(reason, message), self.now);
        Plan::act(rule, Step::WriteStatus, status)
    }

    /// Nothing is done until something outside changes.
    pub(super) fn hold(&self, rule: &'static str, mut status: ServiceAccountKeyStatus, mood: &Mood) -> Plan {
        story::tell(self.obs, &mut status, mood, self.now);
        // No watch shows when a Secret that is not ours goes, or when a clock is set right.
        let unheard =
            matches!(mood, Mood::Stalled(Reason::SecretConflict, _) | Mood::Waiting(Reason::ClockSkew, _));
        let requeue = if unheard { self.timing.retry_cap } else { self.until_audit() };
        Plan { rule, next: Next::Wait, status, requeue, events: Vec::new() }
    }

    /// The same, where the conditions have been written already.
    pub(super) fn hold_as_told(&self, rule: &'static str, status: ServiceAccountKeyStatus) -> Plan {
        let requeue = self.until_audit();
        Plan { rule, next: Next::Wait, status, requeue, events: Vec::new() }
    }
}
