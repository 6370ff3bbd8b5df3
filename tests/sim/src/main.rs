//! Runs the simulation.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Parser, Subcommand};
use keywheel_sim::exhaustive::{self, Depth};
use keywheel_sim::flows;
use keywheel_sim::history::{History, Judgement};
use keywheel_sim::shrink::shrink;

/// A tenth of the time goes into allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        /// How much is tried.
        #[arg(long, value_enum, default_value_t = Depth::Wide)]
        depth: Depth,
        /// One flow only.
        #[arg(long)]
        flow: Option<String>,
        /// One case only, with its trace.
        #[arg(long)]
        case: Option<usize>,
        /// How many run at once.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// In this wrong variant.
        #[cfg(feature = "defects")]
        #[arg(long)]
        variant: Option<String>,
    },
    /// Long histories at random.
    Random {
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// How many run at once.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// One history, with its trace.
    Replay {
        /// Its seed.
        #[arg(long)]
        seed: u64,
        /// Only these of its happenings, by number; default: all.
        #[arg(long, value_delimiter = ',', num_args = 0..)]
        only: Option<Vec<usize>>,
    },
    /// Each wrong variant of the protocol that the simulation must catch: a build with the feature `defects`.
    #[cfg(feature = "defects")]
    Variants {
        /// One of them only, whatever layer must catch it.
        name: Option<String>,
        /// Histories that are tried where no flow shows it.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// How many run at once.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        #[cfg(not(feature = "defects"))]
        Command::Exhaustive { depth, flow, case, threads } => {
            exhaustive(depth, flow.as_deref(), case, threads)
        }
        #[cfg(feature = "defects")]
        Command::Exhaustive { depth, flow, case, threads, variant } => {
            if let Some(name) = variant {
                let Some(defect) = keywheel_sim::variants::chosen(Some(&name)).first().copied() else {
                    say("there is no such variant");
                    return ExitCode::FAILURE;
                };
                keywheel::domain::defect::Defect::switch_on(Some(defect));
            }
            exhaustive(depth, flow.as_deref(), case, threads)
        }
        Command::Random { seeds, first, threads } => random(first, seeds, threads),
        Command::Replay { seed, only } => replay(seed, only),
        #[cfg(feature = "defects")]
        Command::Variants { name, seeds, threads } => variants(name.as_deref(), seeds, threads),
    }
}

/// At once, so that a run that is ended early has told what it found.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("stdout takes lines");
}

fn ended(failed: usize) -> ExitCode {
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn exhaustive(depth: Depth, flow: Option<&str>, only: Option<usize>, threads: usize) -> ExitCode {
    let begun = Instant::now();
    if let Some(number) = only {
        let cases = exhaustive::cases(depth, flow);
        let outcome = cases[number].run();
        say(&outcome.trace.join("\n"));
        say(&format!("{}\n{:#?}", cases[number], outcome.violations));
        return ended(outcome.violations.len());
    }
    let (runs, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let names: Vec<&str> = flows::all().iter().map(|f| f.name).collect();
    for name in names.into_iter().filter(|name| flow.is_none_or(|only| only == *name)) {
        let flow_begun = Instant::now();
        let cases = exhaustive::cases(depth, Some(name));
        let failed_before = failed.load(Ordering::Relaxed);
        exhaustive::run_all(&cases, threads, |number, case, outcome| {
            runs.fetch_add(1, Ordering::Relaxed);
            if !outcome.violations.is_empty() {
                failed.fetch_add(1, Ordering::Relaxed);
                say(&format!(
                    "keywheel-sim exhaustive --depth {depth} --flow {name} --case {number} # {case}: {:?}",
                    outcome.violations
                ));
            }
            false
        });
        say(&format!(
            "{name}: {} runs, {} failed ({} s)",
            cases.len(),
            failed.load(Ordering::Relaxed) - failed_before,
            flow_begun.elapsed().as_secs()
        ));
    }
    let (runs, failed) = (runs.into_inner(), failed.into_inner());
    say(&format!("exhaustive: {runs} runs, {failed} failed ({} s)", begun.elapsed().as_secs()));
    ended(failed)
}

fn random(first: u64, seeds: u64, threads: usize) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let failures: Mutex<Vec<(u64, Judgement)>> = Mutex::default();
    let calls = AtomicU64::new(0);
    let keys = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let judgement = History::of(seed).run();
                    calls.fetch_add(judgement.calls, Ordering::Relaxed);
                    keys.fetch_add(judgement.keys_made, Ordering::Relaxed);
                    if !judgement.violations.is_empty() {
                        say(&format!("keywheel-sim replay --seed {seed} # {:?}", judgement.violations));
                        failures.lock().expect("nobody panics with it").push((seed, judgement));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panicked with it");
    let (calls, keys) = (calls.into_inner(), keys.into_inner());
    let seconds = begun.elapsed().as_secs();
    say(&format!(
        "random: {seeds} seeds, {calls} calls, {keys} keys, {} failed ({seconds} s)",
        failures.len()
    ));
    // A few of them, made small, are enough to see what is wrong.
    for (seed, judgement) in failures.iter().take(3) {
        tell_shrunk(*seed, judgement);
    }
    ended(failures.len())
}

fn tell_shrunk(seed: u64, judgement: &Judgement) {
    let history = History::of(seed);
    let shrunk = shrink(&history, judgement);
    for number in &shrunk.kept {
        say(&format!("  {number}: {:?}", history.happenings[*number]));
    }
    let relevant =
        shrunk.judgement.trace.iter().filter(|line| !line.contains(" get ") && !line.contains(" list "));
    for line in relevant.rev().take(60).collect::<Vec<_>>().into_iter().rev() {
        say(&format!("  {line}"));
    }
    say(&format!("  {:?}", shrunk.judgement.violations));
    let kept: Vec<String> = shrunk.kept.iter().map(ToString::to_string).collect();
    say(&format!("replay: keywheel-sim replay --seed {seed} --only {}", kept.join(",")));
}

fn replay(seed: u64, only: Option<Vec<usize>>) -> ExitCode {
    let whole = History::of(seed);
    let history = match only {
        Some(kept) => whole.only(&kept.into_iter().collect::<BTreeSet<_>>()),
        None => whole,
    };
    let judgement = history.run();
    say(&judgement.trace.join("\n"));
    for (number, happening) in history.happenings.iter().enumerate() {
        say(&format!("{number}: {happening:?}"));
    }
    say(&format!("digest {}\n{:#?}", judgement.digest, judgement.violations));
    ended(judgement.violations.len())
}

#[cfg(feature = "defects")]
fn variants(name: Option<&str>, seeds: u64, threads: usize) -> ExitCode {
    let chosen = keywheel_sim::variants::chosen(name);
    if chosen.is_empty() {
        say("there is no such variant");
        return ExitCode::FAILURE;
    }
    let mut survivors = 0;
    say("| variant | layer | caught in | invariant | trace |");
    say("|---|---|---|---|---|");
    for defect in chosen {
        match keywheel_sim::variants::catch(defect, seeds, threads) {
            Some(caught) => {
                let keywheel_sim::variants::Caught { place, violation, length } = &caught;
                let invariant = violation.split(':').next().unwrap_or(violation);
                say(&format!("| {} | simulation | {place} | {invariant} | {length} |", defect.name()));
                if name.is_some() {
                    say(violation);
                }
            }
            None => {
                survivors += 1;
                say(&format!("| {} | **survives** | - | - | - |", defect.name()));
            }
        }
    }
    ended(survivors)
}
