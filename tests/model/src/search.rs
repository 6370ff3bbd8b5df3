//! Search over all states of a scenario, two threads, visited states as 128-bit fingerprints.
//!
//! Breadth first finds the shortest way to a violation, but keeps a whole level of states at a time, and their parents.
//! Depth first keeps little but fingerprints; what it finds is looked for again, breadth first, to tell the shortest way.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::calm::Calm;
use crate::invariants::Violation;
use crate::moves::{Label, Move, Mover, settle};
use crate::prints::Prints;
use crate::scenarios::Scenario;
use crate::shared::{Fingerprint, fingerprint};
use crate::status::Statuses;
use crate::world::World;

/// States that a thread takes at a time.
const CHUNK: usize = 64;
/// States that are taken from the stack at a time: each leaves its successors there.
const BATCH: usize = 4096;

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Transitions.
    pub transitions: usize,
    /// Different observations that the plan decided, of the thread that saw most.
    pub decisions: usize,
    /// Whether every reachable state was visited.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
    /// The shortest way to a violation.
    pub found: Option<Counterexample>,
}

/// A way to a violation.
#[derive(Debug)]
pub struct Counterexample {
    /// What it violates.
    pub violation: Violation,
    /// Step by step, each with the state after it. Depth first: the last step only.
    pub trace: Vec<(Label, World)>,
    /// If a run without further faults shows it: how that goes on.
    pub calm: Vec<(Label, World)>,
}

impl Counterexample {
    /// How many steps it takes; a run in circles has no end to count.
    pub fn steps(&self) -> usize {
        let calm = if self.violation == Violation::NoConvergence { 0 } else { self.calm.len() };
        self.trace.len() + calm
    }
}

/// Which states come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those with the shortest way.
    Breadth,
    /// Those that were found last.
    Depth,
}

/// Bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Stops after so many states.
    pub states: usize,
    /// Threads.
    pub threads: usize,
    /// Order.
    pub order: Order,
}

/// Where each state was reached from first.
type Parents = Mutex<HashMap<Fingerprint, Fingerprint>>;

/// What all threads share.
struct Space {
    visited: Prints,
    /// Kept breadth first only.
    parents: Option<Parents>,
    /// From where a run without faults ends well.
    good: Prints,
}

impl Space {
    fn insert(&self, state: Fingerprint, parent: Fingerprint) -> bool {
        let new = self.visited.insert(state);
        if let Some(parents) = self.parents.as_ref().filter(|_| new) {
            parents.lock().expect("no thread panicked").insert(state, parent);
        }
        new
    }

    /// The states on the way to a state, without the first.
    fn path(&self, mut state: Fingerprint) -> Option<Vec<Fingerprint>> {
        let parents = self.parents.as_ref()?.lock().expect("no thread panicked");
        let mut path = Vec::new();
        while let Some(parent) = parents.get(&state) {
            path.push(state);
            state = *parent;
        }
        path.reverse();
        Some(path)
    }
}

/// What one thread found in one batch.
#[derive(Default)]
struct Found {
    next: Vec<World>,
    transitions: usize,
    hit: Option<Hit>,
}

/// A violation: the state before it, the move that shows it, what a calm run does after it.
struct Hit {
    before: Fingerprint,
    violation: Violation,
    last: (Label, World),
    calm: Vec<(Label, World)>,
}

/// One thread's tools.
struct Worker {
    mover: Mover,
    calm: Calm,
    moves: Vec<Move>,
}

/// Searches a scenario.
pub fn search(scenario: &Scenario, bounds: Bounds) -> Report {
    let started = Instant::now();
    let breadth = bounds.order == Order::Breadth;
    let space = Space {
        visited: Prints::default(),
        parents: breadth.then(Parents::default),
        good: Prints::default(),
    };
    let mut first = scenario.world.clone();
    settle(&mut first);
    // The first has no parent.
    space.visited.insert(fingerprint(&first));
    let statuses = Statuses::default();
    let mut workers: Vec<Worker> = (0..bounds.threads)
        .map(|_| Worker {
            mover: Mover::new(scenario.terms, &statuses),
            calm: Calm::default(),
            moves: Vec::new(),
        })
        .collect();
    let mut waiting = vec![first.clone()];
    let (mut transitions, mut complete) = (0, true);
    let mut hit = None;
    while !waiting.is_empty() && hit.is_none() {
        if space.visited.len() > bounds.states {
            complete = false;
            break;
        }
        let batch = if breadth { 0 } else { waiting.len().saturating_sub(BATCH) };
        let batch = waiting.split_off(batch);
        for found in expand(&batch, &space, &mut workers) {
            waiting.extend(found.next);
            transitions += found.transitions;
            hit = hit.or(found.hit);
        }
    }
    let found = hit.map(|hit| {
        let path = space.path(hit.before).unwrap_or_default();
        let mut trace = replay(&first, &path, &mut workers[0]);
        trace.push(hit.last);
        Counterexample { violation: hit.violation, trace, calm: hit.calm }
    });
    Report {
        states: space.visited.len(),
        transitions,
        decisions: workers.iter().map(|w| w.mover.planner.decisions()).max().unwrap_or(0),
        complete,
        took: started.elapsed(),
        found,
    }
}

fn expand(batch: &[World], space: &Space, workers: &mut [Worker]) -> Vec<Found> {
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let running: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| worker.expand(batch, &taken, space))).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panicked")).collect()
    })
}

impl Worker {
    fn expand(&mut self, batch: &[World], taken: &AtomicUsize, space: &Space) -> Found {
        let mut found = Found::default();
        loop {
            let from = taken.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) = batch.get(from..batch.len().min(from + CHUNK)).filter(|c| !c.is_empty()) else {
                return found;
            };
            for world in chunk {
                self.expand_one(world, space, &mut found);
                if found.hit.is_some() {
                    return found;
                }
            }
        }
    }

    fn expand_one(&mut self, before: &World, space: &Space, found: &mut Found) {
        let here = fingerprint(before);
        let mut moves = std::mem::take(&mut self.moves);
        self.mover.moves(before, &mut moves);
        found.transitions += moves.len();
        for Move { label, world, violation, .. } in moves.drain(..) {
            if let Some(violation) = violation {
                found.hit = Some(Hit { before: here, violation, last: (label, world), calm: Vec::new() });
                break;
            }
            if !space.insert(fingerprint(&world), here) {
                continue;
            }
            if let Err((violation, calm)) = self.calm.converges(&world, &mut self.mover, &space.good) {
                found.hit = Some(Hit { before: here, violation, last: (label, world), calm });
                break;
            }
            found.next.push(world);
        }
        self.moves = moves;
    }
}

/// Walks the way again, to say what happened on it.
fn replay(first: &World, path: &[Fingerprint], worker: &mut Worker) -> Vec<(Label, World)> {
    let mut world = first.clone();
    let mut trace = Vec::new();
    let mut moves = Vec::new();
    for step in path {
        worker.mover.moves(&world, &mut moves);
        let next = moves.drain(..).find(|m| fingerprint(&m.world) == *step);
        let next = next.expect("the way was walked before");
        world = next.world.clone();
        trace.push((next.label, next.world));
    }
    trace
}
