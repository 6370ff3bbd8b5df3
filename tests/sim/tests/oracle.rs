//! The oracle goes red: each of its invariants, broken by one call in the name of a process that the operator's code would
//! never make.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::backend::policies::Policy;
use keywheel_sim::api_server::{PatchFormat, Request, Verb};
use keywheel_sim::case::in_own_time;
use keywheel_sim::fate::Calm;
use keywheel_sim::flows::{self, KEY};
use keywheel_sim::iam::{self, Maker};
use keywheel_sim::oracle::unrest;
use keywheel_sim::people::{self, Deed};
use keywheel_sim::stage::{ACCOUNT, NAMESPACE, resource, secret_place};
use keywheel_sim::wire::{Call, Reply};
use keywheel_sim::world::{Setup, World};
use serde_json::{Value, json};

/// The process of most worlds.
const OPERATOR: usize = 0;

/// What the oracle says of one act on a world in which all was well.
async fn said(begin: impl Future<Output = World>, act: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let mut world = begin.await;
    assert_eq!(world.oracle.violations(), []);
    act(&mut world);
    world.oracle.violations().iter().map(|violation| violation.invariant).collect()
}

fn with_key() -> impl Future<Output = World> {
    flows::with_key(Setup::new(1))
}

fn account(world: &World) -> String {
    world.iam.living(ACCOUNT).unwrap().account.unique_id.clone()
}

fn active(world: &World) -> String {
    world.key(KEY).unwrap()["status"]["activeKeyId"].as_str().unwrap().to_owned()
}

/// A call to the backend.
fn asks(world: &mut World, actor: usize, call: iam::Call) {
    let Reply::Iam(answer) = world.forge(actor, Call::Iam(Box::new(call))) else {
        panic!("the backend answers")
    };
    assert!(answer.is_ok());
}

/// A write to the API server, guarded as the operator's are.
fn writes(world: &mut World, mut request: Request) {
    let place = match (request.verb, request.resource.kind.as_str()) {
        (Verb::Patch(_), "Secret") => Some(secret_place(KEY)),
        (Verb::Patch(_), "ServiceAccountKey") => Some(flows::place()),
        _ => None,
    };
    if let Some(object) = place.and_then(|place| world.object(&place)) {
        request.body["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    }
    writes_blindly(world, request);
}

fn writes_blindly(world: &mut World, request: Request) {
    let summary = request.summary();
    let Reply::Api((code, _)) = world.forge(OPERATOR, Call::Api(Box::new(request))) else {
        panic!("the API server answers")
    };
    assert!(code < 300, "{summary}: {code}");
}

fn patch(kind: &str, name: &str, body: Value) -> Request {
    Request::by_person(Verb::Patch(PatchFormat::Merge), resource(kind), NAMESPACE, name, body)
}

fn status(body: &Value) -> Request {
    let mut request = patch("ServiceAccountKey", KEY, json!({ "status": body }));
    request.subresource = Some("status".to_owned());
    request
}

fn private_data(world: &World) -> Value {
    world.object(&secret_place(KEY)).unwrap()["data"].clone()
}

#[test]
fn covered_a_key_that_nobody_remembers() {
    let act = |world: &mut World| {
        let account = account(world);
        asks(world, OPERATOR, iam::Call::CreateKey { account, nonce: "unheard".to_owned() });
    };
    assert_eq!(in_own_time(said(with_key(), act)), ["Covered"]);
}

#[test]
fn no_outage_a_secret_without_its_credential() {
    let empty = json!({ "data": { "key.json": STANDARD.encode("{}") } });
    let act = |world: &mut World| writes(world, patch("Secret", KEY, empty));
    assert_eq!(in_own_time(said(with_key(), act)), ["No outage"]);
}

#[test]
fn no_outage_a_key_that_never_was_accepted() {
    let act = |world: &mut World| {
        let id = active(world);
        world.iam.keys.get_mut(&id).unwrap().was_accepted = false;
        writes(world, status(&json!({ "failures": 1 })));
    };
    assert_eq!(in_own_time(said(with_key(), act)), ["No outage"]);
}

#[test]
fn no_premature_end_a_key_in_its_overlap() {
    let act = |world: &mut World| {
        let (account, active) = (account(world), active(world));
        let key = world.iam.keys.keys().find(|id| **id != active).unwrap().clone();
        asks(world, OPERATOR, iam::Call::DisableKey { account, key });
    };
    assert_eq!(in_own_time(said(flows::rotated(Setup::new(1)), act)), ["No premature end"]);
}

#[test]
fn no_premature_end_a_key_that_is_published() {
    let act = |world: &mut World| {
        let (account, key) = (account(world), active(world));
        asks(world, OPERATOR, iam::Call::DisableKey { account, key });
    };
    assert_eq!(in_own_time(said(with_key(), act)), ["No premature end", "No outage"]);
}

#[test]
fn no_theft_a_key_of_a_person() {
    let act = |world: &mut World| {
        let account = account(world);
        let of = account.clone();
        let key = world.person("makes a key", |_, iam, now| iam.create_key(&of, Maker::Person, now).unwrap());
        asks(world, OPERATOR, iam::Call::DeleteKey { account, key });
    };
    assert_eq!(in_own_time(said(with_key(), act)), ["No theft"]);
}

/// The operator replaces the policy of the project by one with a change.
fn rewrites(world: &mut World, change: impl FnOnce(&mut Policy)) {
    let mut policy = Box::new(world.iam.policy.now().clone());
    change(&mut policy);
    let resource = format!("projects/{}", iam::PROJECT);
    asks(world, OPERATOR, iam::Call::WritePolicy { resource, policy });
}

fn with_roles() -> impl Future<Output = World> {
    flows::with_roles(Setup::new(1))
}

fn member(world: &World) -> String {
    iam::member(&world.iam.living(ACCOUNT).unwrap().account.email)
}

/// The binding of this role.
fn of_role<'p>(policy: &'p mut Policy, role: &str) -> &'p mut Vec<String> {
    &mut policy.bindings.iter_mut().find(|binding| binding.role == role).unwrap().members
}

#[test]
fn no_theft_a_role_of_somebody_else() {
    let leaves =
        |world: &mut World| rewrites(world, |policy| drop(of_role(policy, "roles/viewer").remove(0)));
    assert_eq!(in_own_time(said(with_roles(), leaves)), ["No theft"]);
    let enters = |world: &mut World| {
        rewrites(world, |policy| of_role(policy, "roles/viewer").push("user:eve@example.com".to_owned()));
    };
    assert_eq!(in_own_time(said(with_roles(), enters)), ["No theft"]);
    let audits = |world: &mut World| rewrites(world, |policy| policy.audit_configs.clear());
    assert_eq!(in_own_time(said(with_roles(), audits)), ["No theft"]);
}

#[test]
fn no_theft_a_role_that_a_person_gave_the_account() {
    let act = |world: &mut World| {
        people::act(world, &Deed::BindByHand(0));
        let ours = member(world);
        assert!(of_role(&mut world.iam.policy.now().clone(), "roles/owner").contains(&ours));
        rewrites(world, |policy| of_role(policy, "roles/owner").retain(|member| *member != ours));
    };
    assert_eq!(in_own_time(said(with_roles(), act)), ["No theft"]);
    let own = |world: &mut World| {
        let ours = member(world);
        rewrites(world, |policy| of_role(policy, "roles/viewer").retain(|member| *member != ours));
    };
    assert_eq!(in_own_time(said(with_roles(), own)), [""; 0], "what the operator bound it may take back");
}

#[test]
fn covered_a_role_that_is_written_down_nowhere() {
    let binds = |world: &mut World| {
        let ours = member(world);
        rewrites(world, |policy| of_role(policy, "roles/editor").push(ours));
    };
    assert_eq!(in_own_time(said(with_roles(), binds)), ["Covered"; 2], "when it is bound, and from then on");
    let forgets = |world: &mut World| {
        let mut request = patch("ServiceAccount", ACCOUNT, json!({ "status": { "boundRoles": null } }));
        request.subresource = Some("status".to_owned());
        writes(world, request);
    };
    assert_eq!(in_own_time(said(with_roles(), forgets)), ["Covered"; 2], "each of two roles");
}

#[test]
fn covered_a_role_that_outlives_its_account() {
    in_own_time(async {
        let mut world = with_roles().await;
        let account = account(&world);
        asks(&mut world, OPERATOR, iam::Call::DeleteAccount { account });
        assert_eq!(world.oracle.violations(), [], "its object still knows");
        writes(&mut world, patch("ServiceAccount", ACCOUNT, json!({ "metadata": { "finalizers": null } })));
        world.delete("ServiceAccount", ACCOUNT);
        let said: Vec<_> = world.oracle.violations().iter().map(|violation| violation.invariant).collect();
        assert_eq!(said, ["Covered"; 2]);
    });
}

#[test]
fn convergence_roles_and_services_that_are_not_as_the_spec_says() {
    in_own_time(async {
        let mut world = with_roles().await;
        let left = |world: &World| -> Vec<String> {
            let left = unrest(&world.api, &world.iam, &world.oracle, world.time.now());
            left.into_iter().map(|unrest| unrest.0).collect()
        };
        assert_eq!(left(&world), [""; 0]);
        let spec = json!({ "roles": people::roles(3), "services": ["vision.googleapis.com"] });
        world.patch("ServiceAccount", ACCOUNT, json!({ "spec": spec }));
        let told = left(&world);
        for what in
            ["still has [\"roles/storage", "still remembers [\"roles/storage", "vision.googleapis.com is not"]
        {
            assert!(told.iter().any(|line| line.contains(what)), "{what}: {told:?}");
        }
        assert_eq!(told.len(), 3, "nobody may have roles/owner: {told:?}");
        people::act(&mut world, &Deed::TakeRoles(0));
        assert!(left(&world).iter().any(|line| line.contains("lacks roles/viewer")));
    });
}

/// A person's key on an account whose object says this of it, so many minutes later.
async fn with_foreign_key(unmanaged_keys: &'static str, minutes: u64) -> World {
    let mut world = with_key().await;
    let of = account(&world);
    world.person("makes a key", |_, iam, now| iam.create_key(&of, Maker::Person, now).unwrap());
    world.run_for(Duration::from_mins(minutes), &mut Calm).await;
    world.patch("ServiceAccount", ACCOUNT, json!({ "spec": { "unmanagedKeys": unmanaged_keys } }));
    world.run_for(Duration::from_secs(30), &mut Calm).await;
    world
}

fn foreign(world: &World) -> String {
    world.iam.keys.values().find(|key| key.made_by == Maker::Person).unwrap().id.clone()
}

fn disables(world: &mut World) {
    let (account, key) = (account(world), foreign(world));
    asks(world, OPERATOR, iam::Call::DisableKey { account, key });
}

fn deletes(world: &mut World) {
    let (account, key) = (account(world), foreign(world));
    asks(world, OPERATOR, iam::Call::DeleteKey { account, key });
}

#[test]
fn no_theft_a_key_that_its_account_does_not_hand_over() {
    let judged =
        |policy, minutes, act: fn(&mut World)| in_own_time(said(with_foreign_key(policy, minutes), act));
    let none: [&str; 0] = [];
    assert_eq!(judged("Disable", 80, disables), none);
    assert_eq!(judged("Delete", 80, deletes), none);
    assert_eq!(judged("Report", 80, disables), ["No theft"]);
    assert_eq!(judged("Ignore", 80, disables), ["No theft"]);
    assert_eq!(judged("Disable", 80, deletes), ["No theft"], "it is to be disabled only");
    assert_eq!(judged("Delete", 60, deletes), ["No theft"], "an attempt may still bring it up");
}

#[test]
fn no_theft_a_key_on_an_account_that_is_not_ours_alone() {
    let shared = |world: &mut World| {
        let account = account(world);
        world.person("takes the mark off", |_, iam, _| {
            iam.accounts.get_mut(&account).unwrap().account.description.clear();
        });
        deletes(world);
    };
    assert_eq!(in_own_time(said(with_foreign_key("Delete", 80), shared)), ["No theft"]);
    let doubtful = |world: &mut World| {
        let suspect = json!({ "id": foreign(world), "createdAt": "2026-01-01T00:00:00Z",
            "since": "2026-01-01T00:00:00Z" });
        world.patch_status("ServiceAccountKey", KEY, json!({ "status": { "suspects": [suspect] } }));
        assert!(!world.key(KEY).unwrap()["status"]["suspects"].is_null());
        deletes(world);
    };
    assert_eq!(in_own_time(said(with_foreign_key("Delete", 80), doubtful)), ["No theft"]);
}

/// A suspect leaves the status where its person says so, and only there; it is left alone then.
#[test]
fn covered_a_suspect_that_nobody_disowned() {
    let forgets = |disowned: bool| async move {
        let mut world = (flows::find("disown").unwrap().begin)(Setup::new(1)).await;
        let suspect = world.key(KEY).unwrap()["status"]["suspects"][0]["id"].as_str().unwrap().to_owned();
        if disowned {
            let asked = json!({ "metadata": { "annotations": { "keywheel.dev/disown-key": suspect } } });
            world.patch("ServiceAccountKey", KEY, asked);
        }
        writes(&mut world, status(&json!({ "suspects": null })));
        let forgotten: Vec<_> = world.oracle.violations().iter().map(|v| v.invariant).collect();
        if disowned {
            assert_eq!(forgotten, [""; 0]);
            let account = account(&world);
            asks(&mut world, OPERATOR, iam::Call::DisableKey { account, key: suspect });
        }
        world.oracle.violations().iter().map(|v| v.invariant).collect::<Vec<_>>()
    };
    assert_eq!(in_own_time(forgets(false)), ["Covered"]);
    assert_eq!(in_own_time(forgets(true)), ["No theft"]);
}

#[test]
fn no_exposure_a_private_half_in_a_status_or_a_dry_run() {
    let in_words = |world: &mut World| {
        let file = private_data(world)["key.json"].as_str().unwrap().to_owned();
        let text = String::from_utf8(STANDARD.decode(file).unwrap()).unwrap();
        writes(
            world,
            patch("ServiceAccountKey", KEY, json!({ "metadata": { "annotations": { "seen": text } } })),
        );
    };
    assert_eq!(in_own_time(said(with_key(), in_words)), ["No exposure"]);
    let in_a_dry_run = |world: &mut World| {
        let marked = json!({ "annotations": { "keywheel.dev/owner-uid": "1" } });
        let mut request = patch("Secret", KEY, json!({ "data": private_data(world), "metadata": marked }));
        request.query.insert("dryRun".to_owned(), "All".to_owned());
        writes(world, request);
    };
    assert_eq!(in_own_time(said(with_key(), in_a_dry_run)), ["No exposure"]);
}

#[test]
fn no_burn_an_attempt_that_nothing_asks_for() {
    let act = |world: &mut World| {
        let now = format!("{:.0}", world.time.now());
        let pending = json!({
            "attempt": 2, "nonce": "needless42", "reason": "Schedule", "startedAt": now, "backendTime": now,
        });
        writes(world, status(&json!({ "attempt": 2, "pending": pending })));
    };
    assert_eq!(in_own_time(said(with_key(), act)), ["No burn"]);
}

#[test]
fn convergence_a_rotation_that_is_put_off() {
    let act =
        |world: &mut World| writes(world, status(&json!({ "nextRotationTime": "2037-01-01T00:00:00Z" })));
    assert_eq!(in_own_time(said(with_key(), act)), ["Convergence"]);
}

/// At the end of a run: what is left there by a process that does nothing more about it.
#[test]
fn convergence_a_world_that_is_not_at_rest() {
    in_own_time(async {
        let mut world = with_key().await;
        let left = |world: &World| unrest(&world.api, &world.iam, &world.oracle, world.time.now());
        assert_eq!(left(&world), []);
        let owner = world.key(KEY).unwrap()["metadata"]["uid"].clone();
        let staging = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "keywheel.dev/staging",
            "metadata": { "name": "kw-left", "annotations": { "keywheel.dev/owner-uid": owner } },
        });
        writes(&mut world, Request::by_person(Verb::Create, resource("Secret"), NAMESPACE, "", staging));
        writes(&mut world, status(&json!({ "conditions": null })));
        let left: Vec<String> = left(&world).into_iter().map(|unrest| unrest.0).collect();
        assert!(left.iter().any(|what| what.contains("not Ready")), "{left:?}");
        assert!(left.iter().any(|what| what.contains("still staged")), "{left:?}");
        assert_eq!(left.len(), 2, "{left:?}");
    });
}

#[test]
fn send_rule_a_write_over_what_was_not_read() {
    let note = json!({ "metadata": { "annotations": { "note": "blind" } } });
    for request in [patch("Secret", KEY, note.clone()), status(&json!({ "failures": 1 }))] {
        let act = |world: &mut World| writes_blindly(world, request);
        assert_eq!(in_own_time(said(with_key(), act)), ["Send rule"]);
    }
}

/// The process that stands by sends what only the one with the Lease may send.
#[test]
fn send_rule_a_request_without_the_lease() {
    let two = async {
        let setup = Setup { lease: Some(Duration::from_mins(1)), ..Setup::new(1) };
        let mut world = World::with_backend(setup);
        world.create_account(ACCOUNT);
        world.create_key(KEY, ACCOUNT, &json!({}));
        world.start_all();
        world.run_for(Duration::from_mins(2), &mut Calm).await;
        assert!(world.is_ready(KEY));
        world
    };
    let act = |world: &mut World| {
        let (account, key) = (account(world), active(world));
        let standby = world.actors.iter().find(|actor| !actor.leads()).unwrap().id;
        let leader = world.actors.iter().find(|actor| actor.leads()).unwrap().id;
        asks(world, leader, iam::Call::EnableKey { account: account.clone(), key: key.clone() });
        assert_eq!(world.oracle.violations(), []);
        asks(world, standby, iam::Call::EnableKey { account, key });
    };
    assert_eq!(in_own_time(said(two, act)), ["Send rule"]);
}
