//! Google's IAM v1 on the wire. The official client does the talking, with its retries off; two calls are our
//! own on the same login: `keys.list`, because the protocol needs the `Date` of its answer and the client drops
//! it, and the token exchange, which the client cannot make for somebody else's key.

mod accounts;
mod keys;
mod list;
mod token;

use std::time::Duration;

use async_trait::async_trait;
use google_cloud_auth::credentials::{Credentials, service_account};
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam;
use jiff::Timestamp;

use super::{
    BackendError, Description, ExchangeError, Facts, IamBackend, KeyListing, MintedKey, NewAccount,
    UploadedKey,
};
use crate::credential::{GoogleCredentials, GoogleFileFields, SecretBytes};
use crate::domain::account::Account;

/// A login at a server that speaks Google's IAM v1.
pub(super) struct Google {
    iam: Iam,
    http: reqwest::Client,
    credentials: Credentials,
    endpoint: String,
    token_endpoint: String,
    facts: Facts,
    own_file: GoogleFileFields,
    call_timeout: Duration,
}

impl Google {
    pub(super) async fn connect(
        endpoint: String,
        token_endpoint: String,
        login: &SecretBytes,
        facts: Facts,
        call_timeout: Duration,
    ) -> Result<Self, BackendError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BackendError::Client {
            endpoint: endpoint.clone(),
            source,
        };
        let own_file = GoogleCredentials::parse(login).map_err(BackendError::Login)?.fields().clone();
        let file = serde_json::from_slice(login.expose()).map_err(|e| failed(e.into()))?;
        let credentials = service_account::Builder::new(file).build().map_err(|e| failed(e.into()))?;
        let iam = Iam::builder()
            .with_endpoint(endpoint.clone())
            .with_credentials(credentials.clone())
            .with_retry_policy(NeverRetry)
            .build()
            .await
            .map_err(|e| failed(e.into()))?;
        let http = reqwest::Client::builder()
            .timeout(call_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| failed(e.into()))?;
        Ok(Self { iam, http, credentials, endpoint, token_endpoint, facts, own_file, call_timeout })
    }

    /// The account's resource name. Never with the `-` wildcard: it turns a 404 into a 403.
    fn account(&self, account: &str) -> String {
        format!("projects/{}/serviceAccounts/{account}", self.facts.project)
    }

    fn key(&self, unique_id: &str, key_id: &str) -> String {
        format!("{}/keys/{key_id}", self.account(unique_id))
    }

    /// One request on the wire, ended in time.
    fn once<B: RequestOptionsBuilder>(&self, request: B) -> B {
        request.with_retry_policy(NeverRetry).with_attempt_timeout(self.call_timeout)
    }

    /// The client's own timeout covers an attempt; this one covers what it does before it.
    async fn within<T>(
        &self,
        call: &'static str,
        request: impl Future<Output = google_cloud_gax::Result<T>>,
    ) -> Result<T, BackendError> {
        match tokio::time::timeout(self.call_timeout, request).await {
            Ok(answer) => answer.map_err(|source| BackendError::Call { call, source: Box::new(source) }),
            Err(_) => Err(BackendError::Timeout { call, after: self.call_timeout }),
        }
    }
}

#[async_trait]
impl IamBackend for Google {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Project, addresses and universe are those of our own login: it came from the same server.
    fn credential_fields(&self, email: &str, unique_id: &str, key_id: &str) -> GoogleFileFields {
        let certificates = self.own_file.client_x509_cert_url.rsplit_once('/').map_or("", |(base, _)| base);
        GoogleFileFields {
            private_key_id: key_id.to_owned(),
            client_email: email.to_owned(),
            client_id: unique_id.to_owned(),
            client_x509_cert_url: format!("{certificates}/{}", email.replace('@', "%40")),
            ..self.own_file.clone()
        }
    }

    async fn probe(&self) -> Result<Timestamp, BackendError> {
        Ok(self.list(&self.facts.identity).await?.backend_time)
    }

    async fn find_account(&self, account_id: &str) -> Result<Option<Account>, BackendError> {
        self.find(account_id).await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<Account, BackendError> {
        self.create(account).await
    }

    async fn describe_account(&self, unique_id: &str, to: &Description) -> Result<(), BackendError> {
        self.describe(unique_id, to).await
    }

    async fn set_account_disabled(&self, unique_id: &str, disabled: bool) -> Result<(), BackendError> {
        self.set_disabled(unique_id, disabled).await
    }

    async fn delete_account(&self, unique_id: &str) -> Result<(), BackendError> {
        self.delete(unique_id).await
    }

    async fn list_keys(&self, unique_id: &str) -> Result<KeyListing, BackendError> {
        self.list(unique_id).await
    }

    async fn create_key(
        &self,
        unique_id: &str,
        algorithm: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError> {
        self.mint(unique_id, algorithm, nonce).await
    }

    async fn upload_key(
        &self,
        unique_id: &str,
        certificate: &str,
        nonce: &str,
    ) -> Result<UploadedKey, BackendError> {
        self.upload(unique_id, certificate, nonce).await
    }

    async fn key_of_attempt(&self, nonce: &str) -> Result<Option<String>, BackendError> {
        self.of_attempt(nonce).await
    }

    async fn key_fingerprint(&self, unique_id: &str, key_id: &str) -> Result<String, BackendError> {
        self.fingerprint(unique_id, key_id).await
    }

    async fn enable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.enable(unique_id, key_id).await
    }

    async fn disable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.disable(unique_id, key_id).await
    }

    async fn delete_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.erase(unique_id, key_id).await
    }

    async fn exchange(&self, credential: &SecretBytes, now: Timestamp) -> Result<(), ExchangeError> {
        self.exchange_token(credential, now).await
    }
}
