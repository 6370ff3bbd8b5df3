//! What happened, in order: for people as lines, for comparison as a digest of every call with its body.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// What happened in a run.
#[derive(Default)]
pub struct Trace {
    lines: Vec<String>,
    digest: Sha256,
}

impl Trace {
    /// One more thing happened. `body` goes into the digest only.
    pub fn note(&mut self, at: Duration, line: String, body: &str) {
        self.note_silently(at, &line, body);
        self.lines.push(format!("{:>14} {line}", shown(at)));
    }

    /// Something happened that is of no interest to people.
    pub fn note_silently(&mut self, at: Duration, line: &str, body: &str) {
        self.digest.update(at.as_nanos().to_be_bytes());
        self.digest.update(line.as_bytes());
        self.digest.update(body.as_bytes());
    }

    /// The lines so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Equal for equal runs only.
    pub fn digest(&self) -> String {
        hex::encode(self.digest.clone().finalize())
    }
}

fn shown(at: Duration) -> String {
    let seconds = at.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}d{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, at.subsec_millis())
}
