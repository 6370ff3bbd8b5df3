//! Lists that come in pages.

use std::collections::BTreeSet;

use crate::backend::BackendError;

/// Where a list goes on. A token that comes again would lead around for ever.
#[derive(Default)]
pub(super) struct Pages {
    token: String,
    seen: BTreeSet<String>,
}

impl Pages {
    /// The token of the page that is wanted; empty for the first one.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether there is another page, by the token that the last one told.
    pub(super) fn goes_on(&mut self, call: &'static str, next: String) -> Result<bool, BackendError> {
        if next.is_empty() {
            return Ok(false);
        }
        if !self.seen.insert(next.clone()) {
            return Err(BackendError::Incomplete { call, what: "next page" });
        }
        self.token = next;
        Ok(true)
    }
}
