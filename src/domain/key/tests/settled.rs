//! What a lost attempt has left: whose it is, and when its window closes.

use super::super::table::Table;
use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyOrigin, LedgerKey};
use crate::domain::schedule::Schedule;

/// What is decided about lost attempts.
fn settle(obs: &Observation, seconds: i64, account: &Account) -> Option<Plan> {
    let (timing, now) = (timing(), at(seconds));
    let schedule = Schedule::parse(&obs.spec.rotation.clone().unwrap_or_default(), now).unwrap();
    let status = obs.status.clone().unwrap_or_default();
    Table { obs, now, exact: now, timing: &timing }
        .settle_lost(&status, &schedule, account)
        .map(|plan| told(obs, plan))
}

fn alone() -> Account {
    Account { exclusive: true, ..account() }
}

fn owned(plan: Option<&Plan>, id: &str) -> Option<LedgerKey> {
    plan.and_then(|plan| ledger::find(&plan.status, id).cloned())
}

#[test]
fn a_lost_key_is_ours_where_nobody_else_can_have_made_it() {
    let found = settle(&losing(&["k9"]), 600, &alone());
    let key = owned(found.as_ref(), "k9").unwrap();
    assert_eq!((key.origin, key.attempt, key.disable_at), (KeyOrigin::Orphan, 2, Some(at(600 + 600))));
    let mut deleting = losing(&["k9"]);
    deleting.deleting = true;
    let key = owned(settle(&deleting, 600, &alone()).as_ref(), "k9").unwrap();
    assert_eq!(key.disable_at, Some(at(600)), "nobody is to use it any more");
    let mut revoked = losing(&["k9"]);
    status(&mut revoked).handled.revoke_at = Some(at(100));
    assert_eq!(owned(settle(&revoked, 600, &alone()).as_ref(), "k9").unwrap().disable_at, Some(at(600)));
    let mut suspected = losing(&["k9"]);
    status(&mut suspected).suspects = vec![suspect("k9"), suspect("k1")];
    let plan = settle(&suspected, 600, &alone()).unwrap();
    assert_eq!(plan.status.suspects, [suspect("k1")], "it is one no more, and the others stay");
}

#[test]
fn to_each_attempt_its_own_key() {
    let mut obs = losing(&["k8", "k9"]);
    status(&mut obs).lost = vec![lost("n2", 2, at(0), true), lost("n3", 3, at(0), true)];
    obs.siblings = Some(Siblings { fenced_attempts: 2, ..Siblings::default() });
    let plan = settle(&obs, 600, &alone());
    assert_eq!(
        (owned(plan.as_ref(), "k8").unwrap().attempt, owned(plan.as_ref(), "k9").unwrap().attempt),
        (2, 3)
    );
}

#[test]
fn what_may_be_somebody_elses_waits_or_is_suspected() {
    let decided = |change: &dyn Fn(&mut Observation), seconds| {
        let mut obs = losing(&["k9"]);
        change(&mut obs);
        let plan = settle(&obs, seconds, &alone());
        let suspected = plan.as_ref().is_some_and(|p| p.status.suspects.iter().any(|s| s.id == "k9"));
        (owned(plan.as_ref(), "k9").is_some(), suspected)
    };
    let over = 3610 + 600;
    assert_eq!(decided(&|_| {}, 600), (true, false));
    let none_left = |obs: &mut Observation| obs.siblings = Some(Siblings::default());
    assert_eq!(decided(&none_left, 600), (false, false), "more keys than attempts");
    let late = |change: &dyn Fn(&mut Observation), seconds: i64| {
        decided(
            &|obs| {
                change(obs);
                obs.keys = Some(listed(&["k1", "k9"], at(seconds)));
            },
            seconds,
        )
    };
    assert_eq!(late(&none_left, over), (false, false), "not before its window is over");
    assert_eq!(late(&none_left, over + 1), (false, true));
    let unfenced = |obs: &mut Observation| status(obs).lost[0].fenced = false;
    assert_eq!(decided(&unfenced, 600), (false, false), "it may still be published");
    let open =
        |from: i64| move |obs: &mut Observation| status(obs).pending = Some(pending("n5", 5, at(from)));
    assert_eq!(decided(&open(0), 600), (false, false), "the open attempt may name it itself");
    assert_eq!(decided(&open(2), 600), (true, false), "one that began later cannot");
    let suspicious = |obs: &mut Observation| {
        obs.siblings.as_mut().unwrap().suspected = vec!["k9".to_owned()];
    };
    assert_eq!(late(&suspicious, over + 1), (false, true));
    let known = |obs: &mut Observation| {
        none_left(obs);
        status(obs).suspects = vec![suspect("k9")];
    };
    let mut obs = losing(&["k9"]);
    known(&mut obs);
    obs.keys = Some(listed(&["k1", "k9"], at(over + 1)));
    assert_eq!(settle(&obs, over + 1, &alone()).unwrap().status.suspects.len(), 1, "it is told once");
}

#[test]
fn siblings_are_asked_only_where_something_is_undecided() {
    let mut obs = losing(&[]);
    obs.siblings = None;
    assert_eq!(settle(&obs, 600, &alone()), None);
    status(&mut obs).suspects = vec![suspect("k1")];
    assert_eq!(settle(&obs, 600, &alone()).unwrap().next, Next::Need(Need::Siblings));
    let mut obs = losing(&["k9"]);
    obs.siblings = None;
    assert_eq!(settle(&obs, 600, &alone()).unwrap().next, Next::Need(Need::Siblings));
    status(&mut obs).lost[0].nonce = ledger::REBUILT.to_owned();
    assert_eq!(settle(&obs, 600, &alone()).unwrap().next, Next::Need(Need::Siblings));
}

#[test]
fn a_suspect_that_is_gone_is_forgotten_and_nothing_new_is_no_write() {
    let mut obs = losing(&["k8"]);
    status(&mut obs).lost.clear();
    status(&mut obs).suspects = vec![suspect("k8"), suspect("k9")];
    obs.looked_at = at(-90_000);
    assert_eq!(settle(&obs, 600, &account()).unwrap().status.suspects, [suspect("k8")]);
    status(&mut obs).suspects.pop();
    assert_eq!(settle(&obs, 600, &account()), None);
    obs.siblings.as_mut().unwrap().claimed = vec!["k8".to_owned()];
    assert!(settle(&obs, 600, &account()).unwrap().status.suspects.is_empty(), "another object owns it");
}

#[test]
fn a_key_that_its_backend_names_closes_its_window_once_it_is_fenced() {
    for fenced in [true, false] {
        let mut obs = losing(&["k9"]);
        status(&mut obs).lost[0].fenced = fenced;
        status(&mut obs).lost.push(lost("n3", 3, at(0), true));
        if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
            keys[1].nonce = Some("n2".to_owned());
        }
        let plan = settle(&obs, 600, &account()).unwrap();
        assert_eq!(ledger::find(&plan.status, "k9").unwrap().attempt, 2);
        assert_eq!(plan.status.lost.iter().any(|l| l.nonce == "n2"), !fenced);
    }
}

#[test]
fn a_key_that_is_staged_or_published_is_no_orphan() {
    let mut obs = losing(&["k9"]);
    obs.staged = vec![staged("k9", "n2", 2)];
    assert_eq!(owned(settle(&obs, 600, &alone()).as_ref(), "k9"), None);
    obs.staged = vec![staged("k8", "n2", 2)];
    assert!(owned(settle(&obs, 600, &alone()).as_ref(), "k9").is_some());
    obs.staged.clear();
    secret(&mut obs).key_id = Some("k9".to_owned());
    assert_eq!(owned(settle(&obs, 600, &alone()).as_ref(), "k9"), None);
}

#[test]
fn an_uploaded_key_is_known_by_its_public_half_but_for_those_that_were_there() {
    let found = |known: &[&str]| {
        let mut obs = losing(&["k9"]);
        status(&mut obs).lost[0].public_key_sha256 = Some(sha("pair"));
        status(&mut obs).lost[0].known_key_ids = known.iter().map(|id| (*id).to_owned()).collect();
        if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
            keys[1].made_by_backend = false;
            keys[1].public_key_sha256 = Some(sha("pair"));
        }
        let plan = settle(&obs, 600, &account());
        let windows = plan.as_ref().map(|plan| plan.status.lost.len());
        owned(plan.as_ref(), "k9").map(|_| windows)
    };
    assert_eq!(found(&[]), Some(Some(1)), "it may surface a second time");
    assert_eq!(found(&["k9"]), None);
}

#[test]
fn a_window_closes_once_nothing_can_be_published_of_it() {
    let closed = |change: &dyn Fn(&mut Observation), seconds: i64| {
        let mut obs = losing(&[]);
        obs.keys = Some(listed(&["k1"], at(seconds)));
        change(&mut obs);
        settle(&obs, seconds, &account()).is_some_and(|plan| plan.status.lost.is_empty())
    };
    let over = 3610 + 600;
    assert!(!closed(&|_| {}, over) && closed(&|_| {}, over + 1));
    let unfenced = |obs: &mut Observation| status(obs).lost[0].fenced = false;
    assert!(!closed(&unfenced, over + 1));
    let absent = |obs: &mut Observation| {
        unfenced(obs);
        obs.secret = Secret::Absent;
    };
    assert!(closed(&absent, over + 1));
}

#[test]
fn a_lost_attempt_is_looked_for_once_soon_and_then_with_each_audit() {
    let looks = |looked: i64, seconds: i64, change: &dyn Fn(&mut Observation)| {
        let mut obs = losing(&[]);
        (obs.keys, obs.looked_at) = (None, at(looked));
        change(&mut obs);
        settle(&obs, seconds, &account()).is_some()
    };
    assert!(!looks(0, 119, &|_| {}) && looks(0, 120, &|_| {}), "two minutes after it began");
    assert!(looks(119, 500, &|_| {}) && !looks(120, 500, &|_| {}) && !looks(121, 500, &|_| {}));
    assert!(!looks(121, 121 + 3599, &|_| {}) && looks(121, 121 + 3600, &|_| {}));
    let suspects = |obs: &mut Observation| {
        status(obs).lost.clear();
        status(obs).suspects = vec![suspect("k9")];
    };
    assert!(!looks(0, 3599, &suspects) && looks(0, 3600, &suspects));
    let nothing = |obs: &mut Observation| status(obs).lost.clear();
    assert!(!looks(0, 3600, &nothing));
}
