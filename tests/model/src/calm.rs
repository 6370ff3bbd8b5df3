//! Convergence: from any state, once nothing fails any more, a fair run ends in the settled world and stays there.

use std::collections::HashSet;

use crate::actor::Who;
use crate::invariants::{Violation, is_settled};
use crate::moves::{Kind, Label, Move, Mover, settle};
use crate::shared::{Fingerprint, fingerprint};
use crate::world::World;

/// A run with more steps than this goes in circles.
const LONGEST: usize = 400;

/// Runs without faults, and remembers the states from which they end well.
#[derive(Default)]
pub struct Calm {
    good: HashSet<Fingerprint>,
    moves: Vec<Move>,
}

impl Calm {
    /// Whether the settled world follows. If not, how the run went, and where it ended.
    pub fn converges(
        &mut self,
        from: &World,
        mover: &mut Mover,
    ) -> Result<(), (Violation, Vec<(Label, World)>)> {
        let mut world = from.clone();
        world.budget.end();
        if world.deposed {
            world.actors.retain(|a| a.who != Who::Old);
        }
        settle(&mut world);
        mover.calm = true;
        let ends = self.run(world, mover);
        mover.calm = false;
        ends
    }

    fn run(&mut self, mut world: World, mover: &mut Mover) -> Result<(), (Violation, Vec<(Label, World)>)> {
        let (mut way, mut steps) = (Vec::new(), Vec::new());
        loop {
            let here = fingerprint(&world);
            if self.good.contains(&here) {
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
        self.good.extend(way);
        Ok(())
    }

    /// The first move that changes anything: the environment settles, then processes work, then time passes.
    fn next(&mut self, world: &World, here: Fingerprint, mover: &mut Mover) -> Option<Move> {
        let mut found = std::mem::take(&mut self.moves);
        mover.moves(world, &mut found);
        found.sort_by_key(|m| m.kind);
        let mut useful = found.drain(..).filter(|m| m.kind != Kind::Fails && fingerprint(&m.world) != here);
        let next = useful.next();
        drop(useful);
        self.moves = found;
        next
    }
}
