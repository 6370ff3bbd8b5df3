//! Conditions: set without touching what did not change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Event, Reason};

/// The three values of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Is {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The object is as its spec says.
pub const READY: &str = "Ready";
/// Present while a change is under way (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Present while nothing will happen until a person acts (kstatus).
pub const STALLED: &str = "Stalled";
/// Present while others have an account that would else be ours alone.
pub const ACCOUNT_SHARED: &str = "AccountShared";
/// Whether the account has the roles of its spec; absent where there are none.
pub const ROLES_BOUND: &str = "RolesBound";
/// Whether the project has the services of the account's spec; absent where there are none.
pub const SERVICES_ENABLED: &str = "ServicesEnabled";
/// Whether the project is registered for Earth Engine; absent where the account does not ask for it.
pub const EARTH_ENGINE_REGISTERED: &str = "EarthEngineRegistered";
/// Whether what the account publishes stands in its `ConfigMaps`; absent where it publishes nothing.
pub const CONFIG_MAPS_PUBLISHED: &str = "ConfigMapsPublished";
/// True while a key is being replaced, False with a reason while its replacement cannot go on.
pub const ROTATING: &str = "Rotating";
/// Whether the Secret holds the active key.
pub const SECRET_PUBLISHED: &str = "SecretPublished";
/// Whether the newest key was accepted by the backend.
pub const KEY_VERIFIED: &str = "KeyVerified";
/// Whether the backend answered when it was last asked.
pub const BACKEND_REACHABLE: &str = "BackendReachable";
/// Present while no key can be made because the account has no room.
pub const QUOTA_EXHAUSTED: &str = "QuotaExhausted";
/// Present while keys exist that could be ours and cannot be proved so.
pub const SUSPECT_KEYS: &str = "SuspectKeys";
/// Present while a deleting object waits for a lost attempt to settle.
pub const WAITING_FOR_LOST_ATTEMPT: &str = "WaitingForLostAttempt";
/// Whether the backend's clock agrees with ours.
pub const CLOCK_IN_SYNC: &str = "ClockInSync";

/// Whether our login may do on the whole project what the operator may need.
pub const PERMISSIONS_GRANTED: &str = "PermissionsGranted";

/// A list of conditions being rewritten.
pub struct Conditions<'a> {
    list: &'a mut Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl<'a> Conditions<'a> {
    /// Rewrites `list` for an object of this generation.
    pub fn of(list: &'a mut Vec<Condition>, generation: Option<i64>, now: Timestamp) -> Self {
        Self { list, generation, now }
    }

    /// Sets a condition to True, unless one of `on` is False: then it is, too, for the same reason. It is set once: what was
    /// True in between would have another transition time after every look.
    pub fn set_true_unless(
        &mut self,
        type_: &str,
        on: &[&str],
        reason: Reason,
        message: impl Into<String>,
    ) -> &mut Self {
        let fails =
            |name: &&str| self.list.iter().find(|c| c.type_ == *name && c.status == Is::False.as_str());
        let failing = on.iter().find_map(fails).map(|c| (c.reason.clone(), c.message.clone()));
        match failing.and_then(|(reason, message)| Some((Reason::parse(&reason)?, message))) {
            Some((reason, message)) => self.set(type_, Is::False, reason, message),
            None => self.set(type_, Is::True, reason, message),
        }
    }

    /// Sets a condition; its transition time moves only when its status does.
    pub fn set(&mut self, type_: &str, is: Is, reason: Reason, message: impl Into<String>) -> &mut Self {
        let (status, message) = (is.as_str().to_owned(), message.into());
        let reason = reason.as_str().to_owned();
        match self.list.iter_mut().find(|c| c.type_ == type_) {
            Some(existing) => {
                if existing.status != status {
                    existing.last_transition_time = Time(self.now);
                }
                existing.status = status;
                existing.reason = reason;
                existing.message = message;
                existing.observed_generation = self.generation;
            }
            None => self.list.push(Condition {
                type_: type_.to_owned(),
                status,
                reason,
                message,
                observed_generation: self.generation,
                last_transition_time: Time(self.now),
            }),
        }
        self
    }

    /// Removes a condition that is present only while true.
    pub fn clear(&mut self, type_: &str) -> &mut Self {
        self.list.retain(|c| c.type_ != type_);
        self
    }
}

/// The condition of this type.
pub fn find<'a>(list: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    list.iter().find(|c| c.type_ == type_)
}

/// Whether a condition has this status.
pub fn is(list: &[Condition], type_: &str, is: Is) -> bool {
    find(list, type_).is_some_and(|c| c.status == is.as_str())
}

/// One event for each condition that turned bad, or changed its reason while bad: a failure is told once, not
/// on every pass.
pub fn events(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    after
        .iter()
        .filter(|c| is_bad(c))
        .filter(|c| find(before, &c.type_).is_none_or(|old| old.status != c.status || old.reason != c.reason))
        .filter_map(|c| Some(Event::warning(Reason::parse(&c.reason)?, c.message.clone())))
        .fold(Vec::new(), |mut told: Vec<Event>, event| {
            // Ready and Stalled often carry the same news.
            if !told.iter().any(|e| e.reason == event.reason) {
                told.push(event);
            }
            told
        })
}

fn is_bad(condition: &Condition) -> bool {
    let reason = Reason::parse(&condition.reason);
    match condition.type_.as_str() {
        READY | ROTATING | KEY_VERIFIED | BACKEND_REACHABLE | SECRET_PUBLISHED | CLOCK_IN_SYNC => {
            condition.status == Is::False.as_str() && !reason.is_some_and(Reason::is_progress)
        }
        STALLED | ACCOUNT_SHARED | QUOTA_EXHAUSTED | SUSPECT_KEYS | WAITING_FOR_LOST_ATTEMPT => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut list = Vec::new();
        Conditions::of(&mut list, Some(1), at(10)).set(READY, Is::False, Reason::Creating, "a");
        Conditions::of(&mut list, Some(1), at(20)).set(READY, Is::False, Reason::AccountNotReady, "b");
        assert_eq!(list[0].last_transition_time, Time(at(10)));
        Conditions::of(&mut list, Some(1), at(30)).set(READY, Is::True, Reason::KeyPublished, "c");
        assert_eq!(list[0].last_transition_time, Time(at(30)));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut before = Vec::new();
        Conditions::of(&mut before, Some(1), at(10)).set(READY, Is::False, Reason::Creating, "");
        assert!(events(&[], &before).is_empty(), "progress is no failure");
        let mut after = before.clone();
        Conditions::of(&mut after, Some(1), at(11))
            .set(READY, Is::False, Reason::SecretConflict, "not ours")
            .set(STALLED, Is::True, Reason::SecretConflict, "not ours");
        let told = events(&before, &after);
        assert_eq!(told, [Event::warning(Reason::SecretConflict, "not ours")]);
        assert!(events(&after, &after).is_empty());
        let mut other = after.clone();
        Conditions::of(&mut other, Some(1), at(12)).set(READY, Is::False, Reason::QuotaExhausted, "full");
        assert_eq!(
            events(&after, &other),
            [Event::warning(Reason::QuotaExhausted, "full")],
            "another failure"
        );
    }
}
