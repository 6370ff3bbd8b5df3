//! Parses the command line, starts telemetry and dispatches to a subcommand.

use std::process::ExitCode;

use clap::Parser as _;
use keywheel::cli::Cli;

fn main() -> ExitCode {
    keywheel::cli::run(Cli::parse())
}
