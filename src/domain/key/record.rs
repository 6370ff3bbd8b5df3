//! Rule 7: the status follows what is written elsewhere.

use std::time::Duration;

use jiff::Timestamp;

use super::observation::{KeyList, Proof, Published, Secret, Upload};
use super::step::{Need, Plan, Step};
use super::story::{self, Mood};
use super::table::Table;
use super::{Account, Credential, attempt, ledger, requests};
use crate::api::v1alpha1::{
    Algorithm, DeletionPolicy, KeyOrigin, KeyPhase, KeySeen, LedgerKey, LostAttempt, PendingAttempt,
    ServiceAccountKeyStatus, SuspectKey, VerificationMode,
};
use crate::defect;
use crate::domain::conditions::Is;
use crate::domain::schedule::{Schedule, add};
use crate::domain::{Class, Event, Reason, Trouble, names};

/// An algorithm that backends still offer and nobody should ask for.
const WEAK: &str = Algorithm::Rsa1024.as_str();

impl Table<'_> {
    /// Rule 7: what the Secret publishes is a fact; the status follows.
    pub(super) fn record(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        let id = secret.key_id.as_ref().filter(|id| Some(*id) != status.active_key_id.as_ref())?;
        if !self.is_heard_of(status, secret, id) {
            return self.catch_up(status, schedule, account, secret, id);
        }
        let pending = self.publishing_attempt(status, secret, id);
        let known = ledger::find(status, id);
        let another = known.and_then(|k| k.public_key_sha256.as_ref()).is_some_and(|expected| {
            matches!(&secret.credential, Credential::Readable { public_key_sha256 } if public_key_sha256 != expected)
        });
        if another {
            return None; // an annotation that none of us wrote: rule 11 sets it right
        }
        if pending.is_none() && !self.obs.confirmed {
            return Some(Plan::need("7", Need::Confirm, status));
        }
        if let Some(enabled) = known.and_then(|key| self.enable_again(status, schedule, key)) {
            return Some(enabled);
        }
        Some(self.publication(self.recorded(status, schedule, account, secret, id), id))
    }

    /// Rule 3: what the Secret of an object that is being deleted publishes is learnt before the Secret goes, and ends with
    /// the others.
    pub(super) fn learn(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
    ) -> Option<Plan> {
        let Secret::Ours(secret) = &self.obs.secret else { return None };
        let id = secret.key_id.as_ref().filter(|id| !self.is_heard_of(status, secret, id))?;
        self.catch_up(status, schedule, account, secret, id)
    }

    /// Whether the status, an attempt, or a staging Secret accounts for what the Secret publishes. A staging Secret proves
    /// its key also to a status that was rebuilt meanwhile, and knows nothing of the attempt.
    pub(super) fn is_heard_of(&self, status: &ServiceAccountKeyStatus, secret: &Published, id: &str) -> bool {
        let of_attempt = |l: &LostAttempt| self.is_key_of(&l.nonce, l.public_key_sha256.as_deref(), id);
        ledger::find(status, id).is_some()
            || self.obs.staged.iter().any(|s| s.key_id.as_deref() == Some(id))
            || status.lost.iter().any(of_attempt)
            || self.publishing_attempt(status, secret, id).is_some()
    }

    fn publication(&self, after: ServiceAccountKeyStatus, id: &str) -> Plan {
        let note = format!("Secret {} publishes key {id}", story::secret_name(self.obs));
        let mut events = vec![Event::normal(Reason::KeyPublished, note)];
        if ledger::find(&after, id).is_some_and(|key| key.algorithm.as_deref() == Some(WEAK)) {
            let note = format!("Key {id} has 1024 bits, which can be broken. Set spec.algorithm: RSA_2048");
            events.push(Event::warning(Reason::WeakAlgorithm, note));
        }
        Plan { events, ..Plan::act("7", Step::WriteStatus, after) }
    }

    /// A disabled key whose credential was put back works again, until the next rule replaces it.
    fn enable_again(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        key: &LedgerKey,
    ) -> Option<Plan> {
        let revoked = requests::revocation(self, status).is_some_and(|at| requests::is_revoked(key, at));
        if key.phase != KeyPhase::Disabled || revoked || self.obs.is_enabling_put_off(&key.id) {
            return None;
        }
        let mut after = status.clone();
        if let Some(entry) = ledger::find_mut(&mut after, &key.id) {
            ledger::to_overlap(entry, add(self.now, schedule.overlap));
        }
        let note = format!("Key {} is enabled again: the Secret publishes it", key.id);
        let event = Event::warning(Reason::KeyEnabled, note);
        let step = Step::EnableKey { id: key.id.clone() };
        Some(Plan { events: vec![event], ..Plan::act("7", step, after) })
    }

    /// The Secret publishes a key that the status has never heard of: one of both was restored from another time, or the
    /// Secret was taken over while an attempt was open. The Secret is ours, and what the backend accepts is a key of its
    /// account: the status learns of it, and of all that the Secret remembers. What it does not accept is replaced by rule
    /// 11; what the Secret said is not forgotten with it.
    fn catch_up(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
        secret: &Published,
        id: &str,
    ) -> Option<Plan> {
        // A Secret that stays keeps what it says, for the object that takes it up again.
        if self.obs.deleting && self.obs.spec.secret.deletion_policy == DeletionPolicy::Retain {
            return None;
        }
        let of_account =
            secret.account.as_ref() == Some(&names::account(&account.project, &account.unique_id));
        // The private half of a key that is known says that only the mark was changed.
        let half =
            |k: &LedgerKey| k.public_key_sha256.as_deref().is_some_and(|sha| secret.credential.is(Some(sha)));
        if !of_account || status.keys.iter().any(half) {
            return None;
        }
        if !matches!(secret.credential, Credential::Readable { .. }) {
            return self.remember(status, secret);
        }
        if self.obs.spec.verification.mode == VerificationMode::TokenExchange {
            match &self.obs.secret_proof {
                None => return Some(Plan::need("7", Need::SecretProof, status)),
                Some(Proof::Accepted { .. }) => {}
                Some(Proof::Refused { .. }) => return self.remember(status, secret),
                Some(Proof::Unavailable(trouble)) => return Some(self.cannot_be_told(status, trouble)),
            }
        }
        match &self.obs.keys {
            None => return Some(Plan::need("7", Need::Keys, status)),
            Some(KeyList::Unreadable(trouble)) => return Some(self.cannot_be_told(status, trouble)),
            Some(KeyList::Listed { .. }) => {}
        }
        let Some(siblings) = &self.obs.siblings else {
            return Some(Plan::need("7", Need::Siblings, status));
        };
        // The credential of another object, put here by hand, is replaced; its key is the other's.
        if siblings.claimed.iter().any(|claimed| claimed == id) {
            return None;
        }
        // Where nothing was proved, it must at least be there, and work.
        if self.obs.spec.verification.mode == VerificationMode::None && !self.is_at_work(id) {
            return self.remember(status, secret);
        }
        if !self.obs.confirmed {
            return Some(Plan::need("7", Need::Confirm, status));
        }
        let is_ours = |key: &LedgerKey| {
            self.is_listed(&key.id)
                && !siblings.claimed.contains(&key.id)
                && !self.obs.requests.disown.contains(&key.id)
        };
        let mut before = status.clone();
        for older in secret.ledger.iter().filter(|k| ledger::find(status, &k.id).is_none() && is_ours(k)) {
            let mut key = older.clone();
            ledger::to_overlap(&mut key, add(self.now, schedule.overlap));
            ledger::put(&mut before, key);
        }
        let mut after = self.recorded(&before, schedule, account, secret, id);
        // The numbers of another time are none of ours: no attempt that is open or lost made these keys, and none of them
        // says any more which is the younger one.
        for key in after
            .keys
            .iter_mut()
            .filter(|k| k.published_at.is_some() || ledger::find(status, &k.id).is_none())
        {
            key.attempt = 0;
        }
        if let Some(key) = ledger::find_mut(&mut after, id) {
            // It is not older than a revocation that came after it was published, whoever remembers its making.
            key.minted_at = secret.published_at;
        }
        Some(self.publication(after, id))
    }

    /// The backend cannot say what the Secret's key is worth. An object that is being deleted waits only for what can come.
    fn cannot_be_told(&self, status: &ServiceAccountKeyStatus, trouble: &Trouble) -> Plan {
        let mut trouble = trouble.clone();
        if self.obs.deleting {
            let remedy = "The Secret names a key that this object does not know; the annotation keywheel.dev/abandon \
                          lets the object go without it";
            trouble.message = format!("{}. {remedy}", trouble.message);
        }
        self.unproved("7", status, &trouble)
    }

    /// Keys that a Secret names, and nothing proves: an annotation is easily written. Those that the account has are shown to
    /// a person, before the Secret is overwritten and nobody names them any more.
    fn remember(&self, status: &ServiceAccountKeyStatus, secret: &Published) -> Option<Plan> {
        let named: Vec<&str> =
            secret.key_id.iter().chain(secret.ledger.iter().map(|k| &k.id)).map(String::as_str).collect();
        let is_new = |id: &str| {
            named.contains(&id)
                && ledger::find(status, id).is_none()
                && !status.suspects.iter().any(|s| s.id == id)
                && !self.obs.requests.disown.iter().any(|d| d == id)
        };
        if !named.iter().any(|id| is_new(id)) {
            return None;
        }
        let keys = match &self.obs.keys {
            None => return Some(Plan::need("7", Need::Keys, status)),
            // They went with their account.
            Some(KeyList::Unreadable(trouble)) if trouble.class == Class::NotFound => return None,
            Some(KeyList::Unreadable(trouble)) if self.obs.deleting => {
                return Some(self.cannot_be_told(status, trouble));
            }
            // Nothing new is made without a list: what the Secret says stays there.
            Some(KeyList::Unreadable(_)) => return None,
            Some(KeyList::Listed { keys, .. }) => keys,
        };
        let mut found = keys.iter().filter(|k| is_new(&k.id)).peekable();
        found.peek()?;
        let Some(siblings) = &self.obs.siblings else { return Some(Plan::need("7", Need::Siblings, status)) };
        let mut after = status.clone();
        for key in found.filter(|k| !siblings.claimed.contains(&k.id)) {
            after.suspects.push(SuspectKey {
                id: key.id.clone(),
                created_at: key.created_at,
                since: self.now,
            });
        }
        if after.suspects == status.suspects {
            return None;
        }
        story::suspects(self.obs, &mut after, self.now);
        Some(Plan::act("7", Step::WriteStatus, after))
    }

    fn is_listed(&self, id: &str) -> bool {
        matches!(&self.obs.keys, Some(KeyList::Listed { keys, .. }) if keys.iter().any(|k| k.id == id))
    }

    /// Whether the account has this key, and it works.
    fn is_at_work(&self, id: &str) -> bool {
        let Some(KeyList::Listed { keys, .. }) = &self.obs.keys else { return false };
        keys.iter().any(|k| k.id == id && !k.disabled)
    }

    /// The open attempt, if it made the key that the Secret publishes. Its number alone does not tell: a Secret may come from
    /// another time, or from an earlier object.
    fn publishing_attempt<'s>(
        &self,
        status: &'s ServiceAccountKeyStatus,
        secret: &Published,
        id: &str,
    ) -> Option<&'s PendingAttempt> {
        let pending = status.pending.as_ref().filter(|p| p.attempt == secret.attempt)?;
        let refused_once = ledger::find(status, id).is_some_and(|k| k.attempt == pending.attempt);
        let made = refused_once || self.is_key_of(&pending.nonce, pending.public_key_sha256.as_deref(), id);
        // Its staging Secret may have been deleted: a good key that was not there before, published since.
        let since = secret.published_at.is_some_and(|at| at >= pending.started_at)
            && pending.public_key_sha256.is_none()
            && !pending.known_key_ids.iter().any(|known| known == id);
        (made || since && self.is_good(id)).then_some(pending)
    }

    /// Whether the backend was asked about the key that the Secret publishes, and accepts it.
    fn is_good(&self, id: &str) -> bool {
        match self.obs.spec.verification.mode {
            VerificationMode::TokenExchange => matches!(self.obs.secret_proof, Some(Proof::Accepted { .. })),
            VerificationMode::None => self.is_at_work(id),
        }
    }

    /// Whether the key that the Secret publishes is of an attempt: its staging Secret says so, or it is of its pair.
    fn is_key_of(&self, nonce: &str, pair: Option<&str>, id: &str) -> bool {
        let staged = self.obs.staged.iter().any(|s| s.nonce == nonce && s.key_id.as_deref() == Some(id));
        staged || pair.is_some() && self.obs.secret.ours().is_some_and(|s| s.credential.is(pair))
    }

    /// How the key that was published by its own attempt was proved.
    fn tell_verified(&self, after: &mut ServiceAccountKeyStatus) {
        let obs = self.obs;
        let (is, reason, message) = match obs.spec.verification.mode {
            VerificationMode::TokenExchange => {
                (Is::True, Reason::KeyAccepted, "The backend accepted the key before it was published")
            }
            VerificationMode::None => (Is::Unknown, Reason::NotVerified, "verification.mode is None"),
        };
        story::verified(obs, after, is, reason, message, self.now);
        story::backend(obs, after, Ok(()), self.now);
    }

    pub(super) fn recorded(
        &self,
        status: &ServiceAccountKeyStatus,
        schedule: &Schedule,
        account: &Account,
        secret: &Published,
        id: &str,
    ) -> ServiceAccountKeyStatus {
        let obs = self.obs;
        let mut after = status.clone();
        let published_at = secret.published_at.unwrap_or(self.now);
        let pending = self.publishing_attempt(status, secret, id);
        let staged = obs.staged.iter().find(|s| match &s.key_id {
            Some(staged) => staged == id,
            None => pending.is_some_and(|p| p.nonce == s.nonce),
        });
        let restored = pending.is_none() && ledger::find(status, id).is_some();
        // Nobody else says so: neither an attempt of ours, nor the ledger.
        let caught_up = pending.is_none() && !restored && staged.is_none();

        let mut second = false;
        // A credential that was put back was published long ago: what it replaced was read until now.
        let since = if restored || caught_up { self.now.max(published_at) } else { published_at };
        let since = if defect!(OverlapFromIntent) { pending.map_or(since, |p| p.started_at) } else { since };
        self.supersede(&mut after, schedule, id, since);
        let mut key = ledger::find(status, id)
            .cloned()
            .unwrap_or_else(|| ledger::entry(id, KeyPhase::Active, KeyOrigin::Rotation, secret.attempt));
        // It could not be enabled: it is as dead as one that somebody disabled, and replaced like it.
        let dead = key.phase == KeyPhase::Disabled && obs.is_enabling_put_off(id);
        key.phase = KeyPhase::Active;
        key.disable_at = None;
        key.disabled_at = None;
        key.delete_at = None;
        key.seen = dead.then_some(KeySeen::Disabled);
        key.published_at = Some(published_at);
        if let Some(pending) = pending {
            key.minted_at = Some(pending.started_at);
            key.reason = Some(pending.reason);
            key.algorithm = self.algorithm();
            key.source = attempt::source_of(pending);
        }
        if let Some(staged) = staged {
            // Of an uploaded key, the staging Secret knows neither; the ledger may.
            key.created_at = staged.created_at.or(key.created_at);
            key.expires_at = staged.expires_at.or(key.expires_at);
            key.public_key_sha256.clone_from(&staged.public_key_sha256);
            let mut only = staged.key_id.is_some();
            if let Some(Upload::There { created_at, expires_at, only: once, .. }) = &obs.upload {
                key.created_at = *created_at;
                key.expires_at = *expires_at;
                only |= once;
            }
            second = !only;
        } else if let Credential::Readable { public_key_sha256 } = &secret.credential {
            key.public_key_sha256 = Some(public_key_sha256.clone());
        }
        let (created_at, expires_at) = (key.created_at, key.expires_at);
        ledger::put(&mut after, key.clone());

        if defect!(SupersededDropped) {
            wrongly_dropped(&mut after, id);
        }
        after.active_key_id = Some(id.to_owned());
        // No later attempt is to be mistaken for the one that made it.
        after.attempt = after.attempt.max(secret.attempt);
        self.named(&mut after, schedule);
        after.secret_resource_version = Some(secret.resource_version.clone());
        after.account_unique_id = Some(account.unique_id.clone());
        if pending.is_some() {
            after.pending = None;
        }
        // The Secret's number is that of an attempt of ours, unless it comes from another time.
        let numbered = !caught_up
            && (pending.is_some() || ledger::find(status, id).is_none_or(|k| k.attempt == secret.attempt));
        // A window that was rebuilt has a number like an attempt's, and is none.
        let open = |l: &LostAttempt| l.attempt != secret.attempt || !ledger::is_attempt(l) || !numbered;
        after.lost.retain(|l| open(l) && !defect!(RecordClosesAll));
        if second {
            let until = add(self.now, self.timing.send_window + self.timing.horizon);
            ledger::expect_second(&mut after, &key, self.now, until);
        }
        // The write that published it is later than all of theirs.
        for older in after.lost.iter_mut().filter(|l| numbered && l.attempt < secret.attempt) {
            older.fenced = true;
        }
        if !restored {
            after.last_rotation_time = Some(published_at);
        }
        after.failures = 0;
        after.unpublished_attempts.clear();
        after.last_failure_time = None;
        after.next_rotation_time = after
            .last_rotation_time
            .and_then(|last| schedule.next_rotation(last, &obs.uid, created_at, expires_at));
        if let Some(due) = status.next_rotation_time.filter(|_| defect!(MissedTurnsRepeated)) {
            after.next_rotation_time = schedule.next_rotation(due, &obs.uid, created_at, expires_at);
        }
        if pending.is_some() {
            self.tell_verified(&mut after);
        }
        requests::mark_handled(self, &mut after);
        story::tell(obs, &mut after, &Mood::Settled, self.now);
        after
    }

    /// What a key was asked to be, where the backend knows several kinds.
    fn algorithm(&self) -> Option<String> {
        let obs = self.obs;
        let one_kind = obs.account.reachable().is_some_and(|account| account.can.algorithms.is_empty());
        (!one_kind).then(|| obs.spec.algorithm.unwrap_or_default().as_str().to_owned())
    }

    /// What becomes of the key that was active, now that the Secret shows another one `since` then.
    fn supersede(
        &self,
        after: &mut ServiceAccountKeyStatus,
        schedule: &Schedule,
        by: &str,
        since: Timestamp,
    ) {
        let Some(at) = after.keys.iter().position(|k| Some(&k.id) == after.active_key_id.as_ref()) else {
            return;
        };
        let revocation = requests::revocation(self, after);
        let Some(old) = after.keys.get_mut(at) else { return };
        let revoked = revocation.is_some_and(|at| requests::is_revoked(old, at));
        let overlap = if revoked || defect!(NoOverlap) { Duration::ZERO } else { schedule.overlap };
        match old.seen.take() {
            // No overlap is owed to what somebody else ended.
            Some(KeySeen::Disabled) => {
                old.phase = KeyPhase::Disabled;
                old.disabled_at = Some(self.now);
                old.delete_at = Some(add(self.now, schedule.delete_after));
            }
            Some(KeySeen::Gone) => drop(after.keys.remove(at)),
            Some(KeySeen::Enabled) | None => ledger::to_overlap(old, add(since, overlap)),
        }
        after.rotations = after.rotations.saturating_add(1);
        after.restart_owed_for = Some(by.to_owned()).filter(|_| !self.obs.spec.rollout_restart.is_empty());
    }
}

/// Wrong on purpose: what a key replaces is forgotten.
fn wrongly_dropped(after: &mut ServiceAccountKeyStatus, id: &str) {
    after.keys.retain(|k| k.id == id || k.phase != KeyPhase::Overlap);
}
