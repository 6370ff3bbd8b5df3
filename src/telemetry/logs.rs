//! Logs on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Whatever the filter says: at `warn` the client prints an answer that it cannot read, and that may be a Secret.
const QUIET: &str = "kube_client::client=error";

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. The filter comes from `KEYWHEEL_LOG`, then `RUST_LOG`, in the syntax of tracing; default
/// `info`. A filter that does not parse is said and replaced by the default.
pub fn init(format: LogFormat) {
    let wanted = std::env::var("KEYWHEEL_LOG").or_else(|_| std::env::var("RUST_LOG")).ok();
    let (filter, refused) = match wanted.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new("info"), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error)),
    };
    let filter = match QUIET.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let (Ok(()), Some(error)) = (started, refused) {
        tracing::warn!(%error, "the log filter is not valid; info is used");
    }
}
