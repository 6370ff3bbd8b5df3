//! Keys on an account that no object owns: reported, or ended where the spec hands the account's keys to us.

use jiff::Timestamp;

use super::Step;
use crate::api::v1alpha1::{AccountKeys, ServiceAccountStatus, UnmanagedKey, UnmanagedKeys};
use crate::domain::Timing;
use crate::domain::schedule::add;

/// Keys that are ended in one reconcile at most.
const AT_ONCE: usize = 10;
/// Keys that the status names at most.
const SHOWN: usize = 20;

/// The keys of an account, by one look at the backend and all objects after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// How many keys objects own.
    pub managed: u32,
    /// How many the backend keeps for itself, if that was read: only where there are unmanaged ones to be told of.
    pub system_managed: Option<u32>,
    /// How many fit.
    pub limit: Option<u32>,
    /// The others.
    pub unmanaged: Vec<Unclaimed>,
}

/// A key that no object claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclaimed {
    /// As the status shows it.
    pub key: UnmanagedKey,
    /// Whether some attempt may still claim it.
    pub undecided: bool,
    /// Since when this process sees it unclaimed.
    pub since: Timestamp,
}

/// Writes what was counted into the status, if the unmanaged keys changed: each rotation of a managed one would cost a
/// write otherwise. A key that an attempt may still claim is not unmanaged.
pub(super) fn report(status: &mut ServiceAccountStatus, policy: UnmanagedKeys, census: &Census) {
    let unmanaged: Vec<_> = census.unmanaged.iter().filter(|u| !u.undecided).map(|u| u.key.clone()).collect();
    let count = u32::try_from(unmanaged.len()).unwrap_or(u32::MAX);
    let shown: Vec<_> = match policy {
        UnmanagedKeys::Ignore => Vec::new(),
        _ => unmanaged.into_iter().take(SHOWN).collect(),
    };
    let known = status.keys.map_or(0, |k| k.unmanaged);
    if count != known || shown != status.unmanaged_keys {
        status.keys = Some(AccountKeys {
            managed: census.managed,
            unmanaged: count,
            system_managed: census.system_managed,
            limit: census.limit,
        });
        status.unmanaged_keys = shown;
    }
}

/// The ending that is due: of a key that nobody claimed for as long as an attempt of ours could still bring it up, and that
/// was not `tried` in this reconcile.
pub(super) fn ending(
    policy: UnmanagedKeys,
    census: &Census,
    (unique_id, tried): (&str, &[String]),
    now: Timestamp,
    timing: &Timing,
) -> Option<(Step, String)> {
    if tried.len() >= AT_ONCE {
        return None;
    }
    let due = |u: &&Unclaimed| !u.undecided && add(u.since, timing.horizon + timing.list_lag) <= now;
    // Lists lag behind endings, and what was refused would be refused again.
    let mut due = census.unmanaged.iter().filter(due).filter(|u| !tried.contains(&u.key.id));
    let (unique_id, step): (_, fn(String, String) -> Step) = (
        unique_id.to_owned(),
        match policy {
            UnmanagedKeys::Report | UnmanagedKeys::Ignore => return None,
            UnmanagedKeys::Disable => |unique_id, key_id| Step::DisableKey { unique_id, key_id },
            UnmanagedKeys::Delete => |unique_id, key_id| Step::DeleteKey { unique_id, key_id },
        },
    );
    let key = due.find(|u| policy == UnmanagedKeys::Delete || !u.key.disabled)?;
    Some((step(unique_id, key.key.id.clone()), key.key.id.clone()))
}
