//! The operator ends in the middle of things, by SIGKILL and by SIGTERM: nothing leaks, nothing is sent twice, and what is
//! published stays good. These tests take turns with one world of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use keywheel::domain::Reason;
use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::{http, wait_until};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition, time};
use super::lifecycle::watch;
use super::trial;
use super::world::{Own, World, set_login};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("crash::a_create_in_flight_is_lost_and_its_key_is_found_and_ended", orphan),
        trial("crash::on_an_account_of_others_it_is_a_suspect_until_a_person_claims_it", suspect),
        trial("crash::a_backend_that_names_the_attempt_settles_it_also_on_an_account_of_others", attributed),
        trial("crash::a_staged_key_is_proved_and_published_by_the_next_process", staged),
        trial("crash::kills_at_any_moment_leak_no_key_and_leave_no_moment_without_one", anywhere),
        trial("crash::sigterm_ends_the_operator_within_five_seconds_also_in_the_middle_of_a_call", sigterm),
        trial("crash::a_staged_key_whose_object_was_forced_away_is_ended", forced_away),
        trial("crash::an_api_server_that_was_killed_is_watched_again_within_seconds", api_server),
        trial("crash::a_login_that_is_gone_at_a_restart_is_named_and_can_be_restored", login_lost),
    ]
}

/// Windows of lost attempts that a test can wait for: 10 s of the send rule, and these. Three attempts that were killed
/// stop the wheel for a day; here for 6 s.
const SHORT_WINDOWS: &str = r#"{"settle": 2000, "backoffBase": 500, "backoffCap": 4000, "retryBase": 200,
    "retryCap": 2000, "proofBase": 300, "driftBase": 1000, "driftCap": 8000, "probe": 5000,
    "horizon": 3000, "listLag": 2000, "burnWindow": 6000}"#;

pub fn world() -> MutexGuard<'static, World> {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let start =
        || Mutex::new(World::own(Own { timing: Some(SHORT_WINDOWS), lease: Some("3s"), ..Own::default() }));
    WORLD.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

fn delay(case: &Case<'_>, operation: &str, millis: u64) {
    let action = json!({"delay": {"millis": millis}});
    case.iam().fault(&json!({"operation": operation, "action": action, "match": case.email()})).unwrap();
}

fn account<'w>(world: &'w World, prefix: &str) -> Case<'w> {
    let case = Case::new(world, prefix);
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case
}

/// Every key at the backend is accounted for: in the ledger, suspected, staged, or in the window of an attempt.
fn assert_covered(case: &Case<'_>) {
    // The backend first: what is made after this look is not asked about.
    let listed = case.person.keys(&case.name);
    let key = case.get("iamsak", "billing");
    let status = &key["status"];
    let ids = |list: &Value| -> Vec<Value> {
        list.as_array().into_iter().flatten().map(|entry| entry["id"].clone()).collect()
    };
    let staged: Vec<Value> = case
        .staged()
        .iter()
        .filter_map(|name| case.find("secret", name))
        .map(|secret| secret["metadata"]["annotations"]["keywheel.dev/key-id"].clone())
        .collect();
    let known = [ids(&status["keys"]), ids(&status["suspects"]), staged].concat();
    for key in listed {
        let open = status["lost"].as_array().into_iter().flatten().chain(status.get("pending"));
        let in_window = open.into_iter().any(|attempt| {
            let second = jiff::SignedDuration::from_secs(1);
            let until = attempt.get("until").map_or(jiff::Timestamp::MAX, time);
            let known = attempt["knownKeyIds"].as_array().is_some_and(|ids| ids.contains(&json!(key.id)));
            !known && time(&attempt["backendTime"]) - second <= key.created && key.created <= until
        });
        assert!(in_window || known.contains(&json!(key.id)), "{} has leaked: {status}", key.id);
    }
}

/// Waits until the delayed create has reached the IAM server: its fault is used up.
fn sent(case: &Case<'_>) {
    let url = format!("{}/faults", case.iam().url());
    case.until("the create to be sent", || {
        let waiting = http::get(&url, None).unwrap().body;
        if waiting.contains(&case.email()) { Err(json!(waiting)) } else { Ok(()) }
    });
    assert!(case.get("iamsak", "billing")["status"]["pending"].is_object(), "sent without an intent");
}

/// A create is on its way when its process dies; the id of the key that nobody has the credential of.
fn in_flight(case: &Case<'_>) -> String {
    delay(case, "keys.create", 4000);
    case.key("billing", &json!({"rotation": {"overlap": "2s", "deleteAfter": "2s"}}));
    sent(case);
    case.world.operator().restart().unwrap();
    assert_covered(case);
    let ready = case.ready("iamsak", "billing");
    let active = case.active("billing");
    // A machine that stalls for longer than an attempt may take to settle gives one up that it never sent.
    assert!(ready["status"]["attempt"].as_u64() >= Some(2), "{ready}");
    // Where the backend names its key, it may have been found already.
    let keys = ready["status"]["keys"].as_array().cloned().unwrap_or_default();
    let found = keys.iter().any(|key| key["origin"] == "Orphan" && key["attempt"] == 1);
    assert!(found || ready["status"]["lost"][0]["attempt"] == 1, "{ready}");
    case.until("the create of the killed process", || match case.count("keys.create") {
        2 => Ok(()),
        count => Err(json!(count)),
    });
    assert_covered(case);
    let ids: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    ids.into_iter().find(|id| *id != active).expect("the create was not carried out")
}

fn alone(case: &Case<'_>) {
    let active = case.active("billing");
    case.until("the orphan to go", || {
        let ids: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
        if ids == [active.as_str()] { Ok(()) } else { Err(json!(ids)) }
    });
    assert_covered(case);
    case.accepted("billing");
}

/// From now on the backend is one that cannot say which key an attempt made, as most cannot.
fn without_attribution(case: &Case<'_>) {
    let action = json!({"fail": {"status": 404, "canonical": "NOT_FOUND", "message": "not told"}});
    case.iam().fault(&json!({"operation": "attempts.get", "action": action, "times": 1_000_000})).unwrap();
}

fn orphan() {
    let world = world();
    let case = account(&world, "orphan");
    without_attribution(&case);
    let orphan = in_flight(&case);
    let told = case.event_saying("billing", Reason::OrphanAdopted, &orphan);
    assert!(told.contains("nobody else makes keys"), "{told}");
    case.event_saying("billing", Reason::KeyDisabled, &orphan);
    alone(&case);
    case.when("iamsak", "billing", "its window closed", |key| key["status"]["lost"] == Value::Null);
    case.iam().clear_faults().unwrap();
}

fn attributed() {
    let world = world();
    let case = Case::new(&world, "attributed");
    case.person.create_account(&case.name, "made by hand");
    case.account(&json!({"adoptionPolicy": "IfExists"}));
    case.ready("iamsa", "billing");
    let orphan = in_flight(&case);
    // In the same window, so that nothing but the attempt tells the two apart.
    let (foreign, _) = case.person.create_key(&case.name);
    let told = case.event_saying("billing", Reason::OrphanAdopted, &orphan);
    assert!(told.contains("proved"), "{told}");
    case.event_saying("billing", Reason::KeyDeleted, &orphan);
    let left = case.person.keys(&case.name);
    let mut ids: Vec<&str> = left.iter().map(|key| key.id.as_str()).collect();
    let mut wanted = [case.active("billing"), foreign];
    ids.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(ids, wanted, "a key of a person was taken for one of ours");
}

fn suspect() {
    let world = world();
    let case = Case::new(&world, "suspect");
    case.person.create_account(&case.name, "made by hand");
    case.account(&json!({"adoptionPolicy": "IfExists"}));
    case.ready("iamsa", "billing");
    without_attribution(&case);
    let orphan = in_flight(&case);
    // Others may make keys on this account: it could be ours and cannot be proved so, so it is named and left alone.
    let message = case.told("iamsak", "billing", "SuspectKeys", "True", Reason::SuspectKeys);
    assert!(message.contains(orphan.as_str()), "{message}");
    case.event("billing", Reason::SuspectKeys);
    let key = case.get("iamsak", "billing");
    assert_eq!((&key["status"]["suspects"][0]["id"], &key["status"]["lost"]), (&json!(orphan), &Value::Null));
    assert_eq!(condition(&key, "Ready")["status"], "True");
    assert_covered(&case);
    assert!(case.person.keys(&case.name).iter().all(|key| !key.disabled), "a suspect was touched");
    // A person says that it is ours.
    let claim = json!({"metadata": {"annotations": {"keywheel.dev/claim-key": orphan}}});
    case.patch("iamsak", "billing", &claim);
    case.event_saying("billing", Reason::KeyDeleted, &orphan);
    alone(&case);
    case.iam().clear_faults().unwrap();
}

fn staged() {
    let world = world();
    let case = account(&world, "staged");
    delay(&case, "token", 2000);
    case.key("billing", &json!({}));
    let staged = case.until("a staged key", || case.staged().pop().ok_or(Value::Null));
    let secret = case.get("secret", &staged);
    let id = secret["metadata"]["annotations"]["keywheel.dev/key-id"].as_str().unwrap().to_owned();
    assert_eq!(secret["type"], "keywheel.dev/staging");
    world.operator().restart().unwrap();
    assert_covered(&case);
    let ready = case.ready("iamsak", "billing");
    assert_eq!(case.active("billing"), id, "the staged key was thrown away");
    assert_eq!((&ready["status"]["attempt"], case.count("keys.create")), (&json!(1), 1));
    case.unstaged();
    assert_covered(&case);
    case.accepted("billing");
}

/// Somebody strips the finalizer in the middle of an attempt: the account ends what only the staging Secret still knows.
fn forced_away() {
    let world = world();
    let case = account(&world, "forced");
    delay(&case, "token", 5000);
    case.key("billing", &json!({}));
    case.until("a staged key", || case.staged().pop().ok_or(Value::Null));
    case.delete("iamsak", "billing");
    case.patch("iamsak", "billing", &json!({"metadata": {"finalizers": null}}));
    case.gone("iamsak", "billing");
    let left: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(
        (left.len(), case.staged().len()),
        (1, 1),
        "the attempt was over before its object was forced away"
    );
    case.unstaged();
    assert_eq!(case.person.keys(&case.name), []);
    case.event_saying("billing", Reason::KeyDeleted, &left[0]);
    assert_eq!(condition(&case.get("iamsa", "billing"), "Ready")["status"], "True");
}

/// A sequence that looks random and is the same every time.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_millis(20 + state % 1200)
    })
}

/// Through a whole turn at least, with a start between any two of them.
const KILLS: usize = 16;

fn anywhere() {
    let world = world();
    let case = account(&world, "anywhere");
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "4s", "deleteAfter": "2s"}}));
    case.ready("iamsak", "billing");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&case, &over));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for moment in moments().take(KILLS) {
                // No synchronization: the moment of the kill is what is tried out.
                std::thread::sleep(moment);
                world.operator().restart().unwrap();
                assert_covered(&case);
            }
            // Left in peace it gets on: the lost attempts of the kills may have to be waited for.
            case.when("iamsak", "billing", "a rotation", |key| key["status"]["rotations"].is_u64());
        }));
        over.store(true, Ordering::Relaxed);
        let (seen, looks) = watcher.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let attempts = case.get("iamsak", "billing")["status"]["attempt"].clone();
        eprintln!("{KILLS} kills, {attempts} attempts, {} keys published, {looks} looks", seen.len());
        assert!(seen.len() >= 2 && looks > 20, "{seen:?} in {looks} looks");
    });
    // With the wheel stopped it comes to rest: nothing pending, nothing staged, each lost attempt closed.
    case.patch("iamsak", "billing", &json!({"spec": {"rotation": null}}));
    case.when("iamsak", "billing", "at rest", |key| {
        let status = &key["status"];
        status["pending"].is_null() && status["lost"].is_null() && condition(key, "Ready")["status"] == "True"
    });
    case.unstaged();
    assert_covered(&case);
    case.accepted("billing");
}

fn sigterm() {
    const LIMIT: Duration = Duration::from_secs(5);
    let world = world();
    // At rest.
    let (status, took) = world.operator().terminate(LIMIT).unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    eprintln!("ended at rest within {took:.1?}");
    world.operator().restart().unwrap();
    // In the middle of a call that outlasts the limit.
    let case = account(&world, "sigterm");
    delay(&case, "keys.create", 7000);
    case.key("billing", &json!({}));
    sent(&case);
    let (status, took) = world.operator().terminate(LIMIT).unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < LIMIT, "{took:?}");
    eprintln!("ended in the middle of a call within {took:.1?}");
    assert_eq!(case.count("keys.create"), 0, "the call was over before the operator ended");
    world.operator().restart().unwrap();
    case.ready("iamsak", "billing");
    case.until("the create of the ended process", || match case.count("keys.create") {
        2 => Ok(()),
        count => Err(json!(count)),
    });
    assert_covered(&case);
    case.accepted("billing");
}

fn login_lost() {
    let world = world();
    let case = Case::at(&world, "loginlost", &world.iam, &json!({}));
    case.settled(&json!({}));
    world.kube.delete(&super::kube::path("secret", OPERATOR_NAMESPACE, &case.backend));
    world.operator().restart().unwrap();
    case.told("ciamb", &case.backend, "Ready", "False", Reason::LoginMissing);
    case.accepted("billing");
    for (kind, name) in [("iamsak", "billing"), ("iamsa", "billing"), ("ciamb", case.backend.as_str())] {
        case.delete(kind, name);
    }
    let message = case.told("ciamb", &case.backend, "Stalled", "True", Reason::BackendLoginLost);
    assert!(message.contains(&case.backend), "{message}");
    case.told("iamsa", "billing", "Ready", "False", Reason::WaitingForKeys);
    case.when("iamsak", "billing", "what it waits for", |key| {
        let ready = condition(key, "Ready");
        ready["reason"] == Reason::AccountNotReady.as_str()
            && ready["message"].as_str().is_some_and(|message| message.contains("keywheel.dev/abandon"))
    });
    assert_eq!(case.person.keys(&case.name).len(), 1);
    set_login(
        &world.kube,
        OPERATOR_NAMESPACE,
        &case.backend,
        &std::fs::read(world.iam.admin_key_file()).unwrap(),
    );
    case.gone("iamsak", "billing");
    case.gone("iamsa", "billing");
    case.gone("ciamb", &case.backend);
    assert_eq!(case.person.account(&case.name), None);
}

fn api_server() {
    let world = world();
    let case = account(&world, "apiserver");
    case.key("billing", &json!({}));
    case.ready("iamsak", "billing");
    let before = case.active("billing");
    for n in 0..3 {
        world.cp().restart_api_server().unwrap();
        // Nothing but a watch can tell of it.
        let name = format!("new-{n}");
        case.key(&name, &json!({}));
        let ready = || condition(&case.get("iamsak", &name), "Ready")["status"] == "True";
        wait_until(&name, Duration::from_secs(30), || ready().then_some(()).ok_or("not ready")).unwrap();
    }
    assert_eq!(case.active("billing"), before, "an outage of the API server is no reason for a new key");
    case.accepted("billing");
}
