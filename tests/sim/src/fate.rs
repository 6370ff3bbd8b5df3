//! What can become of a call, and who decides it.

use std::time::Duration;

use crate::iam;
use crate::people::Deed;

/// How a caller learns that its call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// At once: the connection broke.
    Reset,
    /// After its own timeout: nobody answered.
    Silence,
    /// At once, with a failure that says nothing about whether it was applied.
    Failure,
}

/// What a process finds when it wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// The answer to its call.
    Answered,
    /// Its own timeout, long over. The answer lies in the machine's memory, but the clock is looked at first.
    TimedOut,
}

/// A refusal without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// By the API server: status and reason.
    Api(u16, &'static str),
    /// By the IAM system.
    Iam(usize),
}

impl No {
    /// Every class of refusal that the API server can give without a reason in the request itself.
    pub const API: [Self; 7] = [
        Self::Api(401, "Unauthorized"),
        Self::Api(403, "Forbidden"),
        Self::Api(409, "Conflict"),
        Self::Api(429, "TooManyRequests"),
        Self::Api(500, "InternalError"),
        Self::Api(503, "ServiceUnavailable"),
        Self::Api(504, "Timeout"),
    ];

    /// Every class of refusal that a call to the IAM system can meet.
    pub fn of_iam(offer: &Offer) -> Vec<Self> {
        let exchange = offer.summary.starts_with("iam exchange");
        let policy = offer.summary.starts_with("iam read-policy");
        let meets = |refusal: &iam::Refusal| refusal.can_meet(offer.mutating, exchange, policy);
        (0..)
            .zip(&iam::Refusal::FAULTS)
            .filter(|(_, refusal)| meets(refusal))
            .map(|(i, _)| Self::Iam(i))
            .collect()
    }

    /// The refusal of the IAM system that this is.
    pub fn refusal(index: usize) -> iam::Refusal {
        iam::Refusal::FAULTS[index % iam::Refusal::FAULTS.len()].clone()
    }
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is applied and answered.
    Deliver,
    /// It is refused and not applied.
    Refuse(No),
    /// It is applied; the answer is lost.
    LoseAnswer(Loss),
    /// It is not applied, and nobody says so.
    LoseCall(Loss),
    /// Its caller learns nothing, and it is applied so much later.
    Late(Loss, Duration),
    /// Its process dies; it is not applied.
    CrashBefore,
    /// It is applied; its process dies.
    CrashAfter,
    /// Its process dies, and it is applied so much later.
    CrashLate(Duration),
    /// It is applied, and then its process gets no time until it is woken.
    Freeze(Waking),
    /// It is answered from an older state of the world.
    Stale(usize),
}

impl Fate {
    /// Whether anything is wrong with it.
    pub fn is_fault(&self) -> bool {
        *self != Self::Deliver
    }
}

/// A call, as far as its fate depends on it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The process that makes it.
    pub actor: usize,
    /// Its number among all calls of the run, events left out.
    pub number: u64,
    /// Whether it changes something.
    pub mutating: bool,
    /// Whether it goes to the IAM system.
    pub to_iam: bool,
    /// Whether it is about the Lease: these have fates of their own.
    pub lease: bool,
    /// For people.
    pub summary: String,
}

/// Decides what becomes of calls.
pub trait Director {
    /// Which call goes next.
    fn choose(&mut self, offers: &[Offer]) -> usize {
        let _ = offers;
        0
    }

    /// What a person does right before it.
    fn meanwhile(&mut self, offer: &Offer) -> Option<Deed> {
        let _ = offer;
        None
    }

    /// What becomes of it.
    fn fate(&mut self, offer: &Offer) -> Fate;

    /// What becomes of a call about the Lease.
    fn lease_fate(&mut self, offer: &Offer) -> Fate {
        let _ = offer;
        Fate::Deliver
    }

    /// By how many changes a process's memory of an object is out of date when it looks at it.
    fn behind(&mut self) -> usize {
        0
    }

    /// Whether a process hears of a change; if not, its own next look must show it.
    fn hears(&mut self, actor: usize) -> bool {
        let _ = actor;
        true
    }

    /// How many processes may work at once on objects of one process.
    fn concurrency(&self) -> usize {
        1
    }
}

/// Nothing goes wrong.
pub struct Calm;

impl Director for Calm {
    fn fate(&mut self, _: &Offer) -> Fate {
        Fate::Deliver
    }
}
