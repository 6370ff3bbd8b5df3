//! Lines that tell a person what takes so long.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{End, Error, Process};

/// The first line after the start comes soon, so that nobody wonders; later ones are rarer.
const FIRST: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(10);

/// One line on standard error.
pub fn say(line: &str) {
    // Nothing can be done about a closed standard error.
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

/// Runs a long command to its end with its output in `log`, and says every few seconds that it is still at it.
///
/// `detail` makes a few words out of the log so far, for instance how many parts are done.
///
/// # Errors
/// [`Error::Ended`] with the end of the log if the command fails.
pub fn run(
    name: &str,
    command: Command,
    log: &Path,
    detail: impl Fn(&str) -> String,
) -> Result<Duration, Error> {
    let started = Instant::now();
    let process = Process::spawn(name, command, log, End::Terminate(Duration::from_secs(2)))?;
    let mut patience = FIRST;
    loop {
        if let Some(status) = process.wait(patience)? {
            if status.success() {
                return Ok(started.elapsed());
            }
            return Err(Error::Ended { name: name.to_owned(), status, tail: process.tail() });
        }
        patience = LATER;
        say(&format!("  {name}: {} s{}", started.elapsed().as_secs(), prefixed(&detail(&process.log()))));
    }
}

fn prefixed(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(", {detail}") }
}
