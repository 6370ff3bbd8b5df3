//! All waits and caps of the protocol in one value. Production values are constants; only a build with the
//! feature `test-timing` reads them from a file.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::schedule::{add, whole_second_after};

/// Waits and caps. Every length is a [`Duration`]; in a file they are whole milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Timing {
    /// H: no request takes effect later than this after its intent.
    #[serde(deserialize_with = "millis")]
    pub horizon: Duration,
    /// LAG: a key shows in a list at most this long after it was made.
    #[serde(deserialize_with = "millis")]
    pub list_lag: Duration,
    /// SETTLE: how long an open attempt of another process is given before it is declared lost.
    #[serde(deserialize_with = "millis")]
    pub settle: Duration,
    /// An unguarded request leaves at most this long after the last read that it rests on.
    #[serde(deserialize_with = "millis")]
    pub send_window: Duration,
    /// Timeout of every call; below the send window.
    #[serde(deserialize_with = "millis")]
    pub call_timeout: Duration,
    /// First wait after a failed attempt; doubles with each failure.
    #[serde(deserialize_with = "millis")]
    pub backoff_base: Duration,
    /// Longest wait after failed attempts.
    #[serde(deserialize_with = "millis")]
    pub backoff_cap: Duration,
    /// First wait between two tries to prove a staged key; grows with the attempt's age.
    #[serde(deserialize_with = "millis")]
    pub proof_base: Duration,
    /// Longest wait between two tries to prove a staged key.
    #[serde(deserialize_with = "millis")]
    pub proof_cap: Duration,
    /// Least distance of two keys that repair what somebody else did; doubles with each.
    #[serde(deserialize_with = "millis")]
    pub drift_base: Duration,
    /// Greatest distance of two such keys.
    #[serde(deserialize_with = "millis")]
    pub drift_cap: Duration,
    /// Window of the burn cap.
    #[serde(deserialize_with = "millis")]
    pub burn_window: Duration,
    /// Most attempts without a publish in the burn window, and most lost attempts at once.
    pub burn_cap: u32,
    /// How far the two clocks may differ.
    #[serde(deserialize_with = "millis")]
    pub max_skew: Duration,
    /// Longest time between two looks at an object.
    #[serde(deserialize_with = "millis")]
    pub audit: Duration,
    /// Time between two looks at what an account publishes in `ConfigMaps`.
    #[serde(deserialize_with = "millis")]
    pub documents: Duration,
    /// Time between two looks at a backend that answers.
    #[serde(deserialize_with = "millis")]
    pub probe: Duration,
    /// First wait after a pass that failed before it could decide.
    #[serde(deserialize_with = "millis")]
    pub retry_base: Duration,
    /// Longest such wait.
    #[serde(deserialize_with = "millis")]
    pub retry_cap: Duration,
    /// Longest wait that a backend may ask for.
    #[serde(deserialize_with = "millis")]
    pub asked_cap: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        Self {
            horizon: minutes(60),
            list_lag: minutes(10),
            settle: minutes(1),
            send_window: Duration::from_secs(10),
            call_timeout: Duration::from_secs(8),
            backoff_base: minutes(1),
            backoff_cap: minutes(60),
            proof_base: Duration::from_secs(1),
            proof_cap: minutes(30),
            drift_base: minutes(10),
            drift_cap: minutes(360),
            burn_window: minutes(24 * 60),
            burn_cap: 3,
            max_skew: minutes(5),
            audit: minutes(60),
            documents: minutes(15),
            probe: minutes(5),
            retry_base: Duration::from_secs(1),
            retry_cap: minutes(5),
            asked_cap: minutes(60),
        }
    }
}

impl Timing {
    /// Wait after the `failures`-th failure in a row: the base, doubled each time, up to the cap.
    pub fn backoff(&self, failures: u32) -> Duration {
        doubled(self.backoff_base, self.backoff_cap, failures)
    }

    /// Wait before the next key that repairs drift when `repairs` of them were made in a row.
    pub fn drift_wait(&self, repairs: u32) -> Duration {
        doubled(self.drift_base, self.drift_cap, repairs)
    }

    /// Wait after the `failures`-th pass in a row that failed before it could decide.
    pub fn retry(&self, failures: u32) -> Duration {
        doubled(self.retry_base, self.retry_cap, failures)
    }

    /// Until when a backend is left alone that asked for it at `now`. Times in a status are whole seconds: it is never too
    /// early.
    pub fn asked_until(&self, now: Timestamp, asked: Option<Duration>) -> Option<Timestamp> {
        asked.map(|asked| whole_second_after(add(now, asked.min(self.asked_cap))))
    }
}

fn doubled(base: Duration, cap: Duration, times: u32) -> Duration {
    match times {
        0 => Duration::ZERO,
        n => 2_u32.checked_pow(n - 1).and_then(|f| base.checked_mul(f)).map_or(cap, |d| d.min(cap)),
    }
}

fn millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let timing = Timing::default();
        let minutes: Vec<u64> = [0, 1, 2, 3, 6, 7, 40].map(|n| timing.backoff(n).as_secs() / 60).to_vec();
        assert_eq!(minutes, [0, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn a_backend_is_left_alone_for_as_long_as_it_asks_and_no_longer_than_an_hour() {
        let timing = Timing::default();
        let until = |millis, asked: u64| {
            let now = Timestamp::from_millisecond(millis).unwrap();
            timing.asked_until(now, Some(Duration::from_secs(asked))).map(Timestamp::as_second)
        };
        assert_eq!((until(1000, 30), until(1001, 30)), (Some(31), Some(32)));
        assert_eq!(until(0, 86_401), Some(3600));
        assert_eq!(timing.asked_until(Timestamp::UNIX_EPOCH, None), None);
    }

    #[test]
    fn a_call_ends_inside_the_send_window() {
        let timing = Timing::default();
        assert!(timing.call_timeout < timing.send_window);
    }

    #[test]
    fn a_file_changes_only_what_it_names() {
        let timing: Timing = serde_json::from_str(r#"{"settle": 1500}"#).unwrap();
        assert_eq!(timing.settle, Duration::from_millis(1500));
        assert_eq!(timing.horizon, Timing::default().horizon);
        assert!(serde_json::from_str::<Timing>(r#"{"setle": 1}"#).is_err());
    }
}
