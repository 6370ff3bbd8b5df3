//! Processes that outlive the one that started them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::LOOK;

/// A process that runs on without us: its id, and when it started, so that a reused id is never signalled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Detached {
    /// What it is, for messages.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// When the process with this id started, in the operating system's own words; empty if it is not known.
    pub started: String,
}

impl Detached {
    pub(super) fn of(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid, started: start_of(pid).unwrap_or_default() }
    }

    /// Whether the same process still runs.
    pub fn alive(&self) -> bool {
        !self.started.is_empty() && start_of(self.pid).as_deref() == Some(&self.started)
    }

    /// Ends the process: SIGTERM, and SIGKILL after `grace`. True if it is gone afterwards.
    pub fn end(&self, grace: Duration) -> bool {
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(5))] {
            if !self.alive() {
                return true;
            }
            let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return true };
            // A failure shows below: the process is still there.
            kill_process(pid, signal).ok();
            let deadline = Instant::now() + patience;
            while self.alive() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
        }
        !self.alive()
    }
}

/// When the process with this id started; `None` if there is none, or only its unread exit status is left.
fn start_of(pid: u32) -> Option<String> {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The second field is the name in parentheses and may hold anything; the fields after it are plain:
        // state, parent, and as the twentieth the start time in clock ticks since boot.
        let after_name = stat.rsplit_once(')')?.1;
        let mut fields = after_name.split_ascii_whitespace();
        let state = fields.next()?;
        return (state != "Z").then(|| fields.nth(18).map(str::to_owned)).flatten();
    }
    if Path::new("/proc/self/stat").exists() {
        return None;
    }
    // No /proc: the other Unix systems.
    let ps = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    let (state, started) = line.split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}
