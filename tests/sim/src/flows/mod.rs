//! The flows of a key's and an account's life: how each begins, what sets it going, when it is done.

mod asked;
pub mod budgets;
mod disruptive;
mod lives;
mod odd;
mod restored;
mod roles;
mod unmanaged;

use std::time::Duration;

pub use disruptive::{with_one_role, with_stray};
use futures::future::LocalBoxFuture;
use jiff::SignedDuration;
pub use roles::with_roles;
use serde_json::{Value, json};

use crate::actor::Kind;
use crate::api_server::Place;
use crate::fate::Calm;
use crate::iam::Maker;
use crate::stage::{ACCOUNT, NAMESPACE, key_place, secret_place};
use crate::world::{Setup, World};

/// The key of most flows.
pub const KEY: &str = "key-0";

/// A flow.
pub struct Flow {
    /// Its name.
    pub name: &'static str,
    /// The world in which it begins.
    pub begin: fn(Setup) -> LocalBoxFuture<'static, World>,
    /// What sets it going.
    pub act: fn(&mut World),
    /// Whether it is over.
    pub is_done: fn(&World) -> bool,
    /// How long it may take without faults.
    pub longest: Duration,
    /// What else happens, so long after it began, in order.
    pub later: Vec<(Duration, Happening)>,
    /// Attempts that it ends before they lead to anything.
    pub given_up: usize,
}

/// What somebody does to a world.
pub type Happening = fn(&mut World);

impl Flow {
    fn new(
        name: &'static str,
        begin: fn(Setup) -> LocalBoxFuture<'static, World>,
        act: fn(&mut World),
        is_done: fn(&World) -> bool,
        minutes: u64,
    ) -> Self {
        let longest = Duration::from_secs(60 * minutes);
        Self { name, begin, act, is_done, longest, later: Vec::new(), given_up: 0 }
    }

    fn later(mut self, after: Duration, act: fn(&mut World)) -> Self {
        self.later.push((after, act));
        self
    }

    fn gives_up(self, attempts: usize) -> Self {
        Self { given_up: attempts, ..self }
    }
}

/// All flows.
pub fn all() -> Vec<Flow> {
    let all = lives::all().into_iter().chain(asked::all()).chain(odd::all());
    all.chain(disruptive::all()).chain(restored::all()).chain(unmanaged::all()).chain(roles::all()).collect()
}

/// The flow of a name.
pub fn find(name: &str) -> Option<Flow> {
    all().into_iter().find(|flow| flow.name == name)
}

fn account_place() -> Place {
    Place {
        kind: Kind::Account.stored().to_owned(),
        namespace: NAMESPACE.to_owned(),
        name: ACCOUNT.to_owned(),
    }
}

fn ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// How often the published key was replaced.
pub fn rotations(world: &World) -> u64 {
    world.key(KEY).and_then(|key| key["status"]["rotations"].as_u64()).unwrap_or(0)
}

fn ledger(world: &World) -> usize {
    world.key(KEY).and_then(|key| key["status"]["keys"].as_array().map(Vec::len)).unwrap_or(0)
}

fn staged(world: &World) -> usize {
    world.api.with(|s| s.store.list("secrets", None).filter(|(p, _)| p.name.starts_with("kw-")).count())
}

async fn operating(mut world: World) -> World {
    world.start_all();
    world.run_for(Duration::from_secs(2), &mut Calm).await;
    world
}

/// A world with one key that is published.
pub async fn with_key(setup: Setup) -> World {
    with_key_of(setup, &json!({})).await
}

/// The same with this much of a spec.
async fn with_key_of(setup: Setup, spec: &Value) -> World {
    let mut world = World::with_account(setup).await;
    world.create_key(KEY, ACCOUNT, spec);
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    let holds = world.is_ready(KEY);
    assert_at_stage(&mut world, holds, "the key of the stage is not ready");
    world
}

/// The same, seconds before its rotation.
pub async fn before_rotation(setup: Setup) -> World {
    before_rotation_of(setup, &json!({})).await
}

async fn before_rotation_of(setup: Setup, spec: &Value) -> World {
    let mut world = with_key_of(setup, spec).await;
    until_rotation(&mut world).await;
    world
}

/// Seconds before the rotation of the key.
async fn until_rotation(world: &mut World) {
    let due = world.key(KEY).and_then(|k| crate::oracle::time(&k["status"]["nextRotationTime"]));
    let wait = due.map_or(SignedDuration::ZERO, |due| due.duration_since(world.time.now()));
    let wait = Duration::try_from(wait).unwrap_or_default().saturating_sub(Duration::from_secs(5));
    world.run_for(wait, &mut Calm).await;
}

/// A world whose key was replaced once; the one before it is in its overlap.
pub async fn rotated(setup: Setup) -> World {
    rotated_of(setup, &json!({})).await
}

async fn rotated_of(setup: Setup, spec: &Value) -> World {
    let mut world = before_rotation_of(setup, spec).await;
    world.run_for(Duration::from_secs(30), &mut Calm).await;
    let holds = rotations(&world) == 1;
    assert_at_stage(&mut world, holds, "the key of the stage did not rotate");
    world
}

/// What the stage of a flow needs: where it is not reached, something did not converge.
fn assert_at_stage(world: &mut World, holds: bool, what: &str) {
    if !holds && world.oracle.violations().is_empty() {
        world.oracle.report("Convergence", format!("{what}:\n{}", world.tail(40)));
    }
}

/// A person puts back what the Secret was before its last publication.
pub fn restore_older_secret(world: &mut World) {
    let place = secret_place(KEY);
    let current = world.object(&place).unwrap_or_default();
    let key_id = |s: &Value| s["metadata"]["annotations"]["keywheel.dev/key-id"].clone();
    let older = (0..8)
        .filter_map(|back| world.api.with(|s| s.store.earlier(&place, back)))
        .find(|s| key_id(s) != key_id(&current));
    if let Some(older) = older {
        let patch = json!({
            "data": older["data"], "metadata": { "annotations": older["metadata"]["annotations"] },
        });
        world.patch("Secret", KEY, patch);
    }
}

/// Whether the key of the flows is where its flow left it.
pub fn place() -> Place {
    key_place(KEY)
}

/// Keys of ours at the backend that work.
fn alive(world: &World) -> usize {
    let ours = |k: &&crate::iam::Key| matches!(k.made_by, Maker::Attempt(_));
    world.iam.keys.values().filter(ours).filter(|k| k.works()).count()
}

/// Whether the published key works, on an account that is there.
fn is_good(world: &World) -> bool {
    let active = world.key(KEY).and_then(|k| k["status"]["activeKeyId"].as_str().map(str::to_owned));
    let key = active.and_then(|id| world.iam.keys.get(&id));
    world.is_ready(KEY) && key.is_some_and(|k| k.works() && !world.iam.accounts[&k.account].deleted)
}

fn status(world: &World, pointer: &str) -> Value {
    let key = world.key(KEY).unwrap_or_default();
    key.pointer(&format!("/status/{pointer}")).cloned().unwrap_or_default()
}

/// A person asks for something by an annotation.
fn annotate(world: &mut World, name: &str, value: &str) {
    let annotation = format!("keywheel.dev/{name}");
    world.patch("ServiceAccountKey", KEY, json!({ "metadata": { "annotations": { annotation: value } } }));
}

/// The time of day, for an annotation.
fn now(world: &World) -> String {
    format!("{:.0}", world.time.now())
}

/// A person makes so many keys at the backend.
fn made_by_person(world: &mut World, count: usize) {
    let account = world.iam.living(ACCOUNT).map(|a| a.account.unique_id.clone()).unwrap_or_default();
    world.person(&format!("makes {count} keys at the backend"), |_, iam, now| {
        for _ in 0..count {
            iam.create_key(&account, Maker::Person, now).expect("there is room");
        }
    });
}

/// A person deletes so many of their own keys again.
fn deleted_by_person(world: &mut World, count: usize) {
    world.person(&format!("deletes {count} of their keys at the backend"), |_, iam, _| {
        let theirs = iam.keys.values_mut().filter(|k| k.made_by == Maker::Person && !k.deleted);
        theirs.take(count).for_each(|k| k.deleted = true);
    });
}
