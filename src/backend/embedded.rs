//! The embedded IAM server (`keywheel iam`): Google's wire at an address of the operator's choice.

use std::time::Duration;

use super::google::Google;
use super::{BackendError, Facts, IamBackend};
use crate::credential::{GoogleCredentials, SecretBytes};

/// Keys that fit on an account.
const KEY_LIMIT: u32 = 10;

/// Where the server is and how to log in.
pub struct Embedded<'a> {
    /// Base URL.
    pub endpoint: &'a str,
    /// A Google credentials file of type `service_account`.
    pub login: &'a SecretBytes,
    /// How long a call may take.
    pub call_timeout: Duration,
}

/// Logs in. No call is made: the first one will show whether the login is accepted.
pub async fn connect(embedded: Embedded<'_>) -> Result<impl IamBackend + use<>, BackendError> {
    let login = GoogleCredentials::parse(embedded.login).map_err(BackendError::Login)?;
    let facts = Facts {
        project: login.project_id().to_owned(),
        identity: login.client_email().to_owned(),
        can_disable: true,
        can_upload: true,
        algorithms: vec!["RSA_2048".to_owned()],
        key_limit: Some(KEY_LIMIT),
        token_exchange: true,
        names_attempts: true,
    };
    let endpoint = embedded.endpoint.trim_end_matches('/').to_owned();
    // The address in a credential file is the one that workloads use; the operator asks where it was told to.
    let token_endpoint = format!("{endpoint}/token");
    Google::connect(endpoint, token_endpoint, embedded.login, facts, embedded.call_timeout).await
}
