//! `keywheel iam`: the embedded IAM server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use jiff::SignedDuration;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::iam_server::{
    Constraint, IamServerError, KeyLimitError, ProjectRegistration, ProviderSpec, Settings, SettingsError,
    parse_duration, serve,
};
use crate::telemetry::{LogFormat, init_logs};

/// Options of the embedded IAM server.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct IamArgs {
    /// Address to listen on; with port 0 the kernel chooses a port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8085")]
    listen: SocketAddr,

    /// File that gets the bound address, as http://ip:port, once the server answers.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,

    /// Base of the URLs in credential files, if clients reach the server under another address than the bound one.
    #[arg(long, value_name = "URL")]
    external_url: Option<String>,

    /// The database; made if it is not there.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Ids of the projects that exist, separated by commas or in several options.
    #[arg(long = "project", value_name = "ID", value_delimiter = ',', default_value = "keywheel")]
    projects: Vec<String>,

    /// File for the credential of keywheel-admin in the first project, which may call the API. Written, readable by
    /// its owner only, if it is not there; otherwise left alone.
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,

    /// File for the credential of an account that may do everything in the API of Disruptive Technologies, in the form
    /// that their library reads. Written, readable by its owner only, if it is not there; otherwise left alone.
    #[arg(long, value_name = "FILE")]
    disruptive_admin_key_file: Option<PathBuf>,

    /// Keys that one account can have, in Google's API.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    key_limit: usize,

    /// The answer to a key too many: 400 without details, or the 429 of former years.
    #[arg(long, value_enum, default_value_t)]
    key_limit_error: KeyLimitError,

    /// How long the token endpoint refuses a new key, such as 5s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    key_activation_delay: SignedDuration,

    /// How long a new account is answered with 404 and 403 by turns, such as 10s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    account_visibility_delay: SignedDuration,

    /// How long a new key is missing from lists, such as 1m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    key_list_delay: SignedDuration,

    /// How long enabling or disabling a service takes, such as 5s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    service_delay: SignedDuration,

    /// How late the last use of keys and accounts is told, such as 48h.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s")]
    activity_lag: SignedDuration,

    /// Who vouches for callers that have no key here, in several options: the workload identity pool and provider, in
    /// the first project, and a file that describes the provider as Google's API does, with its keys in oidc.jwksJson.
    #[arg(long = "identity-provider", value_name = "POOL/PROVIDER=FILE")]
    identity_providers: Vec<ProviderSpec>,

    /// Serve the metadata of a machine that has this account, to whoever reaches the server, its tokens included.
    #[arg(long, value_name = "EMAIL")]
    metadata_account: Option<String>,

    /// Give each project the default accounts of App Engine (PROJECT@appspot.gserviceaccount.com) and Compute Engine
    /// (NUMBER-compute@developer.gserviceaccount.com).
    #[arg(long)]
    default_accounts: bool,

    /// Constraints of the organization, separated by commas or in several options:
    /// iam.disableServiceAccountCreation, iam.disableServiceAccountKeyCreation, iam.disableServiceAccountKeyUpload,
    /// iam.serviceAccountKeyExpiryHours=HOURS.
    #[arg(long = "constraint", value_name = "NAME[=VALUE]", value_delimiter = ',')]
    constraints: Vec<Constraint>,

    /// Registrations for Earth Engine, which Google's API cannot change, separated by commas or in several options;
    /// projects begin as `NOT_REGISTERED`. The others: `REGISTERED_COMMERCIALLY`, `REGISTERED_NOT_COMMERCIALLY`.
    #[arg(long = "earth-engine", value_name = "PROJECT=STATE", value_delimiter = ',')]
    earth_engine: Vec<ProjectRegistration>,

    /// How far the server's clock is ahead of the machine's, such as 10m; behind it if negative.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        default_value = "0s",
        allow_hyphen_values = true
    )]
    clock_offset: SignedDuration,

    /// Serve a page at / with accounts, keys and the latest requests, to whoever reaches the server.
    #[arg(long)]
    page: bool,

    /// Whether requests with unknown fields are refused with 400.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    strict: bool,

    /// For tests only: serve /faults and /settings, with which anybody can make requests fail, hang or lose their
    /// answers, and shift the server's clock.
    #[arg(long)]
    enable_fault_api: bool,

    /// File that gets one JSON line for each request, without bodies and credentials.
    #[arg(long, value_name = "FILE")]
    request_log: Option<PathBuf>,
}

/// Why the server ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum IamError {
    /// The runtime could not be started.
    #[error("the asynchronous runtime could not be started")]
    Runtime(#[source] io::Error),
    /// The signals that end the server cannot be waited for.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// The server itself.
    #[error(transparent)]
    Server(#[from] IamServerError),
}

impl From<SettingsError> for IamError {
    fn from(error: SettingsError) -> Self {
        Self::Server(error.into())
    }
}

impl From<IamArgs> for Settings {
    fn from(args: IamArgs) -> Self {
        Self {
            listen: args.listen,
            address_file: args.address_file,
            external_url: args.external_url,
            data: args.data,
            projects: args.projects,
            admin_key_file: args.admin_key_file,
            disruptive_admin_key_file: args.disruptive_admin_key_file,
            key_limit: args.key_limit,
            key_limit_error: args.key_limit_error,
            key_activation_delay: args.key_activation_delay,
            account_visibility_delay: args.account_visibility_delay,
            key_list_delay: args.key_list_delay,
            service_delay: args.service_delay,
            activity_lag: args.activity_lag,
            identity_providers: args.identity_providers,
            metadata_account: args.metadata_account,
            default_accounts: args.default_accounts,
            constraints: args.constraints,
            earth_engine: args.earth_engine,
            clock_offset: args.clock_offset,
            page: args.page,
            strict: args.strict,
            enable_fault_api: args.enable_fault_api,
            request_log: args.request_log,
        }
    }
}

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// [`IamError`].
pub fn run(args: IamArgs) -> Result<(), IamError> {
    init_logs(LogFormat::Text);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(IamError::Runtime)?;
    runtime.block_on(async {
        // Before anything is served, so that no signal is missed.
        let terminate = signal(SignalKind::terminate()).map_err(IamError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(IamError::Signals)?;
        serve(args.into(), first_of(terminate, interrupt)).await?;
        Ok(())
    })
}

async fn first_of(mut one: Signal, mut other: Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
