//! kubectl, with the outcome as a value.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// kubectl could not run, or said no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error("cannot run kubectl {args}")]
    Run {
        /// The arguments.
        args: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("kubectl {args} ended with {status}: {stderr}")]
    Refused {
        /// The arguments.
        args: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on standard output.
        stdout: String,
        /// What it said on standard error.
        stderr: String,
    },
    /// Its answer is not JSON.
    #[error("kubectl {args} did not answer with JSON")]
    Json {
        /// The arguments.
        args: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// The words that kubectl (in most cases: the API server) refused with; empty if it did not refuse.
    pub fn refusal(&self) -> &str {
        match self {
            Self::Refused { stderr, .. } => stderr,
            Self::Run { .. } | Self::Json { .. } => "",
        }
    }
}

/// A kubectl that talks to the server of one kubeconfig and remembers nothing of other servers.
pub(crate) fn command(program: &Path, kubeconfig: &Path, cache: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("KUBECONFIG").arg("--kubeconfig").arg(kubeconfig);
    // The usual discovery cache goes by address, and another control plane may have had our port yesterday.
    command.arg("--cache-dir").arg(cache);
    command
}

/// Runs to the end and returns standard output, or the refusal.
pub(crate) fn run(mut command: Command, args: &[&str], input: Option<&str>) -> Result<String, Error> {
    let shown = || args.join(" ");
    let run = |source| Error::Run { args: shown(), source };
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().map_err(run)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // kubectl reads all of its input before it writes much, so neither waits for the other. If it ended
        // early, its own words below say more than the broken pipe.
        pipe.write_all(text.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(run)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Refused { args: shown(), status: output.status, stdout, stderr })
}
