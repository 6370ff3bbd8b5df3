//! Everything that has to be built before the curtain rises, side by side.

use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use keywheel_testbed::process::Scratch;
use keywheel_testbed::progress::{self, say};
use keywheel_testbed::tools::{Tool, Toolbox};
use keywheel_testbed::{keywheel, python, repo};

use super::Error;
use crate::Outcome;

/// What the demo runs of the control plane; nothing else is built for it.
pub(super) const TOOLS: [Tool; 3] = [Tool::Etcd, Tool::KubeApiserver, Tool::Kubectl];

/// An error that can leave its thread.
type Sent = Box<dyn std::error::Error + Send + Sync>;

/// Builds what is missing; returns the operator's program.
pub(super) fn prepare() -> Outcome<PathBuf> {
    thread::scope(|scope| {
        let tools = scope.spawn(|| -> Result<(), Sent> { Ok(Toolbox::from_env()?.ensure(&TOOLS)?) });
        let operator = scope.spawn(operator);
        let python = scope.spawn(|| -> Result<PathBuf, Sent> { Ok(python::interpreter()?) });
        // All are waited for, so that one run tells all that is missing.
        let (tools, operator, python) = (join(tools), join(operator), join(python));
        tools?;
        python?;
        operator
    })
}

fn join<T>(step: ScopedJoinHandle<'_, Result<T, Sent>>) -> Outcome<T> {
    let outcome = step.join().map_err(|_| Error::Panicked)?;
    outcome.map_err(|error| -> Box<dyn std::error::Error> { error })
}

/// The operator and the IAM are one program, built as it is: without the features that only tests need.
fn operator() -> Result<PathBuf, Sent> {
    if std::env::var_os("KEYWHEEL_BIN").is_some_and(|value| !value.is_empty()) {
        return Ok(keywheel::program(None)?);
    }
    let scratch = Scratch::new("build")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--workspace", "--bin", "keywheel"]).current_dir(repo::root());
    let took = progress::run("keywheel", command, &scratch.path().join("log"), |log| {
        format!("{} crates compiled", log.lines().filter(|line| line.contains("Compiling ")).count())
    })?;
    say(&format!("  keywheel: built in {} s", took.as_secs()));
    Ok(keywheel::target_folder().join("debug").join("keywheel"))
}
