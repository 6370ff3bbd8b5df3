//! The rules of a deleting object: first nobody reads the credential any more, then the keys end, then the
//! object goes. The Secret is read again before every step.

use std::time::Duration;

use super::observation::{Observation, Published, Secret};
use super::story;
use super::table::Table;
use super::{Need, Plan, Refused, Step, Subject, ledger, retire};
use crate::api::v1alpha1::{
    DeletionPolicy, FormerSecret, KeyPhase, LedgerKey, Rotation, ServiceAccountKeyStatus,
};
use crate::defect;
use crate::domain::conditions::{Conditions, Is, READY, RECONCILING};
use crate::domain::schedule::{Schedule, add, between};
use crate::domain::{Event, Reason};

pub(super) fn plan(table: &Table<'_>) -> Plan {
    let obs = table.obs;
    let status = obs.status.clone().unwrap_or_default();
    if !obs.has_finalizer {
        return table.hold_as_told("3", status);
    }
    if obs.requests.abandon {
        return abandon(obs, &status);
    }
    if let Some(recorded) = record(table, &status) {
        return recorded;
    }
    if status.pending.is_some() {
        let mut after = status;
        ledger::pending_to_lost(&mut after, table.now, table.timing, Duration::ZERO);
        tell(table, &mut after, Reason::Deleting, "The open attempt is given up");
        return Plan::act("3", Step::WriteStatus, after);
    }
    if !obs.confirmed {
        return Plan::need("3", Need::Confirm, &status);
    }
    let keys_first = defect!(KeysBeforeSecret) && wrongly_first(&status);
    if let Some(held) = held_by_others(table, &status) {
        return held;
    }
    if let Some(step) = secret_to_delete(obs).filter(|_| !keys_first) {
        return Plan::act("3", step, status);
    }
    if let Some(former) = former_to_delete(table, &status) {
        return former;
    }
    // Pods read a Secret of a former name until it goes, too.
    let mut former = obs.former.iter().map(|f| Subject::Secret(f.name.clone()));
    if let Some(refused) = former.find_map(|subject| obs.put_off.get(&subject)) {
        return wait_for_refused(table, &status, refused);
    }
    if status.lost.iter().any(|l| !l.fenced) {
        let refused = obs.secret.ours().and_then(|_| obs.put_off.get(&Subject::Fencing));
        return match refused {
            Some(refused) => wait_for_refused(table, &status, refused),
            None => fence(table, status),
        };
    }
    if let Some(staged) = table.unstageable().next() {
        return table.adopt_or_unstage("3", &status, staged, Duration::ZERO);
    }
    if let Some(key) = status.keys.iter().find(|k| must_end(obs, k) && !obs.is_key_put_off(&k.id)) {
        // A Secret that stays must not go on showing it.
        let account = obs.account.reachable();
        if let Some(dropped) = account.and_then(|account| table.drop_previous(&status, account, &key.id)) {
            return match obs.put_off.get(&Subject::Rewriting) {
                Some(refused) => wait_for_refused(table, &status, refused),
                None => dropped,
            };
        }
        return end(table, &status, key);
    }
    if !status.lost.is_empty() && !defect!(FinalizerTooEarly) {
        return settle(table, status);
    }
    if let Some(stuck) = stuck(table, &status) {
        return stuck;
    }
    let kept: Vec<&str> = status.keys.iter().map(|k| k.id.as_str()).collect();
    let mut events = match kept.as_slice() {
        [] => Vec::new(),
        ids => vec![Event::normal(Reason::Deleting, format!("Retained at the backend: {}", ids.join(", ")))],
    };
    let suspects: Vec<&str> = status.suspects.iter().map(|s| s.id.as_str()).collect();
    if !suspects.is_empty() {
        let note = format!(
            "Left at the backend, because nobody can tell whose they are: {}. The ServiceAccount goes on naming them \
             among its unmanaged keys",
            suspects.join(", ")
        );
        events.push(Event::warning(Reason::SuspectKeys, note));
    }
    Plan { events, ..Plan::act("3", Step::RemoveFinalizer, status.clone()) }
}

/// A Secret that is being deleted and does not go: pods read it until it does, so no key of it ends.
fn held_by_others(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Plan> {
    let obs = table.obs;
    let current = obs.secret.ours().and_then(|s| Some((story::secret_name(obs), s.held_by.clone()?)));
    let former = obs.former.iter().find_map(|f| Some((f.name.clone(), f.held_by.clone()?)));
    let (name, finalizers) = current.or(former)?;
    Some(wait_for_finalizers(table, status, &name, &finalizers))
}

/// What is left that cannot be ended now: refused a short while ago, or held by somebody's finalizer.
fn stuck(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Plan> {
    let obs = table.obs;
    if let Some((name, finalizers)) = obs.staged.iter().find_map(|s| Some((&s.name, s.held_by.as_ref()?))) {
        return Some(wait_for_finalizers(table, status, name, finalizers));
    }
    let keys = status.keys.iter().filter(|k| must_end(obs, k)).map(|k| Subject::Key(k.id.clone()));
    let staged = obs.staged.iter().map(|s| Subject::Secret(s.name.clone()));
    let refused = keys.chain(staged).find_map(|subject| obs.put_off.get(&subject))?;
    Some(wait_for_refused(table, status, refused))
}

fn wait_for_refused(table: &Table<'_>, status: &ServiceAccountKeyStatus, refused: &Refused) -> Plan {
    let mut after = status.clone();
    let message = format!(
        "{}. It is tried again; the annotation keywheel.dev/abandon lets the object go without",
        refused.message
    );
    tell(table, &mut after, refused.reason, &message);
    let requeue = between(table.exact, refused.until);
    Plan { requeue, ..table.hold_as_told("3", after) }
}

fn wait_for_finalizers(
    table: &Table<'_>,
    status: &ServiceAccountKeyStatus,
    name: &str,
    finalizers: &str,
) -> Plan {
    let mut after = status.clone();
    let message = format!(
        "Secret {name} is being deleted and waits for its finalizers {finalizers}: whoever put them there must take them \
         off. The annotation keywheel.dev/abandon lets the object go without"
    );
    tell(table, &mut after, Reason::SecretHeld, &message);
    Plan { requeue: table.timing.settle, ..table.hold_as_told("3", after) }
}

/// Whether the Secret outlives the object.
fn stays(obs: &Observation) -> Option<&Published> {
    match &obs.secret {
        Secret::Ours(secret) if obs.spec.secret.deletion_policy == DeletionPolicy::Retain => Some(secret),
        _ => None,
    }
}

/// What a Secret that stays publishes is a fact, also when the process died before it was recorded. Of one that goes, no key
/// is to be forgotten with it.
fn record(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Plan> {
    let Some(account) = table.obs.account.reachable() else { return unheard_of(table, status) };
    let rotation = table.obs.spec.rotation.clone().unwrap_or_default();
    let schedule = Schedule::parse(&rotation, table.now)
        .or_else(|_| Schedule::parse(&Rotation::default(), table.now))
        .ok()?;
    match stays(table.obs) {
        Some(_) => table.record(status, &schedule, account),
        None => table.learn(status, &schedule, account),
    }
}

/// A Secret that names a key of which nothing else is known is kept while the backend cannot be asked about it.
fn unheard_of(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Plan> {
    let Secret::Ours(secret) = &table.obs.secret else { return None };
    if stays(table.obs).is_some() {
        return None;
    }
    let id = secret.key_id.as_ref().filter(|id| !table.is_heard_of(status, secret, id))?;
    Some(unasked(table, status, id))
}

/// The Secret goes first: pods must not read a dead credential. A retained or foreign one is left.
fn secret_to_delete(obs: &Observation) -> Option<Step> {
    match &obs.secret {
        Secret::Ours(secret) if obs.spec.secret.deletion_policy == DeletionPolicy::Delete => {
            Some(Step::DeleteSecret {
                uid: secret.uid.clone(),
                resource_version: secret.resource_version.clone(),
            })
        }
        _ => None,
    }
}

/// Secrets of former names go, too; a retained object keeps only the one of its name.
fn former_to_delete(table: &Table<'_>, status: &ServiceAccountKeyStatus) -> Option<Plan> {
    let retained = table.obs.spec.secret.deletion_policy == DeletionPolicy::Retain;
    if retained && stays(table.obs).is_none_or(|secret| secret.key_id != status.active_key_id) {
        // The one of its name does not hold the credential: the former one is what is retained.
        return None;
    }
    if let Some(old) = &table.obs.renamed_from {
        // Renamed and deleted before anything was published under the new name.
        let name = status.secret_name.clone()?;
        if !status.former_secrets.iter().any(|f| f.uid == old.uid) {
            let mut after = status.clone();
            after.former_secrets.push(FormerSecret { name, uid: old.uid.clone(), delete_at: table.now });
            return Some(Plan::act("3", Step::WriteStatus, after));
        }
    }
    table.drop_former(status, |_| true)
}

/// With the Secret absent, or retained and rewritten, nobody can publish a lost key any more.
fn fence(table: &Table<'_>, mut status: ServiceAccountKeyStatus) -> Plan {
    for lost in &mut status.lost {
        lost.fenced = true;
    }
    let step = match &table.obs.secret {
        Secret::Ours(_) => {
            let mark = status.lost.iter().map(|l| l.nonce.as_str()).collect::<Vec<_>>().join(",");
            Step::Fence { mark }
        }
        Secret::Absent | Secret::Foreign { .. } | Secret::Left(_) => Step::WriteStatus,
    };
    Plan::act("3", step, status)
}

/// Which keys end: all, but the active one if the policy keeps it, and never one that a Secret goes on to publish.
fn must_end(obs: &Observation, key: &LedgerKey) -> bool {
    let published = stays(obs).filter(|_| !defect!(RetainedKeyEnds)).is_some_and(|secret| {
        secret.key_id.as_ref() == Some(&key.id)
            || key.public_key_sha256.as_deref().is_some_and(|sha| secret.credential.is(Some(sha)))
    });
    let all = obs.spec.deletion_policy == DeletionPolicy::Delete || defect!(RetainedKeyEnds);
    let active = key.phase == KeyPhase::Active && !defect!(RetainedActiveEnds);
    !published && (all || !active)
}

fn end(table: &Table<'_>, status: &ServiceAccountKeyStatus, key: &LedgerKey) -> Plan {
    if table.obs.account.reachable().is_none() {
        return unasked(table, status, &key.id);
    }
    let ending = retire::delete(table, status, key);
    let event = Event::normal(Reason::KeyDeleted, format!("Key {} is deleted with its object", key.id));
    Plan { events: vec![event], ..Plan::act("3", ending.step, ending.status) }
}

fn unasked(table: &Table<'_>, status: &ServiceAccountKeyStatus, id: &str) -> Plan {
    let mut after = status.clone();
    let message = format!(
        "The backend cannot be asked to delete key {id}; restore it, or let the object go with the annotation \
         keywheel.dev/abandon"
    );
    let reason = match &table.obs.account {
        super::AccountView::Unusable { reason, .. } => *reason,
        super::AccountView::Usable(_) => Reason::BackendUnreachable,
    };
    tell(table, &mut after, reason, &message);
    // A login that comes back is not seen by any watch of ours.
    Plan { requeue: table.timing.retry_cap, ..table.hold_as_told("3", after) }
}

fn settle(table: &Table<'_>, status: ServiceAccountKeyStatus) -> Plan {
    let schedule = Schedule::parse(&Rotation::default(), table.now);
    if let (Ok(schedule), Some(account)) = (schedule, table.obs.account.reachable())
        && let Some(plan) = table.settle_lost(&status, &schedule, account)
    {
        return plan;
    }
    let until = status.lost.iter().map(|l| add(l.until, table.timing.list_lag)).max().unwrap_or(table.now);
    let mut after = status;
    if until < table.now {
        // Its time is over, and the list that would show so was not to be had.
        let message = "The keys of the account cannot be listed, so nobody knows whether a lost attempt left one. \
                       Restore the backend, or let the object go with the annotation keywheel.dev/abandon";
        tell(table, &mut after, Reason::BackendUnreachable, message);
        return Plan { requeue: table.timing.retry_cap, ..table.hold_as_told("3", after) };
    }
    tell(table, &mut after, Reason::Deleting, "A lost attempt is waited for");
    story::waits_for_lost(table.obs, &mut after, until, table.now);
    let wait = between(table.exact, until) + Duration::from_secs(1);
    Plan { requeue: wait, ..table.hold_as_told("3", after) }
}

/// A person lets the object go: the ids are named, nothing is touched.
fn abandon(obs: &Observation, status: &ServiceAccountKeyStatus) -> Plan {
    let mut secrets: Vec<&str> = obs.staged.iter().map(|s| s.name.as_str()).collect();
    let published = story::secret_name(obs);
    if matches!(obs.secret, Secret::Ours(_)) {
        secrets.push(&published);
    }
    let ids: Vec<&str> = status.keys.iter().map(|k| k.id.as_str()).collect();
    let note = format!(
        "Let go by annotation. Left at the backend: {}; attempts without an answer: {}; Secrets left here: {}",
        if ids.is_empty() { "no known key".to_owned() } else { ids.join(", ") },
        status.lost.len() + usize::from(status.pending.is_some()),
        if secrets.is_empty() { "none".to_owned() } else { secrets.join(", ") }
    );
    let event = Event::warning(Reason::Abandoned, note);
    Plan { events: vec![event], ..Plan::act("3", Step::RemoveFinalizer, status.clone()) }
}

fn tell(table: &Table<'_>, status: &mut ServiceAccountKeyStatus, reason: Reason, message: &str) {
    status.observed_generation = table.obs.generation;
    Conditions::of(&mut status.conditions, table.obs.generation, table.now)
        .set(READY, Is::False, reason, message)
        .set(RECONCILING, Is::True, Reason::Deleting, "The object is being deleted");
}

/// Wrong on purpose: pods read a dead credential until the Secret goes.
fn wrongly_first(status: &ServiceAccountKeyStatus) -> bool {
    !status.keys.is_empty()
}
