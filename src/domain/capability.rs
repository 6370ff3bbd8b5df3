//! What a backend can do, as data: what it lacks is refused before anything is asked of it.

use crate::api::v1alpha1::EntryFormat;

/// What a backend can do. Never changes while a login is in use.
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A key can be disabled before it is deleted.
    pub disable_keys: bool,
    /// A public half can be uploaded.
    pub upload_keys: bool,
    /// Algorithms that can be asked for; none where the backend knows one kind of key only.
    pub algorithms: Vec<String>,
    /// How many keys fit on an account.
    pub key_limit: Option<u32>,
    /// A key can be proved by a token exchange.
    pub token_exchange: bool,
    /// It can tell which key an attempt made.
    pub names_attempts: bool,
    /// It tells when a key was last used.
    pub last_use: bool,
    /// The id of an account is chosen by whoever makes it; else a lost create is found again by the name that it carried.
    pub chosen_ids: bool,
    /// An account has a text in which our mark stands.
    pub descriptions: bool,
    /// An account can be disabled.
    pub disable_accounts: bool,
    /// A deleted account can be brought back.
    pub undelete: bool,
    /// A project has services that are enabled.
    pub services: bool,
    /// Public halves of keys can be read by anybody.
    pub public_keys: bool,
    /// Workloads can speak for an account by a token of their cluster.
    pub federation: bool,
    /// A role can hold under a condition.
    pub conditional_roles: bool,
    /// An account has one role in a project at most.
    pub one_role: bool,
    /// Keys can be shown by basic auth.
    pub basic_auth: bool,
    /// What an entry of a Secret can hold.
    pub formats: &'static [EntryFormat],
    /// What gives our login all permissions that it may need, for people.
    pub sufficient_roles: &'static str,
}

impl Capabilities {
    /// All that Google can do.
    pub fn google() -> Self {
        Self {
            disable_keys: true,
            upload_keys: true,
            algorithms: vec!["RSA_2048".to_owned(), "RSA_1024".to_owned()],
            key_limit: Some(10),
            token_exchange: true,
            names_attempts: false,
            last_use: true,
            chosen_ids: true,
            descriptions: true,
            disable_accounts: true,
            undelete: true,
            services: true,
            public_keys: true,
            federation: true,
            conditional_roles: true,
            one_role: false,
            basic_auth: false,
            formats: &[
                EntryFormat::GoogleCredentials,
                EntryFormat::Pkcs12,
                EntryFormat::Pkcs12Password,
                EntryFormat::PrivateKeyPem,
                EntryFormat::CertificatePem,
                EntryFormat::PublicKeyPem,
                EntryFormat::PublicJwks,
                EntryFormat::KeyId,
                EntryFormat::Email,
                EntryFormat::ProjectId,
            ],
            sufficient_roles: "roles/iam.serviceAccountAdmin and roles/iam.serviceAccountKeyAdmin have them all; those of one \
                               account can be granted there",
        }
    }

    /// All that Disruptive Technologies can do: a key is there or not, and its secret is told once.
    pub fn disruptive() -> Self {
        Self {
            disable_keys: false,
            upload_keys: false,
            algorithms: Vec::new(),
            key_limit: None,
            token_exchange: true,
            names_attempts: false,
            last_use: false,
            chosen_ids: false,
            descriptions: false,
            disable_accounts: false,
            undelete: false,
            services: false,
            public_keys: false,
            federation: false,
            conditional_roles: false,
            one_role: true,
            basic_auth: true,
            formats: &[
                EntryFormat::DisruptiveCredentials,
                EntryFormat::KeyId,
                EntryFormat::Secret,
                EntryFormat::Email,
                EntryFormat::TokenEndpoint,
                EntryFormat::ProjectId,
            ],
            sufficient_roles: "roles/project.admin has them all",
        }
    }
}
