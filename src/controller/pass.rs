//! The send rule: an unguarded request leaves only while the Lease is held, and soon after the reads that it rests on.

use std::time::Duration;

use super::lease::reading;
use super::{Context, Error};

/// When a pass began to read, and in which term of the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    began: Duration,
    term: u64,
}

impl Pass {
    /// Begins, before the first read. Rule 1: without the Lease there is no pass.
    pub fn begin(ctx: &Context) -> Result<Self, Error> {
        let began = reading(ctx.clock.as_ref());
        let term = ctx.leadership.term(began).ok_or(Error::NotLeading)?;
        Ok(Self { began, term })
    }

    /// Whether an unguarded request may leave now.
    pub fn may_send(&self, ctx: &Context, step: &'static str) -> Result<(), Error> {
        let now = reading(ctx.clock.as_ref());
        if ctx.leadership.term(now) != Some(self.term) {
            return Err(Error::NotLeading);
        }
        if now.saturating_sub(self.began) > ctx.timing.send_window {
            return Err(Error::TooLate { step });
        }
        Ok(())
    }
}
