//! `keywheel controller`: the operator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::v1alpha1::Span;
use crate::controller::{LeaseOptions, Options, RunError};
use crate::domain::Timing;
use crate::kube_io::{self, ClientError};
use crate::telemetry::{HealthError, LogFormat, init_logs, serve_health};

/// How long passes that are under way are given after a signal.
const GRACE: Duration = Duration::from_secs(4);

/// Options of the operator.
#[derive(Debug, Args)]
pub struct ControllerArgs {
    /// The kubeconfig to use. Default: `KUBECONFIG`, `~/.kube/config`, or the pod's own identity.
    #[arg(long, env = "KEYWHEEL_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the login Secrets of `ClusterIamBackend` objects.
    #[arg(long, env = "KEYWHEEL_CLUSTER_RESOURCE_NAMESPACE", default_value = "keywheel-system")]
    cluster_resource_namespace: String,
    /// Base URL of the embedded IAM server that `IamBackend` objects use.
    #[arg(long, env = "KEYWHEEL_EMBEDDED_ENDPOINT", value_name = "URL")]
    embedded_endpoint: Option<String>,
    /// What tells this cluster from others at a backend. Default: the uid of the namespace kube-system.
    #[arg(long, env = "KEYWHEEL_CLUSTER_ID", value_name = "ID")]
    cluster_id: Option<String>,
    /// Namespace of the Lease. Default: that of --cluster-resource-namespace.
    #[arg(long, env = "KEYWHEEL_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of the Lease: one of the operators that name it acts, the others stand by.
    #[arg(long, env = "KEYWHEEL_LEASE_NAME", default_value = "keywheel", value_name = "NAME")]
    lease_name: String,
    /// How long an operator that is not heard of keeps the Lease: 3s to 10m, in whole seconds.
    #[arg(long, env = "KEYWHEEL_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,
    /// Where /healthz and /readyz are served.
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    health_listen: SocketAddr,
    /// Write the bound health address there, for a port that the kernel chooses.
    #[arg(long, value_name = "FILE")]
    health_address_file: Option<PathBuf>,
    /// How log lines look.
    #[arg(long, env = "KEYWHEEL_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// Read waits and caps from this file (JSON, milliseconds). For tests.
    #[cfg(feature = "test-timing")]
    #[arg(long, value_name = "FILE")]
    test_timing: Option<PathBuf>,
}

/// The operator cannot start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// No runtime or no signal handler.
    #[error("the system refused what every process needs: {0}")]
    System(#[from] std::io::Error),
    /// No cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The controllers cannot run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Health cannot be served.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The file of waits cannot be used.
    #[cfg(feature = "test-timing")]
    #[error("the waits in {path} cannot be used: {source}")]
    Timing {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Runs the operator until SIGTERM or SIGINT.
pub fn run(args: ControllerArgs) -> Result<(), ControllerError> {
    init_logs(args.log_format);
    let timing = timing(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(operate(args, timing));
    // A call that hangs must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn operate(args: ControllerArgs, timing: Timing) -> Result<(), ControllerError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let client = kube_io::connect(args.kubeconfig.as_deref()).await?;
    let ready = Arc::new(AtomicBool::new(false));
    serve_health(args.health_listen, args.health_address_file.as_deref(), ready.clone()).await?;

    let (tell, told) = tokio::sync::watch::channel(false);
    let mut stop = told.clone();
    let shutdown = async move {
        // A dropped sender means that nobody is left to wait for.
        stop.wait_for(|stop| *stop).await.ok();
    };
    let lease = LeaseOptions {
        namespace: args.lease_namespace.unwrap_or_else(|| args.cluster_resource_namespace.clone()),
        name: args.lease_name,
        identity: identity()?,
        duration: args.lease_duration,
    };
    let options = Options {
        lease,
        cluster_resource_namespace: args.cluster_resource_namespace,
        embedded_endpoint: args.embedded_endpoint,
        cluster_id: args.cluster_id,
        timing,
    };
    let mut running = tokio::spawn(crate::controller::run(client, options, ready, shutdown));
    let ended = |outcome: Result<Result<(), RunError>, tokio::task::JoinError>| match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(ControllerError::System(std::io::Error::other(error))),
    };
    tokio::select! {
        outcome = &mut running => return ended(outcome),
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    tell.send_replace(true);
    match tokio::time::timeout(GRACE, running).await {
        Ok(outcome) => ended(outcome),
        Err(_) => {
            // Every prefix of steps is a legal state to start again from.
            tracing::warn!(seconds = GRACE.as_secs(), "passes are still under way and are left");
            Ok(())
        }
    }
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = Span::new(text).to_duration().map_err(|e| e.to_string())?;
    let whole = duration.subsec_nanos() == 0 && (3..=600).contains(&duration.as_secs());
    if whole { Ok(duration) } else { Err("give 3s to 10m, in whole seconds".to_owned()) }
}

/// The pod's name, for people; a random part, because the next process in the same pod is another one.
fn identity() -> Result<String, ControllerError> {
    let mut random = [0_u8; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| std::io::Error::other("no randomness"))?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(format!("{host}_{}", hex::encode(random)))
}

#[cfg(not(feature = "test-timing"))]
#[expect(clippy::unnecessary_wraps, reason = "the other build reads a file")]
fn timing(_: &ControllerArgs) -> Result<Timing, ControllerError> {
    Ok(Timing::default())
}

#[cfg(feature = "test-timing")]
fn timing(args: &ControllerArgs) -> Result<Timing, ControllerError> {
    let Some(path) = &args.test_timing else { return Ok(Timing::default()) };
    let failed = |source| ControllerError::Timing { path: path.clone(), source };
    let text = std::fs::read(path).map_err(|e| failed(e.into()))?;
    serde_json::from_slice(&text).map_err(|e| failed(e.into()))
}
