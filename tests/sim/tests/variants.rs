//! Wrong variants, each looked for where it was found before; `make sim-variants` looks everywhere.

use keywheel_sim::variants::{catch_quickly, chosen};

/// Histories for a variant that no flow shows.
const SEEDS: u64 = 8;

#[test]
fn wrong_variants_are_caught() {
    let mut survivors = Vec::new();
    for defect in chosen(None) {
        match catch_quickly(defect, SEEDS, 2) {
            Some(caught) => println!("{} breaks {} in {}", defect.name(), caught.violation, caught.place),
            None => survivors.push(defect.name()),
        }
    }
    assert!(survivors.is_empty(), "{survivors:?} survive");
}
