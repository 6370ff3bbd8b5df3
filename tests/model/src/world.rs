//! Everything outside the processes: the backend's keys, the objects of two CRs, requests on the wire.

use std::fmt;

use keywheel::api::v1alpha1::{LedgerKey, ServiceAccountKeyStatus as Status};

use crate::actor::{Actor, Pc};
use crate::faults::Budget;
use crate::names::Key;
use crate::shared::Shared;
use crate::time::Time;

/// One state of the search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The account's keys, by name.
    pub keys: Vec<BackendKey>,
    /// Creates whose client has given up.
    pub wire: Vec<OnWire>,
    /// Two objects of the same account.
    pub crs: [Cr; 2],
    /// The processes, one entry for each CR that a process works on.
    pub actors: Vec<Actor>,
    /// Whether the new leader has taken over.
    pub deposed: bool,
    /// Passes that a deposed process may still begin before it notices.
    pub blind_passes: u8,
    /// For how long the backend answers 403 to everything at most; zero: it does not.
    pub denied: Time,
    /// Keys that somebody else ended and a Secret may still publish.
    pub taken: Vec<Key>,
    /// What may still go wrong.
    pub budget: Budget,
}

/// A key at the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// Which.
    pub key: Key,
    /// Whether it can be used.
    pub enabled: bool,
    /// Whether lists show it yet.
    pub listed: bool,
    /// Whether the token endpoint has accepted it.
    pub accepted: bool,
    /// When it was made.
    pub created: Time,
    /// When a Secret last published it; `None`: never.
    pub served: Option<Time>,
}

/// A create that may still be applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OnWire {
    /// The key that it would make.
    pub key: Key,
    /// When its attempt listed the keys: it is gone a horizon later.
    pub since: Time,
}

/// Where an object stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// There is no such object in this scenario.
    Absent,
    /// It was created; no finalizer yet.
    New,
    /// It has our finalizer.
    Living,
    /// Somebody deleted it.
    Deleting,
    /// It is gone.
    Gone,
}

/// A CR, its status and its Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cr {
    /// The object.
    pub life: Life,
    /// Its status.
    pub status: Option<Shared<Status>>,
    /// The consumer Secret.
    pub secret: Option<Consumer>,
    /// Staging Secrets, by attempt.
    pub staged: Vec<Staging>,
    /// The name of the next attempt; names are random in reality and never come twice.
    pub next: u8,
    /// Attempts that this scenario and the faults so far account for.
    pub allowed: u8,
}

/// A consumer Secret of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// The key that it publishes.
    pub key: Key,
    /// The attempt that made it, as the Secret says.
    pub attempt: u8,
    /// When it was published, as the Secret says.
    pub published: Time,
    /// What it says about older keys.
    pub ledger: Shared<Vec<LedgerKey>>,
    /// Whether the private half can be read from it.
    pub readable: bool,
    /// Whether the rest is as we wrote it.
    pub intact: bool,
    /// Whether a user put it there.
    pub put_back: bool,
}

/// A staging Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Staging {
    /// The attempt, by its random name.
    pub nonce: u8,
    /// The attempt, by its number.
    pub attempt: u8,
    /// The key.
    pub key: Key,
    /// When the key was made.
    pub created: Time,
}

impl World {
    /// Whether the backend refuses everything.
    pub fn is_denied(&self) -> bool {
        self.denied > 0
    }

    /// A key at the backend.
    pub fn key(&self, key: Key) -> Option<&BackendKey> {
        self.keys.iter().find(|k| k.key == key)
    }

    /// A key at the backend, to change it.
    pub fn key_mut(&mut self, key: Key) -> Option<&mut BackendKey> {
        self.keys.iter_mut().find(|k| k.key == key)
    }

    /// Makes a key.
    pub fn mint(&mut self, key: Key, listed: bool) {
        let made = BackendKey { key, enabled: true, listed, accepted: false, created: 0, served: None };
        self.keys.push(made);
        self.keys.sort_by_key(|k| k.key);
    }

    /// Whether some Secret publishes a key.
    pub fn is_published(&self, key: Key) -> bool {
        self.crs.iter().any(|cr| cr.secret.as_ref().is_some_and(|s| s.key == key))
    }

    /// Somebody wrote the CR: every other process has read an old one.
    pub fn cr_written(&mut self, cr: usize, by: Option<usize>) {
        for (i, actor) in self.actors.iter_mut().enumerate() {
            if Some(i) != by && actor.cr == cr {
                actor.pc.outdate_cr();
            }
        }
    }

    /// Somebody wrote or deleted the consumer Secret: every other process has read an old one.
    pub fn secret_written(&mut self, cr: usize, by: Option<usize>) {
        for (i, actor) in self.actors.iter_mut().enumerate() {
            if Some(i) != by && actor.cr == cr {
                actor.pc.outdate_secret();
            }
        }
    }

    /// Replaces the consumer Secret, or removes it. What it published until now was served until now.
    pub fn set_secret(&mut self, cr: usize, secret: Option<Consumer>, by: Option<usize>) {
        self.set_secret_late(cr, secret, by, 0);
    }

    /// The same by a process that stood still between its look at the clock and its write: the overlap counts from the
    /// time that it writes. That much is nobody's to prevent.
    pub fn set_secret_late(&mut self, cr: usize, secret: Option<Consumer>, by: Option<usize>, at: Time) {
        let unseen = self.crs[cr].is_unseen();
        if let Some(old) = self.crs[cr].secret.take().filter(|_| !unseen)
            && let Some(key) = self.key_mut(old.key)
        {
            key.served = Some(at);
        }
        self.crs[cr].secret = secret;
        self.secret_written(cr, by);
    }
}

impl Cr {
    /// An object that is not there.
    pub fn absent() -> Self {
        Self { life: Life::Absent, status: None, secret: None, staged: Vec::new(), next: 1, allowed: 0 }
    }

    /// Whether a user put back what the Secret publishes, and nobody has recorded it yet: if it goes again before anybody
    /// looks, its overlap is nobody's to keep.
    pub fn is_unseen(&self) -> bool {
        let active = self.status.as_ref().and_then(|s| s.active_key_id.clone());
        self.secret.as_ref().is_some_and(|s| s.put_back && active != Some(s.key.id()))
    }

    /// Whether there is an object to work on.
    pub fn exists(&self) -> bool {
        !matches!(self.life, Life::Absent | Life::Gone)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.keys {
            let state = if key.enabled { "" } else { " disabled" };
            let hidden = if key.listed { "" } else { " unlisted" };
            let proved = if key.accepted { " accepted" } else { "" };
            writeln!(
                f,
                "    {}{state}{hidden}{proved} made {} served {:?}",
                key.key, key.created, key.served
            )?;
        }
        for wire in &self.wire {
            writeln!(f, "    {} on the wire since {}", wire.key, wire.since)?;
        }
        for (i, cr) in self.crs.iter().enumerate().filter(|(_, cr)| cr.life != Life::Absent) {
            let secret = cr.secret.as_ref().map(|s| (s.key, s.readable, s.intact));
            let staged: Vec<Key> = cr.staged.iter().map(|s| s.key).collect();
            writeln!(
                f,
                "    CR{} {:?} next {} secret {secret:?} staged {staged:?}",
                i + 1,
                cr.life,
                cr.next
            )?;
            let Some(status) = &cr.status else {
                writeln!(f, "      no status")?;
                continue;
            };
            for key in &status.keys {
                let (id, phase) = (Key::parse(&key.id), key.phase);
                let due = key.disable_at.or(key.delete_at).map(crate::time::of);
                writeln!(f, "      {id} {phase:?} attempt {} {:?} due {due:?}", key.attempt, key.origin)?;
            }
            if let Some(pending) = &status.pending {
                let (nonce, started) = (&pending.nonce, crate::time::of(pending.started_at));
                writeln!(f, "      pending {nonce} since {started} known {:?}", pending.known_key_ids)?;
            }
            for lost in &status.lost {
                let (from, until) = (crate::time::of(lost.backend_time), crate::time::of(lost.until));
                let fenced = if lost.fenced { "fenced" } else { "unfenced" };
                writeln!(
                    f,
                    "      lost {} {from}..{until} {fenced} known {:?}",
                    lost.nonce, lost.known_key_ids
                )?;
            }
            for suspect in &status.suspects {
                writeln!(f, "      suspect {}", Key::parse(&suspect.id))?;
            }
        }
        for actor in &self.actors {
            let stands = match &actor.pc {
                Pc::Idle => "idle".to_owned(),
                Pc::HasSecret(_) => "has read the Secret".to_owned(),
                Pc::HasObject(_) => "has read the object".to_owned(),
                Pc::Asked(_, need) => format!("asks for {need:?}"),
                Pc::Acting(decided) => format!("is about to {:?}, rule {}", decided.effect, decided.rule),
                Pc::Answered { key, .. } => format!("has {key} in hand"),
                Pc::Recording(record) => format!("is about to write its status, fresh {}", record.cr_fresh),
            };
            writeln!(f, "    {:?}/CR{} {stands}; {:?}", actor.who, actor.cr + 1, actor.memory)?;
        }
        write!(f, "    denied for {} deposed {} left {:?}", self.denied, self.deposed, self.budget)
    }
}
