//! Rule 13: the one destructive path. Orphans and abandoned keys pass through it like any other.

use jiff::Timestamp;

use super::observation::{Observation, Published, Secret};
use super::table::Table;
use super::{Account, Step, ledger, story};
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
    let ended = |key: &&LedgerKey| may_end(obs, secret, status, key);
    let disabled = status.keys.iter().filter(|k| k.phase == KeyPhase::Disabled && is_past(k.delete_at, now));
    let over = status.keys.iter().filter(|k| k.phase == KeyPhase::Overlap && is_past(k.disable_at, now));
    let key = disabled.chain(over).find(ended)?;
    Some(end(table, status, key, account, schedule))
}

/// The oldest disabled key, deleted before its time because the account has no room.
pub(super) fn early(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Ending> {
    let obs = table.obs;
    let secret = publishing(obs, status)?;
    let key = status
        .keys
        .iter()
        .filter(|k| k.phase == KeyPhase::Disabled || defect!(RoomFromOverlap))
        .filter(|k| may_end(obs, secret, status, k))
        .min_by_key(|k| k.attempt)?;
    Some(delete(table, status, key))
}

/// The Secret, if it publishes the active key by its mark and by its content: otherwise nothing is ended.
fn publishing<'a>(obs: &'a Observation, status: &ServiceAccountKeyStatus) -> Option<&'a Published> {
    match &obs.secret {
        Secret::Ours(secret) if story::publishes(obs, status) || defect!(RetireBlindly) => Some(secret),
        _ => None,
    }
}

fn may_end(obs: &Observation, secret: &Published, status: &ServiceAccountKeyStatus, key: &LedgerKey) -> bool {
    let published = (secret.key_id.as_ref() == Some(&key.id) && !defect!(RetireBlindly))
        || status.active_key_id.as_ref() == Some(&key.id)
        || obs.renamed_from.as_ref().is_some_and(|s| s.key_id.as_ref() == Some(&key.id))
        || obs.former.iter().any(|former| former.key_ids.contains(&key.id));
    // A key that somebody enabled again is left to them.
    !published
        && !obs.is_key_put_off(&key.id)
        && key.seen != Some(KeySeen::Enabled)
        && !ledger::is_unfenced(status, key)
}

fn is_past(time: Option<Timestamp>, now: Timestamp) -> bool {
    time.is_some_and(|t| t <= now)
}

fn end(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    key: &LedgerKey,
    account: &Account,
    schedule: &Schedule,
) -> Ending {
    if key.phase == KeyPhase::Disabled || !account.can_disable {
        return delete(table, status, key);
    }
    let mut after = status.clone();
    // Its end waited for the workloads.
    after.restart_owed_for = None;
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
