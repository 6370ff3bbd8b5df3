//! No burn: every attempt to make a key must have been needed, by facts that the oracle knows itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywheel::api::v1alpha1::Span;
use serde_json::Value;

use super::view::{KeyObject, View, time};
use crate::iam::{Iam, Maker, short};

/// How old a fact may be that an attempt rests on: the send window, and a timeout.
pub(super) const FRESH: SignedDuration = SignedDuration::from_secs(20);
/// Least distance of two keys that repair what somebody else did.
const DRIFT_PAUSE: Duration = Duration::from_mins(10);
/// Reasons that say that somebody else did something to a Secret or a key.
const DRIFT: [&str; 4] = ["SecretMissing", "SecretEdited", "OldCredentialRestored", "KeyEnded"];

/// What is known of an object.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Whether its Secret lacks the active key, and when it was last seen to.
    bad: bool,
    bad_at: Option<Timestamp>,
    /// When a new key of it was last published.
    published_at: Option<Timestamp>,
    /// The last attempt that repaired drift and was published: when it began, and under which generation.
    repaired: Option<(Timestamp, Value)>,
    /// Nonce, reason, begin and generation of the open attempt.
    open: Option<(String, String, Timestamp, Value)>,
    /// Whether a person ever wrote its Secret, or took its status away.
    touched: bool,
    /// Whether its status was taken away.
    wiped: bool,
}

/// What is known of all objects, and every attempt that was made.
#[derive(Default)]
pub struct Needs {
    known: BTreeMap<String, Known>,
    intents: BTreeSet<String>,
}

impl Needs {
    /// Attempts that came to nothing.
    pub fn wasted(&self, iam: &Iam, was_published: impl Fn(&str) -> bool) -> usize {
        let made = iam.keys.values().filter(|k| was_published(&k.id));
        let good: BTreeSet<&str> = made
            .filter_map(|k| match &k.made_by {
                Maker::Attempt(nonce) => Some(nonce.as_str()),
                Maker::Person => None,
            })
            .collect();
        self.intents.iter().filter(|nonce| !good.contains(nonce.as_str())).count()
    }

    /// A person wrote the Secret of an object.
    pub fn touched(&mut self, uid: &str) {
        self.known.entry(uid.to_owned()).or_default().touched = true;
    }

    /// A person took the status of an object away: what was repaired last stood only there.
    pub fn wiped(&mut self, uid: &str) {
        let known = self.known.entry(uid.to_owned()).or_default();
        (known.touched, known.wiped) = (true, true);
        known.repaired = None;
    }

    /// Whether a person ever took the status of an object away: nobody remembers then when its keys were made.
    pub fn is_wiped(&self, uid: &str) -> bool {
        self.known.get(uid).is_some_and(|known| known.wiped)
    }

    /// A key was published for an object that was not before.
    pub fn published(&mut self, uid: &str, now: Timestamp) {
        let known = self.known.entry(uid.to_owned()).or_default();
        known.published_at = Some(now);
        if let Some((_, reason, begun, generation)) = known.open.take() {
            let drift = DRIFT.contains(&reason.as_str());
            known.repaired = drift.then_some((begun, generation));
        }
    }

    /// After every effect: which objects lack their active key in their Secret.
    pub fn look(&mut self, view: &View, iam: &Iam, now: Timestamp) {
        for object in &view.keys {
            let Some(active) = object.active() else { continue };
            // One of a former name does not count: it goes.
            let name = object.status("/secretName").and_then(|name| name.as_str());
            let whole = |half: &String| iam.keys.get(active).is_none_or(|key| key.is_of(half));
            let good = view.consumers().any(|s| {
                s.owner_uid.as_deref() == Some(object.uid.as_str())
                    && s.credentials.get(active).is_some_and(&whole)
                    && name.is_none_or(|name| s.place.name == name)
            });
            let known = self.known.entry(object.uid.clone()).or_default();
            if known.bad || !good {
                known.bad_at = Some(now);
            }
            known.bad = !good;
        }
    }

    /// An object was written by the operator. What is wrong with the attempt that begins with it, if one does.
    pub fn wrote(
        &mut self,
        before: Option<&Value>,
        object: &KeyObject,
        iam: &Iam,
        now: Timestamp,
        slack: Duration,
    ) -> Option<String> {
        let pending = object.status("/pending").filter(|p| p["nonce"].is_string())?;
        let nonce = pending["nonce"].as_str().unwrap_or_default();
        if !self.intents.insert(nonce.to_owned()) {
            return None;
        }
        let reason = pending["reason"].as_str().unwrap_or_default().to_owned();
        let generation = object.object["metadata"]["generation"].clone();
        let known = self.known.entry(object.uid.clone()).or_default();
        known.open = Some((nonce.to_owned(), reason.clone(), now, generation.clone()));
        let why = unneeded(known, &reason, before, object, iam, now, slack);
        let rushed = known.repaired.as_ref().filter(|(begun, same)| {
            let pause = SignedDuration::try_from(DRIFT_PAUSE.saturating_sub(slack)).unwrap_or_default();
            DRIFT.contains(&reason.as_str()) && *same == generation && now < *begun + pause
        });
        let rushed = rushed.map(|(begun, _)| format!("{:?} after the last repair began", now - *begun));
        why.or(rushed).map(|why| format!("attempt {nonce} of {} ({reason}): {why}", object.place))
    }
}

/// Why an attempt was not needed.
fn unneeded(
    known: &Known,
    reason: &str,
    before: Option<&Value>,
    object: &KeyObject,
    iam: &Iam,
    now: Timestamp,
    slack: Duration,
) -> Option<String> {
    let slack = SignedDuration::try_from(slack).unwrap_or_default();
    let active = before.and_then(|b| b.pointer("/status/activeKeyId")).and_then(Value::as_str);
    let key = active.and_then(|id| iam.keys.get(id));
    let annotation =
        |name: &str| time(&object.object["metadata"]["annotations"][format!("keywheel.dev/{name}")]);
    let rotation = |name: &str| {
        let text = object.object.pointer(&format!("/spec/rotation/{name}")).and_then(Value::as_str)?;
        SignedDuration::try_from(Span::new(text).to_duration().ok()?).ok()
    };
    match reason {
        "FirstKey" => active.map(|id| format!("key {} is active", short(id))),
        "SecretMissing" | "SecretEdited" => {
            let good = !known.bad && known.bad_at.is_none_or(|at| at + FRESH < now);
            good.then(|| "the Secret has its key".to_owned())
        }
        "KeyEnded" => {
            let ended = key.is_none_or(|k| k.ended_by_person || !k.works());
            (!ended).then(|| "the active key works".to_owned())
        }
        "OldCredentialRestored" => (!known.touched).then(|| "nobody put anything back".to_owned()),
        "Schedule" => {
            let (last, every) = (known.published_at?, rotation("every")?);
            (now < last + every - slack).then(|| format!("the last publication was {:?} ago", now - last))
        }
        "Expiring" => {
            let end = key.and_then(|k| k.expires_at.map(|end| (k.created_at, end)));
            let Some((begin, end)) = end else { return Some("the key does not end".to_owned()) };
            let ahead = end.duration_since(begin).as_secs_f64() * 0.34;
            let ahead = SignedDuration::from_secs_f64(ahead).max(rotation("overlap").unwrap_or_default());
            let begin_at = end - ahead - slack;
            (now < begin_at).then(|| format!("the key ends in {:?}", end - now))
        }
        "Requested" => {
            let Some(asked) = annotation("rotate-at") else { return Some("nobody asked".to_owned()) };
            let done = known.published_at.is_some_and(|at| at > asked + slack) || asked > now + slack;
            done.then(|| "what was asked for is done, or not due".to_owned())
        }
        "Revoked" => {
            let Some(asked) = annotation("revoke-at") else { return Some("nobody asked".to_owned()) };
            // After a status was lost nobody remembers when the key was made: then it counts as older.
            let remembered = before.is_some_and(|b| {
                let mut keys = b.pointer("/status/keys").and_then(Value::as_array).into_iter().flatten();
                keys.any(|k| k["id"].as_str() == active && !k["mintedAt"].is_null())
            });
            let younger =
                (remembered && key.is_some_and(|k| k.created_at > asked + slack)) || asked > now + slack;
            younger.then(|| "the active key is younger than the revocation".to_owned())
        }
        _ => None,
    }
}
