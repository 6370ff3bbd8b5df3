//! Breadth-first search over all states of a scenario, two threads, 128-bit fingerprints.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::calm::Calm;
use crate::invariants::Violation;
use crate::moves::{Label, Move, Mover, settle};
use crate::scenarios::Scenario;
use crate::shared::{Fingerprint, fingerprint};
use crate::status::Statuses;
use crate::world::World;

/// How the visited states are spread.
const SHARDS: usize = 64;
/// States that a thread takes at a time.
const CHUNK: usize = 64;

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Transitions.
    pub transitions: usize,
    /// Steps to the deepest state.
    pub depth: usize,
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
    /// Step by step, each with the state after it.
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

/// Bounds of a search.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Stops after so many states.
    pub states: usize,
    /// Threads.
    pub threads: usize,
}

/// Fingerprints are random already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, n: u64) {
        // Two halves: either is as good as the other.
        self.0 = n;
    }
}

/// A fingerprint in two halves: half the alignment of a `u128`.
type Halves = [u64; 2];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Print(Halves);

impl std::hash::Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[1]);
    }
}

fn halves(fingerprint: Fingerprint) -> Print {
    let bytes = fingerprint.to_le_bytes();
    let (low, high) = bytes.split_at(8);
    Print([u64::from_le_bytes(low.try_into().expect("8")), u64::from_le_bytes(high.try_into().expect("8"))])
}

#[derive(Default)]
struct Shard {
    index: HashMap<Print, u32, BuildHasherDefault<Identity>>,
    /// By index: the state and its parent.
    nodes: Vec<(Print, u32)>,
}

struct Visited(Vec<Mutex<Shard>>);

impl Visited {
    fn new() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    /// The number of a state, if it is new.
    fn insert(&self, state: Fingerprint, parent: u32) -> Option<u32> {
        let print = halves(state);
        let at = usize::try_from(print.0[0] % SHARDS as u64).expect("small");
        let mut shard = self.0[at].lock().expect("no thread panicked");
        let shard = &mut *shard;
        let number = u32::try_from(shard.nodes.len() * SHARDS + at).expect("fewer than 2^32 states");
        match shard.index.entry(print) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(number);
                shard.nodes.push((print, parent));
                Some(number)
            }
        }
    }

    fn len(&self) -> usize {
        self.0.iter().map(|s| s.lock().expect("no thread panicked").nodes.len()).sum()
    }

    /// The states on the way to a state, without the first.
    fn path(&self, mut number: u32) -> Vec<Print> {
        let mut path = Vec::new();
        loop {
            let (shard, at) = (number as usize % SHARDS, number as usize / SHARDS);
            let (print, parent) = self.0[shard].lock().expect("no thread panicked").nodes[at];
            if parent == number {
                path.reverse();
                return path;
            }
            path.push(print);
            number = parent;
        }
    }
}

/// What one thread found on one level.
#[derive(Default)]
struct Level {
    next: Vec<(u32, World)>,
    transitions: usize,
    found: Option<Hit>,
}

/// A violation: the state before it, the move that shows it, what a calm run does after it.
struct Hit {
    before: u32,
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
    let visited = Visited::new();
    let mut first = scenario.world.clone();
    settle(&mut first);
    let root = visited.insert(fingerprint(&first), 0).expect("the first");
    // The root is its own parent, whatever its number.
    visited.0[root as usize % SHARDS].lock().expect("no thread panicked").nodes[0].1 = root;
    let statuses = Statuses::default();
    let mut workers: Vec<Worker> = (0..bounds.threads)
        .map(|_| Worker {
            mover: Mover::new(scenario.terms, &statuses),
            calm: Calm::default(),
            moves: Vec::new(),
        })
        .collect();
    let mut frontier = vec![(root, first.clone())];
    let (mut transitions, mut depth, mut complete) = (0, 0, true);
    let mut hit = None;
    while !frontier.is_empty() && hit.is_none() {
        if visited.len() > bounds.states {
            complete = false;
            break;
        }
        let levels = expand(&frontier, &visited, &mut workers);
        frontier.clear();
        for level in levels {
            frontier.extend(level.next);
            transitions += level.transitions;
            hit = hit.or(level.found);
        }
        depth += 1;
    }
    let found = hit.map(|hit| {
        let mut trace = replay(&first, &visited.path(hit.before), &mut workers[0]);
        trace.push(hit.last);
        Counterexample { violation: hit.violation, trace, calm: hit.calm }
    });
    Report {
        states: visited.len(),
        transitions,
        depth,
        decisions: workers.iter().map(|w| w.mover.planner.decisions()).max().unwrap_or(0),
        complete,
        took: started.elapsed(),
        found,
    }
}

fn expand(frontier: &[(u32, World)], visited: &Visited, workers: &mut [Worker]) -> Vec<Level> {
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| worker.expand(frontier, &taken, visited)))
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panicked")).collect()
    })
}

impl Worker {
    fn expand(&mut self, frontier: &[(u32, World)], taken: &AtomicUsize, visited: &Visited) -> Level {
        let mut level = Level::default();
        loop {
            let from = taken.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) = frontier.get(from..frontier.len().min(from + CHUNK)).filter(|c| !c.is_empty())
            else {
                return level;
            };
            for (number, world) in chunk {
                self.expand_one(*number, world, visited, &mut level);
                if level.found.is_some() {
                    return level;
                }
            }
        }
    }

    fn expand_one(&mut self, number: u32, world: &World, visited: &Visited, level: &mut Level) {
        let mut moves = std::mem::take(&mut self.moves);
        self.mover.moves(world, &mut moves);
        level.transitions += moves.len();
        for Move { label, world, violation, .. } in moves.drain(..) {
            if let Some(violation) = violation {
                level.found = Some(Hit { before: number, violation, last: (label, world), calm: Vec::new() });
                break;
            }
            let Some(new) = visited.insert(fingerprint(&world), number) else { continue };
            if let Err((violation, calm)) = self.calm.converges(&world, &mut self.mover) {
                level.found = Some(Hit { before: number, violation, last: (label, world), calm });
                break;
            }
            level.next.push((new, world));
        }
        self.moves = moves;
    }
}

/// Walks the way again, to say what happened on it.
fn replay(first: &World, path: &[Print], worker: &mut Worker) -> Vec<(Label, World)> {
    let mut world = first.clone();
    let mut trace = Vec::new();
    let mut moves = Vec::new();
    for step in path {
        worker.mover.moves(&world, &mut moves);
        let next = moves.drain(..).find(|m| halves(fingerprint(&m.world)) == *step);
        let next = next.expect("the way was walked before");
        world = next.world.clone();
        trace.push((next.label, next.world));
    }
    trace
}
