//! Children with a log file and a known end, and scratch folders that vanish.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::session;

mod detached;
mod scratch;

pub use detached::Detached;
pub use scratch::Scratch;
pub(crate) use scratch::remove_folder;

/// How long the wait for a process looks away between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A failure around one child process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start {name} ({program})")]
    Spawn {
        /// The child's name.
        name: String,
        /// The program's path.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The log file or a folder could not be made.
    #[error("cannot make {path}")]
    Make {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system refused to tell the child's state, or to signal it.
    #[error("cannot wait for or signal {name}, process {pid}")]
    Wait {
        /// The child's name.
        name: String,
        /// Its process id.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// The child ended before it was ready.
    #[error("{name} ended early ({status}); the end of its log:\n{tail}")]
    Ended {
        /// The child's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        tail: String,
    },
    /// The child did not say what was waited for.
    #[error("{name} did not say in {waited:.1?} what was waited for; the end of its log:\n{tail}")]
    Silent {
        /// The child's name.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of its log.
        tail: String,
    },
    /// The child did not end in time after SIGTERM; it was killed.
    #[error("{name} was still alive {waited:.1?} after SIGTERM; the end of its log:\n{tail}")]
    Stubborn {
        /// The child's name.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of its log.
        tail: String,
    },
}

/// How a child is ended when nobody needs it any more.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// At once with SIGKILL: its data is thrown away anyway.
    Kill,
    /// With SIGTERM, and SIGKILL if it lives longer than this.
    Terminate(Duration),
}

/// A running child that the session knows.
#[derive(Debug)]
pub(crate) struct Live {
    name: String,
    pid: u32,
    end: End,
    child: Mutex<Child>,
}

impl Live {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_error(&self, source: io::Error) -> Error {
        Error::Wait { name: self.name.clone(), pid: self.pid, source }
    }

    fn exited(&self) -> Result<Option<ExitStatus>, Error> {
        self.child().try_wait().map_err(|source| self.wait_error(source))
    }

    /// Signals the child unless it was waited for already: only until then its id cannot belong to another process.
    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let mut child = self.child();
        if child.try_wait().map_err(|source| self.wait_error(source))?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&child), signal).map_err(|errno| self.wait_error(errno.into()))
    }

    fn wait_until(&self, deadline: Instant) -> Result<Option<ExitStatus>, Error> {
        loop {
            let status = self.exited()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn kill9(&self) -> Result<ExitStatus, Error> {
        let mut child = self.child();
        child.kill().and_then(|()| child.wait()).map_err(|source| self.wait_error(source))
    }

    /// Ends the child for good. Failures are not reported: the child is gone, or nothing more can be done.
    pub(crate) fn end(&self) {
        if let End::Terminate(grace) = self.end
            && self.signal(Signal::TERM).is_ok()
            && matches!(self.wait_until(Instant::now() + grace), Ok(Some(_)))
        {
            return;
        }
        self.kill9().ok();
    }
}

/// A child process with its own log file; dropping it ends it.
#[derive(Debug)]
pub struct Process {
    live: Arc<Live>,
    log: PathBuf,
    owned: bool,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`, no input, and a process group of its own, so that
    /// a Ctrl-C in the terminal reaches us first and the children end in their order.
    pub fn spawn(name: &str, mut command: Command, log: &Path, end: End) -> Result<Self, Error> {
        let make = |source| Error::Make { path: log.to_path_buf(), source };
        let out: File = OpenOptions::new().create(true).append(true).open(log).map_err(make)?;
        let err = out.try_clone().map_err(make)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let live = session::register_child(|| {
            let child = command.spawn()?;
            Ok(Live { name: name.to_owned(), pid: child.id(), end, child: Mutex::new(child) })
        })
        .map_err(|source| Error::Spawn {
            name: name.to_owned(),
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
        Ok(Self { live, log: log.to_path_buf(), owned: true })
    }

    /// Starts `command` with its standard output for us to read and its standard error on ours; there is no log file.
    pub fn spawn_reading(name: &str, mut command: Command, end: End) -> Result<(Self, ChildStdout), Error> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut output = None;
        let live = session::register_child(|| {
            let mut child = command.spawn()?;
            output = child.stdout.take();
            Ok(Live { name: name.to_owned(), pid: child.id(), end, child: Mutex::new(child) })
        });
        let failed = |source| Error::Spawn {
            name: name.to_owned(),
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        };
        let live = live.map_err(failed)?;
        let output = output.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok((Self { live, log: PathBuf::new(), owned: true }, output))
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.live.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.live.pid
    }

    /// Where both outputs go; empty after [`Self::spawn_reading`].
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The whole log; empty if it cannot be read.
    pub fn log(&self) -> String {
        read_lossy(&self.log)
    }

    /// The last lines of the log.
    pub fn tail(&self) -> String {
        tail(&self.log(), 30)
    }

    /// How the process ended, or `None` while it lives.
    pub fn exited(&self) -> Result<Option<ExitStatus>, Error> {
        self.live.exited()
    }

    /// An error with the end of the log if the process has ended.
    pub fn must_live(&self) -> Result<(), Error> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => Err(Error::Ended { name: self.name().to_owned(), status, tail: self.tail() }),
        }
    }

    /// Sends a signal, for instance `Signal::STOP`.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.live.signal(signal)
    }

    /// Ends the process with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill9(&self) -> Result<ExitStatus, Error> {
        self.live.kill9()
    }

    /// Sends SIGTERM and waits at most `timeout`; returns the status and how long the end took.
    ///
    /// # Errors
    /// [`Error::Stubborn`] if it lived on; it was killed then.
    pub fn terminate(&self, timeout: Duration) -> Result<(ExitStatus, Duration), Error> {
        let started = Instant::now();
        self.live.signal(Signal::TERM)?;
        if let Some(status) = self.live.wait_until(started + timeout)? {
            return Ok((status, started.elapsed()));
        }
        self.live.kill9()?;
        Err(Error::Stubborn { name: self.name().to_owned(), waited: timeout, tail: self.tail() })
    }

    /// Waits for the end, however long it takes.
    pub fn wait_for_end(&self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.wait(Duration::from_hours(1))? {
                return Ok(status);
            }
        }
    }

    /// Waits for the end without sending anything; `None` if the process outlives `timeout`.
    pub fn wait(&self, timeout: Duration) -> Result<Option<ExitStatus>, Error> {
        self.live.wait_until(Instant::now() + timeout)
    }

    /// Waits for a line of the log that `find` takes.
    ///
    /// # Errors
    /// [`Error::Ended`] as soon as the process is gone, [`Error::Silent`] after `timeout`.
    pub fn wait_for_line<T>(&self, timeout: Duration, find: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            // Asked before the look, or the last words of a process that ends in between were missed.
            let alive = self.must_live();
            if let Some(found) = self.log().lines().find_map(&find) {
                return Ok(found);
            }
            alive?;
            if Instant::now() >= deadline {
                return Err(Error::Silent {
                    name: self.name().to_owned(),
                    waited: timeout,
                    tail: self.tail(),
                });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The process as others can recognize it.
    pub fn identity(&self) -> Detached {
        Detached::of(self.name(), self.pid())
    }

    /// Lets the process run on when this process ends.
    pub fn detach(mut self) -> Detached {
        self.owned = false;
        session::forget_child(&self.live);
        self.identity()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.owned {
            self.live.end();
            session::forget_child(&self.live);
        }
    }
}

/// A file as text; empty if it is absent.
pub(crate) fn read_lossy(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last `lines` lines.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(scratch: &Scratch, script: &str, end: End) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("sleeper", command, &scratch.path().join("log"), end).unwrap()
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let scratch = Scratch::new("test").unwrap();
        let process = sleeper(&scratch, "exec sleep 600", End::Kill);
        let seen = Detached::of("sleeper", process.pid());
        assert!(seen.alive());
        drop(process);
        assert!(!seen.alive());
    }

    #[test]
    fn terminate_reports_the_status_and_kill9_the_signal() {
        use std::os::unix::process::ExitStatusExt as _;
        let scratch = Scratch::new("test").unwrap();
        let process =
            sleeper(&scratch, "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done", End::Kill);
        crate::wait_for("the trap", Duration::from_secs(10), || process.log().contains("up").then_some(()))
            .unwrap();
        assert_eq!(process.terminate(Duration::from_secs(10)).unwrap().0.code(), Some(3));

        let process = sleeper(&scratch, "exec sleep 600", End::Kill);
        assert_eq!(process.kill9().unwrap().signal(), Some(9));
        assert!(matches!(process.must_live(), Err(Error::Ended { .. })));
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed_and_reported() {
        let scratch = Scratch::new("test").unwrap();
        let process = sleeper(&scratch, "trap '' TERM; echo up; while :; do sleep 0.01; done", End::Kill);
        crate::wait_for("the trap", Duration::from_secs(10), || process.log().contains("up").then_some(()))
            .unwrap();
        let outcome = process.terminate(Duration::from_millis(50));
        assert!(matches!(outcome, Err(Error::Stubborn { .. })), "{outcome:?}");
        assert!(process.exited().unwrap().is_some());
    }

    #[test]
    fn a_detached_process_lives_on_and_ends_by_its_id_only_while_it_is_the_same() {
        let scratch = Scratch::new("test").unwrap();
        let process = sleeper(&scratch, "exec sleep 600", End::Kill);
        let live = Arc::clone(&process.live);
        let detached = process.detach();
        assert!(detached.alive());
        let stranger = Detached { started: "1".into(), ..detached.clone() };
        assert!(!stranger.alive());
        assert!(stranger.end(Duration::ZERO), "a stranger with the same id counts as gone");
        assert!(detached.alive(), "and was not signalled");
        assert!(detached.end(Duration::from_secs(5)));
        live.kill9().unwrap();
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
