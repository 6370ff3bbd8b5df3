//! Every flow with one fault at every call, with pairs of faults, and with an old process that wakes late.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::case::{At, Outcome, SEED, Script, run};
use crate::fate::{Fate, Loss, No, Offer, Waking};
use crate::flows::{self, Flow};
use crate::people::{Deed, Use};

/// A flow of hours looks at the same things again and again: so many reads of one thing are faulted after each call that
/// changes something, and every such call.
const ALIKE: usize = 8;

/// At how many writes the flows crash that are not main ones, in the smallest depth.
const FEW: usize = 6;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Depth {
    /// Crashes and a lost answer at every call that changes something, in the main flows; a few crashes in all others.
    Smoke,
    /// The same with late calls, a refusal, old memories and late wakers.
    Quick,
    /// Every fault and pairs of them for create and rotate, quick for all else.
    Wide,
    /// Every kind of fault at every call; pairs for create and rotate.
    Full,
}

impl Depth {
    fn for_flow(self, flow: &Flow) -> Self {
        match self {
            Self::Wide if matches!(flow.name, "create" | "rotate") => Self::Full,
            Self::Wide => Self::Quick,
            one => one,
        }
    }
}

impl std::fmt::Display for Depth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Wide => "wide",
            Self::Full => "full",
        })
    }
}

/// One run: a flow and the faults in it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the flow.
    pub flow: &'static str,
    /// The faults.
    pub faults: Vec<(At, Fate)>,
    /// How many calls of the new process a frozen one sleeps through.
    pub wake_after: Option<u64>,
    /// By how many changes the memory of the processes is out of date.
    pub behind: usize,
    /// What a person does right before the n-th call.
    pub deed: Option<(u64, Deed)>,
}

impl Case {
    /// A flow in which nothing goes wrong.
    pub fn calm(flow: &'static str) -> Self {
        Self { flow, faults: Vec::new(), wake_after: None, behind: 0, deed: None }
    }

    /// Runs it.
    pub fn run(&self) -> Outcome {
        let flow = flows::find(self.flow).expect("a case is of a flow");
        let mut script = Script::new(self.faults.clone());
        script.wake_after = self.wake_after;
        script.behind = self.behind;
        script.deed.clone_from(&self.deed);
        run(&flow, SEED, script)
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.flow, self.faults)?;
        if let Some((call, deed)) = &self.deed {
            write!(f, ", {deed:?} right before call {call}")?;
        }
        match self.wake_after {
            Some(calls) => {
                let haste = if calls % 2 == 1 { " in haste" } else { "" };
                write!(f, ", wakes{haste} after {calls} calls of the new process")
            }
            None if self.behind > 0 => write!(f, ", remembers {} changes too few", self.behind),
            None => Ok(()),
        }
    }
}

/// All cases of a depth, in an order that does not change.
pub fn cases(depth: Depth, only: Option<&str>) -> Vec<Case> {
    let flows = flows::all().into_iter().filter(|f| only.is_none_or(|name| name == f.name));
    flows.flat_map(|flow| cases_of(&flow, depth)).collect()
}

/// All cases of a flow.
pub fn cases_of(flow: &Flow, depth: Depth) -> Vec<Case> {
    let (wanted, depth) = (depth, depth.for_flow(flow));
    let calm = run(flow, SEED, Script::default());
    let nothing = Case::calm(flow.name);
    let mut cases = vec![nothing.clone()];
    if depth != Depth::Smoke {
        cases.extend([1, 3, 9].map(|behind| Case { behind, ..nothing.clone() }));
    }
    cases.extend(single(flow, &calm.seen, depth));
    if matches!(flow.name, "create" | "rotate") && depth == Depth::Full {
        cases.extend(pairs(flow, &calm.seen));
    }
    if is_main(flow) || matches!(flow.name, "revoke" | "rename") {
        cases.extend(meanwhile(flow, &calm.seen, wanted));
    }
    if flow.name == "unnamed-account-found" {
        let deeds = [Use::Key, Use::Role].map(Deed::UseStrays);
        cases.extend(between(flow, &calm.seen, &deeds, wanted));
    }
    if matches!(flow.name, "roles-person" | "one-role-person") {
        cases.extend(between(flow, &calm.seen, &role_deeds(), wanted));
    }
    if is_main(flow)
        || depth != Depth::Smoke && matches!(flow.name, "revoke" | "rename" | "unnamed-account-create")
    {
        cases.extend(late_wakers(flow, &calm.seen, wanted));
    }
    cases
}

/// Whether a flow is one of those that all others are made of.
fn is_main(flow: &Flow) -> bool {
    matches!(flow.name, "create" | "rotate" | "delete" | "retire" | "local-create")
}

fn single(flow: &Flow, seen: &[Offer], depth: Depth) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut alike: HashMap<&str, usize> = HashMap::new();
    let step = seen.iter().filter(|offer| offer.mutating).count().div_ceil(FEW).max(1);
    let mut writes = 0;
    for (at, offer) in (1..).zip(seen) {
        let before = alike.entry(&offer.summary).or_default();
        *before += 1;
        if offer.mutating {
            // What is read after it has another meaning.
            alike.clear();
        } else if *before > ALIKE {
            continue;
        }
        let fates = match depth {
            // The main flows; of the others the crash that forgets most, at a few writes.
            Depth::Smoke if is_main(flow) => smoke(offer),
            Depth::Smoke => {
                writes += usize::from(offer.mutating);
                let chosen = offer.mutating && writes % step == 0;
                chosen.then_some(Fate::CrashAfter).into_iter().collect()
            }
            Depth::Quick | Depth::Wide => quick(offer),
            Depth::Full => full(offer),
        };
        cases.extend(
            fates
                .into_iter()
                .map(|fate| Case { faults: vec![(At::Call(at), fate)], ..Case::calm(flow.name) }),
        );
    }
    cases
}

/// What a call that changes something must survive at least.
fn smoke(offer: &Offer) -> Vec<Fate> {
    if !offer.mutating {
        return Vec::new();
    }
    vec![Fate::CrashBefore, Fate::CrashAfter, Fate::LoseAnswer(Loss::Reset)]
}

/// What finds most.
fn quick(offer: &Offer) -> Vec<Fate> {
    let mut fates = smoke(offer);
    if offer.mutating {
        let after = Duration::from_secs(if offer.to_iam { 3500 } else { 40 });
        let no = if offer.to_iam { No::Iam(1) } else { No::Api(403, "Forbidden") };
        fates.extend([Fate::LoseCall(Loss::Silence), Fate::Late(Loss::Silence, after), Fate::Refuse(no)]);
    }
    if is_beside(offer) {
        fates.extend(No::of_iam(offer).into_iter().map(Fate::Refuse));
        if offer.summary.starts_with("iam read-policy") {
            fates.extend([OLD, OLDER].map(Fate::Stale));
        }
    }
    fates
}

/// How many seconds a policy that is read may be out of date.
const OLD: usize = 5;
const OLDER: usize = 590;

/// Whether it is about roles and services, which few flows have: all that can become of it is little.
fn is_beside(offer: &Offer) -> bool {
    let about = [
        "iam read-policy",
        "iam write-policy",
        "iam read-service",
        "iam enable-service",
        "iam read-registration",
    ];
    about.iter().any(|what| offer.summary.starts_with(what))
}

/// Everything that can become of a call. A silence lasts until the caller's own timeout; of the losses that are known
/// at once, one stands for both where nothing was changed.
fn full(offer: &Offer) -> Vec<Fate> {
    let mut fates = vec![Fate::LoseCall(Loss::Reset), Fate::LoseCall(Loss::Silence)];
    if offer.mutating {
        fates.extend([
            Fate::CrashBefore,
            Fate::CrashAfter,
            Fate::LoseAnswer(Loss::Reset),
            Fate::LoseAnswer(Loss::Silence),
            Fate::LoseAnswer(Loss::Failure),
            Fate::LoseCall(Loss::Failure),
        ]);
        // The API server gives up a request after a minute; the protocol gives the backend an hour.
        let late: &[u64] = if offer.to_iam { &[90, 3500] } else { &[5, 40] };
        for seconds in late {
            let after = Duration::from_secs(*seconds);
            fates.extend([
                Fate::Late(Loss::Reset, after),
                Fate::Late(Loss::Silence, after),
                Fate::CrashLate(after),
            ]);
        }
    }
    let refusals = if offer.to_iam { No::of_iam(offer) } else { No::API.to_vec() };
    fates.extend(refusals.into_iter().map(Fate::Refuse));
    fates
}

fn pairs(flow: &Flow, seen: &[Offer]) -> Vec<Case> {
    let mutations = u64::try_from(seen.iter().filter(|o| o.mutating).count()).expect("few calls");
    let kinds = [
        Fate::CrashBefore,
        Fate::CrashAfter,
        Fate::LoseAnswer(Loss::Reset),
        Fate::LoseCall(Loss::Silence),
        Fate::Late(Loss::Reset, Duration::from_secs(30)),
    ];
    let mut cases = Vec::new();
    for first in 1..=mutations {
        for second in 1..=mutations + 2 {
            for one in &kinds {
                for other in &kinds {
                    let faults =
                        vec![(At::Mutation(first), one.clone()), (At::Mutation(second), other.clone())];
                    cases.push(Case { faults, ..Case::calm(flow.name) });
                }
            }
        }
    }
    cases
}

/// All cases of a flow in which a process is frozen and wakes late.
pub fn wakers_of(flow: &Flow) -> Vec<Case> {
    late_wakers(flow, &run(flow, SEED, Script::default()).seen, Depth::Full)
}

/// Those of them in which a process is frozen in the last calls before its first publication, which no version guards.
pub fn wakers_at_publication(flow: &Flow) -> Vec<Case> {
    let seen = run(flow, SEED, Script::default()).seen;
    let calls = u64::try_from(seen.len()).expect("few calls");
    let first = seen.iter().position(|o| o.mutating && o.summary.starts_with("create Secret key-"));
    let published = (1..).zip(0..=first.unwrap_or(0)).last().map_or(1, |(call, _)| call);
    let cases = (1..=3).flat_map(|before| (0..calls + 12).map(move |wake_after| (before, wake_after)));
    let case = |(before, wake_after)| {
        let frozen = At::Call(u64::saturating_sub(published, before));
        let faults = vec![(frozen, Fate::Freeze(Waking::Answered))];
        Case { faults, wake_after: Some(wake_after), ..Case::calm(flow.name) }
    };
    cases.map(case).collect()
}

/// A process is frozen early in a flow, the next one loses an answer, and the first one wakes at any moment after that: what
/// it writes then must not make anybody forget what the other one has on its way.
pub fn wakers_into_a_loss(flow: &Flow) -> Vec<Case> {
    let seen = run(flow, SEED, Script::default()).seen;
    let calls = u64::try_from(seen.len()).expect("few calls");
    let intent = seen.iter().position(|offer| offer.mutating && offer.to_iam).unwrap_or(seen.len());
    let frozen: Vec<usize> = (0..intent).collect();
    let mut cases = Vec::new();
    for at in thinned(&frozen, 12) {
        let call = u64::try_from(*at).expect("few calls") + 1;
        for lost in 1..=4 {
            for wake_after in (1..calls).step_by(2) {
                let faults = vec![
                    (At::Call(call), Fate::Freeze(Waking::Answered)),
                    (At::Mutation(lost), Fate::LoseAnswer(Loss::Reset)),
                ];
                cases.push(Case { faults, wake_after: Some(wake_after), ..Case::calm(flow.name) });
            }
        }
    }
    cases
}

/// A process is frozen after a call and wakes after any number of calls of the other one. Between two calls that change
/// something lie only reads, after each of which it would find the same: it is frozen at the changes and right after
/// them, and at every call in full depth.
fn late_wakers(flow: &Flow, seen: &[Offer], depth: Depth) -> Vec<Case> {
    let calls = u64::try_from(seen.len()).expect("few calls");
    // Most calls of a long flow are looks, all alike.
    let (points, moments) = match depth {
        Depth::Smoke => (4, 4),
        Depth::Quick | Depth::Wide => (12, 24),
        Depth::Full => (48, 64),
    };
    let follows = |at: usize| seen.get(at.wrapping_sub(1)).is_some_and(|o| o.mutating);
    let frozen: Vec<usize> =
        (0..seen.len()).filter(|at| depth == Depth::Full || seen[*at].mutating || follows(*at)).collect();
    let mut cases = Vec::new();
    for at in thinned(&frozen, points) {
        let call = u64::try_from(*at).expect("few calls") + 1;
        let step = usize::try_from((calls + 12).div_ceil(moments)).expect("few");
        for (n, wake_after) in (0..calls + 12).step_by(step).enumerate() {
            // A look that is not answered is taken again. Of a change, half the wakers learn that it was made.
            let wakings: &[Waking] = match (seen[*at].mutating, depth) {
                (false, _) => &[Waking::Answered],
                (true, Depth::Full) => &[Waking::Answered, Waking::TimedOut],
                (true, _) if n % 2 == 0 => &[Waking::Answered],
                (true, _) => &[Waking::TimedOut],
            };
            for waking in wakings {
                let faults = vec![(At::Call(call), Fate::Freeze(*waking))];
                cases.push(Case { faults, wake_after: Some(wake_after), ..Case::calm(flow.name) });
            }
        }
    }
    cases
}

/// What a person may do between two calls of a pass.
fn deeds() -> [Deed; 13] {
    [
        Deed::DeleteKey(0),
        Deed::DeleteSecret(0),
        Deed::EmptySecret(0),
        Deed::StripSecret(0),
        Deed::RestoreSecret(0),
        Deed::DeleteStaged,
        Deed::WipeStatus(0),
        Deed::RotateNow(0),
        Deed::RevokeNow(0),
        Deed::Rename(0, true),
        Deed::MakeKey(0),
        Deed::DisableKey(0),
        Deed::DeleteKeyAtBackend(0),
    ]
}

/// What a person may do to the roles of an account between two calls.
fn role_deeds() -> [Deed; 5] {
    [
        Deed::TakeRoles(0),
        Deed::JoinRoles(0),
        Deed::BindByHand(0),
        Deed::EditRoles(0, 2),
        Deed::EditRoles(0, 0),
    ]
}

/// A person does one of these right before each call; in the smallest depth before those that change something and the
/// reads right before them.
fn between(flow: &Flow, seen: &[Offer], deeds: &[Deed], depth: Depth) -> Vec<Case> {
    let near =
        |at: usize| depth != Depth::Smoke || seen.iter().skip(at).take(2).any(|o| o.mutating && o.to_iam);
    let points = (0..seen.len()).filter(|at| near(*at)).filter_map(|at| u64::try_from(at + 1).ok());
    let one = |call: u64, deed: &Deed| Case { deed: Some((call, deed.clone())), ..Case::calm(flow.name) };
    points.flat_map(|call| deeds.iter().map(move |deed| one(call, deed))).collect()
}

/// A person does something between any two calls of a pass that ends in a change: what was read before is old then.
fn meanwhile(flow: &Flow, seen: &[Offer], depth: Depth) -> Vec<Case> {
    let before = match depth {
        Depth::Smoke => 0,
        Depth::Quick | Depth::Wide => 4,
        Depth::Full => 12,
    };
    let follows = |at: usize| seen.iter().skip(at).take(before).any(|offer| offer.mutating);
    let points: Vec<u64> =
        (0..seen.len()).filter(|at| follows(*at)).filter_map(|at| u64::try_from(at + 1).ok()).collect();
    let one = |call: u64, deed| Case { deed: Some((call, deed)), ..Case::calm(flow.name) };
    points.into_iter().flat_map(|call| deeds().map(|deed| one(call, deed))).collect()
}

/// At most so many of them, evenly.
fn thinned<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(most).max(1))
}

/// Runs cases on so many threads, until `told` says that it is enough; it hears of each with what came of it.
pub fn run_all(cases: &[Case], threads: usize, told: impl Fn(usize, &Case, &Outcome) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { break };
                    let outcome = case.run();
                    if told(number, case, &outcome) {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
