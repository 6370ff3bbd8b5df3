//! The production status in canonical form: what no later decision can see is dropped, and times are in whole units.
//! Two statuses with equal futures are equal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use keywheel::api::v1alpha1::{KeyPhase, LedgerKey, LostAttempt, ServiceAccountKeyStatus as Status};

use crate::shared::{Fingerprint, Shared};
use crate::time::{self, ANCIENT, BACKOFF, DRIFT, FAR, HORIZON, LAG, LEAP, SETTLE, Time};

/// What happens to a status outside any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// So many units pass.
    Age(Time),
    /// The time of the next rotation has come.
    Due,
}

/// Every status that occurs, once for all threads of a search.
#[derive(Clone, Default)]
pub struct Statuses(Arc<Mutex<HashMap<Fingerprint, Shared<Status>>>>);

impl Statuses {
    /// The one copy of a status.
    pub fn keep(&self, status: Status) -> Shared<Status> {
        let new = Shared::new(status);
        self.0.lock().expect("no thread panicked").entry(new.fingerprint()).or_insert(new).clone()
    }
}

/// Applies and remembers what was computed once.
pub struct Ops {
    statuses: Statuses,
    remembered: HashMap<(Fingerprint, Op), Shared<Status>>,
}

impl Ops {
    /// Keeps what it makes among all statuses.
    pub fn new(statuses: Statuses) -> Self {
        Self { statuses, remembered: HashMap::new() }
    }

    /// The status afterwards, canonical.
    pub fn apply(&mut self, status: &Shared<Status>, op: Op) -> Shared<Status> {
        let key = (status.fingerprint(), op);
        let statuses = &self.statuses;
        self.remembered.entry(key).or_insert_with(|| statuses.keep(applied(status, op))).clone()
    }
}

fn applied(status: &Status, op: Op) -> Status {
    let mut after = status.clone();
    match op {
        Op::Due => after.next_rotation_time = Some(time::at(0)),
        Op::Age(units) => {
            // So long a time ends every window there is.
            if units >= LEAP {
                after.unpublished_attempts.clear();
            }
            for timestamp in timestamps(&mut after) {
                *timestamp = time::at((time::of(*timestamp) - units).max(ANCIENT));
            }
        }
    }
    canonical(after)
}

/// Every time in a status. Written out field by field, so that a new field does not compile before it was thought of.
fn timestamps(status: &mut Status) -> Vec<&mut Timestamp> {
    let Status {
        observed_generation: _,
        account_unique_id: _,
        active_key_id: _,
        secret_name: _,
        secret_resource_version: _,
        attempt: _,
        keys,
        pending,
        lost,
        unpublished_attempts: _, // counted, not timed
        suspects,
        former_secrets: _,     // nobody renames a Secret here
        handled: _,            // nobody asks for anything here
        last_rotation_time: _, // follows from the next one
        next_rotation_time: _, // comes by an event of its own
        rotations: _,
        failures: _,
        last_failure_time,
        retry_after: _,      // no refusal here asks for a wait
        restart_owed_for: _, // nobody restarts workloads here
        conditions: _,
    } = status;
    let mut all: Vec<&mut Timestamp> = Vec::new();
    for key in keys {
        all.extend([&mut key.minted_at, &mut key.published_at, &mut key.disable_at].into_iter().flatten());
        all.extend([&mut key.created_at, &mut key.delete_at, &mut key.expires_at].into_iter().flatten());
        all.extend([&mut key.disabled_at, &mut key.surfaces_until].into_iter().flatten());
    }
    all.extend(pending.iter_mut().flat_map(|p| [&mut p.started_at, &mut p.backend_time]));
    all.extend(lost.iter_mut().flat_map(|l| [&mut l.backend_time, &mut l.until]));
    all.extend(suspects.iter_mut().map(|s| &mut s.since));
    all.extend(last_failure_time);
    all
}

/// Drops what no decision reads.
pub fn canonical(mut status: Status) -> Status {
    // For people only.
    status.conditions.clear();
    status.rotations = 0;
    status.secret_resource_version = None;
    for key in &mut status.keys {
        *key = canonical_key(key, false);
    }
    if let Some(pending) = &mut status.pending {
        // Settled is settled; and the only other reader is the wait between repairs.
        pending.started_at = time::at(time::of(pending.started_at).max(-SETTLE.max(DRIFT)));
        pending.backend_time = time::at(time::of(pending.backend_time));
    }
    for lost in &mut status.lost {
        let until = time::of(lost.until);
        *lost =
            LostAttempt { backend_time: window_start(lost), until: ten_seconds_after(until), ..lost.clone() };
    }
    // The window of the burn cap outlasts everything but a leap of time.
    for attempt in &mut status.unpublished_attempts {
        *attempt = time::at(0);
    }
    for suspect in &mut status.suspects {
        suspect.since = time::at(0);
        suspect.created_at = None;
    }
    let failed = status.last_failure_time.map(time::of).filter(|at| *at > -BACKOFF);
    // The wait does not grow here.
    status.failures = u32::from(failed.is_some());
    status.last_failure_time = failed.map(time::at);
    // Due, or not before an event says so.
    let due = status.next_rotation_time.map(|at| if at <= time::at(0) { 0 } else { FAR });
    status.next_rotation_time = due.map(time::at);
    status.last_rotation_time = due.map(|at| time::at(at - FAR));
    status
}

/// A request leaves at most ten seconds after its list.
fn ten_seconds_after(time: Time) -> Timestamp {
    Timestamp::from_second(time::at(time).as_second() + 10).expect("a time in range")
}

fn window_start(lost: &LostAttempt) -> Timestamp {
    time::at(time::of(lost.backend_time))
}

/// A ledger entry; in the Secret's copy, times are not read: a rebuild gives them anew.
pub fn canonical_key(key: &LedgerKey, copy: bool) -> LedgerKey {
    let repair = key.reason.is_some_and(keywheel::api::v1alpha1::KeyReason::is_drift);
    let minted = key.minted_at.map(time::of).filter(|at| repair && !copy && *at > -DRIFT);
    let due = |at: Option<Timestamp>, phase| {
        at.filter(|_| key.phase == phase && !copy).map(|at| time::at(time::of(at).max(0)))
    };
    LedgerKey {
        phase: if copy { KeyPhase::Overlap } else { key.phase },
        minted_at: minted.map(time::at),
        // Whether a list need not show it yet.
        created_at: key.created_at.map(young),
        disabled_at: key.disabled_at.filter(|_| key.phase == KeyPhase::Disabled && !copy).map(young),
        published_at: key.published_at.map(young),
        disable_at: due(key.disable_at, KeyPhase::Overlap),
        delete_at: due(key.delete_at, KeyPhase::Disabled),
        ..key.clone()
    }
}

/// A moment, as far as it matters whether the lag of lists is over.
fn young(at: Timestamp) -> Timestamp {
    time::at(time::of(at).max(-LAG - 1))
}

/// What is left of an object that is gone: suspects were reported, and are a person's business from then on.
pub fn reported(status: &Status) -> Option<Shared<Status>> {
    let suspects = status.suspects.clone();
    (!suspects.is_empty()).then(|| Shared::new(canonical(Status { suspects, ..Status::default() })))
}

/// The times to come at which something in this status changes, in units; with `looks`, lost attempts are looked for.
pub fn moments(status: &Status, looks: bool) -> impl Iterator<Item = Time> + '_ {
    let endings = status.keys.iter().filter_map(|k| match k.phase {
        KeyPhase::Overlap => k.disable_at.map(time::of),
        KeyPhase::Disabled => k.delete_at.map(time::of),
        KeyPhase::Pending | KeyPhase::Active => None,
    });
    let repairs = status.keys.iter().filter_map(|k| k.minted_at.map(|at| time::of(at) + DRIFT));
    let settled = status.pending.iter().map(|p| time::of(p.started_at) + SETTLE);
    let windows = status.lost.iter().map(|l| time::of(l.until) + LAG + 1);
    let looked_for = status.lost.iter().filter(move |l| looks && l.fenced);
    let looked_for = looked_for.map(|l| time::of(l.backend_time) + 2 * SETTLE);
    let backoff = status.last_failure_time.map(|at| time::of(at) + BACKOFF);
    endings.chain(repairs).chain(settled).chain(windows).chain(looked_for).chain(backoff).filter(|at| *at > 0)
}

/// The end of the window of an attempt that listed at `backend_time`.
pub fn window_end(backend_time: Time) -> Time {
    backend_time + HORIZON
}
