//! Rules 12, 14 and 15: attempts whose answer was lost.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{KeyList, Secret};
use super::step::{Need, Plan, Step};
use super::story;
use super::table::Table;
use super::{ListedKey, ledger};
use crate::api::v1alpha1::{LostAttempt, ServiceAccountKeyStatus, SuspectKey};
use crate::defect;
use crate::domain::schedule::{add, sub};

impl Table<'_> {
    /// Rule 12: after this write of the Secret no older one can succeed, so nobody can publish a lost key.
    pub(super) fn fence(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        if secret.key_id.is_none() || secret.key_id != status.active_key_id {
            return None;
        }
        let unfenced: Vec<&str> =
            status.lost.iter().filter(|l| !l.fenced).map(|l| l.nonce.as_str()).collect();
        if unfenced.is_empty() {
            return None;
        }
        let mark = unfenced.join(",");
        let mut after = status.clone();
        for lost in &mut after.lost {
            lost.fenced = true;
        }
        Some(Plan::act("12", Step::Fence { mark }, after))
    }

    /// Rules 14 and 15, as far as they need no proof: a key that appeared in a lost attempt's window is
    /// reported as a suspect and never touched; a window that can bring nothing more is closed. A suspect that is
    /// gone at the backend is dropped.
    pub(super) fn settle_lost(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        // With no Secret there is nothing to fence; so long after it no first publication can leave any more.
        let unpublishable = |lost: &LostAttempt| lost.fenced || self.obs.secret == Secret::Absent;
        let closable = |lost: &LostAttempt, now: Timestamp| {
            unpublishable(lost) && (add(lost.until, self.timing.list_lag) < now || defect!(CloseEarly))
        };
        if status.suspects.is_empty() && !status.lost.iter().any(|l| closable(l, self.now)) {
            return None;
        }
        let (keys, backend_time) = match &self.obs.keys {
            None => return Some(Plan::need("15", Need::Keys, status)),
            Some(KeyList::Unreadable(_)) => return None,
            Some(KeyList::Listed { keys, backend_time }) => (keys, *backend_time),
        };
        let mut after = status.clone();
        after.suspects.retain(|s| keys.iter().any(|k| k.id == s.id));
        for lost in status.lost.iter().filter(|l| closable(l, backend_time)) {
            for key in keys.iter().filter(|k| is_candidate(k, lost, status)) {
                if !after.suspects.iter().any(|s| s.id == key.id) {
                    after.suspects.push(SuspectKey {
                        id: key.id.clone(),
                        created_at: key.created_at,
                        since: self.now,
                    });
                }
            }
            after.lost.retain(|l| l.nonce != lost.nonce);
        }
        if after.lost == status.lost && after.suspects == status.suspects {
            return None;
        }
        story::suspects(self.obs, &mut after, self.now);
        Some(Plan::act("15", Step::WriteStatus, after))
    }
}

/// Whether a listed key may come from a lost attempt: made in its window, by the backend, and nobody's that we
/// know of.
fn is_candidate(key: &ListedKey, lost: &LostAttempt, status: &ServiceAccountKeyStatus) -> bool {
    key.made_by_backend
        && ledger::find(status, &key.id).is_none()
        && !lost.known_key_ids.contains(&key.id)
        // A backend gives whole seconds.
        && key.created_at.is_none_or(|at| sub(lost.backend_time, Duration::from_secs(1)) <= at && at <= lost.until)
}
