//! The token exchange that proves a key (RFC 7523).

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use super::Google;
use crate::backend::{BackendError, ExchangeError, retry};
use crate::credential::{
    ASSERTION_MAX_LIFETIME, GoogleCredentials, RsaKeyPair, SecretBytes, bearer_assertion,
};

const CALL: &str = "token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What Google says of a key that is unknown, disabled, deleted, expired, or too fresh.
const BAD_SIGNATURE: &str = "Invalid JWT Signature.";

#[derive(Deserialize)]
struct OAuthError {
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<serde::de::IgnoredAny>,
}

impl Google {
    pub(super) async fn exchange_token(
        &self,
        credential: &SecretBytes,
        now: Timestamp,
    ) -> Result<(), ExchangeError> {
        let file = GoogleCredentials::parse(credential).map_err(ExchangeError::Credential)?;
        let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).map_err(ExchangeError::Credential)?;
        let assertion = bearer_assertion(
            &pair,
            file.private_key_id(),
            file.client_email(),
            file.token_uri(),
            SCOPE,
            now,
            ASSERTION_MAX_LIFETIME,
        )
        .map_err(ExchangeError::Credential)?;
        let assertion = assertion.expose_str().map_err(ExchangeError::Credential)?;
        let unavailable = |e: reqwest::Error| {
            ExchangeError::Unavailable(BackendError::NoAnswer { call: CALL, source: e.without_url() })
        };
        let form = [("grant_type", GRANT), ("assertion", assertion)];
        let answer = self.http.post(&self.endpoints.token).form(&form).send().await.map_err(unavailable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = SecretBytes::new(answer.bytes().await.map_err(unavailable)?.to_vec());
        if status.is_success() {
            let token: Result<TokenAnswer, _> = serde_json::from_slice(body.expose());
            return match token {
                Ok(TokenAnswer { access_token: Some(_) }) => Ok(()),
                _ => Err(incomplete()),
            };
        }
        Err(refused(status.as_u16(), &headers, &body))
    }
}

fn incomplete() -> ExchangeError {
    ExchangeError::Unavailable(BackendError::Incomplete { call: CALL, what: "access token" })
}

/// Only a refusal of the key itself counts against the key; the clock, the account and the network do not.
fn refused(status: u16, headers: &HeaderMap, body: &SecretBytes) -> ExchangeError {
    match serde_json::from_slice::<OAuthError>(body.expose()) {
        Ok(e) if e.error == "invalid_grant" && e.error_description == BAD_SIGNATURE => {
            ExchangeError::KeyRefused { description: format!("{}: {}", e.error, e.error_description) }
        }
        Ok(e) => ExchangeError::Unavailable(BackendError::Answer {
            call: CALL,
            status,
            canonical: Some(e.error.clone()),
            message: format!("{}: {}", e.error, e.error_description),
            retry_after: retry::asked(&[], Some(headers)),
        }),
        Err(_) => ExchangeError::Unavailable(BackendError::Answer {
            call: CALL,
            status,
            canonical: None,
            message: "the answer is no error of the token endpoint".to_owned(),
            retry_after: None,
        }),
    }
}
