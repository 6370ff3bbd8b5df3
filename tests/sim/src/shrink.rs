//! Makes a failing history small: what can be left out without it passing, is.

use std::collections::BTreeSet;

use crate::history::{History, Judgement};

/// A failing history, as small as leaving out single happenings makes it.
pub struct Shrunk {
    /// The happenings that are needed, by number.
    pub kept: BTreeSet<usize>,
    /// What came of them.
    pub judgement: Judgement,
}

/// Shrinks a history that fails. A smaller one counts only if the same invariant breaks.
pub fn shrink(history: &History, judgement: &Judgement) -> Shrunk {
    let mut kept: BTreeSet<usize> = (0..history.happenings.len()).collect();
    let mut best = judgement.clone();
    let wanted = invariant(judgement);
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let numbers: Vec<usize> = kept.iter().copied().collect();
        let mut smaller = None;
        for chunk in numbers.chunks(size) {
            let fewer: BTreeSet<usize> = kept.iter().copied().filter(|n| !chunk.contains(n)).collect();
            let tried = history.only(&fewer).run();
            if invariant(&tried) == wanted {
                smaller = Some((fewer, tried));
                break;
            }
        }
        match smaller {
            Some((fewer, tried)) => (kept, best) = (fewer, tried),
            None if size > 1 => size = size.div_ceil(2),
            None => return Shrunk { kept, judgement: best },
        }
        if kept.is_empty() {
            return Shrunk { kept, judgement: best };
        }
    }
}

/// Which invariant breaks first.
fn invariant(judgement: &Judgement) -> Option<String> {
    let first = judgement.violations.first()?;
    Some(first.split(':').next().unwrap_or(first).to_owned())
}
