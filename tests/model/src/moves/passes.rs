//! A process reads, asks the plan, and writes what the plan foresees.

use keywheel::api::v1alpha1::ServiceAccountKeyStatus as Status;
use keywheel::defect;

use super::{Kind, Label, Move, Mover};
use crate::actor::{Actor, Decided, Effect, Listing, Memory, Need, Pass, Pc, Record, SecretRead, Seen, Who};
use crate::faults::Fault;
use crate::names::{self, Key};
use crate::observe::{self, Terms, Wanted};
use crate::shared::Shared;
use crate::world::{Cr, Life, World};

/// One step of a process: collects the outcomes.
pub(super) struct Stepping<'a> {
    pub(super) world: &'a World,
    pub(super) i: usize,
    /// Whether lists may miss a key that was just made.
    pub(super) lists_lag: bool,
    /// Whether anything fails at this object.
    pub(super) struck: bool,
    /// Whether a replaced key is owed an overlap.
    pub(super) overlaps: bool,
    pub(super) out: &'a mut Vec<Move>,
}

impl Stepping<'_> {
    pub(super) fn actor(&self) -> &Actor {
        &self.world.actors[self.i]
    }

    pub(super) fn cr(&self) -> usize {
        self.actor().cr
    }

    pub(super) fn label(&self, what: &'static str, rule: &'static str, key: Option<Key>) -> Label {
        let actor = self.actor();
        Label { by: Some((actor.who, actor.cr)), what, rule, key }
    }

    pub(super) fn push(&mut self, label: Label, world: World) {
        self.out.push(Move { label, kind: Kind::Works, world, violation: None });
    }
}

impl Mover {
    pub(super) fn single_step(&mut self, world: &World, i: usize, out: &mut Vec<Move>) {
        let Terms { lists_lag, overlaps, struck, .. } = self.planner.terms();
        let struck = struck[world.actors[i].cr];
        let mut on = Stepping { world, i, lists_lag, struck, overlaps, out };
        match &world.actors[i].pc {
            Pc::Idle => begin(&mut on),
            Pc::HasSecret(read) => self.read_object(&mut on, read),
            Pc::HasObject(pass) => self.read_secret_last(&mut on, pass),
            Pc::Asked(pass, need) => self.answer(&mut on, pass, *need),
            Pc::Acting(decided) => super::effects::act(&mut on, decided),
            Pc::Answered { nonce, attempt, key } => super::effects::stage(&mut on, *nonce, *attempt, *key),
            Pc::Recording(record) => write_status(&mut on, record, ""),
        }
    }

    /// Whether the next step has one outcome, and a crash right before it is no other than one before this pass.
    pub(super) fn is_certain(&self, world: &World, i: usize) -> bool {
        let sibling = world.crs.get(1 - world.actors[i].cr).is_some_and(Cr::exists);
        match &world.actors[i].pc {
            Pc::HasSecret(_) | Pc::HasObject(_) | Pc::Asked(_, Need::Confirm | Need::SecretProof) => true,
            // A sibling may act between the list and what rests on it; a late request may come before it.
            Pc::Asked(_, Need::Keys) => {
                self.calm || (!sibling && world.wire.is_empty() && world.keys.iter().all(|k| k.listed))
            }
            // Whoever acts between the two reads moves its claims from one to the other.
            Pc::Asked(_, Need::Siblings) => self.calm || !sibling,
            Pc::Asked(_, Need::Proof(_)) => !world.budget.allows(Fault::Refuse),
            Pc::Acting(decided) => matches!(
                decided.effect,
                Effect::AddFinalizer
                    | Effect::RemoveFinalizer
                    | Effect::WriteStatus
                    | Effect::Unstage(_)
                    | Effect::Fence
                    | Effect::DeleteSecret
            ),
            Pc::Recording(record) => !record.after_backend,
            Pc::Idle | Pc::Answered { .. } => false,
        }
    }

    /// Wrong variant: the Secret after the object.
    fn read_secret_last(&mut self, on: &mut Stepping<'_>, pass: &Pass) {
        let view = on.world.crs[on.cr()].secret.clone();
        let pass = Pass { secret: SecretRead { view, fresh: true }, ..pass.clone() };
        self.think(on, on.world.clone(), pass, "reads Secret last");
    }

    /// The object and its staging Secrets, then the plan.
    fn read_object(&mut self, on: &mut Stepping<'_>, read: &SecretRead) {
        let cr = &on.world.crs[on.cr()];
        let mut world = on.world.clone();
        if !cr.exists() {
            world.actors[on.i].forget();
            return on.push(on.label("reads CR: gone", "", None), world);
        }
        let pass = object_read(cr, read.clone());
        self.think(on, world, pass, "reads CR");
    }

    /// An answer to what the plan asked for, then the plan again.
    fn answer(&mut self, on: &mut Stepping<'_>, pass: &Pass, need: Need) {
        let mut world = on.world.clone();
        match need {
            Need::Confirm => {
                if !pass.secret.fresh && !defect!(NoConfirm) {
                    world.actors[on.i].pc = Pc::Idle;
                    return on.push(on.label("reads Secret again: changed", "", None), world);
                }
                let pass = Pass { confirmed: true, ..pass.clone() };
                self.think(on, world, pass, "reads Secret again: unchanged");
            }
            Need::Keys => self.list(on, pass),
            Need::Siblings => {
                let (told, what) = match &pass.told {
                    None => (observe::objects(&world, on.cr()), "reads the other objects"),
                    Some(told) => (observe::secrets(&world, on.cr(), told), "reads the others' Secrets"),
                };
                let whole = told.whole;
                let pass = Pass { told: Some(told), ..pass.clone() };
                if whole {
                    return self.think(on, world, pass, what);
                }
                world.actors[on.i].pc = Pc::Asked(Box::new(pass), need);
                on.push(on.label(what, "", None), world);
            }
            Need::SecretProof => {
                let Some(key) = pass.secret.view.as_ref().map(|secret| secret.key) else {
                    panic!("a proof of a Secret that is not there")
                };
                let pass = Pass { secret_proof: Some(exchange(&world, key)), ..pass.clone() };
                self.think(on, world, pass, "token exchange with the Secret's credential");
            }
            Need::Proof(nonce) => {
                let Some(key) = pass.staged.iter().find(|s| s.nonce == nonce).map(|s| s.key) else {
                    panic!("a proof of what is not staged")
                };
                let seen = exchange(&world, key);
                if seen == Seen::Accepted && world.budget.allows(Fault::Refuse) {
                    let mut world = on.world.clone();
                    super::environment::spend(&mut world, Fault::Refuse);
                    let pass = Pass { proof: Some(Seen::Refused), ..pass.clone() };
                    self.think_as(on, world, pass, "FAULT token exchange: not known yet", Kind::Fails);
                }
                if seen == Seen::Accepted {
                    world.key_mut(key).expect("enabled").accepted = true;
                    world.actors[on.i].memory.proved = Some(nonce);
                }
                let pass = Pass { proof: Some(seen), ..pass.clone() };
                self.think(on, world, pass, "token exchange");
            }
        }
    }

    /// The list of keys. One that was made a moment ago may be missing: its way into the lists is not seen before.
    fn list(&mut self, on: &mut Stepping<'_>, pass: &Pass) {
        if on.world.is_denied() {
            let pass = Pass { keys: Some(Listing::Unreadable), ..pass.clone() };
            return self.think(on, on.world.clone(), pass, "lists keys: 403");
        }
        let mut outcomes = vec![on.world.clone()];
        for hidden in on.world.keys.iter().filter(|k| !k.listed) {
            for mut world in outcomes.clone() {
                world.key_mut(hidden.key).expect("it is there").listed = true;
                outcomes.push(world);
            }
        }
        for world in outcomes {
            let listed = world.keys.iter().filter(|k| k.listed);
            let keys = listed.map(|k| (k.key, k.created, k.enabled)).collect();
            let pass = Pass { keys: Some(Listing::Keys { at: 0, keys }), ..pass.clone() };
            self.think(on, world, pass, "lists keys");
        }
    }

    fn think(&mut self, on: &mut Stepping<'_>, world: World, pass: Pass, what: &'static str) {
        self.think_as(on, world, pass, what, Kind::Works);
    }

    /// Asks the plan and keeps its answer.
    fn think_as(
        &mut self,
        on: &mut Stepping<'_>,
        mut world: World,
        pass: Pass,
        what: &'static str,
        kind: Kind,
    ) {
        let cr = on.cr();
        let actor = &mut world.actors[on.i];
        let decision =
            self.planner.decide(cr, &pass, &actor.memory, fresh_nonce(&on.world.crs[cr], actor.who));
        let label = Label { by: Some((actor.who, cr)), what, rule: decision.rule, key: None };
        match decision.next {
            Wanted::Need(need) => actor.pc = Pc::Asked(Box::new(pass), need),
            Wanted::Effect(effect) => {
                actor.pc = Pc::Acting(Box::new(Decided {
                    rule: decision.rule,
                    effect,
                    after: decision.after,
                    cr_fresh: pass.cr_fresh,
                    had_secret: pass.secret.view.is_some(),
                    secret_fresh: pass.secret.fresh,
                }));
            }
            Wanted::Wait
                if pass.status.as_ref() == Some(&decision.after) || is_empty(&pass, &decision.after) =>
            {
                actor.forget();
            }
            Wanted::Wait => {
                actor.pc = Pc::Recording(Box::new(Record {
                    after: decision.after,
                    cr_fresh: pass.cr_fresh,
                    alone: false,
                    ends: true,
                    after_backend: false,
                }));
            }
        }
        on.out.push(Move { label, kind, world, violation: None });
    }
}

/// The attempt that is open.
pub(super) fn open_attempt(cr: &Cr) -> Option<u8> {
    let pending = cr.status.as_ref().and_then(|s| s.pending.as_ref())?;
    names::parse_nonce(&pending.nonce)
}

/// A status with nothing but conditions, which the model leaves out.
fn is_empty(pass: &Pass, after: &Shared<Status>) -> bool {
    pass.status.is_none() && after.attempt == 0 && after.keys.is_empty() && after.pending.is_none()
}

/// Names are random, so that two processes never choose the same.
fn fresh_nonce(cr: &Cr, who: Who) -> u8 {
    // Of two intents one fails on its guard. Where a wrong variant writes without one, their names must differ.
    let apart = u8::from(defect!(BlindStatus) && who == Who::New);
    (cr.next + apart).min(names::ATTEMPTS)
}

/// What the token endpoint says about a key.
fn exchange(world: &World, key: Key) -> Seen {
    match (world.is_denied(), world.key(key).is_some_and(|k| k.enabled)) {
        (true, _) => Seen::Unavailable,
        (false, true) => Seen::Accepted,
        (false, false) => Seen::Refused,
    }
}

/// The object and its staging Secrets were read.
fn object_read(cr: &Cr, secret: SecretRead) -> Pass {
    Pass {
        secret,
        life: cr.life,
        status: cr.status.clone(),
        cr_fresh: true,
        staged: cr.staged.clone(),
        keys: None,
        told: None,
        proof: None,
        secret_proof: None,
        confirmed: false,
    }
}

/// The consumer Secret is read first.
fn begin(on: &mut Stepping<'_>) {
    let mut world = on.world.clone();
    let cr = on.cr();
    if defect!(ReadOrder) && world.crs[cr].exists() {
        let pass = object_read(&world.crs[cr], SecretRead { view: None, fresh: true });
        world.actors[on.i].pc = Pc::HasObject(Box::new(pass));
        return on.push(on.label("reads CR first", "", None), world);
    }
    let view = world.crs[cr].secret.clone();
    if on.actor().who == Who::Old && world.deposed {
        world.blind_passes -= 1;
    }
    world.actors[on.i].pc = Pc::HasSecret(SecretRead { view, fresh: true });
    on.push(on.label("reads Secret", "", None), world);
}

/// The guarded write of a status.
pub(super) fn write_status(on: &mut Stepping<'_>, record: &Record, rule: &'static str) {
    let cr = on.cr();
    let mut world = on.world.clone();
    let opened = record.after.pending.as_ref().filter(|_| record.alone);
    let known = on.world.crs[cr].status.as_ref().and_then(|s| s.pending.as_ref());
    let opened = opened.filter(|p| known.is_none_or(|k| k.nonce != p.nonce));
    let opened = opened.and_then(|p| names::parse_nonce(&p.nonce));
    let actor = &mut world.actors[on.i];
    actor.pc = Pc::Idle;
    if record.ends {
        actor.forget();
    }
    if let Some(nonce) = opened {
        actor.memory = Memory { own_intent: Some(nonce), ..Memory::default() };
        world.crs[cr].next = world.crs[cr].next.max(nonce + 1);
    }
    if matches!(world.crs[cr].life, Life::Living | Life::Deleting | Life::New) {
        world.crs[cr].status = Some(record.after.clone());
    }
    world.cr_written(cr, Some(on.i));
    let what = match (opened, record.ends) {
        (Some(_), _) => "writes status: intent",
        (None, true) => "writes status and waits",
        (None, false) => "writes status",
    };
    let key = opened.map(|nonce| Key::of(cr, nonce, 0));
    on.push(on.label(what, rule, key), world);
}

/// A guarded write on a stale read can only fail: it does so at once, and all is read again. The conflict of the write
/// that ends a reconcile ends it too.
pub(super) fn fail_doomed(actor: &mut Actor) {
    let blind_status = defect!(BlindStatus);
    match &actor.pc {
        Pc::Recording(record) if !record.cr_fresh && !blind_status => {
            if record.ends {
                actor.forget();
            } else {
                actor.pc = Pc::Idle;
            }
        }
        Pc::Asked(pass, Need::Confirm) if !pass.secret.fresh && !defect!(NoConfirm) => actor.pc = Pc::Idle,
        Pc::Acting(decided) => {
            let doomed = match &decided.effect {
                Effect::AddFinalizer | Effect::RemoveFinalizer => !decided.cr_fresh,
                Effect::WriteStatus => !decided.cr_fresh && !blind_status,
                Effect::Publish(_) => !decided.secret_fresh && !defect!(BlindPublish),
                Effect::Fence | Effect::DeleteSecret => !decided.secret_fresh,
                Effect::Create(_)
                | Effect::Unstage(_)
                | Effect::Enable(_)
                | Effect::Disable(_)
                | Effect::Delete(_) => false,
            };
            if doomed {
                actor.pc = Pc::Idle;
            }
        }
        _ => {}
    }
}
