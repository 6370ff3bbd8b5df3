//! The command line: one file per subcommand.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod controller;
pub mod crds;
pub mod iam;
pub mod reasons;
pub mod version;

/// Rotates the keys of IAM service accounts for Kubernetes workloads.
#[derive(Debug, Parser)]
#[command(name = "keywheel", disable_version_flag = true)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator. `KEYWHEEL_LOG` (or `RUST_LOG`) filters its log, as in `keywheel=debug,info`.
    Controller(controller::ControllerArgs),
    /// Run the embedded IAM server.
    Iam(iam::IamArgs),
    /// Print the custom resource definitions.
    Crds(crds::CrdsArgs),
    /// Print what every reason of a condition or event means.
    Reasons,
    /// Print the version.
    Version,
}

/// Runs the chosen subcommand; a failure is one line on standard error and exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    let outcome: Result<(), Box<dyn std::error::Error>> = match cli.command {
        Command::Controller(args) => controller::run(args).map_err(Into::into),
        Command::Iam(args) => iam::run(args).map_err(Into::into),
        Command::Crds(args) => crds::run(&args).map_err(Into::into),
        Command::Reasons => reasons::run().map_err(Into::into),
        Command::Version => version::run().map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed standard error.
            writeln!(std::io::stderr(), "keywheel: {}", with_causes(&*error)).ok();
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes on one line; a cause that a message has already told is not told twice.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}
