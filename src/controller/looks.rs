//! When keys were last compared with the backend, and what any object saw there: one list an account and audit period.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Timing;
use crate::domain::key::KeyList;
use crate::domain::names::stable_hash;
use crate::domain::schedule::{add, between, sub};

/// Lost with the process: the looks of a new one are spread over the period.
#[derive(Default)]
pub struct Looks {
    objects: Mutex<HashMap<String, Timestamp>>,
    listings: Mutex<HashMap<String, (Timestamp, KeyList)>>,
}

impl Looks {
    /// When an object was last compared. One that never was is given a time that lies as far back in its period as its uid
    /// says. One that was compared in the future, by a clock that was set back since, is compared a period from now at most.
    pub fn looked_at(&self, uid: &str, now: Timestamp, period: Duration) -> Timestamp {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let at = objects.entry(uid.to_owned()).or_insert_with(|| {
            let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
            sub(now, Duration::from_millis(stable_hash(uid) % millis))
        });
        *at = (*at).min(now);
        *at
    }

    /// An object was compared with a list.
    pub fn looked(&self, uid: &str, now: Timestamp) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), now);
    }

    /// An object is gone.
    pub fn forget(&self, uid: &str) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What was seen of an account since an object was last compared, and within the last period.
    pub fn recent(
        &self,
        account: &str,
        since: Timestamp,
        now: Timestamp,
        timing: &Timing,
    ) -> Option<KeyList> {
        let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, list) = listings.get(account)?;
        let recent = *at > since && *at <= now && between(*at, now) <= timing.audit;
        recent.then(|| list.clone())
    }

    /// An account was listed.
    pub fn listed(&self, account: &str, now: Timestamp, list: &KeyList, timing: &Timing) {
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.retain(|_, (at, _)| add(*at, timing.audit) >= now);
        listings.insert(account.to_owned(), (now, list.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_compared_is_due_within_its_period_and_not_at_once() {
        let (looks, period) = (Looks::default(), Duration::from_mins(45));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for n in 0..200 {
            let waited = between(looks.looked_at(&format!("u-{n}"), now, period), now);
            assert!(waited < period, "{waited:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_puts_no_audit_off_for_longer_than_a_period() {
        let (looks, period) = (Looks::default(), Duration::from_mins(45));
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        looks.looked("u", add(now, Duration::from_hours(24)));
        assert_eq!(looks.looked_at("u", now, period), now);
        let later = add(now, period);
        assert_eq!(between(looks.looked_at("u", later, period), later), period);
    }

    #[test]
    fn a_list_of_anothers_is_enough_if_it_is_newer_than_ones_own_look() {
        let (looks, timing) = (Looks::default(), Timing::default());
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, at) = (time("2026-01-01T00:00:00Z"), time("2026-01-01T00:30:00Z"));
        let (after, late) = (time("2026-01-01T01:00:00Z"), time("2026-01-01T01:30:01Z"));
        looks.listed("one", at, &KeyList::Listed { keys: Vec::new(), backend_time: at }, &timing);
        assert!(looks.recent("one", before, after, &timing).is_some());
        assert!(looks.recent("one", at, after, &timing).is_none(), "it was compared with this one");
        assert!(looks.recent("one", before, late, &timing).is_none(), "it is older than a period");
        assert!(looks.recent("one", before, before, &timing).is_none(), "the clock was set back since");
        assert!(looks.recent("other", before, after, &timing).is_none());
    }
}
