//! What people ask for by annotation: a rotation, a revocation, what becomes of suspects.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{Former, Secret};
use super::step::{Need, Plan, Step};
use super::story;
use super::table::Table;
use super::{Account, ledger, retire};
use crate::api::v1alpha1::meta::{REVOKE_AT, ROTATE_AT};
use crate::api::v1alpha1::{KeyOrigin, KeyPhase, LedgerKey, ServiceAccountKeyStatus};
use crate::defect;
use crate::domain::schedule::add;
use crate::domain::{Event, Reason};

/// The revocation that is due and was not carried out.
pub(super) fn revocation(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Timestamp> {
    let asked = table.obs.requests.revoke_at.filter(|at| *at <= table.now)?;
    status.handled.revoke_at.is_none_or(|done| done < asked).then_some(asked)
}

/// The rotation that is due and was not carried out.
pub(super) fn rotation(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Timestamp> {
    let asked = table.obs.requests.rotate_at.filter(|at| *at <= table.now)?;
    status.handled.rotate_at.is_none_or(|done| done < asked).then_some(asked)
}

/// Whether a key was made before a revocation. One whose making nobody remembers was.
pub(super) fn is_revoked(key: &LedgerKey, at: Timestamp) -> bool {
    let spared = defect!(RevokedSurvives) && wrongly_spared(key);
    !spared && key.minted_at.is_none_or(|minted| minted < at)
}

/// Marks what was carried out by what the status says now: a rotation by any publication after it, a revocation once no
/// older key is left.
pub(super) fn mark_handled(table: &Table<'_>, status: &mut ServiceAccountKeyStatus) {
    let Some(active) = ledger::active(status).cloned() else { return };
    if let Some(asked) = rotation(table, status)
        // Times are whole seconds: a key of that very second may be older.
        && active.published_at.is_some_and(|at| at > asked)
    {
        status.handled.rotate_at = Some(asked);
    }
    if let Some(asked) = revocation(table, status)
        && !status.keys.iter().any(|k| is_revoked(k, asked))
        && status.pending.as_ref().is_none_or(|p| p.started_at >= asked)
    {
        status.handled.revoke_at = Some(asked);
    }
}

impl Table<'_> {
    /// An attempt that was begun before a revocation makes a key that is revoked, too.
    pub(super) fn revoke_attempt(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        let asked = revocation(self, status)?;
        status.pending.as_ref().filter(|p| p.started_at < asked)?;
        Some(self.give_up("8r", status))
    }

    /// A revoked key that is not published is ended at once: no overlap is owed to it, and it frees a slot.
    pub(super) fn revoke_old(&self, status: &ServiceAccountKeyStatus, account: &Account) -> Option<Plan> {
        let asked = revocation(self, status)?;
        let published = match &self.obs.secret {
            Secret::Ours(secret) => secret.key_id.as_deref(),
            _ => None,
        };
        if let Some(former) = self.drop_revoked_former(status, asked) {
            return Some(former);
        }
        let elsewhere = |k: &LedgerKey| {
            self.obs.former.iter().any(|former| former.key_ids.contains(&k.id))
                || self.obs.renamed_from.as_ref().is_some_and(|old| old.key_id.as_ref() == Some(&k.id))
        };
        let revoked = |k: &&LedgerKey| {
            matches!(k.phase, KeyPhase::Overlap | KeyPhase::Disabled)
                && is_revoked(k, asked)
                && published != Some(k.id.as_str())
                && !elsewhere(k)
                && !self.is_stuck_as_previous(status, &k.id)
                && !self.obs.is_key_put_off(&k.id)
        };
        let key = status.keys.iter().find(revoked)?;
        if ledger::is_unfenced(status, key) {
            // Somebody may still publish it: first no older write of the Secret can succeed any more.
            return self.fence(status);
        }
        // What stays staged would be found again, and ended again.
        if let Some(staged) = self.unstageable().find(|s| s.key_id.as_ref() == Some(&key.id)) {
            return Some(self.adopt_or_unstage("9", status, staged, Duration::ZERO));
        }
        if let Some(dropped) = self.drop_previous(status, account, &key.id) {
            return Some(dropped);
        }
        if defect!(RevokeWaitsForRollout) && self.is_awaited(status) {
            if self.obs.rollout.is_none() {
                return Some(Plan::need("13r", Need::Rollout, status));
            }
            self.unfinished_rollout(status).is_none().then_some(())?;
        }
        if !self.obs.confirmed {
            return Some(Plan::need("13r", Need::Confirm, status));
        }
        let mut ending = retire::delete(self, status, key);
        mark_handled(self, &mut ending.status);
        let event = Event::normal(Reason::KeyDeleted, format!("Key {} is revoked", key.id));
        Some(Plan { events: vec![event], ..Plan::act("13r", ending.step, ending.status) })
    }

    /// A Secret of a former name that shows a revoked key goes before that key does: once the one of today is good, nobody
    /// is to read it any more.
    fn drop_revoked_former(&self, status: &ServiceAccountKeyStatus, asked: Timestamp) -> Option<Plan> {
        let good = self.obs.secret.ours().is_some() && story::publishes(self.obs, status);
        let active = ledger::active(status).filter(|k| good && !is_revoked(k, asked))?;
        let shows = |former: &Former| {
            let mut ids = former.key_ids.iter().filter(|id| **id != active.id);
            ids.any(|id| ledger::find(status, id).is_some_and(|k| is_revoked(k, asked)))
        };
        let theirs: Vec<&str> =
            self.obs.former.iter().filter(|f| shows(f)).map(|former| former.name.as_str()).collect();
        self.drop_former(status, |former| theirs.contains(&former.name.as_str()))
    }

    /// What was carried out without a write of its own is marked: what was asked for ends visibly.
    pub(super) fn settle_requests(&self, status: &ServiceAccountKeyStatus) -> Option<Plan> {
        let mut after = status.clone();
        mark_handled(self, &mut after);
        self.claims(&mut after);
        if after.handled == status.handled && after.suspects == status.suspects {
            return None;
        }
        story::suspects(self.obs, &mut after, self.now);
        let events = without_effect(status, &after);
        Some(Plan { events, ..Plan::act("14a", Step::WriteStatus, after) })
    }

    /// Suspects that a person claims are ended like any other old key; those that are disowned are forgotten.
    fn claims(&self, status: &mut ServiceAccountKeyStatus) {
        let requests = &self.obs.requests;
        let overlap = self
            .obs
            .spec
            .rotation
            .as_ref()
            .map(|r| r.overlap.to_duration().unwrap_or_default())
            .unwrap_or_default();
        for suspect in std::mem::take(&mut status.suspects) {
            if requests.disown.contains(&suspect.id) {
                continue;
            }
            if !requests.claim.contains(&suspect.id) {
                status.suspects.push(suspect);
                continue;
            }
            let mut key = ledger::entry(&suspect.id, KeyPhase::Overlap, KeyOrigin::Orphan, 0);
            key.created_at = suspect.created_at;
            key.minted_at = suspect.created_at;
            key.disable_at = Some(add(self.now, overlap));
            ledger::put(status, key);
        }
    }
}

/// Who asks for what is done already may have given the wrong time, and believe a leaked key to be dead.
fn without_effect(before: &ServiceAccountKeyStatus, after: &ServiceAccountKeyStatus) -> Vec<Event> {
    let (done, was) = (&after.handled, &before.handled);
    let revoked = done.revoke_at.filter(|at| Some(*at) != was.revoke_at).map(|at| {
        format!("{REVOKE_AT} {at}: nothing is left to revoke, as all keys of today were made after that time. To end them, name a later time")
    });
    let rotated = done.rotate_at.filter(|at| Some(*at) != was.rotate_at).map(|at| {
        format!("{ROTATE_AT} {at}: nothing is left to do, as the key of today was published after that time. To replace it, name a later time")
    });
    revoked
        .into_iter()
        .chain(rotated)
        .map(|note| Event::warning(Reason::RequestWithoutEffect, note))
        .collect()
}

/// Wrong on purpose: what is out of use already is left to its overlap.
fn wrongly_spared(key: &LedgerKey) -> bool {
    key.phase != KeyPhase::Active
}
