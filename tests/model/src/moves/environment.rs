//! What happens without any process: requests arrive, lists catch up, time passes, things fail, users act.

use keywheel::api::v1alpha1::KeyPhase;

use super::{Kind, Label, Move, Mover};
use crate::actor::{Actor, Effect, Pc, Who};
use crate::faults::Fault;
use crate::names::Key;
use crate::shared::Shared;
use crate::status::{Op, moments};
use crate::time::{self, HORIZON, LAG, LEAP, OVERLAP, Time};
use crate::world::{Consumer, Life, World};

/// Long enough to outlast every window.
const LONGEST_DENIAL: Time = HORIZON + LAG + 3;

fn label(what: &'static str, key: Option<Key>) -> Label {
    Label { by: None, what, rule: "", key }
}

/// A fault happens; it may cost an attempt, of each object.
pub(super) fn spend(world: &mut World, fault: Fault) {
    world.budget.spend(fault);
    if !fault.costs_an_attempt() {
        return;
    }
    for cr in world.crs.iter_mut().filter(|cr| cr.life != Life::Absent) {
        cr.allowed += 1;
    }
}

impl Mover {
    /// What happens by itself; the states after it are not in their canonical form yet.
    pub fn environment(&mut self, world: &World, out: &mut Vec<Move>) {
        let mut add = |kind, label, world| out.push(Move { label, kind, world, violation: None });
        // A late request is seen in a list, or by its age: it arrives right before one or the other.
        let seen = self.calm || !at_work(world) || world.actors.iter().any(Actor::is_listing);
        for wire in world.wire.iter().filter(|_| seen) {
            let mut after = world.clone();
            after.wire.retain(|w| w != wire);
            add(Kind::Settles, label("request is never applied:", Some(wire.key)), after.clone());
            after.mint(wire.key, false);
            add(Kind::Settles, label("request is applied late:", Some(wire.key)), after);
        }
        if world.deposed && world.actors.iter().any(|a| a.who == Who::Old) {
            let mut after = world.clone();
            after.actors.retain(|a| a.who != Who::Old);
            add(Kind::Settles, label("the old leader ends", None), after);
        }
        if world.is_denied() {
            let mut after = world.clone();
            after.denied = 0;
            add(Kind::Settles, label("the backend answers again", None), after);
        }
        sweep(world, &mut add);
        if at_work(world) {
            return;
        }
        if let Some(after) = self.later(world) {
            out.push(Move {
                label: label("time passes", None),
                kind: Kind::Waits,
                world: after,
                violation: None,
            });
        }
    }

    /// The next moment at which anything changes. A request that was not applied by its time stops the clock.
    fn later(&mut self, world: &World) -> Option<World> {
        let looks = self.planner.terms().looks;
        let statuses = || world.crs.iter().filter_map(|cr| cr.status.as_ref());
        // When a key that no list shows counts as gone.
        let staged = world.crs.iter().flat_map(|cr| &cr.staged).map(|s| s.created + LAG + 1);
        let next: Option<Time> =
            statuses().flat_map(|s| moments(s, looks)).chain(staged.filter(|at| *at > 0)).min();
        let units = match next {
            Some(units) => units,
            None if statuses().any(|s| !s.unpublished_attempts.is_empty()) => LEAP,
            None => return None,
        };
        let requests = world.wire.iter().all(|w| w.since - units >= -HORIZON);
        if !requests || (world.is_denied() && world.denied <= units) {
            return None;
        }
        let mut after = world.clone();
        after.denied -= units.min(after.denied);
        for wire in &mut after.wire {
            wire.since -= units;
        }
        for key in &mut after.keys {
            key.created -= units.min(key.created - crate::time::ANCIENT);
            key.listed |= key.created < -LAG;
            key.served = key.served.map(|at| (at - units).max(-OVERLAP));
        }
        for cr in &mut after.crs {
            cr.status = cr.status.as_ref().map(|s| self.ops.apply(s, Op::Age(units)));
            cr.staged.iter_mut().for_each(|s| s.age(units));
            if let Some(secret) = &mut cr.secret {
                secret.age(units);
            }
        }
        for actor in &mut after.actors {
            actor.pc.age(units, &mut self.ops);
        }
        Some(after)
    }

    pub(super) fn faults(&mut self, world: &World, out: &mut Vec<Move>) {
        let mut add = |fault, label, mut world: World| {
            spend(&mut world, fault);
            out.push(Move { label, kind: Kind::Fails, world, violation: None });
        };
        if world.budget.allows(Fault::Slow)
            && at_work(world)
            && let Some(after) = self.later(world)
        {
            add(Fault::Slow, label("FAULT a step takes long: time passes", None), after);
        }
        let struck = self.planner.terms().struck;
        processes(world, struck, &mut add);
        at_backend(world, self.planner.terms().exclusive, &mut add);
        for cr in (0..2).filter(|cr| world.crs[*cr].exists() && struck[*cr]) {
            secrets(world, cr, &mut add);
            self.objects(world, cr, &mut add);
        }
    }

    /// Users and accidents at an object.
    fn objects(&mut self, world: &World, cr: usize, add: &mut impl FnMut(Fault, Label, World)) {
        let object = &world.crs[cr];
        let of = |first, second| label(if cr == 0 { first } else { second }, None);
        if world.budget.allows(Fault::Wipe) && object.life == Life::Living && object.status.is_some() {
            let mut after = world.clone();
            after.crs[cr].status = None;
            after.cr_written(cr, None);
            add(Fault::Wipe, of("FAULT the status of CR1 is lost", "FAULT the status of CR2 is lost"), after);
        }
        if world.budget.allows(Fault::DeleteCr) && object.life != Life::Deleting {
            let mut after = world.clone();
            after.crs[cr].life = if object.life == Life::New { Life::Gone } else { Life::Deleting };
            after.cr_written(cr, None);
            add(Fault::DeleteCr, of("USER deletes CR1", "USER deletes CR2"), after);
        }
        let turning = object.status.as_ref().filter(|s| s.next_rotation_time > Some(crate::time::at(0)));
        if let Some(status) =
            turning.filter(|_| world.budget.allows(Fault::Due) && object.life == Life::Living)
        {
            let mut after = world.clone();
            after.crs[cr].status = Some(self.ops.apply(status, Op::Due));
            // The time comes for everybody; nothing was written.
            after.cr_written(cr, None);
            add(Fault::Due, of("the rotation of CR1 is due", "the rotation of CR2 is due"), after);
        }
    }
}

/// Whether the leader is in the middle of a reconcile. Those take seconds; that one takes longer is a fault.
fn at_work(world: &World) -> bool {
    let leader = if world.deposed { Who::New } else { Who::Old };
    world.actors.iter().any(|a| a.who == leader && a.is_busy())
}

/// The account's controller ends what a CR that is gone has left staged: the key first, then the Secret.
fn sweep(world: &World, add: &mut impl FnMut(Kind, Label, World)) {
    for (i, cr) in world.crs.iter().enumerate().filter(|(_, cr)| cr.life == Life::Gone) {
        let Some(staged) = cr.staged.first() else { continue };
        let mut after = world.clone();
        if world.key(staged.key).is_some() && !world.is_published(staged.key) {
            after.keys.retain(|k| k.key != staged.key);
            add(Kind::Tidies, label("the account's controller deletes", Some(staged.key)), after);
        } else {
            after.crs[i].staged.retain(|s| s != staged);
            add(Kind::Tidies, label("the account's controller unstages", Some(staged.key)), after);
        }
    }
}

fn processes(world: &World, struck: [bool; 2], add: &mut impl FnMut(Fault, Label, World)) {
    if world.budget.allows(Fault::Crash) {
        for (i, actor) in world.actors.iter().enumerate() {
            // The end of a deposed one is no fault.
            if !actor.is_busy() || !struck[actor.cr] || (world.deposed && actor.who == Who::Old) {
                continue;
            }
            let mut after = world.clone();
            after.actors[i].forget();
            let what = match (actor.who, actor.cr) {
                (Who::Old, 0) => "FAULT crash of Old/CR1",
                (Who::Old, _) => "FAULT crash of Old/CR2",
                (Who::New, 0) => "FAULT crash of New/CR1",
                (Who::New, _) => "FAULT crash of New/CR2",
            };
            add(Fault::Crash, label(what, None), after);
        }
    }
    if world.budget.allows(Fault::Lease) && !world.deposed {
        let mut after = world.clone();
        after.deposed = true;
        after.actors.retain(|a| a.who == Who::New || struck[a.cr]);
        add(Fault::Lease, label("FAULT the leader is paused past its Lease", None), after);
    }
}

fn at_backend(world: &World, exclusive: bool, add: &mut impl FnMut(Fault, Label, World)) {
    if world.budget.allows(Fault::Revoke) {
        let ours = world.keys.iter().filter(|k| k.enabled && k.key.cr().is_some());
        let held = ours.filter(|k| {
            world.is_published(k.key) || world.crs.iter().any(|cr| cr.staged.iter().any(|s| s.key == k.key))
        });
        for key in held.map(|k| k.key) {
            let mut after = world.clone();
            after.keys.retain(|k| k.key != key);
            after.taken.push(key);
            add(Fault::Revoke, label("FAULT somebody deletes", Some(key)), after);
        }
    }
    let comes = world.budget.allows(Fault::Person) && world.key(Key::PERSON).is_none();
    if comes && !exclusive {
        let mut after = world.clone();
        after.mint(Key::PERSON, false);
        add(Fault::Person, label("USER makes a", Some(Key::PERSON)), after);
    }
    // On an account that is ours alone, what appears while an answer is lost is taken for ours: that is what exclusive
    // means. What a person made before is theirs also there, however late the lists show it.
    if comes && exclusive && !is_owed(world, -1) {
        let mut after = world.clone();
        after.mint(Key::PERSON, false);
        after.key_mut(Key::PERSON).expect("made").created = -1;
        add(Fault::Person, label("USER made, an hour ago, a", Some(Key::PERSON)), after);
    }
    if world.budget.allows(Fault::Deny) && !world.is_denied() {
        let mut after = world.clone();
        after.denied = LONGEST_DENIAL;
        add(Fault::Deny, label("FAULT the backend answers 403", None), after);
    }
}

/// Whether some attempt accounts for a key that was made at this time, or a process is about to open one.
fn is_owed(world: &World, at: Time) -> bool {
    let open = world.crs.iter().filter_map(|cr| cr.status.as_ref()).any(|status| {
        let pending = status.pending.iter().any(|p| time::of(p.backend_time) <= at);
        pending || status.lost.iter().any(|l| time::of(l.backend_time) <= at && at <= time::of(l.until))
    });
    open || world.actors.iter().any(Actor::is_busy)
}

/// What users do to the Secrets of a CR.
fn secrets(world: &World, cr: usize, add: &mut impl FnMut(Fault, Label, World)) {
    for staged in world.crs[cr].staged.iter().filter(|_| world.budget.allows(Fault::StagingGone)) {
        let mut after = world.clone();
        after.crs[cr].staged.retain(|s| s != staged);
        add(Fault::StagingGone, label("USER deletes the staging Secret of", Some(staged.key)), after);
    }
    let Some(secret) = &world.crs[cr].secret else { return };
    let key = Some(secret.key);
    let mut change = |fault, what, new: Option<Consumer>| {
        if world.budget.allows(fault) {
            let mut after = world.clone();
            after.set_secret(cr, new, None);
            add(fault, label(what, key), after);
        }
    };
    change(Fault::SecretGone, "USER deletes the Secret with", None);
    if secret.readable {
        let broken = Consumer { readable: false, intact: false, ..secret.clone() };
        change(Fault::SecretBroken, "USER breaks the Secret with", Some(broken));
    }
    if secret.intact {
        let changed = Consumer { intact: false, ..secret.clone() };
        change(Fault::SecretChanged, "USER changes the Secret with", Some(changed));
    }
    let Some(status) = world.crs[cr].status.as_ref().filter(|_| world.budget.allows(Fault::Restore)) else {
        return;
    };
    for old in status.keys.iter().filter(|k| k.phase == KeyPhase::Overlap) {
        let key = Key::parse(&old.id);
        let works = world.key(key).is_some_and(|k| k.enabled && k.accepted && k.served.is_some());
        // A user who comes between our last read and our call is out of everybody's reach.
        let ending = world.actors.iter().any(|a| match &a.pc {
            Pc::Acting(decided) => {
                matches!(decided.effect, Effect::Disable(k) | Effect::Delete(k) if k == key)
            }
            _ => false,
        });
        if !works || ending || secret.key == key || key.cr() != Some(cr) {
            continue;
        }
        let mut after = world.clone();
        let restored = Consumer {
            key,
            attempt: u8::try_from(old.attempt).expect("few attempts"),
            published: -OVERLAP,
            ledger: Shared::new(Vec::new()),
            readable: true,
            intact: true,
            put_back: true,
        };
        after.set_secret(cr, Some(restored), None);
        add(Fault::Restore, label("USER puts back the old Secret with", Some(key)), after);
    }
}
