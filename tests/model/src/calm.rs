//! Convergence: from any state, once nothing fails any more, a fair run ends in the settled world and stays there.

use crate::actor::Who;
use crate::invariants::{Violation, is_settled};
use crate::moves::{Kind, Label, Move, Mover, settle};
use crate::prints::Prints;
use crate::shared::{Fingerprint, fingerprint};
use crate::world::World;

/// A run with more steps than this goes in circles.
const LONGEST: usize = 400;

/// Runs without faults.
#[derive(Default)]
pub struct Calm {
    moves: Vec<Move>,
}

/// What went wrong in a run, and how it went.
type Failed = (Violation, Vec<(Label, World)>);

impl Calm {
    /// Whether the settled world follows. If not, how the run went, and where it ended. The states of a run that ends well
    /// are remembered in `good`.
    pub fn converges(&mut self, from: &World, mover: &mut Mover, good: &Prints) -> Result<(), Failed> {
        let mut world = from.clone();
        world.budget.end();
        if world.deposed {
            world.actors.retain(|a| a.who != Who::Old);
        }
        settle(&mut world);
        mover.calm = true;
        let ends = self.run(world, mover, good);
        mover.calm = false;
        ends
    }

    fn run(&mut self, mut world: World, mover: &mut Mover, good: &Prints) -> Result<(), Failed> {
        let (mut way, mut steps) = (Vec::new(), Vec::new());
        loop {
            let here = fingerprint(&world);
            if good.contains(here) {
                break;
            }
            way.push(here);
            let Some(Move { label, world: after, violation, .. }) = self.next(&world, here, mover) else {
                if is_settled(&world, mover.planner.terms()) {
                    break;
                }
                return Err((Violation::NoConvergence, steps));
            };
            steps.push((label, after.clone()));
            if violation.is_some() || way.len() > LONGEST {
                return Err((violation.unwrap_or(Violation::NoConvergence), steps));
            }
            world = after;
        }
        for state in way {
            good.insert(state);
        }
        Ok(())
    }

    /// The first move that changes anything: the environment settles, then processes work, then time passes.
    fn next(&mut self, world: &World, here: Fingerprint, mover: &mut Mover) -> Option<Move> {
        let mut found = std::mem::take(&mut self.moves);
        let next = first_useful(world, here, mover, &mut found);
        found.clear();
        self.moves = found;
        next
    }
}

fn first_useful(world: &World, here: Fingerprint, mover: &mut Mover, out: &mut Vec<Move>) -> Option<Move> {
    let useful = |next: &mut Move| {
        next.finish();
        fingerprint(&next.world) != here
    };
    out.clear();
    mover.environment(world, out);
    let mut around = std::mem::take(out);
    around.sort_by_key(|next| next.kind);
    let later = around.split_off(around.partition_point(|next| next.kind < Kind::Works));
    if let Some(next) = around.into_iter().find_map(|mut next| useful(&mut next).then_some(next)) {
        return Some(next);
    }
    for actor in 0..world.actors.len() {
        mover.steps_of(world, actor, out);
        let worked = out.drain(..).filter(|next| next.kind != Kind::Fails);
        if let Some(next) = { worked }.find_map(|mut next| useful(&mut next).then_some(next)) {
            return Some(next);
        }
    }
    later.into_iter().find_map(|mut next| useful(&mut next).then_some(next))
}
