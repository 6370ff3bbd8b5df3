//! Histories where ids are not chosen: what comes of accounts whose answers are lost.

use std::time::Duration;

use super::chaos::Chaos;
use super::{Happening, LENGTH, fate, index};
use crate::people::{self, Deed, Use};
use crate::random::Dice;
use crate::world::World;

/// Where ids are not chosen: creations of accounts whose answers are lost, people who use them, drift of what only such accounts
/// have.
pub(super) fn strays(dice: &mut Dice, keys: usize) -> Vec<Happening> {
    let anywhen = |dice: &mut Dice| Duration::from_secs(dice.below(LENGTH.as_secs()));
    let mut all = Vec::new();
    for _ in 0..dice.below(4) {
        // Most accounts are made in the beginning.
        let at = if dice.one_in(3) { anywhen(dice) } else { Duration::ZERO };
        let how = *dice.pick(&[None, Some(Use::Key), Some(Use::Role)]);
        all.push(Happening::Stray(at, fate(dice), how));
        if dice.one_in(2) {
            let delete = dice.one_in(2);
            all.push(Happening::Deed(anywhen(dice), Deed::LeaveStrays(delete)));
        }
    }
    if dice.one_in(2) {
        let account = people::account_of(index(dice.below(u64::try_from(keys).expect("few keys"))));
        all.push(Happening::Deed(anywhen(dice), Deed::SwitchBasicAuth(account)));
    }
    // An account that goes and comes back.
    if dice.one_in(2) {
        let (one, other) = (anywhen(dice), anywhen(dice));
        all.push(Happening::Deed(one.min(other), Deed::DeleteAccount));
        all.push(Happening::Deed(one.max(other), Deed::ApplyAccount(people::WITHOUT_KEYS)));
    }
    all
}

/// A person who waits for an account that nobody has recorded.
pub(super) fn use_stray(world: &mut World, director: &mut Chaos) {
    let Some(how) = director.wanted.filter(|_| !people::strays(world).is_empty()) else { return };
    director.wanted = None;
    people::act(world, &Deed::UseStrays(how));
}
