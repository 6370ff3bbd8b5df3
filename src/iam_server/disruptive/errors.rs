//! Errors as Disruptive Technologies tell them: a text, the status once more, and where to read on.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::iam_server::reply::{Reply, log_internal};
use crate::iam_server::store::StoreError;
use crate::iam_server::wire::errors::{ApiError, Injected};

/// When a caller that is told to wait may come back, unless a test says otherwise. Seconds.
const RETRY_AFTER: u32 = 1;

/// The default of `Retry-After`.
pub fn patience(status: StatusCode) -> Option<u32> {
    (status == StatusCode::TOO_MANY_REQUESTS).then_some(RETRY_AFTER)
}

/// What a method can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it; shown to the caller.
        reason: String,
    },
    /// There is no usable credential.
    #[error("missing, unknown or expired credentials")]
    Unauthenticated,
    /// The caller may not.
    #[error("missing permission {permission}")]
    Forbidden {
        /// The permission that is missing.
        permission: &'static str,
    },
    /// It is not there.
    #[error("{what} not found")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// It is there already.
    #[error("already exists")]
    Exists,
    /// The API has this, the server does not.
    #[error("{what} is not built in this server")]
    Unimplemented {
        /// What is missing.
        what: String,
    },
    /// Nothing is served here.
    #[error("path not found")]
    UnknownPath,
    /// A test asked for this answer.
    #[error("{message}")]
    Injected {
        /// HTTP status.
        status: StatusCode,
        /// The text.
        message: String,
    },
    /// What the server refuses in all APIs alike.
    #[error(transparent)]
    Shared(#[from] ApiError),
    /// The store failed; the caller learns no more than that.
    #[error("internal error")]
    Store(#[from] StoreError),
    /// The random source failed.
    #[error("internal error")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// A secret could not be written.
    #[error("internal error")]
    Credential(#[from] crate::credential::CredentialError),
}

impl Error {
    /// A malformed request.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// What a test asked for; there are no canonical codes here.
    pub fn injected(Injected { status, message, .. }: Injected) -> Self {
        Self::Injected { status, message }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Missing { .. } | Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Exists => StatusCode::CONFLICT,
            Self::Unimplemented { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::Injected { status, .. } => *status,
            Self::Shared(error) => error.code().0,
            Self::Store(_) | Self::Random(_) | Self::Credential(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn body(&self) -> Value {
        let code = self.status().as_u16();
        json!({
            "error": self.to_string(),
            "code": code,
            "help": format!("https://docs.d21s.com/error/#{code}"),
        })
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        let status = error.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR && !matches!(error, Error::Injected { .. }) {
            log_internal(&error);
        }
        Self::error(status, error.body(), patience(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_a_text_a_number_and_a_link() {
        assert_eq!(
            Error::Exists.body(),
            json!({"error": "already exists", "code": 409, "help": "https://docs.d21s.com/error/#409"})
        );
        assert_eq!(Error::from(ApiError::invalid("no")).body()["code"], 400);
    }
}
