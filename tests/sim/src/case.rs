//! One run of a flow with faults at chosen calls, judged.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::SignedDuration;
use keywheel::domain::Timing;

use crate::counts::Counts;
use crate::fate::{Calm, Director, Fate, Offer};
use crate::flows::{Flow, budgets};
use crate::oracle::unrest;
use crate::people::Deed;
use crate::world::{Setup, World};

/// How long the Lease lasts that two processes compete for.
const LEASE: Duration = Duration::from_secs(15);
/// How long a crashed process is away.
const RESTART: Duration = Duration::from_secs(2);
/// How long everything may take to come to rest once nothing goes wrong any more: the longest wait of the protocol
/// is that for lost attempts, three of them in a row at most, and the backoffs between.
const REST: Duration = Duration::from_hours(30);
/// The seed of all runs of flows: what differs between them is where the faults are. Audits are spread by it, so that
/// the lists of a long flow hold for this one.
pub const SEED: u64 = 7;
/// How often it is looked whether a flow is done.
const NOTICE: Duration = Duration::from_mins(1);
/// How long after a flow is done it is watched for what it spends in vain.
const AFTERWARDS: Duration = Duration::from_mins(10);
/// How often it is looked whether everything is at rest.
const LOOK: Duration = Duration::from_mins(20);

/// Attempts that may come to nothing because a person does one thing in the middle of them.
const MOST_BY_A_DEED: usize = 1;

/// How many calls a process makes at once that was woken in haste: a look, and a change that rests on it.
const HASTE: u64 = 3;

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
    /// How many calls of others a frozen process sleeps through. There is a Lease then, and a second process.
    pub wake_after: Option<u64>,
    /// By how many changes the memory of the processes is out of date.
    pub behind: usize,
    /// What a person does right before the n-th call.
    pub deed: Option<(u64, Deed)>,
    offered: u64,
    /// A process that was woken, and how many calls it makes before anybody else.
    hasty: Option<(usize, u64)>,
}

impl Script {
    /// These faults.
    pub fn new(faults: impl IntoIterator<Item = (At, Fate)>) -> Self {
        Self { faults: faults.into_iter().collect(), ..Self::default() }
    }

    /// Whether every fault has happened.
    pub fn is_over(&self) -> bool {
        self.faults.is_empty() && self.deed.is_none()
    }
}

impl Director for Script {
    fn choose(&mut self, offers: &[Offer]) -> usize {
        let Some((actor, left)) = self.hasty.as_mut().filter(|(_, left)| *left > 0) else { return 0 };
        let Some(first) = offers.iter().position(|offer| offer.actor == *actor) else { return 0 };
        *left -= u64::from(!offers[first].lease);
        first
    }

    fn meanwhile(&mut self, offer: &Offer) -> Option<Deed> {
        self.offered += u64::from(!offer.lease);
        let (_, deed) = self.deed.take_if(|(call, _)| *call == self.offered)?;
        Some(deed)
    }

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

    fn behind(&mut self) -> usize {
        self.behind
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<String>,
    /// Calls that the flow made until it was done.
    pub seen: Vec<Offer>,
    /// What it spent until some minutes after it was done.
    pub spent: Counts,
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
        // Short where the flow is: one is renewed all day long, and that would be most of what is simulated.
        let lease = if flow.longest <= Duration::from_mins(1) { LEASE } else { LEASE * 120 };
        let lease = script.wake_after.map(|_| lease);
        let setup = Setup { timing: timing(), lease, ..Setup::new(seed) };
        let mut world = (flow.begin)(setup).await;
        world.start_all();
        world.counts.reset();
        let (wasted_before, faults_before) = (world.oracle.wasted(&world.iam), world.counts.faults);
        let calm = script.is_over() && script.wake_after.is_none();
        // Then the flow may come to another end.
        let diverted = script.deed.is_some();
        if diverted {
            // Where there are Secrets of former names, they are read after it.
            world.oracle.last_look = Some(if flow.name == "rename" { 2 } else { 0 });
        }
        let begun = world.time.elapsed();
        (flow.act)(&mut world);
        let asleep = drive(&mut world, &mut script, begun, flow).await;
        let mut violations = Vec::new();
        if calm {
            if !(flow.is_done)(&world) {
                violations.push(format!("{} is not done in {:?}", flow.name, flow.longest));
            }
            world.run_for(AFTERWARDS, &mut Calm).await;
            violations.extend(overspent(&world.counts, flow));
        }
        let (seen, spent) = (std::mem::take(&mut script.seen), world.counts.clone());
        if asleep {
            wake_all(&mut world);
        }
        violations.extend(come_to_rest(&mut world).await);
        if diverted && world.oracle.violations().is_empty() {
            violations.extend(burnt(&world, wasted_before, faults_before, flow.given_up + MOST_BY_A_DEED));
        } else if world.oracle.violations().is_empty() {
            // What a fault put off may still be on its way when all else is at rest.
            let end = world.time.elapsed() + flow.longest.max(REST);
            // Time stands still once something does not hold.
            let goes_on = |world: &World| world.time.elapsed() < end && world.oracle.violations().is_empty();
            while !(flow.is_done)(&world) && goes_on(&world) {
                keep_alive(&mut world, &mut Calm).await;
                world.run_for(LOOK, &mut Calm).await;
            }
            if !(flow.is_done)(&world) {
                let left = unrest(&world.api, &world.iam, &world.oracle, world.time.now());
                violations.extend(left.into_iter().map(|u| format!("Convergence: {}", u.0)));
                violations.push(format!("{} is never done", flow.name));
            }
            violations.extend(burnt(&world, wasted_before, faults_before, flow.given_up));
        }
        // What the oracle says is the cause of all else.
        let said: Vec<String> = world.oracle.violations().iter().map(ToString::to_string).collect();
        violations.splice(0..0, said);
        Outcome { violations, seen, spent, trace: world.trace.lines().to_vec(), digest: world.trace.digest() }
    })
}

/// More attempts came to nothing than faults explain, and what the flow itself gives up.
fn burnt(world: &World, wasted_before: usize, faults_before: u64, given_up: usize) -> Option<String> {
    let faults = usize::try_from(world.counts.faults - faults_before).unwrap_or(usize::MAX);
    let wasted = world.oracle.wasted(&world.iam).saturating_sub(wasted_before);
    (wasted > faults + given_up)
        .then(|| format!("No burn: {wasted} attempts led to nothing, with {faults} faults"))
}

fn overspent(counts: &Counts, flow: &Flow) -> Option<String> {
    let Some(budget) = budgets::of(flow.name) else { return Some(format!("Budget: {} has none", flow.name)) };
    let spent = counts.spent();
    (spent != budget).then(|| {
        let calls = (&counts.api_writes, &counts.iam_calls);
        format!("Budget: {spent:?} is spent, not {budget:?}: {calls:#?}")
    })
}

/// Runs until the flow is done, with a process that is started again when it dies. Whether somebody still sleeps.
async fn drive(world: &mut World, script: &mut Script, begun: Duration, flow: &Flow) -> bool {
    let calm = script.is_over() && script.wake_after.is_none();
    let end = begun + flow.longest + Duration::from_hours(u64::from(!calm));
    let mut later: VecDeque<_> = flow.later.iter().map(|(after, act)| (begun + *after, *act)).collect();
    while world.time.elapsed() < end && world.oracle.violations().is_empty() {
        if later.front().is_some_and(|(at, _)| *at <= world.time.elapsed())
            && let Some((_, act)) = later.pop_front()
        {
            act(world);
        }
        if later.is_empty() && script.is_over() && world.is_quiet() && (flow.is_done)(world) {
            break;
        }
        // Between two events nobody would see that it is done.
        let until = later.front().map_or(end, |(at, _)| *at.min(&end)).min(world.time.elapsed() + NOTICE);
        world.turn(until, script).await;
        keep_alive(world, script).await;
        let sleeper = world.actors.iter().position(|a| a.is_alive() && a.is_frozen());
        if let (Some(sleeper), Some(wake_after)) = (sleeper, script.wake_after) {
            let slept_through: u64 = world.actors.iter().skip(sleeper + 1).map(|a| a.answered).sum();
            if slept_through >= wake_after {
                world.note(&format!("A{sleeper} wakes after {slept_through} calls of others"));
                if wake_after % 8 < 4 {
                    // As a machine that was paused: its clock on the wall stands where it stood, or before.
                    world.actors[sleeper].clock.set_error(-SignedDuration::from_hours(1));
                }
                if wake_after % 2 == 1 {
                    script.hasty = Some((sleeper, HASTE));
                }
                world.actors[sleeper].wake();
            }
        }
    }
    world.actors.iter().any(|a| a.is_alive() && a.is_frozen())
}

/// A process that died is started again; with a Lease there are always two.
pub async fn keep_alive(world: &mut World, director: &mut dyn Director) {
    if world.lease().is_some() {
        world.start_all();
    } else if !world.actors.iter().any(crate::actor::Actor::is_alive) {
        world.run_for(RESTART, director).await;
        world.start_operator();
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
    for actor in &world.actors {
        actor.clock.set_error(SignedDuration::ZERO);
    }
    loop {
        keep_alive(world, &mut Calm).await;
        world.run_for(LOOK, &mut Calm).await;
        if !world.oracle.violations().is_empty() {
            return Vec::new();
        }
        let oracle = &world.oracle;
        let left = unrest(&world.api, &world.iam, oracle, world.time.now());
        if left.is_empty() {
            return Vec::new();
        }
        if world.time.elapsed() >= end {
            return left.into_iter().map(|u| format!("Convergence: {}", u.0)).collect();
        }
    }
}
