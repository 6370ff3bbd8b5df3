//! Whether a key is needed (first reason wins), and the gates before one is made.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{Account, KeyList, Observation, Preflight, Secret};
use super::publish::holds;
use super::table::Table;
use super::{ListedKey, Need, ledger, requests, retire};
use crate::api::v1alpha1::{KeyReason, KeySeen, KeySource, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::schedule::{Schedule, add};
use crate::domain::{Reason, Timing};

/// Why a key is needed, if one is. The order is that of urgency.
pub(super) fn reason(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    schedule: &Schedule,
) -> Option<KeyReason> {
    let (obs, now) = (table.obs, table.now);
    let Some(active) = ledger::active(status) else { return Some(KeyReason::FirstKey) };
    if requests::revocation(table, status).is_some_and(|at| requests::is_revoked(active, at)) {
        return Some(KeyReason::Revoked);
    }
    match &obs.secret {
        Secret::Absent if obs.renamed_from.as_ref().is_some_and(|old| holds(old, active)) => {}
        Secret::Absent => return Some(KeyReason::SecretMissing),
        Secret::Ours(secret) if !secret.credential.is(active.public_key_sha256.as_deref()) => {
            return Some(KeyReason::SecretEdited);
        }
        Secret::Ours(_) | Secret::Left(_) | Secret::Foreign { .. } => {}
    }
    if matches!(active.seen, Some(KeySeen::Gone | KeySeen::Disabled)) {
        return Some(KeyReason::KeyEnded);
    }
    if schedule.suspend {
        // Who stops the wheel does not ask for a dead key.
        let expiring =
            schedule.before_expiry(active.created_at, active.expires_at).is_some_and(|at| at <= now);
        return expiring.then_some(KeyReason::Expiring);
    }
    if ledger::older_was_restored(status) {
        return Some(KeyReason::OldCredentialRestored);
    }
    let other_algorithm = active
        .algorithm
        .as_deref()
        .is_some_and(|made| made != obs.spec.algorithm.unwrap_or_default().as_str());
    if other_algorithm || (active.algorithm.is_some() && active.source != obs.spec.key_source) {
        return Some(KeyReason::SpecChanged);
    }
    if requests::rotation(table, status).is_some_and(|at| active.published_at.is_none_or(|done| done <= at)) {
        return Some(KeyReason::Requested);
    }
    let due = status.next_rotation_time.is_some_and(|at| at <= now);
    due.then(|| {
        let expiring = active.expires_at.is_some_and(|end| {
            status.next_rotation_time.is_some_and(|at| {
                status
                    .last_rotation_time
                    .and_then(|last| schedule.next(last, &obs.uid))
                    .is_none_or(|s| at < s)
                    && at < end
            })
        });
        if expiring { KeyReason::Expiring } else { KeyReason::Schedule }
    })
}

/// What stands between a needed key and its attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Something must be read first.
    Ask(Need),
    /// A disabled key of ours makes room by its early end.
    MakeRoom(Box<retire::Ending>),
    /// Nothing is tried before this time; there is nothing new to tell.
    NotBefore(Timestamp),
    /// Nothing is tried before this time; says why.
    BackOff {
        /// Until when.
        until: Timestamp,
        /// For people.
        message: String,
    },
    /// The try failed before anything was sent: counts as a failure.
    Failed {
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
        /// How long the backend asked to be left alone.
        asked: Option<Duration>,
    },
    /// An attempt may begin.
    Open {
        /// The backend's clock at the list.
        backend_time: Timestamp,
        /// The keys of that list.
        listed: Vec<ListedKey>,
    },
}

/// Passes the gates in order, cheapest first.
pub(super) fn gate(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    account: &Account,
    schedule: &Schedule,
    why: KeyReason,
) -> Gate {
    let (obs, now, timing) = (table.obs, table.now, table.timing);
    if let Some(wait) = waits(obs, status, why, now, timing) {
        return wait;
    }
    if obs.spec.key_source == KeySource::Local && obs.fresh_pair.is_none() {
        return Gate::Ask(Need::Pair);
    }
    let repairs = matches!(why, KeyReason::SecretMissing | KeyReason::SecretEdited);
    if repairs && !obs.confirmed {
        return Gate::Ask(Need::Confirm);
    }
    let (listed, backend_time) = match &obs.keys {
        None => return Gate::Ask(Need::Keys),
        Some(KeyList::Unreadable(trouble)) => {
            return Gate::Failed {
                reason: trouble.class.reason(),
                message: format!("The keys of the account cannot be listed: {}", trouble.message),
                asked: trouble.retry_after,
            };
        }
        Some(KeyList::Listed { keys, backend_time }) => (keys, *backend_time),
    };
    let skew = crate::domain::schedule::between(now.min(backend_time), now.max(backend_time));
    if skew > timing.max_skew && !defect!(SkewIgnored) {
        let message = clock_message(now, backend_time);
        return Gate::Failed { reason: Reason::ClockSkew, message, asked: None };
    }
    if let Some(full) = slots(table, status, account, schedule, listed) {
        return full;
    }
    match &obs.preflight {
        None => Gate::Ask(Need::Preflight),
        Some(Preflight::Refused { message }) => Gate::Failed {
            reason: Reason::SecretRefused,
            message: format!("The API server would not store the Secret: {message}"),
            asked: None,
        },
        Some(Preflight::Accepted) => Gate::Open { backend_time, listed: listed.clone() },
    }
}

/// For people: the two clocks.
pub fn clock_message(ours: Timestamp, theirs: Timestamp) -> String {
    format!("The backend's clock says {theirs:.0}, ours {ours:.0}: set the wrong one right")
}

fn waits(
    obs: &Observation,
    status: &ServiceAccountKeyStatus,
    why: KeyReason,
    now: Timestamp,
    timing: &Timing,
) -> Option<Gate> {
    let cap = usize::try_from(timing.burn_cap).unwrap_or(usize::MAX);
    // A spec that was changed since the failure may have removed its cause.
    let same_spec = status.observed_generation == obs.generation;
    if let (true, Some(failed)) = (same_spec, status.last_failure_time) {
        let until = add(failed, timing.backoff(status.failures)).max(status.retry_after.unwrap_or(failed));
        // A credential that leaked is not waited for for an hour, whoever asks for it.
        let soon = add(failed, timing.backoff_base);
        let until = if why == KeyReason::Revoked { until.min(soon) } else { until };
        if until > now {
            return Some(Gate::NotBefore(until));
        }
    }
    // A window that is over cannot bring a key any more: it only waits to be looked at.
    let attempts = status.lost.iter().filter(|l| ledger::is_attempt(l));
    let open = attempts.map(|l| add(l.until, timing.list_lag)).filter(|end| *end > now);
    if let (true, Some(until)) = (open.clone().count() >= cap, open.min()) {
        let message = format!("{cap} attempts to make a key ended without an answer");
        return Some(Gate::BackOff { until, message });
    }
    let burnt =
        status.unpublished_attempts.iter().map(|at| add(*at, timing.burn_window)).filter(|end| *end > now);
    if let (true, Some(until)) = (burnt.clone().count() >= cap, burnt.min()) {
        let message = format!("{cap} attempts to make a key within {:?} led to none", timing.burn_window);
        return Some(Gate::BackOff { until, message });
    }
    let (repairs, last) = ledger::drift_streak(status);
    let fought = same_spec && why.is_drift() && !defect!(DriftWithoutPause);
    if let (true, Some(last)) = (fought, last) {
        let until = add(last, timing.drift_wait(repairs));
        if until > now {
            let message = format!(
                "The Secret was lost or changed by somebody else again, soon after its last repair ({repairs} in a row). \
                 Stop what changes it; a change of this spec tries at once"
            );
            return Some(Gate::BackOff { until, message });
        }
    }
    None
}

/// `None` if another key fits.
fn slots(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    account: &Account,
    schedule: &Schedule,
    listed: &[ListedKey],
) -> Option<Gate> {
    let obs = table.obs;
    let limit = usize::try_from(account.can.key_limit?).unwrap_or(usize::MAX);
    let lost = if defect!(LostNotCounted) { 0 } else { status.lost.len() };
    if listed.len() + lost < limit || defect!(FullAccountTried) {
        return None;
    }
    if let Some(ending) =
        retire::early(table, status, account, schedule, listed).filter(|_| !schedule.suspend)
    {
        return Some(if obs.confirmed { Gate::MakeRoom(Box::new(ending)) } else { Gate::Ask(Need::Confirm) });
    }
    let ids: Vec<&str> = listed.iter().map(|k| k.id.as_str()).collect();
    Some(Gate::Failed {
        reason: Reason::QuotaExhausted,
        message: format!(
            "The account has {} of {limit} keys and {} attempts without an answer; delete one of: {}",
            listed.len(),
            status.lost.len(),
            ids.join(", ")
        ),
        asked: None,
    })
}
