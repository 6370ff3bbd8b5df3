//! The connection to the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No connection can be configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A kubeconfig was named and cannot be used.
    #[error("the kubeconfig {path} cannot be used: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: kube::config::KubeconfigError,
    },
    /// Neither a kubeconfig nor a pod's identity.
    #[error("no cluster: neither a kubeconfig nor a pod's own identity was found: {0}")]
    Infer(#[source] kube::config::InferConfigError),
    /// The configuration makes no client.
    #[error("the configuration makes no client: {0}")]
    Build(#[source] kube::Error),
}

/// Connects as the kubeconfig says, or as the environment does: `KUBECONFIG`, `~/.kube/config`, or the pod's own
/// service account.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    match kubeconfig {
        Some(path) => with_kubeconfig(path).await,
        None => build(Config::infer().await.map_err(ClientError::Infer)?),
    }
}

/// Connects as a kubeconfig says.
pub async fn with_kubeconfig(path: &Path) -> Result<Client, ClientError> {
    let failed = |source| ClientError::Kubeconfig { path: path.to_owned(), source };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?;
    build(config)
}

fn build(mut config: Config) -> Result<Client, ClientError> {
    // A retried POST may be a second object. What may be tried again is decided where it is known.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).map_err(ClientError::Build)
}
