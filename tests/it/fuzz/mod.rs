//! Input that nobody meant: the parsers of credentials, and every route of the embedded server. A fixed part of it runs with
//! every `make test`; `make fuzz` goes on with other seeds for as long as it is told.

#![cfg(test)]

mod parsers;
mod routes;
mod vendors;

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

/// Seconds for each part; without it each runs once, with the same seed each time.
const SECONDS: &str = "KEYWHEEL_FUZZ_SECONDS";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("fuzz::no_parser_of_credentials_panics", parsers::run),
        trial("fuzz::no_route_panics_or_fails_by_itself", routes::run),
        trial("fuzz::no_route_of_the_other_api_panics_or_fails_by_itself", vendors::run),
    ]
}

fn trial(name: &str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

/// Checks inputs until the time is over; prints the smallest that fails.
fn fuzz<S: Strategy>(what: &str, cases: u32, inputs: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4096, ..Config::default() };
    let seconds = std::env::var(SECONDS).ok().map(|text| text.parse().unwrap());
    // A runner that has come to its number of cases runs no more.
    let runner = || match seconds {
        None => TestRunner::new_with_rng(config.clone(), TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config.clone()),
    };
    let (begun, mut rounds) = (Instant::now(), 0);
    loop {
        runner().run(inputs, &check).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        rounds += 1;
        if begun.elapsed() >= Duration::from_secs(seconds.unwrap_or(0)) {
            break;
        }
    }
    println!("{what}: {} inputs in {:.0?}", rounds * cases, begun.elapsed());
}
