//! The server's own clock: the machine's, shifted by a settable offset.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Everything that the server dates, its `Date` header included, comes from here, so that a skewed backend can be
/// had without touching the machine's clock.
#[derive(Debug)]
pub struct Clock {
    offset_millis: AtomicI64,
}

impl Clock {
    /// A clock that is `offset` ahead of the machine's (behind it, if negative).
    pub fn new(offset: SignedDuration) -> Self {
        let clock = Self { offset_millis: AtomicI64::new(0) };
        clock.set_offset(offset);
        clock
    }

    /// Now, on this clock.
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        // An offset that leads out of the calendar changes nothing; the settings refuse such offsets.
        now.checked_add(self.offset()).unwrap_or(now)
    }

    /// How far the clock is ahead of the machine's, to the millisecond.
    pub fn offset(&self) -> SignedDuration {
        SignedDuration::from_millis(self.offset_millis.load(Ordering::Relaxed))
    }

    /// Shifts the clock from now on.
    pub fn set_offset(&self, offset: SignedDuration) {
        let millis = i64::try_from(offset.as_millis()).unwrap_or(0);
        self.offset_millis.store(millis, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_the_clock_and_can_be_changed() {
        let clock = Clock::new(SignedDuration::from_hours(2));
        let ahead = clock.now().duration_since(Timestamp::now());
        assert!((ahead - SignedDuration::from_hours(2)).abs() < SignedDuration::from_secs(5));
        clock.set_offset(SignedDuration::from_mins(-30));
        let behind = clock.now().duration_since(Timestamp::now());
        assert!((behind - SignedDuration::from_mins(-30)).abs() < SignedDuration::from_secs(5));
        assert_eq!(clock.offset(), SignedDuration::from_mins(-30));
    }
}
