//! Who may act: the decisions about the Lease, as pure functions.
//!
//! The holder counts from the moment before its renewal left, and stops acting at two thirds of the duration. A
//! rival counts the whole duration from the moment after it saw the record change, and never less than its own: a holder
//! whose record a person shortens goes on by its own clock. Both read a clock that goes on while the machine sleeps, and
//! neither trusts the times that stand in the record.

use std::time::Duration;

/// The record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who holds it; none if it was given back.
    pub holder: Option<String>,
    /// The record's resource version: differs after every write of anybody.
    pub version: String,
    /// For how long its holder asked, unless a person has changed that.
    pub duration: Duration,
}

/// The record as a process saw it last, and since when it has seen it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    found: Found,
    since: Duration,
}

/// What to do about the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Write our name: nobody holds it, or its holder had its time.
    Take,
    /// It is ours: write it again.
    Renew,
    /// Another holds it: look again after this time.
    Wait(Duration),
}

/// Remembers a reading at `now` (time since boot).
pub fn see(before: Option<Seen>, found: Found, now: Duration) -> Seen {
    before.filter(|seen| seen.found.version == found.version).unwrap_or(Seen { found, since: now })
}

/// The record is gone, because somebody deleted it: whoever held it last, seen by us or not, may act for the whole duration
/// from now on.
pub fn vanished(before: Seen, now: Duration) -> Seen {
    let duration = before.found.duration;
    let holder = Some("whoever held the Lease that somebody deleted".to_owned());
    see(Some(before), Found { holder, version: String::new(), duration }, now)
}

/// Decides. `own` is the duration that this process asks for, `retry` the longest wait between two looks.
pub fn decide(me: &str, seen: &Seen, now: Duration, own: Duration, retry: Duration) -> Decision {
    match seen.found.holder.as_deref() {
        None | Some("") => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) => {
            let over = seen.since.saturating_add(seen.found.duration.max(own));
            match over.checked_sub(now).filter(|left| !left.is_zero()) {
                None => Decision::Take,
                Some(left) => Decision::Wait(left.min(retry)),
            }
        }
    }
}

/// Until when a holder acts whose renewal left at `sent`.
pub fn acts_until(sent: Duration, duration: Duration) -> Duration {
    sent.saturating_add(duration * 2 / 3)
}

/// How often it is renewed.
pub fn renew_every(duration: Duration) -> Duration {
    duration / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn found(holder: &str, version: &str) -> Found {
        let holder = Some(holder.to_owned()).filter(|h| !h.is_empty());
        Found { holder, version: version.to_owned(), duration: s(15) }
    }

    #[test]
    fn a_free_record_is_taken_and_an_own_one_renewed() {
        let free = see(None, found("", "1"), s(100));
        assert_eq!(decide("a", &free, s(100), s(15), s(5)), Decision::Take);
        let own = see(Some(free), found("a", "2"), s(101));
        assert_eq!(decide("a", &own, s(101), s(15), s(5)), Decision::Renew);
    }

    #[test]
    fn a_rival_waits_for_the_whole_duration_since_the_last_change_that_it_saw() {
        let at = |before: Option<Seen>, version: &str, now| {
            let seen = see(before, found("b", version), s(now));
            (decide("a", &seen, s(now), s(15), s(5)), Some(seen))
        };
        let (decision, seen) = at(None, "1", 100);
        assert_eq!(decision, Decision::Wait(s(5)));
        assert_eq!(at(seen.clone(), "1", 112).0, Decision::Wait(s(3)));
        assert_eq!(at(seen.clone(), "1", 115).0, Decision::Take);
        let (_, seen) = at(seen, "2", 114);
        assert_eq!(at(seen, "2", 115).0, Decision::Wait(s(5)));
    }

    #[test]
    fn a_duration_that_a_person_shortened_lets_no_rival_in_before_its_own() {
        for shortened in [0, 1] {
            let seen = see(None, found("b", "1"), s(100));
            let edited = Found { duration: s(shortened), ..found("b", "2") };
            let seen = see(Some(seen), edited, s(101));
            assert_eq!(decide("a", &seen, s(103), s(15), s(5)), Decision::Wait(s(5)));
            assert_eq!(decide("a", &seen, s(115), s(15), s(5)), Decision::Wait(s(1)));
            assert_eq!(decide("a", &seen, s(116), s(15), s(5)), Decision::Take);
            let gone = vanished(seen, s(115));
            assert_eq!(decide("a", &gone, s(129), s(15), s(5)), Decision::Wait(s(1)));
        }
        // One that the holder made longer counts.
        let longer = see(None, Found { duration: s(60), ..found("b", "1") }, s(100));
        assert_eq!(decide("a", &longer, s(159), s(15), s(5)), Decision::Wait(s(1)));
    }

    #[test]
    fn a_record_that_somebody_deleted_is_free_a_whole_duration_later() {
        // What was seen last may be older than the last renewal, and may be our own.
        for holder in ["a", "b"] {
            let seen = see(None, found(holder, "1"), s(100));
            let gone = vanished(seen, s(114));
            assert_eq!(decide("a", &gone, s(114), s(15), s(5)), Decision::Wait(s(5)));
            let gone = vanished(gone, s(128));
            assert_eq!(decide("a", &gone, s(128), s(15), s(5)), Decision::Wait(s(1)));
            assert_eq!(decide("a", &vanished(gone, s(129)), s(129), s(15), s(5)), Decision::Take);
        }
    }

    #[test]
    fn a_holder_acts_for_two_thirds_of_the_duration_and_renews_at_one() {
        assert_eq!(acts_until(s(100), s(15)), s(110));
        assert_eq!(renew_every(s(15)), s(5));
    }

    proptest! {
        /// However late the rival reads, and whatever a person wrote into the record, it takes over after the holder has
        /// stopped.
        #[test]
        fn nobody_takes_over_while_the_holder_acts(
            sent in 0_u64..1000, read_after in 0_u64..1000, look_after in 0_u64..1000, written in 0_u64..60,
        ) {
            let duration = s(15);
            let record = Found { duration: s(written), ..found("b", "1") };
            let seen = see(None, record, s(sent + read_after));
            let looked = s(sent + read_after + look_after);
            if decide("a", &seen, looked, s(15), s(5)) == Decision::Take {
                prop_assert!(looked > acts_until(s(sent), duration));
            }
        }
    }
}
