//! A program of the control plane with its arguments, so that it can be started again.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Error, PATIENCE, deadline};
use crate::process::{End, Process};
use crate::tools::{Tool, Toolbox};
use crate::{kubectl, wait};

#[derive(Debug)]
pub(super) struct Launch {
    tool: Tool,
    program: PathBuf,
    kubectl: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Launch {
    pub(super) fn new(
        toolbox: &Toolbox,
        tool: Tool,
        folder: &Path,
        arguments: &[(&str, String)],
    ) -> Result<Self, Error> {
        Ok(Self {
            tool,
            program: toolbox.get(tool)?,
            kubectl: toolbox.get(Tool::Kubectl)?,
            folder: folder.to_path_buf(),
            arguments: arguments.iter().map(|(flag, value)| format!("--{flag}={value}")).collect(),
        })
    }

    pub(super) fn spawn(&self) -> Result<Process, Error> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).args(&self.arguments);
        let log = self.folder.join(format!("{}.log", self.tool.name()));
        Ok(Process::spawn(self.tool.name(), command, &log, End::Kill)?)
    }

    /// Waits until the API server at this address is ready, and for no longer than all of these live.
    pub(super) fn ready(&self, processes: &[Process], server: &str) -> Result<(), Error> {
        let address: Option<SocketAddr> = server.trim_start_matches("https://").parse().ok();
        let deadline = deadline();
        let mut last = "the port is closed".to_owned();
        while Instant::now() < deadline {
            processes.iter().try_for_each(Process::must_live)?;
            // A connection costs nothing; kubectl, which checks the certificate, costs a process.
            let open = |address| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
            if address.is_some_and(open) {
                let admin = self.folder.join("admin.kubeconfig");
                let command = kubectl::command(&self.kubectl, &admin, &self.folder.join("kubectl-cache"));
                match kubectl::run(command, &["get", "--raw=/readyz", "--request-timeout=5s"], None) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error.to_string(),
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(wait::TimedOut { what: "the API server's /readyz".into(), waited: PATIENCE, last }.into())
    }
}
