//! Workloads that read the Secret only when they start: restarted once for each new key, and waited for before the old
//! one is taken out of service.

use super::observation::{Rollout, RolloutState};
use super::put_off::Subject;
use super::step::{Need, Plan, Step};
use super::table::Table;
use crate::api::v1alpha1::{KeyPhase, ServiceAccountKeyStatus};
use crate::domain::{Event, Reason};

impl Table<'_> {
    /// Whether an older key that was published is still in service: its end waits for the workloads.
    pub(super) fn is_awaited(&self, status: &ServiceAccountKeyStatus) -> bool {
        !self.obs.spec.rollout_restart.is_empty()
            && status.keys.iter().any(|k| k.phase == KeyPhase::Overlap && k.published_at.is_some())
    }

    /// Restarts what was not restarted for the active key: also where no older key is left to wait for it, because it
    /// was revoked, or ended by somebody else.
    pub(super) fn restart(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        let active = status.active_key_id.as_ref()?;
        let owed = status.restart_owed_for.as_ref() == Some(active);
        if !owed && !self.is_awaited(status) {
            return None;
        }
        let Some(rollout) = &self.obs.rollout else { return Some(Plan::need("12a", Need::Rollout, status)) };
        let put_off = |r: &Rollout| self.obs.put_off.contains_key(&Subject::workload(&r.workload));
        let Some(due) = rollout.iter().find(|r| r.state == RolloutState::Due && !put_off(r)) else {
            // Where an old key waits, its end is what records it.
            let open = |r: &Rollout| matches!(r.state, RolloutState::Due | RolloutState::Unreadable { .. });
            let done = owed && !self.is_awaited(status) && !rollout.iter().any(open);
            let after = || ServiceAccountKeyStatus { restart_owed_for: None, ..status.clone() };
            return done.then(|| Plan::act("12a", Step::WriteStatus, after()));
        };
        let workload = due.workload.clone();
        let note = format!("{:?} {} is restarted to read key {active}", workload.kind, workload.name);
        let event = Event::normal(Reason::WorkloadRestarted, note);
        let step = Step::Restart { workload, key_id: active.clone() };
        Some(Plan { events: vec![event], ..Plan::act("12a", step, status.clone()) })
    }

    /// What the retirement of a published key waits for, for people.
    pub(super) fn unfinished_rollout(&self, status: &ServiceAccountKeyStatus) -> Option<String> {
        if !self.is_awaited(status) {
            return None;
        }
        let waiting: Vec<String> = self
            .obs
            .rollout
            .iter()
            .flatten()
            .filter_map(|r| {
                let of = |state: &str| format!("{:?} {}: {state}", r.workload.kind, r.workload.name);
                match &r.state {
                    RolloutState::Done => None,
                    RolloutState::Missing => Some(of("there is none; create it, or take it out of the spec")),
                    RolloutState::Due => Some(match self.obs.put_off.get(&Subject::workload(&r.workload)) {
                        Some(refused) => of(&format!("cannot be restarted: {}", refused.message)),
                        None => of("not restarted yet"),
                    }),
                    RolloutState::Unreadable { message } => Some(of(&format!("cannot be read: {message}"))),
                    RolloutState::Progressing { progress } => Some(of(progress)),
                }
            })
            .collect();
        (!waiting.is_empty()).then(|| waiting.join("; "))
    }
}
