//! What somebody else did to our keys at the backend: recorded in the ledger, where the other rules find it.

use jiff::Timestamp;

use super::observation::KeyList;
use super::step::{Need, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{ListedKey, ledger};
use crate::api::v1alpha1::{KeyPhase, KeySeen, LedgerKey, ServiceAccountKeyStatus};
use crate::domain::schedule::{Schedule, add, between, is_audit_due};
use crate::domain::{Event, Reason};

impl Table<'_> {
    /// Compares the ledger with the backend's list once an audit period.
    pub(super) fn audit(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Option<Plan> {
        let obs = self.obs;
        let due = is_audit_due(self.timing.audit, obs.looked_at, self.exact);
        let list = match (&obs.keys, &obs.audited) {
            (Some(list), _) | (None, Some(list)) => list,
            (None, None) if due && !status.keys.is_empty() => {
                return Some(Plan::need("13a", Need::Audit, status));
            }
            (None, None) => return None,
        };
        let (after, events) = self.compared(status, schedule, list)?;
        if obs.keys.is_none() {
            // What any object saw lately is enough to see that all is well, not to act on.
            return Some(Plan::need("13a", Need::Keys, status));
        }
        Some(Plan { events, ..Plan::act("13a", Step::WriteStatus, after) })
    }

    /// The status with what the list shows, if it differs.
    pub(super) fn compared(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        list: &KeyList,
    ) -> Option<(ServiceAccountKeyStatus, Vec<Event>)> {
        let KeyList::Listed { keys, backend_time } = list else { return None };
        let mut after = status.clone();
        let mut events = Vec::new();
        after.keys.retain_mut(|key| self.compare(key, keys, *backend_time, schedule, &mut events));
        if after.keys == status.keys {
            return None;
        }
        let ends = |s: &ServiceAccountKeyStatus| ledger::active(s).map(|k| k.expires_at);
        if ends(&after) != ends(status) {
            // Nobody remembered when it ends.
            after.next_rotation_time = None;
            self.reschedule(&mut after, schedule);
        }
        story::tell(self.obs, &mut after, &Mood::Working, self.now);
        Some((after, events))
    }

    /// Whether the key stays in the ledger.
    fn compare(
        &self,
        key: &mut LedgerKey,
        listed: &[ListedKey],
        backend_time: Timestamp,
        schedule: &Schedule,
        events: &mut Vec<Event>,
    ) -> bool {
        if key.phase == KeyPhase::Pending {
            return true;
        }
        // Reads lag behind writes: what we did ourselves a moment ago need not show yet.
        let lagging = |since: Option<Timestamp>| {
            since.is_some_and(|at| between(at, self.now.max(backend_time)) <= self.timing.list_lag)
        };
        let Some(found) = listed.iter().find(|k| k.id == key.id) else {
            if lagging(key.created_at.max(key.minted_at).max(key.published_at)) {
                return true;
            }
            if key.phase != KeyPhase::Active {
                return false;
            }
            if key.seen != Some(KeySeen::Gone) {
                let note = format!(
                    "Key {} was deleted at the backend by somebody else: it is replaced at once",
                    key.id
                );
                events.push(Event::warning(Reason::KeyEndedByOthers, note));
            }
            key.seen = Some(KeySeen::Gone);
            return true;
        };
        key.created_at = key.created_at.or(found.created_at);
        key.expires_at = key.expires_at.or(found.expires_at);
        if found.extended_status != key.extended_status
            && let Some(told) = &found.extended_status
        {
            let note = format!("The backend says about key {}: {told}", key.id);
            events.push(Event::warning(Reason::KeyReported, note));
        }
        key.extended_status.clone_from(&found.extended_status);
        if key.phase != KeyPhase::Disabled {
            // Of what we disabled ourselves the backend says only that somebody did.
            key.disable_reason.clone_from(&found.disable_reason);
        }
        let why = found.disable_reason.as_deref().unwrap_or("no reason given");
        match key.phase {
            KeyPhase::Active if found.disabled => {
                if key.seen != Some(KeySeen::Disabled) && !lagging(key.published_at) {
                    let note = format!(
                        "Key {} was disabled by somebody else ({why}): it is replaced at once",
                        key.id
                    );
                    events.push(Event::warning(Reason::KeyEndedByOthers, note));
                    key.seen = Some(KeySeen::Disabled);
                }
            }
            KeyPhase::Overlap if found.disabled => {
                events.push(Event::warning(
                    Reason::KeyEndedByOthers,
                    format!(
                        "Key {} was disabled by somebody else before its overlap was over ({why})",
                        key.id
                    ),
                ));
                key.phase = KeyPhase::Disabled;
                key.disabled_at = Some(self.now);
                key.delete_at = Some(add(self.now, schedule.delete_after));
            }
            KeyPhase::Disabled if !found.disabled => {
                if key.seen != Some(KeySeen::Enabled) && !lagging(key.disabled_at) {
                    let note = format!("Key {} was enabled again by somebody else: it is left so", key.id);
                    events.push(Event::warning(Reason::KeyEnabledByOthers, note));
                    key.seen = Some(KeySeen::Enabled);
                }
            }
            _ => key.seen = None,
        }
        true
    }
}
