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
    /// The keys that it leaves, by its own word, or of a pair by a look at the backend: two, if it was uploaded twice. Without
    /// those that somebody goes on with: a consumer Secret, or the ledger of another object.
    pub to_end: Vec<String>,
    /// What it holds.
    pub content: Content,
    /// When this process first saw it without its object.
    pub since: Timestamp,
}

/// What a staging Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A key that the backend made: there is one, and its id is known.
    Key,
    /// A pair that may have been uploaded, once or twice, and that was looked for just now.
    Pair,
    /// What cannot be said now: the account's keys, or an object's ledger, could not be read.
    Unsearched,
}

/// The account whose leftovers they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swept<'a> {
    /// Its unique id.
    pub unique_id: &'a str,
    /// Whether it is about to go, and its keys with it.
    pub goes: bool,
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
    account: Swept<'_>,
    now: Timestamp,
    timing: &Timing,
) -> Sweep {
    let mut oldest: Vec<&Leftover> = leftovers.iter().collect();
    oldest.sort_by_key(|l| (l.since, &l.name));
    let mut wait = None;
    for leftover in oldest {
        match step(leftover, ended, account, now, timing) {
            Ok(step) => return Sweep::Act(step),
            Err(due) => wait = Some(wait.map_or(due, |before: Timestamp| before.min(due))),
        }
    }
    wait.map_or(Sweep::Clean, Sweep::NotBefore)
}

/// What is done about one now, or when it is looked at again.
fn step(
    leftover: &Leftover,
    ended: &[String],
    account: Swept<'_>,
    now: Timestamp,
    timing: &Timing,
) -> Result<Step, Timestamp> {
    let due = add(leftover.since, timing.settle);
    if due > now {
        return Err(due);
    }
    let told = leftover.content != Content::Unsearched || account.goes;
    if let Some(key_id) = leftover.to_end.iter().find(|id| told && !ended.contains(id)) {
        return Ok(Step::DeleteKey { unique_id: account.unique_id.to_owned(), key_id: key_id.clone() });
    }
    // An upload may still surface: until it cannot any more, the pair is all that proves whose it is.
    let surfaced = add(leftover.since, timing.horizon + timing.list_lag);
    match leftover.content {
        // Of an account that goes nothing surfaces.
        _ if account.goes => Ok(Step::Unstage { name: leftover.name.clone(), uid: leftover.uid.clone() }),
        Content::Unsearched => Err(add(now, timing.settle)),
        Content::Pair if surfaced > now => Err(surfaced),
        Content::Pair | Content::Key => {
            Ok(Step::Unstage { name: leftover.name.clone(), uid: leftover.uid.clone() })
        }
    }
}
