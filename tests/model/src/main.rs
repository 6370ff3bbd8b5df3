//! `keywheel-model`: searches all states of the key lifecycle.

use std::io::Write as _;
use std::process::ExitCode;

use keywheel_model::scenarios::{self, Scenario};
use keywheel_model::search::{Bounds, Counterexample, Order, Report, search};

/// A tenth of the time goes into allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More states than any scenario has.
const MOST_STATES: usize = 100_000_000;
/// Fewer states than all scenarios have together: with less, something was left out.
const LEAST_STATES: usize = 5_000_000;
/// So many states fit into memory with the way to each.
const MOST_WAYS: usize = 4_000_000;

fn main() -> std::io::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check(""),
        ["check", words @ ..] => check(&words.join(" ")),
        #[cfg(feature = "defects")]
        ["variants"] => variants(""),
        #[cfg(feature = "defects")]
        ["variants", name] => variants(name),
        _ => {
            writeln!(std::io::stderr(), "keywheel-model check|variants [WORDS]")?;
            Ok(ExitCode::from(2))
        }
    }
}

/// Searches every scenario, also after one that fails.
fn check(filter: &str) -> std::io::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut total = Total::default();
    let deep = scenarios::deep().into_iter().filter(|s| s.name == filter);
    for scenario in scenarios::all().into_iter().filter(|s| s.name.contains(filter)).chain(deep) {
        let bounds = Bounds { states: MOST_STATES, threads: threads(), order: Order::Depth };
        let report = search(&scenario, bounds);
        total.add(&report);
        tell(&mut out, &scenario, &report)?;
        if let Some(found) = &report.found {
            let shortest = search(&scenario, Bounds { states: MOST_WAYS, order: Order::Breadth, ..bounds });
            show(&mut out, shortest.found.as_ref().unwrap_or(found))?;
        }
        out.flush()?;
    }
    let Total { searches, states, violations, .. } = total;
    writeln!(out, "{searches} scenarios, {states} states, {violations} violations")?;
    let failures = total.failures(filter.is_empty());
    for failure in &failures {
        writeln!(out, "failed: {failure}")?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What all searches found together.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    searches: usize,
    stopped: usize,
    states: usize,
    violations: usize,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.searches += 1;
        self.states += report.states;
        self.violations += usize::from(report.found.is_some());
        // A search that found something has its own reason to end.
        self.stopped += usize::from(!report.complete && report.found.is_none());
    }

    /// Why the check fails: no violation is no proof where not every state was visited.
    fn failures(self, everything: bool) -> Vec<String> {
        let Self { searches, stopped, states, violations } = self;
        let few = everything && states < LEAST_STATES;
        [
            (searches == 0).then(|| "no scenario has these words in its name".to_owned()),
            (violations > 0).then(|| format!("{violations} scenarios are violated")),
            (stopped > 0).then(|| format!("{stopped} searches were stopped before their end")),
            few.then(|| format!("all scenarios have at least {LEAST_STATES} states")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Tries every wrong variant that is the model's to catch, and fails if one survives. With a name: shows the trace.
#[cfg(feature = "defects")]
fn variants(filter: &str) -> std::io::Result<ExitCode> {
    use keywheel::domain::defect::{Defect, Layer};
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:20} {:10} {:52} {:16} steps", "variant", "caught by", "scenario", "invariant")?;
    let (mut tried, mut survivors) = (0, 0);
    for defect in Defect::of(Layer::Model).filter(|d| d.name().contains(filter)) {
        tried += 1;
        let bounds = Bounds { states: MOST_WAYS, threads: threads(), order: Order::Breadth };
        let verdict = keywheel_model::variants::try_out(defect, bounds);
        let Some((scenario, Report { found: Some(found), .. })) = &verdict.caught else {
            survivors += 1;
            writeln!(out, "{:20} SURVIVES   {} states", defect.name(), verdict.states)?;
            continue;
        };
        let (layer, invariant) = (defect.layer().name(), found.violation.name());
        writeln!(out, "{:20} {layer:10} {scenario:52} {invariant:16} {:>5}", defect.name(), found.steps())?;
        if !filter.is_empty() {
            writeln!(out, "  {}; {} states", defect.text(), verdict.states)?;
            show(&mut out, found)?;
        }
        out.flush()?;
    }
    writeln!(out, "{tried} variants, {survivors} survive")?;
    // A name that is nobody's proves nothing.
    Ok(if tried > 0 && survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(2)
}

fn tell(out: &mut impl std::io::Write, scenario: &Scenario, report: &Report) -> std::io::Result<()> {
    let Report { states, transitions, decisions, complete, took, .. } = report;
    let whole = if *complete { "" } else { ", stopped" };
    writeln!(
        out,
        "{:60} {states:>9} states {transitions:>10} transitions, {decisions:>7} decisions, {:.1} s{whole}",
        scenario.name,
        took.as_secs_f64()
    )
}

fn show(out: &mut impl std::io::Write, found: &Counterexample) -> std::io::Result<()> {
    let every = std::env::var_os("STATES").is_some();
    let mut last = None;
    for (i, (label, world)) in found.trace.iter().enumerate() {
        writeln!(out, "  {:>3}  {label}", i + 1)?;
        last = Some(world);
        if every {
            writeln!(out, "{world}")?;
        }
    }
    // A run in circles is told by its beginning.
    for (label, world) in found.calm.iter().take(40) {
        writeln!(out, "  and  {label}")?;
        last = Some(world);
    }
    if let Some(world) = last {
        writeln!(out, "{world}")?;
    }
    writeln!(out, "  => {}", found.violation.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Total = Total { searches: 45, stopped: 0, states: LEAST_STATES, violations: 0 };

    #[test]
    fn a_check_that_left_nothing_out_passes() {
        assert_eq!(GOOD.failures(true), Vec::<String>::new());
        let one = Total { searches: 1, states: 10, ..GOOD };
        assert_eq!(one.failures(false), Vec::<String>::new());
    }

    #[test]
    fn a_check_of_nothing_or_of_a_part_of_the_states_fails() {
        let nothing = Total::default();
        assert_eq!(nothing.failures(false).len(), 1);
        let few = Total { states: LEAST_STATES - 1, ..GOOD };
        assert_eq!(few.failures(true).len(), 1);
        for whole in [true, false] {
            assert_eq!(Total { stopped: 1, ..GOOD }.failures(whole).len(), 1);
            assert_eq!(Total { violations: 1, ..GOOD }.failures(whole).len(), 1);
        }
    }

    #[test]
    fn a_search_that_was_stopped_is_counted_as_one() {
        let scenario = scenarios::all().into_iter().next().expect("there are scenarios");
        let bounds = Bounds { states: 1, threads: 1, order: Order::Depth };
        let mut total = Total::default();
        total.add(&search(&scenario, bounds));
        assert_eq!((total.searches, total.stopped), (1, 1));
    }
}
