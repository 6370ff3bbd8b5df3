//! Reads of our own: `keys.list`, because the official client drops the answer's `Date`, and `attempts.get`, which it does not
//! know.

use google_cloud_auth::credentials::CacheableResource;
use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Google;
use super::keys::end;
use crate::backend::{BackendError, KeyListing};
use crate::domain::Class;
use crate::domain::key::ListedKey;

const CALL: &str = "keys.list";

#[derive(Deserialize)]
struct ListAnswer {
    #[serde(default)]
    keys: Vec<WireKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    name: String,
    valid_after_time: Option<Timestamp>,
    /// "Never" is the last second of the year 9999, which is beyond what a `Timestamp` holds.
    valid_before_time: Option<String>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    key_origin: Option<String>,
    #[serde(default)]
    disable_reason: Option<String>,
    #[serde(default)]
    extended_status: Vec<ExtendedStatus>,
}

#[derive(Deserialize)]
struct ExtendedStatus {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
pub(super) struct ErrorAnswer {
    pub error: ErrorDocument,
}

#[derive(Deserialize)]
pub(super) struct ErrorDocument {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub status: String,
}

impl Google {
    /// Keys that people and operators made; those that the backend keeps for itself are never listed.
    pub(super) async fn list(&self, account: &str) -> Result<KeyListing, BackendError> {
        let path = format!("v1/{}/keys?keyTypes=USER_MANAGED", self.account(account));
        let (listed, date): (ListAnswer, _) = self.get(CALL, &path).await?;
        let backend_time = date.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
        let keys = listed.keys.into_iter().map(listed_key).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or(BackendError::Incomplete { call: CALL, what: "key name" })?;
        Ok(KeyListing { keys, backend_time })
    }

    /// Those that Google made for itself: it rotates them, and nobody else may.
    pub(super) async fn count_system(&self, account: &str) -> Result<u32, BackendError> {
        let path = format!("v1/{}/keys?keyTypes=SYSTEM_MANAGED", self.account(account));
        let (listed, _): (ListAnswer, _) = self.get(CALL, &path).await?;
        Ok(u32::try_from(listed.keys.len()).unwrap_or(u32::MAX))
    }

    /// The embedded server's own call: which key an attempt made.
    pub(super) async fn of_attempt(&self, nonce: &str) -> Result<Option<String>, BackendError> {
        let call = "attempts.get";
        match self.get::<WireKey>(call, &format!("keywheel/v1/attempts/{nonce}")).await {
            Ok((key, _)) => listed_key(key)
                .map(|key| Some(key.id))
                .ok_or(BackendError::Incomplete { call, what: "key name" }),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The document at a path of IAM, and the answer's `Date`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
    ) -> Result<(T, Option<Timestamp>), BackendError> {
        self.send(call, self.http.get(format!("{}/{path}", self.endpoints.iam))).await
    }

    /// Sends a request with our login; the document of the answer, and its `Date`. The login may have to ask for a token first.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<(T, Option<Timestamp>), BackendError> {
        let sent = tokio::time::timeout(self.call_timeout, self.send_in_time(call, request)).await;
        sent.unwrap_or(Err(BackendError::Timeout { call, after: self.call_timeout }))
    }

    async fn send_in_time<T: DeserializeOwned>(
        &self,
        call: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<(T, Option<Timestamp>), BackendError> {
        let headers = self
            .credentials
            .headers(http::Extensions::new())
            .await
            .map_err(|source| BackendError::Header { call, source })?;
        let CacheableResource::New { data, .. } = headers else {
            return Err(BackendError::Incomplete { call, what: "login header" });
        };
        answer(call, request.headers(data)).await
    }

    /// The document that anybody may read at an address.
    pub(super) async fn read_open<T: DeserializeOwned>(
        &self,
        call: &'static str,
        url: String,
    ) -> Result<T, BackendError> {
        let sent = tokio::time::timeout(self.call_timeout, answer(call, self.http.get(url))).await;
        sent.unwrap_or(Err(BackendError::Timeout { call, after: self.call_timeout }))
            .map(|(document, _)| document)
    }
}

/// Sends a request as it is.
async fn answer<T: DeserializeOwned>(
    call: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<(T, Option<Timestamp>), BackendError> {
    let no_answer = |e: reqwest::Error| BackendError::NoAnswer { call, source: e.without_url() };
    let answer = request.send().await.map_err(no_answer)?;
    let status = answer.status();
    let date = answer
        .headers()
        .get(DATE)
        .and_then(|d| d.to_str().ok())
        .and_then(|d| rfc2822::parse(d).ok())
        .map(|d| d.timestamp());
    let body = answer.bytes().await.map_err(no_answer)?;
    if !status.is_success() {
        return Err(refusal(call, status.as_u16(), &body));
    }
    let document =
        serde_json::from_slice(&body).map_err(|_| BackendError::Incomplete { call, what: "body" })?;
    Ok((document, date))
}

fn listed_key(key: WireKey) -> Option<ListedKey> {
    let (_, id) = key.name.rsplit_once("/keys/")?;
    let told: Vec<String> = key.extended_status.iter().map(|s| format!("{}: {}", s.key, s.value)).collect();
    Some(ListedKey {
        id: id.to_owned(),
        created_at: key.valid_after_time,
        expires_at: key.valid_before_time.and_then(|t| t.parse().ok()).and_then(end),
        disabled: key.disabled,
        made_by_backend: key.key_origin.as_deref() != Some("USER_PROVIDED"),
        disable_reason: key.disable_reason,
        extended_status: (!told.is_empty()).then(|| told.join("; ")),
        public_key_sha256: None,
        nonce: None,
    })
}

/// A failure that was answered. A body that is no error document leaves open who answered.
pub(super) fn refusal(call: &'static str, status: u16, body: &[u8]) -> BackendError {
    match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => BackendError::Answer {
            call,
            status,
            message: answer.error.message,
            canonical: Some(answer.error.status),
        },
        Err(_) => BackendError::Answer {
            call,
            status,
            canonical: None,
            message: "the answer is no error document of the backend".to_owned(),
        },
    }
}
