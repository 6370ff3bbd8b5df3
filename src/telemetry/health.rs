//! `/healthz` and `/readyz`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

/// The health endpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address cannot be had.
    #[error("the health address {address} cannot be used: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// The bound address cannot be written down.
    #[error("the health address cannot be written to {path}: {source}")]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

/// Serves health until the process ends: alive at once, ready when `ready` is set.
pub async fn serve(
    address: SocketAddr,
    address_file: Option<&Path>,
    ready: Arc<AtomicBool>,
) -> Result<(), HealthError> {
    let failed = |source| HealthError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if let Some(path) = address_file {
        write_address(path, &format!("http://{bound}")).await?;
    }
    let app = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
        .with_state(ready);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "health is no longer served");
        }
    });
    tracing::info!(address = %bound, "health is served");
    Ok(())
}

async fn readiness(State(ready): State<Arc<AtomicBool>>) -> (StatusCode, &'static str) {
    if ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the controllers do not run yet")
    }
}

/// Whole or not at all: whoever waits for the file never reads half of it.
async fn write_address(path: &Path, address: &str) -> Result<(), HealthError> {
    let failed = |source| HealthError::AddressFile { path: path.to_owned(), source };
    let partial = path.with_extension("partial");
    tokio::fs::write(&partial, address).await.map_err(failed)?;
    tokio::fs::rename(&partial, path).await.map_err(failed)
}
