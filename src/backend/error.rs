//! Failures at a backend, by what they say about the request.

use std::time::Duration;

use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::error::rpc::{Status, StatusDetails};

use super::retry;
use crate::credential::CredentialError;
use crate::domain::{Class, Trouble};

/// How the token endpoint refuses what was signed at another time of day than its own (seen by real clients).
const UNTIMELY: &str = "Token must be a short-lived token";
/// How Google told the limit of keys with a 429 (seen by real clients until 2020).
const KEY_LIMIT: &str = "Maximum number of keys on account reached";
/// What Google's services put behind some refusals: a text that is another one each time.
const HELP_TOKEN: &str = "Help Token:";
/// Longest text of a backend that is passed on to people.
const MESSAGE_LIMIT: usize = 512;

/// A call to a backend failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The official client could not be made.
    #[error("the client for {endpoint} cannot be made: {source}")]
    Client {
        /// Address of the backend.
        endpoint: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The login does not hold what it must.
    #[error("the login cannot be used: {0}")]
    Login(#[source] CredentialError),
    /// The login is of a kind that this client cannot use.
    #[error("the login cannot be used: {what} is not supported")]
    LoginUnsupported {
        /// What.
        what: &'static str,
    },
    /// The token endpoint refused the login itself.
    #[error("the login {identity} is refused: {message}. Check the credential in the backend's login Secret")]
    LoginRefused {
        /// E-mail of the login.
        identity: String,
        /// What the endpoint said.
        message: String,
    },
    /// The token that a call carries could not be had: the call did not leave.
    #[error("{call}: not sent, because the login got no token: {source}")]
    NoToken {
        /// The call.
        call: &'static str,
        /// Cause.
        source: Box<BackendError>,
    },
    /// There was no token at hand, and what was read before the call would have grown old while one was asked for.
    #[error("there was no token at hand; it is tried again")]
    TokenLate,
    /// An account has one role in a resource, and another than ours stands there.
    #[error(
        "{resource}: the account has {held} there, which this object did not give it, and can have one role only. Remove that \
         membership, or list that role"
    )]
    OneRole {
        /// The project or organization.
        resource: String,
        /// The role that stands there.
        held: String,
    },
    /// The key is good, and its account takes no basic auth.
    #[error(
        "basic auth is not on at the account {email}, as its object says it should be: look at the ServiceAccount's conditions"
    )]
    BasicAuthOff {
        /// The account.
        email: String,
    },
    /// The backend has no such call.
    #[error("{call}: the backend cannot do that")]
    Lacking {
        /// The call.
        call: &'static str,
    },
    /// The official client's call failed.
    #[error("{call}: {}", describe(source))]
    Call {
        /// The call, as in `keys.create`.
        call: &'static str,
        /// Cause.
        source: Box<GaxError>,
    },
    /// The call did not end in time: nobody knows whether it was applied.
    #[error("{call}: no answer within {after:?}")]
    Timeout {
        /// The call.
        call: &'static str,
        /// How long it was given.
        after: Duration,
    },
    /// A call of our own got no answer.
    #[error("{call}: no answer: {}", causes(source))]
    NoAnswer {
        /// The call.
        call: &'static str,
        /// Cause, without the address (it may carry a query).
        source: reqwest::Error,
    },
    /// A call of our own was answered with a failure.
    #[error("{call}: HTTP {status}: {message}")]
    Answer {
        /// The call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// Canonical status, if the body was one of Google's error documents.
        canonical: Option<String>,
        /// What the backend said.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The login of a call could not be made into a header.
    #[error("{call}: {source}")]
    Header {
        /// The call.
        call: &'static str,
        /// Cause.
        source: google_cloud_auth::errors::CredentialsError,
    },
    /// The answer lacks something that it must have.
    #[error("{call}: the answer has no usable {what}")]
    Incomplete {
        /// The call.
        call: &'static str,
        /// What is missing.
        what: &'static str,
    },
}

impl BackendError {
    /// What the failure says about the request. Only an answer of 4xx with a body that could be read is a
    /// definite refusal; anything else may have been applied.
    pub fn class(&self) -> Class {
        match self {
            Self::Client { .. } | Self::Timeout { .. } | Self::NoAnswer { .. } | Self::Incomplete { .. } => {
                Class::Unknown
            }
            Self::Login(_)
            | Self::LoginUnsupported { .. }
            | Self::LoginRefused { .. }
            | Self::Header { .. } => Class::Unauthenticated,
            Self::TokenLate => Class::NotSent,
            Self::NoToken { source, .. } => match source.class() {
                Class::Unknown => Class::NotSent,
                class => class,
            },
            Self::OneRole { .. } | Self::BasicAuthOff { .. } => Class::Precondition,
            Self::Lacking { .. } => Class::Invalid,
            Self::Call { source, .. } => class_of_call(source),
            // The clock of the machine that signed, not the key and not the login.
            Self::Answer { call: "token", status: 400, message, .. } if message.contains(UNTIMELY) => {
                Class::ClockSkew
            }
            Self::Answer { status, canonical, .. } => match canonical {
                Some(canonical) => class_of(*status, canonical),
                None => Class::Unknown,
            },
        }
    }

    /// Whether somebody else changed the same thing first: reading it again is all it takes.
    pub fn lost_race(&self) -> bool {
        let canonical = match self {
            Self::Call { source, .. } => source.status().map(|status| status.code.name()),
            Self::Answer { canonical, .. } => canonical.as_deref(),
            _ => None,
        };
        canonical == Some("ABORTED")
    }

    /// How long the answer asks its caller to stay away.
    fn asked(&self) -> Option<Duration> {
        match self {
            Self::Call { source, .. } => {
                let details = source.status().map(|status| status.details.as_slice()).unwrap_or_default();
                retry::asked(details, source.http_headers())
            }
            Self::Answer { retry_after, .. } => *retry_after,
            Self::NoToken { source, .. } => source.asked(),
            _ => None,
        }
    }

    /// How long the backend wants to be left alone, because a quota is exhausted.
    pub fn retry_after(&self) -> Option<Duration> {
        self.asked().filter(|_| self.class() == Class::Throttled)
    }

    /// The same for decisions and people.
    pub fn trouble(&self) -> Trouble {
        let mut message = self.to_string();
        // What differs from answer to answer would be written, and would wake the object, each time.
        if let Some(at) = message.find(HELP_TOKEN) {
            message.truncate(at);
            message.truncate(message.trim_end().len());
        }
        if let Some((at, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
            message.truncate(at);
        }
        let (class, asked) = (self.class(), self.asked());
        match asked {
            // It may be another one each time, and whoever heeds it says until when.
            Some(asked) if class == Class::Throttled => Trouble::new(class, message).until_after(asked),
            Some(asked) => {
                Trouble::new(class, format!("{message}; it may be tried again in {}s", asked.as_secs()))
            }
            None => Trouble::new(class, message),
        }
    }
}

fn class_of_call(error: &GaxError) -> Class {
    if error.is_authentication() {
        return Class::Unauthenticated;
    }
    match (error.http_status_code(), error.status()) {
        (_, Some(status)) if !constraints(status).is_empty() => Class::OrgPolicy,
        // As the limit of keys was told until 2020: it is no rate, and a wait changes nothing.
        (Some(429), Some(status)) if status.message.contains(KEY_LIMIT) => Class::Precondition,
        (Some(http), Some(status)) => class_of(http, status.code.name()),
        // A text instead of an error document comes from something in between.
        _ => Class::Unknown,
    }
}

fn class_of(http: u16, canonical: &str) -> Class {
    match http {
        401 => Class::Unauthenticated,
        403 => Class::Forbidden,
        404 => Class::NotFound,
        // What was cut short or lost a race may have been carried out for all that.
        408 | 499 => Class::Unknown,
        409 if canonical == "ABORTED" => Class::Unknown,
        409 => Class::AlreadyExists,
        429 => Class::Throttled,
        400 if canonical == "FAILED_PRECONDITION" => Class::Precondition,
        400..=499 => Class::Invalid,
        _ => Class::Unknown,
    }
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn describe(error: &GaxError) -> String {
    match error.status() {
        Some(status) => format!("{} ({}){}", status.message, status.code.name(), details(status)),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None if error.is_connect() => "no connection".to_owned(),
        None => match error.http_status_code() {
            Some(code) => format!("HTTP {code} without an error document"),
            None => "no usable answer".to_owned(),
        },
    }
}

/// The organization's constraints that forbade a call.
fn constraints(status: &Status) -> Vec<&str> {
    let failures = status.details.iter().filter_map(|detail| match detail {
        StatusDetails::PreconditionFailure(failure) => Some(&failure.violations),
        _ => None,
    });
    let named = failures.flatten().map(|violation| violation.r#type.as_str());
    named.filter(|name| name.starts_with("constraints/")).collect()
}

/// What the details say beyond the message.
fn details(status: &Status) -> String {
    let constraints = constraints(status);
    if constraints.is_empty() {
        return String::new();
    }
    format!(": forbidden by {}", constraints.join(", "))
}

/// A token exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The backend refused the key itself. Fresh keys are refused for up to minutes.
    #[error("{description}")]
    KeyRefused {
        /// What it said.
        description: String,
    },
    /// Nothing was learned about the key.
    #[error("{0}")]
    Unavailable(#[source] BackendError),
    /// The credential cannot be used to sign.
    #[error("the credential cannot be used: {0}")]
    Credential(#[source] CredentialError),
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Code;

    use super::*;

    /// As the official client reads it.
    fn call(http: u16, code: Code, message: &str, details: &[serde_json::Value]) -> BackendError {
        let details = details.iter().map(|d| serde_json::from_value::<StatusDetails>(d.clone()).unwrap());
        let status = Status::default().set_code(code).set_message(message).set_details(details);
        let error = GaxError::service_with_http_metadata(status, Some(http), None);
        BackendError::Call { call: "keys.create", source: Box::new(error) }
    }

    #[test]
    fn what_google_says_beside_its_status_tells_limits_policies_and_rates_apart() {
        let failed = |message: &str, details: &[_]| call(400, Code::FailedPrecondition, message, details);
        let exhausted = |message: &str, details: &[_]| call(429, Code::ResourceExhausted, message, details);
        let violation = serde_json::json!({"type": "constraints/iam.disableServiceAccountKeyCreation",
            "subject": "projects/p/serviceAccounts/a@p?configvalue=a%40p", "description": "no"});
        let violations = serde_json::json!({"@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [violation]});
        let policy = failed("Key creation is not allowed on this service account.", &[violations]);
        assert_eq!(policy.class(), Class::OrgPolicy);
        let told = policy.trouble().message;
        assert!(told.contains("constraints/iam.disableServiceAccountKeyCreation"), "{told}");
        assert_eq!(failed("Precondition check failed.", &[]).class(), Class::Precondition);

        let delay =
            serde_json::json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "86401s"});
        let legacy = exhausted("Maximum number of keys on account reached.", std::slice::from_ref(&delay));
        assert_eq!(legacy.class(), Class::Precondition);
        assert!(legacy.trouble().message.contains("86401s"), "{}", legacy.trouble().message);
        assert_eq!(legacy.trouble().retry_after, None, "a wait changes nothing");
        let rate = exhausted("Quota exceeded.", &[delay]);
        assert_eq!((rate.class(), rate.retry_after()), (Class::Throttled, Some(Duration::from_secs(86_401))));
        assert_eq!(rate.trouble().retry_after, rate.retry_after());
        assert_eq!(
            rate.trouble().message,
            exhausted("Quota exceeded.", &[]).trouble().message,
            "the same words"
        );
    }

    #[test]
    fn the_same_refusal_is_told_in_the_same_words() {
        let refused = |token: &str| {
            let text = format!("Permission denied to enable service [a.googleapis.com]\nHelp Token: {token}");
            call(403, Code::PermissionDenied, &text, &[]).trouble().message
        };
        assert_eq!(refused("AXy1"), refused("BZk9"));
        assert!(refused("AXy1").contains("[a.googleapis.com]"));
    }

    #[test]
    fn what_was_signed_at_the_wrong_time_of_day_is_told_as_such() {
        let error = BackendError::Answer {
            call: "token",
            status: 400,
            canonical: Some("invalid_grant".to_owned()),
            message: "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                      reasonable timeframe. Check your iat and exp values in the JWT claim."
                .to_owned(),
            retry_after: None,
        };
        assert_eq!(error.class().reason(), crate::domain::Reason::ClockSkew);
    }

    #[test]
    fn what_got_no_token_did_not_leave() {
        let no_token = |source| BackendError::NoToken { call: "keys.create", source: Box::new(source) };
        let silent = no_token(BackendError::Timeout { call: "login", after: Duration::from_secs(10) });
        assert_eq!(silent.class(), Class::NotSent);
        assert!(silent.class().is_definite_refusal());
        assert_eq!(
            silent.trouble().message,
            "keys.create: not sent, because the login got no token: login: no answer within 10s"
        );
        let refused = BackendError::LoginRefused { identity: "a@p".to_owned(), message: "no".to_owned() };
        assert_eq!(no_token(refused).class(), Class::Unauthenticated);
        let throttled = no_token(BackendError::Answer {
            call: "login",
            status: 429,
            canonical: Some(String::new()),
            message: String::new(),
            retry_after: Some(Duration::from_secs(7)),
        });
        assert_eq!(throttled.retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn only_an_error_document_is_a_definite_refusal() {
        let answer = |status, canonical: Option<&str>| BackendError::Answer {
            call: "keys.list",
            status,
            canonical: canonical.map(str::to_owned),
            message: String::new(),
            retry_after: None,
        };
        assert_eq!(answer(403, Some("PERMISSION_DENIED")).class(), Class::Forbidden);
        assert_eq!(answer(404, Some("NOT_FOUND")).class(), Class::NotFound);
        assert_eq!(answer(400, Some("FAILED_PRECONDITION")).class(), Class::Precondition);
        assert_eq!(answer(404, None).class(), Class::Unknown, "a proxy's page is no word of the backend");
        assert_eq!(answer(503, Some("UNAVAILABLE")).class(), Class::Unknown, "it may have been applied");
        assert_eq!(answer(501, Some("UNIMPLEMENTED")).class(), Class::Unknown);
    }
}
