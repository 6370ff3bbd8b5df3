//! One fact changed at a time: what is published again, recorded and taken over.

use super::super::table::Table;
use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{
    FormerSecret, KeyPhase, KeySeen, KeySource, LedgerKey, LostAttempt, PendingAttempt,
    ServiceAccountKeyStatus, VerificationMode,
};
use crate::domain::{Class, Reason, Trouble, conditions};

/// Constraints forbid keys that Google makes and keys that are uploaded one by one.
#[test]
fn a_key_that_the_organization_forbids_may_be_made_here() {
    let told = |class, source| {
        let mut obs = fresh();
        obs.spec.key_source = source;
        let pending = Some(pending("n2", 2, at(3600)));
        obs.status = Some(ServiceAccountKeyStatus { pending, ..ServiceAccountKeyStatus::default() });
        obs.own_intent = Some("n2".to_owned());
        obs.sent = Some("n2".to_owned());
        obs.refused = Some(Refusal::ByBackend(Trouble::new(class, "no")));
        let plan = decide(&obs, 3601);
        conditions::find(&plan.status.conditions, conditions::READY).unwrap().message.clone()
    };
    assert!(told(Class::OrgPolicy, KeySource::Backend).contains("keySource: Local may work"));
    assert!(told(Class::OrgPolicy, KeySource::Local).contains("keySource: Backend may work"));
    for (class, source) in [(Class::Forbidden, KeySource::Backend), (Class::Precondition, KeySource::Backend)]
    {
        assert_eq!(told(class, source), "The backend refused to make a key: no");
    }
}

fn ids(keys: &[LedgerKey]) -> Vec<&str> {
    keys.iter().map(|k| k.id.as_str()).collect()
}

/// With a proved key `k2` of the open attempt.
fn publishing() -> Observation {
    let mut obs = settled();
    obs.spec.secret.previous = true;
    status(&mut obs).pending = Some(pending("n2", 2, at(3600)));
    obs.staged = vec![staged("k2", "n2", 2)];
    obs.proof = Some(Proof::Accepted { times: 1 });
    obs
}

#[test]
fn a_refused_publication_of_a_new_key_is_no_rewriting_that_can_be_put_off() {
    let plan = decide(&publishing(), 3605);
    assert!(matches!(step(&plan), Step::Publish(p) if p.key_id == "k2"));
    assert_eq!(step(&plan).subject(), None);
}

fn publication(obs: &Observation, seconds: i64) -> Publication {
    let plan = decide(obs, seconds);
    let Step::Publish(publication) = step(&plan) else { panic!("{:?}", plan.next) };
    (**publication).clone()
}

#[test]
fn only_a_good_key_stays_readable_beside_its_successor() {
    let previous = |change: &dyn Fn(&mut Observation)| {
        let mut obs = publishing();
        change(&mut obs);
        publication(&obs, 3605).previous
    };
    assert_eq!(previous(&|_| {}).as_deref(), Some("k1"));
    assert_eq!(previous(&|obs| status(obs).keys[0].seen = Some(KeySeen::Enabled)), None);
    assert_eq!(previous(&|obs| secret(obs).credential = Credential::Missing), None);
    assert_eq!(previous(&|obs| obs.requests.revoke_at = Some(at(3590))), None);
    assert_eq!(previous(&|obs| obs.spec.secret.previous = false), None);
}

#[test]
fn a_secret_remembers_all_keys_but_its_own_and_those_that_were_never_published() {
    let mut obs = publishing();
    status(&mut obs).keys.push(key("k0", KeyPhase::Disabled, 0));
    status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
    status(&mut obs).keys.push(key("k9", KeyPhase::Pending, 9));
    obs.proof = Some(Proof::Accepted { times: 3 });
    assert_eq!(ids(&publication(&obs, 3605).ledger), ["k1", "k0"]);
}

#[test]
fn the_previous_entries_stay_as_long_as_their_key_is_in_its_overlap() {
    let shown = |phase| {
        let mut obs = settled();
        obs.spec.secret.previous = true;
        let mut old = key("k0", phase, 0);
        old.disable_at = Some(at(900));
        status(&mut obs).keys.push(old);
        secret(&mut obs).previous_key_id = Some("k0".to_owned());
        obs.looked_at = at(50);
        decide(&obs, 50)
    };
    assert_eq!(shown(KeyPhase::Overlap).next, Next::Wait);
    assert!(matches!(&shown(KeyPhase::Disabled).next, Next::Act(Step::Publish(p)) if p.previous.is_none()));
}

#[test]
fn a_renamed_secret_is_written_down_beside_those_of_earlier_names() {
    let former = |name: &str, uid: &str| FormerSecret {
        name: name.to_owned(),
        uid: uid.to_owned(),
        delete_at: at(900),
    };
    let mut obs = settled();
    obs.spec.secret.name = Some("new".to_owned());
    obs.renamed_from = Some(Published { uid: "s-9".to_owned(), ..published("k1", 1) });
    obs.secret = Secret::Absent;
    obs.confirmed = true;
    status(&mut obs).former_secrets = vec![former("older", "s-0"), former("billing", "s-1")];
    let noted = decide(&obs, 50);
    let names: Vec<_> =
        noted.status.former_secrets.iter().map(|f| (f.name.as_str(), f.uid.as_str())).collect();
    assert_eq!((noted.rule, &names[..2]), ("11", &[("older", "s-0"), ("billing", "s-9")][..]));
    obs.status = Some(noted.status);
    assert!(matches!(decide(&obs, 50).next, Next::Act(Step::Publish(_))), "once");
    // One that names the key and holds another credential is not worth it.
    let other = Credential::Readable { public_key_sha256: sha("other") };
    obs.renamed_from = Some(Published { credential: other, uid: "s-9".to_owned(), ..published("k1", 1) });
    assert!(!matches!(decide(&obs, 50).next, Next::Act(Step::Publish(_))));
}

#[test]
fn what_a_refusal_need_not_hold_up_has_a_name() {
    let id = || "k1".to_owned();
    let unstage = Step::Unstage { name: "kw-1".to_owned(), uid: "u".to_owned() };
    assert_eq!(unstage.subject(), Some(Subject::Secret("kw-1".to_owned())));
    assert_eq!(Step::DeleteKey { id: id() }.subject(), Some(Subject::Key(id())));
    assert_eq!(Step::EnableKey { id: id() }.subject(), Some(Subject::Enabling(id())));
    assert_eq!(Step::WriteStatus.subject(), None);
}

#[test]
fn a_lost_status_is_rebuilt_from_whatever_is_left_and_a_new_one_is_not() {
    let rebuilt = |change: &dyn Fn(&mut Observation)| {
        let mut obs = fresh();
        change(&mut obs);
        let plan = decide(&obs, 50);
        (plan.rule == "2").then_some(plan.status)
    };
    assert!(rebuilt(&|_| {}).is_none());
    let found = rebuilt(&|obs| obs.secret = Secret::Ours(published("k1", 1))).unwrap();
    assert_eq!((ids(&found.keys), found.lost.len()), (vec!["k1"], 0));
    assert!(rebuilt(&|obs| obs.staged = vec![staged("k1", "n1", 1)]).is_some());
    let old = |obs: &mut Observation| {
        obs.own_finalizer = false;
        obs.secret = Secret::Ours(published("k1", 1));
    };
    let found = rebuilt(&old).unwrap();
    assert_eq!(found.lost[0].nonce, ledger::REBUILT, "an attempt may be under way");
    let of = |account: Option<&str>, reachable: bool| {
        let found = rebuilt(&|obs: &mut Observation| {
            let account = account.map(str::to_owned);
            obs.secret = Secret::Ours(Published { account, ..published("k1", 1) });
            if !reachable {
                let (reason, message) = (Reason::AccountMissing, "none".to_owned());
                obs.account = AccountView::Unusable { reason, message, account: None };
            }
        });
        found.unwrap().keys.len()
    };
    assert_eq!([of(None, true), of(Some("p/100"), true), of(Some("p/200"), true)], [1, 1, 0]);
    assert_eq!([of(None, false), of(Some("p/200"), false)], [1, 1], "nobody knows of another account");
}

/// The Secret names `k7`, of which nothing is known, and holds no credential.
fn named_only() -> Observation {
    let mut obs = settled();
    obs.secret = Secret::Ours(Published { credential: Credential::Missing, ..published("k7", 7) });
    obs.confirmed = true;
    obs
}

#[test]
fn a_key_that_only_the_secret_names_is_shown_once() {
    let mut obs = named_only();
    status(&mut obs).suspects = vec![suspect("k8")];
    assert_eq!((decide(&obs, 50).rule, decide(&obs, 50).next), ("7", Next::Need(Need::Keys)));
    obs.keys = Some(listed(&["k1", "k7", "k8"], at(50)));
    obs.siblings = Some(Siblings::default());
    let shown = decide(&obs, 50);
    let suspects: Vec<_> = shown.status.suspects.iter().map(|s| s.id.as_str()).collect();
    assert_eq!((shown.rule, suspects), ("7", vec!["k8", "k7"]));
    obs.status = Some(shown.status);
    assert_ne!(decide(&obs, 50).rule, "7");
    let disowned = |id: &str| {
        let mut obs = named_only();
        obs.requests.disown = vec![id.to_owned()];
        decide(&obs, 50).rule != "7"
    };
    assert!(disowned("k7") && !disowned("k8"));
}

#[test]
fn what_a_deleting_objects_secret_names_is_asked_for_unless_the_account_is_gone() {
    let asked = |class, deleting| {
        let mut obs = named_only();
        obs.deleting = deleting;
        obs.keys = Some(KeyList::Unreadable(Trouble::new(class, "no")));
        let plan = decide(&obs, 50);
        (plan.rule, plan.next == Next::Wait)
    };
    assert_eq!(asked(Class::Unknown, true), ("7", true));
    assert_ne!(asked(Class::NotFound, true).0, "7");
    assert_ne!(asked(Class::Unknown, false).0, "7", "nothing new is made without a list anyway");
    assert_ne!(asked(Class::NotFound, false).0, "7");
}

/// The Secret publishes `k2` of attempt 2, which is open; its staging Secret is gone.
fn published_by_its_attempt() -> Observation {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(10)));
    status(&mut obs).attempt = 2;
    obs.secret = Secret::Ours(Published { published_at: Some(at(20)), ..published("k2", 2) });
    obs.confirmed = true;
    obs
}

#[test]
fn a_key_whose_staging_secret_is_gone_settles_its_attempt_once_it_is_proved() {
    let mut obs = published_by_its_attempt();
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::SecretProof), "a number is no proof");
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    let settled = decide(&obs, 50).status;
    assert_eq!((settled.pending, settled.active_key_id.as_deref()), (None, Some("k2")));
    let mut obs = published_by_its_attempt();
    obs.spec.verification.mode = VerificationMode::None;
    assert_eq!(decide(&obs, 50).next, Next::Need(Need::Keys), "it must at least be there");
    let mut obs = published_by_its_attempt();
    secret(&mut obs).published_at = Some(at(5));
    status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
    assert_eq!(decide(&obs, 50).status.pending, None, "the ledger knows it as that of the attempt");
    status(&mut obs).keys[1].attempt = 3;
    assert!(decide(&obs, 50).status.pending.is_some(), "and here as that of another");
    for staged in [staged("k2", "n9", 9), staged("k5", "n2", 2)] {
        let mut obs = published_by_its_attempt();
        secret(&mut obs).published_at = Some(at(5));
        obs.staged = vec![staged];
        assert!(decide(&obs, 50).status.pending.is_some(), "staged by another attempt, or another key");
    }
}

#[test]
fn a_publication_settles_the_windows_before_its_own() {
    let mut obs = published_by_its_attempt();
    obs.secret_proof = Some(Proof::Accepted { times: 1 });
    let rebuilt = LostAttempt { nonce: ledger::REBUILT.to_owned(), ..lost("n", 2, at(0), false) };
    status(&mut obs).lost =
        vec![lost("n1", 1, at(0), false), lost("nx", 2, at(0), false), lost("n3", 3, at(0), false), rebuilt];
    let after = decide(&obs, 50).status;
    let left: Vec<_> = after.lost.iter().map(|l| (l.nonce.as_str(), l.fenced)).collect();
    assert_eq!(left, [("n1", true), ("n3", false), (ledger::REBUILT, false)]);
}

#[test]
fn a_key_that_was_put_back_says_nothing_about_windows_if_its_number_is_another() {
    let put_back = |attempt| {
        let mut obs = settled();
        status(&mut obs).keys.push(key("k0", KeyPhase::Overlap, 3));
        status(&mut obs).lost = vec![lost("n2", 2, at(0), false), lost("n5", 5, at(0), false)];
        obs.secret = Secret::Ours(published("k0", attempt));
        obs.confirmed = true;
        let after = decide(&obs, 50).status;
        assert_eq!(after.active_key_id.as_deref(), Some("k0"));
        after.lost.iter().map(|l| (l.attempt, l.fenced)).collect::<Vec<_>>()
    };
    assert_eq!(put_back(3), [(2, true), (5, false)]);
    assert_eq!(put_back(5), [(2, false), (5, false)], "a Secret of another time");
}

#[test]
fn a_key_that_was_put_back_is_dead_only_where_it_could_not_be_enabled() {
    let seen = |phase| {
        let mut obs = settled();
        status(&mut obs).keys.push(key("k0", phase, 0));
        obs.secret = Secret::Ours(published("k0", 0));
        obs.confirmed = true;
        let refused = Refused { until: at(600), reason: Reason::PermissionMissing, message: "no".to_owned() };
        obs.put_off = PutOff::from([(Subject::Enabling("k0".to_owned()), refused)]);
        let after = decide(&obs, 50).status;
        assert_eq!(after.active_key_id.as_deref(), Some("k0"));
        ledger::find(&after, "k0").unwrap().seen
    };
    assert_eq!((seen(KeyPhase::Overlap), seen(KeyPhase::Disabled)), (None, Some(KeySeen::Disabled)));
}

#[test]
fn a_secret_that_was_left_is_taken_over_with_its_key_only_if_all_fits() {
    let taken = |change: &dyn Fn(&mut Observation)| {
        let mut obs = fresh();
        obs.status = Some(ServiceAccountKeyStatus::default());
        let mut left = published("k1", 1);
        left.account = Some("p/100".to_owned());
        obs.secret = Secret::Left(left);
        obs.secret_proof = Some(Proof::Accepted { times: 1 });
        change(&mut obs);
        match decide(&obs, 50).next {
            Next::Act(Step::TakeOver { keep }) => keep,
            other => panic!("{other:?}"),
        }
    };
    let left = |obs: &mut Observation, change: &dyn Fn(&mut Published)| {
        if let Secret::Left(secret) = &mut obs.secret {
            change(secret);
        }
    };
    assert!(taken(&|_| {}));
    assert!(!taken(&|obs| left(obs, &|s| s.account = Some("p/200".to_owned()))));
    assert!(!taken(&|obs| left(obs, &|s| s.key_id = None)));
    assert!(!taken(&|obs| left(obs, &|s| s.credential = Credential::Missing)));
    assert!(
        taken(&|obs| {
            obs.status.as_mut().unwrap().active_key_id = Some("k0".to_owned());
            obs.secret_proof = None;
        }),
        "what it says is kept beside a key of our own"
    );
}

#[test]
fn a_fence_rests_on_a_secret_that_publishes_the_active_key() {
    let fenced = |key_id: Option<&str>| {
        let mut obs = losing(&[]);
        status(&mut obs).lost[0].fenced = false;
        secret(&mut obs).key_id = key_id.map(str::to_owned);
        let (timing, now) = (timing(), at(50));
        let status = obs.status.clone().unwrap();
        Table { obs: &obs, now, exact: now, timing: &timing }.fence(&status).is_some()
    };
    assert_eq!([fenced(Some("k1")), fenced(Some("k9")), fenced(None)], [true, false, false]);
}

#[test]
fn a_refusal_counts_only_for_what_this_process_sent() {
    let mut obs = settled();
    status(&mut obs).pending = Some(pending("n2", 2, at(0)));
    obs.own_intent = Some("n2".to_owned());
    obs.refused = Some(Refusal::ByBackend(Trouble::new(Class::Forbidden, "no")));
    assert!(matches!(decide(&obs, 5).next, Next::Act(Step::Create { .. })));
    obs.sent = Some("n2".to_owned());
    assert_eq!(decide(&obs, 5).status.failures, 1);
}

#[test]
fn a_refused_key_gives_way_to_a_rotation_that_was_asked_for_after_it() {
    let given_up = |asked: i64| {
        let mut obs = settled();
        status(&mut obs).pending = Some(pending("n2", 2, at(40)));
        status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
        obs.staged = vec![staged("k2", "n2", 2)];
        obs.requests.rotate_at = Some(at(asked));
        decide(&obs, 50).rule == "8b"
    };
    assert_eq!([given_up(39), given_up(40), given_up(41)], [false, false, true]);
}

#[test]
fn one_proof_does_not_make_up_for_a_refusal() {
    let mut obs = publishing();
    status(&mut obs).keys.push(key("k2", KeyPhase::Pending, 2));
    obs.proof = Some(Proof::Accepted { times: 2 });
    assert!(matches!(decide(&obs, 3605).next, Next::Need(Need::Proof { times: 3, .. })));
    obs.proof = Some(Proof::Accepted { times: 3 });
    assert!(matches!(decide(&obs, 3605).next, Next::Act(Step::Publish(_))));
}

#[test]
fn absence_counts_only_past_the_lag_of_lists() {
    let mut obs = publishing();
    obs.proof = Some(Proof::Refused { message: "no".to_owned() });
    obs.keys = Some(listed(&["k1"], at(600)));
    assert_eq!(decide(&obs, 3605).rule, "8c");
    obs.keys = Some(listed(&["k1"], at(601)));
    assert_eq!(decide(&obs, 3605).rule, "8b");
}

#[test]
fn the_answer_of_an_upload_is_remembered_by_attempt_and_pair() {
    let found = |change: &dyn Fn(&mut LedgerKey)| {
        let mut obs = settled();
        let mut open = PendingAttempt { public_key_sha256: Some(sha("pair")), ..pending("n2", 2, at(0)) };
        open.attempt = 2;
        status(&mut obs).pending = Some(open);
        let mut noted = LedgerKey { public_key_sha256: Some(sha("pair")), ..key("k2", KeyPhase::Pending, 2) };
        change(&mut noted);
        status(&mut obs).keys.push(noted);
        let pair = Staged { key_id: None, ..staged("pair", "n2", 2) };
        obs.staged_key(&pair).map(|k| k.id)
    };
    assert_eq!(found(&|_| {}).as_deref(), Some("k2"));
    assert_eq!(found(&|k| k.attempt = 3), None);
    assert_eq!(found(&|k| k.public_key_sha256 = Some(sha("other"))), None);
    assert_eq!(found(&|k| k.phase = KeyPhase::Overlap), None);
}
