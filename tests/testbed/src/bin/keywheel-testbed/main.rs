//! `keywheel-testbed`: what the Makefile runs.

use std::io::Write as _;
use std::process::ExitCode;

use keywheel_testbed::control_plane::{ControlPlane, Options};
use keywheel_testbed::progress::say;
use keywheel_testbed::session::Session;
use keywheel_testbed::shared::chain;
use keywheel_testbed::tools::{Tool, Toolbox};

mod demo;
mod generate;
mod layers;
mod mutants;
mod verify;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: keywheel-testbed COMMAND

  tools [NAME..]      build the control plane's programs that are missing (all, or those named)
  control-plane       start etcd and kube-apiserver with Keywheel's resources, until Ctrl-C
  demo                tell and check the whole story once; nothing is left running
  demo-up, demo-down  leave the demo's stage running; end it
  test [FILTER..]     run every test layer and add up what passed
  compat              run unmodified clients with credentials from Secrets, and print what they did
  mutants [K/N]       run the domain's tests against wrong copies of it, all or a part of them
  verify              check format, lints, generated files, the chart and the dependencies
  generate [--check]  write crds/, the chart's copies of them and deploy/; or fail if they would change";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tools", names @ ..] => in_session(|| tools(names)),
        ["control-plane"] => in_session(hold),
        ["demo", backend @ ..] if backend.len() < 2 => {
            in_session(|| demo::run(demo::Platform::named(backend.first().copied())?))
        }
        ["demo-up", backend @ ..] if backend.len() < 2 => {
            in_session(|| demo::up(demo::Platform::named(backend.first().copied())?))
        }
        ["demo-down"] => in_session(demo::down),
        ["test", filter @ ..] => in_session(|| layers::run(filter)),
        ["compat"] => in_session(compat),
        ["mutants"] => mutants::run(None),
        ["mutants", shard] => mutants::run(Some(shard)),
        ["verify"] => in_session(verify::run),
        ["generate"] => in_session(|| generate::run(generate::Mode::Write)),
        ["generate", "--check"] => in_session(|| generate::run(generate::Mode::Check)),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("keywheel-testbed: {}", chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn in_session<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let _session = Session::begin()?;
    work()
}

/// Unmodified clients, and the table of what they did.
fn compat() -> Outcome {
    keywheel_testbed::compat::forget()?;
    let outcome = layers::run(&["compat::"]);
    write!(std::io::stdout(), "\n{}", keywheel_testbed::compat::table()?)?;
    outcome
}

/// Builds what is missing and prints where each program is.
fn tools(names: &[&str]) -> Outcome {
    let mut wanted = names.iter().copied().map(Tool::parse).collect::<Result<Vec<Tool>, _>>()?;
    if wanted.is_empty() {
        wanted = Tool::ALL.to_vec();
    }
    let toolbox = Toolbox::from_env()?;
    toolbox.ensure(&wanted)?;
    let mut out = std::io::stdout().lock();
    for tool in wanted {
        writeln!(out, "{}", toolbox.get(tool)?.display())?;
    }
    Ok(())
}

/// A control plane for playing with; the session's signal handler ends it.
fn hold() -> Outcome {
    let cp = ControlPlane::start(Options::default().with_garbage_collection())?;
    cp.install_keywheel()?;
    say(&format!("ready in {:.1} s; Ctrl-C ends it", cp.started_in().as_secs_f64()));
    writeln!(std::io::stdout(), "export KUBECONFIG={}", cp.admin_kubeconfig().display())?;
    loop {
        std::thread::park();
    }
}
