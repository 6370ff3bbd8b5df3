//! The IAM system as the operator's backend: every call goes over the simulated wire.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_gax::error::Error as GaxError;
use google_cloud_gax::error::rpc::{Code, Status, StatusDetails};
use jiff::Timestamp;
use keywheel::backend::members::{self, Members};
use keywheel::backend::policies::{Policies, Policy, Rebound, membership, rebind};
use keywheel::backend::{
    AccountListing, BackendError, Description, ExchangeError, Facts, IamBackend, KeyListing, MintedKey,
    NewAccount, Probed, System, UploadedKey,
};
use keywheel::controller::Connector;
use keywheel::credential::{
    DisruptiveCredentials, FileFields, GoogleCredentials, SecretBytes, parse_certificate, spki_sha256,
};
use keywheel::domain::Capabilities;
use keywheel::domain::account::{Account, Membership, PolicyChange, PublicKeys};
use keywheel::domain::key::LastUse;
use serde_json::json;

use super::call::{Answer, Call, Refusal};
use super::model::{PROJECT, fields};

/// The way of a call to the IAM system and of its answer back. `None`: the connection broke.
#[async_trait]
pub trait Line: Send + Sync + 'static {
    /// Makes one call. It may never be answered.
    async fn call(&self, call: Call) -> Option<Result<Answer, Refusal>>;
}

/// Logs in at the one IAM system of this world.
pub struct SimConnector {
    /// The way to it.
    pub line: Arc<dyn Line>,
    /// What it can do.
    pub can: Capabilities,
}

#[async_trait]
impl Connector for SimConnector {
    async fn connect(&self, _: System<'_>, timeout: Duration) -> Result<Arc<dyn IamBackend>, BackendError> {
        let facts =
            Facts { project: PROJECT.to_owned(), identity: "operator@sim".to_owned(), can: self.can.clone() };
        Ok(Arc::new(SimBackend { line: self.line.clone(), facts, timeout }))
    }
}

struct SimBackend {
    line: Arc<dyn Line>,
    facts: Facts,
    timeout: Duration,
}

impl SimBackend {
    async fn ask(&self, name: &'static str, call: Call) -> Result<Answer, BackendError> {
        let lost = BackendError::Timeout { call: name, after: self.timeout };
        match tokio::time::timeout(self.timeout, self.line.call(call)).await {
            Err(_) | Ok(None) => Err(lost),
            Ok(Some(Ok(answer))) => Ok(answer),
            Ok(Some(Err(refusal))) if self.facts.can.one_role => Err(refused_plainly(name, &refusal)),
            Ok(Some(Err(refusal))) => Err(refused(name, &refusal)),
        }
    }

    async fn done(&self, name: &'static str, call: Call) -> Result<(), BackendError> {
        self.ask(name, call).await.map(drop)
    }
}

/// Calls that the operator makes itself. The official client makes all others.
const BY_HAND: [&str; 6] = [
    "token",
    "keys.list",
    "attempts.get",
    "services.get",
    "services.enable",
    "earthengine.projects.getConfig",
];

/// A refusal where error documents have no canonical status.
fn refused_plainly(call: &'static str, refusal: &Refusal) -> BackendError {
    BackendError::Answer {
        call,
        status: refusal.status,
        canonical: refusal.canonical.map(|_| String::new()),
        message: refusal.message.to_owned(),
        retry_after: None,
    }
}

/// A refusal as either client tells it.
fn refused(call: &'static str, refusal: &Refusal) -> BackendError {
    let code = refusal.canonical.and_then(|canonical| Code::try_from(canonical).ok());
    let Some(code) = code.filter(|_| !BY_HAND.contains(&call)) else {
        return BackendError::Answer {
            call,
            status: refusal.status,
            canonical: refusal.canonical.map(str::to_owned),
            message: refusal.message.to_owned(),
            retry_after: None,
        };
    };
    let details = refusal.constraint.map(|constraint| {
        let violation = json!({ "type": constraint, "subject": PROJECT, "description": refusal.message });
        let kind = "type.googleapis.com/google.rpc.PreconditionFailure";
        let failure = json!({ "@type": kind, "violations": [violation] });
        serde_json::from_value::<StatusDetails>(failure).expect("these are details")
    });
    let status = Status::default().set_code(code).set_message(refusal.message).set_details(details);
    let error = GaxError::service_with_http_metadata(status, Some(refusal.status), None);
    BackendError::Call { call, source: Box::new(error) }
}

fn strange(call: &'static str) -> BackendError {
    BackendError::Incomplete { call, what: "answer" }
}

#[async_trait]
impl Policies for SimBackend {
    async fn read_policy(&self, resource: &str) -> Result<Policy, BackendError> {
        let call = Call::ReadPolicy { resource: resource.to_owned() };
        match self.ask("projects.getIamPolicy", call).await? {
            Answer::Policy(policy) => Ok(*policy),
            _ => Err(strange("projects.getIamPolicy")),
        }
    }

    async fn write_policy(&self, resource: &str, policy: Policy) -> Result<Policy, BackendError> {
        let call = Call::WritePolicy { resource: resource.to_owned(), policy: Box::new(policy) };
        match self.ask("projects.setIamPolicy", call).await? {
            Answer::Policy(policy) => Ok(*policy),
            _ => Err(strange("projects.setIamPolicy")),
        }
    }
}

#[async_trait]
impl Members for SimBackend {
    async fn read_member(&self, resource: &str, id: &str) -> Result<Vec<String>, BackendError> {
        let call = Call::ReadMember { resource: resource.to_owned(), account: id.to_owned() };
        match self.ask("members.get", call).await? {
            Answer::Roles(roles) => Ok(roles),
            _ => Err(strange("members.get")),
        }
    }

    async fn create_member(&self, resource: &str, email: &str, role: &str) -> Result<(), BackendError> {
        let (resource, email, role) = (resource.to_owned(), email.to_owned(), role.to_owned());
        self.done("members.create", Call::CreateMember { resource, email, role }).await
    }

    async fn replace_role(&self, resource: &str, id: &str, role: &str) -> Result<(), BackendError> {
        let (resource, account, role) = (resource.to_owned(), id.to_owned(), role.to_owned());
        self.done("members.patch", Call::PatchMember { resource, account, role }).await
    }

    async fn delete_member(&self, resource: &str, id: &str) -> Result<(), BackendError> {
        let call = Call::DeleteMember { resource: resource.to_owned(), account: id.to_owned() };
        self.done("members.delete", call).await
    }
}

#[async_trait]
impl IamBackend for SimBackend {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn credential_fields(&self, email: &str, unique_id: &str, key_id: &str) -> FileFields {
        fields(&self.facts.can, email, unique_id, key_id)
    }

    async fn probe(&self) -> Result<Probed, BackendError> {
        match self.ask("probe", Call::Probe).await? {
            Answer::Time(backend_time) => Ok(Probed { backend_time, missing_permissions: None }),
            _ => Err(strange("probe")),
        }
    }

    async fn find_account(&self, handle: &str) -> Result<Option<Account>, BackendError> {
        match self.ask("accounts.get", Call::FindAccount(handle.to_owned())).await? {
            Answer::Account(found) => Ok(found.map(|account| *account)),
            _ => Err(strange("accounts.get")),
        }
    }

    async fn list_accounts(&self) -> Result<AccountListing, BackendError> {
        match self.ask("accounts.list", Call::ListAccounts).await? {
            Answer::Accounts { accounts, time } => Ok(AccountListing { accounts, backend_time: time }),
            _ => Err(strange("accounts.list")),
        }
    }

    async fn create_account(&self, account: &NewAccount) -> Result<Account, BackendError> {
        match self.ask("accounts.create", Call::CreateAccount(account.clone())).await? {
            Answer::Account(Some(account)) => Ok(*account),
            _ => Err(strange("accounts.create")),
        }
    }

    async fn undelete_account(&self, unique_id: &str) -> Result<String, BackendError> {
        match self.ask("accounts.undelete", Call::Undelete { account: unique_id.to_owned() }).await? {
            Answer::Account(Some(account)) => Ok(account.email),
            _ => Err(strange("accounts.undelete")),
        }
    }

    async fn describe_account(&self, unique_id: &str, to: &Description) -> Result<(), BackendError> {
        self.done("accounts.patch", Call::Describe { account: unique_id.to_owned(), to: to.clone() }).await
    }

    async fn set_account_disabled(&self, unique_id: &str, disabled: bool) -> Result<(), BackendError> {
        self.done("accounts.disable", Call::SetDisabled { account: unique_id.to_owned(), disabled }).await
    }

    async fn delete_account(&self, unique_id: &str) -> Result<(), BackendError> {
        self.done("accounts.delete", Call::DeleteAccount { account: unique_id.to_owned() }).await
    }

    async fn view_policy(
        &self,
        resource: &str,
        email: &str,
        unique_id: &str,
    ) -> Result<Membership, BackendError> {
        if self.facts.can.one_role {
            return members::membership(self, resource, unique_id).await;
        }
        membership(self, resource, email, unique_id).await
    }

    async fn change_policy(
        &self,
        change: &PolicyChange,
        still: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Rebound>, BackendError> {
        if self.facts.can.one_role {
            return members::change(self, change, still).await;
        }
        rebind(self, change, still).await
    }

    async fn service_is_enabled(&self, service: &str) -> Result<bool, BackendError> {
        match self.ask("services.get", Call::ReadService(service.to_owned())).await? {
            Answer::Enabled(enabled) => Ok(enabled),
            _ => Err(strange("services.get")),
        }
    }

    async fn enable_service(&self, service: &str) -> Result<(), BackendError> {
        self.done("services.enable", Call::EnableService(service.to_owned())).await
    }

    async fn count_system_keys(&self, _: &str) -> Result<u32, BackendError> {
        Ok(1)
    }

    async fn last_use(&self, _: &str, _: &str) -> Result<LastUse, BackendError> {
        Err(strange("activities.query"))
    }

    async fn earth_engine_registration(&self) -> Result<String, BackendError> {
        match self.ask("earthengine.projects.getConfig", Call::ReadRegistration).await? {
            Answer::Registration(state) => Ok(state),
            _ => Err(strange("earthengine.projects.getConfig")),
        }
    }

    async fn public_keys(&self, _: &str) -> Result<PublicKeys, BackendError> {
        Err(strange("publicKeys.get"))
    }

    fn federation_file(&self, _: &str, _: &str, _: &str) -> String {
        String::new()
    }

    async fn list_keys(&self, unique_id: &str) -> Result<KeyListing, BackendError> {
        match self.ask("keys.list", Call::ListKeys { account: unique_id.to_owned() }).await? {
            Answer::Keys { keys, time } => Ok(KeyListing { keys, backend_time: time }),
            _ => Err(strange("keys.list")),
        }
    }

    async fn create_key(
        &self,
        unique_id: &str,
        _: &str,
        _: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError> {
        let call = Call::CreateKey { account: unique_id.to_owned(), nonce: nonce.to_owned() };
        match self.ask("keys.create", call).await? {
            Answer::Minted { id, credential, created_at } => {
                Ok(MintedKey { id, credential, created_at: Some(created_at), expires_at: None })
            }
            _ => Err(strange("keys.create")),
        }
    }

    async fn upload_key(
        &self,
        unique_id: &str,
        certificate: &str,
        nonce: &str,
    ) -> Result<UploadedKey, BackendError> {
        let parsed = parse_certificate(certificate.as_bytes()).map_err(BackendError::Login)?;
        let call = Call::UploadKey {
            account: unique_id.to_owned(),
            nonce: nonce.to_owned(),
            fingerprint: spki_sha256(&parsed.spki_der),
            expires_at: parsed.not_after.timestamp(),
        };
        match self.ask("keys.upload", call).await? {
            Answer::Uploaded { id, created_at, expires_at } => {
                Ok(UploadedKey { id, created_at: Some(created_at), expires_at })
            }
            _ => Err(strange("keys.upload")),
        }
    }

    async fn key_of_attempt(&self, nonce: &str) -> Result<Option<String>, BackendError> {
        match self.ask("attempts.get", Call::KeyOfAttempt { nonce: nonce.to_owned() }).await? {
            Answer::KeyOfAttempt(id) => Ok(id),
            _ => Err(strange("attempts.get")),
        }
    }

    /// No history asks for a public half.
    async fn public_half(&self, _: &str, _: &str) -> Result<Vec<u8>, BackendError> {
        Err(strange("keys.get"))
    }

    async fn key_fingerprint(&self, unique_id: &str, key_id: &str) -> Result<String, BackendError> {
        let call = Call::Fingerprint { account: unique_id.to_owned(), key: key_id.to_owned() };
        match self.ask("keys.get", call).await? {
            Answer::Fingerprint(fingerprint) => Ok(fingerprint),
            _ => Err(strange("keys.get")),
        }
    }

    async fn enable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.done("keys.enable", Call::EnableKey { account: unique_id.to_owned(), key: key_id.to_owned() })
            .await
    }

    async fn disable_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.done("keys.disable", Call::DisableKey { account: unique_id.to_owned(), key: key_id.to_owned() })
            .await
    }

    async fn delete_key(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        self.done("keys.delete", Call::DeleteKey { account: unique_id.to_owned(), key: key_id.to_owned() })
            .await
    }

    async fn exchange(&self, credential: &SecretBytes, _: bool, _: Timestamp) -> Result<(), ExchangeError> {
        let (key, half) = match DisruptiveCredentials::parse(credential) {
            Ok(file) => (file.key_id().to_owned(), file.secret().clone()),
            Err(_) => {
                let file = GoogleCredentials::parse(credential).map_err(ExchangeError::Credential)?;
                (file.private_key_id().to_owned(), file.private_key_pem().clone())
            }
        };
        let private_half = half.expose_str().map_err(ExchangeError::Credential)?.to_owned();
        let call = Call::Exchange { key, private_half };
        match self.done("token", call).await {
            Err(BackendError::Answer { message, .. }) if message == Refusal::bad_signature().message => {
                Err(ExchangeError::KeyRefused { description: message })
            }
            other => other.map_err(ExchangeError::Unavailable),
        }
    }
}
