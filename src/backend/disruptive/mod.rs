//! The REST API of Disruptive Technologies, v2: what the backend of a sensor platform can do, which is less than Google's. Its
//! own client for Rust there is not; this one is thin, and repeats no request.

mod accounts;
mod keys;
mod members;
mod pages;
mod permissions;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::session::Session;
use super::members::{change as change_role, membership};
use super::policies::Rebound;
use super::{
    AccountListing, BackendError, Description, ExchangeError, Facts, IamBackend, KeyListing, MintedKey,
    NewAccount, Probed, UploadedKey,
};
use crate::credential::{DisruptiveCredentials, FileFields, SecretBytes};
use crate::domain::Capabilities;
use crate::domain::account::{Account, Membership, PolicyChange, PublicKeys};
use crate::domain::key::LastUse;

/// Large: the vendor's own client carries a page token over to its next list.
const PAGE: &str = "100";

/// Disruptive Technologies, and how to log in.
#[derive(Clone)]
pub struct DisruptiveCloud<'a> {
    /// Id of the project in which accounts are made.
    pub project: &'a str,
    /// The file that the vendor's client reads: key id, secret, e-mail and token endpoint of an account.
    pub login: &'a SecretBytes,
    /// Where it is.
    pub endpoints: DisruptiveEndpoints,
}

/// Addresses, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisruptiveEndpoints {
    /// The API, version included.
    pub api: String,
    /// The token endpoint, path included: logins and the proof of keys.
    pub token: String,
}

use self::DisruptiveEndpoints as Endpoints;

impl Default for DisruptiveEndpoints {
    fn default() -> Self {
        Self {
            api: "https://api.disruptive-technologies.com/v2".to_owned(),
            token: "https://identity.disruptive-technologies.com/oauth2/token".to_owned(),
        }
    }
}

/// A login.
pub(super) struct Disruptive {
    session: Session,
    facts: Facts,
}

impl Disruptive {
    /// Logs in with the first request.
    pub(super) fn log_in(cloud: DisruptiveCloud<'_>, call_timeout: Duration) -> Result<Self, BackendError> {
        let login = DisruptiveCredentials::parse(cloud.login).map_err(BackendError::Login)?;
        let facts = Facts {
            project: cloud.project.to_owned(),
            identity: login.email().to_owned(),
            can: Capabilities::disruptive(),
        };
        Ok(Self { session: Session::new(cloud.endpoints, login, call_timeout)?, facts })
    }
}

/// The plan asks for nothing that the capabilities lack.
fn lacking<T>(call: &'static str) -> Result<T, BackendError> {
    Err(BackendError::Lacking { call })
}

#[async_trait]
impl IamBackend for Disruptive {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn credential_fields(&self, email: &str, _unique_id: &str, key_id: &str) -> FileFields {
        FileFields::Disruptive(self.fields(email, key_id))
    }

    async fn probe(&self) -> Result<Probed, BackendError> {
        self.test_permissions().await
    }

    async fn ready(&self) {
        self.session.ready().await;
    }

    async fn find_account(&self, handle: &str) -> Result<Option<Account>, BackendError> {
        self.find(handle).await
    }

    async fn list_accounts(&self) -> Result<AccountListing, BackendError> {
        self.list_all().await
    }

    async fn create_account(&self, account: &NewAccount) -> Result<Account, BackendError> {
        self.create(account).await
    }

    async fn undelete_account(&self, _unique_id: &str) -> Result<String, BackendError> {
        lacking("accounts.undelete")
    }

    async fn describe_account(&self, unique_id: &str, to: &Description) -> Result<(), BackendError> {
        self.describe(unique_id, to).await
    }

    async fn set_account_disabled(&self, _unique_id: &str, _disabled: bool) -> Result<(), BackendError> {
        lacking("accounts.disable")
    }

    async fn delete_account(&self, unique_id: &str) -> Result<(), BackendError> {
        self.delete(unique_id).await
    }

    async fn view_policy(
        &self,
        resource: &str,
        _email: &str,
        unique_id: &str,
    ) -> Result<Membership, BackendError> {
        membership(self, resource, unique_id).await
    }

    async fn change_policy(
        &self,
        change: &PolicyChange,
        still: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Rebound>, BackendError> {
        change_role(self, change, still).await
    }

    async fn service_is_enabled(&self, _service: &str) -> Result<bool, BackendError> {
        lacking("services.get")
    }

    async fn enable_service(&self, _service: &str) -> Result<(), BackendError> {
        lacking("services.enable")
    }

    async fn earth_engine_registration(&self) -> Result<String, BackendError> {
        lacking("earthengine.config")
    }

    async fn public_keys(&self, _email: &str) -> Result<PublicKeys, BackendError> {
        lacking("public keys")
    }

    fn federation_file(&self, _email: &str, _provider: &str, _token_file: &str) -> String {
        String::new()
    }

    async fn list_keys(&self, unique_id: &str) -> Result<KeyListing, BackendError> {
        self.list(unique_id).await
    }

    async fn count_system_keys(&self, _unique_id: &str) -> Result<u32, BackendError> {
        Ok(0)
    }

    async fn last_use(&self, _email: &str, _key_id: &str) -> Result<LastUse, BackendError> {
        lacking("keys.lastUse")
    }

    async fn create_key(
        &self,
        unique_id: &str,
        email: &str,
        _algorithm: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError> {
        self.mint(unique_id, email, nonce).await
    }

    async fn upload_key(
        &self,
        _unique_id: &str,
        _certificate: &str,
        _nonce: &str,
    ) -> Result<UploadedKey, BackendError> {
        lacking("keys.upload")
    }

    async fn key_of_attempt(&self, _nonce: &str) -> Result<Option<String>, BackendError> {
        lacking("attempts.get")
    }

    async fn public_half(&self, _unique_id: &str, _key_id: &str) -> Result<Vec<u8>, BackendError> {
        lacking("keys.get")
    }

    async fn key_fingerprint(&self, _unique_id: &str, _key_id: &str) -> Result<String, BackendError> {
        lacking("keys.fingerprint")
    }

    async fn enable_key(&self, _unique_id: &str, _key_id: &str) -> Result<(), BackendError> {
        lacking("keys.enable")
    }

    async fn disable_key(&self, _unique_id: &str, _key_id: &str) -> Result<(), BackendError> {
        lacking("keys.disable")
    }

    async fn delete_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.erase(unique_id, key_id).await
    }

    async fn exchange(
        &self,
        credential: &SecretBytes,
        basic_auth: bool,
        now: Timestamp,
    ) -> Result<(), ExchangeError> {
        self.prove(credential, basic_auth, now).await
    }
}
