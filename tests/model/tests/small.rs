//! The smallest scenarios, searched whole; `make model` searches all.

use keywheel_model::scenarios;
use keywheel_model::search::{Bounds, Order, search};

/// Words of the scenarios' names, and how many states they have at least: a search that reaches less has lost its way.
const SMALL: [(&str, usize); 9] = [
    ("calm: create, rotate", 300),
    ("calm: exclusive, one owes, one is made", 300),
    ("calm: exclusive, one owes, one rotates", 500),
    ("key of before, lost", 20_000),
    ("key of before, status", 400),
    ("account full: due again, twice", 280),
    ("retained", 1_000),
    ("put back", 8_000),
    ("no overlap: leaders", 150_000),
];

#[test]
fn small_scenarios_have_no_violation() {
    for (words, least) in SMALL {
        let scenario = scenarios::all().into_iter().find(|s| s.name.contains(words)).expect(words);
        let report = search(&scenario, Bounds { states: 1_000_000, threads: 2, order: Order::Depth });
        let found = report.found.map(|found| {
            let steps: Vec<String> = found.trace.iter().map(|(label, _)| label.to_string()).collect();
            format!("{}\n{}", steps.join("\n"), found.violation.text())
        });
        assert_eq!(found, None, "{words}");
        assert!(report.complete && report.states >= least, "{words}: {} states", report.states);
    }
}

#[test]
fn a_search_finds_the_same_states_in_any_order_and_with_any_number_of_threads() {
    let scenario = scenarios::all().into_iter().find(|s| s.name.contains("put back")).unwrap();
    let [one, two, deep] = [(1, Order::Breadth), (2, Order::Breadth), (2, Order::Depth)]
        .map(|(threads, order)| search(&scenario, Bounds { states: 1_000_000, threads, order }));
    assert_eq!((one.states, one.transitions), (two.states, two.transitions));
    assert_eq!((one.states, one.transitions), (deep.states, deep.transitions));
}
