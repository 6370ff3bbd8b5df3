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
//! | 13 | a key's time is over | disable it, later delete it |
//! | 14, 15 | a lost attempt's window is over | report what appeared in it, close it |
//! | 16 | otherwise | wait |
//!
//! Whenever a rule only waits, rule 13 is taken.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{AccountView, Observation, Secret};
use super::story::{self, Mood};
use super::{Account, deleting, ledger, retire};
use crate::api::v1alpha1::{KeyPhase, LedgerKey, ServiceAccountKeyStatus};
use crate::domain::conditions::{self, Is};
use crate::domain::schedule::{Schedule, add, audit_wait, between, whole_second_before};
use crate::domain::{Event, Reason, Timing};

/// What a pass shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The rule that matched.
    pub rule: &'static str,
    /// What to do now.
    pub next: Next,
    /// The status afterwards. It is written, guarded, once the step is done, if it differs from the one read.
    pub status: ServiceAccountKeyStatus,
    /// When to look again if nothing happens.
    pub requeue: Duration,
    /// What to tell once it is done.
    pub events: Vec<Event>,
}

/// What a pass shall do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read something more and decide again.
    Need(Need),
    /// One effect.
    Act(Step),
    /// Nothing but the status.
    Wait,
}

/// Something that is read only when a decision rests on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The Secret once more, after the object: a step that rests on it is dropped if it changed.
    Confirm,
    /// The keys of the account at the backend.
    Keys,
    /// Dry runs of the Secrets that an attempt will write.
    Preflight,
    /// Token exchanges with a staged key.
    Proof {
        /// Attempt whose staged key is tried.
        nonce: String,
        /// How many exchanges in a row must succeed.
        times: u32,
    },
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add our finalizer.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Only the status.
    WriteStatus,
    /// Ask the backend for the key of the open attempt, once, and stage its answer.
    Create {
        /// The attempt.
        nonce: String,
    },
    /// Write the consumer Secret.
    Publish(Box<Publication>),
    /// Delete a staging Secret.
    Unstage {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Rewrite an annotation of the Secret, so that no older write of anybody can succeed any more.
    Fence {
        /// What to write there.
        mark: String,
    },
    /// Enable a key again that the Secret publishes.
    EnableKey {
        /// The key.
        id: String,
    },
    /// Disable a key.
    DisableKey {
        /// The key.
        id: String,
    },
    /// Delete a key.
    DeleteKey {
        /// The key.
        id: String,
    },
    /// Delete the consumer Secret as it was read.
    DeleteSecret {
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
}

/// What a write of the consumer Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The attempt whose staged credential is written; `None`: the credential that the Secret already holds.
    pub staged_nonce: Option<String>,
    /// The key.
    pub key_id: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// When it was published.
    pub published_at: Timestamp,
    /// `project/unique id` of its account.
    pub account: String,
    /// E-mail of its account.
    pub email: String,
    /// All older keys.
    pub ledger: Vec<LedgerKey>,
}

/// Decides one pass.
pub fn plan(obs: &Observation, now: Timestamp, timing: &Timing) -> Plan {
    // 1 (the Lease) is the caller's: without it no pass begins.
    let table = Table { obs, now: whole_second_before(now), exact: now, timing };
    let decided = table.decide();
    // Nothing sits still for longer than an audit period.
    Plan { requeue: decided.requeue.min(audit_wait(timing, &obs.uid)), ..decided }
}

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
    fn decide(&self) -> Plan {
        let obs = self.obs;
        if let Some(rebuilt) = self.rebuild() {
            return rebuilt; // 2
        }
        if obs.deleting {
            return deleting::plan(self); // 3
        }
        let status = obs.status.clone().unwrap_or_default();
        if !obs.has_finalizer {
            return Plan::act("4", Step::AddFinalizer, status);
        }
        // 5
        let (schedule, account) = match self.preconditions(&status) {
            Ok(both) => both,
            Err(mood) => return self.hold("5", status, &mood),
        };
        // 6
        if let Secret::Foreign { why } = &obs.secret {
            let message = format!("Secret {}: {why}", story::secret_name(obs));
            return self.hold("6", status, &Mood::Stalled(Reason::SecretConflict, message));
        }
        let main = self
            .record(&status, &schedule, account) // 7
            .or_else(|| self.attempt(&status, &schedule, account)) // 8
            .or_else(|| self.staged_by_none(&status, &schedule)) // 9
            .or_else(|| self.mint(&status, &schedule, account)) // 10
            .or_else(|| self.rewrite(&status, account)) // 11
            .or_else(|| self.fence(&status)) // 12
            .unwrap_or_else(|| self.wait("16", status.clone(), &Mood::Settled, &schedule));
        if main.next == Next::Wait {
            self.retire(&main, account, &schedule) // 13
                .or_else(|| self.settle(&main)) // 14, 15
                .unwrap_or(main) // 16
        } else {
            main
        }
    }

    /// Rule 5: what must hold before anything is made or ended.
    fn preconditions(&self, status: &ServiceAccountKeyStatus) -> Result<(Schedule, &Account), Mood> {
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
        let account = match &obs.account {
            AccountView::Usable(account) => account,
            AccountView::Unusable { reason, message, .. } => {
                return Err(Mood::Broken(*reason, message.clone()));
            }
        };
        if status.account_unique_id.as_ref().is_some_and(|known| *known != account.unique_id) {
            let message = "The account was made again under the same e-mail; its old keys are gone with it. Delete \
                           this object and apply it again";
            return Err(Mood::Broken(Reason::AccountRecreated, message.to_owned()));
        }
        if let Some(skew) = account.clock_skew.filter(|skew| *skew > self.timing.max_skew) {
            let message = format!(
                "The backend's clock and ours differ by {}s: set the wrong one right",
                skew.as_secs()
            );
            return Err(Mood::Waiting(Reason::ClockSkew, message));
        }
        if !account.algorithms.iter().any(|a| a == obs.spec.algorithm.as_str()) {
            let message = format!(
                "The backend does not offer {}; it offers {}",
                obs.spec.algorithm.as_str(),
                account.algorithms.join(", ")
            );
            return Err(Mood::Stalled(Reason::AlgorithmUnsupported, message));
        }
        Ok((schedule, account))
    }

    /// Rule 13, after any rule that only waits.
    fn retire(&self, waiting: &Plan, account: &Account, schedule: &Schedule) -> Option<Plan> {
        let ending = retire::due(self.obs, &waiting.status, account, schedule, self.now)?;
        if !self.obs.confirmed {
            return Some(Plan::need("13", Need::Confirm, &waiting.status));
        }
        let event = match &ending.step {
            Step::DisableKey { id } => {
                Event::normal(Reason::KeyDisabled, format!("Key {id}: its overlap is over"))
            }
            Step::DeleteKey { id } => {
                Event::normal(Reason::KeyDeleted, format!("Key {id} was out of service long enough"))
            }
            _ => return None,
        };
        Some(Plan { events: vec![event], ..Plan::act("13", ending.step, ending.status) })
    }

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
    fn reschedule(&self, status: &mut ServiceAccountKeyStatus, schedule: &Schedule) {
        let obs = self.obs;
        let changed = status.observed_generation != obs.generation || status.next_rotation_time.is_none();
        if let (true, Some(last), Some(active)) = (changed, status.last_rotation_time, ledger::active(status))
        {
            status.next_rotation_time =
                schedule.next_rotation(last, &obs.uid, active.created_at, active.expires_at);
        }
    }

    fn requeue(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Duration {
        let endings = status.keys.iter().filter(|_| !schedule.suspend).filter_map(|k| match k.phase {
            KeyPhase::Overlap => k.disable_at,
            KeyPhase::Disabled => k.delete_at,
            KeyPhase::Pending | KeyPhase::Active => None,
        });
        let rotation = status.next_rotation_time.filter(|_| !schedule.suspend);
        let windows = status.lost.iter().map(|l| add(l.until, self.timing.list_lag + Duration::from_secs(1)));
        endings
            .chain(rotation)
            .chain(windows)
            // What is overdue and was not done waits for something else, which wakes us or has its own time.
            .map(|at| if at <= self.now { self.timing.settle } else { between(self.exact, at) })
            .min()
            .unwrap_or(Duration::MAX)
            .min(audit_wait(self.timing, &self.obs.uid))
    }

    /// A failed try: counted, told, tried again after the backoff.
    pub(super) fn fail(
        &self,
        rule: &'static str,
        mut status: ServiceAccountKeyStatus,
        reason: Reason,
        message: String,
    ) -> Plan {
        let same_spec = status.observed_generation == self.obs.generation;
        status.failures = if same_spec { status.failures.saturating_add(1) } else { 1 };
        status.last_failure_time = Some(self.now);
        if reason == Reason::BackendUnreachable || reason == Reason::BackendThrottled {
            let mut c = conditions::Conditions::of(&mut status.conditions, self.obs.generation, self.now);
            c.set(conditions::BACKEND_REACHABLE, Is::False, reason, &message);
        }
        let wait = self.timing.backoff(status.failures);
        story::tell(self.obs, &mut status, &Mood::Waiting(reason, message), self.now);
        Plan { requeue: wait, ..Plan::act(rule, Step::WriteStatus, status) }
    }

    /// Nothing is done until something outside changes.
    pub(super) fn hold(&self, rule: &'static str, mut status: ServiceAccountKeyStatus, mood: &Mood) -> Plan {
        story::tell(self.obs, &mut status, mood, self.now);
        let requeue = audit_wait(self.timing, &self.obs.uid);
        Plan { rule, next: Next::Wait, status, requeue, events: Vec::new() }
    }

    /// The same, where the conditions have been written already.
    pub(super) fn hold_as_told(&self, rule: &'static str, status: ServiceAccountKeyStatus) -> Plan {
        let requeue = audit_wait(self.timing, &self.obs.uid);
        Plan { rule, next: Next::Wait, status, requeue, events: Vec::new() }
    }
}

impl Plan {
    /// A step, then the status that records it.
    pub(super) fn act(rule: &'static str, step: Step, status: ServiceAccountKeyStatus) -> Self {
        Self { rule, next: Next::Act(step), status, requeue: Duration::ZERO, events: Vec::new() }
    }

    /// Something to read first.
    pub(super) fn need(rule: &'static str, need: Need, status: &ServiceAccountKeyStatus) -> Self {
        Self {
            rule,
            next: Next::Need(need),
            status: status.clone(),
            requeue: Duration::ZERO,
            events: Vec::new(),
        }
    }
}
