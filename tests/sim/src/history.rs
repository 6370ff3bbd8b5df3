//! A long history: many keys on few accounts, people who do what people do, and faults at random. It follows from a
//! seed, and any part of it can be left out: so a failing one is made small.

mod chaos;
mod strays;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use keywheel::domain::Capabilities;

use self::chaos::Chaos;
use self::strays::{strays, use_stray};
use crate::actor::Actor;
use crate::case::{come_to_rest, in_own_time, keep_alive, timing};
use crate::fate::{Calm, Fate, Loss, No};
use crate::iam::{Maker, short};
use crate::people::{self, Deed, Use};
use crate::random::Dice;
use crate::stage::NAMESPACE;
use crate::world::{Setup, World};

/// How long a history lasts before everything calms down.
const LENGTH: Duration = Duration::from_hours(46);

/// Something that happens in a history.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A person does something.
    Deed(Duration, Deed),
    /// A call meets a fate: the first one after this moment, or the first one that changes something.
    Fault(Duration, bool, Fate),
    /// The creation of an account meets a fate: the first one after this moment. A person uses what came of it as soon as it
    /// is there, if it is recorded nowhere.
    Stray(Duration, Fate, Option<Use>),
    /// A process misses what it would have heard for so long.
    Deaf(Duration, Duration),
    /// The process that works gets no time for so long. With a Lease another one takes over.
    Sleep(Duration, Duration),
    /// Calls of one process about the Lease are lost for so long: it goes on working until it must stop.
    CutOff(Duration, Duration),
    /// The clock of the running process is wrong by so much from now on.
    Clock(Duration, SignedDuration),
    /// The backend shows new keys this much later from now on.
    Lag(Duration, Duration, Duration),
}

impl Happening {
    /// When it happens.
    pub fn at(&self) -> Duration {
        match self {
            Self::Deed(at, _)
            | Self::Fault(at, ..)
            | Self::Stray(at, ..)
            | Self::Deaf(at, _)
            | Self::Sleep(at, _)
            | Self::CutOff(at, _)
            | Self::Clock(at, _)
            | Self::Lag(at, ..) => *at,
        }
    }
}

/// A history.
#[derive(Clone, Debug)]
pub struct History {
    /// Everything follows from it.
    pub seed: u64,
    /// How many keys there are at the beginning.
    pub keys: usize,
    /// How long the Lease lasts that two processes compete for, if they do.
    pub lease: Option<Duration>,
    /// What happens, in order.
    pub happenings: Vec<Happening>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What did not hold.
    pub violations: Vec<String>,
    /// What happened.
    pub trace: Vec<String>,
    /// Equal for equal runs only.
    pub digest: String,
    /// Calls that were made.
    pub calls: u64,
    /// Keys that were made.
    pub keys_made: usize,
}

impl History {
    /// The history of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let keys = 1 + index(dice.below(6));
        let count = 6 + dice.below(20);
        let mut happenings: Vec<Happening> = (0..count).map(|_| happening(&mut dice, keys)).collect();
        if seed.is_multiple_of(3) {
            happenings.extend(strays(&mut Dice::new(seed, 3), keys));
        }
        happenings.sort_by_key(Happening::at);
        // Shorter ones are renewed so often that little else can be simulated.
        let lease = (!dice.one_in(2)).then(|| Duration::from_secs(*dice.pick(&[900, 1800])));
        Self { seed, keys, lease, happenings }
    }

    /// What the backend can do. The embedded server can tell which key an attempt made, Google cannot; and each third history
    /// has the backend that can do least.
    fn can(&self) -> Capabilities {
        match self.seed % 6 {
            0 | 3 => Capabilities::disruptive(),
            kind => Capabilities { names_attempts: kind % 2 == 0, ..crate::iam::google() },
        }
    }

    /// The same with only these of its happenings.
    #[must_use]
    pub fn only(&self, kept: &BTreeSet<usize>) -> Self {
        let happenings =
            self.happenings.iter().enumerate().filter(|(i, _)| kept.contains(i)).map(|(_, h)| h.clone());
        Self { happenings: happenings.collect(), ..self.clone() }
    }

    /// Lets it happen.
    pub fn run(&self) -> Judgement {
        in_own_time(self.clone().play())
    }

    async fn play(self) -> Judgement {
        let mut world = World::with_backend(Setup {
            timing: timing(),
            lease: self.lease,
            // The embedded server can tell, Google cannot.
            can: self.can(),
            ..Setup::new(self.seed)
        });
        let clocks_move = self.happenings.iter().any(|h| matches!(h, Happening::Clock(..)));
        if clocks_move {
            // Two clocks may differ by as much before anything is held back, at both ends of an overlap.
            world.oracle.slack += world.timing().max_skew * 2;
        }
        for account in 0..=people::account_of(self.keys - 1) {
            let spec = people::account_spec_of(self.seed, account);
            world.create_account_with(&people::account_name(account), &spec);
        }
        // One without keys, which people delete and apply again.
        people::act(&mut world, &Deed::ApplyAccount(people::WITHOUT_KEYS));
        for key in 0..self.keys {
            let spec = people::spec(self.seed, key);
            world.create_key(&people::key_name(key), &people::account_name(people::account_of(key)), &spec);
        }
        world.start_all();
        let mut director = Chaos::new(self.seed);
        for happening in &self.happenings {
            let at = happening.at();
            while world.time.elapsed() < at && world.oracle.violations().is_empty() {
                world.turn(at, &mut director).await;
                use_stray(&mut world, &mut director);
                keep_alive(&mut world, &mut director).await;
                wake_sleepers(&mut world, &mut director);
            }
            happen(&mut world, &mut director, happening);
            use_stray(&mut world, &mut director);
        }
        while world.time.elapsed() < LENGTH && world.oracle.violations().is_empty() {
            world.turn(LENGTH, &mut director).await;
            use_stray(&mut world, &mut director);
            keep_alive(&mut world, &mut director).await;
            wake_sleepers(&mut world, &mut director);
        }
        self.judge(world, director).await
    }

    async fn judge(&self, mut world: World, mut director: Chaos) -> Judgement {
        director.wake_at = Some(Duration::ZERO);
        wake_sleepers(&mut world, &mut director);
        world.note("EVERYTHING CALMS DOWN");
        for actor in &world.actors {
            actor.clock.set_error(SignedDuration::ZERO);
        }
        world.iam.lag = crate::iam::Lag::default();
        people::put_right(&mut world);
        let mut violations = come_to_rest(&mut world).await;
        // Whatever happens can cost an attempt, and no more than one for each key.
        let wasted = world.oracle.wasted(&world.iam);
        let faults = usize::try_from(world.counts.faults).unwrap_or(usize::MAX);
        let others = self.happenings.iter().filter(|h| !matches!(h, Happening::Fault(..))).count();
        let happened = faults + others;
        if violations.is_empty() && wasted > happened * self.keys {
            violations.push(format!("No burn: {wasted} attempts led to nothing, {happened} things happened"));
        }
        if violations.is_empty() && world.oracle.violations().is_empty() {
            violations.extend(self.rest_is_quiet(&mut world).await);
        }
        // What the oracle says is the cause of all else.
        let said: Vec<String> = world.oracle.violations().iter().map(ToString::to_string).collect();
        violations.splice(0..0, said);
        Judgement {
            violations,
            trace: world.trace.lines().to_vec(),
            digest: world.trace.digest(),
            calls: world.calls(),
            keys_made: world.iam.keys.len(),
        }
    }

    /// A day of rest: nothing is written but what rotations and retirements cost.
    async fn rest_is_quiet(&self, world: &mut World) -> Option<String> {
        let rotations = |world: &World| -> u64 {
            world.api.with(|s| {
                let keys = s.store.list(crate::actor::Kind::Key.stored(), None);
                keys.filter_map(|(_, k)| k["status"]["rotations"].as_u64()).sum()
            })
        };
        // A look at everything, clocks that were set right included.
        world.run_for(Duration::from_mins(70), &mut Calm).await;
        let entries = |world: &World, list: &str| -> usize {
            let view = crate::oracle::View::of(&world.api);
            view.keys.iter().map(|k| k.list(list).count()).sum()
        };
        let suspects = |world: &World| entries(world, "suspects");
        let former_secrets = |world: &World| entries(world, "formerSecrets");
        let unmanaged = |world: &World| -> Vec<serde_json::Value> {
            world.api.with(|s| {
                let accounts = s.store.list(crate::actor::Kind::Account.stored(), None);
                accounts.map(|(_, a)| a["status"]["unmanagedKeys"].clone()).collect()
            })
        };
        // A key that waits for a place on its account says so each time that it asks in vain: that has no budget.
        let waiting: Vec<String> = world.api.with(|s| {
            let keys = s.store.list(crate::actor::Kind::Key.stored(), None);
            let failing = keys.filter(|(_, k)| k["status"]["failures"].as_u64().is_some_and(|n| n > 0));
            failing.map(|(place, _)| place.name.clone()).collect()
        });
        let (before, suspected, reported) = (rotations(world), suspects(world), unmanaged(world));
        let renamed = former_secrets(world);
        world.counts.reset();
        world.run_for(Duration::from_hours(24), &mut Calm).await;
        let shows_previous = world.api.with(|s| {
            let mut keys = s.store.list(crate::actor::Kind::Key.stored(), None);
            keys.any(|(_, k)| k["spec"]["secret"]["previous"] == true)
        });
        let turned = usize::try_from(rotations(world).saturating_sub(before)).unwrap_or(usize::MAX);
        let by_others = |w: &&String| !waiting.iter().any(|name| w.contains(name.as_str()));
        let writes = world.counts.api_writes.iter().filter(by_others).count();
        // Five a rotation; one for each key that is disabled or deleted, and one more where its credential is taken out of
        // the Secret before; one for each suspect that is gone by now; two for a Secret of a former name, one if it is gone already; one for each account that
        // reports other unmanaged keys, once no window can hold them any more.
        let endings = world.counts.iam_calls.iter();
        let endings: BTreeSet<_> =
            endings.filter(|c| c.contains("disable-key") || c.contains("delete-key")).collect();
        let ended = endings.len();
        let former = world.counts.api_writes.iter().filter(|w| w.starts_with("delete Secret key-")).count();
        // One that somebody deleted before is only crossed out.
        let crossed_out = renamed.saturating_sub(former_secrets(world)).max(former);
        let told = unmanaged(world).iter().zip(&reported).filter(|(now, before)| now != before).count();
        let gone = suspected.saturating_sub(suspects(world));
        let rewritten = world.counts.api_writes.iter().filter(|w| w.starts_with("update Secret ")).count();
        let taken_out = if shows_previous { rewritten.saturating_sub(turned).min(ended) } else { 0 };
        // Keys that nobody owns end where their account hands them over, which tells of them.
        let theirs = world.iam.keys.values().filter(|k| k.made_by == Maker::Person).map(|k| short(&k.id));
        let theirs = theirs.filter(|id| endings.iter().any(|call| call.contains(*id))).count();
        let told = told.max(theirs);
        let planned = turned * 5 + taken_out + former + crossed_out + ended + gone + told;
        (writes > planned).then(|| {
            format!(
                "Convergence: {writes} writes in a day of rest, {planned} of them planned: {:?}",
                world.counts.api_writes
            )
        })
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

fn happening(dice: &mut Dice, keys: usize) -> Happening {
    // Half of all that happens is close to when keys are made and rotated.
    let at = if dice.one_in(2) {
        let base = [0, 20, 40][index(dice.below(3))] * 3600;
        Duration::from_millis(base * 1000 + dice.below(300_000))
    } else {
        Duration::from_secs(dice.below(LENGTH.as_secs()))
    };
    let seconds = |n: u64| Duration::from_secs(n);
    match dice.below(22) {
        0..=6 => Happening::Deed(at, people::deed(dice, keys)),
        7 => Happening::Deaf(at, seconds(1 + dice.below(4000))),
        // Longer than a Lease, as often as not.
        8 | 9 => Happening::Sleep(at, seconds(16 + dice.below(2700))),
        10 => {
            // Half of the steps are too small to be noticed, half are hours.
            let small = i64::try_from(dice.below(540)).expect("a small number") - 270;
            let great = i64::try_from(dice.below(5)).expect("a small number") * 3600 - 7200;
            let error = if dice.one_in(2) { small } else { great };
            Happening::Clock(at, SignedDuration::from_secs(error))
        }
        11 => Happening::Lag(at, seconds(dice.below(600)), seconds(dice.below(90))),
        12 | 13 => Happening::CutOff(at, seconds(1 + dice.below(1800))),
        _ => Happening::Fault(at, !dice.one_in(4), fate(dice)),
    }
}

fn fate(dice: &mut Dice) -> Fate {
    let loss = *dice.pick(&[Loss::Reset, Loss::Silence, Loss::Failure]);
    match dice.below(10) {
        0 | 1 => Fate::CrashBefore,
        2 | 3 => Fate::CrashAfter,
        4 => Fate::CrashLate(Duration::from_secs(dice.below(55))),
        5 => Fate::LoseAnswer(loss),
        6 => Fate::LoseCall(loss),
        7 => Fate::Late(loss, Duration::from_secs(dice.below(55))),
        8 => Fate::Refuse(*dice.pick(&No::API)),
        _ => Fate::Stale(index(dice.below(600))),
    }
}

fn happen(world: &mut World, director: &mut Chaos, happening: &Happening) {
    match happening {
        Happening::Deed(_, deed) => people::act(world, deed),
        Happening::Fault(_, mutating, fate) => director.pending.push((*mutating, fate.clone())),
        Happening::Stray(_, fate, how) => director.strays.push((fate.clone(), *how)),
        Happening::Deaf(_, length) => director.deaf_until = world.time.elapsed() + *length,
        Happening::CutOff(_, length) => {
            let leader = world.actors.iter().find(|a| a.is_running() && a.leads()).map(|a| a.id);
            if let Some(leader) = leader.filter(|_| world.lease().is_some()) {
                world.note(&format!("A{leader} is cut off from the Lease for {length:?}"));
                director.cut_off = Some((leader, world.time.elapsed() + *length));
            }
        }
        Happening::Sleep(_, length) => {
            let works = |a: &&Actor| a.is_running() && a.controls;
            if let Some(actor) = world.actors.iter().find(works).map(|a| a.id) {
                world.note(&format!("A{actor} gets no time for {length:?}"));
                world.actors[actor].freeze();
                director.wake_at = Some(world.time.elapsed() + *length);
            }
        }
        Happening::Clock(_, error) => {
            world.note(&format!("the clock is set wrong by {error:?}"));
            // With a Lease: that of the process that works, on its own machine.
            let alone = world.lease().is_none();
            for actor in world.actors.iter().filter(|a| a.is_alive() && (alone || a.leads())) {
                actor.clock.set_error(*error);
            }
        }
        Happening::Lag(_, list, token) => world.iam.lag = crate::iam::Lag { list: *list, token: *token },
    }
    director.now = world.time.elapsed();
}

fn wake_sleepers(world: &mut World, director: &mut Chaos) {
    director.now = world.time.elapsed();
    if director.wake_at.is_some_and(|at| at <= director.now) {
        director.wake_at = None;
        let asleep: Vec<usize> =
            world.actors.iter().filter(|a: &&Actor| a.is_alive() && a.is_frozen()).map(|a| a.id).collect();
        for actor in asleep {
            world.note(&format!("A{actor} wakes"));
            world.actors[actor].wake();
        }
    }
}

/// The namespace in which histories happen.
pub const WHERE: &str = NAMESPACE;
