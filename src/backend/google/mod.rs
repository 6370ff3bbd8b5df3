//! Google's IAM v1 on the wire. The official client does the talking, with its retries off. Some calls are our own, on the
//! same login: `keys.list`, because the protocol needs the `Date` of its answer and the client drops it; the token exchange,
//! which the client cannot make for somebody else's key; and those of services that have no official client.

mod accounts;
mod federation;
mod keys;
mod last_use;
mod list;
mod login;
mod permissions;
mod policies;
mod public_keys;
mod services;
mod token;

use std::time::Duration;

use async_trait::async_trait;
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam;
use google_cloud_resourcemanager_v3::client::Projects;
use jiff::Timestamp;

use self::federation::Federated;
pub use self::login::GoogleLogin;
pub(super) use self::login::is_usable;
use super::policies::{Rebound, membership, rebind};
use super::{
    AccountListing, BackendError, Description, ExchangeError, Facts, IamBackend, KeyListing, MintedKey,
    NewAccount, Probed, UploadedKey,
};
use crate::credential::{FileFields, GoogleFileFields, SecretBytes, spki_sha256};
use crate::domain::Capabilities;
use crate::domain::account::{Account, Membership, PolicyChange, PublicKeys};
use crate::domain::key::LastUse;

/// Google Cloud IAM, and how to log in.
#[derive(Clone)]
pub struct GoogleCloud<'a> {
    /// Id of the project in which accounts are made.
    pub project: &'a str,
    /// How the operator shows who it is.
    pub login: GoogleLogin<'a>,
    /// As whom it then acts.
    pub impersonate: Option<&'a str>,
    /// Where Google is.
    pub endpoints: Box<Endpoints>,
}

/// Addresses, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// IAM.
    pub iam: String,
    /// Cloud Resource Manager.
    pub resource_manager: String,
    /// The token endpoint, path included.
    pub token: String,
    /// The Security Token Service.
    pub sts: String,
    /// IAM Credentials.
    pub iam_credentials: String,
    /// Service Usage.
    pub service_usage: String,
    /// Earth Engine.
    pub earth_engine: String,
    /// Policy Analyzer.
    pub policy_analyzer: String,
    /// Public keys of accounts.
    pub public_keys: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        let google = |service: &str| format!("https://{service}.googleapis.com");
        Self {
            iam: google("iam"),
            resource_manager: google("cloudresourcemanager"),
            token: "https://oauth2.googleapis.com/token".to_owned(),
            sts: google("sts"),
            iam_credentials: google("iamcredentials"),
            service_usage: google("serviceusage"),
            earth_engine: google("earthengine"),
            policy_analyzer: google("policyanalyzer"),
            public_keys: google("www"),
        }
    }
}

impl Endpoints {
    /// Where a token of another account is asked for.
    fn impersonation(&self, target: &str) -> String {
        federation::impersonation(&self.iam_credentials, target)
    }
}

/// A login at a server that speaks Google's IAM v1.
pub(super) struct Google {
    iam: Iam,
    projects: Projects,
    http: reqwest::Client,
    credentials: Credentials,
    endpoints: Endpoints,
    facts: Facts,
    /// What the credential files of this backend have in common.
    file: GoogleFileFields,
    /// Where workloads reach STS and IAM Credentials.
    for_workloads: Federated,
    /// Whether its project can say what our login may do.
    tells_permissions: bool,
    call_timeout: Duration,
}

impl Google {
    /// Logs in at Google Cloud. Asks the metadata server at most.
    pub(super) async fn log_in(cloud: GoogleCloud<'_>, call_timeout: Duration) -> Result<Self, BackendError> {
        let GoogleCloud { project, login, impersonate, endpoints } = cloud;
        let login = login::log_in(login, impersonate, &endpoints, call_timeout).await?;
        let facts =
            Facts { project: project.to_owned(), identity: login.identity, can: Capabilities::google() };
        let file = GoogleFileFields {
            project_id: project.to_owned(),
            auth_uri: "https://accounts.google.com/o/oauth2/auth".to_owned(),
            token_uri: endpoints.token.clone(),
            auth_provider_x509_cert_url: "https://www.googleapis.com/oauth2/v1/certs".to_owned(),
            client_x509_cert_url: "https://www.googleapis.com/robot/v1/metadata/x509/".to_owned(),
            universe_domain: "googleapis.com".to_owned(),
            ..GoogleFileFields::default()
        };
        let made = Self::connect(*endpoints, login.credentials, facts, file, call_timeout).await?;
        Ok(Self { tells_permissions: true, ..made })
    }

    /// A server that speaks Google's wire. `file` is any credential file of it.
    pub(super) async fn connect(
        endpoints: Endpoints,
        credentials: Credentials,
        facts: Facts,
        file: GoogleFileFields,
        call_timeout: Duration,
    ) -> Result<Self, BackendError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BackendError::Client {
            endpoint: endpoints.iam.clone(),
            source,
        };
        let iam = Iam::builder()
            .with_endpoint(endpoints.iam.clone())
            .with_credentials(credentials.clone())
            .with_retry_policy(NeverRetry)
            .build()
            .await
            .map_err(|e| failed(e.into()))?;
        let projects = Projects::builder()
            .with_endpoint(endpoints.resource_manager.clone())
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
        let for_workloads =
            Federated { sts: endpoints.sts.clone(), iam_credentials: endpoints.iam_credentials.clone() };
        Ok(Self {
            iam,
            projects,
            http,
            credentials,
            endpoints,
            facts,
            file,
            for_workloads,
            tells_permissions: false,
            call_timeout,
        })
    }

    /// The same, where workloads reach it at another address than the operator does.
    pub(super) fn reached_by_workloads_at(self, base: &str) -> Self {
        let for_workloads = Federated { sts: base.to_owned(), iam_credentials: base.to_owned() };
        Self { for_workloads, ..self }
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

    fn credential_fields(&self, email: &str, unique_id: &str, key_id: &str) -> FileFields {
        let certificates = self.file.client_x509_cert_url.rsplit_once('/').map_or("", |(base, _)| base);
        FileFields::Google(GoogleFileFields {
            private_key_id: key_id.to_owned(),
            client_email: email.to_owned(),
            client_id: unique_id.to_owned(),
            client_x509_cert_url: format!("{certificates}/{}", email.replace('@', "%40")),
            ..self.file.clone()
        })
    }

    async fn probe(&self) -> Result<Probed, BackendError> {
        if self.tells_permissions {
            return self.test_permissions().await;
        }
        let backend_time = self.list(&self.facts.identity).await?.backend_time;
        Ok(Probed { backend_time, missing_permissions: None })
    }

    async fn find_account(&self, handle: &str) -> Result<Option<Account>, BackendError> {
        self.find(handle).await
    }

    async fn list_accounts(&self) -> Result<AccountListing, BackendError> {
        Err(BackendError::Lacking { call: "accounts.list" })
    }

    async fn create_account(&self, account: &NewAccount) -> Result<Account, BackendError> {
        self.create(account).await
    }

    async fn undelete_account(&self, unique_id: &str) -> Result<String, BackendError> {
        self.undelete(unique_id).await
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

    async fn view_policy(
        &self,
        resource: &str,
        email: &str,
        unique_id: &str,
    ) -> Result<Membership, BackendError> {
        membership(self, resource, email, unique_id).await
    }

    async fn change_policy(
        &self,
        change: &PolicyChange,
        still: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Rebound>, BackendError> {
        rebind(self, change, still).await
    }

    async fn service_is_enabled(&self, service: &str) -> Result<bool, BackendError> {
        self.is_enabled(service).await
    }

    async fn enable_service(&self, service: &str) -> Result<(), BackendError> {
        self.begin_to_enable(service).await
    }

    async fn earth_engine_registration(&self) -> Result<String, BackendError> {
        self.registration_state().await
    }

    async fn public_keys(&self, email: &str) -> Result<PublicKeys, BackendError> {
        self.read_public_keys(email).await
    }

    fn federation_file(&self, email: &str, provider: &str, token_file: &str) -> String {
        self.for_workloads.file(&self.file.universe_domain, email, provider, token_file)
    }

    async fn list_keys(&self, unique_id: &str) -> Result<KeyListing, BackendError> {
        self.list(unique_id).await
    }

    async fn count_system_keys(&self, unique_id: &str) -> Result<u32, BackendError> {
        self.count_system(unique_id).await
    }

    async fn last_use(&self, email: &str, key_id: &str) -> Result<LastUse, BackendError> {
        self.last_use_of(email, key_id).await
    }

    async fn create_key(
        &self,
        unique_id: &str,
        _email: &str,
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

    async fn public_half(&self, unique_id: &str, key_id: &str) -> Result<Vec<u8>, BackendError> {
        self.certified(unique_id, key_id).await
    }

    async fn key_fingerprint(&self, unique_id: &str, key_id: &str) -> Result<String, BackendError> {
        Ok(spki_sha256(&self.certified(unique_id, key_id).await?))
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

    async fn exchange(
        &self,
        credential: &SecretBytes,
        _basic_auth: bool,
        now: Timestamp,
    ) -> Result<(), ExchangeError> {
        self.exchange_token(credential, now).await
    }
}
