//! `make test`: builds all tests once, runs every test program, and adds up what they say.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use keywheel_testbed::process::{End, Process};
use keywheel_testbed::progress::say;
use keywheel_testbed::tools::{Tool, Toolbox};
use keywheel_testbed::{python, repo};
use serde::Deserialize;

use crate::Outcome;

/// A test program may need this long to end the control plane after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// What the tests of the control plane and of the chart run.
const TOOLS: [Tool; 5] =
    [Tool::Etcd, Tool::KubeApiserver, Tool::Kubectl, Tool::KubeControllerManager, Tool::Helm];

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the tests do not build")]
    Build,
    #[error("{0} failed")]
    Failed(usize),
}

/// How many tests passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// Runs all layers, those that fail included; `filter` goes to every test program.
pub(crate) fn run(filter: &[&str]) -> Outcome {
    Toolbox::from_env()?.ensure(&TOOLS)?;
    python::interpreter()?;
    let started = Instant::now();
    let programs = build()?;
    say(&format!("the tests are built ({} s)", started.elapsed().as_secs()));

    let mut total = Tally::default();
    let mut closing = Vec::new();
    for program in programs {
        let mut command = Command::new(&program.executable);
        command.args(filter).current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
        layer(&program.layer, command, &mut total, &mut closing)?;
    }
    if filter.is_empty() {
        layer("documentation", cargo(&["test", "--doc"]), &mut total, &mut closing)?;
    }
    let mut out = std::io::stdout().lock();
    for line in closing {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{total}")?;
    if total.failed > 0 { Err(Error::Failed(total.failed).into()) } else { Ok(()) }
}

/// With the feature that lets the operator under test be hasty, and with the same features for every command, so that
/// nothing is built twice.
fn cargo(words: &[&str]) -> Command {
    let mut command = cargo_command(words);
    command.args(["--workspace", "--features", "keywheel/test-timing"]);
    command
}

fn cargo_command(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(repo::root());
    command
}

struct Program {
    layer: String,
    executable: PathBuf,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The test programs, in the order: quick ones first.
fn build() -> Outcome<Vec<Program>> {
    const BUILD: [&str; 3] = ["test", "--no-run", "--message-format=json-render-diagnostics"];
    let mut all = cargo(&BUILD);
    all.args(["--lib", "--bins", "--tests"]);
    let mut programs = built(all)?;
    // The wrong variants are in a build of their own: no other program may see them.
    let mut variants = cargo_command(&BUILD);
    variants.args(["-p", "keywheel-model", "-p", "keywheel-sim", "--features", "defects"]);
    variants.args(["--test", "variants", "--test", "simulated-variants"]);
    programs.extend(built(variants)?);
    programs.sort_by_key(|program| (!program.layer.starts_with("unit"), program.layer.clone()));
    Ok(programs)
}

/// What one build made.
fn built(command: Command) -> Outcome<Vec<Program>> {
    let (process, output) = Process::spawn_reading("cargo", command, End::Terminate(GRACE))?;
    let mut programs = Vec::new();
    for line in BufReader::new(output).lines() {
        // Lines of build scripts and other reasons have another shape, or none.
        let Ok(message) = serde_json::from_str::<Message>(&line?) else { continue };
        let (Some(target), Some(executable)) = (message.target, message.executable) else { continue };
        if message.reason == "compiler-artifact" && message.profile.is_some_and(|profile| profile.test) {
            let kind = target.kind.first().map_or("", String::as_str);
            let layer = match kind {
                "test" if target.name == "it" => "integration".to_owned(),
                "test" => target.name.clone(),
                "lib" => format!("unit {}", target.name),
                _ => format!("unit {} ({kind})", target.name),
            };
            let folder = message.manifest_path.parent().map(PathBuf::from).unwrap_or_default();
            programs.push(Program { layer, executable, folder });
        }
    }
    if !process.wait_for_end()?.success() {
        return Err(Error::Build.into());
    }
    Ok(programs)
}

fn layer(name: &str, command: Command, total: &mut Tally, closing: &mut Vec<String>) -> Outcome {
    say(&format!("\n== {name}"));
    let started = Instant::now();
    let (process, output) = Process::spawn_reading(name, command, End::Terminate(GRACE))?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(result) = parse(&line) {
            tally += result;
        }
        writeln!(std::io::stdout(), "{line}")?;
    }
    // A program that died, for instance by a signal, says nothing about the tests it did not come to.
    if !process.wait_for_end()?.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    if tally != Tally::default() {
        closing.push(format!("layer {name}: {tally} ({seconds:.1} s)"));
    }
    *total += tally;
    Ok(())
}

/// The closing line of a test program.
fn parse(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut tally = Tally::default();
    for part in counts.split("; ") {
        let (number, what) = part.split_once(' ')?;
        match what {
            "passed" => tally.passed = number.parse().ok()?,
            "failed" => tally.failed = number.parse().ok()?,
            "ignored" => tally.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 7 filtered out; finished in 1.23s";
        assert_eq!(parse(line), Some(Tally { passed: 12, failed: 3, skipped: 2 }));
        let ok =
            "test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 10.86s";
        assert_eq!(parse(ok), Some(Tally { passed: 6, failed: 0, skipped: 0 }));
        assert_eq!(parse("test a::b ... ok"), None);
    }

    #[test]
    fn the_sum_names_skipped_tests_only_if_there_are_any() {
        let mut sum = Tally { passed: 1, failed: 0, skipped: 0 };
        assert_eq!(sum.to_string(), "1 passed, 0 failed");
        sum += Tally { passed: 2, failed: 0, skipped: 3 };
        assert_eq!(sum.to_string(), "3 passed, 0 failed, 3 skipped");
    }
}
