//! The embedded IAM server: the account, key and policy methods of Google IAM v1, projects with their policies and
//! services, constraints, last uses, the token endpoints (OAuth2, federation, impersonation, a machine's metadata) and the
//! public key endpoints, over a durable store; beside them the API of Disruptive Technologies, as far as accounts and keys go.
//!
//! It is meant for clusters without a cloud, and for tests that need a backend which really verifies. Callers prove
//! who they are with the same credentials as at Google; accounts that are marked as administrators may call everything,
//! others what their roles allow. What it does not have answers 501, never a fake success.

mod access;
mod accounts;
mod admin;
mod caller;
mod clock;
mod connection;
mod control;
mod default_accounts;
mod dispatch;
mod disruptive;
mod earth_engine;
mod exchange;
mod faults;
mod federation;
mod id_tokens;
mod impersonation;
mod keys;
mod last_use;
mod metadata;
mod model;
mod org_policy;
mod page;
mod policies;
mod policy;
mod principal;
mod projects;
mod public_keys;
mod random;
mod reply;
mod request_log;
mod roles;
mod services;
mod settings;
mod signed_token;
mod store;
mod sts;
mod system_keys;
mod token;
mod tunables;
mod wire;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use admin::{ADMIN_ACCOUNT, AdminError};
pub use disruptive::AdminError as DisruptiveAdminError;
pub use earth_engine::{NoRegistration, ProjectRegistration};
pub use federation::{NoProvider, ProviderError, ProviderSpec};
pub use org_policy::{Constraint, NoConstraint};
pub use settings::{KeyLimitError, Settings, SettingsError, parse_duration};
pub use store::StoreError;

use clock::Clock;
use connection::{CuttableListener, Scissors};
use faults::Faults;
use id_tokens::IdTokens;
use page::Recent;
use projects::Projects;
use request_log::RequestLog;
use store::Store;
use tunables::Tunables;

/// How long open requests have to end after the server was told to stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum IamServerError {
    /// A setting makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projects could not be set up.
    #[error("the projects could not be set up")]
    Projects(#[source] wire::errors::ApiError),
    /// The default accounts could not be set up.
    #[error("the default accounts could not be set up")]
    DefaultAccounts(#[source] wire::errors::ApiError),
    /// The administrator could not be set up.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The administrator in the API of Disruptive Technologies could not be set up.
    #[error(transparent)]
    DisruptiveAdmin(#[from] disruptive::AdminError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file of the server's own cannot be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Serving failed.
    #[error("the server stopped")]
    Serve(#[source] io::Error),
}

/// Everything that a request needs.
struct Server {
    settings: Settings,
    /// Base of the server's URLs in credential files, without a slash at the end.
    base_url: String,
    /// The bound address as a URL: clients may address their tokens to it as well.
    bound_url: String,
    store: Store,
    projects: Projects,
    clock: Clock,
    tunables: Tunables,
    faults: Faults,
    log: Option<RequestLog>,
    /// One permit for each core: more key generators at once would only keep all other requests from a thread.
    generators: Semaphore,
    /// Counts the looks at accounts.
    looks: AtomicU64,
    id_tokens: IdTokens,
    recent: Recent,
}

/// Serves until `stop` is done; open requests then have three seconds to end.
///
/// The address file is written when the first request would be answered, the admin key file before that.
///
/// # Errors
/// [`IamServerError`].
pub async fn serve(
    settings: Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), IamServerError> {
    settings.check()?;
    let address = settings.listen;
    let listen_error = |source| IamServerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let bound = format!("http://{}", listener.local_addr().map_err(listen_error)?);
    let mut server = open(settings, &bound)?;
    let (now, ids) = (server.clock.now(), server.settings.projects.clone());
    server.store.write(move |store| store.purge_deleted(now)).await?;
    let projects = server.store.write(move |store| Projects::open(store, &ids, now)).await;
    server.projects = projects.map_err(IamServerError::Projects)?;
    let server = Arc::new(server);
    if let (Some(path), Some(project)) = (&server.settings.admin_key_file, server.settings.projects.first()) {
        admin::ensure(&server, project, path).await?;
    }
    if let (Some(path), Some(project)) =
        (&server.settings.disruptive_admin_key_file, server.settings.projects.first())
    {
        disruptive::ensure(&server, project, path).await?;
    }
    if server.settings.default_accounts {
        default_accounts::ensure(&server).await.map_err(IamServerError::DefaultAccounts)?;
    }
    if server.settings.enable_fault_api {
        tracing::warn!("the fault API is on: whoever can reach the server can make it fail");
    }

    let router = Router::new().fallback(handle).with_state(Arc::clone(&server));
    let service = router.into_make_service_with_connect_info::<Scissors>();
    let stopping = CancellationToken::new();
    let graceful = axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stopping.clone().cancelled_owned());
    if let Some(path) = &server.settings.address_file {
        // The socket listens since it was bound: who reads this file gets an answer.
        admin::write_whole(path, &bound)
            .map_err(|source| IamServerError::File { path: path.clone(), source })?;
    }
    tracing::info!(address = bound, url = server.base_url, "serving");

    let end = async {
        stop.await;
        stopping.cancel();
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        outcome = graceful => outcome.map_err(IamServerError::Serve)?,
        () = end => tracing::warn!("requests were still open when the server stopped"),
    }
    tracing::info!("stopped");
    Ok(())
}

impl Server {
    /// The bases under which the server is addressed.
    fn own_urls(&self) -> [String; 2] {
        [self.base_url.clone(), self.bound_url.clone()]
    }
}

fn open(settings: Settings, bound: &str) -> Result<Server, IamServerError> {
    let store = Store::open(&settings.data)?;
    let log = settings
        .request_log
        .as_deref()
        .map(|path| {
            RequestLog::open(path).map_err(|source| IamServerError::File { path: path.to_owned(), source })
        })
        .transpose()?;
    let base_url = settings.external_url.as_deref().unwrap_or(bound).trim_end_matches('/').to_owned();
    Ok(Server {
        base_url,
        bound_url: bound.to_owned(),
        store,
        clock: Clock::new(settings.clock_offset),
        projects: Projects::default(),
        tunables: Tunables::new(&settings),
        faults: Faults::default(),
        log,
        generators: Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        looks: AtomicU64::new(0),
        id_tokens: IdTokens::default(),
        recent: Recent::default(),
        settings,
    })
}

/// Carries a request out in a task of its own: what was begun is finished and logged even if the client goes away.
async fn handle(
    State(server): State<Arc<Server>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
) -> Response {
    match tokio::spawn(exchange::run(server, scissors, request)).await {
        Ok(response) => response,
        Err(error) => reply::internal_error(error),
    }
}
