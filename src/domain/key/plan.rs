//! The decision table: first match wins, one effect a pass, then everything is observed again.
//!
//! | rule | when | what |
//! |---|---|---|
//! | 2 | the status is gone, its traces are not | rebuild it from the Secret |
//! | 3 | being deleted | `deleting` |
//! | 4 | no finalizer | add it |
//! | 5 | spec refused, account unusable, clocks apart | hold |
//! | 6 | the Secret is not ours | hold |
//! | 7 | the Secret publishes a key of ours that is not the active one | record it |
//! | 8 | an attempt is open | create, prove, publish, or give it up |
//! | 9 | something is staged by no open attempt | adopt its key, then remove it |
//! | 10 | a key is needed and the gates pass | write the intent |
//! | 11 | the Secret is not as specified | write it again from its own private half |
//! | 12 | a lost attempt is not fenced | rewrite the Secret, then record it |
//! | | a workload was not restarted for the active key | restart it |
//! | 13 | a key's time is over | disable it, later delete it |
//! | 14, 15 | a lost attempt's window is over | report what appeared in it, close it |
//! | 16 | otherwise | wait |
//!
//! Whenever a rule only waits, rule 13 is taken.

use jiff::Timestamp;

use super::observation::{AccountView, Observation, Secret};
use super::step::{Need, Next, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, capability, deleting, ledger, retire};
use crate::api::v1alpha1::KeyPhase;
use crate::defect;
use crate::domain::schedule::{Schedule, until_audit, whole_second_before};
use crate::domain::{Event, Reason, Timing};

/// Decides one pass.
pub fn plan(obs: &Observation, now: Timestamp, timing: &Timing) -> Plan {
    // 1 (the Lease) is the caller's: without it no pass begins.
    let table = Table { obs, now: whole_second_before(now), exact: now, timing };
    let decided = table.decide();
    // Nothing sits still for longer than an audit period.
    Plan { requeue: decided.requeue.min(until_audit(timing.audit, obs.looked_at, now)), ..decided }
}

impl Table<'_> {
    fn decide(&self) -> Plan {
        let obs = self.obs;
        if let Some(rebuilt) = self.rebuild() {
            return rebuilt; // 2
        }
        if obs.deleting {
            return deleting::plan(self); // 3
        }
        let mut status = obs.status.clone().unwrap_or_default();
        if !obs.has_finalizer {
            return Plan::act("4", Step::AddFinalizer, status);
        }
        // 5
        let schedule = match self.schedule() {
            Ok(schedule) => schedule,
            Err(mood) => return self.hold("5", status, &mood),
        };
        // A spec that was changed may no longer want what was due.
        self.reschedule(&mut status, &schedule);
        let account = match self.preconditions() {
            Ok(account) => account,
            Err(mood) => return self.hold("5", status, &mood),
        };
        if let Some(plan) = self.other_account(&status, account).or_else(|| self.take_over(&status, account))
        {
            return plan; // 5, 6
        }
        // 6
        if let Some(why) = self.unwritable() {
            let message = format!("Secret {}: {why}", story::secret_name(obs));
            return self.hold("6", status, &Mood::Stalled(Reason::SecretConflict, message));
        }
        let main = self
            .record(&status, &schedule, account) // 7
            .or_else(|| self.note_former(&status, &schedule)) // 11, before all that writes the Secret
            .or_else(|| self.revoke_attempt(&status)) // 8, revoked
            .or_else(|| self.revoke_old(&status, account)) // 13, revoked
            .or_else(|| self.attempt(&status, &schedule, account)) // 8
            .or_else(|| self.staged_by_none(&status, &schedule)) // 9
            .or_else(|| self.rename(&status, &schedule, account)) // 11, where the key is good
            .or_else(|| self.mint(&status, &schedule, account)) // 10
            .or_else(|| self.rewrite(&status, &schedule, account)) // 11
            .or_else(|| self.end_former(&status, &schedule)) // 11b
            .or_else(|| self.fence(&status)) // 12
            .or_else(|| self.restart(&status)) // between 12 and 13
            .unwrap_or_else(|| self.wait("16", status.clone(), &self.rest(&schedule), &schedule));
        if main.next != Next::Wait {
            return main;
        }
        let waiting = match self.retire(&main, account, &schedule) {
            Some(plan) if plan.next != Next::Wait => return plan, // 13
            // A restart that does not end holds an ending, and nothing else.
            held => held.unwrap_or(main),
        };
        self.audit(&waiting.status, &schedule)
            .or_else(|| self.settle_lost(&waiting.status, &schedule, account)) // 14, 15
            .or_else(|| self.settle_requests(&waiting.status))
            .unwrap_or(waiting) // 16
    }

    /// Rule 6: why the Secret cannot be written.
    fn unwritable(&self) -> Option<&str> {
        match &self.obs.secret {
            Secret::Foreign { why } => Some(why),
            Secret::Ours(secret) if secret.immutable => {
                Some("it was made immutable; delete it, and it is written again")
            }
            Secret::Ours(_) | Secret::Left(_) | Secret::Absent => None,
        }
    }

    /// Rule 5: the times that the spec asks for.
    fn schedule(&self) -> Result<Schedule, Mood> {
        let obs = self.obs;
        let rotation = obs.spec.rotation.clone().unwrap_or_default();
        let schedule = Schedule::parse(&rotation, self.now)
            .map_err(|invalid| Mood::Stalled(invalid.reason(), format!("spec.{invalid}")))?;
        if let Err(invalid) = obs.spec.verification.timeout.to_duration() {
            return Err(Mood::Stalled(
                Reason::InvalidDuration,
                format!("spec.verification.timeout: {invalid}"),
            ));
        }
        Ok(schedule)
    }

    /// Rule 5: what must hold before anything is made or ended.
    fn preconditions(&self) -> Result<&Account, Mood> {
        let obs = self.obs;
        let account = match &obs.account {
            AccountView::Usable(account) => account,
            AccountView::Unusable { reason, message, .. } => {
                return Err(Mood::Broken(*reason, message.clone()));
            }
        };
        if let Some(skew) =
            account.clock_skew.filter(|skew| *skew > self.timing.max_skew && !defect!(SkewIgnored))
        {
            let message = format!(
                "The backend's clock and ours differ by {}s: set the wrong one right",
                skew.as_secs()
            );
            return Err(Mood::Waiting(Reason::ClockSkew, message));
        }
        if let Some((reason, message)) = capability::lacking(&obs.spec, &account.can) {
            return Err(Mood::Stalled(reason, message));
        }
        Ok(account)
    }

    /// A wheel at rest, or one that was stopped.
    pub(super) fn rest(&self, schedule: &Schedule) -> Mood {
        if let Some(invalid) = &self.obs.requests.invalid {
            return Mood::Waiting(Reason::InvalidAnnotation, invalid.clone());
        }
        if let Some(refused) = self.obs.put_off.values().next() {
            return Mood::Waiting(refused.reason, refused.message.clone());
        }
        if schedule.suspend {
            let message =
                "Rotation is suspended: no key is made on schedule, and none is disabled or deleted";
            return Mood::Waiting(Reason::Suspended, message.to_owned());
        }
        Mood::Settled
    }

    /// Rule 13, after any rule that only waits.
    fn retire(&self, waiting: &Plan, account: &Account, schedule: &Schedule) -> Option<Plan> {
        let Some(ending) = retire::due(self, &waiting.status, account, schedule) else {
            return self.held_by_use(waiting, schedule);
        };
        if let Step::DisableKey { id } | Step::DeleteKey { id } = &ending.step {
            // One that is disabled is read by nobody any more.
            let in_use = ledger::find(&waiting.status, id).is_some_and(|k| k.phase == KeyPhase::Overlap);
            if in_use && self.is_awaited(&waiting.status) && self.obs.rollout.is_none() {
                return Some(Plan::need("13", Need::Rollout, &waiting.status));
            }
            if let Some(unfinished) = self.unfinished_rollout(&waiting.status).filter(|_| in_use) {
                return Some(self.held_by_rollout(waiting, id, &unfinished));
            }
            if let Some(unread) = self.unread_use(&waiting.status, id, schedule).filter(|_| in_use) {
                return Some(unread);
            }
            let dropped = self.drop_previous(&waiting.status, account, id);
            if let Some(dropped) = dropped.filter(|_| !defect!(PreviousKept)) {
                // What still shows the key cannot be written: it stays.
                return Some(dropped).filter(|_| !self.obs.is_rewriting_put_off());
            }
        }
        if !self.obs.confirmed && !defect!(RetireBlindly) {
            return Some(Plan::need("13", Need::Confirm, &waiting.status));
        }
        let (id, event) = match &ending.step {
            Step::DisableKey { id } => {
                (id, Event::normal(Reason::KeyDisabled, format!("Key {id}: its overlap is over")))
            }
            Step::DeleteKey { id } => {
                (id, Event::normal(Reason::KeyDeleted, format!("Key {id}: its time is over")))
            }
            _ => return None,
        };
        let used = self.still_used(&waiting.status, id, schedule).map(|why| {
            let note = format!("Key {id} was held for deleteAfter, and ends: {why}");
            Event::warning(Reason::StillUsedAtRetirement, note)
        });
        let events = [event].into_iter().chain(used).collect();
        Some(Plan { events, ..Plan::act("13", ending.step, ending.status) })
    }

    /// A restart that does not end holds the old key alive, and says so.
    fn held_by_rollout(&self, waiting: &Plan, id: &str, unfinished: &str) -> Plan {
        let mut status = waiting.status.clone();
        let message =
            format!("Key {id} stays enabled until every workload has read the new one: {unfinished}");
        story::held(self.obs, &mut status, Reason::RolloutNotDone, &message, self.now);
        Plan { status, ..waiting.clone() }
    }
}
