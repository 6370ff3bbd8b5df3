//! The demo: a real control plane, a real IAM, two custom resources, and a key that turns before one's eyes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keywheel_testbed::process::Detached;
use keywheel_testbed::progress::say;
use keywheel_testbed::repo;

use crate::Outcome;

mod ledger;
mod narrator;
mod platform;
mod prepare;
mod stage;
mod story;

use narrator::Narrator;
pub(crate) use platform::Platform;
use stage::Stage;

/// A check that did not hold, or a file that stands in the way.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{what}: {found}")]
    Check { what: String, found: String },
    #[error("cannot {action} {path}")]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot understand {0}")]
    State(PathBuf, #[source] serde_json::Error),
    #[error("a step of the preparation panicked")]
    Panicked,
}

fn refuted(what: &str, found: impl std::fmt::Display) -> Box<dyn std::error::Error> {
    Error::Check { what: what.to_owned(), found: found.to_string() }.into()
}

/// `make demo`: tells the whole story once, checks every step of it, and leaves nothing running.
pub(crate) fn run(platform: Platform) -> Outcome {
    let started = Instant::now();
    let narrator = Narrator::default();
    let program = prepare::prepare()?;
    let stage = Stage::start(&program, None, platform, &narrator)?;
    let identities = stage.identities();
    let told = story::tell(&stage, &narrator);
    if told.is_err() {
        say(&format!("the end of the operator's log:\n{}", stage.operator_tail()));
    }
    drop(stage);
    let left: Vec<&str> = identities.iter().filter(|it| it.alive()).map(|it| it.name.as_str()).collect();
    told?;
    if !left.is_empty() {
        return Err(refuted("nothing is left running", left.join(", ")));
    }
    narrator.step("The end")?;
    narrator.ok(&format!("{} processes were started, none is left running", identities.len()))?;
    narrator.ok(&format!("every step was checked, in {} s", started.elapsed().as_secs()))
}

fn folder() -> PathBuf {
    repo::root().join(".demo")
}

fn state_file() -> PathBuf {
    folder().join("processes.json")
}

/// `make demo-up`: the same stage, left running.
pub(crate) fn up(platform: Platform) -> Outcome {
    if read_state()?.iter().any(Detached::alive) {
        say("the demo is running already; `make demo-down` ends it");
        return export(&folder().join("control-plane/admin.kubeconfig"));
    }
    remove_folder()?;
    let program = prepare::prepare()?;
    let outcome = stay_up(&program, platform, &Narrator::on_stderr());
    if outcome.is_err() {
        remove_folder()?;
    }
    outcome
}

fn stay_up(program: &Path, platform: Platform, narrator: &Narrator) -> Outcome {
    let stage = Stage::start(program, Some(&folder()), platform, narrator)?;
    stage.apply_samples()?;
    stage.wait_for_samples()?;
    let path = state_file();
    // Written before they are let go: whatever happens in between, they can be found.
    let text = serde_json::to_string_pretty(&stage.identities())?;
    std::fs::write(&path, text).map_err(|source| Error::File { action: "write", path, source })?;
    say(&format!(
        "the samples are ready in the namespace billing; kubectl is {}; `make demo-down` ends it all",
        stage.cp.kubectl_program().display()
    ));
    let kubeconfig = stage.cp.admin_kubeconfig().to_path_buf();
    stage.detach();
    export(&kubeconfig)
}

/// `make demo-down`: ends what `demo-up` left running, the youngest first. Fine if there is nothing.
pub(crate) fn down() -> Outcome {
    let processes = read_state()?;
    let mut left = Vec::new();
    for process in processes.iter().rev().filter(|process| process.alive()) {
        say(&format!("ending {} ({})", process.name, process.pid));
        if !process.end(Duration::from_secs(10)) {
            left.push(process.name.as_str());
        }
    }
    if !left.is_empty() {
        return Err(refuted("nothing is left running", left.join(", ")));
    }
    remove_folder()?;
    say(if processes.is_empty() { "the demo was not running" } else { "the demo is down" });
    Ok(())
}

/// The one line on standard output, for a shell to evaluate.
fn export(kubeconfig: &Path) -> Outcome {
    writeln!(std::io::stdout().lock(), "export KUBECONFIG={}", kubeconfig.display())?;
    Ok(())
}

fn read_state() -> Outcome<Vec<Detached>> {
    let path = state_file();
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::File { action: "read", path, source }.into()),
        Ok(text) => Ok(serde_json::from_str(&text).map_err(|source| Error::State(path, source))?),
    }
}

fn remove_folder() -> Outcome {
    let path = folder();
    match std::fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { action: "remove", path, source }.into())
        }
        _ => Ok(()),
    }
}
