//! What force-deleted keys left behind: a staging Secret whose object is gone still proves whose key it holds.

use jiff::Timestamp;

use super::Step;
use crate::domain::Timing;
use crate::domain::schedule::add;

/// A staging Secret with a key of this account, whose `ServiceAccountKey` no longer exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Name of the Secret.
    pub name: String,
    /// Its uid: a delete carries it.
    pub uid: String,
    /// The key whose credential it holds; none for a pair whose key nobody knows: it cannot be ended from here.
    pub key_id: Option<String>,
    /// Whether a consumer Secret in the namespace publishes this key, or has it in its ledger.
    pub published: bool,
    /// When this process first saw it without its object.
    pub since: Timestamp,
}

/// What to do about leftovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// There are none.
    Clean,
    /// A request of the object's last pass may still be on its way.
    NotBefore(Timestamp),
    /// One effect.
    Act(Step),
}

/// The key first, then the Secret that proves it is ours. A key that a Secret publishes is in use, whoever wrote
/// that Secret: it is left alone.
pub(super) fn sweep(
    leftovers: &[Leftover],
    ended: &[String],
    unique_id: &str,
    now: Timestamp,
    timing: &Timing,
) -> Sweep {
    let Some(next) = leftovers.iter().min_by_key(|l| (l.since, &l.name)) else { return Sweep::Clean };
    let due = add(next.since, timing.settle);
    if due > now {
        return Sweep::NotBefore(due);
    }
    let to_end = next.key_id.as_ref().filter(|id| !next.published && !ended.contains(id));
    Sweep::Act(match to_end {
        Some(key_id) => Step::DeleteKey { unique_id: unique_id.to_owned(), key_id: key_id.clone() },
        None => Step::Unstage { name: next.name.clone(), uid: next.uid.clone() },
    })
}
