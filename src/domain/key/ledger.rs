//! The ledger's own operations.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::v1alpha1::{
    KeyOrigin, KeyPhase, KeyReason, KeySource, LedgerKey, LostAttempt, PendingAttempt,
    ServiceAccountKeyStatus,
};
use crate::defect;
use crate::domain::Timing;
use crate::domain::schedule::{add, sub};

/// How much older than the list a key must be to be excluded by its time instead of by its id.
const KNOWN_IDS_WINDOW: Duration = Duration::from_hours(1);
/// How late after its intent a create can leave, by the send rule.
const SEND_MARGIN: Duration = Duration::from_secs(10);

/// Before the id of a key, stands for the nonce of an upload of the same pair that may surface a second time.
pub const SECOND: &str = "second-";

/// Stands for the nonce of attempts that nobody remembers because the status was lost.
pub const REBUILT: &str = "rebuilt";

/// A ledger entry with nothing but its identity.
pub fn entry(id: &str, phase: KeyPhase, origin: KeyOrigin, attempt: u32) -> LedgerKey {
    LedgerKey {
        id: id.to_owned(),
        phase,
        origin,
        reason: None,
        attempt,
        algorithm: None,
        minted_at: None,
        created_at: None,
        published_at: None,
        disable_at: None,
        delete_at: None,
        disabled_at: None,
        expires_at: None,
        public_key_sha256: None,
        source: KeySource::Backend,
        surfaces_until: None,
        seen: None,
        disable_reason: None,
        extended_status: None,
    }
}

/// The entry of a key.
pub fn find<'a>(status: &'a ServiceAccountKeyStatus, id: &str) -> Option<&'a LedgerKey> {
    status.keys.iter().find(|k| k.id == id)
}

/// The entry of a key, to change it.
pub fn find_mut<'a>(status: &'a mut ServiceAccountKeyStatus, id: &str) -> Option<&'a mut LedgerKey> {
    status.keys.iter_mut().find(|k| k.id == id)
}

/// The active key's entry.
pub fn active(status: &ServiceAccountKeyStatus) -> Option<&LedgerKey> {
    status.active_key_id.as_deref().and_then(|id| find(status, id))
}

/// Adds an entry, or replaces the one of the same key.
pub fn put(status: &mut ServiceAccountKeyStatus, key: LedgerKey) {
    match find_mut(status, &key.id) {
        Some(existing) => *existing = key,
        None => status.keys.push(key),
    }
}

/// Moves a key into its overlap, which ends at `disable_at`, or with the key itself.
pub fn to_overlap(key: &mut LedgerKey, disable_at: Timestamp) {
    key.phase = KeyPhase::Overlap;
    key.disable_at = Some(key.expires_at.map_or(disable_at, |end| end.min(disable_at)));
    key.disabled_at = None;
    key.delete_at = None;
}

/// The open attempt becomes lost: unfenced, with its own ids and window.
///
/// A key of it that is known already, because it was refused once, stays known, and ends after `overlap`: a deposed
/// process may have published it for a moment.
pub fn pending_to_lost(
    status: &mut ServiceAccountKeyStatus,
    now: Timestamp,
    timing: &Timing,
    overlap: Duration,
) {
    if let Some(pending) = status.pending.take() {
        let made = |k: &&mut LedgerKey| k.phase == KeyPhase::Pending && k.attempt == pending.attempt;
        for key in status.keys.iter_mut().filter(made) {
            key.origin = KeyOrigin::Abandoned;
            to_overlap(key, add(now, overlap));
        }
        let forgotten = sub(pending.started_at, timing.burn_window);
        status.unpublished_attempts.retain(|at| *at > forgotten);
        status.unpublished_attempts.push(pending.started_at);
        // A create is sent once, soon after its intent; an upload until it is found.
        let sent = if pending.public_key_sha256.is_some() {
            now.max(pending.backend_time)
        } else {
            pending.backend_time
        };
        status.lost.push(LostAttempt {
            attempt: pending.attempt,
            nonce: pending.nonce,
            backend_time: pending.backend_time,
            until: add(add(sent, SEND_MARGIN), timing.horizon),
            known_key_ids: pending.known_key_ids,
            fenced: defect!(NoFence),
            public_key_sha256: pending.public_key_sha256,
        });
    }
}

/// Begins an attempt. Only ids young enough to be mistaken for its key are kept: older ones are excluded by
/// their time.
pub fn begin(
    status: &mut ServiceAccountKeyStatus,
    nonce: String,
    reason: KeyReason,
    now: Timestamp,
    backend_time: Timestamp,
    listed: &[super::ListedKey],
    public_key_sha256: Option<String>,
) {
    status.attempt = status.attempt.saturating_add(1);
    status.retry_after = None;
    let oldest = sub(backend_time, KNOWN_IDS_WINDOW);
    if defect!(KnownIdsRewritten) {
        for lost in &mut status.lost {
            lost.known_key_ids = listed.iter().map(|k| k.id.clone()).collect();
        }
    }
    status.pending = Some(PendingAttempt {
        attempt: status.attempt,
        nonce,
        reason,
        started_at: now,
        backend_time,
        known_key_ids: listed
            .iter()
            .filter(|k| k.created_at.is_none_or(|at| at >= oldest))
            .map(|k| k.id.clone())
            .collect(),
        public_key_sha256,
    });
}

/// Wrong on purpose: a lost attempt whose key is staged, as if it were open again.
pub fn wrongly_revived(status: &ServiceAccountKeyStatus, staged: &[super::Staged]) -> Option<PendingAttempt> {
    let lost = status.lost.iter().find(|l| staged.iter().any(|s| s.nonce == l.nonce))?;
    Some(PendingAttempt {
        attempt: lost.attempt,
        nonce: lost.nonce.clone(),
        reason: KeyReason::Schedule,
        started_at: lost.backend_time,
        backend_time: lost.backend_time,
        known_key_ids: Vec::new(),
        public_key_sha256: lost.public_key_sha256.clone(),
    })
}

/// Whether the public half of a pair is known: of a key, or of an attempt that may have uploaded it.
pub fn remembers(status: &ServiceAccountKeyStatus, fingerprint: Option<&str>) -> bool {
    let known = status.keys.iter().map(|k| &k.public_key_sha256);
    let open = status.lost.iter().map(|l| &l.public_key_sha256);
    known.chain(open).flatten().any(|sha| Some(sha.as_str()) == fingerprint)
}

/// Remembers a staged pair of which nobody knows whether it was uploaded.
pub fn remember(
    status: &mut ServiceAccountKeyStatus,
    staged: &super::Staged,
    now: Timestamp,
    timing: &Timing,
) {
    status.lost.push(LostAttempt {
        attempt: staged.attempt,
        nonce: staged.nonce.clone(),
        backend_time: now,
        until: add(add(now, SEND_MARGIN), timing.horizon),
        known_key_ids: Vec::new(),
        fenced: false,
        public_key_sha256: staged.public_key_sha256.clone(),
    });
}

/// Drops a key that was ended. An upload that was sent twice may surface a second time: the pair stays known for as
/// long as that can be.
pub fn drop_key(status: &mut ServiceAccountKeyStatus, key: &LedgerKey, now: Timestamp) {
    status.keys.retain(|k| k.id != key.id);
    if status.active_key_id.as_ref() == Some(&key.id) {
        status.active_key_id = None;
    }
    if let Some(until) = key.surfaces_until.filter(|until| *until > now) {
        expect_second(status, key, now, until);
    }
}

/// An upload that may have been sent twice: until then a second key of the same pair may appear, or has since the
/// attempt began.
pub fn expect_second(
    status: &mut ServiceAccountKeyStatus,
    key: &LedgerKey,
    now: Timestamp,
    until: Timestamp,
) {
    let nonce = format!("{SECOND}{}", key.id);
    if defect!(FingerprintDropped) || status.lost.iter().any(|l| l.nonce == nonce) {
        return;
    }
    status.lost.push(LostAttempt {
        attempt: key.attempt,
        nonce,
        backend_time: key.minted_at.unwrap_or(now),
        until,
        known_key_ids: vec![key.id.clone()],
        fenced: true,
        public_key_sha256: key.public_key_sha256.clone(),
    });
}

/// Whether a lost entry belongs to an attempt of its own that ended without a key: not a time that was rebuilt, and not
/// the second upload of a pair that was published.
pub fn is_attempt(lost: &LostAttempt) -> bool {
    lost.nonce != REBUILT && !lost.nonce.starts_with(SECOND)
}

/// Whether the one key that a lost attempt can have made is known already.
pub fn is_answered(status: &ServiceAccountKeyStatus, lost: &LostAttempt) -> bool {
    is_attempt(lost)
        && lost.public_key_sha256.is_none()
        && status.keys.iter().any(|k| k.attempt == lost.attempt)
}

/// Whether the attempt that made a key was given up and nobody can say yet that its key stays unpublished.
pub fn is_unfenced(status: &ServiceAccountKeyStatus, key: &LedgerKey) -> bool {
    // A window that was rebuilt speaks of attempts whose numbers nobody knows.
    status.lost.iter().any(|l| !l.fenced && (l.attempt == key.attempt || l.nonce == REBUILT))
}

/// Whether an older credential was put back: a key made later than the active one was published before.
pub fn older_was_restored(status: &ServiceAccountKeyStatus) -> bool {
    active(status)
        .is_some_and(|a| status.keys.iter().any(|k| k.published_at.is_some() && k.attempt > a.attempt))
}

/// How many keys in a row were made to repair drift, newest first, and when the newest was made.
pub fn drift_streak(status: &ServiceAccountKeyStatus) -> (u32, Option<Timestamp>) {
    let mut made: Vec<&LedgerKey> = status.keys.iter().filter(|k| k.published_at.is_some()).collect();
    made.sort_by_key(|k| std::cmp::Reverse(k.attempt));
    let streak = made.iter().take_while(|k| k.reason.is_some_and(KeyReason::is_drift)).count();
    (u32::try_from(streak).unwrap_or(u32::MAX), made.first().and_then(|k| k.minted_at))
}
