//! Calls to the IAM system, and its answers.

use jiff::Timestamp;
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
    /// A token for a credential.
    Exchange {
        /// The key that it names.
        key: String,
        /// The private half that it holds.
        private_pem: String,
    },
}

impl Call {
    /// Whether it changes something.
    pub fn is_mutating(&self) -> bool {
        !matches!(
            self,
            Self::Probe
                | Self::FindAccount(_)
                | Self::ListKeys { .. }
                | Self::Fingerprint { .. }
                | Self::KeyOfAttempt { .. }
                | Self::Exchange { .. }
        )
    }

    /// For people; nothing private.
    pub fn summary(&self) -> String {
        match self {
            Self::Probe => "iam probe".to_owned(),
            Self::FindAccount(id) => format!("iam find-account {id}"),
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
}

impl Refusal {
    const fn new(status: u16, canonical: &'static str, message: &'static str) -> Self {
        Self { status, canonical: Some(canonical), message }
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

    /// Every class of refusal that a fault can bring. Those of 5xx say nothing about whether the call was applied.
    pub const FAULTS: [Self; 8] = [
        Self::new(401, "UNAUTHENTICATED", "The login is not accepted."),
        Self::new(403, "PERMISSION_DENIED", "Permission denied."),
        Self::new(404, "NOT_FOUND", "Requested entity was not found."),
        Self::new(429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
        Self::new(400, "INVALID_ARGUMENT", "The request is invalid."),
        Self::new(400, "FAILED_PRECONDITION", "Precondition check failed."),
        Self::new(500, "INTERNAL", "Internal error encountered."),
        Self { status: 503, canonical: None, message: "upstream connect error" },
    ];
}
