//! Failures at the API server.

use std::time::Duration;

use kube::core::Status;

/// A call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum KubeIoError {
    /// The API server refused. Its `Display` would print the whole status twice, so the message is taken out.
    #[error("{verb} {object}: {} ({})", status.message, status.reason)]
    Refused {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// The answer.
        status: Box<Status>,
    },
    /// There was no usable answer: nobody knows whether the call was applied.
    #[error("{verb} {object}: {source}")]
    NoAnswer {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// Cause.
        source: Box<kube::Error>,
    },
    /// The answer could not be read. Its text is dropped with its cause: it may be a Secret's.
    #[error("{verb} {object}: the answer cannot be read")]
    Undecodable {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
    },
    /// The call did not end in time.
    #[error("{verb} {object}: no answer within {after:?}")]
    Timeout {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// How long it was given.
        after: Duration,
    },
    /// An object lacks a field that every stored object has.
    #[error("{object} has no {field}")]
    Incomplete {
        /// The object.
        object: String,
        /// The field.
        field: &'static str,
    },
}

impl KubeIoError {
    pub(super) fn of(verb: &'static str, object: &str, error: kube::Error) -> Self {
        let object = object.to_owned();
        match error {
            kube::Error::Api(status) => Self::Refused { verb, object, status },
            // The cause would quote the answer, which may be a Secret.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Undecodable { verb, object },
            source => Self::NoAnswer { verb, object, source: Box::new(source) },
        }
    }

    fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The object was changed since it was read: observe again.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|s| s.is_conflict() && !s.is_already_exists())
    }

    /// The object is there already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(Status::is_already_exists)
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    /// The API server serves no such kind. Where no kind of the group is known it answers with a plain 404 page, which
    /// says nothing about a single object.
    pub fn is_unserved(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    /// What the API server said, if it refused for good: not applied, and no conflict that another look cures.
    pub fn refusal(&self) -> Option<&str> {
        // Throttling and a login that lapsed say nothing about the request.
        let passing = [401, 408, 429];
        self.status()
            .filter(|s| (400..500).contains(&s.code) && !passing.contains(&s.code) && !s.is_conflict())
            .map(|s| s.message.as_str())
    }
}
