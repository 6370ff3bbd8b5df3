//! Reads of our own: `keys.list`, because the official client drops the answer's `Date`, and `attempts.get`, which it does not
//! know.

use google_cloud_auth::credentials::CacheableResource;
use google_cloud_gax::error::rpc::StatusDetails;
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Google;
use super::keys::end;
use crate::backend::{BackendError, KeyListing, retry};
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
    /// Whatever they are: one that is malformed takes nothing from the rest.
    #[serde(default)]
    pub details: Vec<serde_json::Value>,
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
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.map_err(no_answer)?;
    if !status.is_success() {
        return Err(refusal(call, status.as_u16(), &headers, &body));
    }
    let document =
        serde_json::from_slice(&body).map_err(|_| BackendError::Incomplete { call, what: "body" })?;
    Ok((document, retry::date(&headers)))
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
fn refusal(call: &'static str, status: u16, headers: &HeaderMap, body: &[u8]) -> BackendError {
    match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => BackendError::Answer {
            call,
            status,
            message: answer.error.message,
            canonical: Some(answer.error.status),
            retry_after: {
                let details = answer.error.details.into_iter();
                let details: Vec<StatusDetails> =
                    details.filter_map(|detail| serde_json::from_value(detail).ok()).collect();
                retry::asked(&details, Some(headers))
            },
        },
        Err(_) => BackendError::Answer {
            call,
            status,
            canonical: None,
            message: "the answer is no error document of the backend".to_owned(),
            retry_after: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn an_exhausted_quota_says_in_either_form_when_to_come_back() {
        let refused = |status, header: Option<&'static str>, details: serde_json::Value| {
            let headers = header.map(|text| (RETRY_AFTER, text.parse().unwrap())).into_iter().collect();
            let error = serde_json::json!({"code": status, "message": "no", "status": "RESOURCE_EXHAUSTED", "details": details});
            refusal(CALL, status, &headers, serde_json::json!({ "error": error }).to_string().as_bytes())
        };
        let info =
            serde_json::json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"});
        let strange = serde_json::json!({"@type": "type.googleapis.com/google.rpc.Tomorrow", "x": 1});
        let seconds = |n| Some(Duration::from_secs(n));
        let none = serde_json::json!([]);
        assert_eq!(refused(429, None, serde_json::json!([strange, "?", info])).retry_after(), seconds(37));
        assert_eq!(refused(429, Some("120"), none.clone()).retry_after(), seconds(120));
        assert_eq!(refused(429, None, none.clone()).retry_after(), None);
        assert_eq!(refused(403, Some("120"), none).retry_after(), None, "no wait makes it better");
    }
}
