//! One JSON line a request, for people and tests that count calls. Bodies, tokens, assertions and key material never
//! get here: an entry has no place for them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::caller::AuthKind;

/// What is said about a request.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// When it came, on the server's clock.
    #[serde(serialize_with = "time_text")]
    pub time: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path as it came.
    pub path: String,
    /// Decoded query; credentials are replaced.
    pub query: BTreeMap<String, Vec<String>>,
    /// How the caller proved who it is: `none`, `access_token`, `self_signed_jwt` or `basic`, believed
    /// or not.
    #[serde(serialize_with = "auth_text")]
    pub auth: AuthKind,
    /// The caller's address, if its credential was believed.
    pub caller: Option<String>,
    /// Such as `keys.create`.
    pub operation: String,
    /// The status that was answered, or would have been if the answer had not been dropped; absent if nothing was
    /// done.
    pub status: Option<u16>,
    /// The client's own description.
    pub user_agent: Option<String>,
    /// The fault that hit the request.
    pub fault: Option<&'static str>,
}

fn time_text<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

// Serde hands the field over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn auth_text<S: serde::Serializer>(auth: &AuthKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(auth.as_str())
}

/// The log file. A line is in it before its answer leaves.
#[derive(Debug)]
pub struct RequestLog {
    file: Mutex<File>,
}

impl RequestLog {
    /// Opens the file for appending, or makes it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: Mutex::new(OpenOptions::new().create(true).append(true).open(path)?) })
    }

    /// Appends an entry with one write, so that lines never mix.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&self, entry: &Entry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}
