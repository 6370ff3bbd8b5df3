//! Waiting for a condition, with a deadline and a message that shows what was seen last.

use std::fmt::Display;
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(200);

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:.1?} for {what} in vain{}{last}", if last.is_empty() { "" } else { "; last seen: " })]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// The last state, in the condition's own words.
    pub last: String,
}

/// Asks until there is an answer, at most for `timeout`. At least one question is asked.
pub fn wait_for<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    wait_until(what, timeout, || ask().ok_or(""))
}

/// As [`wait_for`], for a condition that can say what it sees while it is not true: `Err(state)`.
pub fn wait_until<T, S: Display>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> Result<T, S>,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut pause = SHORTEST;
    loop {
        let last = match ask() {
            Ok(answer) => return Ok(answer),
            Err(state) => state.to_string(),
        };
        let waited = started.elapsed();
        if waited >= timeout {
            return Err(TimedOut { what: what.to_owned(), waited, last });
        }
        std::thread::sleep(pause.min(timeout.saturating_sub(waited)));
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_returned() {
        let mut questions = 0;
        let answer = wait_for("three", Duration::from_secs(10), || {
            questions += 1;
            (questions == 3).then_some("yes")
        });
        assert_eq!(answer.unwrap(), "yes");
    }

    #[test]
    fn the_last_state_is_in_the_message() {
        let mut questions = 0;
        let outcome: Result<(), _> = wait_until("the sun", Duration::from_millis(30), || {
            questions += 1;
            Err(format!("cloud {questions}"))
        });
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("for the sun in vain; last seen: cloud "), "{message}");
        assert!(questions > 1);
    }
}
