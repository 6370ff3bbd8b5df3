//! Calls to the IAM system, and its answers.

use jiff::Timestamp;
use keywheel::backend::policies::Policy;
use keywheel::backend::{Description, NewAccount};
use keywheel::credential::SecretBytes;
use keywheel::domain::account::Account;
use keywheel::domain::key::ListedKey;

/// A call.
#[derive(Clone, Debug)]
pub enum Call {
    /// What time is it?
    Probe,
    /// The account with an id.
    FindAccount(String),
    /// All accounts.
    ListAccounts,
    /// A new account.
    CreateAccount(NewAccount),
    /// A deleted account back.
    Undelete {
        /// The account.
        account: String,
    },
    /// New words about an account.
    Describe {
        /// The account.
        account: String,
        /// The words.
        to: Description,
    },
    /// On or off.
    SetDisabled {
        /// The account.
        account: String,
        /// Off.
        disabled: bool,
    },
    /// The end of an account.
    DeleteAccount {
        /// The account.
        account: String,
    },
    /// The keys of an account.
    ListKeys {
        /// The account.
        account: String,
    },
    /// A new key.
    CreateKey {
        /// The account.
        account: String,
        /// The attempt.
        nonce: String,
    },
    /// The public half of a pair.
    UploadKey {
        /// The account.
        account: String,
        /// The attempt.
        nonce: String,
        /// Fingerprint of the pair.
        fingerprint: String,
        /// When the certificate ends.
        expires_at: Option<Timestamp>,
    },
    /// Which pair is it?
    Fingerprint {
        /// The account.
        account: String,
        /// The key.
        key: String,
    },
    /// Which key did an attempt make?
    KeyOfAttempt {
        /// The attempt.
        nonce: String,
    },
    /// A key back on.
    EnableKey {
        /// The account.
        account: String,
        /// The key.
        key: String,
    },
    /// A key off.
    DisableKey {
        /// The account.
        account: String,
        /// The key.
        key: String,
    },
    /// The end of a key.
    DeleteKey {
        /// The account.
        account: String,
        /// The key.
        key: String,
    },
    /// The policy of a resource.
    ReadPolicy {
        /// The resource.
        resource: String,
    },
    /// Another policy for a resource.
    WritePolicy {
        /// The resource.
        resource: String,
        /// What it shall say, with the etag of what it said.
        policy: Box<Policy>,
    },
    /// The one role of an account in a resource.
    ReadMember {
        /// The resource.
        resource: String,
        /// The account.
        account: String,
    },
    /// Makes an account a member of a resource.
    CreateMember {
        /// The resource.
        resource: String,
        /// The account's e-mail.
        email: String,
        /// The role.
        role: String,
    },
    /// Gives a member another role.
    PatchMember {
        /// The resource.
        resource: String,
        /// The account.
        account: String,
        /// The role.
        role: String,
    },
    /// Ends a membership.
    DeleteMember {
        /// The resource.
        resource: String,
        /// The account.
        account: String,
    },
    /// Whether a service can be used.
    ReadService(String),
    /// Lets the project use a service.
    EnableService(String),
    /// Whether the project is registered for Earth Engine.
    ReadRegistration,
    /// A token for a credential.
    Exchange {
        /// The key that it names.
        key: String,
        /// The private half that it holds.
        private_half: String,
    },
}

impl Call {
    /// Whether it changes something.
    pub fn is_mutating(&self) -> bool {
        !matches!(
            self,
            Self::Probe
                | Self::FindAccount(_)
                | Self::ListAccounts
                | Self::ListKeys { .. }
                | Self::Fingerprint { .. }
                | Self::KeyOfAttempt { .. }
                | Self::ReadPolicy { .. }
                | Self::ReadMember { .. }
                | Self::ReadService(_)
                | Self::ReadRegistration
                | Self::Exchange { .. }
        )
    }

    /// For people; nothing private.
    pub fn summary(&self) -> String {
        match self {
            Self::Probe => "iam probe".to_owned(),
            Self::FindAccount(id) => format!("iam find-account {id}"),
            Self::ListAccounts => "iam list-accounts".to_owned(),
            Self::CreateAccount(new) => format!("iam create-account {}", new.account_id),
            Self::Undelete { account } => format!("iam undelete-account {account}"),
            Self::Describe { account, .. } => format!("iam describe-account {account}"),
            Self::SetDisabled { account, disabled } => format!("iam set-disabled {account} {disabled}"),
            Self::DeleteAccount { account } => format!("iam delete-account {account}"),
            Self::ListKeys { account } => format!("iam list-keys {account}"),
            Self::CreateKey { nonce, .. } => format!("iam create-key (attempt {nonce})"),
            Self::UploadKey { nonce, .. } => format!("iam upload-key (attempt {nonce})"),
            Self::Fingerprint { key, .. } => format!("iam fingerprint {}", short(key)),
            Self::KeyOfAttempt { nonce } => format!("iam key-of-attempt {nonce}"),
            Self::EnableKey { key, .. } => format!("iam enable-key {}", short(key)),
            Self::DisableKey { key, .. } => format!("iam disable-key {}", short(key)),
            Self::DeleteKey { key, .. } => format!("iam delete-key {}", short(key)),
            Self::ReadPolicy { resource } => format!("iam read-policy {resource}"),
            Self::WritePolicy { resource, policy } => {
                format!("iam write-policy {resource} ({})", String::from_utf8_lossy(&policy.etag))
            }
            // What is said of policies in runs and budgets holds for members, too.
            Self::ReadMember { resource, account } => format!("iam read-policy {resource} member {account}"),
            Self::CreateMember { resource, email, role } => {
                format!("iam write-policy {resource} new member {email} {role}")
            }
            Self::PatchMember { resource, account, role } => {
                format!("iam write-policy {resource} member {account} {role}")
            }
            Self::DeleteMember { resource, account } => {
                format!("iam write-policy {resource} no member {account}")
            }
            Self::ReadService(service) => format!("iam read-service {service}"),
            Self::EnableService(service) => format!("iam enable-service {service}"),
            Self::ReadRegistration => "iam read-registration".to_owned(),
            Self::Exchange { key, .. } => format!("iam exchange {}", short(key)),
        }
    }
}

/// The first digits of a key's id are enough for people.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// An answer.
#[derive(Clone)]
pub enum Answer {
    /// It is done.
    Done,
    /// The backend's clock.
    Time(Timestamp),
    /// An account, or none.
    Account(Option<Box<Account>>),
    /// Accounts.
    Accounts {
        /// All of them.
        accounts: Vec<Account>,
        /// The backend's clock.
        time: Timestamp,
    },
    /// Keys.
    Keys {
        /// The keys.
        keys: Vec<ListedKey>,
        /// The backend's clock.
        time: Timestamp,
    },
    /// An uploaded key.
    Uploaded {
        /// Its id.
        id: String,
        /// When it was made.
        created_at: Timestamp,
        /// When it ends.
        expires_at: Option<Timestamp>,
    },
    /// The pair of a key.
    Fingerprint(String),
    /// The key of an attempt, while it is there.
    KeyOfAttempt(Option<String>),
    /// A policy.
    Policy(Box<Policy>),
    /// The roles of a member.
    Roles(Vec<String>),
    /// Whether a service can be used.
    Enabled(bool),
    /// How Earth Engine calls the registration.
    Registration(String),
    /// A key and its private half.
    Minted {
        /// Its id.
        id: String,
        /// Its credential.
        credential: SecretBytes,
        /// When it was made.
        created_at: Timestamp,
    },
}

/// A refusal, as an error document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Canonical status; `None`: the body is no error document.
    pub canonical: Option<&'static str>,
    /// For people.
    pub message: &'static str,
    /// The constraint of the organization that it names.
    pub constraint: Option<&'static str>,
}

impl Refusal {
    const fn new(status: u16, canonical: &'static str, message: &'static str) -> Self {
        Self { status, canonical: Some(canonical), message, constraint: None }
    }

    /// It is not there.
    pub const fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "Requested entity was not found.")
    }

    /// It is there already.
    pub const fn already_exists() -> Self {
        Self::new(409, "ALREADY_EXISTS", "The entity exists already.")
    }

    /// The account is full.
    pub const fn precondition() -> Self {
        Self::new(400, "FAILED_PRECONDITION", "Precondition check failed.")
    }

    /// This backend has no such method.
    pub const fn unsupported() -> Self {
        Self::new(501, "UNIMPLEMENTED", "The method is not implemented.")
    }

    /// The token endpoint does not accept the key.
    pub const fn bad_signature() -> Self {
        Self::new(400, "invalid_grant", "Invalid JWT Signature.")
    }

    /// The account is gone or disabled.
    pub const fn account_unusable() -> Self {
        Self::new(400, "invalid_grant", "Invalid grant: account not found")
    }

    /// Somebody else changed it first.
    pub const fn aborted() -> Self {
        Self::new(
            409,
            "ABORTED",
            "There were concurrent policy changes. Please retry the whole read-modify-write.",
        )
    }

    /// It makes no sense.
    pub const fn invalid() -> Self {
        Self::new(400, "INVALID_ARGUMENT", "The request is invalid.")
    }

    /// Every class of refusal that a fault can bring. Those of 5xx and a lost race say nothing about whether the call was
    /// applied. Which call can meet which: [`Refusal::can_meet`].
    pub const FAULTS: [Self; 12] = [
        Self::new(401, "UNAUTHENTICATED", "The login is not accepted."),
        Self::new(403, "PERMISSION_DENIED", "Permission denied."),
        Self::not_found(),
        Self::new(429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
        Self::invalid(),
        Self::precondition(),
        Self::new(500, "INTERNAL", "Internal error encountered."),
        Self { canonical: None, ..Self::new(503, "", "upstream connect error") },
        Self::new(503, "UNAVAILABLE", "The service is currently unavailable."),
        Self {
            constraint: Some("constraints/iam.disableServiceAccountKeyCreation"),
            ..Self::new(400, "FAILED_PRECONDITION", "Key creation is not allowed on this service account.")
        },
        Self::aborted(),
        Self::new(
            400,
            "invalid_grant",
            "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        ),
    ];

    /// Whether a call that changes something or not, and is a token exchange or not, can be refused like this.
    pub fn can_meet(&self, mutating: bool, exchange: bool, policy: bool) -> bool {
        match self.canonical {
            // About a key or a project that is there it would be a lie, and what it costs is not ours to prevent.
            Some("NOT_FOUND") => !mutating && !policy,
            Some("ABORTED") => mutating,
            Some("invalid_grant") => exchange,
            _ => mutating || self.constraint.is_none(),
        }
    }
}
