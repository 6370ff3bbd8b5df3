//! Rule 14 and the pairs that are made here: whose is a key that nobody's answer brought?

use std::time::Duration;

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyOrigin, KeyPhase, KeySource};
use crate::domain::{Class, Trouble};

/// A lost attempt at 0 whose key is listed ten minutes later; the account is ours alone.
fn orphan() -> Observation {
    let mut obs = settled();
    obs.account = AccountView::Usable(Account { exclusive: true, ..account() });
    obs.looked_at = at(0);
    status(&mut obs).lost = vec![lost("n5", 5, at(0), true)];
    status(&mut obs).next_rotation_time = Some(at(99_999));
    obs.keys = Some(listed(&["k1", "orphan"], at(600)));
    obs.siblings = Some(Siblings { fenced_attempts: 1, ..Siblings::default() });
    obs
}

fn adopted(plan: &Plan) -> Option<&crate::api::v1alpha1::LedgerKey> {
    plan.status.keys.iter().find(|k| k.origin == KeyOrigin::Orphan)
}

#[test]
fn an_orphan_of_an_exclusive_account_is_taken_in_and_gets_the_full_overlap() {
    let mut obs = orphan();
    let plan = decide(&obs, 600);
    let key = adopted(&plan).unwrap();
    assert_eq!((key.id.as_str(), key.phase, key.disable_at), ("orphan", KeyPhase::Overlap, Some(at(1200))));
    assert!(plan.status.suspects.is_empty());
    obs.account = AccountView::Usable(account());
    assert!(adopted(&decide(&obs, 600)).is_none(), "a shared account: nothing proves it");
    let mut obs = orphan();
    obs.siblings = Some(Siblings { fenced_attempts: 1, account_shared: true, ..Siblings::default() });
    assert!(adopted(&decide(&obs, 600)).is_none(), "another object has it since the last look");
}

#[test]
fn the_first_look_comes_once_the_answer_must_show_and_siblings_are_read_after_the_list() {
    let mut obs = orphan();
    obs.keys = None;
    obs.siblings = None;
    let early = decide(&obs, 119);
    assert_eq!((early.next, early.requeue.as_secs()), (Next::Wait, 1));
    assert_eq!(decide(&obs, 120).next, Next::Need(Need::Keys));
    obs.keys = Some(listed(&["k1", "orphan"], at(600)));
    assert_eq!(decide(&obs, 600).next, Next::Need(Need::Siblings));
    obs.keys = None;
    obs.looked_at = at(130);
    assert_eq!(decide(&obs, 600).next, Next::Wait, "it was looked for already");
}

#[test]
fn whatever_may_still_be_anothers_is_waited_for() {
    let window = |from, until| Window { from, until };
    for windows in
        [vec![window(None, None)], vec![window(Some(at(0)), None)], vec![window(Some(at(-10)), Some(at(10)))]]
    {
        let mut obs = orphan();
        obs.siblings = Some(Siblings { windows: windows.clone(), fenced_attempts: 1, ..Siblings::default() });
        assert!(adopted(&decide(&obs, 600)).is_none(), "{windows:?}");
        // Also when its time is over: the attempt stays open.
        obs.keys = Some(listed(&["k1", "orphan"], at(5000)));
        let plan = decide(&obs, 5000);
        assert!(
            plan.status.lost.len() == 1 && plan.status.suspects.is_empty(),
            "{windows:?}: {:?}",
            plan.status
        );
    }
    let mut obs = orphan();
    obs.siblings = Some(Siblings {
        windows: vec![window(Some(at(1)), None), window(Some(at(-100)), Some(at(-1)))],
        fenced_attempts: 1,
        ..Siblings::default()
    });
    assert!(adopted(&decide(&obs, 600)).is_some(), "windows that do not cover it are no obstacle");
    let mut obs = orphan();
    status(&mut obs).lost[0].fenced = false;
    obs.secret = Secret::Absent;
    assert!(adopted(&decide(&obs, 600)).is_none(), "its own attempt may still publish it");
}

#[test]
fn a_key_that_somebody_claims_is_neither_taken_nor_suspected() {
    let mut obs = orphan();
    obs.siblings =
        Some(Siblings { claimed: vec!["orphan".to_owned()], fenced_attempts: 1, ..Siblings::default() });
    obs.keys = Some(listed(&["k1", "orphan"], at(5000)));
    let plan = decide(&obs, 5000);
    assert!(plan.status.lost.is_empty() && plan.status.suspects.is_empty() && adopted(&plan).is_none());
}

#[test]
fn more_candidates_than_lost_attempts_are_all_suspects() {
    let mut obs = orphan();
    obs.keys = Some(listed(&["k1", "a", "b"], at(5000)));
    let plan = decide(&obs, 5000);
    assert_eq!(plan.status.suspects.len(), 2);
    assert!(adopted(&plan).is_none());
    obs.siblings = Some(Siblings { fenced_attempts: 2, ..Siblings::default() });
    assert_eq!(decide(&obs, 5000).status.keys.len(), 3, "another object lost one, too");
}

#[test]
fn a_rebuilt_status_tells_no_key_of_ours_from_one_that_a_person_made_long_ago() {
    let mut obs = orphan();
    status(&mut obs).lost = vec![lost(ledger::REBUILT, 5, at(-99_999), true)];
    status(&mut obs).lost[0].until = at(3600);
    assert!(adopted(&decide(&obs, 600)).is_none());
    obs.keys = Some(listed(&["k1", "unknown"], at(5000)));
    let plan = decide(&obs, 5000);
    assert!(adopted(&plan).is_none() && plan.status.lost.is_empty());
    assert_eq!(plan.status.suspects.len(), 1, "reported");
    // In the window of an attempt that is remembered, it is told like any other.
    status(&mut obs).lost.push(lost("n6", 6, at(0), true));
    assert!(adopted(&decide(&obs, 5000)).is_some());
}

#[test]
fn ids_and_times_exclude_what_was_there_before_or_came_after() {
    let outside = |change: fn(&mut ListedKey)| {
        let mut obs = orphan();
        if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
            change(&mut keys[1]);
        }
        adopted(&decide(&obs, 600)).is_none()
    };
    assert!(outside(|k| k.created_at = Some(at(-2))));
    assert!(outside(|k| k.created_at = Some(at(3611))));
    assert!(outside(|k| k.made_by_backend = false));
    assert!(outside(|k| k.nonce = Some("another".to_owned())));
    assert!(!outside(|k| k.nonce = Some("n5".to_owned())));
    let mut obs = orphan();
    status(&mut obs).lost[0].known_key_ids = vec!["orphan".to_owned()];
    assert!(adopted(&decide(&obs, 600)).is_none());
}

#[test]
fn an_attempt_that_the_backend_names_is_proof_also_on_a_shared_account() {
    let mut obs = orphan();
    obs.account = AccountView::Usable(account());
    obs.siblings = None;
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        keys[1].nonce = Some("n5".to_owned());
    }
    assert_eq!(adopted(&decide(&obs, 600)).unwrap().id, "orphan");
}

/// A pair made here, staged by an attempt at 0.
fn local() -> Observation {
    let mut obs = settled();
    obs.spec.key_source = KeySource::Local;
    status(&mut obs).keys[0].source = KeySource::Local;
    let mut open = pending("n2", 2, at(0));
    open.public_key_sha256 = Some(sha("pair"));
    status(&mut obs).pending = Some(open);
    status(&mut obs).attempt = 2;
    let mut pair = staged("pair", "n2", 2);
    pair.key_id = None;
    obs.staged = vec![pair];
    obs
}

fn there(only: bool) -> Upload {
    Upload::There { id: "k2".to_owned(), created_at: Some(at(1)), expires_at: None, disabled: false, only }
}

#[test]
fn a_pair_is_made_before_the_reads_of_its_attempt_and_stands_in_the_intent() {
    let mut obs = fresh();
    obs.spec.key_source = KeySource::Local;
    assert_eq!(decide(&obs, 0).next, Next::Need(Need::Pair));
    obs.fresh_pair = Some(sha("pair"));
    obs.keys = Some(listed(&[], at(0)));
    obs.preflight = Some(Preflight::Accepted);
    let intent = decide(&obs, 0);
    assert_eq!(intent.status.pending.as_ref().unwrap().public_key_sha256, Some(sha("pair")));
    obs.status = Some(intent.status);
    obs.own_intent = Some("fresh".to_owned());
    assert_eq!(step(&decide(&obs, 0)), &Step::StagePair { nonce: "fresh".to_owned() });
}

#[test]
fn only_the_process_that_staged_a_pair_uploads_it_without_a_look() {
    let mut obs = local();
    let nonce = || "n2".to_owned();
    assert_eq!(decide(&obs, 5).next, Next::Need(Need::Find { nonce: nonce() }));
    obs.upload = Some(Upload::NotThere);
    assert_eq!(step(&decide(&obs, 5)), &Step::Upload { nonce: nonce() });
    obs.upload = None;
    obs.staged_here = Some(nonce());
    assert_eq!(step(&decide(&obs, 5)), &Step::Upload { nonce: nonce() });
    obs.upload = Some(there(true));
    assert!(matches!(decide(&obs, 5).next, Next::Need(Need::Proof { .. })));
    obs.proof = Some(Proof::Accepted { times: 1 });
    let plan = decide(&obs, 5);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    assert_eq!(publication.key_id, "k2");
}

#[test]
fn a_refused_upload_is_forgotten_only_where_nothing_was_sent_before() {
    let mut obs = local();
    obs.upload = Some(Upload::Refused(Trouble::new(Class::Forbidden, "no")));
    obs.staged_here = Some("n2".to_owned());
    let refused = decide(&obs, 5).status;
    assert_eq!((refused.pending, refused.lost.len(), refused.failures), (None, 0, 1));
    obs.staged_here = None;
    let given_up = decide(&obs, 5).status;
    assert_eq!((given_up.pending, given_up.lost.len()), (None, 1), "an earlier process may have sent it");
}

#[test]
fn an_upload_without_an_answer_is_looked_for_and_never_forgotten() {
    let mut obs = local();
    obs.upload = Some(Upload::Unavailable(Trouble::new(Class::Unknown, "timeout")));
    assert_eq!(decide(&obs, 5).next, Next::Wait);
    // The attempt is given up: its fingerprint stays, the private half goes.
    let mut after = status(&mut obs).clone();
    ledger::pending_to_lost(&mut after, at(0), &crate::domain::Timing::default(), Duration::ZERO);
    obs.status = Some(after);
    obs.upload = None;
    assert!(matches!(step(&decide(&obs, 5)), Step::Unstage { .. }));
    obs.staged.clear();
    status(&mut obs).lost[0].fenced = true;
    status(&mut obs).next_rotation_time = Some(at(99_999));
    obs.looked_at = at(0);
    assert_eq!(decide(&obs, 600).next, Next::Need(Need::Fingerprints));
    // A list that another rule asked for does not say whose the key is: nothing is closed on it.
    obs.keys = Some(listed(&["k1", "uploaded"], at(5000)));
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        keys[1].made_by_backend = false;
    }
    assert_eq!(decide(&obs, 5000).next, Next::Need(Need::Fingerprints));
    obs.keys = Some(listed(&["k1", "uploaded"], at(600)));
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        keys[1].made_by_backend = false;
        keys[1].public_key_sha256 = Some(sha("pair"));
    }
    let plan = decide(&obs, 600);
    assert_eq!(adopted(&plan).unwrap().id, "uploaded", "proved by its public half, on a shared account");
    assert!(adopted(&plan).unwrap().surfaces_until.is_some());
}

/// An upload was lost, not found, sent again and found; the first one arrives an hour later, beside its published key.
#[test]
fn an_upload_that_may_have_been_sent_twice_is_looked_for_while_its_key_lives() {
    let mut obs = local();
    obs.upload = Some(there(false));
    obs.secret = Secret::Ours(published_as("k2"));
    let plan = decide(&obs, 5);
    let window = &plan.status.lost[0];
    assert_eq!((window.fenced, &window.public_key_sha256), (true, &Some(sha("pair"))));
    assert_eq!(window.known_key_ids, ["k2"]);
    assert_eq!(window.until, at(5 + 10 + 3600));
    obs.status = Some(plan.status);
    obs.staged.clear();
    obs.upload = None;
    obs.looked_at = at(0);
    obs.keys = Some(listed(&["k1", "k2", "again"], at(500)));
    if let Some(KeyList::Listed { keys, .. }) = &mut obs.keys {
        for key in &mut keys[1..] {
            key.made_by_backend = false;
            key.public_key_sha256 = Some(sha("pair"));
        }
    }
    assert_eq!(adopted(&decide(&obs, 500)).unwrap().id, "again");
    // Sent once: nothing can surface.
    let mut obs = local();
    obs.upload = Some(there(true));
    obs.secret = Secret::Ours(published_as("k2"));
    assert_eq!(decide(&obs, 5).status.lost, []);
}

fn published_as(id: &str) -> Published {
    let mut published = published(id, 2);
    published.credential = Credential::Readable { public_key_sha256: sha("pair") };
    published
}

#[test]
fn an_uploaded_key_that_waits_is_written_down_and_not_uploaded_again_beside_a_list_that_lags() {
    let refused = Proof::Refused { message: "invalid_grant".to_owned() };
    for proof in [refused, Proof::Unavailable(Trouble::new(Class::Unknown, "timeout"))] {
        let mut obs = local();
        obs.upload = Some(there(true));
        obs.proof = Some(proof);
        obs.keys = Some(listed(&["k1"], at(5)));
        let waiting = decide(&obs, 5);
        assert_eq!(waiting.next, Next::Wait);
        // Another pass, which remembers nothing, and a list that does not show the key.
        let mut obs = local();
        obs.status = Some(waiting.status);
        obs.upload = Some(Upload::NotThere);
        assert!(matches!(decide(&obs, 20).next, Next::Need(Need::Proof { .. })));
    }
}

#[test]
fn a_pair_of_which_nobody_knows_is_remembered_before_its_staging_goes() {
    let mut obs = local();
    status(&mut obs).pending = None;
    let plan = decide(&obs, 5);
    assert_eq!((plan.rule, step(&plan)), ("9", &Step::WriteStatus));
    assert_eq!(plan.status.lost[0].public_key_sha256, Some(sha("pair")));
    obs.status = Some(plan.status);
    assert!(matches!(step(&decide(&obs, 6)), Step::Unstage { .. }));
}

#[test]
fn a_second_key_of_a_pair_is_waited_for_only_if_an_upload_got_no_answer() {
    for (only, left) in [(true, 0), (false, 1)] {
        let mut obs = local();
        obs.upload = Some(there(only));
        let credential = Credential::Readable { public_key_sha256: sha("pair") };
        obs.secret = Secret::Ours(Published { published_at: Some(at(5)), credential, ..published("k2", 2) });
        let mut recorded = decide(&obs, 6).status;
        assert_eq!(recorded.active_key_id.as_deref(), Some("k2"));
        let key = ledger::find(&recorded, "k2").unwrap().clone();
        assert_eq!((key.source, key.created_at), (KeySource::Local, Some(at(1))));
        ledger::drop_key(&mut recorded, &key, at(10));
        assert_eq!(recorded.lost.len(), left, "only: {only}");
    }
}
