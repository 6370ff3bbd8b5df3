//! What is written into the consumer Secret: a proved key (rule 8c), or the same one again (rule 11), also under
//! another name.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{Former, Published, Secret, StagedKey};
use super::step::{Need, Plan, Publication, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, ledger, requests, retire};
use crate::api::v1alpha1::{
    EntryFormat, FormerSecret, KeyPhase, KeySeen, LedgerKey, PendingAttempt, ServiceAccountKeyStatus,
};
use crate::defect;
use crate::domain::schedule::{Schedule, add, between, whole_second_after};
use crate::domain::{Event, Reason, names};

impl Table<'_> {
    /// Rule 8c: the proved key of the open attempt.
    pub(super) fn publish(
        &self,
        status: &ServiceAccountKeyStatus,
        pending: &PendingAttempt,
        staged: &StagedKey,
        schedule: &Schedule,
        account: &Account,
    ) -> Plan {
        if let Some(announced) = self.announce(status, schedule) {
            return announced;
        }
        let public = self.still_trusted(status, ledger::active(status).map(|active| active.id.as_str()));
        if let Some(unread) = self.unread_half("8c", status, &public) {
            return unread;
        }
        let publication = Publication {
            staged_nonce: Some(pending.nonce.clone()),
            key_id: staged.id.clone(),
            attempt: pending.attempt,
            published_at: whole_second_after(add(self.now, Duration::from_nanos(1))),
            account: staged.account.clone(),
            email: account.email.clone(),
            previous: self.superseded(status),
            public,
            ledger: if defect!(NoLedgerCopy) { Vec::new() } else { older_keys(status, &staged.id) },
        };
        Plan::act("8c", Step::Publish(Box::new(publication)), status.clone())
    }

    /// The key whose credential stays readable under `.previous` when another one is published: the active one, if it
    /// goes on working.
    fn superseded(&self, status: &ServiceAccountKeyStatus) -> Option<String> {
        let active = ledger::active(status).filter(|_| self.obs.spec.secret.previous)?;
        let revoked = requests::revocation(self, status).is_some_and(|at| requests::is_revoked(active, at));
        let readable = story::publishes(self.obs, status) && active.seen.is_none() && !revoked;
        readable.then(|| active.id.clone())
    }

    /// Keys whose signatures are still good beside those of the published one: the ones in their overlap, and the one that is
    /// replaced.
    fn still_trusted(&self, status: &ServiceAccountKeyStatus, replaced: Option<&str>) -> Vec<String> {
        let revoked =
            |k: &LedgerKey| requests::revocation(self, status).is_some_and(|at| requests::is_revoked(k, at));
        let works = |k: &&LedgerKey| k.phase == KeyPhase::Overlap || Some(k.id.as_str()) == replaced;
        let trusted = |k: &&LedgerKey| works(k) && k.seen.is_none() && !revoked(k);
        status.keys.iter().filter(trusted).map(|k| k.id.clone()).collect()
    }

    /// A public half that is to be shown and is not at hand, because the entry is new or the Secret that showed it was edited
    /// or lost: the backend is asked for it.
    fn unread_half(
        &self,
        rule: &'static str,
        status: &ServiceAccountKeyStatus,
        shown: &[String],
    ) -> Option<Plan> {
        let id = shown.iter().find(|id| self.is_half_unread(status, id))?;
        Some(Plan::need(rule, Need::PublicHalf { id: id.clone() }, status))
    }

    /// One that cannot be had now is left out: no publication waits for it. A key that was never published signed nothing.
    fn is_half_unread(&self, status: &ServiceAccountKeyStatus, id: &str) -> bool {
        let published = ledger::find(status, id).is_some_and(|key| key.published_at.is_some());
        self.shows_public_halves()
            && published
            && !self.obs.public_halves.contains(id)
            && !self.obs.is_half_put_off(id)
    }

    fn shows_public_halves(&self) -> bool {
        self.obs.spec.secret.entries.iter().any(|entry| entry.format == EntryFormat::PublicJwks)
    }

    /// Rule 11: the Secret's private half is good, the rest is not as specified.
    pub(super) fn rewrite(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let secret = self.obs.secret.ours()?;
        let active = ledger::active(status)?;
        let previous = self.kept_previous(status, secret);
        // One that left because it is about to end does not come back.
        let ends = retire::due(self, status, account, schedule).is_some();
        let is_over = |key: &LedgerKey| ends && retire::is_past(key.disable_at, self.now);
        let mut trusted = self.still_trusted(status, None);
        trusted.retain(|id| secret.public_ids.contains(id) || !ledger::find(status, id).is_some_and(is_over));
        let untrusted = secret.public_ids.iter().any(|id| !trusted.contains(id));
        let as_written = secret.as_specified && previous == secret.previous_key_id && !untrusted;
        // What could not be had when it was written.
        let had = |id: &String| self.obs.public_halves.contains(id) || self.is_half_unread(status, id);
        let lacking =
            self.shows_public_halves() && trusted.iter().any(|id| !secret.public_ids.contains(id) && had(id));
        if as_written && !lacking {
            return self.renamed(status, schedule, secret);
        }
        if let Some(until) = self.obs.rewrites_resume.filter(|until| *until > self.exact) {
            let message =
                "Somebody keeps changing entries, labels or annotations that the spec gives the Secret";
            let contested = Mood::Waiting(Reason::SecretContested, message.to_owned());
            let mood = if as_written { self.rest(schedule) } else { contested };
            let plan = self.wait("11", status.clone(), &mood, schedule);
            return Some(Plan { requeue: plan.requeue.min(between(self.exact, until)), ..plan });
        }
        if self.obs.is_rewriting_put_off() {
            return None;
        }
        if let Some(unread) = self.unread_half("11", status, &trusted) {
            return Some(unread);
        }
        let note = format!("Secret {} is written again as the spec says", story::secret_name(self.obs));
        let event = Event::normal(Reason::SecretRepaired, note);
        let shown = Shown { previous, public: trusted };
        let step = republication(status, active, secret.published_at, account, shown, self.now);
        Some(Plan { events: vec![event], ..Plan::act("11", step, status.clone()) })
    }

    /// The key that `.previous` goes on showing: still enabled, and wanted.
    fn kept_previous(&self, status: &ServiceAccountKeyStatus, secret: &Published) -> Option<String> {
        let id = secret.previous_key_id.as_ref().filter(|_| self.obs.spec.secret.previous)?;
        let key = ledger::find(status, id)?;
        let revoked = requests::revocation(self, status).is_some_and(|at| requests::is_revoked(key, at));
        (key.phase == KeyPhase::Overlap && !revoked).then(|| id.clone())
    }

    /// A key that is about to end leaves the `.previous` and the `PublicJwks` entries first.
    pub(super) fn drop_previous(
        &self,
        status: &ServiceAccountKeyStatus,
        account: &Account,
        ending: &str,
    ) -> Option<Plan> {
        let secret = self.obs.secret.ours()?;
        let private = secret.previous_key_id.as_deref() == Some(ending);
        // A public half that cannot be taken out now holds nothing: it goes when the Secret is next written.
        let public = secret.public_ids.iter().any(|id| id == ending) && !self.obs.is_rewriting_put_off();
        if !private && !public {
            return None;
        }
        let active = ledger::active(status)
            .filter(|active| secret.credential.is(active.public_key_sha256.as_deref()))?;
        let mut shown =
            Shown { previous: self.kept_previous(status, secret), public: self.still_trusted(status, None) };
        shown.previous = shown.previous.filter(|id| id != ending);
        shown.public.retain(|id| id != ending);
        let step = republication(status, active, secret.published_at, account, shown, self.now);
        Some(Plan::act("13p", step, status.clone()))
    }

    /// Whether the `.previous` entries show a key and cannot be taken away: the Secret lacks the private half that it would
    /// be written again with, or may not be written now. The next publication takes them away.
    pub(super) fn is_stuck_as_previous(&self, status: &ServiceAccountKeyStatus, id: &str) -> bool {
        let shown = self.obs.secret.ours().filter(|s| s.previous_key_id.as_deref() == Some(id));
        shown.is_some_and(|secret| {
            self.obs.is_rewriting_put_off()
                || !ledger::active(status)
                    .is_some_and(|a| secret.credential.is(a.public_key_sha256.as_deref()))
        })
    }

    /// The name in the spec was changed: the Secret of the old one is written down before anything is written under the
    /// new one, be it the same key or the next. Otherwise nobody would know that it goes on publishing its key.
    pub(super) fn note_former(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Option<Plan> {
        let old = self.obs.renamed_from.as_ref().filter(|_| !defect!(RenameForgotten))?;
        let name = status.secret_name.clone()?;
        if status.former_secrets.iter().any(|f| f.uid == old.uid) {
            return None;
        }
        let mut after = status.clone();
        after.former_secrets.retain(|f| f.name != name);
        after.former_secrets.push(FormerSecret {
            name,
            uid: old.uid.clone(),
            delete_at: if defect!(FormerGoesAtOnce) { self.now } else { add(self.now, schedule.overlap) },
        });
        self.put_down(&mut after, schedule);
        Some(Plan::act("11", Step::WriteStatus, after))
    }

    /// A Secret that is not there yet is written down before it is created: if the spec gives up its name before the status
    /// records it, somebody must still know that it publishes a key.
    pub(super) fn announce(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Option<Plan> {
        let mut after = status.clone();
        self.put_down(&mut after, schedule);
        (after != *status).then(|| Plan::act("11", Step::WriteStatus, after))
    }

    fn put_down(&self, after: &mut ServiceAccountKeyStatus, schedule: &Schedule) {
        let name = story::secret_name(self.obs);
        let known = after.former_secrets.iter().any(|f| f.name == name);
        if self.obs.secret != Secret::Absent || known || after.secret_name.as_ref() == Some(&name) {
            return;
        }
        if after.secret_name.is_none() {
            after.secret_name = Some(name);
            return;
        }
        let delete_at = add(self.now, schedule.overlap);
        after.former_secrets.push(FormerSecret { name, uid: String::new(), delete_at });
    }

    /// The same credential is published under the new name, before another key is made: a full account must not stand in
    /// its way. One that is revoked or ended is not worth it.
    pub(super) fn rename(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let old = self.obs.renamed_from.as_ref()?;
        let active = ledger::active(status)?;
        let revoked = requests::revocation(self, status).is_some_and(|at| requests::is_revoked(active, at));
        if revoked || matches!(active.seen, Some(KeySeen::Gone | KeySeen::Disabled)) {
            return None;
        }
        if self.obs.secret != Secret::Absent || !holds(old, active) || self.obs.is_rewriting_put_off() {
            return None; // rules 7 and 11 see to a Secret that is there, rule 10 to a credential that is lost
        }
        if let Some(announced) = self.announce(status, schedule) {
            return Some(announced);
        }
        let public = self.still_trusted(status, None);
        if let Some(unread) = self.unread_half("11", status, &public) {
            return Some(unread);
        }
        if !self.obs.confirmed {
            return Some(Plan::need("11", Need::Confirm, status));
        }
        let note = format!("The key is published in Secret {}, too", story::secret_name(self.obs));
        let event = Event::normal(Reason::KeyPublished, note);
        let shown = Shown { previous: None, public };
        let step = republication(status, active, old.published_at, account, shown, self.now);
        Some(Plan { events: vec![event], ..Plan::act("11", step, status.clone()) })
    }

    /// The Secret of the new name publishes the key: the status names it.
    fn renamed(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        secret: &Published,
    ) -> Option<Plan> {
        let name = story::secret_name(self.obs);
        if status.secret_name.as_ref() == Some(&name) || secret.key_id != status.active_key_id {
            return None;
        }
        let mut after = status.clone();
        self.named(&mut after, schedule);
        after.secret_resource_version = Some(secret.resource_version.clone());
        story::tell(self.obs, &mut after, &Mood::Settled, self.now);
        Some(Plan::act("11", Step::WriteStatus, after))
    }

    /// The Secret of the name in the spec publishes a key: the overlap of the one before begins now.
    pub(super) fn named(&self, after: &mut ServiceAccountKeyStatus, schedule: &Schedule) {
        let name = story::secret_name(self.obs);
        // Renamed back: it is not to be deleted any more.
        after.former_secrets.retain(|f| f.name != name);
        let before = after.secret_name.replace(name.clone()).filter(|before| *before != name);
        // One that was only announced may have been published for a moment, too.
        let given_up = |f: &&mut FormerSecret| Some(&f.name) == before.as_ref() || f.uid.is_empty();
        for former in after.former_secrets.iter_mut().filter(given_up).filter(|_| !defect!(FormerGoesAtOnce))
        {
            former.delete_at = former.delete_at.max(add(self.now, schedule.overlap));
        }
    }

    /// Rule 11b: a Secret of a former name whose overlap is over.
    pub(super) fn end_former(&self, status: &ServiceAccountKeyStatus, schedule: &Schedule) -> Option<Plan> {
        // As long as the new Secret is not there, the old one is all that workloads have.
        if schedule.suspend || self.obs.secret.ours().is_none() || !story::publishes(self.obs, status) {
            return None;
        }
        self.drop_former(status, |former| former.delete_at <= self.now)
    }

    /// Deletes a former Secret that is due, and drops its entry.
    pub(super) fn drop_former(
        &self,
        status: &ServiceAccountKeyStatus,
        due: impl Fn(&FormerSecret) -> bool,
    ) -> Option<Plan> {
        // By name: one that somebody made again there shows the key like the one before.
        let seen = |f: &FormerSecret| self.obs.former.iter().find(|there: &&Former| there.name == f.name);
        // One that somebody's finalizer holds is being deleted already.
        let stuck = |f: &FormerSecret| {
            self.obs.is_secret_put_off(&f.name) || seen(f).is_some_and(|there| there.held_by.is_some())
        };
        let former = status.former_secrets.iter().find(|f| due(f) && !stuck(f))?;
        let mut after = status.clone();
        after.former_secrets.retain(|f| f.name != former.name);
        let there = seen(former);
        // The spec may name it again.
        let current = self.obs.secret.ours().zip(there).is_some_and(|(s, there)| s.uid == there.uid);
        let Some(there) = there.filter(|_| !current) else {
            return Some(Plan::act("11b", Step::WriteStatus, after));
        };
        if !self.obs.confirmed {
            return Some(Plan::need("11b", Need::Confirm, status));
        }
        let step = Step::DeleteFormer {
            name: there.name.clone(),
            uid: there.uid.clone(),
            resource_version: there.resource_version.clone(),
        };
        let note = format!("Secret {}, which published the key under a former name, is deleted", there.name);
        let event = Event::normal(Reason::FormerSecretDeleted, note);
        Some(Plan { events: vec![event], ..Plan::act("11b", step, after) })
    }
}

/// Whether a Secret publishes this key, by mark and by content.
pub(super) fn holds(secret: &Published, key: &LedgerKey) -> bool {
    secret.key_id.as_ref() == Some(&key.id) && secret.credential.is(key.public_key_sha256.as_deref())
}

/// What the Secret shows beside the published key.
struct Shown {
    previous: Option<String>,
    public: Vec<String>,
}

/// The same credential once more.
fn republication(
    status: &ServiceAccountKeyStatus,
    active: &LedgerKey,
    published_at: Option<Timestamp>,
    account: &Account,
    shown: Shown,
    now: Timestamp,
) -> Step {
    Step::Publish(Box::new(Publication {
        staged_nonce: None,
        key_id: active.id.clone(),
        attempt: active.attempt,
        published_at: active.published_at.or(published_at).unwrap_or(now),
        account: names::account(&account.project, &account.unique_id),
        email: account.email.clone(),
        previous: shown.previous,
        public: shown.public,
        ledger: older_keys(status, &active.id),
    }))
}

/// What the Secret says about all keys but the one it publishes.
fn older_keys(status: &ServiceAccountKeyStatus, id: &str) -> Vec<LedgerKey> {
    status.keys.iter().filter(|k| k.id != id && k.phase != KeyPhase::Pending).cloned().collect()
}
