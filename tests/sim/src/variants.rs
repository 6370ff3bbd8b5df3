//! Wrong variants of the protocol: each must break an invariant of the oracle, in a flow or in a history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use keywheel::domain::defect::{Defect, Layer};

use crate::exhaustive::{self, Case, Depth, cases_of, run_all};
use crate::flows::{self, Flow};
use crate::history::History;
use crate::shrink::shrink;

/// What the oracle holds. That a flow is not done in time, or costs too much, catches nothing.
const INVARIANTS: [&str; 8] = [
    "Covered",
    "No outage",
    "No premature end",
    "No theft",
    "No exposure",
    "No burn",
    "Convergence",
    "Send rule",
];

/// Variants of the model check that have a place in the hands, too, and break something here. `BlindStatus` and `ReadOrder`
/// have one as well: what they break takes two processes at work on one attempt, and no run of these comes to it; the model
/// does.
const IN_THE_HANDS: [Defect; 7] = [
    Defect::NoIntent,
    Defect::BlindPublish,
    Defect::PostWithoutLease,
    Defect::NoConfirm,
    Defect::Denied404,
    Defect::UnknownIsRefusal,
    Defect::FenceOnPaper,
];

/// How a variant was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The flow with its faults, or the seed.
    pub place: String,
    /// What did not hold.
    pub violation: String,
    /// Lines of the trace.
    pub length: usize,
}

/// The variants to be caught here, or the one of a name.
pub fn chosen(name: Option<&str>) -> Vec<Defect> {
    match name {
        Some(name) => Defect::ALL.iter().copied().filter(|d| d.name() == name).collect(),
        None => Defect::of(Layer::Simulation).chain(IN_THE_HANDS).collect(),
    }
}

/// Where a variant is looked for first.
enum Place {
    /// A flow, without faults and with them.
    Flow(&'static str),
    /// Processes that stand still right before their first publication.
    Wakers,
    /// Histories at random.
    Histories,
}

/// Where each was found before; it may be found elsewhere as well.
fn likely(defect: Defect) -> Place {
    Place::Flow(match defect {
        Defect::CountedFromNow => "spec-changed",
        Defect::MissedTurnsRepeated | Defect::NoConfirm | Defect::Denied404 => "retire",
        Defect::FullAccountTried => "account-full",
        Defect::LostNotCounted => "account-nearly-full",
        Defect::DriftWithoutPause => "secret-deleted-twice",
        Defect::RevokedSurvives => "revoke",
        Defect::RevokeWaitsForRollout => "revoke-in-stuck-rollout",
        Defect::FormerGoesAtOnce | Defect::RenameForgotten => "rename",
        Defect::PreviousKept => "previous",
        Defect::SuspendEndsKeys => "suspend",
        Defect::RetainedActiveEnds => "retain-key",
        Defect::ExpiryIgnored => "local-expiry",
        Defect::UploadBlindly | Defect::FingerprintDropped => "local-create",
        Defect::TakenUnproved => "take-over-dead",
        Defect::RoleUnrecorded | Defect::RolesOutlive => "roles",
        Defect::RoleForgotten | Defect::UnwrittenAnswers => "roles-dropped-at-once",
        Defect::BoundUnseen => "roles-deleted-at-once",
        Defect::AccountSentAgain | Defect::AccountClosedEarly => "unnamed-account-create",
        Defect::MemberTaken => "one-role-person",
        Defect::AccountUseUnread => "unnamed-account-used",
        Defect::AccountUnderWayLeft => "unnamed-account-delete-early",
        Defect::ForeignRoleTaken | Defect::PolicyBlind => "roles-person",
        Defect::NoIntent => "rotate",
        Defect::BlindPublish | Defect::FenceOnPaper => "revoke-in-rotation",
        Defect::UnknownIsRefusal => "claim",
        Defect::LeaseByWallClock | Defect::PostWithoutLease => return Place::Wakers,
        _ => return Place::Histories,
    })
}

/// Looks where a variant was found before, and nowhere else. `None`: nothing.
pub fn catch_quickly(defect: Defect, seeds: u64, threads: usize) -> Option<Caught> {
    with(defect, || in_place(&likely(defect), seeds, threads))
}

/// Looks everywhere for what a variant breaks. `None`: nothing.
pub fn catch(defect: Defect, seeds: u64, threads: usize) -> Option<Caught> {
    with(defect, || {
        let caught = in_place(&likely(defect), seeds, threads).or_else(|| in_calm_flows(threads));
        let caught = caught.or_else(|| in_flows(threads)).or_else(|| in_late_wakers(threads));
        caught.or_else(|| in_histories(seeds, threads))
    })
}

/// The switch is the process's: one at a time.
fn with<T>(defect: Defect, look: impl FnOnce() -> T) -> T {
    Defect::switch_on(Some(defect));
    let found = look();
    Defect::switch_on(None);
    found
}

fn in_place(place: &Place, seeds: u64, threads: usize) -> Option<Caught> {
    match place {
        Place::Flow(name) => {
            let in_calm = first_of(&[Case::calm(name)], 1);
            in_calm.or_else(|| first_of(&cases_of(&flows::find(name)?, Depth::Quick), threads))
        }
        Place::Wakers => first_of(&exhaustive::wakers_at_publication(&flows::find("create")?), threads),
        Place::Histories => in_histories(seeds, threads),
    }
}

fn broken(violations: &[String]) -> Option<&String> {
    violations.iter().find(|v| INVARIANTS.iter().any(|i| v.starts_with(i)))
}

/// A flow in which nothing goes wrong but the variant.
fn in_calm_flows(threads: usize) -> Option<Caught> {
    let calm = |flow: Flow| Case::calm(flow.name);
    first_of(&flows::all().into_iter().map(calm).collect::<Vec<_>>(), threads)
}

fn in_flows(threads: usize) -> Option<Caught> {
    flows::all().iter().find_map(|flow| first_of(&cases_of(flow, Depth::Quick), threads))
}

/// A process that is frozen after any call of a create, the last read before a request included; or early, while the next
/// one loses an answer.
fn in_late_wakers(threads: usize) -> Option<Caught> {
    let create = flows::find("create")?;
    let into_a_loss = || first_of(&exhaustive::wakers_into_a_loss(&create), threads);
    into_a_loss().or_else(|| first_of(&exhaustive::wakers_of(&create), threads))
}

/// The shortest trace of the first cases that show it.
fn first_of(cases: &[Case], threads: usize) -> Option<Caught> {
    let best: Mutex<Option<Caught>> = Mutex::default();
    run_all(cases, threads, |_, case, outcome| {
        let Some(violation) = broken(&outcome.violations) else { return false };
        let length = outcome.trace.len();
        let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
        if best.as_ref().is_none_or(|b| length < b.length) {
            *best = Some(Caught { place: case.to_string(), violation: violation.clone(), length });
        }
        true
    });
    best.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn in_histories(seeds: u64, threads: usize) -> Option<Caught> {
    let next = AtomicU64::new(1);
    let found: Mutex<Option<u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while found.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        break;
                    }
                    if broken(&History::of(seed).run().violations).is_some() {
                        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(seed);
                    }
                }
            });
        }
    });
    let seed = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let history = History::of(seed);
    let shrunk = shrink(&history, &history.run());
    let violation = broken(&shrunk.judgement.violations)?.clone();
    Some(Caught { place: format!("seed {seed}"), violation, length: shrunk.judgement.trace.len() })
}
