//! The flows of a key's and an account's life: how each begins, what sets it going, when it is done.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::actor::Kind;
use crate::api_server::Place;
use crate::fate::Calm;
use crate::stage::{ACCOUNT, NAMESPACE, key_place, secret_place};
use crate::world::{Setup, World};

/// The key of most flows.
pub const KEY: &str = "web";

/// What one write budget says (PROTOCOL.md, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Writes to the API server.
    pub api_writes: usize,
    /// Calls to the backend about keys.
    pub iam_calls: usize,
}

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
    /// What it may cost without faults.
    pub budget: Option<Budget>,
    /// What else happens, so long after it began.
    pub later: Option<(Duration, fn(&mut World))>,
    /// Attempts that it ends before they lead to anything.
    pub given_up: usize,
}

impl Flow {
    fn new(
        name: &'static str,
        begin: fn(Setup) -> LocalBoxFuture<'static, World>,
        act: fn(&mut World),
        is_done: fn(&World) -> bool,
        minutes: u64,
    ) -> Self {
        let longest = Duration::from_secs(60 * minutes);
        Self { name, begin, act, is_done, longest, budget: None, later: None, given_up: 0 }
    }

    fn costs(self, api_writes: usize, iam_calls: usize) -> Self {
        Self { budget: Some(Budget { api_writes, iam_calls }), ..self }
    }

    fn later(self, after: Duration, act: fn(&mut World)) -> Self {
        Self { later: Some((after, act)), ..self }
    }

    fn gives_up(self, attempts: usize) -> Self {
        Self { given_up: attempts, ..self }
    }
}

/// All flows.
pub fn all() -> Vec<Flow> {
    vec![
        Flow::new(
            "create",
            |setup| World::with_account(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &json!({})),
            |world| world.is_ready(KEY) && staged(world) == 0,
            1,
        )
        .costs(6, 3),
        Flow::new(
            "rotate",
            |setup| before_rotation(setup).boxed_local(),
            |_| {},
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            3,
        )
        .costs(5, 3),
        Flow::new("retire", |setup| rotated(setup).boxed_local(), |_| {}, |world| ledger(world) == 1, 8 * 60)
            .costs(2, 2),
        Flow::new(
            "delete",
            |setup| with_key(setup).boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| world.key(KEY).is_none(),
            1,
        ),
        Flow::new(
            "delete-in-overlap",
            |setup| rotated(setup).boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| world.key(KEY).is_none(),
            1,
        ),
        Flow::new(
            "drift-secret-deleted",
            |setup| with_key(setup).boxed_local(),
            |world| {
                world.delete("Secret", KEY);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            2,
        )
        .costs(5, 3),
        Flow::new(
            "drift-secret-emptied",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let data = json!({ "data": { "key.json": STANDARD.encode("{}") } });
                world.patch("Secret", KEY, data);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            2,
        )
        .costs(5, 3),
        Flow::new(
            "drift-secret-relabelled",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let unmarked = json!({ "metadata": { "annotations": { "keywheel.dev/entries": null } } });
                world.patch("Secret", KEY, unmarked);
            },
            |world| {
                world
                    .object(&secret_place(KEY))
                    .is_some_and(|s| !s["metadata"]["annotations"]["keywheel.dev/entries"].is_null())
            },
            2,
        )
        .costs(1, 0),
        Flow::new(
            "spec-changed",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let entries = json!([
                    { "key": "key.json", "format": "GoogleCredentials" },
                    { "key": "private.pem", "format": "PrivateKeyPem" },
                ]);
                let spec = json!({ "spec": { "secret": { "entries": entries, "labels": { "team": "a" } } } });
                assert_eq!(world.patch("ServiceAccountKey", KEY, spec), 200);
            },
            |world| {
                let written = |s: Value| s["data"]["private.pem"].is_string();
                world.object(&secret_place(KEY)).is_some_and(written)
            },
            2,
        )
        .costs(2, 0),
        Flow::new(
            "old-credential-restored",
            |setup| rotated(setup).boxed_local(),
            restore_older_secret,
            |world| world.is_ready(KEY) && rotations(world) >= 3 && staged(world) == 0,
            5,
        ),
        Flow::new(
            "status-lost",
            |setup| rotated(setup).boxed_local(),
            |world| {
                world.patch_status("ServiceAccountKey", KEY, json!({ "status": null }));
            },
            |world| {
                let key = world.key(KEY).unwrap_or_default();
                world.is_ready(KEY) && key["status"]["lost"].is_null()
            },
            100,
        ),
        Flow::new(
            "account-create",
            |setup| async { operating(World::with_backend(setup)).await }.boxed_local(),
            |world| world.create_account(ACCOUNT),
            |world| world.object(&account_place()).is_some_and(|a| ready(&a)),
            1,
        ),
        Flow::new(
            "account-delete",
            |setup| with_key(setup).boxed_local(),
            |world| {
                world.delete("ServiceAccount", ACCOUNT);
                world.delete("ServiceAccountKey", KEY);
            },
            |world| world.object(&account_place()).is_none() && world.key(KEY).is_none(),
            5,
        ),
        Flow::new(
            "namespace-delete",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let verb = crate::api_server::Verb::Delete;
                let namespace = crate::stage::resource("Namespace");
                world.request(&crate::api_server::Request::by_person(
                    verb,
                    namespace,
                    "",
                    NAMESPACE,
                    Value::Null,
                ));
            },
            |world| world.object(&account_place()).is_none() && world.key(KEY).is_none(),
            5,
        ),
    ]
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
    let mut world = World::with_account(setup).await;
    world.create_key(KEY, ACCOUNT, &json!({}));
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    assert!(world.is_ready(KEY), "the key of the stage is not ready:\n{}", world.tail(60));
    world
}

/// The same, seconds before its rotation.
pub async fn before_rotation(setup: Setup) -> World {
    let mut world = with_key(setup).await;
    let due = world.key(KEY).and_then(|k| crate::oracle::time(&k["status"]["nextRotationTime"]));
    let wait = due.expect("a key that rotates says when").duration_since(world.time.now());
    let wait = Duration::try_from(wait).unwrap_or_default().saturating_sub(Duration::from_secs(5));
    world.run_for(wait, &mut Calm).await;
    world
}

/// A world whose key was replaced once; the one before it is in its overlap.
pub async fn rotated(setup: Setup) -> World {
    let mut world = before_rotation(setup).await;
    world.run_for(Duration::from_secs(30), &mut Calm).await;
    assert_eq!(rotations(&world), 1, "the key of the stage did not rotate:\n{}", world.tail(60));
    world
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
