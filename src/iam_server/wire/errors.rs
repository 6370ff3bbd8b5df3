//! Errors as google.rpc.Status in JSON, the shape that every Google client parses.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::credential::CredentialError;
use crate::iam_server::org_policy::Ban;
use crate::iam_server::policy::Refusal;
use crate::iam_server::settings::KeyLimitError;
use crate::iam_server::store::StoreError;
use crate::iam_server::token::MintError;

/// The answer that a test asked for.
#[derive(Debug)]
pub struct Injected {
    /// HTTP status.
    pub status: StatusCode,
    /// Canonical code, or that of OAuth2.
    pub canonical: String,
    /// Message.
    pub message: String,
    /// Details of an error of the API.
    pub details: Vec<Value>,
}

/// What a method of the API can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request is malformed.
    #[error("{reason}")]
    InvalidArgument {
        /// What is wrong with it; shown to the caller.
        reason: String,
    },
    /// There is no usable credential.
    #[error("Request had invalid authentication credentials. Expected OAuth 2 access token.")]
    Unauthenticated,
    /// The token was made for other things.
    #[error("Request had insufficient authentication scopes.")]
    InsufficientScope {
        /// For which service.
        service: &'static str,
    },
    /// The caller may not, or the thing is not there and the caller may not know.
    #[error("Permission '{permission}' denied on resource (or it may not exist).")]
    PermissionDenied {
        /// The permission that is missing.
        permission: &'static str,
    },
    /// There is no such account in the project.
    #[error("Unknown service account")]
    AccountMissing,
    /// The address is taken.
    #[error("Service account {account_id} already exists within project projects/{project}.")]
    AccountExists {
        /// What was asked for.
        account_id: String,
        /// The project.
        project: String,
        /// The account's resource name.
        resource: String,
    },
    /// The account is not in the state that the method needs.
    #[error("{reason}")]
    FailedPrecondition {
        /// Which state that is.
        reason: String,
    },
    /// The policy cannot be replaced by this one.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// There is no such key on the account.
    #[error("Unknown service account key")]
    KeyMissing,
    /// The account has as many keys as it may have.
    #[error("{}", match flavour {
        KeyLimitError::Modern => "Precondition check failed.",
        KeyLimitError::Legacy => "Maximum number of keys on account reached.",
    })]
    KeyLimit {
        /// How to say it.
        flavour: KeyLimitError,
    },
    /// A constraint of the organization forbids it.
    #[error("{}", ban.message())]
    Constraint {
        /// What is forbidden.
        ban: Ban,
        /// The resource on which it was tried.
        subject: String,
    },
    /// There is no such constraint.
    #[error("Requested entity was not found: constraints/{constraint}")]
    ConstraintUnknown {
        /// What was asked for.
        constraint: String,
    },
    /// There is no such service, or it is not for everybody.
    #[error("Not found or permission denied for service(s): {service}.")]
    ServiceUnknown {
        /// What was asked for.
        service: String,
    },
    /// The caller's project may not use the service.
    #[error(
        "{service} has not been used in project {project} before or it is disabled. Enable it, then retry. If you \
         enabled it recently, wait a few minutes for the action to propagate and retry."
    )]
    ServiceDisabled {
        /// The service.
        service: &'static str,
        /// The caller's project.
        project: String,
    },
    /// Nobody has registered the project for Earth Engine.
    #[error(
        "Project 'projects/{project}' is not registered to use Earth Engine. Visit \
         https://console.cloud.google.com/earth-engine/configuration?project={project} to register your project."
    )]
    NotRegistered {
        /// The project.
        project: String,
    },
    /// There is no such operation.
    #[error("Operation {id} was not found.")]
    OperationMissing {
        /// What was asked for.
        id: String,
    },
    /// The API has this, the server does not.
    #[error("{what} is not built in this server.")]
    Unimplemented {
        /// What is missing.
        what: String,
    },
    /// Nothing is served here.
    #[error("The requested URL was not found on this server.")]
    UnknownPath,
    /// A test asked for this answer.
    #[error("{}", _0.message)]
    Injected(Injected),
    /// The store failed; the caller learns no more than that.
    #[error("Internal error encountered.")]
    Store(#[from] StoreError),
    /// Key material could not be made or read.
    #[error("Internal error encountered.")]
    Credential(#[from] CredentialError),
    /// A time could not be computed or written.
    #[error("Internal error encountered.")]
    Time(#[from] jiff::Error),
    /// A key generator was cut short.
    #[error("Internal error encountered.")]
    Worker(#[from] tokio::task::JoinError),
    /// No key generator may run any more.
    #[error("Internal error encountered.")]
    Generator(#[from] tokio::sync::AcquireError),
    /// An answer could not be written.
    #[error("Internal error encountered.")]
    Answer(#[from] serde_json::Error),
    /// An access token could not be made.
    #[error("Internal error encountered.")]
    Mint(#[from] MintError),
    /// The random source failed.
    #[error("Internal error encountered.")]
    Random(#[from] aws_lc_rs::error::Unspecified),
}

impl ApiError {
    /// A malformed request.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidArgument { reason: reason.into() }
    }

    /// HTTP status and canonical code.
    pub fn code(&self) -> (StatusCode, &str) {
        match self {
            Self::InvalidArgument { .. } | Self::Policy(Refusal::Invalid(_)) => {
                (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT")
            }
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            Self::PermissionDenied { .. }
            | Self::InsufficientScope { .. }
            | Self::ServiceUnknown { .. }
            | Self::NotRegistered { .. }
            | Self::ServiceDisabled { .. } => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            Self::AccountMissing
            | Self::KeyMissing
            | Self::UnknownPath
            | Self::ConstraintUnknown { .. }
            | Self::OperationMissing { .. } => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::AccountExists { .. } => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
            Self::Policy(Refusal::Stale) => (StatusCode::CONFLICT, "ABORTED"),
            Self::FailedPrecondition { .. }
            | Self::Constraint { .. }
            | Self::KeyLimit { flavour: KeyLimitError::Modern } => {
                (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION")
            }
            Self::KeyLimit { flavour: KeyLimitError::Legacy } => {
                (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED")
            }
            Self::Unimplemented { .. } => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
            Self::Injected(injected) => (injected.status, &injected.canonical),
            Self::Store(_)
            | Self::Credential(_)
            | Self::Time(_)
            | Self::Worker(_)
            | Self::Generator(_)
            | Self::Answer(_)
            | Self::Mint(_)
            | Self::Random(_) => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        }
    }

    /// The body. `errors` is what clients older than google.rpc.Status look at.
    pub fn body(&self) -> Value {
        let (status, canonical) = self.code();
        let message = self.to_string();
        let mut error = json!({
            "code": status.as_u16(),
            "message": message,
            "errors": [{"message": message, "domain": "global", "reason": self.legacy_reason()}],
            "status": canonical,
        });
        let details = self.details();
        if let (Some(fields), false) = (error.as_object_mut(), details.is_empty()) {
            fields.insert("details".to_owned(), Value::from(details));
        }
        json!({ "error": error })
    }

    fn legacy_reason(&self) -> &'static str {
        match self {
            Self::AccountExists { .. } => "alreadyExists",
            Self::FailedPrecondition { .. }
            | Self::Constraint { .. }
            | Self::KeyLimit { flavour: KeyLimitError::Modern } => "failedPrecondition",
            _ => match self.code().0.as_u16() {
                400 => "badRequest",
                401 => "authError",
                403 => "forbidden",
                404 => "notFound",
                409 => "aborted",
                429 => "rateLimitExceeded",
                501 => "notImplemented",
                _ => "backendError",
            },
        }
    }

    fn details(&self) -> Vec<Value> {
        match self {
            Self::Injected(injected) => injected.details.clone(),
            Self::PermissionDenied { permission } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
                "metadata": {"permission": permission},
            })],
            Self::InsufficientScope { service } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
                "domain": "googleapis.com",
                "metadata": {"service": service},
            })],
            Self::Constraint { ban, subject } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
                "violations": [{
                    "type": format!("constraints/{}", ban.constraint()),
                    "subject": subject,
                    "description": ban.message(),
                }],
            })],
            Self::ServiceUnknown { service } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED",
                "domain": "serviceusage.googleapis.com",
                "metadata": {"services": service},
            })],
            Self::ServiceDisabled { service, project } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {"service": service, "consumer": format!("projects/{project}")},
            })],
            Self::AccountExists { resource, .. } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.ResourceInfo",
                "resourceName": resource,
            })],
            Self::KeyLimit { flavour: KeyLimitError::Legacy } => vec![json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": "86401s",
            })],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_permission_is_named_in_the_details() {
        let body = ApiError::PermissionDenied { permission: "iam.serviceAccountKeys.create" }.body();
        assert_eq!(body["error"]["code"], 403);
        assert_eq!(body["error"]["status"], "PERMISSION_DENIED");
        assert_eq!(
            body["error"]["message"],
            "Permission 'iam.serviceAccountKeys.create' denied on resource (or it may not exist)."
        );
        assert_eq!(body["error"]["details"][0]["metadata"]["permission"], "iam.serviceAccountKeys.create");
    }

    #[test]
    fn the_key_limit_has_two_flavours() {
        let modern = ApiError::KeyLimit { flavour: KeyLimitError::Modern }.body();
        assert_eq!(modern["error"]["code"], 400);
        assert_eq!(modern["error"]["status"], "FAILED_PRECONDITION");
        assert_eq!(modern["error"]["message"], "Precondition check failed.");
        assert!(modern["error"].get("details").is_none());
        let legacy = ApiError::KeyLimit { flavour: KeyLimitError::Legacy }.body();
        assert_eq!(legacy["error"]["code"], 429);
        assert_eq!(legacy["error"]["details"][0]["retryDelay"], "86401s");
    }
}
