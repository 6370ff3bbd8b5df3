//! When an old key was last used to log in, as the backend tells it: by day, and days late. An advisory gate: what it tells holds
//! a key beyond its overlap for `deleteAfter` at most, and never ends one sooner.

use std::time::Duration;

use jiff::Timestamp;

use super::step::Plan;
use super::story;
use super::table::Table;
use super::{Need, ledger};
use crate::api::v1alpha1::{KeyPhase, LedgerKey, ServiceAccountKeyStatus};
use crate::domain::Reason;
use crate::domain::schedule::{Schedule, add, between, until_audit};

/// A use is told by its day alone.
const DAY: Duration = Duration::from_hours(24);

/// The last use of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastUse {
    /// The beginning of the day on which it was used; none that is known.
    pub day: Option<Timestamp>,
    /// Until when the backend knows of uses.
    pub known_until: Option<Timestamp>,
}

impl Table<'_> {
    /// The key whose last use must be known before it may end.
    pub(super) fn unread_use(
        &self,
        status: &ServiceAccountKeyStatus,
        id: &str,
        schedule: &Schedule,
    ) -> Option<Plan> {
        let asked = schedule.require_unused_for.is_some() && !self.obs.last_use.contains_key(id);
        asked.then(|| Plan::need("13", Need::LastUse { id: id.to_owned() }, status))
    }

    /// Whether a key may not end yet, for all that was read of its use.
    pub(super) fn is_in_use(&self, key: &LedgerKey, schedule: &Schedule) -> bool {
        key.phase == KeyPhase::Overlap && self.why_held(key, schedule).is_some()
    }

    /// Why a key whose overlap is over is likely to be missed when it ends.
    pub(super) fn still_used(
        &self,
        status: &ServiceAccountKeyStatus,
        id: &str,
        schedule: &Schedule,
    ) -> Option<String> {
        ledger::find(status, id).filter(|key| key.phase == KeyPhase::Overlap)?;
        self.why_in_use(id, schedule)
    }

    /// Nothing holds a key for good: a report that never comes, or a workload that was forgotten, would keep it for ever.
    fn why_held(&self, key: &LedgerKey, schedule: &Schedule) -> Option<String> {
        let until = add(key.disable_at?, schedule.delete_after);
        let why = self.why_in_use(&key.id, schedule).filter(|_| self.now < until)?;
        Some(format!("Key {} stays enabled until {until:.0}: {why}", key.id))
    }

    /// The keys whose overlap is over, and that seem to be in use.
    pub(super) fn held_by_use(&self, waiting: &Plan, schedule: &Schedule) -> Option<Plan> {
        let over = waiting.status.keys.iter().filter(|k| k.phase == KeyPhase::Overlap);
        let why: Vec<String> = over.filter_map(|key| self.why_held(key, schedule)).collect();
        if why.is_empty() {
            return None;
        }
        let mut status = waiting.status.clone();
        story::held(self.obs, &mut status, Reason::KeyInUse, &why.join("; "), self.now);
        // The backend tells it by day: each look at the account is often enough.
        let held = waiting.status.keys.iter().filter(|key| self.is_in_use(key, schedule));
        let ends = held.filter_map(|key| key.disable_at).map(|at| add(at, schedule.delete_after));
        let ends = ends.map(|at| between(self.exact, at)).min();
        let look = until_audit(self.timing.audit, self.obs.looked_at, self.exact);
        let requeue = look.max(self.timing.settle).min(ends.unwrap_or(Duration::MAX));
        Some(Plan { status, requeue, ..waiting.clone() })
    }

    fn why_in_use(&self, id: &str, schedule: &Schedule) -> Option<String> {
        let required = schedule.require_unused_for?;
        let told = match self.obs.last_use.get(id)? {
            Ok(told) => told,
            Err(trouble) => return Some(format!("its last use cannot be read: {}", trouble.message)),
        };
        let day = told.day?;
        let known_until = told.known_until.unwrap_or(self.now);
        if between(add(day, DAY), known_until) >= required && add(day, DAY) <= known_until {
            return None;
        }
        Some(format!(
            "it was used on {} to log in, and the backend does not show {} without a use since (it tells of uses until \
             {known_until:.0})",
            day.strftime("%F"),
            humantime(required),
        ))
    }
}

/// In the units of the spec.
fn humantime(length: Duration) -> String {
    let seconds = length.as_secs();
    match (seconds % 3600, seconds % 60) {
        (0, _) => format!("{}h", seconds / 3600),
        (_, 0) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
