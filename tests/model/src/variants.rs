//! Wrong variants of the plan: each must be caught.

use keywheel::domain::defect::Defect;

use crate::scenarios::{self, Scenario};
use crate::search::{Bounds, Report, search};

/// How a variant fared.
#[derive(Debug)]
pub struct Verdict {
    /// The variant.
    pub defect: Defect,
    /// The scenario that caught it, and what it found.
    pub caught: Option<(&'static str, Report)>,
    /// States searched altogether.
    pub states: usize,
}

/// Searches with a variant switched on until one scenario catches it. The switch is the process's: one at a time.
pub fn try_out(defect: Defect, bounds: Bounds) -> Verdict {
    Defect::switch_on(Some(defect));
    let mut states = 0;
    let mut caught = None;
    for scenario in likely(defect) {
        let report = search(&scenario, bounds);
        states += report.states;
        if report.found.is_some() {
            caught = Some((scenario.name, report));
            break;
        }
    }
    Defect::switch_on(None);
    Verdict { defect, caught, states }
}

/// The scenarios that may show it, the smallest first; a word in their names.
fn likely(defect: Defect) -> Vec<Scenario> {
    let words: &[&str] = match defect {
        Defect::NoFence | Defect::FenceOnPaper => &["no overlap, the old"],
        Defect::AbsentIsGone => &["lists lag"],
        Defect::NoLedgerCopy => &["the Secret stays"],
        Defect::RoomFromOverlap => &["account full"],
        Defect::RetainedKeyEnds => &["retained"],
        Defect::PublishLost | Defect::ReadOrder => {
            &["runs on: lost", "no overlap, the old", "rotate: any two"]
        }
        Defect::RetireBlindly => &["put back", "rotate: any two"],
        Defect::NoSiblingCheck | Defect::SibIgnoresPending => &["calm: exclusive, one owes, one is made"],
        Defect::SibBeforeList => &["calm: exclusive, one owes, one rotates"],
        Defect::SibIgnoresUnfenced => &["one rotates: staging, leaders"],
        Defect::SibIgnoresWiped => &["one rotates: staging, status"],
        Defect::RebuiltProves => &["key of before, status lost"],
        Defect::KnownIdsOnly => &["key of before, lost"],
        Defect::DeleteOnSharedAccount => &["shared: one owes"],
        _ => &["calm", "create: any two", "rotate: any two", "no overlap", "put back", "lists lag"],
    };
    let all: Vec<Scenario> = scenarios::all().into_iter().chain(scenarios::deep()).collect();
    words.iter().filter_map(|word| all.iter().find(|s| s.name.contains(word))).cloned().collect()
}
