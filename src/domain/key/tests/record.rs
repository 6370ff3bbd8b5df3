//! Rule 7: what the Secret publishes is a fact, if it is shown to be one.

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyPhase, KeyReason, LedgerKey, VerificationMode};
use crate::domain::conditions::{self, READY};
use crate::domain::{Class, Reason, Trouble};

/// What the condition says to people.
fn story_of(plan: &Plan) -> String {
    conditions::find(&plan.status.conditions, READY).map(|c| c.message.clone()).unwrap_or_default()
}

#[test]
fn rule_7_records_a_published_key_that_only_its_staging_secret_proves() {
    let mut obs = settled();
    obs.confirmed = true;
    obs.secret = Secret::Ours(published("k2", 2));
    assert_eq!(decide(&obs, 0).next, Next::Need(Need::SecretProof), "an annotation alone proves nothing");
    obs.staged = vec![staged("k2", "n2", 2)];
    let plan = decide(&obs, 0);
    assert_eq!((plan.rule, plan.status.active_key_id.as_deref()), ("7", Some("k2")));
}

/// A status of yesterday beside a Secret of today, or a Secret that comes back while an attempt is open.
#[test]
fn rule_7_learns_of_a_key_that_only_the_secret_names_if_the_backend_accepts_it() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    status(&mut obs).lost = vec![lost("n7", 7, at(0), false)];
    // An orphan of which nobody knows the public half is no other half of it.
    status(&mut obs).keys.push(LedgerKey { public_key_sha256: None, ..key("k0", KeyPhase::Overlap, 0) });
    let older = vec![key("k6", KeyPhase::Overlap, 6), key("k5", KeyPhase::Overlap, 5)];
    obs.secret = Secret::Ours(Published { ledger: older, ..published("k7", 7) });
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::SecretProof));
    obs.secret_proof = Some(Proof::Unavailable(Trouble::new(Class::Unknown, "down")));
    assert_eq!((decide(&obs, 50).rule, decide(&obs, 50).next), ("7", Next::Wait), "it is not written over");
    obs.secret_proof = Some(Proof::Refused { message: "invalid_grant".to_owned() });
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Keys), "are they on the account?");
    obs.keys = Some(listed(&["k1"], at(50)));
    assert_ne!(decide(&obs, 50).rule, "7", "an annotation that none of us wrote");
    obs.keys = None;
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Keys));
    obs.keys = Some(listed(&["k1", "k6", "k7"], at(50)));
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Siblings));
    obs.siblings = Some(Siblings { claimed: vec!["k7".to_owned()], ..Siblings::default() });
    assert_ne!(decide(&obs, 50).rule, "7", "another object's credential, put here by hand");
    obs.siblings = Some(Siblings::default());
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Confirm));
    obs.confirmed = true;
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, step(&plan)), ("7", &Step::WriteStatus));
    let after = plan.status;
    assert_eq!(after.active_key_id.as_deref(), Some("k7"));
    let phases = ["k1", "k6"].map(|id| ledger::find(&after, id).map(|k| (k.phase, k.disable_at)));
    assert_eq!(phases[1], Some((KeyPhase::Overlap, Some(at(50 + 600)))), "it gets a whole overlap");
    assert_eq!(phases[0], Some((KeyPhase::Overlap, Some(at(50 + 600)))), "it was read until now");
    assert_eq!(ledger::find(&after, "k5"), None, "it is not there any more");
    // Neither attempt is known to have made it: both stay open, and no later one is taken for it.
    assert_eq!(after.pending.map(|p| p.nonce).as_deref(), Some("n2"));
    assert!(after.lost.len() == 1 && !after.lost[0].fenced, "{:?}", after.lost);
    assert_eq!((after.attempt, after.keys.iter().map(|k| k.attempt).max()), (7, Some(0)), "{:?}", after.keys);
}

#[test]
fn rule_7_believes_no_mark_beside_another_account_or_the_half_of_a_known_key() {
    let mut obs = settled();
    obs.confirmed = true;
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    let elsewhere = Published { account: Some("p/999".to_owned()), ..published("k2", 2) };
    let renamed = Published { credential: published("k1", 1).credential, ..published("k2", 2) };
    let empty = Published { credential: Credential::Missing, ..published("k2", 2) };
    obs.keys = Some(listed(&["k1"], at(0)));
    for secret in [elsewhere, renamed, empty] {
        obs.secret = Secret::Ours(secret);
        assert_ne!(decide(&obs, 0).rule, "7", "{:?}", obs.secret);
    }
}

/// The number of an attempt is no proof: it begins at one again when the object is made again.
#[test]
fn rule_7_clears_no_attempt_by_its_number_alone() {
    let mut obs = settled();
    obs.confirmed = true;
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    (obs.keys, obs.siblings) = (Some(listed(&["k1", "k9"], at(50))), Some(Siblings::default()));
    status(&mut obs).pending = Some(pending("n2", 2, at(10)));
    for (published_at, known, is_its) in [(9, false, false), (10, true, false), (10, false, true)] {
        obs.secret = Secret::Ours(Published { published_at: Some(at(published_at)), ..published("k9", 2) });
        let known = if known { vec!["k9".to_owned()] } else { Vec::new() };
        status(&mut obs).pending.as_mut().unwrap().known_key_ids = known;
        let after = decide(&obs, 50).status;
        assert_eq!(after.active_key_id.as_deref(), Some("k9"));
        assert_eq!(after.pending.is_none(), is_its, "its key may still come");
    }
}

#[test]
fn rule_7_replaces_a_key_that_it_may_not_enable_again() {
    let mut obs = settled();
    obs.confirmed = true;
    let mut old = key("k0", KeyPhase::Disabled, 0);
    old.delete_at = Some(at(100_000));
    status(&mut obs).keys.push(old);
    obs.secret = Secret::Ours(published("k0", 0));
    assert_eq!(step(&decide(&obs, 50)), &Step::EnableKey { id: "k0".to_owned() });
    let refused = Refused { until: at(5000), reason: Reason::PermissionMissing, message: "403".to_owned() };
    obs.put_off.insert(Subject::Enabling("k0".to_owned()), refused);
    let plan = decide(&obs, 50);
    assert_eq!((step(&plan), plan.status.active_key_id.as_deref()), (&Step::WriteStatus, Some("k0")));
    obs.status = Some(plan.status);
    gates_open(&mut obs, 60);
    list_disabled(&mut obs, "k0");
    assert_eq!(intent(&obs, 60), KeyReason::KeyEnded);
}

/// Where nothing is proved, a key that is gone must not be taken for a good one.
#[test]
fn rule_7_wants_to_see_the_key_at_the_backend_where_nothing_is_proved() {
    let mut obs = settled();
    obs.confirmed = true;
    obs.spec.verification.mode = VerificationMode::None;
    obs.secret = Secret::Ours(published("k9", 9));
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Keys));
    obs.keys = Some(KeyList::Unreadable(Trouble::new(Class::Forbidden, "403")));
    assert_eq!((decide(&obs, 50).rule, decide(&obs, 50).next), ("7", Next::Wait));
    obs.siblings = Some(Siblings::default());
    obs.keys = Some(listed(&["k1"], at(50)));
    assert_ne!(decide(&obs, 50).rule, "7");
    obs.keys = Some(listed(&["k1", "k9"], at(50)));
    assert_eq!(decide(&obs, 50).status.active_key_id.as_deref(), Some("k9"));
}

/// What a Secret names is forgotten when it is overwritten, and with the object.
#[test]
fn rule_7_shows_a_person_the_keys_that_an_overwritten_secret_named() {
    let mut obs = settled();
    obs.confirmed = true;
    let older = key("k6", KeyPhase::Overlap, 6);
    let secret = Published { ledger: vec![older, key("k5", KeyPhase::Overlap, 5)], ..published("k7", 7) };
    obs.secret = Secret::Ours(Published { credential: Credential::Missing, ..secret });
    obs.keys = Some(listed(&["k1", "k6", "k7"], at(50)));
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Siblings));
    obs.siblings = Some(Siblings { claimed: vec!["k6".to_owned()], ..Siblings::default() });
    let plan = decide(&obs, 50);
    assert_eq!((plan.rule, step(&plan)), ("7", &Step::WriteStatus));
    let suspects: Vec<&str> = plan.status.suspects.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(suspects, ["k7"], "one is another object's, one is gone");
    obs.status = Some(plan.status);
    assert_ne!(decide(&obs, 50).rule, "7", "it is said once");
}

#[test]
fn rule_3_learns_of_the_published_key_before_its_secret_goes() {
    let mut obs = settled();
    (obs.confirmed, obs.deleting) = (true, true);
    obs.secret =
        Secret::Ours(Published { ledger: vec![key("k6", KeyPhase::Overlap, 6)], ..published("k7", 7) });
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::SecretProof));
    obs.secret_proof = Some(Proof::Unavailable(Trouble::new(Class::Unknown, "down")));
    let plan = decide(&obs, 50);
    assert!(plan.next == Next::Wait && story_of(&plan).contains("keywheel.dev/abandon"), "{plan:?}");
    let reachable = obs.account.clone();
    let message = String::new();
    obs.account = AccountView::Unusable { reason: Reason::AccountNotReady, message, account: None };
    let plan = decide(&obs, 50);
    assert!(plan.next == Next::Wait && story_of(&plan).contains("k7"), "{plan:?}");
    obs.account = reachable;
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    (obs.keys, obs.siblings) = (Some(listed(&["k1", "k6", "k7"], at(50))), Some(Siblings::default()));
    let plan = decide(&obs, 50);
    assert_eq!(step(&plan), &Step::WriteStatus);
    let ids: Vec<&str> = plan.status.keys.iter().map(|k| k.id.as_str()).collect();
    assert!(["k1", "k6", "k7"].iter().all(|id| ids.contains(id)), "{ids:?}");
    obs.status = Some(plan.status);
    assert!(matches!(step(&decide(&obs, 50)), Step::DeleteSecret { .. }));
}
