//! What becomes of calls in a history, and in which order they go.

use std::time::Duration;

use super::index;
use crate::fate::{Director, Fate, Loss, No, Offer};
use crate::people::Use;
use crate::random::Dice;

/// Lets faults happen when their time has come; the order of calls is the dice's.
pub(super) struct Chaos {
    pub(super) dice: Dice,
    pub(super) pending: Vec<(bool, Fate)>,
    /// Fates of creations of accounts, and how the account is used then.
    pub(super) strays: Vec<(Fate, Option<Use>)>,
    /// How somebody wants to use the next account that is recorded nowhere.
    pub(super) wanted: Option<Use>,
    pub(super) deaf_until: Duration,
    pub(super) wake_at: Option<Duration>,
    pub(super) cut_off: Option<(usize, Duration)>,
    pub(super) now: Duration,
}

impl Chaos {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, 2),
            pending: Vec::new(),
            strays: Vec::new(),
            wanted: None,
            deaf_until: Duration::ZERO,
            wake_at: None,
            cut_off: None,
            now: Duration::ZERO,
        }
    }
}

impl Director for Chaos {
    fn choose(&mut self, offers: &[Offer]) -> usize {
        index(self.dice.below(u64::try_from(offers.len()).expect("few calls")))
    }

    fn fate(&mut self, offer: &Offer) -> Fate {
        let fits = |(mutating, fate): &(bool, Fate)| {
            (!*mutating || offer.mutating)
                && match fate {
                    Fate::LoseAnswer(_) | Fate::Late(..) | Fate::CrashLate(_) => offer.mutating,
                    Fate::Stale(_) => ["iam list-keys", "iam list-accounts", "iam read-policy"]
                        .iter()
                        .any(|read| offer.summary.starts_with(read)),
                    _ => true,
                }
        };
        let creates = offer.summary.starts_with("iam create-account") && !self.strays.is_empty();
        let fate = if creates {
            let (fate, how) = self.strays.remove(0);
            self.wanted = how;
            fate
        } else {
            let Some(found) = self.pending.iter().position(fits) else { return Fate::Deliver };
            self.pending.remove(found).1
        };
        match fate {
            // The IAM system's own refusals.
            Fate::Refuse(_) if offer.to_iam => Fate::Refuse(*self.dice.pick(&No::of_iam(offer))),
            fate => fate,
        }
    }

    fn lease_fate(&mut self, offer: &Offer) -> Fate {
        match self.cut_off {
            Some((actor, until)) if actor == offer.actor && self.now < until => Fate::LoseCall(Loss::Reset),
            _ => Fate::Deliver,
        }
    }

    fn behind(&mut self) -> usize {
        if self.dice.one_in(8) { index(self.dice.below(6)) } else { 0 }
    }

    fn hears(&mut self, _: usize) -> bool {
        self.now >= self.deaf_until
    }

    fn concurrency(&self) -> usize {
        3
    }
}
