//! Time: one true time that follows tokio's paused clock, and clocks that may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywheel::controller::Clock;
use tokio::time::Instant;

/// When the simulated world begins: a Monday, some weeks before clocks in Europe and America are set forward.
const BEGIN: i64 = 1_800_000_000;

/// The true time.
#[derive(Clone, Copy, Debug)]
pub struct TrueTime {
    begun: Instant,
    at: Timestamp,
}

impl TrueTime {
    /// Begins now, at the time at which every world begins.
    pub fn begin() -> Self {
        Self::begin_at(Timestamp::from_second(BEGIN).expect("a time in range"))
    }

    /// Begins now, at a time of choice.
    pub fn begin_at(at: Timestamp) -> Self {
        Self { begun: Instant::now(), at }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.at + SignedDuration::try_from(self.begun.elapsed()).expect("a run is short")
    }

    /// Since the world began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The instant at which it will be this late.
    pub fn instant(&self, since_begin: Duration) -> Instant {
        self.begun + since_begin
    }
}

/// A clock on somebody's wall: the true time and an error that can be changed.
#[derive(Clone, Debug)]
pub struct WallClock {
    time: TrueTime,
    error_ms: Arc<AtomicI64>,
    process: u32,
}

impl WallClock {
    /// A clock that is right, on the machine of a process.
    pub fn new(time: TrueTime, process: u32) -> Self {
        Self { time, error_ms: Arc::default(), process }
    }

    /// Sets the clock wrong by so much, or right again with zero.
    pub fn set_error(&self, error: SignedDuration) {
        self.error_ms.store(i64::try_from(error.as_millis()).expect("an error is small"), Ordering::Relaxed);
    }

    /// What it shows.
    pub fn reads(&self) -> Timestamp {
        self.time.now() + SignedDuration::from_millis(self.error_ms.load(Ordering::Relaxed))
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.reads()
    }

    fn since_boot(&self) -> Duration {
        // Each machine was started at another time, and no two clocks go alike.
        let begun = Duration::from_hours(1000) * (self.process + 1);
        let elapsed = self.time.elapsed();
        begun + elapsed + elapsed / 10_000 * (self.process % 3)
    }
}
