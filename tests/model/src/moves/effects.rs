//! The effects of production steps, as the controller's `act` takes them.

use keywheel::defect;

use super::passes::Stepping;
use super::{Kind, Move};
use crate::actor::{Decided, Effect, Memory, Pc, Publish, Record, Who};
use crate::faults::Fault;
use crate::invariants::{self, Violation};
use crate::names::Key;
use crate::world::{Consumer, Life, OnWire, Staging, World};

/// Takes the effect that was decided. What follows in the same step is the write of the status.
pub(super) fn act(on: &mut Stepping<'_>, decided: &Decided) {
    match &decided.effect {
        Effect::AddFinalizer => finalizer(on, decided, Life::Living, "adds finalizer"),
        Effect::RemoveFinalizer => finalizer(on, decided, Life::Gone, "removes finalizer"),
        Effect::WriteStatus => {
            if defect!(NoIntent) && opens(on, decided) {
                return create_first(on, decided);
            }
            super::passes::write_status(on, &record(decided, true, false), decided.rule);
        }
        Effect::Create(nonce) => create(on, decided, *nonce),
        Effect::Publish(publish) => write_secret(on, decided, publish),
        Effect::Unstage(nonce) => {
            let mut world = on.world.clone();
            let cr = on.cr();
            let gone = world.crs[cr].staged.iter().find(|s| s.nonce == *nonce).map(|s| s.key);
            world.crs[cr].staged.retain(|s| s.nonce != *nonce);
            world.actors[on.i].pc = then_record(on, decided, false);
            on.push(on.label("deletes staging Secret of", decided.rule, gone), world);
        }
        Effect::Fence => {
            let mut world = on.world.clone();
            if !defect!(FenceOnPaper) {
                world.secret_written(on.cr(), Some(on.i));
            }
            world.actors[on.i].pc = then_record(on, decided, false);
            on.push(on.label("rewrites Secret: fence", decided.rule, None), world);
        }
        Effect::DeleteSecret => {
            let mut world = on.world.clone();
            let gone = world.crs[on.cr()].secret.as_ref().map(|s| s.key);
            world.set_secret(on.cr(), None, Some(on.i));
            world.actors[on.i].pc = then_record(on, decided, false);
            on.push(on.label("deletes Secret with", decided.rule, gone), world);
        }
        Effect::Enable(key) => at_backend(on, decided, *key, "enables", |world, key| {
            if let Some(found) = world.key_mut(key) {
                found.enabled = true;
            }
            None
        }),
        Effect::Disable(key) => {
            let (cr, overlaps) = (on.cr(), on.overlaps);
            at_backend(on, decided, *key, "disables", |world, key| {
                let broken = invariants::ending(world, cr, key, overlaps);
                if let Some(found) = world.key_mut(key) {
                    found.enabled = false;
                }
                broken
            });
        }
        Effect::Delete(key) => {
            let (cr, overlaps) = (on.cr(), on.overlaps);
            at_backend(on, decided, *key, "deletes", |world, key| {
                let broken = invariants::ending(world, cr, key, overlaps);
                world.keys.retain(|k| k.key != key);
                broken
            });
        }
    }
}

fn record(decided: &Decided, alone: bool, after_backend: bool) -> Record {
    Record { after: decided.after.clone(), cr_fresh: decided.cr_fresh, alone, ends: false, after_backend }
}

/// After an effect: its status, unless it is what was read.
fn then_record(on: &Stepping<'_>, decided: &Decided, after_backend: bool) -> Pc {
    if on.world.crs[on.cr()].status.as_ref() == Some(&decided.after) {
        Pc::Idle
    } else {
        Pc::Recording(Box::new(record(decided, false, after_backend)))
    }
}

/// Whether this status write opens an attempt.
fn opens(on: &Stepping<'_>, decided: &Decided) -> bool {
    let before = on.world.crs[on.cr()].status.as_ref().is_some_and(|s| s.pending.is_some());
    decided.after.pending.is_some() && !before
}

fn finalizer(on: &mut Stepping<'_>, decided: &Decided, life: Life, what: &'static str) {
    let mut world = on.world.clone();
    world.crs[on.cr()].life = life;
    world.cr_written(on.cr(), Some(on.i));
    world.actors[on.i].pc = Pc::Idle;
    world.actors[on.i].memory.own_finalizer = life == Life::Living;
    if life == Life::Gone {
        world.actors[on.i].forget();
        let gone = &mut world.crs[on.cr()];
        gone.status = gone.status.as_ref().and_then(|s| crate::status::reported(s));
    }
    on.push(on.label(what, decided.rule, None), world);
}

/// A call that ends or enables a key. A refused one ends the reconcile.
fn at_backend(
    on: &mut Stepping<'_>,
    decided: &Decided,
    key: Key,
    what: &'static str,
    apply: impl FnOnce(&mut World, Key) -> Option<Violation>,
) {
    let mut world = on.world.clone();
    if world.is_denied() && defect!(Denied404) {
        world.actors[on.i].pc = then_record(on, decided, true);
        return on.push(on.label("takes a 403 for a 404:", decided.rule, Some(key)), world);
    }
    if world.is_denied() {
        world.actors[on.i].forget();
        return on.push(on.label("is refused by the backend", decided.rule, Some(key)), world);
    }
    let violation = apply(&mut world, key);
    world.actors[on.i].pc = then_record(on, decided, true);
    let label = on.label(what, decided.rule, Some(key));
    on.out.push(Move { label, kind: Kind::Works, world, violation });
}

/// The one request of an attempt: answered, refused, or lost on the way.
fn create(on: &mut Stepping<'_>, decided: &Decided, nonce: u8) {
    let cr = on.cr();
    let mut world = on.world.clone();
    let memory = Memory { sent: Some(nonce), ..world.actors[on.i].memory.clone() };
    world.actors[on.i].memory = memory;
    world.actors[on.i].pc = Pc::Idle;
    if world.is_denied() {
        world.actors[on.i].memory.refused = true;
        return on.push(on.label("create is refused", decided.rule, None), world);
    }
    let key = unused(&world, cr, nonce);
    let violation = invariants::count_create(&mut world, cr);
    let since = on.world.crs[cr].status.as_ref().and_then(|s| {
        let pending = s.pending.iter().map(|p| (&p.nonce, p.backend_time));
        let mut open = pending.chain(s.lost.iter().map(|l| (&l.nonce, l.backend_time)));
        open.find(|(n, _)| **n == crate::names::nonce(nonce)).map(|(_, at)| crate::time::of(at))
    });
    if world.budget.allows(Fault::Lost) && on.struck {
        let mut world = world.clone();
        world.wire.push(OnWire { key, since: since.unwrap_or(0) });
        world.actors[on.i].memory.refused = defect!(UnknownIsRefusal);
        super::environment::spend(&mut world, Fault::Lost);
        let label = on.label("FAULT create gets no answer", decided.rule, Some(key));
        on.out.push(Move { label, kind: Kind::Fails, world, violation });
    }
    world.mint(key, !on.lists_lag);
    // The object as it was read: the status that this very reconcile has written.
    let attempt = u8::try_from(decided.after.attempt).expect("few attempts");
    world.actors[on.i].pc = Pc::Answered { nonce, attempt, key };
    let label = on.label("create is answered", decided.rule, Some(key));
    on.out.push(Move { label, kind: Kind::Works, world, violation });
}

/// Wrong variant: the request leaves first, the intent is written afterwards.
fn create_first(on: &mut Stepping<'_>, decided: &Decided) {
    let cr = on.cr();
    let pending = decided.after.pending.as_ref().expect("it opens an attempt");
    let nonce = crate::names::parse_nonce(&pending.nonce).expect("a nonce of the model");
    let mut world = on.world.clone();
    let key = unused(&world, cr, nonce);
    world.mint(key, true);
    world.crs[cr].next = world.crs[cr].next.max(nonce + 1);
    world.actors[on.i].pc = Pc::Recording(Box::new(record(decided, true, true)));
    on.push(on.label("create is answered before its intent", decided.rule, Some(key)), world);
}

/// The attempt's key; a second request of the same attempt makes another one.
fn unused(world: &World, cr: usize, nonce: u8) -> Key {
    let is_used = |key: &Key| {
        world.key(*key).is_some()
            || world.wire.iter().any(|w| w.key == *key)
            || world.is_published(*key)
            || world.crs[cr].staged.iter().any(|s| s.key == *key)
    };
    (0..3).map(|copy| Key::of(cr, nonce, copy)).find(|key| !is_used(key)).unwrap_or(Key::of(cr, nonce, 3))
}

/// The answer goes into its staging Secret first of all. A name that is taken is our own first try: nobody else knows it.
pub(super) fn stage(on: &mut Stepping<'_>, nonce: u8, attempt: u8, key: Key) {
    let mut world = on.world.clone();
    world.actors[on.i].pc = Pc::Idle;
    let staged = &mut world.crs[on.cr()].staged;
    if staged.iter().any(|s| s.nonce == nonce) {
        return on.push(on.label("staging Secret is there already for", "8a", Some(key)), world);
    }
    let created = on.world.key(key).map_or(crate::time::ANCIENT, |k| k.created);
    let mut staging = Staging { nonce, attempt, key, created };
    staging.age(0);
    staged.push(staging);
    staged.sort_by_key(|s| s.nonce);
    on.push(on.label("stages", "8a", Some(key)), world);
}

/// The consumer Secret: a guarded replacement, or a first POST, which needs the Lease.
fn write_secret(on: &mut Stepping<'_>, decided: &Decided, publish: &Publish) {
    let cr = on.cr();
    let mut world = on.world.clone();
    world.actors[on.i].pc = Pc::Idle;
    let blind = on.actor().who == Who::Old && world.deposed && !defect!(PostWithoutLease);
    let goes = if decided.had_secret {
        world.crs[cr].secret.is_some()
    } else {
        world.crs[cr].secret.is_none() && !blind
    };
    if !goes {
        return on.push(on.label("publish fails:", decided.rule, Some(publish.key)), world);
    }
    let secret = Consumer {
        key: publish.key,
        attempt: publish.attempt,
        published: publish.published,
        ledger: publish.ledger.clone(),
        readable: true,
        intact: true,
        put_back: false,
    };
    world.set_secret_late(cr, Some(secret), Some(on.i), publish.published);
    world.actors[on.i].pc = then_record(on, decided, false);
    let what = if decided.had_secret { "PUTs Secret with" } else { "POSTs Secret with" };
    on.push(on.label(what, decided.rule, Some(publish.key)), world);
}
