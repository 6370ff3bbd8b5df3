//! All that can happen next in a state: a process takes its next step, the environment moves, something fails.

mod effects;
mod environment;
mod passes;

use std::fmt;

use crate::actor::{Actor, Pc, Who};
use crate::faults::Fault;
use crate::invariants::{self, Violation};
use crate::names::Key;
use crate::observe::{Planner, Terms};
use crate::status::{Ops, Statuses};
use crate::world::{Cr, Life, World};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Process and CR; `None`: the environment.
    pub by: Option<(Who, usize)>,
    /// What.
    pub what: &'static str,
    /// The rule behind it.
    pub rule: &'static str,
    /// The key that it is about.
    pub key: Option<Key>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            None => write!(f, "world     {}", self.what)?,
            Some((who, cr)) => write!(f, "{who:?}/CR{:<3} {}", cr + 1, self.what)?,
        }
        if let Some(key) = self.key {
            write!(f, " {key}")?;
        }
        if self.rule.is_empty() { Ok(()) } else { write!(f, " (rule {})", self.rule) }
    }
}

/// What order a run without faults prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The environment settles.
    Settles,
    /// A process works.
    Works,
    /// Somebody tidies up.
    Tidies,
    /// Time passes.
    Waits,
    /// Something fails, or a user does something.
    Fails,
}

/// A move and the state after it.
pub struct Move {
    /// What happens.
    pub label: Label,
    /// Of what kind.
    pub kind: Kind,
    /// The state after it.
    pub world: World,
    /// What the move itself violates.
    pub violation: Option<Violation>,
}

impl Move {
    /// Brings the state after it into its canonical form, and judges it.
    pub fn finish(&mut self) {
        settle(&mut self.world);
        if self.violation.is_none() {
            self.violation = invariants::broken(&self.world);
        }
    }
}

/// Computes moves; remembers decisions.
pub struct Mover {
    /// The production plan.
    pub planner: Planner,
    /// Ageing statuses.
    pub ops: Ops,
    /// Nothing fails any more and nobody interferes: a pass is one step.
    pub calm: bool,
}

impl Mover {
    /// For the terms of a scenario.
    pub fn new(terms: Terms, statuses: &Statuses) -> Self {
        let planner = Planner::new(terms, statuses.clone());
        Self { planner, ops: Ops::new(statuses.clone()), calm: false }
    }

    /// Everything that can happen next.
    pub fn moves(&mut self, world: &World, out: &mut Vec<Move>) {
        out.clear();
        for i in 0..world.actors.len() {
            self.steps_of(world, i, out);
        }
        self.environment(world, out);
        if !world.budget.is_spent() {
            self.faults(world, out);
        }
        out.iter_mut().for_each(Move::finish);
    }

    /// What a process can do next; the states after it are not in their canonical form yet.
    pub fn steps_of(&mut self, world: &World, i: usize, out: &mut Vec<Move>) {
        if can_run(world, i) {
            self.step(world, i, out);
        }
    }

    /// Takes one step of a process. While nobody else can touch what it works on, the steps that cannot fail are taken
    /// at once: no other step could be observed to come in between.
    fn step(&mut self, world: &World, i: usize, out: &mut Vec<Move>) {
        let first = out.len();
        self.single_step(world, i, out);
        let mut at = first;
        while at < out.len() {
            let next = &out[at];
            let quiet = next.kind == Kind::Works && next.violation.is_none();
            let struck = next.world.actors.get(i).is_some_and(|a| self.planner.terms().struck[a.cr]);
            if quiet && is_alone(&next.world, i, struck) && self.is_certain(&next.world, i) {
                let Move { label, mut world, .. } = out.swap_remove(at);
                settle(&mut world);
                if let Some(violation) = invariants::broken(&world) {
                    out.push(Move { label, kind: Kind::Works, world, violation: Some(violation) });
                    continue;
                }
                self.single_step(&world, i, out);
            } else {
                at += 1;
            }
        }
    }
}

/// Whether this process may take a step.
fn can_run(world: &World, i: usize) -> bool {
    let actor = &world.actors[i];
    let cr = &world.crs[actor.cr];
    if !cr.exists() && actor.pc == Pc::Idle {
        return false;
    }
    match actor.who {
        Who::New => world.deposed,
        Who::Old => !world.deposed || actor.pc != Pc::Idle || world.blind_passes > 0,
    }
}

/// Whether no other process and no user can touch the objects of this process's CR any more.
fn is_alone(world: &World, i: usize, struck: bool) -> bool {
    let by_users = [
        Fault::SecretGone,
        Fault::SecretBroken,
        Fault::SecretChanged,
        Fault::Restore,
        Fault::StagingGone,
        Fault::Wipe,
        Fault::DeleteCr,
        Fault::Due,
    ];
    if struck && by_users.iter().any(|fault| world.budget.allows(*fault)) {
        return false;
    }
    let cr = world.actors[i].cr;
    let other = world.actors.iter().enumerate().find(|(j, a)| *j != i && a.cr == cr).map(|(_, a)| a);
    match world.actors[i].who {
        Who::Old => !world.deposed && (other.is_none() || !struck || !world.budget.allows(Fault::Lease)),
        // A create in hand, and its staging, touch neither the object nor the consumer Secret.
        Who::New => other.is_none_or(|old| {
            world.blind_passes == 0
                && match &old.pc {
                    Pc::Idle | Pc::Answered { .. } => true,
                    Pc::Acting(decided) => matches!(decided.effect, crate::actor::Effect::Create(_)),
                    _ => false,
                }
        }),
    }
}

/// Brings a state into its canonical form: what no later step can see is dropped, and steps that can only fail are
/// taken at once.
pub fn settle(world: &mut World) {
    for actor in &mut world.actors {
        passes::fail_doomed(actor);
        // Attempts are never opened again: what a process knows of another one is of no use, once it reads that.
        if !matches!(actor.pc, Pc::Asked(..)) {
            let cr = &world.crs[actor.cr];
            actor.memory.keep_of(passes::open_attempt(cr), cr.status.is_some());
        }
    }
    for cr in &mut world.crs {
        if cr.life == Life::Gone {
            cr.next = 1;
            cr.allowed = 0;
        }
    }
    if world.deposed {
        world.budget.rule_out(Fault::Lease);
        // Whom nothing is left to do is gone.
        let blind = world.blind_passes > 0;
        world.actors.retain(|a| a.who == Who::New || a.pc != Pc::Idle || blind);
        if !world.actors.iter().any(|a| a.who == Who::Old) {
            world.blind_passes = 0;
        }
    }
    let World { keys, crs, actors, taken, .. } = world;
    taken.retain(|key| {
        crs.iter().any(|cr| {
            cr.secret.as_ref().is_some_and(|s| s.key == *key) || cr.staged.iter().any(|s| s.key == *key)
        }) || actors.iter().any(Actor::is_busy)
    });
    for key in keys {
        let published = |cr: &Cr| cr.secret.as_ref().is_some_and(|s| s.key == key.key) && !cr.is_unseen();
        if crs.iter().any(published) {
            key.served = Some(0);
        }
        key.created = floor(key.created, crs);
    }
}

/// The age of a key matters to the windows of open and lost attempts, and until every list must show it.
fn floor(created: crate::time::Time, crs: &[Cr; 2]) -> crate::time::Time {
    use crate::time::{self, ANCIENT, LAG};
    if created >= -LAG {
        return created;
    }
    let mut windows = crs.iter().filter_map(|cr| cr.status.as_ref()).flat_map(|status| {
        let pending = status.pending.iter().map(|p| (time::of(p.backend_time), time::FAR));
        pending.chain(status.lost.iter().map(|l| (time::of(l.backend_time), time::of(l.until))))
    });
    let matters = windows.any(|(from, until)| {
        // The window of a rebuilt status begins before everything: only its end tells keys apart.
        if from == ANCIENT { created > until } else { created >= from }
    });
    if matters { created } else { ANCIENT }
}
