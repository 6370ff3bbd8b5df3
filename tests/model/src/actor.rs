//! A process in the middle of a pass over one CR: what it has read, what it has decided, what it remembers.

use keywheel::api::v1alpha1::{LedgerKey, ServiceAccountKeyStatus as Status};

use crate::names::Key;
use crate::shared::Shared;
use crate::status::{Op, Ops};
use crate::time::{ANCIENT, FAR, LAG, OVERLAP, Time};
use crate::world::{Consumer, Life, Staging};

/// The leader that was paused past its Lease, and its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Leads from the beginning.
    Old,
    /// Takes over.
    New,
}

/// A process at work on a CR.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Which process.
    pub who: Who,
    /// Which CR.
    pub cr: usize,
    /// Where it stands.
    pub pc: Pc,
    /// What its reconcile remembers from pass to pass.
    pub memory: Memory,
}

/// What a reconcile remembers of its own calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// Whether it added the finalizer.
    pub own_finalizer: bool,
    /// The attempt whose intent it wrote.
    pub own_intent: Option<u8>,
    /// The attempt that it sent.
    pub sent: Option<u8>,
    /// Whether that attempt was refused for good.
    pub refused: bool,
    /// The attempt whose staged key was accepted.
    pub proved: Option<u8>,
}

impl Memory {
    /// Only what was learned of the open attempt is ever used; and the finalizer only counts before there is a status.
    pub fn keep_of(&mut self, open: Option<u8>, has_status: bool) {
        self.own_finalizer &= !has_status;
        for known in [&mut self.own_intent, &mut self.sent, &mut self.proved] {
            *known = known.filter(|n| open == Some(*n));
        }
        self.refused &= self.sent.is_some();
    }
}

/// Where a process stands. Between any two of these anything may happen elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pc {
    /// Between two passes.
    Idle,
    /// The consumer Secret was read.
    HasSecret(SecretRead),
    /// Wrong variant: the object was read, the Secret comes last.
    HasObject(Box<Pass>),
    /// All was read, and the plan asks for more.
    Asked(Box<Pass>, Need),
    /// The plan wants an effect.
    Acting(Box<Decided>),
    /// A create was answered; the credential is in memory only.
    Answered {
        /// The attempt.
        nonce: u8,
        /// Its number.
        attempt: u8,
        /// The key.
        key: Key,
    },
    /// The effect is done; its status is to be written.
    Recording(Box<Record>),
}

/// The consumer Secret as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretRead {
    /// What it was; `None`: absent.
    pub view: Option<Consumer>,
    /// Whether it still is: a guarded write succeeds.
    pub fresh: bool,
}

/// What a pass has read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// The consumer Secret, read first.
    pub secret: SecretRead,
    /// The object, read after it.
    pub life: Life,
    /// Its status.
    pub status: Option<Shared<Status>>,
    /// Whether the object is still as it was read.
    pub cr_fresh: bool,
    /// The staging Secrets, read with the object: only their own attempt's pass makes one, and finds it by its name.
    pub staged: Vec<Staging>,
    /// The list of keys.
    pub keys: Option<Listing>,
    /// What other objects say about keys, read after the list.
    pub told: Option<Told>,
    /// What came of the token exchange.
    pub proof: Option<Seen>,
    /// What came of the one with the Secret's credential.
    pub secret_proof: Option<Seen>,
    /// Whether the Secret was read again.
    pub confirmed: bool,
}

/// An answer to a list of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listing {
    /// 403.
    Unreadable,
    /// The keys that lists show.
    Keys {
        /// When.
        at: Time,
        /// Name, when made, whether enabled.
        keys: Vec<(Key, Time, bool)>,
    },
}

/// What other objects on the account say about keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// Keys that they name.
    pub claimed: Vec<Key>,
    /// Keys that they suspect.
    pub suspected: Vec<Key>,
    /// First and last moment of each window of theirs.
    pub windows: Vec<(Time, Time)>,
    /// Fenced lost attempts of all objects.
    pub fenced: u8,
    /// Whether their Secrets were read, too: that is a request of its own.
    pub whole: bool,
}

/// An answer to a token exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A token.
    Accepted,
    /// The key was refused.
    Refused,
    /// Nothing was learned.
    Unavailable,
}

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The Secret again.
    Confirm,
    /// The keys at the backend.
    Keys,
    /// What other objects say about keys.
    Siblings,
    /// A token exchange with the staged key of an attempt.
    Proof(u8),
    /// A token exchange with the credential in the Secret.
    SecretProof,
}

/// An effect that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The rule.
    pub rule: &'static str,
    /// The effect.
    pub effect: Effect,
    /// The status afterwards.
    pub after: Shared<Status>,
    /// Whether the object is still as it was read.
    pub cr_fresh: bool,
    /// Whether the Secret was there.
    pub had_secret: bool,
    /// Whether the Secret is still as it was read.
    pub secret_fresh: bool,
}

/// Effects of production steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Add the finalizer.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Only the status.
    WriteStatus,
    /// The one create of an attempt.
    Create(u8),
    /// Write the consumer Secret.
    Publish(Publish),
    /// Delete a staging Secret.
    Unstage(u8),
    /// Rewrite the consumer Secret.
    Fence,
    /// Enable a key.
    Enable(Key),
    /// Disable a key.
    Disable(Key),
    /// Delete a key.
    Delete(Key),
    /// Delete the consumer Secret as it was read.
    DeleteSecret,
}

/// What the consumer Secret shall say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publish {
    /// The attempt whose staged credential is written; `None`: the one that is there.
    pub staged: Option<u8>,
    /// The key.
    pub key: Key,
    /// The attempt that made it.
    pub attempt: u8,
    /// When.
    pub published: Time,
    /// All older keys.
    pub ledger: Shared<Vec<LedgerKey>>,
}

/// A status to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Record {
    /// The status.
    pub after: Shared<Status>,
    /// Whether the object is still as it was read.
    pub cr_fresh: bool,
    /// Whether the step was this write and nothing else: it may open an attempt.
    pub alone: bool,
    /// Whether the reconcile ends with it.
    pub ends: bool,
    /// Whether a key was ended or enabled just before: a crash in between is a state of its own.
    pub after_backend: bool,
}

impl Actor {
    /// A process with nothing in hand.
    pub fn idle(who: Who, cr: usize) -> Self {
        Self { who, cr, pc: Pc::Idle, memory: Memory::default() }
    }

    /// The process died, or its reconcile ended.
    pub fn forget(&mut self) {
        self.pc = Pc::Idle;
        self.memory = Memory::default();
    }

    /// Whether it is about to list the keys.
    pub fn is_listing(&self) -> bool {
        matches!(self.pc, Pc::Asked(_, Need::Keys))
    }

    /// Whether there is anything to forget.
    pub fn is_busy(&self) -> bool {
        self.pc != Pc::Idle || self.memory != Memory::default()
    }
}

impl Effect {
    /// Whether nothing but the age of the reads guards it.
    fn is_unguarded(&self, had_secret: bool) -> bool {
        match self {
            Self::Create(_) | Self::Enable(_) | Self::Disable(_) | Self::Delete(_) => true,
            Self::Publish(_) => !had_secret,
            _ => false,
        }
    }
}

impl Pc {
    /// The object was written by somebody else.
    pub fn outdate_cr(&mut self) {
        match self {
            Self::Asked(pass, _) | Self::HasObject(pass) => pass.cr_fresh = false,
            Self::Acting(decided) => decided.cr_fresh = false,
            Self::Recording(record) => record.cr_fresh = false,
            Self::Idle | Self::HasSecret(_) | Self::Answered { .. } => {}
        }
    }

    /// The Secret was written by somebody else.
    pub fn outdate_secret(&mut self) {
        match self {
            Self::HasSecret(read) => read.fresh = false,
            Self::Asked(pass, _) => pass.secret.fresh = false,
            Self::Acting(decided) => decided.secret_fresh = false,
            Self::Idle | Self::Answered { .. } | Self::Recording(_) | Self::HasObject(_) => {}
        }
    }

    /// Time passes while the process stands still. An unguarded request does not leave any more: all is
    /// read again. A guarded one may have stopped right before it left.
    pub fn age(&mut self, units: Time, ops: &mut Ops) {
        match self {
            Self::Idle | Self::Answered { .. } => {}
            Self::HasSecret(read) => read.age(units),
            Self::Asked(pass, _) | Self::HasObject(pass) => pass.age(units, ops),
            Self::Recording(record) => record.after = ops.apply(&record.after, Op::Age(units)),
            Self::Acting(decided) => {
                if decided.effect.is_unguarded(decided.had_secret) {
                    *self = Self::Idle;
                    return;
                }
                if let Effect::Publish(publish) = &mut decided.effect {
                    publish.published = (publish.published - units).max(-OVERLAP);
                }
                decided.after = ops.apply(&decided.after, Op::Age(units));
            }
        }
    }
}

impl SecretRead {
    fn age(&mut self, units: Time) {
        if let Some(view) = &mut self.view {
            view.age(units);
        }
    }
}

impl Consumer {
    /// Gets older; an overlap that began so long ago is over.
    pub fn age(&mut self, units: Time) {
        self.published = (self.published - units).max(-OVERLAP);
    }
}

impl Staging {
    /// Gets older; a list must show it by then.
    pub fn age(&mut self, units: Time) {
        self.created = (self.created - units).max(-LAG - 1);
    }
}

impl Pass {
    fn age(&mut self, units: Time, ops: &mut Ops) {
        self.secret.age(units);
        self.status = self.status.as_ref().map(|s| ops.apply(s, Op::Age(units)));
        self.staged.iter_mut().for_each(|s| s.age(units));
        if let Some(Listing::Keys { at, keys }) = &mut self.keys {
            *at -= units;
            for (_, created, _) in keys {
                *created = (*created - units).max(ANCIENT);
            }
        }
        for (from, until) in self.told.iter_mut().flat_map(|t| &mut t.windows) {
            *from = (*from - units).max(ANCIENT);
            *until = if *until == FAR { FAR } else { (*until - units).max(ANCIENT) };
        }
    }
}
