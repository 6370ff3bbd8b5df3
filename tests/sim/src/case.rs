//! One run of a flow with faults at chosen calls, judged.

use std::collections::VecDeque;
use std::time::Duration;

use keywheel::domain::Timing;

use crate::fate::{Calm, Director, Fate, Offer};
use crate::flows::Flow;
use crate::oracle::unrest;
use crate::world::{Setup, World};

/// How long a crashed process is away.
const RESTART: Duration = Duration::from_secs(2);
/// How long everything may take to come to rest once nothing goes wrong any more: the longest wait of the protocol
/// is that for lost attempts, three of them in a row at most, and the backoffs between.
const REST: Duration = Duration::from_hours(30);
/// How often it is looked whether everything is at rest.
const LOOK: Duration = Duration::from_mins(20);

/// Which call a fault hits, counted from the fault before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The n-th call.
    Call(u64),
    /// The n-th call that changes something.
    Mutation(u64),
}

/// Faults at chosen calls, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Script {
    faults: VecDeque<(At, Fate)>,
    calls: u64,
    mutations: u64,
    /// Every call that was made, if they are wanted.
    pub seen: Vec<Offer>,
    /// How many calls of others a frozen process sleeps through.
    pub wake_after: Option<u64>,
}

impl Script {
    /// These faults.
    pub fn new(faults: impl IntoIterator<Item = (At, Fate)>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::default() }
    }

    /// Whether every fault has happened.
    pub fn is_over(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Director for Script {
    fn fate(&mut self, offer: &Offer) -> Fate {
        self.seen.push(offer.clone());
        self.calls += 1;
        self.mutations += u64::from(offer.mutating);
        let hit = match self.faults.front() {
            Some((At::Call(n), _)) => self.calls == *n,
            Some((At::Mutation(n), _)) => offer.mutating && self.mutations == *n,
            None => false,
        };
        if !hit {
            return Fate::Deliver;
        }
        (self.calls, self.mutations) = (0, 0);
        self.faults.pop_front().map_or(Fate::Deliver, |(_, fate)| fate)
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<String>,
    /// Calls that the flow made until it was done.
    pub seen: Vec<Offer>,
    /// What happened.
    pub trace: Vec<String>,
    /// Equal for equal runs only.
    pub digest: String,
}

/// Waits and caps of the runs: those of production, but for the probe of the backend, which has nothing to do with keys.
pub fn timing() -> Timing {
    Timing { probe: Duration::from_hours(1), ..Timing::default() }
}

/// Runs something in a world of its own: one thread, a clock that only moves when everybody waits.
pub fn in_own_time<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be made")
        .block_on(run)
}

/// Runs a flow with these faults.
pub fn run(flow: &Flow, seed: u64, mut script: Script) -> Outcome {
    in_own_time(async move {
        let setup = Setup { timing: timing(), ..Setup::new(seed) };
        let mut world = (flow.begin)(setup).await;
        world.counts.reset();
        let made_before = world.iam.keys.len();
        (flow.act)(&mut world);
        let calm = script.is_over();
        let end = world.time.elapsed() + flow.longest + Duration::from_hours(u64::from(!calm));
        let asleep_since = drive(&mut world, &mut script, end, flow).await;
        let mut violations = Vec::new();
        if calm {
            if !(flow.is_done)(&world) {
                violations.push(format!("{} is not done in {:?}", flow.name, flow.longest));
            }
            if let Some(budget) = flow.budget {
                let counts = &world.counts;
                let spent = (counts.api_writes.len(), counts.without_audits());
                if spent != (budget.api_writes, budget.iam_calls) {
                    violations.push(format!(
                        "{budget:?} is not kept: {:?} {:?}",
                        counts.api_writes, counts.iam_calls
                    ));
                }
            }
        }
        let seen = std::mem::take(&mut script.seen);
        if asleep_since {
            wake_all(&mut world);
        }
        violations.extend(come_to_rest(&mut world).await);
        if world.oracle.violations().is_empty() {
            if !(flow.is_done)(&world) {
                violations.push(format!("{} is never done", flow.name));
            }
            violations.extend(burnt(&world, made_before));
        }
        violations.extend(world.oracle.violations().iter().map(ToString::to_string));
        Outcome { violations, seen, trace: world.trace.lines().to_vec(), digest: world.trace.digest() }
    })
}

/// Runs until the flow is done, with a process that is started again when it dies, and another one that takes over
/// when it gets no time. Whether somebody still sleeps.
async fn drive(world: &mut World, script: &mut Script, end: Duration, flow: &Flow) -> bool {
    let mut slept_through = 0;
    while world.time.elapsed() < end && world.oracle.violations().is_empty() {
        if script.is_over() && (flow.is_done)(world) && world.is_quiet() {
            break;
        }
        world.turn(end, script).await;
        keep_alive(world, script).await;
        let sleeper = world.actors.iter().position(|a| a.is_alive() && a.is_frozen());
        if let (Some(sleeper), Some(wake_after)) = (sleeper, script.wake_after) {
            slept_through = world.actors.iter().skip(sleeper + 1).map(|a| a.answered).sum();
            if slept_through >= wake_after {
                world.note(&format!("A{sleeper} wakes after {slept_through} calls of others"));
                world.actors[sleeper].wake();
            }
        }
    }
    let _ = slept_through;
    world.actors.iter().any(|a| a.is_alive() && a.is_frozen())
}

/// A process that died is started again; one that gets no time is replaced.
pub async fn keep_alive(world: &mut World, director: &mut dyn Director) {
    if !world.actors.iter().any(crate::actor::Actor::is_alive) {
        world.run_for(RESTART, director).await;
        world.start_operator();
    } else if world.running().is_empty() {
        world.take_over(director).await;
    }
}

fn wake_all(world: &mut World) {
    for actor in 0..world.actors.len() {
        if world.actors[actor].is_alive() && world.actors[actor].is_frozen() {
            world.note(&format!("A{actor} wakes at last"));
            world.actors[actor].wake();
        }
    }
}

/// With nothing going wrong any more everything comes to rest. What did not.
pub async fn come_to_rest(world: &mut World) -> Vec<String> {
    let end = world.time.elapsed() + REST;
    loop {
        keep_alive(world, &mut Calm).await;
        world.run_for(LOOK, &mut Calm).await;
        if !world.oracle.violations().is_empty() {
            return Vec::new();
        }
        let oracle = &world.oracle;
        let left = unrest(&world.api, &world.iam, |key| oracle.is_excused(key), world.time.now());
        if left.is_empty() {
            return Vec::new();
        }
        if world.time.elapsed() >= end {
            return left.into_iter().map(|u| format!("Convergence: {}", u.0)).collect();
        }
    }
}

/// No burn: a key that was never published cost a fault.
fn burnt(world: &World, made_before: usize) -> Option<String> {
    let made = world.iam.keys.len().saturating_sub(made_before);
    let published = world.oracle.published_keys().filter(|id| world.iam.keys.contains_key(*id)).count();
    let published_since = published.saturating_sub(made_before.min(published));
    let faults = usize::try_from(world.counts.faults).unwrap_or(usize::MAX);
    (made > published_since + faults).then(|| {
        format!("No burn: {made} keys were made, {published_since} of them published, with {faults} faults")
    })
}
