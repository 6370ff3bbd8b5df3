//! The embedded IAM server (`keywheel iam`): Google's wire at an address of the operator's choice.

use std::time::Duration;

use google_cloud_auth::credentials::service_account;

use super::google::{Endpoints, Google, is_usable};
use super::{BackendError, Facts};
use crate::credential::{GoogleCredentials, SecretBytes};
use crate::domain::Capabilities;

/// Where the server is and how to log in.
#[derive(Clone)]
pub struct Embedded<'a> {
    /// Base URL.
    pub endpoint: &'a str,
    /// A Google credentials file of type `service_account`.
    pub login: &'a SecretBytes,
}

pub(super) async fn log_in(embedded: Embedded<'_>, call_timeout: Duration) -> Result<Google, BackendError> {
    let login = GoogleCredentials::parse(embedded.login).map_err(BackendError::Login)?;
    is_usable(&login)?;
    let facts = Facts {
        project: login.project_id().to_owned(),
        identity: login.client_email().to_owned(),
        can: Capabilities {
            algorithms: vec!["RSA_2048".to_owned()],
            names_attempts: true,
            ..Capabilities::google()
        },
    };
    let endpoint = embedded.endpoint.trim_end_matches('/').to_owned();
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| BackendError::Client {
        endpoint: endpoint.clone(),
        source,
    };
    let file = serde_json::from_slice(embedded.login.expose()).map_err(|e| failed(e.into()))?;
    let credentials = service_account::Builder::new(file).build().map_err(|e| failed(e.into()))?;
    // The address in a credential file is the one that workloads use; the operator asks where it was told to.
    let endpoints = Endpoints {
        token: format!("{endpoint}/token"),
        iam: endpoint.clone(),
        resource_manager: endpoint.clone(),
        sts: endpoint.clone(),
        iam_credentials: endpoint.clone(),
        service_usage: endpoint.clone(),
        earth_engine: endpoint.clone(),
        policy_analyzer: endpoint.clone(),
        public_keys: endpoint.clone(),
    };
    // Project, addresses and universe of other files are those of our own login: it came from the same server.
    let fields = login.fields().clone();
    let for_workloads = fields.token_uri.strip_suffix("/token").unwrap_or(&endpoint).to_owned();
    let made = Google::connect(endpoints, credentials, facts, fields, call_timeout).await?;
    Ok(made.reached_by_workloads_at(&for_workloads))
}
