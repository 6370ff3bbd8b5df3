//! How the operator logs in at Google: with a file, as the account of its pod, or with a token of its cluster; and as
//! whom it then acts.

use std::time::Duration;

use google_cloud_auth::build_errors::Error as BuildError;
use google_cloud_auth::credentials::{self, Credentials, external_account, impersonated, service_account};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Endpoints;
use crate::backend::BackendError;
use crate::credential::{CredentialError, GoogleCredentials, RsaKeyPair, SecretBytes};

/// Where the metadata server is, unless `GCE_METADATA_HOST` says otherwise, as in Google's own clients.
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_HOST_VARIABLE: &str = "GCE_METADATA_HOST";
const CREDENTIALS_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const EMAIL_PATH: &str = "computeMetadata/v1/instance/service-accounts/default/email";

/// How the operator shows who it is.
#[derive(Clone, Copy)]
pub enum GoogleLogin<'a> {
    /// A credentials file of type `service_account`; of type `external_account`, too, where an administrator wrote it: such
    /// a file names addresses and files that are read.
    File {
        /// Its content.
        file: &'a SecretBytes,
        /// Whether an administrator of the cluster wrote it.
        trusted: bool,
    },
    /// Application default credentials: the account that the metadata server gives to the pod.
    Ambient,
    /// A token that the cluster projects into the pod.
    Federated {
        /// The provider.
        audience: &'a str,
        /// Where the token is.
        token_file: &'a str,
    },
}

/// A login, and whose it is.
pub(super) struct LoggedIn {
    pub credentials: Credentials,
    /// For people: an e-mail, where there is one.
    pub identity: String,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type", default)]
    kind: String,
}

pub(super) async fn log_in(
    login: GoogleLogin<'_>,
    impersonate: Option<&str>,
    endpoints: &Endpoints,
    call_timeout: Duration,
) -> Result<LoggedIn, BackendError> {
    match login {
        GoogleLogin::File { file, trusted } => by_file(file, trusted, impersonate, endpoints),
        GoogleLogin::Federated { audience, token_file } => {
            let config = json!({
                "type": "external_account",
                "audience": audience,
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": format!("{}/v1/token", endpoints.sts),
                "credential_source": { "file": token_file },
            });
            let identity = impersonate.unwrap_or(audience).to_owned();
            Ok(LoggedIn { credentials: external(config, impersonate, endpoints)?, identity })
        }
        GoogleLogin::Ambient => {
            let own = credentials::Builder::default().build().map_err(|source| failed(endpoints, source))?;
            let Some(target) = impersonate else {
                // A file that the environment names goes before the metadata server.
                let by_file = std::env::var_os(CREDENTIALS_VARIABLE).is_some();
                let identity = if by_file { None } else { own_email(call_timeout).await };
                let identity = identity.unwrap_or_else(|| "application default credentials".to_owned());
                return Ok(LoggedIn { credentials: own, identity });
            };
            if endpoints.iam_credentials != Endpoints::default().iam_credentials {
                // The client asks at Google's own address only.
                return Err(BackendError::LoginUnsupported {
                    what: "impersonate together with the metadata server and an endpoint of its own",
                });
            }
            let builder = impersonated::Builder::from_source_credentials(own).with_target_principal(target);
            let credentials = builder.build().map_err(|source| failed(endpoints, source))?;
            Ok(LoggedIn { credentials, identity: target.to_owned() })
        }
    }
}

fn by_file(
    file: &SecretBytes,
    trusted: bool,
    impersonate: Option<&str>,
    endpoints: &Endpoints,
) -> Result<LoggedIn, BackendError> {
    let unreadable = |e: serde_json::Error| {
        BackendError::Login(CredentialError::GoogleFileJson { line: e.line(), column: e.column() })
    };
    let Kind { kind } = serde_json::from_slice(file.expose()).map_err(unreadable)?;
    let config = || serde_json::from_slice::<Value>(file.expose()).map_err(unreadable);
    if kind == "external_account" && trusted {
        let audience = config()?.get("audience").and_then(Value::as_str).unwrap_or_default().to_owned();
        let identity = impersonate.map_or(audience, str::to_owned);
        return Ok(LoggedIn { credentials: external(config()?, impersonate, endpoints)?, identity });
    }
    // Any other type is refused here, with its name.
    let parsed = GoogleCredentials::parse(file).map_err(BackendError::Login)?;
    is_usable(&parsed)?;
    let identity = impersonate.unwrap_or(parsed.client_email()).to_owned();
    let credentials = match impersonate {
        None => service_account::Builder::new(config()?).build(),
        Some(target) => impersonated::Builder::new(json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": endpoints.impersonation(target),
            "source_credentials": config()?,
        }))
        .build(),
    };
    Ok(LoggedIn { credentials: credentials.map_err(|source| failed(endpoints, source))?, identity })
}

fn external(
    mut config: Value,
    impersonate: Option<&str>,
    endpoints: &Endpoints,
) -> Result<Credentials, BackendError> {
    if let (Some(target), Some(fields)) = (impersonate, config.as_object_mut()) {
        let url = Value::String(endpoints.impersonation(target));
        fields.insert("service_account_impersonation_url".to_owned(), url);
    }
    external_account::Builder::new(config).build().map_err(|source| failed(endpoints, source))
}

fn failed(endpoints: &Endpoints, source: BuildError) -> BackendError {
    BackendError::Client { endpoint: endpoints.iam.clone(), source: Box::new(source) }
}

/// Google's client would say what is wrong with a private key by quoting it.
pub(in crate::backend) fn is_usable(file: &GoogleCredentials) -> Result<(), BackendError> {
    RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).map(drop).map_err(BackendError::Login)
}

/// The account of the pod, for people: without it everything works as well.
async fn own_email(call_timeout: Duration) -> Option<String> {
    let host = std::env::var(METADATA_HOST_VARIABLE).unwrap_or_else(|_| METADATA_HOST.to_owned());
    let http = reqwest::Client::builder().timeout(call_timeout).no_proxy().build().ok()?;
    let request = http.get(format!("http://{host}/{EMAIL_PATH}")).header("Metadata-Flavor", "Google");
    let answer = request.send().await.ok()?.error_for_status().ok()?;
    Some(answer.text().await.ok()?.trim().to_owned())
}
