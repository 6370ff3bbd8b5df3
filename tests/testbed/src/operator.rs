//! The operator, `keywheel controller`, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::process::{self, Detached, End, Process, Scratch};
use crate::{http, keywheel, wait};

/// A failure around the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No program.
    #[error(transparent)]
    Program(#[from] keywheel::NoProgram),
    /// The process; also when it ended before it was ready.
    #[error("the operator failed")]
    Process(#[from] process::Error),
    /// It was not ready in time.
    #[error("the operator was not ready; the end of its log:\n{tail}")]
    NotReady {
        /// What was seen last.
        source: wait::TimedOut,
        /// The last lines of its log.
        tail: String,
    },
    /// A file.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How to run it.
#[derive(Debug, Clone, Default)]
pub struct OperatorOptions {
    /// The program, as `env!("CARGO_BIN_EXE_keywheel")`; see [`keywheel::program`].
    pub program: Option<String>,
    /// Who it is at the API server; see `ControlPlane::operator_kubeconfig`.
    pub kubeconfig: PathBuf,
    /// Where namespaced backends of the kind `embedded` point to.
    pub embedded_endpoint: Option<String>,
    /// More arguments.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// Waits and caps in place of the production ones, a JSON document; only for a build with `test-timing`.
    pub test_timing: Option<String>,
    /// `RUST_LOG` and `KEYWHEEL_LOG`; `keywheel=debug,info` where not given.
    pub log: Option<String>,
    /// A folder that stays, instead of a scratch folder.
    pub folder: Option<PathBuf>,
}

/// A running operator; dropping it ends it.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    health: String,
    options: OperatorOptions,
    scratch: Scratch,
}

const PATIENCE: Duration = Duration::from_mins(1);

impl Operator {
    /// Starts it and waits for 200 from its `/readyz`.
    pub fn start(options: OperatorOptions) -> Result<Self, Error> {
        let scratch = folder(&options)?;
        let process = spawn(&options, scratch.path())?;
        let mut operator = Self { process, health: String::new(), options, scratch };
        operator.health = operator.ready()?;
        Ok(operator)
    }

    /// Starts it again with the same options; one that still runs is killed first, as a crash would. The log goes on.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill9()?;
        self.process = spawn(&self.options, self.scratch.path())?;
        self.health = self.ready()?;
        Ok(())
    }

    /// Runs it where it is expected to give up by itself, and returns its status and log.
    ///
    /// # Errors
    /// [`Error::NotReady`] if it lives on.
    pub fn run_to_failure(
        options: &OperatorOptions,
        timeout: Duration,
    ) -> Result<(ExitStatus, String), Error> {
        let scratch = folder(options)?;
        let process = spawn(options, scratch.path())?;
        if let Some(status) = process.wait(timeout)? {
            return Ok((status, process.log()));
        }
        let source = wait::TimedOut {
            what: "the operator to give up".into(),
            waited: timeout,
            last: "it is running".into(),
        };
        Err(Error::NotReady { source, tail: process.tail() })
    }

    fn ready(&self) -> Result<String, Error> {
        let file = self.scratch.path().join("health-address");
        let outcome = wait::wait_until("the operator's /readyz", PATIENCE, || {
            match self.process.exited() {
                // Ended is final, so it is handed out of the wait as an answer.
                Ok(Some(_)) | Err(_) => return Ok(None),
                Ok(None) => {}
            }
            let text = process::read_lossy(&file);
            let address = text.trim().trim_start_matches("http://").to_owned();
            if address.is_empty() {
                return Err("no health address yet".to_owned());
            }
            match http::get(&format!("http://{address}/readyz"), None) {
                Ok(answer) if answer.status == 200 => Ok(Some(address)),
                Ok(answer) => Err(format!("{}: {}", answer.status, answer.body)),
                Err(error) => Err(error.to_string()),
            }
        });
        let not_ready = |source| Error::NotReady { source, tail: self.process.tail() };
        if let Some(address) = outcome.map_err(not_ready)? {
            return Ok(address);
        }
        self.process.must_live()?;
        Err(not_ready(wait::TimedOut {
            what: "the state of the operator's process".into(),
            waited: Duration::ZERO,
            last: String::new(),
        }))
    }

    /// The health address, `127.0.0.1:PORT`.
    pub fn health_address(&self) -> &str {
        &self.health
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process itself, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as a crash would.
    pub fn kill9(&self) -> Result<ExitStatus, Error> {
        Ok(self.process.kill9()?)
    }

    /// Sends SIGTERM; returns its status and how long the end took.
    pub fn terminate(&self, timeout: Duration) -> Result<(ExitStatus, Duration), Error> {
        Ok(self.process.terminate(timeout)?)
    }

    /// Where its log goes.
    pub fn log_path(&self) -> &Path {
        self.process.log_path()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process, as others can recognize it.
    pub fn identities(&self) -> Vec<Detached> {
        vec![self.process.identity()]
    }

    /// Lets it run on after this process; only sensible with [`OperatorOptions::folder`].
    pub fn detach(self) -> Detached {
        self.process.detach()
    }
}

fn folder(options: &OperatorOptions) -> Result<Scratch, process::Error> {
    options.folder.as_deref().map_or_else(|| Scratch::new("operator"), Scratch::lasting)
}

fn spawn(options: &OperatorOptions, folder: &Path) -> Result<Process, Error> {
    let program = keywheel::program(options.program.as_deref())?;
    let file = |name: &str| folder.join(name);
    // An old one would point to a process that is gone.
    if file("health-address").exists() {
        let path = file("health-address");
        std::fs::remove_file(&path).map_err(|source| Error::File { path, source })?;
    }
    let mut command = Command::new(program);
    command.args(["controller", "--cluster-resource-namespace", crate::control_plane::OPERATOR_NAMESPACE]);
    command.arg("--kubeconfig").arg(&options.kubeconfig);
    command.args(["--health-listen", "127.0.0.1:0", "--health-address-file"]).arg(file("health-address"));
    if let Some(endpoint) = &options.embedded_endpoint {
        command.args(["--embedded-endpoint", endpoint]);
    }
    if let Some(timing) = &options.test_timing {
        let path = file("timing.json");
        std::fs::write(&path, timing).map_err(|source| Error::File { path: path.clone(), source })?;
        command.arg("--test-timing").arg(path);
    }
    command.args(&options.args).env_remove("KUBECONFIG");
    let level = std::env::var("KEYWHEEL_TEST_LOG")
        .ok()
        .or_else(|| options.log.clone())
        .unwrap_or_else(|| "keywheel=debug,info".to_owned());
    command.env("RUST_LOG", &level).env("KEYWHEEL_LOG", &level).env("NO_COLOR", "1");
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    let end = End::Terminate(Duration::from_secs(10));
    Ok(Process::spawn("keywheel controller", command, &file("operator.log"), end)?)
}
