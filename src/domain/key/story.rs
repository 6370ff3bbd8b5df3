//! Conditions: what a decision means to the people who look at the object.

use jiff::Timestamp;

use super::ledger;
use super::observation::{Observation, Secret};
use crate::api::v1alpha1::{KeyPhase, KeySeen, ServiceAccountKeyStatus};
use crate::domain::conditions::{
    self, BACKEND_REACHABLE, Conditions, Is, KEY_VERIFIED, QUOTA_EXHAUSTED, READY, RECONCILING, ROTATING,
    SECRET_PUBLISHED, STALLED, SUSPECT_KEYS, WAITING_FOR_LOST_ATTEMPT,
};
use crate::domain::{Reason, Trouble};

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Nothing to do until a known time.
    Settled,
    /// A step of a change is done or under way.
    Working,
    /// Cannot go on now; a published key stays good.
    Waiting(Reason, String),
    /// Cannot go on, and what is published cannot be vouched for.
    Broken(Reason, String),
    /// Will not go on until a person changes something.
    Stalled(Reason, String),
}

/// Writes the conditions that follow from a decision, and the generation they speak of.
pub fn tell(obs: &Observation, status: &mut ServiceAccountKeyStatus, mood: &Mood, now: Timestamp) {
    let expired = ledger::active(status).and_then(|k| k.expires_at).filter(|end| *end <= now);
    let published = publishes(obs, status) && expired.is_none();
    let secret_name = secret_name(obs);
    let first = status.active_key_id.is_none();
    let open = status.pending.is_some();
    let refused = status.keys.iter().any(|k| k.phase == KeyPhase::Pending);
    let busy = if first { Reason::Creating } else { Reason::Rotating };
    let waiting_for_proof = refused.then_some(Reason::KeyNotYetAccepted);
    status.observed_generation = obs.generation;

    let mut c = Conditions::of(&mut status.conditions, obs.generation, now);
    match mood {
        Mood::Stalled(reason, message) => {
            c.set(READY, Is::False, *reason, message)
                .set(STALLED, Is::True, *reason, message)
                .clear(RECONCILING);
        }
        Mood::Broken(reason, message) => {
            c.set(READY, Is::False, *reason, message).clear(STALLED).clear(RECONCILING);
        }
        Mood::Waiting(reason, message) if !published => {
            c.set(READY, Is::False, *reason, message).clear(STALLED);
        }
        Mood::Settled | Mood::Working | Mood::Waiting(..) => {
            c.clear(STALLED);
            if published {
                c.set(
                    READY,
                    Is::True,
                    Reason::KeyPublished,
                    format!("Secret {secret_name} publishes the key"),
                );
            } else {
                let message = "A key is being made; it is published once the backend accepts it";
                c.set(READY, Is::False, waiting_for_proof.unwrap_or(busy), message);
                if let Some(end) = expired.filter(|_| !open) {
                    let message = format!("The published key stopped working at {end:.0}");
                    c.set(READY, Is::False, Reason::KeyExpired, message);
                }
            }
        }
    }
    if open {
        c.set(RECONCILING, Is::True, busy, "An attempt to make a key is under way");
    } else {
        c.clear(RECONCILING);
    }
    match mood {
        // A published key is as good as before: what cannot go on is its replacement.
        Mood::Waiting(reason, message) if published => {
            c.set(ROTATING, Is::False, *reason, message);
        }
        _ if open && !first => {
            let message = "The published key stays valid until the new one is proved";
            c.set(ROTATING, Is::True, Reason::Rotating, message);
        }
        _ => {
            c.clear(ROTATING);
        }
    }
    match mood {
        Mood::Waiting(Reason::QuotaExhausted, message) => {
            c.set(QUOTA_EXHAUSTED, Is::True, Reason::QuotaExhausted, message);
        }
        Mood::Settled | Mood::Working => {
            c.clear(QUOTA_EXHAUSTED);
        }
        _ => {}
    }
    if published {
        c.set(
            SECRET_PUBLISHED,
            Is::True,
            Reason::KeyPublished,
            format!("Secret {secret_name} holds the active key"),
        );
    } else if !first {
        let (reason, message) = match &obs.secret {
            Secret::Absent => (Reason::SecretMissing, format!("Secret {secret_name} is gone")),
            Secret::Left(_) => (
                Reason::SecretEdited,
                format!("Secret {secret_name} is that of an earlier object of this name"),
            ),
            Secret::Foreign { why } => (Reason::SecretConflict, why.clone()),
            Secret::Ours(_) if expired.is_some() => (
                Reason::KeyExpired,
                format!("Secret {secret_name} holds a key that stopped working by itself"),
            ),
            Secret::Ours(_) => {
                (Reason::SecretEdited, format!("Secret {secret_name} does not hold the active key"))
            }
        };
        c.set(SECRET_PUBLISHED, Is::False, reason, message);
    }
    suspects(obs, status, now);
}

/// Keys that could be ours.
pub fn suspects(obs: &Observation, status: &mut ServiceAccountKeyStatus, now: Timestamp) {
    let ids: Vec<String> = status.suspects.iter().map(|s| s.id.clone()).collect();
    let mut c = Conditions::of(&mut status.conditions, obs.generation, now);
    if ids.is_empty() {
        c.clear(SUSPECT_KEYS);
        return;
    }
    let message = format!(
        "These keys may have been made by an attempt whose answer was lost; they are never touched: {ids}. The annotation \
         keywheel.dev/claim-key: <ids> has those ended that are ours, keywheel.dev/disown-key: <ids> forgets those that \
         are not. Where the backend takes keySource: Local, this question does not come up with it",
        ids = ids.join(", ")
    );
    c.set(SUSPECT_KEYS, Is::True, Reason::SuspectKeys, message);
}

/// The backend answered, or did not.
pub fn backend(
    obs: &Observation,
    status: &mut ServiceAccountKeyStatus,
    answer: Result<(), &Trouble>,
    now: Timestamp,
) {
    let mut c = Conditions::of(&mut status.conditions, obs.generation, now);
    match answer {
        Err(trouble) if trouble.class.is_passing() => {
            c.set(BACKEND_REACHABLE, Is::False, trouble.class.reason(), &trouble.message);
        }
        Ok(()) | Err(_) => {
            c.set(BACKEND_REACHABLE, Is::True, Reason::BackendReady, "The backend answers");
        }
    }
}

/// What is known about the newest key's proof.
pub fn verified(
    obs: &Observation,
    status: &mut ServiceAccountKeyStatus,
    is: Is,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    Conditions::of(&mut status.conditions, obs.generation, now).set(KEY_VERIFIED, is, reason, message);
}

/// A deleting object explains why it is still there.
pub fn waits_for_lost(
    obs: &Observation,
    status: &mut ServiceAccountKeyStatus,
    until: Timestamp,
    now: Timestamp,
) {
    let message = format!(
        "An attempt to make a key ended without an answer; its key may appear until {until:.0}. The object is \
         removed after that, or at once with the annotation keywheel.dev/abandon"
    );
    Conditions::of(&mut status.conditions, obs.generation, now).set(
        WAITING_FOR_LOST_ATTEMPT,
        Is::True,
        Reason::WaitingForLostAttempt,
        message,
    );
}

/// Whether the Secret that was read publishes the key that the status names, by its mark and by its content, and nobody
/// was seen to have ended that key.
pub fn publishes(obs: &Observation, status: &ServiceAccountKeyStatus) -> bool {
    let dead =
        ledger::active(status).is_some_and(|k| matches!(k.seen, Some(KeySeen::Gone | KeySeen::Disabled)));
    match &obs.secret {
        _ if dead => false,
        Secret::Ours(secret) => {
            let expected = ledger::active(status).and_then(|k| k.public_key_sha256.as_deref());
            secret.key_id.is_some() && secret.key_id == status.active_key_id && secret.credential.is(expected)
        }
        // Published under the name before: the new one follows.
        Secret::Absent => obs
            .renamed_from
            .as_ref()
            .zip(ledger::active(status))
            .is_some_and(|(old, active)| super::publish::holds(old, active)),
        Secret::Left(_) | Secret::Foreign { .. } => false,
    }
}

/// Name of the consumer Secret.
pub fn secret_name(obs: &Observation) -> String {
    obs.spec.secret.name.clone().unwrap_or_else(|| obs.name.clone())
}

/// An old key stays in service beyond its overlap.
pub fn held(
    obs: &Observation,
    status: &mut ServiceAccountKeyStatus,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    Conditions::of(&mut status.conditions, obs.generation, now).set(ROTATING, Is::True, reason, message);
    // It was taken away on the way here, and has not changed for all that.
    let list = |s: &ServiceAccountKeyStatus| conditions::find(&s.conditions, ROTATING).cloned();
    let before = obs.status.as_ref().and_then(list).filter(|c| c.status == Is::True.as_str());
    let told = status.conditions.iter_mut().find(|c| c.type_ == ROTATING);
    if let Some((told, before)) = told.zip(before) {
        told.last_transition_time = before.last_transition_time;
    }
}

/// A step that was refused or got no answer: said once, where people look. The next step that goes through sets the
/// conditions right again.
pub fn failed_step(
    obs: &Observation,
    reason: Reason,
    message: &str,
    now: Timestamp,
) -> ServiceAccountKeyStatus {
    let mut status = obs.status.clone().unwrap_or_default();
    let published = publishes(obs, &status);
    let mut c = Conditions::of(&mut status.conditions, obs.generation, now);
    if obs.deleting {
        let message = format!(
            "{message}. It is tried again; the annotation keywheel.dev/abandon lets the object go without"
        );
        c.set(READY, Is::False, reason, message);
        c.set(RECONCILING, Is::True, Reason::Deleting, "The object is being deleted");
    } else if published {
        c.set(ROTATING, Is::False, reason, message);
    } else {
        c.set(READY, Is::False, reason, message);
    }
    status
}
