//! Python with unmodified client libraries, in a virtual environment of its own, and the token exchange by google-auth.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::progress::{self, say};
use crate::{process, repo, tools};

/// Python, or a script, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No Python.
    #[error("python3 is not installed (with its venv module)")]
    NoPython(#[source] std::io::Error),
    /// No cache folder, or no lock on it.
    #[error("the virtual environment has no place")]
    Place(#[from] tools::Error),
    /// The virtual environment could not be made.
    #[error("the virtual environment could not be made")]
    Make(#[from] process::Error),
    /// A file.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A script could not be run.
    #[error("cannot run {script}")]
    Run {
        /// The script.
        script: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A script ended without an answer to the question.
    #[error("{script} gave no answer: {output}")]
    Unclear {
        /// The script.
        script: PathBuf,
        /// What it printed.
        output: String,
    },
}

/// The interpreter of a virtual environment with exactly what `tests/compat/requirements.txt` pins; made on first use
/// and kept in the cache folder, one for each state of that file.
pub fn interpreter() -> Result<PathBuf, Error> {
    let pins = repo::python().join("requirements.txt");
    let text =
        std::fs::read(&pins).map_err(|source| Error::File { action: "read", path: pins.clone(), source })?;
    let checksum = hex::encode(Sha256::digest(&text));
    let cache = repo::cache().ok_or(tools::Error::NoCache)?;
    let folder = cache.join(format!("python-{}", checksum.get(..16).unwrap_or(&checksum)));
    let (interpreter, complete) = (folder.join("bin").join("python"), folder.join(".complete"));
    if works(&interpreter, &complete) {
        return Ok(interpreter);
    }
    let make = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::File { action: "make", path, source }
    };
    std::fs::create_dir_all(&cache).map_err(make(&cache))?;
    let _turn = tools::lock(&cache.join(".python.lock"), "another making of the virtual environment")?;
    if works(&interpreter, &complete) {
        return Ok(interpreter);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|source| Error::File {
            action: "remove the unfinished",
            path: folder.clone(),
            source,
        })?;
    }
    if let Err(error) = Command::new("python3").arg("--version").output() {
        return Err(Error::NoPython(error));
    }
    say(&format!("making a Python environment with the clients in {}", folder.display()));
    let log = cache.join(".python.log");
    std::fs::write(&log, "").map_err(make(&log))?;
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(&folder);
    let nothing = |_: &str| String::new();
    progress::run("python environment", command, &log, nothing)?;
    let mut command = Command::new(&interpreter);
    command.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--requirement",
    ]);
    command.arg(&pins);
    let took = progress::run("python packages", command, &log, nothing)?;
    // An environment knows its own path, so it cannot be moved into place; this file says that it is whole.
    std::fs::write(&complete, "").map_err(make(&complete))?;
    say(&format!("  python packages: installed in {} s", took.as_secs()));
    Ok(interpreter)
}

/// Also false when the system's Python, which the environment links to, was replaced by another version.
fn works(interpreter: &Path, complete: &Path) -> bool {
    complete.is_file()
        && Command::new(interpreter).arg("--version").output().is_ok_and(|out| out.status.success())
}

/// What google-auth got for a credentials file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// A token.
    Accepted {
        /// Its length in characters; the token itself stays in the script.
        token_length: u64,
        /// When it ends, RFC 3339.
        expiry: String,
    },
    /// The token endpoint said no.
    Refused {
        /// google-auth's words, for instance with `invalid_grant`.
        reason: String,
    },
}

impl Exchange {
    /// Whether there was a token.
    pub fn accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// Whether the endpoint refused with this OAuth error.
    pub fn refused_with(&self, error: &str) -> bool {
        matches!(self, Self::Refused { reason } if reason.contains(error))
    }
}

/// A key as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BackendKey {
    /// The key's id.
    pub id: String,
    /// Whether the backend refuses it for now.
    pub disabled: bool,
}

/// Lists the account's user-managed keys at the backend, logged in with the credentials file.
pub fn list_keys(
    credentials: &Path,
    base: &str,
    project: &str,
    email: &str,
) -> Result<Vec<BackendKey>, Error> {
    let script = repo::python().join("list_keys.py");
    let output = Command::new(interpreter()?)
        .arg(&script)
        .arg(credentials)
        .args([base, project, email])
        .output()
        .map_err(|source| Error::Run { script: script.clone(), source })?;
    let keys = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
    keys.ok_or_else(|| unclear(script, &output))
}

/// Lets the client of Disruptive Technologies log in with the credentials file, and ask what it may do in the project.
///
/// # Errors
/// [`Error::Unclear`] when it was neither let in nor refused.
pub fn log_in(credentials: &Path, base: &str, project: &str) -> Result<Exchange, Error> {
    let script = repo::python().join("disruptive_client.py");
    let output = Command::new(interpreter()?)
        .arg(&script)
        .arg(credentials)
        .args([base, "use", project])
        .output()
        .map_err(|source| Error::Run { script: script.clone(), source })?;
    let answer: Option<ExchangeOutput> = serde_json::from_slice(&output.stdout).ok();
    answer.and_then(ExchangeOutput::verdict).ok_or_else(|| unclear(script, &output))
}

/// Ids of an account's keys at Disruptive Technologies, asked with the credentials file by its client.
pub fn key_ids(credentials: &Path, base: &str, project: &str, account: &str) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Listed {
        keys: Vec<String>,
    }
    let script = repo::python().join("disruptive_client.py");
    let output = Command::new(interpreter()?)
        .arg(&script)
        .arg(credentials)
        .args([base, "keys", project, account])
        .output()
        .map_err(|source| Error::Run { script: script.clone(), source })?;
    let listed: Option<Listed> = serde_json::from_slice(&output.stdout).ok();
    listed.map(|listed| listed.keys).ok_or_else(|| unclear(script, &output))
}

fn unclear(script: PathBuf, output: &Output) -> Error {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Error::Unclear { script, output: String::from_utf8_lossy(&text).into_owned() }
}

#[derive(Deserialize)]
struct ExchangeOutput {
    token_length: Option<u64>,
    expiry: Option<String>,
    refused: Option<String>,
}

impl ExchangeOutput {
    fn verdict(self) -> Option<Exchange> {
        match self {
            Self { token_length: Some(token_length), expiry: Some(expiry), .. } => {
                Some(Exchange::Accepted { token_length, expiry })
            }
            Self { refused: Some(reason), .. } => Some(Exchange::Refused { reason }),
            _ => None,
        }
    }
}

/// google-auth in a process of its own that judges one credentials file after another; dropping it ends it.
#[derive(Debug)]
pub struct Judge {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    script: PathBuf,
}

impl Judge {
    /// Starts the process.
    pub fn start() -> Result<Self, Error> {
        let script = repo::python().join("exchange.py");
        let run = |source| Error::Run { script: script.clone(), source };
        let mut command = Command::new(interpreter()?);
        command.arg(&script).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(run)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| run(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { child, input, output: BufReader::new(output), script })
    }

    /// As [`exchange`].
    pub fn exchange(&mut self, credentials: &Path) -> Result<Exchange, Error> {
        let mut line = String::new();
        let mut talk = |line: &mut String| {
            let pipe = self.input.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
            writeln!(pipe, "{}", credentials.display())?;
            pipe.flush()?;
            self.output.read_line(line).map(drop)
        };
        talk(&mut line).map_err(|source| Error::Run { script: self.script.clone(), source })?;
        let answer: Option<ExchangeOutput> = serde_json::from_str(&line).ok();
        answer
            .and_then(ExchangeOutput::verdict)
            .ok_or_else(|| Error::Unclear { script: self.script.clone(), output: line })
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        self.child.wait().ok();
    }
}

/// Lets google-auth fetch a token with the credentials file, scope cloud-platform.
///
/// # Errors
/// [`Error::Unclear`] when there was neither a token nor a refusal: no connection, a server error, a broken file.
pub fn exchange(credentials: &Path) -> Result<Exchange, Error> {
    let script = repo::python().join("exchange.py");
    let output = Command::new(interpreter()?)
        .arg(&script)
        .arg(credentials)
        .output()
        .map_err(|source| Error::Run { script: script.clone(), source })?;
    let answer: Option<ExchangeOutput> = serde_json::from_slice(&output.stdout).ok();
    match (output.status.code(), answer.and_then(ExchangeOutput::verdict)) {
        (Some(0), Some(accepted @ Exchange::Accepted { .. })) => Ok(accepted),
        (Some(1), Some(refused @ Exchange::Refused { .. })) => Ok(refused),
        _ => Err(unclear(script, &output)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_oauth_error() {
        let refused = Exchange::Refused { reason: "('invalid_grant: Invalid JWT Signature.', {})".into() };
        assert!(refused.refused_with("invalid_grant") && !refused.accepted());
        assert!(!refused.refused_with("unauthorized_client"));
        let accepted = Exchange::Accepted { token_length: 9, expiry: String::new() };
        assert!(accepted.accepted() && !accepted.refused_with("invalid_grant"));
    }
}
