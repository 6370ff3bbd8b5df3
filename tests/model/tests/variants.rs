//! Wrong variants that a short search catches; `make variants` tries all.

use keywheel::domain::defect::{Defect, Layer};
use keywheel_model::search::{Bounds, Order};
use keywheel_model::variants::try_out;

/// Enough for most of them, and quick.
const STATES: usize = 30_000;

/// Those that need a longer search.
const DEEP: [Defect; 9] = [
    Defect::NoConfirm,
    Defect::NoFence,
    Defect::FenceOnPaper,
    Defect::ReadOrder,
    Defect::PostWithoutLease,
    Defect::BlindPublish,
    Defect::OverlapFromIntent,
    Defect::SibIgnoresUnfenced,
    Defect::SibIgnoresWiped,
];

#[test]
fn wrong_variants_are_caught() {
    for defect in Defect::of(Layer::Model).filter(|d| !DEEP.contains(d)) {
        let verdict = try_out(defect, Bounds { states: STATES, threads: 2, order: Order::Breadth });
        assert!(verdict.caught.is_some(), "{} survives {} states", defect.name(), verdict.states);
    }
}
