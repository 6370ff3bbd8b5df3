//! `make verify`: what can be checked without running Keywheel.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use keywheel_testbed::progress::{self, say};
use keywheel_testbed::repo;
use keywheel_testbed::shared::chain;
use keywheel_testbed::tools::{Tool, Toolbox};

use crate::Outcome;
use crate::generate;
use crate::layers::Tally;

/// The licence and dependency checker; built from source once, into the cache.
const CARGO_DENY: &str = "0.20.2";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} ended with {1}")]
    Ended(String, std::process::ExitStatus),
    #[error("{} failed", .0.join(", "))]
    Failed(Vec<&'static str>),
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
}

/// A check was made, or could not be made.
enum Made {
    Yes,
    Skipped(String),
}

type Check = fn() -> Outcome<Made>;

/// Makes every check, also after one that fails.
pub(crate) fn run() -> Outcome {
    let checks: [(&'static str, Check); 6] = [
        ("format", || cargo(&["fmt", "--all", "--check"])),
        ("lints", lints),
        ("generated files", generated),
        ("chart", chart),
        ("bans, licences, sources", || {
            deny(&["check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        }),
        ("advisories", advisories),
    ];
    let mut tally = Tally::default();
    let (mut failed, mut closing) = (Vec::new(), Vec::new());
    for (name, check) in checks {
        say(&format!("\n== {name}"));
        let started = Instant::now();
        let verdict = match check() {
            Ok(Made::Yes) => {
                tally.passed += 1;
                "ok".to_owned()
            }
            Ok(Made::Skipped(reason)) => {
                tally.skipped += 1;
                format!("skipped: {reason}")
            }
            Err(error) => {
                tally.failed += 1;
                failed.push(name);
                format!("FAILED: {}", chain(error.as_ref()))
            }
        };
        say(&verdict);
        closing.push(format!("check {name}: {verdict} ({:.1} s)", started.elapsed().as_secs_f64()));
    }
    let mut out = std::io::stdout().lock();
    for line in closing {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "verify: {tally}")?;
    if failed.is_empty() { Ok(()) } else { Err(Error::Failed(failed).into()) }
}

fn checked(mut command: Command) -> Outcome<Made> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let status = command.current_dir(repo::root()).status()?;
    if status.success() { Ok(Made::Yes) } else { Err(Error::Ended(shown, status).into()) }
}

fn cargo_command(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words);
    command
}

fn cargo(words: &[&str]) -> Outcome<Made> {
    checked(cargo_command(words))
}

fn lints() -> Outcome<Made> {
    // With and without the features: what only one of the two builds sees is linted too. Tests have them always.
    cargo(&["clippy", "--workspace", "--lib", "--bins", "--", "-D", "warnings"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
}

fn generated() -> Outcome<Made> {
    // The drift of crds/ is told by the program as it is now; with the features of the tests, nothing is built twice.
    cargo(&["build", "--workspace", "--bin", "keywheel", "--features", "keywheel/test-timing"])?;
    generate::run(generate::Mode::Check)?;
    Ok(Made::Yes)
}

fn chart() -> Outcome<Made> {
    let mut command = Command::new(Toolbox::from_env()?.get(Tool::Helm)?);
    command.args(["lint", "--strict", "--quiet", "charts/keywheel"]);
    checked(command)
}

fn deny_command(words: &[&str]) -> Outcome<Command> {
    let root = repo::cache().ok_or(Error::NoCache)?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program: PathBuf = root.join("bin/cargo-deny");
    if !program.is_file() {
        say(&format!("building cargo-deny {CARGO_DENY} into {}", root.display()));
        std::fs::create_dir_all(&root)?;
        let mut install =
            cargo_command(&["install", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"]);
        install.arg(&root).arg("--target-dir").arg(root.join("build"));
        // Its speed is no matter; the time to build it is.
        install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
        install.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env_remove("CARGO_TARGET_DIR");
        progress::run("cargo-deny", install, &root.join("log"), |log| {
            format!("{} crates compiled", log.lines().filter(|line| line.contains("Compiling")).count())
        })?;
        std::fs::remove_dir_all(root.join("build"))?;
    }
    let mut command = Command::new(program);
    command.args(["--all-features"]).args(words).current_dir(repo::root());
    Ok(command)
}

fn deny(words: &[&str]) -> Outcome<Made> {
    checked(deny_command(words)?)
}

/// The advisories lie in a database that not every machine can reach; that is no verdict on our dependencies.
fn advisories() -> Outcome<Made> {
    let fetch = deny_command(&["fetch", "db"])?.output()?;
    if !fetch.status.success() {
        let text = String::from_utf8_lossy(&fetch.stderr).into_owned();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let reason: String = line.chars().take(140).collect();
        return Ok(Made::Skipped(format!("the advisory database cannot be reached ({reason} ..)")));
    }
    deny(&["check", "--hide-inclusion-graph", "--disable-fetch", "advisories"])
}
