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
}

/// All flows.
pub fn all() -> Vec<Flow> {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let budget = |api_writes, iam_calls| Some(Budget { api_writes, iam_calls });
    vec![
        Flow {
            name: "create",
            begin: |setup| World::with_account(setup).boxed_local(),
            act: |world| world.create_key(KEY, ACCOUNT, &json!({})),
            is_done: |world| world.is_ready(KEY) && staged(world) == 0,
            longest: minutes(1),
            budget: budget(6, 3),
        },
        Flow {
            name: "rotate",
            begin: |setup| before_rotation(setup).boxed_local(),
            act: |_| {},
            is_done: |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            longest: minutes(3),
            budget: budget(5, 3),
        },
        Flow {
            name: "retire",
            begin: |setup| rotated(setup).boxed_local(),
            act: |_| {},
            is_done: |world| ledger(world) == 1,
            longest: minutes(8 * 60),
            budget: budget(2, 2),
        },
        Flow {
            name: "delete",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            is_done: |world| world.key(KEY).is_none(),
            longest: minutes(1),
            budget: None,
        },
        Flow {
            name: "delete-in-overlap",
            begin: |setup| rotated(setup).boxed_local(),
            act: |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            is_done: |world| world.key(KEY).is_none(),
            longest: minutes(1),
            budget: None,
        },
        Flow {
            name: "drift-secret-deleted",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                world.delete("Secret", KEY);
            },
            is_done: |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            longest: minutes(2),
            budget: budget(5, 3),
        },
        Flow {
            name: "drift-secret-emptied",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                let data = json!({ "data": { "key.json": STANDARD.encode("{}") } });
                world.patch("Secret", KEY, data);
            },
            is_done: |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            longest: minutes(2),
            budget: budget(5, 3),
        },
        Flow {
            name: "drift-secret-relabelled",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                let unmarked = json!({ "metadata": { "annotations": { "keywheel.dev/entries": null } } });
                world.patch("Secret", KEY, unmarked);
            },
            is_done: |world| {
                world
                    .object(&secret_place(KEY))
                    .is_some_and(|s| !s["metadata"]["annotations"]["keywheel.dev/entries"].is_null())
            },
            longest: minutes(2),
            budget: budget(1, 0),
        },
        Flow {
            name: "spec-changed",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                let entries = json!([
                    { "key": "key.json", "format": "GoogleCredentials" },
                    { "key": "private.pem", "format": "PrivateKeyPem" },
                ]);
                let spec = json!({ "spec": { "secret": { "entries": entries, "labels": { "team": "a" } } } });
                assert_eq!(world.patch("ServiceAccountKey", KEY, spec), 200);
            },
            is_done: |world| {
                let written = |s: Value| s["data"]["private.pem"].is_string();
                world.object(&secret_place(KEY)).is_some_and(written)
            },
            longest: minutes(2),
            budget: budget(2, 0),
        },
        Flow {
            name: "old-credential-restored",
            begin: |setup| rotated(setup).boxed_local(),
            act: restore_older_secret,
            is_done: |world| world.is_ready(KEY) && rotations(world) >= 3 && staged(world) == 0,
            longest: minutes(5),
            budget: None,
        },
        Flow {
            name: "status-lost",
            begin: |setup| rotated(setup).boxed_local(),
            act: |world| {
                world.patch_status("ServiceAccountKey", KEY, json!({ "status": null }));
            },
            is_done: |world| {
                let key = world.key(KEY).unwrap_or_default();
                world.is_ready(KEY) && key["status"]["lost"].is_null()
            },
            longest: minutes(100),
            budget: None,
        },
        Flow {
            name: "account-create",
            begin: |setup| async { operating(World::with_backend(setup)).await }.boxed_local(),
            act: |world| world.create_account(ACCOUNT),
            is_done: |world| world.object(&account_place()).is_some_and(|a| ready(&a)),
            longest: minutes(1),
            budget: None,
        },
        Flow {
            name: "account-delete",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
                world.delete("ServiceAccount", ACCOUNT);
                world.delete("ServiceAccountKey", KEY);
            },
            is_done: |world| world.object(&account_place()).is_none() && world.key(KEY).is_none(),
            longest: minutes(5),
            budget: None,
        },
        Flow {
            name: "namespace-delete",
            begin: |setup| with_key(setup).boxed_local(),
            act: |world| {
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
            is_done: |world| world.object(&account_place()).is_none() && world.key(KEY).is_none(),
            longest: minutes(5),
            budget: None,
        },
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
    world.start_operator();
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
