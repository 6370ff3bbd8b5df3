//! Time in whole units relative to now. Now never moves: when time passes, everything else gets older.
//!
//! The plan computes with real timestamps; all its waits are multiples of one unit here, so that few moments differ.

use std::time::Duration;

use jiff::Timestamp;
use keywheel::domain::Timing;

/// Units after now; before it if negative.
pub type Time = i16;

/// How long a unit is. The plan has constants of one hour and of ten seconds: the first is a unit, the second none.
const UNIT: i64 = 3600;
/// The moment that is always now.
const NOW: i64 = 1_800_000_000;

/// A time before everything that matters.
pub const ANCIENT: Time = -100;
/// A time that comes only by an event of its own: the next rotation.
pub const FAR: Time = 100;
/// Longer than every wait: so much later, every window is over.
pub const LEAP: Time = 20;

/// How long an open attempt of another process is given.
pub const SETTLE: Time = 1;
/// How long a key may be missing in lists.
pub const LAG: Time = 1;
/// How long a request may linger.
pub const HORIZON: Time = 2;
/// How long an old key stays enabled.
pub const OVERLAP: Time = 2;
/// How long a disabled key is kept.
pub const DELETE_AFTER: Time = 1;
/// The wait after a failed attempt.
pub const BACKOFF: Time = 1;
/// The wait between two repairs.
pub const DRIFT: Time = 1;

/// The production type of a moment.
pub fn at(time: Time) -> Timestamp {
    Timestamp::from_second(NOW + i64::from(time) * UNIT).expect("a time in range")
}

/// The moment of a production time, seconds dropped.
pub fn of(timestamp: Timestamp) -> Time {
    let units = (timestamp.as_second() - NOW).div_euclid(UNIT);
    Time::try_from(units.clamp(ANCIENT.into(), FAR.into())).expect("clamped")
}

/// A length of so many units.
pub fn length(units: Time) -> Duration {
    Duration::from_secs(u64::try_from(i64::from(units) * UNIT).expect("not negative"))
}

/// Waits and caps in units.
pub fn timing() -> Timing {
    Timing {
        horizon: length(HORIZON),
        list_lag: length(LAG),
        settle: length(SETTLE),
        backoff_base: length(BACKOFF),
        backoff_cap: length(BACKOFF),
        drift_base: length(DRIFT),
        drift_cap: length(DRIFT),
        burn_window: length(FAR),
        // Longer than everything since the beginning.
        audit: length(2 * FAR),
        ..Timing::default()
    }
}
