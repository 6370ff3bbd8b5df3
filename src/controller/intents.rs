//! Creations that this process wrote down and has not sent: only who wrote one knows that it never left.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// By the uid of the object: the nonce of the attempt.
#[derive(Default)]
pub struct Intents(Mutex<HashMap<String, String>>);

impl Intents {
    /// An attempt was written down.
    pub fn wrote(&self, uid: &str, nonce: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), nonce.to_owned());
    }

    /// The attempt that may be sent.
    pub fn of(&self, uid: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// It is about to leave.
    pub fn sent(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
