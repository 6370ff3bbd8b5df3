//! IAM systems behind one trait. Knows no custom resource.
//!
//! Every mutating call is one request on the wire: no client below this trait retries one. Whether a failed
//! call was applied is the caller's question; [`BackendError::class`] answers it.

mod disruptive;
mod embedded;
mod error;
mod google;
pub mod members;
pub mod policies;
mod retry;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use disruptive::{DisruptiveCloud, DisruptiveEndpoints};
pub use embedded::Embedded;
pub use error::{BackendError, ExchangeError};
pub use google::{Endpoints, GoogleCloud, GoogleLogin};
pub use throttle::{Rate, Throttle};

use self::policies::Rebound;
use crate::credential::{FileFields, SecretBytes};
use crate::domain::Capabilities;
use crate::domain::account::{Account, Membership, PolicyChange, PublicKeys};
use crate::domain::key::{LastUse, ListedKey};

/// What a backend is and can do. Never changes while a login is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Project in which accounts are made.
    pub project: String,
    /// E-mail of our login.
    pub identity: String,
    /// What it can do.
    pub can: Capabilities,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its id, where ids are chosen.
    pub account_id: String,
    /// Name for people.
    pub display_name: String,
    /// Text for people, owner mark included.
    pub description: String,
    /// Whether its keys are let in by basic auth.
    pub basic_auth: bool,
}

/// What changes about an account; absent fields stay.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// New name.
    pub display_name: Option<String>,
    /// New text.
    pub description: Option<String>,
    /// Whether its keys are to be let in by basic auth.
    pub basic_auth: Option<bool>,
}

/// The accounts of the project at one moment of the backend's clock.
#[derive(Clone, Debug)]
pub struct AccountListing {
    /// All of them.
    pub accounts: Vec<Account>,
    /// `Date` of the answer.
    pub backend_time: Timestamp,
}

/// The one answer that carries a private half.
pub struct MintedKey {
    /// Id of the key.
    pub id: String,
    /// The credential, as the backend gave it.
    pub credential: SecretBytes,
    /// When it was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key whose public half was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedKey {
    /// Id of the key.
    pub id: String,
    /// When it was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
}

/// Keys of an account at one moment of the backend's clock.
#[derive(Clone, Debug)]
pub struct KeyListing {
    /// The keys that people and operators made.
    pub keys: Vec<ListedKey>,
    /// `Date` of the answer.
    pub backend_time: Timestamp,
}

/// What a probe tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The backend's clock.
    pub backend_time: Timestamp,
    /// What our login may not do on the whole project, of what the operator may need; `None` where that cannot be told.
    pub missing_permissions: Option<Vec<String>>,
}

/// An IAM system, and how to log in.
#[derive(Clone)]
pub enum System<'a> {
    /// Google Cloud.
    Google(GoogleCloud<'a>),
    /// Disruptive Technologies.
    Disruptive(DisruptiveCloud<'a>),
    /// Keywheel's own server.
    Embedded(Embedded<'a>),
}

/// Logs in. The first call will show whether the login is accepted. No call takes longer than `call_timeout`.
///
/// # Errors
/// [`BackendError::Login`] and [`BackendError::LoginUnsupported`] for a login that cannot be used, [`BackendError::Client`].
pub async fn connect(
    system: System<'_>,
    call_timeout: Duration,
) -> Result<Arc<dyn IamBackend>, BackendError> {
    Ok(match system {
        System::Google(cloud) => Arc::new(google::Google::log_in(cloud, call_timeout).await?),
        System::Disruptive(cloud) => Arc::new(disruptive::Disruptive::log_in(cloud, call_timeout)?),
        System::Embedded(embedded) => Arc::new(embedded::log_in(embedded, call_timeout).await?),
    })
}

/// The attempt travels in the user agent, so that a log can name it.
fn user_agent(nonce: &str) -> String {
    format!("keywheel/{} attempt/{nonce}", env!("CARGO_PKG_VERSION"))
}

/// An IAM system, logged in to. Accounts are named by their unique id wherever one is known: an e-mail may
/// come to mean another account.
#[async_trait]
pub trait IamBackend: Send + Sync {
    /// What it is and can do.
    fn facts(&self) -> &Facts;

    /// The parts of a credential file that are not secret, for a key of this backend.
    fn credential_fields(&self, email: &str, unique_id: &str, key_id: &str) -> FileFields;

    /// Asks for something harmless: proves reachability and login, and tells the backend's clock.
    async fn probe(&self) -> Result<Probed, BackendError>;

    /// Before a request that must leave at once: a login that asks for tokens asks now, if the last one is about to end.
    async fn ready(&self) {}

    /// The account with this id or e-mail, or none. No id has an `@`.
    async fn find_account(&self, handle: &str) -> Result<Option<Account>, BackendError>;

    /// All accounts of the project. Only where [`Capabilities::chosen_ids`] is not.
    async fn list_accounts(&self) -> Result<AccountListing, BackendError>;

    /// Creates an account.
    async fn create_account(&self, account: &NewAccount) -> Result<Account, BackendError>;

    /// Brings back an account that was deleted a short time ago, as long as no other has its e-mail, which is told.
    async fn undelete_account(&self, unique_id: &str) -> Result<String, BackendError>;

    /// Changes what people read about an account.
    async fn describe_account(&self, unique_id: &str, to: &Description) -> Result<(), BackendError>;

    /// Disables or enables an account.
    async fn set_account_disabled(&self, unique_id: &str, disabled: bool) -> Result<(), BackendError>;

    /// Deletes an account.
    async fn delete_account(&self, unique_id: &str) -> Result<(), BackendError>;

    /// What the policy of a resource says of an account.
    async fn view_policy(
        &self,
        resource: &str,
        email: &str,
        unique_id: &str,
    ) -> Result<Membership, BackendError>;

    /// Reads a policy, changes it if it must be, and tells what it then says. None: `still` did not hold any more when it was to
    /// be written. An answer of 409 (`ABORTED`) means that somebody else was faster.
    async fn change_policy(
        &self,
        change: &PolicyChange,
        still: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Rebound>, BackendError>;

    /// Whether the project may use a service.
    async fn service_is_enabled(&self, service: &str) -> Result<bool, BackendError>;

    /// Begins to let the project use a service. That it is asked for again does no harm.
    async fn enable_service(&self, service: &str) -> Result<(), BackendError>;

    /// How Earth Engine calls the registration of the project, as in `NOT_REGISTERED`.
    async fn earth_engine_registration(&self) -> Result<String, BackendError>;

    /// All keys whose signatures count now, those that the backend keeps for itself included. Anybody may read them.
    async fn public_keys(&self, email: &str) -> Result<PublicKeys, BackendError>;

    /// A credentials file without a key: whoever has a token that this provider believes, and may speak for the account, does.
    fn federation_file(&self, email: &str, provider: &str, token_file: &str) -> String;

    /// Lists the keys of an account.
    async fn list_keys(&self, unique_id: &str) -> Result<KeyListing, BackendError>;

    /// How many keys of an account the backend keeps for itself.
    async fn count_system_keys(&self, unique_id: &str) -> Result<u32, BackendError>;

    /// When a key was last used to log in. Only where [`Capabilities::last_use`].
    async fn last_use(&self, email: &str, key_id: &str) -> Result<LastUse, BackendError>;

    /// Makes a key. The nonce of the attempt travels in the user agent, so that a log can name it.
    async fn create_key(
        &self,
        unique_id: &str,
        email: &str,
        algorithm: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError>;

    /// Uploads the public half of a pair in a self-signed certificate (PEM).
    async fn upload_key(
        &self,
        unique_id: &str,
        certificate: &str,
        nonce: &str,
    ) -> Result<UploadedKey, BackendError>;

    /// The id of the key that the attempt with this nonce made, or none. Only where [`Capabilities::names_attempts`].
    async fn key_of_attempt(&self, nonce: &str) -> Result<Option<String>, BackendError>;

    /// A key's public half (SPKI, DER).
    async fn public_half(&self, unique_id: &str, key_id: &str) -> Result<Vec<u8>, BackendError>;

    /// SHA-256 of a key's public half (SPKI, DER), in hex.
    async fn key_fingerprint(&self, unique_id: &str, key_id: &str) -> Result<String, BackendError>;

    /// Enables a key.
    async fn enable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError>;

    /// Disables a key.
    async fn disable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError>;

    /// Deletes a key.
    async fn delete_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError>;

    /// Exchanges a credential for a token and throws the token away; `basic_auth`: shows it by basic auth, too.
    async fn exchange(
        &self,
        credential: &SecretBytes,
        basic_auth: bool,
        now: Timestamp,
    ) -> Result<(), ExchangeError>;
}
