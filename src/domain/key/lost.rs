//! Rules 12, 14 and 15: attempts whose answer was lost, and the keys that they may have left.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{KeyList, Secret};
use super::put_off::Subject;
use super::siblings::Siblings;
use super::step::{Need, Plan, Step};
use super::story;
use super::table::Table;
use super::{Account, ListedKey, ledger, requests};
use crate::api::v1alpha1::{
    KeyOrigin, KeyPhase, KeySource, LostAttempt, ServiceAccountKeyStatus, SuspectKey,
};
use crate::defect;
use crate::domain::schedule::{Schedule, add, is_audit_due, sub};
use crate::domain::{Event, Reason};

/// A backend gives whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Whose a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its public half is one that we made, or the backend names our attempt.
    Proved,
    /// Nothing speaks against it being ours.
    Unproved,
    /// It is as old as the object, or younger: that is all that a rebuilt status can tell.
    Unknown,
}

impl Table<'_> {
    /// Rule 12: after this write of the Secret no older one can succeed, so nobody can publish a lost key.
    pub(super) fn fence(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        let put_off = self.obs.put_off.contains_key(&Subject::Fencing);
        if put_off || secret.key_id.is_none() || secret.key_id != status.active_key_id {
            return None;
        }
        let unfenced: Vec<&str> =
            status.lost.iter().filter(|l| !l.fenced).map(|l| l.nonce.as_str()).collect();
        if unfenced.is_empty() {
            return None;
        }
        let mark = unfenced.join(",");
        let mut after = status.clone();
        for lost in &mut after.lost {
            lost.fenced = true;
        }
        Some(Plan::act("12", Step::Fence { mark }, after))
    }

    /// Rules 14 and 15. A key that appeared in a lost attempt's window is ours if that can be proved, or if nobody
    /// else can have made it; otherwise it is a suspect, reported and never touched. A window that can bring nothing
    /// more is closed.
    pub(super) fn settle_lost(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        if !self.is_look_due(status) {
            return None;
        }
        // An uploaded key is known by its public half, and only there: a list that was asked for by another rule may lack
        // it.
        let local = status.lost.iter().any(|l| l.public_key_sha256.is_some());
        let unnamed = |k: &ListedKey| {
            !k.made_by_backend && k.public_key_sha256.is_none() && ledger::find(status, &k.id).is_none()
        };
        let (keys, backend_time) = match &self.obs.keys {
            None if defect!(SibBeforeList) && self.obs.siblings.is_none() => {
                return Some(Plan::need("14", Need::Siblings, status));
            }
            None if local => return Some(Plan::need("14", Need::Fingerprints, status)),
            None => return Some(Plan::need("14", Need::Keys, status)),
            Some(KeyList::Listed { keys, .. }) if local && keys.iter().any(unnamed) => {
                return Some(Plan::need("14", Need::Fingerprints, status));
            }
            Some(KeyList::Unreadable(_)) => return None,
            Some(KeyList::Listed { keys, backend_time }) => (keys, *backend_time),
        };
        let mut after = status.clone();
        after.suspects.retain(|s| keys.iter().any(|k| k.id == s.id));
        let mut events = Vec::new();
        let candidates: Vec<(&ListedKey, &LostAttempt, Proof)> = keys
            .iter()
            .filter_map(|key| self.candidate(key, status).map(|(lost, proof)| (key, lost, proof)))
            .collect();
        let (mut open, mut unknown, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for (key, lost, proof) in candidates {
            match proof {
                Proof::Proved => {
                    events.push(adopted(key, "its attempt is proved to be ours"));
                    self.adopt_orphan(&mut after, key, lost, schedule);
                    if key.nonce.is_some() && lost.fenced {
                        named.push(lost.nonce.as_str());
                    }
                }
                Proof::Unproved => open.push((key, lost)),
                Proof::Unknown => unknown.push((key, lost)),
            }
        }
        // An attempt whose key the backend names has made no other.
        open.retain(|(_, lost)| !named.contains(&lost.nonce.as_str()));
        after.lost.retain(|l| !(l.fenced && named.contains(&l.nonce.as_str())));
        let answered = named.len();
        let mut undecided: Vec<&str> = Vec::new();
        if !open.is_empty() || !unknown.is_empty() || !after.suspects.is_empty() {
            let Some(siblings) = &self.obs.siblings else {
                return Some(Plan::need("14", Need::Siblings, status));
            };
            let unasked = wrongly_unasked();
            let siblings = if defect!(NoSiblingCheck) { &unasked } else { siblings };
            after.suspects.retain(|s| !siblings.claimed.contains(&s.id));
            open.retain(|(key, _)| !siblings.claimed.contains(&key.id));
            unknown.retain(|(key, _)| !siblings.claimed.contains(&key.id));
            let presumed =
                if (account.exclusive && !siblings.account_shared) || defect!(DeleteOnSharedAccount) {
                    presume(status, siblings, answered, &open)
                } else {
                    Presumed::Suspects
                };
            match presumed {
                Presumed::Wait => undecided = open.drain(..).map(|(_, lost)| lost.nonce.as_str()).collect(),
                Presumed::Ours => {
                    for (key, lost) in open.drain(..) {
                        events.push(adopted(key, "nobody else makes keys on this account"));
                        // To each attempt its own key.
                        let free = |l: &&LostAttempt| fits(key, l) && !ledger::is_answered(&after, l);
                        let attempts = status.lost.iter().filter(|l| ledger::is_attempt(l));
                        let lost =
                            attempts.filter(|l| l.public_key_sha256.is_none()).find(free).unwrap_or(lost);
                        self.adopt_orphan(&mut after, key, lost, schedule);
                    }
                }
                Presumed::Suspects => {}
            }
        }
        for (key, lost) in open.into_iter().chain(unknown) {
            // Only at the end of its window: until then the attempts of others may still claim it.
            if is_over(lost, backend_time, self.timing.list_lag)
                && !after.suspects.iter().any(|s| s.id == key.id)
            {
                after.suspects.push(SuspectKey {
                    id: key.id.clone(),
                    created_at: key.created_at,
                    since: self.now,
                });
            }
        }
        after.lost.retain(|l| !self.is_closable(l, backend_time) || undecided.contains(&l.nonce.as_str()));
        if after.lost == status.lost && after.suspects == status.suspects && after.keys == status.keys {
            return None;
        }
        story::suspects(self.obs, &mut after, self.now);
        Some(Plan { events, ..Plan::act("15", Step::WriteStatus, after) })
    }

    /// With no Secret there is nothing to fence; so long after it no first publication can leave any more.
    fn is_closable(&self, lost: &LostAttempt, now: Timestamp) -> bool {
        let unpublishable = lost.fenced || self.obs.secret == Secret::Absent;
        unpublishable && (is_over(lost, now, self.timing.list_lag) || defect!(CloseEarly))
    }

    /// A look at the backend: once its answer must be there, at the end of the window, and at every audit.
    fn is_look_due(&self, status: &ServiceAccountKeyStatus) -> bool {
        let obs = self.obs;
        let audit = is_audit_due(self.timing.audit, obs.looked_at, self.exact);
        let looked_before = |at: Timestamp| at <= self.now && (obs.looked_at < at || obs.keys.is_some());
        status.lost.iter().any(|lost| {
            self.is_closable(lost, self.now) || lost.fenced && (audit || looked_before(self.first_look(lost)))
        }) || (!status.suspects.is_empty() && (audit || obs.keys.is_some()))
    }

    /// When a lost attempt is first looked for.
    pub(super) fn first_look(&self, lost: &LostAttempt) -> Timestamp {
        add(lost.backend_time, self.timing.settle.saturating_mul(2))
    }

    /// The lost attempt that a listed key may come from.
    fn candidate<'s>(
        &self,
        key: &ListedKey,
        status: &'s ServiceAccountKeyStatus,
    ) -> Option<(&'s LostAttempt, Proof)> {
        if ledger::find(status, &key.id).is_some() || self.obs.requests.disown.contains(&key.id) {
            return None;
        }
        let staged = self.obs.staged.iter().any(|s| s.key_id.as_ref() == Some(&key.id));
        let published = matches!(&self.obs.secret, Secret::Ours(s) | Secret::Left(s) if s.key_id.as_ref() == Some(&key.id));
        if staged || published {
            return None;
        }
        let attempts = status.lost.iter().filter(|l| l.nonce != ledger::REBUILT);
        let windows = status.lost.iter().filter(|l| l.nonce == ledger::REBUILT);
        attempts.chain(windows).find_map(|lost| {
            if let Some(sha) = &lost.public_key_sha256 {
                let same = key.public_key_sha256.as_ref() == Some(sha);
                return (same && !lost.known_key_ids.contains(&key.id)).then_some((lost, Proof::Proved));
            }
            if let Some(nonce) = &key.nonce {
                return (*nonce == lost.nonce).then_some((lost, Proof::Proved));
            }
            let possible = fits(key, lost);
            let rebuilt = lost.nonce == ledger::REBUILT && !defect!(RebuiltProves);
            let proof = if rebuilt { Proof::Unknown } else { Proof::Unproved };
            possible.then_some((lost, proof))
        })
    }

    /// A key whose credential nobody has: into the ledger, to be ended like any other old key.
    fn adopt_orphan(
        &self,
        status: &mut ServiceAccountKeyStatus,
        key: &ListedKey,
        lost: &LostAttempt,
        schedule: &Schedule,
    ) {
        let mut entry = ledger::entry(&key.id, KeyPhase::Overlap, KeyOrigin::Orphan, lost.attempt);
        entry.created_at = key.created_at;
        entry.minted_at = Some(lost.backend_time);
        entry.expires_at = key.expires_at;
        entry.public_key_sha256.clone_from(&lost.public_key_sha256);
        if lost.public_key_sha256.is_some() {
            entry.source = KeySource::Local;
            entry.surfaces_until = Some(lost.until);
        }
        // A deposed process may have published it for a moment: it gets the full overlap, unless it was revoked.
        let revoked = status.handled.revoke_at.is_some_and(|at| requests::is_revoked(&entry, at));
        let overlap = if revoked || self.obs.deleting { Duration::ZERO } else { schedule.overlap };
        entry.disable_at = Some(add(self.now, overlap));
        status.suspects.retain(|s| s.id != key.id);
        ledger::put(status, entry);
    }
}

/// Whether an attempt can have made a key of which nothing but its time is known.
fn fits(key: &ListedKey, lost: &LostAttempt) -> bool {
    let in_window = defect!(KnownIdsOnly)
        || key.created_at.is_none_or(|at| sub(lost.backend_time, SECOND) <= at && at <= lost.until);
    key.made_by_backend && in_window && !lost.known_key_ids.contains(&key.id)
}

/// What the tests came to.
enum Presumed {
    /// Another attempt may still claim one of them.
    Wait,
    /// They are ours.
    Ours,
    /// At least one of them may not be ours, and nobody can say which.
    Suspects,
}

/// The tests for keys that no fact proves to be ours and that nobody claims.
fn presume(
    status: &ServiceAccountKeyStatus,
    siblings: &Siblings,
    answered: usize,
    unclaimed: &[(&ListedKey, &LostAttempt)],
) -> Presumed {
    // The open attempt of our own may still name it itself.
    let own_open = status.pending.as_ref().map(|p| sub(p.backend_time, SECOND));
    let undecided = unclaimed.iter().any(|(key, lost)| {
        let Some(created) = key.created_at else { return true };
        !lost.fenced
            || own_open.is_some_and(|from| from <= created)
            || siblings.windows.iter().any(|w| w.covers(created))
    });
    if undecided {
        Presumed::Wait
    } else if unclaimed.len() > siblings.fenced_attempts.saturating_sub(answered)
        || unclaimed.iter().any(|(key, _)| siblings.suspected.contains(&key.id))
    {
        Presumed::Suspects
    } else {
        Presumed::Ours
    }
}

fn is_over(lost: &LostAttempt, now: Timestamp, list_lag: Duration) -> bool {
    add(lost.until, list_lag) < now
}

fn adopted(key: &ListedKey, why: &str) -> Event {
    let note =
        format!("Key {} was made by an attempt whose answer was lost ({why}): it is ended in time", key.id);
    Event::normal(Reason::OrphanAdopted, note)
}

/// Wrong on purpose: nobody else makes keys.
#[expect(
    clippy::field_reassign_with_default,
    reason = "the mutants do not leave out the fields of a literal"
)]
fn wrongly_unasked() -> Siblings {
    let mut siblings = Siblings::default();
    siblings.fenced_attempts = usize::MAX;
    siblings
}
