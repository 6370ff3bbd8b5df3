//! Runs the simulation.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use keywheel_sim::exhaustive::{self, Depth};

/// Runs the real controllers in simulated worlds, and judges them after every effect.
#[derive(Parser)]
#[command(name = "keywheel-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every flow with a fault at every call.
    Exhaustive {
        /// Crashes and lost answers only.
        #[arg(long)]
        quick: bool,
        /// One flow only.
        #[arg(long)]
        flow: Option<String>,
        /// One case only, with its trace.
        #[arg(long)]
        case: Option<usize>,
        /// How many run at once.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Exhaustive { quick, flow, case, threads } => {
            let depth = if quick { Depth::Quick } else { Depth::Full };
            exhaustive(depth, flow.as_deref(), case, threads)
        }
    }
}

fn exhaustive(depth: Depth, flow: Option<&str>, only: Option<usize>, threads: usize) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let begun = Instant::now();
    let cases = exhaustive::cases(depth, flow);
    if let Some(number) = only {
        let case = &cases[number];
        let outcome = case.run();
        let text = outcome.trace.join("\n");
        writeln!(out, "{text}\n{case}\n{:?}", outcome.violations).expect("stdout takes lines");
        return if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let done = AtomicUsize::new(0);
    let total = cases.len();
    let failures = exhaustive::run_all(&cases, threads, |_| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done % 500 == 0 {
            drop(writeln!(std::io::stderr(), "{done} of {total}"));
        }
    });
    for failure in &failures {
        writeln!(out, "case {}: {}: {:?}", failure.number, failure.case, failure.outcome.violations)
            .expect("stdout takes lines");
    }
    let seconds = begun.elapsed().as_secs();
    writeln!(out, "exhaustive: {total} runs, {} failed ({seconds} s)", failures.len())
        .expect("stdout takes lines");
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
