//! The embedded IAM server, `keywheel iam`, as a process of its own.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::process::{self, Detached, End, Process, Scratch};
use crate::{http, keywheel, ports, wait};

/// A failure around the IAM server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No program.
    #[error(transparent)]
    Program(#[from] keywheel::NoProgram),
    /// The process.
    #[error("the IAM server failed")]
    Process(#[from] process::Error),
    /// It did not serve in time.
    #[error(transparent)]
    TimedOut(#[from] wait::TimedOut),
    /// It did not answer.
    #[error(transparent)]
    NoAnswer(#[from] http::NoAnswer),
    /// It refused.
    #[error("the IAM server answered {what} with {status}: {body}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// Another process took its port between two runs.
    #[error("the port of {url} was taken by another process while the IAM server was down")]
    PortTaken {
        /// The address.
        url: String,
    },
    /// A file.
    #[error("cannot read or write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the request log.
    #[error("cannot understand a line of the request log: {line}")]
    Line {
        /// The line.
        line: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct IamOptions {
    /// The program, as `env!("CARGO_BIN_EXE_keywheel")`; see [`keywheel::program`].
    pub program: Option<String>,
    /// The project that it serves.
    pub project: String,
    /// Whether faults can be set. Off in the demo.
    pub faults: bool,
    /// How long a new key is refused, for instance `2s`.
    pub key_activation_delay: Option<String>,
    /// How far its clock is ahead of ours, for instance `10m`.
    pub clock_offset: Option<String>,
    /// How many keys an account may have.
    pub key_limit: Option<u32>,
    /// More arguments.
    pub args: Vec<String>,
    /// `RUST_LOG` and `KEYWHEEL_LOG` of the process.
    pub log: String,
    /// A folder that stays, instead of a scratch folder.
    pub folder: Option<PathBuf>,
}

impl Default for IamOptions {
    fn default() -> Self {
        Self {
            program: None,
            project: "keywheel-test".into(),
            faults: true,
            key_activation_delay: None,
            clock_offset: None,
            key_limit: None,
            args: Vec::new(),
            log: "info".into(),
            folder: None,
        }
    }
}

/// A place in the request log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(u64);

/// One request that the server answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation, for instance `keys.create`.
    pub operation: String,
    /// The HTTP status of the answer, also of one that a fault dropped; none if nothing was done.
    pub status: Option<u16>,
    /// Who asked: an e-mail address; empty where nobody was logged in.
    pub caller: String,
    /// The whole line.
    pub raw: Value,
}

/// A running IAM server; dropping it ends it.
#[derive(Debug)]
pub struct IamServer {
    process: Mutex<Option<Process>>,
    url: String,
    program: PathBuf,
    options: IamOptions,
    scratch: Scratch,
}

const PATIENCE: Duration = Duration::from_mins(1);
const END: End = End::Terminate(Duration::from_secs(5));

impl IamServer {
    /// Starts it on a port from the kernel and waits until it serves.
    pub fn start(options: IamOptions) -> Result<Self, Error> {
        let program = keywheel::program(options.program.as_deref())?;
        let scratch = match &options.folder {
            Some(folder) => Scratch::lasting(folder)?,
            None => Scratch::new("iam")?,
        };
        let mut server = Self { process: Mutex::default(), url: String::new(), program, options, scratch };
        server.url = server.run("127.0.0.1:0")?;
        Ok(server)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process; gives the address that it serves.
    fn run(&self, listen: &str) -> Result<String, Error> {
        let address_file = self.file("address");
        // An old one would say that the new process serves.
        match fs::remove_file(&address_file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::File { path: address_file, source });
            }
            _ => {}
        }
        let mut command = Command::new(&self.program);
        command.args(["iam", "--listen", listen, "--project", &self.options.project]);
        for (flag, name) in [
            ("--address-file", "address"),
            ("--data", "iam.redb"),
            ("--admin-key-file", "admin.json"),
            ("--disruptive-admin-key-file", "disruptive.json"),
            ("--request-log", "requests.jsonl"),
        ] {
            command.arg(flag).arg(self.file(name));
        }
        if self.options.faults {
            command.arg("--enable-fault-api");
        }
        for (flag, value) in [
            ("--key-activation-delay", self.options.key_activation_delay.clone()),
            ("--clock-offset", self.options.clock_offset.clone()),
            ("--key-limit", self.options.key_limit.map(|limit| limit.to_string())),
        ] {
            // With an equals sign, so that a negative offset is not taken for a flag.
            command.args(value.map(|value| format!("{flag}={value}")));
        }
        command.args(&self.options.args);
        command
            .env("RUST_LOG", &self.options.log)
            .env("KEYWHEEL_LOG", &self.options.log)
            .env("NO_COLOR", "1");
        let process = Process::spawn("keywheel iam", command, &self.file("iam.log"), END)?;
        let url = wait::wait_until("the IAM server's address", PATIENCE, || {
            let text = process::read_lossy(&address_file).trim().to_owned();
            match process.exited() {
                // Ended is final, so it is handed out of the wait as an answer.
                Ok(Some(_)) | Err(_) => Ok(None),
                Ok(None) if text.starts_with("http://") => Ok(Some(text)),
                Ok(None) => Err("no address yet"),
            }
        })?;
        let Some(url) = url else {
            if ports::taken(&process.tail()) {
                return Err(Error::PortTaken { url: format!("http://{listen}") });
            }
            process.must_live()?;
            return Err(Error::TimedOut(wait::TimedOut {
                what: "the state of the IAM server's process".into(),
                waited: Duration::ZERO,
                last: process.tail(),
            }));
        };
        *self.process() = Some(process);
        Ok(url)
    }

    /// The base address, `http://127.0.0.1:PORT`; the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The project that it serves.
    pub fn project(&self) -> &str {
        &self.options.project
    }

    /// The credential that may do everything: the content of a backend's login Secret.
    pub fn admin_key_file(&self) -> PathBuf {
        self.file("admin.json")
    }

    /// The credential that may do everything in the API of Disruptive Technologies.
    pub fn disruptive_admin_key_file(&self) -> PathBuf {
        self.file("disruptive.json")
    }

    /// Where the server's own log goes.
    pub fn log_path(&self) -> PathBuf {
        self.file("iam.log")
    }

    /// The server's own log.
    pub fn log(&self) -> String {
        process::read_lossy(&self.log_path())
    }

    /// Where the request log goes.
    pub fn request_log_path(&self) -> PathBuf {
        self.file("requests.jsonl")
    }

    /// All requests so far.
    pub fn requests(&self) -> Result<Vec<Request>, Error> {
        self.requests_since(Mark(0))
    }

    /// The present end of the request log.
    pub fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark(self.log_since(Mark(0))?.len() as u64))
    }

    /// All requests after `mark`.
    pub fn requests_since(&self, mark: Mark) -> Result<Vec<Request>, Error> {
        self.log_since(mark)?.lines().filter(|line| !line.is_empty()).map(parse).collect()
    }

    /// The request log after `mark`, without the line that is being written.
    fn log_since(&self, mark: Mark) -> Result<String, Error> {
        let path = self.request_log_path();
        let mut text = String::new();
        File::open(&path)
            .and_then(|mut log| {
                log.seek(SeekFrom::Start(mark.0))?;
                log.read_to_string(&mut text)
            })
            .map_err(|source| Error::File { path, source })?;
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Ok(text)
    }

    /// Sets faults: PUT of this document to `/faults`.
    pub fn fault(&self, faults: &Value) -> Result<(), Error> {
        accepted("PUT /faults", http::put(&format!("{}/faults", self.url), &faults.to_string())?)
    }

    /// Changes settings of the running server: PUT of this document to `/settings`.
    pub fn settings(&self, settings: &Value) -> Result<(), Error> {
        accepted("PUT /settings", http::put(&format!("{}/settings", self.url), &settings.to_string())?)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) -> Result<(), Error> {
        accepted("DELETE /faults", http::delete(&format!("{}/faults", self.url))?)
    }

    /// Ends it as a crash would. The data stays.
    pub fn kill9(&self) -> Result<(), Error> {
        if let Some(process) = self.process().take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// Starts it again on the same data and the same port; a running one is killed first.
    pub fn restart(&self) -> Result<(), Error> {
        self.kill9()?;
        self.run(self.url.trim_start_matches("http://"))?;
        Ok(())
    }

    /// Changes the options of the next [`Self::restart`], for instance the key limit.
    pub fn options_mut(&mut self) -> &mut IamOptions {
        &mut self.options
    }

    /// Its process, as others can recognize it.
    pub fn identities(&self) -> Vec<Detached> {
        self.process().iter().map(Process::identity).collect()
    }

    /// Lets it run on after this process; only sensible with [`IamOptions::folder`].
    pub fn detach(self) -> Option<Detached> {
        self.process().take().map(Process::detach)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

fn accepted(what: &'static str, answer: http::Answer) -> Result<(), Error> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(Error::Refused { what, status: answer.status, body: answer.body })
}

fn parse(line: &str) -> Result<Request, Error> {
    let raw: Value =
        serde_json::from_str(line).map_err(|source| Error::Line { line: line.to_owned(), source })?;
    let text = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let status = raw.get("status").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    Ok(Request { operation: text("operation"), status, caller: text("caller"), raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_keeps_what_is_not_known_here() {
        let request = parse(r#"{"operation":"keys.create","status":200,"caller":"a@b","more":1}"#).unwrap();
        assert_eq!((request.operation.as_str(), request.status), ("keys.create", Some(200)));
        assert_eq!((request.caller.as_str(), &request.raw["more"]), ("a@b", &Value::from(1)));
        assert_eq!(parse(r#"{"operation":"token"}"#).unwrap().caller, "");
        assert!(matches!(parse("{"), Err(Error::Line { .. })));
    }
}
