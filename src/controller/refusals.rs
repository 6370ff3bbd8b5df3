//! Steps that were refused for good, by object: each is tried again later, ever more seldom, and holds up nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::key::{PutOff, Refused, Subject};
use crate::domain::schedule::add;
use crate::domain::{Reason, Timing, left_alone};

/// Lost with the process: a new one tries once more.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<String, Known>>);

type Known = BTreeMap<Subject, (u32, Refused)>;

impl Refusals {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step was refused at `now`; `asked` is how long the backend wants to be left alone. Gives what is not to be tried now.
    pub fn refused(
        &self,
        uid: &str,
        subject: Subject,
        (reason, message, asked): (Reason, String, Option<Duration>),
        now: Timestamp,
        timing: &Timing,
    ) -> Refused {
        let mut map = self.locked();
        let known = map.entry(uid.to_owned()).or_default();
        let times = known.get(&subject).map_or(1, |(times, _)| times.saturating_add(1));
        let told = timing.asked_until(now, asked);
        let until = told.unwrap_or(now).max(add(now, timing.retry(times)));
        let refused = Refused { until, reason, message: left_alone(&message, told) };
        known.insert(subject, (times, refused.clone()));
        refused
    }

    /// A step went through.
    pub fn done(&self, uid: &str, subject: &Subject) {
        let mut map = self.locked();
        if let Some(known) = map.get_mut(uid) {
            known.remove(subject);
            if known.is_empty() {
                map.remove(uid);
            }
        }
    }

    /// An object is gone.
    pub fn forget(&self, uid: &str) {
        self.locked().remove(uid);
    }

    /// What is not to be tried at `now`.
    pub fn fresh(&self, uid: &str, now: Timestamp) -> PutOff {
        let map = self.locked();
        let known = map.get(uid).into_iter().flatten();
        let fresh = known.filter(|(_, (_, refused))| refused.until > now);
        fresh.map(|(subject, (_, refused))| (subject.clone(), refused.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_for_a_while_that_grows_and_ends_with_success() {
        let (refusals, timing) = (Refusals::default(), Timing::default());
        let (now, key) = (Timestamp::UNIX_EPOCH, Subject::Key("k1".to_owned()));
        let no = || (Reason::PermissionMissing, "no".to_owned(), None);
        refusals.refused("u", key.clone(), no(), now, &timing);
        assert_eq!(refusals.fresh("u", now).keys().collect::<Vec<_>>(), [&key]);
        let later = add(now, timing.retry(1));
        assert!(refusals.fresh("u", later).is_empty() && refusals.fresh("v", now).is_empty());
        refusals.refused("u", key.clone(), no(), later, &timing);
        let until = refusals.fresh("u", later).into_values().next().unwrap().until;
        assert_eq!(until, add(later, timing.retry(2)));
        assert!(timing.retry(2) > timing.retry(1) && timing.retry(1) > Duration::ZERO);
        refusals.done("u", &key);
        assert!(refusals.fresh("u", later).is_empty());
    }

    #[test]
    fn a_refusal_counts_for_at_least_as_long_as_the_backend_asks() {
        let (refusals, timing) = (Refusals::default(), Timing::default());
        let (now, key) = (Timestamp::UNIX_EPOCH, Subject::Key("k1".to_owned()));
        let refused = |seconds| {
            let told = (Reason::BackendThrottled, "no".to_owned(), Some(Duration::from_secs(seconds)));
            refusals.refused("u", key.clone(), told, now, &timing)
        };
        let long = refused(30);
        assert_eq!(long.until, add(now, Duration::from_secs(30)));
        assert!(long.message.contains("00:00:30"), "{}", long.message);
        assert_eq!(refused(1).until, add(now, timing.retry(2)), "our own wait is the least");
        assert_eq!(refused(1_000_000).until, add(now, timing.asked_cap));
        assert_eq!(refusals.fresh("u", add(now, timing.retry_cap)).len(), 1);
    }
}
