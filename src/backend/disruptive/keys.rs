//! Calls about keys. A secret is told once, beside its key, and there is no other state than being there.

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::USER_AGENT;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::pages::Pages;
use super::{Disruptive, PAGE};
use crate::backend::{BackendError, ExchangeError, KeyListing, MintedKey, user_agent};
use crate::credential::{DisruptiveCredentials, DisruptiveFields, SecretBytes};
use crate::domain::key::ListedKey;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    name: String,
    create_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Minted {
    key: WireKey,
    secret: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    keys: Vec<WireKey>,
    next_page_token: String,
}

impl Disruptive {
    fn keys(&self, account: &str) -> String {
        format!("{}/keys", self.account(account))
    }

    pub(super) async fn mint(
        &self,
        account: &str,
        email: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError> {
        const CALL: &str = "keys.create";
        let request = self.session.request(&Method::POST, &self.keys(account));
        let request = request.header(USER_AGENT, user_agent(nonce));
        let made = self.session.carry::<Minted>(CALL, &Method::POST, request).await?;
        let Minted { key, secret } = made.document;
        let secret = SecretBytes::from(secret);
        let id = id_of(&key).ok_or(BackendError::Incomplete { call: CALL, what: "key name" })?;
        let fields = self.fields(email, &id);
        let credential = DisruptiveCredentials::new(fields, secret)
            .render()
            .map_err(|_| BackendError::Incomplete { call: CALL, what: "secret" })?;
        Ok(MintedKey { id, credential, created_at: key.create_time, expires_at: None })
    }

    /// The parts of a credential file that are not secret.
    pub(super) fn fields(&self, email: &str, key_id: &str) -> DisruptiveFields {
        DisruptiveFields {
            key_id: key_id.to_owned(),
            email: email.to_owned(),
            token_endpoint: self.session.endpoints.token.clone(),
        }
    }

    pub(super) async fn list(&self, account: &str) -> Result<KeyListing, BackendError> {
        const CALL: &str = "keys.list";
        let (mut keys, mut backend_time, mut pages) = (Vec::new(), None, Pages::default());
        loop {
            let query = [("pageSize", PAGE), ("pageToken", pages.token())];
            let path = self.keys(account);
            let answer = self.session.send::<Page>(CALL, Method::GET, &path, &query, None).await?;
            // What was made after the first page may be missing.
            backend_time = backend_time.or(answer.date);
            for key in answer.document.keys {
                keys.push(listed(&key).ok_or(BackendError::Incomplete { call: CALL, what: "key name" })?);
            }
            if !pages.goes_on(CALL, answer.document.next_page_token)? {
                let backend_time =
                    backend_time.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
                return Ok(KeyListing { keys, backend_time });
            }
        }
    }

    pub(super) async fn erase(&self, account: &str, key: &str) -> Result<(), BackendError> {
        let path = format!("{}/{key}", self.keys(account));
        self.session.send::<IgnoredAny>("keys.delete", Method::DELETE, &path, &[], None).await.map(drop)
    }

    /// Exchanges a credential for a token, and shows it by basic auth where the account takes that.
    pub(super) async fn prove(
        &self,
        credential: &SecretBytes,
        basic_auth: bool,
        now: Timestamp,
    ) -> Result<(), ExchangeError> {
        let credential = DisruptiveCredentials::parse(credential).map_err(ExchangeError::Credential)?;
        match self.session.exchange("token", &credential, now).await {
            Ok(_) => {}
            // What the endpoint says of a key that is unknown or deleted; its words are documented nowhere.
            Err(BackendError::Answer { status: 400 | 401, message, canonical: Some(_), .. }) => {
                return Err(ExchangeError::KeyRefused { description: message });
            }
            // That the endpoint is not there, or forbids its use, says nothing of the key.
            Err(BackendError::Answer {
                status: status @ (403..=407 | 409..=428),
                message,
                canonical: Some(_),
                ..
            }) => {
                return Err(ExchangeError::Unavailable(BackendError::LoginRefused {
                    identity: credential.email().to_owned(),
                    message: format!("HTTP {status}: {message}"),
                }));
            }
            Err(BackendError::Login(error)) => return Err(ExchangeError::Credential(error)),
            Err(error) => return Err(ExchangeError::Unavailable(error)),
        }
        if !basic_auth {
            return Ok(());
        }
        let id = credential.email().split_once('@').map_or("", |(id, _)| id);
        let let_in = self.session.is_let_in("basic auth", &credential, &self.account(id)).await;
        if let_in.map_err(ExchangeError::Unavailable)? {
            return Ok(());
        }
        // The exchange has proved the key: either its account takes no basic auth, or who answered does not know it yet.
        match self.find(id).await.map_err(ExchangeError::Unavailable)? {
            Some(account) if !account.basic_auth => {
                Err(ExchangeError::Unavailable(BackendError::BasicAuthOff {
                    email: credential.email().to_owned(),
                }))
            }
            _ => Err(ExchangeError::KeyRefused { description: "not let in by basic auth".to_owned() }),
        }
    }
}

fn id_of(key: &WireKey) -> Option<String> {
    let (_, id) = key.name.rsplit_once("/keys/")?;
    (!id.is_empty()).then(|| id.to_owned())
}

fn listed(key: &WireKey) -> Option<ListedKey> {
    Some(ListedKey {
        id: id_of(key)?,
        created_at: key.create_time,
        expires_at: None,
        disabled: false,
        made_by_backend: true,
        disable_reason: None,
        extended_status: None,
        public_key_sha256: None,
        nonce: None,
    })
}
