//! The fixed part of the simulation that runs with every `make test`; `make sim` runs the rest.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]

use std::sync::Mutex;
use std::time::Duration;

use keywheel::domain::Timing;
use keywheel_sim::actor::{LEASE_NAME, LEASE_NAMESPACE};
use keywheel_sim::api_server::Place;
use keywheel_sim::case::{At, SEED, Script, in_own_time, run};
use keywheel_sim::exhaustive::{Depth, cases, run_all, wakers_at_publication};
use keywheel_sim::fate::{Calm, Director, Fate, No, Offer, Waking};
use keywheel_sim::flows;
use keywheel_sim::history::History;
use keywheel_sim::iam::Maker;
use keywheel_sim::world::{Setup, World};
use serde_json::json;

/// Histories that run every time.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

#[test]
fn a_seed_is_one_identical_run() {
    let flow = flows::find("rotate").unwrap();
    let (one, other) = (run(&flow, 3, Script::default()), run(&flow, 3, Script::default()));
    assert_eq!(one.trace, other.trace);
    assert_eq!(one.digest, other.digest);
    assert_ne!(one.digest, run(&flow, 4, Script::default()).digest);
    let (one, other) = (History::of(1).run(), History::of(1).run());
    assert_eq!(one.trace, other.trace);
    assert_eq!(one.digest, other.digest);
}

#[test]
fn every_flow_keeps_its_budget_exactly() {
    for flow in flows::all() {
        let outcome = run(&flow, SEED, Script::default());
        assert!(outcome.violations.is_empty(), "{}: {:#?}", flow.name, outcome.violations);
    }
}

#[test]
fn every_flow_survives_a_crash_at_every_write() {
    let cases = cases(Depth::Smoke, None);
    let told = Mutex::new(Vec::new());
    run_all(&cases, 2, |_, case, outcome| {
        if !outcome.violations.is_empty() {
            told.lock().unwrap().push(format!("{case}: {:?}", outcome.violations));
        }
        false
    });
    let told = told.into_inner().unwrap();
    assert!(told.is_empty(), "of {} runs: {told:#?}", cases.len());
}

#[test]
fn histories_at_random_break_nothing() {
    for seed in SEEDS {
        let judgement = History::of(seed).run();
        assert!(
            judgement.violations.is_empty(),
            "keywheel-sim replay --seed {seed}: {:#?}",
            judgement.violations
        );
    }
}

/// The next leader finds the staging Secret and publishes it.
#[test]
fn a_leader_that_wakes_with_its_staging_unanswered_takes_nothing_back() {
    let flow = flows::find("rotate").unwrap();
    let calm = run(&flow, SEED, Script::default());
    let staged =
        calm.seen.iter().position(|call| call.mutating && call.summary.starts_with("create Secret kw-"));
    let staged = At::Call(u64::try_from(staged.unwrap()).unwrap() + 1);
    for wake_after in (8..64).step_by(4) {
        let mut script = Script::new([(staged, Fate::Freeze(Waking::TimedOut))]);
        script.wake_after = Some(wake_after);
        let outcome = run(&flow, SEED, script);
        assert!(outcome.violations.is_empty(), "after {wake_after} calls: {:#?}", outcome.violations);
    }
}

/// What it would send has no version to guard it.
#[test]
fn a_leader_that_stood_still_before_its_first_publication_sends_nothing() {
    for case in wakers_at_publication(&flows::find("create").unwrap()).iter().step_by(3) {
        let outcome = case.run();
        assert!(outcome.violations.is_empty(), "{case}: {:#?}", outcome.violations);
    }
}

/// Then a publication between the two reads is seen in the object, or fails at the version of the Secret.
#[test]
fn every_pass_reads_the_secret_before_its_object() {
    for name in ["create", "rotate", "retire", "revoke", "drift-secret-emptied"] {
        let calm = run(&flows::find(name).unwrap(), SEED, Script::default());
        let read = |calls: &[&str], what: &str| calls.iter().position(|call| call.starts_with(what));
        let mut passes = 0;
        for calls in calm.seen.split(|call| call.mutating) {
            let calls: Vec<&str> = calls.iter().map(|call| call.summary.as_str()).collect();
            let object = read(&calls, "get ServiceAccountKey key-");
            let secret = read(&calls, "get Secret key-");
            if let (Some(object), Some(secret)) = (object, secret) {
                passes += 1;
                assert!(secret < object, "{name}: {calls:#?}");
            }
        }
        assert!(passes > 0, "{name}: {:#?}", calm.seen);
    }
}

/// The process that had it goes on for its time, and cannot know before its next renewal.
#[test]
fn a_lease_that_somebody_deletes_is_not_taken_before_its_holder_has_stopped() {
    in_own_time(async {
        let lease = Duration::from_mins(1);
        let mut world = World::with_backend(Setup { lease: Some(lease), ..Setup::new(1) });
        world.start_all();
        world.run_for(Duration::from_secs(90), &mut Calm).await;
        let leaders = |world: &World| -> Vec<usize> {
            world.actors.iter().filter(|a| a.leads()).map(|a| a.id).collect()
        };
        let [leader] = leaders(&world)[..] else { panic!("one leads") };
        world.actors[leader].freeze();
        let place = Place {
            kind: "leases.coordination.k8s.io".to_owned(),
            namespace: LEASE_NAMESPACE.to_owned(),
            name: LEASE_NAME.to_owned(),
        };
        world.person("deletes the Lease", |server, _, _| server.store.remove(&place));
        world.run_for(lease / 2, &mut Calm).await;
        assert!(leaders(&world).iter().all(|id| *id == leader), "{:?}", world.tail(20));
        world.run_for(lease, &mut Calm).await;
        assert!(leaders(&world).iter().all(|id| *id != leader) && leaders(&world).len() == 1);
    });
}

/// With the waits of production: the only calls are looks, and none of them writes.
#[test]
fn a_hundred_keys_at_rest_write_nothing_for_a_day() {
    in_own_time(async {
        let mut world = World::with_backend(Setup { timing: Timing::default(), ..Setup::new(1) });
        for account in 0..10 {
            world.create_account(&format!("account-{account}"));
        }
        for key in 0..100 {
            let spec = json!({ "rotation": { "every": "30d", "overlap": "24h", "deleteAfter": "168h" } });
            world.create_key(&format!("key-{key}"), &format!("account-{}", key / 10), &spec);
        }
        world.start_operator();
        world.run_for(Duration::from_mins(10), &mut Calm).await;
        let ready = (0..100).filter(|key| world.is_ready(&format!("key-{key}"))).count();
        assert_eq!(ready, 100, "{:?}", world.oracle.violations());
        world.counts.reset();
        world.run_for(Duration::from_hours(24), &mut Calm).await;
        assert_eq!(world.counts.api_writes, Vec::<String>::new());
        let calls = &world.counts.iam_calls;
        assert!(calls.iter().all(|call| call.contains("list-keys")), "{calls:?}");
        // One look an account and audit period, which is a little less than an hour.
        assert!((10 * 23..=10 * 33).contains(&calls.len()), "{} lists", calls.len());
        assert_eq!(world.oracle.violations(), []);
    });
}

/// Refuses the first call that begins so.
struct RefusesOnce(&'static str, No);

impl Director for RefusesOnce {
    fn fate(&mut self, offer: &Offer) -> Fate {
        if self.0.is_empty() || !offer.summary.starts_with(self.0) {
            return Fate::Deliver;
        }
        self.0 = "";
        Fate::Refuse(self.1)
    }
}

#[test]
fn what_an_audit_showed_is_not_forgotten_where_it_could_not_be_written_down() {
    in_own_time(async {
        let mut world = flows::with_key(Setup::new(1)).await;
        world.person("disables the key at the backend", |_, iam, _| {
            iam.keys.values_mut().for_each(|key| (key.disabled, key.ended_by_person) = (true, true));
        });
        let mut once = RefusesOnce("update ServiceAccountKey/status", No::Api(500, "InternalError"));
        let begun = world.time.elapsed();
        while !once.0.is_empty() {
            world.run_for(Duration::from_secs(10), &mut once).await;
        }
        assert!(world.time.elapsed() < begun + Duration::from_mins(65), "an audit showed it");
        world.run_for(Duration::from_mins(10), &mut Calm).await;
        assert_eq!(flows::rotations(&world), 1, "{:#?}", world.tail(40));
    });
}

#[test]
fn a_key_that_may_not_be_ended_keeps_no_other_one_alive() {
    in_own_time(async {
        let mut world = flows::with_key(Setup::new(1)).await;
        world.patch("ServiceAccount", "account-0", json!({ "spec": { "unmanagedKeys": "Delete" } }));
        world.person("makes three keys at the backend", |_, iam, now| {
            let account = iam.living("account-0").unwrap().account.unique_id.clone();
            (0..3).for_each(|_| drop(iam.create_key(&account, Maker::Person, now).unwrap()));
        });
        let theirs = |world: &World| {
            world.iam.keys.values().filter(|k| k.made_by == Maker::Person && !k.deleted).count()
        };
        let mut once = RefusesOnce("iam delete-key", No::Iam(1));
        while !once.0.is_empty() {
            world.run_for(Duration::from_secs(10), &mut once).await;
        }
        world.run_for(Duration::from_secs(10), &mut Calm).await;
        assert_eq!(theirs(&world), 1, "{:#?}", world.tail(40));
        world.run_for(Duration::from_mins(61), &mut Calm).await;
        assert_eq!((theirs(&world), world.oracle.violations()), (0, &[][..]), "{:#?}", world.tail(40));
    });
}

#[test]
fn a_restart_with_ready_keys_writes_and_makes_nothing() {
    in_own_time(async {
        let mut world = flows::with_key(Setup::new(1)).await;
        world.kill(0);
        world.counts.reset();
        let made = world.iam.keys.len();
        world.start_operator();
        world.run_for(Duration::from_mins(5), &mut Calm).await;
        assert_eq!((world.counts.api_writes.clone(), world.iam.keys.len()), (Vec::new(), made));
    });
}
