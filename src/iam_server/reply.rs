//! Answers, from whichever API they come, and how they are written.

use std::error::Error;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::Value;

use super::Server;
use super::metadata::{Content, FLAVOR, MetadataError};
use super::public_keys;
use super::sts::StsError;
use super::token::TokenError;
use super::wire::errors::ApiError;

/// What is answered.
pub struct Reply {
    status: StatusCode,
    body: Value,
    cache: &'static str,
    challenge: bool,
    /// What the body is.
    form: Form,
    /// Whether it comes from the metadata server.
    metadata: bool,
    /// When to come back: seconds, or a time.
    retry_after: Option<String>,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A document.
    Json,
    /// A text, sent as it is.
    Text,
    /// A page.
    Html,
}

/// Answers are not to be kept, but for public keys.
const NO_STORE: &str = "no-store";

impl Reply {
    /// A success.
    pub fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            cache: NO_STORE,
            challenge: false,
            form: Form::Json,
            metadata: false,
            retry_after: None,
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// An error.
    pub fn error(status: StatusCode, body: Value, retry_after: Option<u32>) -> Self {
        Self { status, retry_after: retry_after.map(|seconds| seconds.to_string()), ..Self::ok(body) }
    }

    /// A page for people.
    pub fn page(text: String) -> Self {
        Self { form: Form::Html, ..Self::ok(text.into()) }
    }

    /// Public keys, which may be kept.
    pub fn public_keys(body: Value) -> Self {
        Self { cache: public_keys::CACHE_CONTROL, ..Self::ok(body) }
    }

    /// The same, with a time to come back, if there is one.
    pub fn retried_after(self, after: Option<String>) -> Self {
        Self { retry_after: after.or(self.retry_after), ..self }
    }

    /// What the metadata server fails with.
    pub fn metadata_error(status: StatusCode, message: String) -> Self {
        Self { status, ..Self::metadata(Content::Text(message)) }
    }

    /// What the metadata server says.
    pub fn metadata(content: Content) -> Self {
        let (body, form) = match content {
            Content::Text(text) => (text.into(), Form::Text),
            Content::Document(document) => (document, Form::Json),
        };
        Self { form, metadata: true, ..Self::ok(body) }
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let status = error.code().0;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            log_internal(&error);
        }
        let challenge = matches!(error, ApiError::Unauthenticated);
        Self { status, challenge, ..Self::ok(error.body()) }
    }
}

impl From<TokenError> for Reply {
    fn from(error: TokenError) -> Self {
        let status = error.code().0;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            log_internal(&error);
        }
        Self { status, ..Self::ok(error.body()) }
    }
}

impl From<StsError> for Reply {
    fn from(error: StsError) -> Self {
        let status = error.code().0;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            log_internal(&error);
        }
        Self { status, ..Self::ok(error.body()) }
    }
}

impl From<MetadataError> for Reply {
    fn from(error: MetadataError) -> Self {
        let status = error.status();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            log_internal(&error);
        }
        Self::metadata_error(status, error.to_string())
    }
}

/// The caller is told nothing, so the log must say it: every cause, none of which holds key material.
pub fn log_internal(error: &dyn Error) {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    tracing::error!(causes = causes.join(": "), "internal error");
}

/// Writes the answer. Without one the connection is cut already, and nothing of this is sent.
pub fn respond(server: &Server, reply: Option<Reply>) -> Response {
    let Some(reply) = reply else { return Response::new(Body::empty()) };
    let (text, kind) = match (&reply.body, reply.form) {
        (Value::String(text), Form::Text) => (text.clone(), "application/text"),
        (Value::String(text), Form::Html) => (text.clone(), "text/html; charset=UTF-8"),
        (document, _) => (document.to_string(), "application/json; charset=UTF-8"),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if reply.metadata {
        headers.insert(FLAVOR.0, HeaderValue::from_static(FLAVOR.1));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(reply.cache));
    if let Some(text) = reply.retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(header::RETRY_AFTER, text);
    }
    if reply.challenge {
        let challenge = HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    // Set here, or the HTTP library would date the answer with the machine's clock.
    if let Some(date) = http_date(server.clock.now()) {
        headers.insert(header::DATE, date);
    }
    response
}

fn http_date(time: Timestamp) -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::from_str(&text).ok()
}

/// The answer to a request whose task ended early.
pub fn internal_error(error: tokio::task::JoinError) -> Response {
    let reply = Reply::from(ApiError::from(error));
    let mut response = Response::new(Body::from(reply.body.to_string()));
    *response.status_mut() = reply.status;
    response
}
