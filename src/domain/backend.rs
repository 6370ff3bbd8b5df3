//! What is told about a backend, as a pure function.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{CLOCK_IN_SYNC, Conditions, Is, PERMISSIONS_GRANTED, READY, RECONCILING, STALLED};
use super::schedule::{audit_wait, whole_second_before};
use super::{Event, Reason, Timing, Trouble};
use crate::api::v1alpha1::{BackendStatus, Capabilities};

/// How far the clock skew must move before the status says so.
const SKEW_STEP: i64 = 30;
/// Seconds from which on it is told: a machine that keeps its time is never as far off.
const SKEW_TOLD: i64 = 60;

/// What one pass has seen.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Uid of the object.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// Whether a person asked to let it go.
    pub abandon: bool,
    /// What was recorded.
    pub status: BackendStatus,
    /// Accounts that refer to it, as `namespace/name`; read when it is deleting.
    pub accounts: Option<Vec<String>>,
    /// The login and the backend's answer to it; `None` where it was not asked.
    pub probe: Option<Probe>,
    /// How many probes in a row failed before this one.
    pub failures: u32,
}

/// Outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// There is no usable login.
    NoLogin {
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// The backend did not answer, or refused.
    Failed(Trouble),
    /// It answered.
    Answered {
        /// E-mail of the login.
        identity: String,
        /// Project.
        project: String,
        /// What the backend can do.
        capabilities: Capabilities,
        /// What the login may not do on the whole project; `None` where that cannot be told.
        missing_permissions: Option<Vec<String>>,
        /// What would give it all of that, for people.
        sufficient_roles: &'static str,
        /// How many seconds the backend's clock is ahead of ours.
        skew_seconds: i64,
    },
}

/// What a pass shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do now.
    pub next: Next,
    /// The status afterwards; written, guarded, if it differs from the one read.
    pub status: BackendStatus,
    /// When to look again.
    pub requeue: Duration,
    /// What to tell once it is done.
    pub events: Vec<Event>,
}

/// What a pass shall do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the backend.
    NeedProbe,
    /// List the accounts that refer to it.
    NeedAccounts,
    /// Add our finalizer.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Nothing but the status.
    Wait,
}

/// Decides one pass.
pub fn plan(obs: &Observation, now: Timestamp, timing: &Timing) -> Plan {
    let now = whole_second_before(now);
    let keep = |next| Plan { next, status: obs.status.clone(), requeue: Duration::ZERO, events: Vec::new() };
    if obs.deleting {
        return deleting(obs, now, timing);
    }
    if !obs.has_finalizer {
        return keep(Next::AddFinalizer);
    }
    let Some(probe) = &obs.probe else { return keep(Next::NeedProbe) };
    let mut status = obs.status.clone();
    status.observed_generation = obs.generation;
    let requeue = tell(&mut status, obs, probe, now, timing);
    let events = drifted(obs, probe, timing).into_iter().collect();
    Plan { next: Next::Wait, status, requeue, events }
}

fn tell(
    status: &mut BackendStatus,
    obs: &Observation,
    probe: &Probe,
    now: Timestamp,
    timing: &Timing,
) -> Duration {
    let mut conditions: Vec<Condition> = std::mem::take(&mut status.conditions);
    let mut c = Conditions::of(&mut conditions, obs.generation, now);
    let requeue = match probe {
        Probe::NoLogin { reason, message } => {
            c.set(READY, Is::False, *reason, message);
            timing.retry(obs.failures + 1)
        }
        Probe::Failed(trouble) => {
            c.set(READY, Is::False, trouble.class.reason(), &trouble.message);
            let asked = trouble.retry_after.unwrap_or_default().min(timing.asked_cap);
            timing.retry(obs.failures + 1).max(asked)
        }
        Probe::Answered {
            identity,
            project,
            capabilities,
            missing_permissions,
            sufficient_roles,
            skew_seconds,
        } => {
            c.set(READY, Is::True, Reason::BackendReady, "The backend answers and the login is accepted");
            let apart = Duration::from_secs(skew_seconds.unsigned_abs()) > timing.max_skew;
            if apart {
                let message = format!(
                    "The backend's clock is {skew_seconds}s ahead of ours: nothing is made or ended until it is set \
                     right"
                );
                c.set(CLOCK_IN_SYNC, Is::False, Reason::ClockSkew, message);
            } else {
                c.set(CLOCK_IN_SYNC, Is::True, Reason::ClocksAgree, "Both clocks agree within 5 min");
            }
            match missing_permissions.as_deref() {
                None => drop(c.clear(PERMISSIONS_GRANTED)),
                Some([]) => {
                    let message = "The login may do all that the operator may need";
                    c.set(PERMISSIONS_GRANTED, Is::True, Reason::PermissionsComplete, message);
                }
                Some(missing) => {
                    let message = format!(
                        "The login {identity} lacks {} on project {project}. {sufficient_roles}",
                        missing.join(", ")
                    );
                    c.set(PERMISSIONS_GRANTED, Is::False, Reason::PermissionMissing, message);
                }
            }
            status.missing_permissions = missing_permissions.clone().unwrap_or_default();
            status.identity = Some(identity.clone());
            status.project_id = Some(project.clone());
            status.capabilities = Some(capabilities.clone());
            let told = status.clock_skew.as_deref().and_then(parse_seconds);
            if told.is_none_or(|told| (told - skew_seconds).abs() > SKEW_STEP)
                || is_apart_now(told, *skew_seconds)
            {
                status.clock_skew = Some(format!("{skew_seconds}s"));
            }
            let spread = u32::try_from(super::names::stable_hash(&obs.uid) % 64).unwrap_or(0);
            timing.probe.saturating_sub(timing.probe / 4 * spread / 64)
        }
    };
    status.conditions = conditions;
    requeue
}

/// A warning before the clocks differ by so much that everything stops; then a condition says it.
fn drifted(obs: &Observation, probe: &Probe, timing: &Timing) -> Option<Event> {
    let Probe::Answered { skew_seconds, .. } = probe else { return None };
    let told = obs.status.clock_skew.as_deref().and_then(parse_seconds);
    let stops = timing.max_skew.as_secs();
    let warns = is_apart_now(told, *skew_seconds) && skew_seconds.unsigned_abs() <= stops;
    warns.then(|| {
        let note = format!(
            "The backend's clock is {skew_seconds}s ahead of ours; beyond {stops}s nothing is made or ended. Have the \
             nodes keep their time"
        );
        Event::warning(Reason::ClockSkew, note)
    })
}

/// Whether the clocks are apart and were not when it was last told.
fn is_apart_now(told: Option<i64>, skew_seconds: i64) -> bool {
    skew_seconds.abs() > SKEW_TOLD && told.is_none_or(|told| told.abs() <= SKEW_TOLD)
}

fn parse_seconds(text: &str) -> Option<i64> {
    text.strip_suffix('s')?.parse().ok()
}

fn deleting(obs: &Observation, now: Timestamp, timing: &Timing) -> Plan {
    let mut status = obs.status.clone();
    let act = |next, status| Plan { next, status, requeue: Duration::ZERO, events: Vec::new() };
    if !obs.has_finalizer {
        return Plan { requeue: timing.audit, ..act(Next::Wait, status) };
    }
    if obs.abandon {
        let note = "Let go by annotation; accounts that still refer to it can no longer be ended";
        return Plan {
            events: vec![Event::warning(Reason::Abandoned, note)],
            ..act(Next::RemoveFinalizer, status)
        };
    }
    match &obs.accounts {
        None => act(Next::NeedAccounts, status),
        Some(accounts) if accounts.is_empty() => act(Next::RemoveFinalizer, status),
        Some(accounts) => {
            let mut shown: Vec<&str> = accounts.iter().take(10).map(String::as_str).collect();
            let more = accounts.len().saturating_sub(shown.len());
            let rest = format!("and {more} more");
            shown.extend((more > 0).then_some(rest.as_str()));
            let message = format!("{} accounts refer to this backend: {}", accounts.len(), shown.join(", "));
            let lost = match &obs.probe {
                None => return act(Next::NeedProbe, status),
                Some(Probe::NoLogin { reason: Reason::BackendLoginLost, message }) => Some(message.clone()),
                Some(_) => None,
            };
            status.observed_generation = obs.generation;
            let mut c = Conditions::of(&mut status.conditions, obs.generation, now);
            match lost {
                Some(lost) => c
                    .set(READY, Is::False, Reason::BackendLoginLost, format!("{lost}. {message}"))
                    .set(STALLED, Is::True, Reason::BackendLoginLost, lost),
                None => c.set(READY, Is::False, Reason::WaitingForAccounts, message).clear(STALLED),
            };
            c.set(RECONCILING, Is::True, Reason::Deleting, "The object is being deleted");
            Plan { requeue: audit_wait(timing, &obs.uid), ..act(Next::Wait, status) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Class, conditions};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn fresh() -> Observation {
        Observation {
            uid: "u".to_owned(),
            generation: Some(1),
            deleting: false,
            has_finalizer: true,
            abandon: false,
            status: BackendStatus::default(),
            accounts: None,
            probe: None,
            failures: 0,
        }
    }

    fn answered(skew_seconds: i64) -> Probe {
        Probe::Answered {
            identity: "admin@p".to_owned(),
            project: "p".to_owned(),
            capabilities: Capabilities::default(),
            missing_permissions: None,
            sufficient_roles: "roles/owner has them all",
            skew_seconds,
        }
    }

    fn decide(obs: &Observation) -> Plan {
        plan(obs, at(0), &Timing::default())
    }

    fn reason(plan: &Plan, type_: &str) -> String {
        conditions::find(&plan.status.conditions, type_).map(|c| c.reason.clone()).unwrap_or_default()
    }

    #[test]
    fn clocks_that_drift_apart_are_told_once_and_then_by_the_condition() {
        let mut obs = fresh();
        let mut told = Vec::new();
        for skew in [0, 40, 60, 61, 59, 62, 90, 300, 301, 20, -61, -400] {
            obs.probe = Some(answered(skew));
            let plan = decide(&obs);
            if let [event] = &plan.events[..] {
                told.push((skew, event.reason));
                assert!(event.note.contains(&format!("{skew}s ahead")), "{}", event.note);
            }
            obs.status = plan.status;
        }
        assert_eq!(told, [(61, Reason::ClockSkew), (-61, Reason::ClockSkew)]);
        obs.status = BackendStatus::default();
        obs.probe = Some(answered(301));
        assert_eq!(decide(&obs).events, [], "the condition tells it");
    }

    #[test]
    fn a_jittering_clock_writes_nothing() {
        let mut obs = fresh();
        assert_eq!(decide(&obs).next, Next::NeedProbe);
        obs.probe = Some(answered(2));
        obs.status = decide(&obs).status;
        assert_eq!(obs.status.clock_skew.as_deref(), Some("2s"));
        obs.probe = Some(answered(-20));
        assert_eq!(decide(&obs).status, obs.status);
        obs.probe = Some(answered(301));
        let plan = decide(&obs);
        assert_eq!(plan.status.clock_skew.as_deref(), Some("301s"));
        assert_eq!(
            (reason(&plan, READY).as_str(), reason(&plan, CLOCK_IN_SYNC).as_str()),
            ("BackendReady", "ClockSkew")
        );
    }

    #[test]
    fn the_bounds_of_skew_are_exact() {
        let mut obs = fresh();
        for (skew, in_sync) in [(300, true), (-300, true), (301, false), (-301, false)] {
            obs.probe = Some(answered(skew));
            assert_eq!(
                conditions::is(&decide(&obs).status.conditions, CLOCK_IN_SYNC, Is::True),
                in_sync,
                "{skew}"
            );
        }
        obs.status.clock_skew = Some("10s".to_owned());
        for (skew, written) in
            [(10 + SKEW_STEP, "10s".to_owned()), (11 + SKEW_STEP, format!("{}s", 11 + SKEW_STEP))]
        {
            obs.probe = Some(answered(skew));
            assert_eq!(decide(&obs).status.clock_skew, Some(written));
        }
    }

    #[test]
    fn backends_are_asked_at_times_of_their_own_within_a_quarter_of_the_period() {
        let timing = Timing::default();
        let mut waits = std::collections::BTreeSet::new();
        for number in 0..2000 {
            let obs = Observation { uid: format!("u-{number}"), probe: Some(answered(0)), ..fresh() };
            waits.insert(decide(&obs).requeue);
        }
        let (least, most) = (timing.probe.saturating_sub(timing.probe / 4 * 63 / 64), timing.probe);
        assert_eq!((waits.first(), waits.last()), (Some(&least), Some(&most)));
        assert_eq!(waits.len(), 64);
    }

    #[test]
    fn what_the_login_may_not_do_is_named_and_nothing_waits_for_it() {
        let mut obs = fresh();
        let missing = "iam.serviceAccountKeys.create";
        let told = |missing: &[&str]| match answered(0) {
            Probe::Answered { identity, project, capabilities, skew_seconds, .. } => Probe::Answered {
                identity,
                project,
                capabilities,
                sufficient_roles: "roles/owner has them all",
                missing_permissions: Some(missing.iter().map(|&p| p.to_owned()).collect()),
                skew_seconds,
            },
            other => other,
        };
        obs.probe = Some(told(&[missing]));
        let plan = decide(&obs);
        assert_eq!(plan.status.missing_permissions, [missing]);
        assert_eq!(
            (reason(&plan, READY).as_str(), reason(&plan, PERMISSIONS_GRANTED).as_str()),
            ("BackendReady", "PermissionMissing")
        );
        let condition = conditions::find(&plan.status.conditions, PERMISSIONS_GRANTED).unwrap();
        assert!(
            condition.message.contains(missing) && condition.message.contains("admin@p"),
            "{condition:?}"
        );
        (obs.status, obs.probe) = (plan.status, Some(told(&[])));
        let plan = decide(&obs);
        assert_eq!(reason(&plan, PERMISSIONS_GRANTED), "PermissionsComplete");
        assert!(plan.status.missing_permissions.is_empty());
    }

    #[test]
    fn every_failure_has_its_reason_and_a_growing_wait() {
        let mut obs = fresh();
        for (class, expected) in [
            (Class::Unknown, "BackendUnreachable"),
            (Class::Unauthenticated, "LoginRefused"),
            (Class::Forbidden, "PermissionMissing"),
        ] {
            obs.probe = Some(Probe::Failed(Trouble::new(class, "no")));
            assert_eq!(reason(&decide(&obs), READY), expected);
        }
        let timing = Timing::default();
        assert_eq!(decide(&obs).requeue, timing.retry(1));
        obs.failures = 3;
        assert_eq!(decide(&obs).requeue, timing.retry(4));
        obs.probe = Some(Probe::NoLogin { reason: Reason::LoginMissing, message: "no Secret".to_owned() });
        assert_eq!(decide(&obs).requeue, timing.retry(4));
    }

    #[test]
    fn a_probe_waits_for_as_long_as_the_backend_asks() {
        let mut obs = fresh();
        let mut waits = |seconds| {
            let asked = Duration::from_secs(seconds);
            obs.probe = Some(Probe::Failed(Trouble::new(Class::Throttled, "no").until_after(asked)));
            decide(&obs).requeue
        };
        assert_eq!(waits(600), Duration::from_mins(10));
        assert_eq!(waits(0), Timing::default().retry(1), "our own wait is the least");
        assert_eq!(waits(1_000_000), Duration::from_hours(1));
    }

    #[test]
    fn deletion_waits_for_accounts_and_says_when_the_login_is_lost() {
        let mut obs = fresh();
        obs.deleting = true;
        assert_eq!(decide(&obs).next, Next::NeedAccounts);
        obs.accounts = Some(vec!["ns/billing".to_owned()]);
        obs.probe = Some(answered(0));
        assert_eq!(reason(&decide(&obs), READY), "WaitingForAccounts");
        assert_eq!(decide(&obs).requeue, audit_wait(&Timing::default(), &obs.uid));
        for (all, words) in [(10, "ns/9"), (12, "ns/9, and 2 more")] {
            let accounts = (0..all).map(|n| format!("ns/{n}")).collect();
            let plan = decide(&Observation { accounts: Some(accounts), ..obs.clone() });
            let told =
                crate::domain::conditions::find(&plan.status.conditions, READY).unwrap().message.clone();
            assert!(told.starts_with(&format!("{all} accounts")) && told.ends_with(words), "{told}");
        }
        obs.probe = Some(Probe::NoLogin { reason: Reason::BackendLoginLost, message: "gone".to_owned() });
        assert_eq!(reason(&decide(&obs), STALLED), "BackendLoginLost");
        obs.accounts = Some(Vec::new());
        assert_eq!(decide(&obs).next, Next::RemoveFinalizer);
    }

    #[test]
    fn what_is_let_go_is_told_and_what_is_no_longer_held_is_left_alone() {
        let mut obs = Observation { deleting: true, abandon: true, ..fresh() };
        let plan = decide(&obs);
        assert_eq!(plan.next, Next::RemoveFinalizer);
        assert_eq!(plan.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::Abandoned]);
        obs.has_finalizer = false;
        let plan = decide(&obs);
        assert_eq!((plan.next, plan.requeue), (Next::Wait, Timing::default().audit));
    }
}
