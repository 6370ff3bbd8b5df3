//! Writes and calls, counted: from the API server's audit log (Leases and Events apart, dry runs apart) and from the IAM
//! server's request log.

use std::collections::BTreeSet;
use std::time::Duration;

use keywheel_testbed::audit::{Entry, Mark, Writes};
use keywheel_testbed::control_plane::OPERATOR_USER;
use keywheel_testbed::wait_until;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, entry};
use super::kube::path;
use super::trial;
use super::world::{Own, World};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("budgets::create_6_writes_3_calls_rotate_5_and_3_retire_2_and_2", life),
        trial("budgets::fifty_ready_keys_cost_nothing_for_a_minute_and_nothing_at_a_restart", fifty),
    ]
}

/// What an act has cost since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    writes: usize,
    dry_runs: usize,
    calls: usize,
}

/// The calls about keys: an account is looked at on its own account.
fn calls(case: &Case<'_>) -> Vec<String> {
    let operations = case.requests().into_iter().map(|request| request.operation);
    operations.filter(|operation| operation.starts_with("keys.") || operation == "token").collect()
}

fn cost(case: &Case<'_>, writes_from: Mark) -> Cost {
    let Writes { mut real, mut dry_runs } = writes(case.world, writes_from);
    real.retain(|entry| entry.namespace == case.name);
    dry_runs.retain(|entry| entry.namespace == case.name);
    for entry in &real {
        assert!(entry.accepted(), "a write was refused: {entry}");
    }
    Cost { writes: real.len(), dry_runs: dry_runs.len(), calls: calls(case).len() }
}

fn writes(world: &World, since: Mark) -> Writes {
    world.cp().audit().writes_since(since, OPERATOR_USER).unwrap()
}

/// Counted at milestones that are each the last write of an act, and as totals: a write too many after one milestone
/// shows at the next.
fn life() {
    let case = Case::new(World::shared(), "budget");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    let mark = case.world.cp().audit().mark().unwrap();
    assert_eq!(calls(&case), Vec::<String>::new());
    case.key("billing", &json!({"rotation": {"every": "20s", "overlap": "6s", "deleteAfter": "4s"}}));
    case.ready("iamsak", "billing");
    case.unstaged();
    let created = cost(&case, mark);
    let old = case.active("billing");
    assert_eq!(created, Cost { writes: 6, dry_runs: 2, calls: 3 }, "{}", writes(case.world, mark));

    case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    case.unstaged();
    let rotated = cost(&case, mark);
    assert_eq!(rotated, Cost { writes: 11, dry_runs: 4, calls: 6 }, "{}", writes(case.world, mark));

    case.when("iamsak", "billing", "old key deleted", |key| entry(key, &old).is_null());
    let retired = cost(&case, mark);
    assert_eq!(retired, Cost { writes: 13, dry_runs: 4, calls: 8 }, "{}", writes(case.world, mark));
    let mint = ["keys.list", "keys.create", "token"];
    assert_eq!(calls(&case), [&mint[..], &mint[..], &["keys.disable", "keys.delete"][..]].concat());
    case.accepted("billing");
    // An e-mail is whoever has it now; the unique id is of one account for ever.
    let account = case.get("iamsa", "billing")["status"]["uniqueId"].as_str().unwrap().to_owned();
    for call in case.requests().iter().filter(|call| call.operation.starts_with("keys.")) {
        let path = call.raw["path"].as_str().unwrap();
        assert!(path.contains(&format!("/serviceAccounts/{account}/keys")), "{path}");
        assert!(!path.contains("/-/") && !path.contains(&case.email()), "{path}");
    }
}

/// Every object is looked at several times in the minute: the look itself must cost nothing.
const RESTLESS: &str = r#"{"audit": 20000, "probe": 5000}"#;
const ACCOUNTS: usize = 10;
const KEYS: usize = 5;

fn fifty() {
    let world = World::own(Own { timing: Some(RESTLESS), ..Own::default() });
    let case = Case::new(&world, "fifty");
    let mut names = BTreeSet::new();
    for account in 0..ACCOUNTS {
        let of = format!("account-{account}");
        case.account_named(&of, &format!("{}-{account}", case.name), &json!({}));
        for key in 0..KEYS {
            let name = format!("key-{account}-{key}");
            // Rotation is configured and far off: the schedule in the status must not move either.
            let spec =
                json!({"serviceAccountRef": {"name": of}, "rotation": {"every": "30d", "jitter": "1h"}});
            case.key(&name, &spec);
            names.insert(name);
        }
    }
    for name in &names {
        case.ready("iamsak", name);
    }
    case.unstaged();
    let before = statuses(&case);

    // Steady state. Every key is read at least twice in the minute.
    let (mark, calls) = (world.cp().audit().mark().unwrap(), world.iam.mark().unwrap());
    let minute = std::time::Instant::now();
    let looked = wait_until("a minute of steady state", Duration::from_secs(90), || {
        let elapsed = minute.elapsed();
        if elapsed >= Duration::from_mins(1) { Ok(reads(&world, mark)) } else { Err(format!("{elapsed:?}")) }
    });
    let looked = looked.unwrap();
    for name in &names {
        let times = looked.iter().filter(|entry| entry.name == *name).count();
        assert!(times >= 2, "{name} was looked at {times} times");
    }
    nothing_was_done(&world, mark, calls, "in the minute");

    // A crash and a new process.
    let (mark, calls) = (world.cp().audit().mark().unwrap(), world.iam.mark().unwrap());
    let log_end = world.operator().log().len();
    let restarted = std::time::Instant::now();
    world.operator().restart().unwrap();
    case.until("every key to be reconciled", || {
        let log = world.operator().log();
        let done = reconciled(log.get(log_end..).unwrap_or_default(), "ServiceAccountKey");
        let missing: Vec<&String> = names.difference(&done).collect();
        if missing.is_empty() { Ok(()) } else { Err(json!(missing)) }
    });
    eprintln!("{} keys reconciled {:.1?} after a crash", names.len(), restarted.elapsed());
    let looked: BTreeSet<String> = reads(&world, mark).into_iter().map(|entry| entry.name).collect();
    assert!(names.is_subset(&looked), "{looked:?}");
    nothing_was_done(&world, mark, calls, "at the restart");
    assert_eq!(statuses(&case), before);
    case.accepted("key-0-0");
}

fn statuses(case: &Case<'_>) -> Vec<Value> {
    let keys = case.world.kube.list(&path("iamsak", &case.name, ""));
    keys.into_iter().map(|key| json!([key["metadata"]["resourceVersion"], key["status"]])).collect()
}

/// The operator's reads of single keys.
fn reads(world: &World, since: Mark) -> Vec<Entry> {
    let mut entries = world.cp().audit().since(since).unwrap();
    entries.retain(|entry| {
        entry.user == OPERATOR_USER && entry.verb == "get" && entry.resource == "serviceaccountkeys"
    });
    entries
}

/// The names in the log's lines about finished passes over a kind.
fn reconciled(log: &str, kind: &str) -> BTreeSet<String> {
    let kind = format!("kind=\"{kind}\"");
    let finished = log.lines().filter(|line| line.contains(&kind) && line.ends_with("reconciled"));
    let name = |line: &str| Some(line.split("name=\"").nth(1)?.split('"').next()?.to_owned());
    finished.filter_map(name).collect()
}

fn nothing_was_done(world: &World, since: Mark, calls: keywheel_testbed::iam::Mark, when: &str) {
    let writes = writes(world, since);
    assert!(writes.real.is_empty() && writes.dry_runs.is_empty(), "{when}: {writes}");
    let changed: Vec<String> = world
        .iam
        .requests_since(calls)
        .unwrap()
        .into_iter()
        .map(|request| request.operation)
        .filter(|operation| !matches!(operation.rsplit('.').next(), Some("get" | "list" | "token")))
        .collect();
    assert!(changed.is_empty(), "{when}: {changed:?}");
}
