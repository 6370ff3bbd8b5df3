//! An object that goes, and what a look at the backend shows of its keys.

use super::super::table::Table;
use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{DeletionPolicy, FormerSecret, KeyPhase, KeySeen, LedgerKey};
use crate::domain::Reason;
use crate::domain::schedule::Schedule;

/// An object that is being deleted, with its keys `k1` (active) and `k0`.
fn going() -> Observation {
    let mut obs = overdue();
    obs.deleting = true;
    obs
}

#[test]
fn a_retained_secret_keeps_the_key_that_it_publishes() {
    let ended = |change: &dyn Fn(&mut Observation)| {
        let mut obs = going();
        obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
        change(&mut obs);
        match decide(&obs, 50).next {
            Next::Act(Step::DeleteKey { id }) => Some(id),
            _ => None,
        }
    };
    assert_eq!(ended(&|_| {}).as_deref(), Some("k0"), "and the other one goes");
    let gone = |obs: &mut Observation| status(obs).keys.retain(|k| k.id == "k1");
    assert_eq!(ended(&gone), None);
    let edited = |obs: &mut Observation| {
        gone(obs);
        secret(obs).key_id = None;
        secret(obs).credential = Credential::Missing;
    };
    assert_eq!(ended(&edited).as_deref(), Some("k1"), "it publishes nothing");
    let by_content = |obs: &mut Observation| {
        gone(obs);
        secret(obs).key_id = None;
    };
    assert_eq!(ended(&by_content), None, "its content is the key's, whatever its mark says");
    let kept = |obs: &mut Observation| {
        edited(obs);
        obs.spec.deletion_policy = DeletionPolicy::Retain;
    };
    assert_eq!(ended(&kept), None, "the active key is retained");
    let old = |obs: &mut Observation| {
        obs.spec.deletion_policy = DeletionPolicy::Retain;
        status(obs).keys.retain(|k| k.id == "k0");
    };
    assert_eq!(ended(&old).as_deref(), Some("k0"), "an older one is not");
}

#[test]
fn secrets_of_former_names_go_with_their_object() {
    let planned = |change: &dyn Fn(&mut Observation)| {
        let mut obs = going();
        obs.spec.secret.deletion_policy = DeletionPolicy::Retain;
        obs.former = vec![Former {
            name: "old".to_owned(),
            uid: "s-0".to_owned(),
            resource_version: "3".to_owned(),
            key_ids: vec!["k1".to_owned()],
            held_by: None,
        }];
        status(&mut obs).former_secrets =
            vec![FormerSecret { name: "old".to_owned(), uid: "s-0".to_owned(), delete_at: at(90_000) }];
        change(&mut obs);
        decide(&obs, 50)
    };
    let next = |change: &dyn Fn(&mut Observation)| planned(change).next;
    assert!(matches!(next(&|_| {}), Next::Act(Step::DeleteFormer { .. })));
    let bad = |obs: &mut Observation| {
        secret(obs).key_id = Some("k0".to_owned());
        status(obs).active_key_id = Some("k1".to_owned());
    };
    assert!(
        !matches!(next(&bad), Next::Act(Step::DeleteFormer { .. })),
        "the former one is what is retained"
    );
    let renamed = |obs: &mut Observation| {
        obs.spec.secret.deletion_policy = DeletionPolicy::Delete;
        obs.secret = Secret::Absent;
        obs.former.clear();
        obs.renamed_from = Some(Published { uid: "s-9".to_owned(), ..published("k1", 1) });
        status(obs).former_secrets.clear();
    };
    let noted = planned(&renamed).status.former_secrets;
    assert_eq!((noted.len(), noted[0].uid.as_str()), (1, "s-9"), "that of the name before is written down");
    let known = |obs: &mut Observation| {
        renamed(obs);
        status(obs).former_secrets =
            vec![FormerSecret { name: "billing".to_owned(), uid: "s-9".to_owned(), delete_at: at(50) }];
    };
    assert!(planned(&known).status.former_secrets.is_empty(), "it is gone, and forgotten");
}

#[test]
fn what_an_audit_finds_is_told_once_and_mended() {
    let audited = |phase, disabled, change: &dyn Fn(&mut LedgerKey)| {
        let mut obs = settled();
        let mut old = key("k0", phase, 0);
        (old.disable_at, old.delete_at, old.published_at) =
            (Some(at(90_000)), Some(at(90_000)), Some(at(-9000)));
        change(&mut old);
        status(&mut obs).keys[0].published_at = Some(at(-9000));
        if phase == KeyPhase::Active {
            status(&mut obs).keys[0].seen = old.seen;
        } else {
            status(&mut obs).keys.push(old);
        }
        obs.keys = Some(listed(&["k1", "k0"], at(50)));
        if disabled {
            list_disabled(&mut obs, if phase == KeyPhase::Active { "k1" } else { "k0" });
        }
        obs.looked_at = at(-90_000);
        decide(&obs, 50).events.iter().map(|e| e.reason).collect::<Vec<_>>()
    };
    let none = |_: &mut LedgerKey| {};
    assert_eq!(audited(KeyPhase::Active, true, &none), [Reason::KeyEndedByOthers]);
    assert_eq!(audited(KeyPhase::Active, false, &none), []);
    assert_eq!(audited(KeyPhase::Overlap, true, &none), [Reason::KeyEndedByOthers]);
    assert_eq!(audited(KeyPhase::Overlap, false, &none), []);
    let ended = |since: i64| move |k: &mut LedgerKey| k.disabled_at = Some(at(since));
    assert_eq!(audited(KeyPhase::Disabled, false, &ended(-9000)), [Reason::KeyEnabledByOthers]);
    assert_eq!(audited(KeyPhase::Disabled, false, &ended(40)), [], "a list may be older than the ending");
    assert_eq!(audited(KeyPhase::Disabled, true, &ended(-9000)), []);
    let told = |k: &mut LedgerKey| {
        ended(-9000)(k);
        k.seen = Some(KeySeen::Enabled);
    };
    assert_eq!(audited(KeyPhase::Disabled, false, &told), [], "once");
}

#[test]
fn what_a_backend_says_of_a_disabled_key_is_kept_unless_we_disabled_it() {
    let shown = |phase: KeyPhase, seen| {
        let mut obs = settled();
        status(&mut obs).keys[0].published_at = Some(at(-9000));
        let mut old = LedgerKey { disabled_at: Some(at(-9000)), ..key("k0", phase, 0) };
        (old.disable_at, old.delete_at) = (Some(at(90_000)), Some(at(90_000)));
        if phase != KeyPhase::Active {
            status(&mut obs).keys.push(old);
        }
        let id = if phase == KeyPhase::Active { "k1" } else { "k0" };
        ledger::find_mut(status(&mut obs), id).unwrap().seen = seen;
        obs.keys = Some(listed(&["k1", "k0"], at(50)));
        list_disabled(&mut obs, id);
        if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
            for key in keys {
                key.disable_reason = Some("EXPOSED".to_owned());
            }
        }
        let (timing, now) = (timing(), at(50));
        let schedule = Schedule::parse(&obs.spec.rotation.clone().unwrap(), now).unwrap();
        let status = obs.status.clone().unwrap();
        let table = Table { obs: &obs, now, exact: now, timing: &timing };
        let found = table.compared(&status, &schedule, obs.keys.as_ref().unwrap());
        let (after, events) = found.unwrap_or((status, Vec::new()));
        (ledger::find(&after, id).unwrap().disable_reason.clone(), events.len())
    };
    let exposed = || Some("EXPOSED".to_owned());
    assert_eq!(shown(KeyPhase::Active, None), (exposed(), 1));
    assert_eq!(shown(KeyPhase::Active, Some(KeySeen::Disabled)), (exposed(), 0), "told once");
    assert_eq!(shown(KeyPhase::Overlap, None), (exposed(), 1));
    assert_eq!(shown(KeyPhase::Disabled, None), (None, 0));
}

/// Before a key is made for one that was ended, the list shows it at work again, and another one ended.
#[test]
fn what_the_list_of_an_attempt_shows_is_told_too() {
    let mut obs = settled();
    let mut old = key("k0", KeyPhase::Overlap, 0);
    old.disable_at = Some(at(90_000));
    status(&mut obs).keys.push(old);
    status(&mut obs).keys[0].seen = Some(KeySeen::Disabled);
    gates_open(&mut obs, 50);
    list_disabled(&mut obs, "k0");
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, plan.status.keys[0].seen, plan.status.pending), ("10", None, None));
    assert_eq!(plan.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::KeyEndedByOthers]);
}
