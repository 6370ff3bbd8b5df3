//! What must hold after every step.

use crate::names::{Key, parse_nonce};
use crate::observe::Terms;
use crate::time::{self, OVERLAP, Time};
use crate::world::{Cr, Life, World};

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A key of ours that nothing accounts for.
    Leak,
    /// The Secret publishes a key that does not work, and nobody else ended it.
    Outage,
    /// The Secret publishes a key that was never proved.
    Unproved,
    /// A key was ended while a Secret publishes it.
    EndedWhilePublished,
    /// A key was ended within its overlap.
    EndedTooEarly,
    /// A key of a person, or one that another CR holds, was ended.
    Theft,
    /// More attempts than needed.
    Burn,
    /// With the faults over, the settled world is not reached, or does not stay.
    NoConvergence,
}

impl Violation {
    /// The invariant that is broken.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "Covered",
            Self::Outage | Self::Unproved => "No outage",
            Self::EndedWhilePublished | Self::EndedTooEarly => "No premature end",
            Self::Theft => "No theft",
            Self::Burn => "No burn",
            Self::NoConvergence => "Convergence",
        }
    }

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Leak => "LEAK: a key of ours that no ledger, Secret or open attempt accounts for",
            Self::Outage => "OUTAGE: the Secret publishes a key that does not work",
            Self::Unproved => "OUTAGE: the Secret publishes a key that was never accepted",
            Self::EndedWhilePublished => "PREMATURE END: a Secret still publishes the key",
            Self::EndedTooEarly => "PREMATURE END: the overlap of the key is not over",
            Self::Theft => "THEFT: the key of a person or of another CR",
            Self::Burn => "BURN: more attempts than needed",
            Self::NoConvergence => "NO CONVERGENCE: with the faults over, the settled world is not reached",
        }
    }
}

/// What a state violates.
pub fn broken(world: &World) -> Option<Violation> {
    world.crs.iter().find_map(|cr| outage(world, cr)).or_else(|| leak(world))
}

/// No outage.
fn outage(world: &World, cr: &Cr) -> Option<Violation> {
    let secret = cr.secret.as_ref().filter(|s| s.readable)?;
    if world.taken.contains(&secret.key) {
        return None;
    }
    match world.key(secret.key) {
        Some(key) if key.enabled && key.accepted => None,
        Some(key) if key.enabled => Some(Violation::Unproved),
        _ => Some(Violation::Outage),
    }
}

/// Covered.
fn leak(world: &World) -> Option<Violation> {
    world.keys.iter().any(|k| !is_covered(world, k.key, k.created)).then_some(Violation::Leak)
}

fn is_covered(world: &World, key: Key, created: Time) -> bool {
    let Some(owner) = key.cr() else { return true };
    let id = key.id();
    let held = world.crs.iter().any(|cr| {
        let known = cr.status.as_ref().map_or(wiped(cr), |status| {
            status.keys.iter().any(|k| k.id == id) || status.suspects.iter().any(|s| s.id == id)
        });
        let stored =
            cr.secret.as_ref().is_some_and(|s| s.key == key) || cr.staged.iter().any(|s| s.key == key);
        known || stored
    });
    held || world.crs.iter().enumerate().any(|(i, cr)| {
        let Some(status) = &cr.status else { return false };
        let own = |nonce: &str| i == owner && parse_nonce(nonce) == Some(key.nonce());
        // A wrong variant's second key of an attempt is what its open attempt covers; the first one is what leaks.
        let pending = status.pending.as_ref().is_some_and(|p| own(&p.nonce) && !key.is_repeated_in(world));
        pending
            || status.lost.iter().any(|lost| {
                let window = time::of(lost.backend_time) <= created && created <= time::of(lost.until);
                own(&lost.nonce) || (window && !lost.known_key_ids.contains(&id))
            })
    })
}

/// Whether its status was lost: it has made attempts that it knows nothing of.
fn wiped(cr: &Cr) -> bool {
    matches!(cr.life, Life::Living | Life::Deleting) && cr.next > 1
}

impl Key {
    /// Whether a later request of the same attempt has made another key.
    fn is_repeated_in(self, world: &World) -> bool {
        world.keys.iter().any(|k| k.key > self && k.key.cr() == self.cr() && k.key.nonce() == self.nonce())
    }
}

/// What it violates that a CR ends a key now: no premature end, no theft.
pub fn ending(world: &World, cr: usize, key: Key, overlaps: bool) -> Option<Violation> {
    let ended = world.key(key)?;
    let Some(owner) = key.cr() else { return Some(Violation::Theft) };
    if owner != cr {
        let other = &world.crs[owner];
        let active = other.status.as_ref().is_some_and(|s| s.active_key_id == Some(key.id()));
        let open = other.status.as_ref().and_then(|s| s.pending.as_ref()).and_then(|p| parse_nonce(&p.nonce));
        let staged = other.staged.iter().any(|s| s.key == key && Some(s.nonce) == open);
        if active || staged || world.is_published(key) {
            return Some(Violation::Theft);
        }
    }
    if !ended.enabled {
        return None;
    }
    if world.is_published(key) {
        return Some(Violation::EndedWhilePublished);
    }
    let alive = world.crs[cr].life == Life::Living;
    let early = overlaps && ended.served.is_some_and(|at| at > -OVERLAP);
    (alive && early).then_some(Violation::EndedTooEarly)
}

/// No burn: counts a create.
pub fn count_create(world: &mut World, cr: usize) -> Option<Violation> {
    let allowed = &mut world.crs[cr].allowed;
    if *allowed == 0 {
        return Some(Violation::Burn);
    }
    *allowed -= 1;
    None
}

/// Whether this is the settled world: Secret = active = accepted, ledger = { active }, nothing open.
pub fn is_settled(world: &World, terms: Terms) -> bool {
    if !world.wire.is_empty() || world.is_denied() {
        return false;
    }
    let suspects = world.crs.iter().filter_map(|cr| cr.status.as_ref()).flat_map(|s| &s.suspects);
    let mut served = suspects.filter(|s| world.key(Key::parse(&s.id)).is_some_and(|k| k.served.is_some()));
    if terms.secret_stays && served.next().is_some() {
        return false;
    }
    let kept: Vec<Key> = world.crs.iter().flat_map(kept).collect();
    world.crs.iter().all(|cr| cr_is_settled(world, cr))
        && world.keys.iter().all(|k| k.key == Key::PERSON || kept.contains(&k.key))
}

/// The keys that a settled CR accounts for: its active one, and suspects, which nobody may touch. A retained Secret
/// keeps its key.
fn kept(cr: &Cr) -> Vec<Key> {
    let retained = cr.secret.iter().filter(|_| cr.life == Life::Gone).map(|s| s.key);
    let recorded = cr.status.iter().flat_map(|status| {
        let suspects = status.suspects.iter().map(|s| &s.id);
        status.active_key_id.iter().chain(suspects).map(|id| Key::parse(id))
    });
    retained.chain(recorded).collect()
}

/// Whether a published key works, but for what somebody else did.
fn works(world: &World, key: Key) -> bool {
    world.taken.contains(&key) || world.key(key).is_some_and(|k| k.enabled && k.accepted)
}

fn cr_is_settled(world: &World, cr: &Cr) -> bool {
    match cr.life {
        Life::Absent => return true,
        Life::Gone => return cr.staged.is_empty() && cr.secret.as_ref().is_none_or(|s| works(world, s.key)),
        Life::New | Life::Deleting => return false,
        Life::Living => {}
    }
    let (Some(status), Some(secret)) = (&cr.status, &cr.secret) else { return false };
    let active = status.active_key_id.as_deref().map(Key::parse);
    let due = status.next_rotation_time.is_some_and(|at| at <= time::at(0));
    active == Some(secret.key)
        && works(world, secret.key)
        && secret.readable
        && secret.intact
        && !due
        && cr.staged.is_empty()
        && status.pending.is_none()
        && status.lost.is_empty()
        && status.keys.len() == 1
}
