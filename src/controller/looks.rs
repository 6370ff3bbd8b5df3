//! When keys were last compared with the backend, and what any object saw there: one list an account and audit period.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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
    /// When an object was last compared. One that never was is given a time that lies as far back as its uid says.
    pub fn looked_at(&self, uid: &str, now: Timestamp, timing: &Timing) -> Timestamp {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        *objects.entry(uid.to_owned()).or_insert_with(|| {
            let period = u64::try_from(timing.audit.as_millis()).unwrap_or(u64::MAX).max(1);
            sub(now, std::time::Duration::from_millis(stable_hash(uid) % period))
        })
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
        (*at > since && between(*at, now) <= timing.audit).then(|| list.clone())
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
    fn a_list_of_anothers_is_enough_if_it_is_newer_than_ones_own_look() {
        let (looks, timing) = (Looks::default(), Timing::default());
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, at) = (time("2026-01-01T00:00:00Z"), time("2026-01-01T00:30:00Z"));
        let (after, late) = (time("2026-01-01T01:00:00Z"), time("2026-01-01T01:30:01Z"));
        looks.listed("one", at, &KeyList::Listed { keys: Vec::new(), backend_time: at }, &timing);
        assert!(looks.recent("one", before, after, &timing).is_some());
        assert!(looks.recent("one", at, after, &timing).is_none(), "it was compared with this one");
        assert!(looks.recent("one", before, late, &timing).is_none(), "it is older than a period");
        assert!(looks.recent("other", before, after, &timing).is_none());
    }
}
