//! Rule 13: the one destructive path. Orphans and abandoned keys pass through it like any other.

use jiff::Timestamp;

use super::observation::{Observation, Published, Secret};
use super::table::Table;
use super::{Account, ListedKey, Step, ledger, requests, story};
use crate::api::v1alpha1::{KeyPhase, KeySeen, LedgerKey, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::schedule::{Schedule, add};

/// An ending that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// The effect.
    pub step: Step,
    /// The status that records it.
    pub status: ServiceAccountKeyStatus,
}

/// The ending that is due, if any: disabled keys past `deleteAt` first, then overlaps past `disableAt`.
pub(super) fn due(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    account: &Account,
    schedule: &Schedule,
) -> Option<Ending> {
    let (obs, now) = (table.obs, table.now);
    // Nothing is ended on one clock.
    if (schedule.suspend && !defect!(SuspendEndsKeys)) || account.clock_skew.is_none() {
        return None;
    }
    let secret = publishing(obs, status)?;
    let ended = |key: &&LedgerKey| may_end(obs, Some(secret), status, key);
    let disabled = status.keys.iter().filter(|k| k.phase == KeyPhase::Disabled && is_past(k.delete_at, now));
    let over = status.keys.iter().filter(|k| k.phase == KeyPhase::Overlap && is_past(k.disable_at, now));
    let over = over.filter(|k| !table.is_in_use(k, schedule));
    let key = disabled.chain(over).find(ended)?;
    Some(end(table, status, key, account, schedule))
}

/// The oldest disabled key, deleted before its time because the account has no room, or a key whose overlap is over: also
/// where the Secret does not publish the active key, for then it is the repair that needs the room.
pub(super) fn early(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    account: &Account,
    schedule: &Schedule,
    listed: &[ListedKey],
) -> Option<Ending> {
    let obs = table.obs;
    let secret = match &obs.secret {
        Secret::Ours(secret) => Some(secret),
        Secret::Absent => None,
        Secret::Foreign { .. } | Secret::Left(_) => return None,
    };
    let revoked =
        |key: &LedgerKey| requests::revocation(table, status).is_some_and(|at| requests::is_revoked(key, at));
    // Whatever its mark says, it may hold the private half of any.
    let held = |key: &LedgerKey| {
        let sha = key.public_key_sha256.as_deref();
        secret.into_iter().chain(&obs.renamed_from).any(|s| {
            let previous = s.previous_key_id.as_ref() == Some(&key.id) && !revoked(key);
            previous || sha.is_some() && s.credential.is(sha)
        })
    };
    let is_over = |k: &&LedgerKey| match k.phase {
        KeyPhase::Disabled => true,
        KeyPhase::Overlap => {
            // Nothing comes to its time on one clock.
            let due = account.clock_skew.is_some() && is_past(k.disable_at, table.now);
            // What may be in use makes no room.
            let due = due && (schedule.require_unused_for.is_none() || obs.last_use.contains_key(&k.id));
            let due = due && !table.is_in_use(k, schedule);
            due && !table.is_awaited(status) || revoked(k) || defect!(RoomFromOverlap)
        }
        KeyPhase::Pending | KeyPhase::Active => false,
    };
    // What this very list shows at work again was enabled by somebody, whom the next audit would have found.
    let at_work = |key: &LedgerKey| {
        let settled = key.disabled_at.is_none_or(|at| add(at, table.timing.list_lag) <= table.now);
        let enabled = listed.iter().any(|l| l.id == key.id && !l.disabled);
        key.phase == KeyPhase::Disabled && settled && enabled
    };
    let endings = status.keys.iter().filter(is_over);
    let endings = endings.filter(|k| may_end(obs, secret, status, k) && !held(k) && !at_work(k));
    let key = endings.min_by_key(|k| (k.phase != KeyPhase::Disabled, k.attempt))?;
    Some(end(table, status, key, account, schedule))
}

/// The Secret, if it publishes the active key by its mark and by its content: otherwise nothing is ended.
fn publishing<'a>(obs: &'a Observation, status: &ServiceAccountKeyStatus) -> Option<&'a Published> {
    match &obs.secret {
        Secret::Ours(secret) if story::publishes(obs, status) || defect!(RetireBlindly) => Some(secret),
        _ => None,
    }
}

pub(super) fn may_end(
    obs: &Observation,
    secret: Option<&Published>,
    status: &ServiceAccountKeyStatus,
    key: &LedgerKey,
) -> bool {
    let shown = secret.is_some_and(|s| s.key_id.as_ref() == Some(&key.id));
    let published = (shown && !defect!(RetireBlindly))
        || status.active_key_id.as_ref() == Some(&key.id)
        || obs.renamed_from.as_ref().is_some_and(|s| s.key_id.as_ref() == Some(&key.id))
        || obs.former.iter().any(|former| former.key_ids.contains(&key.id));
    // A key that somebody enabled again is left to them.
    !published
        && !obs.is_key_put_off(&key.id)
        && key.seen != Some(KeySeen::Enabled)
        && !ledger::is_unfenced(status, key)
}

pub(super) fn is_past(time: Option<Timestamp>, now: Timestamp) -> bool {
    time.is_some_and(|t| t <= now)
}

fn end(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    key: &LedgerKey,
    account: &Account,
    schedule: &Schedule,
) -> Ending {
    if key.phase == KeyPhase::Disabled || !account.can.disable_keys {
        return delete(table, status, key);
    }
    let mut after = status.clone();
    if table.is_awaited(status) {
        // Its end waited for the workloads.
        after.restart_owed_for = None;
    }
    if let Some(entry) = ledger::find_mut(&mut after, &key.id) {
        entry.phase = KeyPhase::Disabled;
        entry.disabled_at = Some(table.now);
        entry.delete_at = Some(add(table.now, schedule.delete_after));
    }
    Ending { step: Step::DisableKey { id: key.id.clone() }, status: after }
}

/// Deletes a key and drops it from the ledger.
pub(super) fn delete(table: &Table<'_>, status: &ServiceAccountKeyStatus, key: &LedgerKey) -> Ending {
    let mut after = status.clone();
    ledger::drop_key(&mut after, key, table.now);
    Ending { step: Step::DeleteKey { id: key.id.clone() }, status: after }
}
