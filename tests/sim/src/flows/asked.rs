//! What people ask for: pairs of their own, rotations, revocations, other names, keys that stay.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::json;

use super::{
    Flow, KEY, alive, annotate, before_rotation, before_rotation_of, ledger, now, rotated, rotated_of,
    rotations, staged, status, until_rotation, with_key, with_key_of,
};
use crate::fate::Calm;
use crate::iam::Lag;
use crate::stage::{ACCOUNT, NAMESPACE, key_place, secret_place};
use crate::world::{Setup, World};

/// What is restarted for a new key.
const WORKLOAD: &str = "shop";

const fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

fn local() -> serde_json::Value {
    json!({ "keySource": "Local", "validity": "10d" })
}

pub(super) fn all() -> Vec<Flow> {
    let mut all = pairs();
    all.extend(rollouts());
    all.extend(requests());
    all.extend(names_and_policies());
    all
}

/// `keySource: Local`.
fn pairs() -> Vec<Flow> {
    let published = |world: &World| world.is_ready(KEY) && staged(world) == 0;
    vec![
        Flow::new(
            "local-create",
            |setup| World::with_account(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &local()),
            published,
            1,
        ),
        Flow::new(
            "local-rotate",
            |setup| async move { before_rotation_of(setup, &local()).await }.boxed_local(),
            |_| {},
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            3,
        ),
        // The list and the tokens know the new key later than the answer of its upload.
        Flow::new(
            "local-lagging",
            |setup| {
                async {
                    let mut world = World::with_account(setup).await;
                    world.iam.lag = Lag { list: minutes(5), token: minutes(2) };
                    world
                }
                .boxed_local()
            },
            |world| world.create_key(KEY, ACCOUNT, &local()),
            published,
            10,
        ),
        Flow::new(
            "local-delete-early",
            |setup| World::with_account(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &local()),
            |world| world.key(KEY).is_none(),
            5,
        )
        .later(Duration::from_secs(150), |world| {
            world.delete("ServiceAccountKey", KEY);
        }),
        // Without a rotation: the certificate's own end brings one.
        Flow::new(
            "local-expiry",
            |setup| {
                async {
                    let spec = json!({
                        "keySource": "Local", "validity": "72h", "rotation": { "every": null },
                    });
                    let mut world = with_key_of(setup, &spec).await;
                    world.run_for(minutes(48 * 60 - 10), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            |_| {},
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            30,
        ),
    ]
}

/// A key that is about to be made, and a workload whose pods never become new.
async fn with_workload(setup: Setup) -> World {
    let mut world = World::with_account(setup).await;
    let labels = json!({ "app": WORKLOAD });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": WORKLOAD, "generation": 1 },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [] } } },
        "status": { "observedGeneration": 1, "replicas": 1, "updatedReplicas": 0 },
    });
    world.create("Deployment", NAMESPACE, deployment);
    let restarted = json!({ "rolloutRestart": [{ "kind": "Deployment", "name": WORKLOAD }] });
    world.create_key(KEY, ACCOUNT, &restarted);
    world
}

/// The old key waits for the workload: for a part of its overlap, or beyond it.
fn rollouts() -> Vec<Flow> {
    [("rollout", 10), ("rollout-beyond-overlap", 90)]
        .map(|(name, after)| {
            Flow::new(
                name,
                |setup| {
                    async {
                        let mut world = with_workload(setup).await;
                        world.run_for(Duration::from_secs(10), &mut Calm).await;
                        until_rotation(&mut world).await;
                        world
                    }
                    .boxed_local()
                },
                |_| {},
                |world| world.is_ready(KEY) && rotations(world) == 1 && is_renewed(world),
                3 * 60,
            )
            .later(minutes(after), |world| renew(world, 2))
        })
        .into()
}

/// No older key is in its overlap any more.
fn is_renewed(world: &World) -> bool {
    let keys = status(world, "keys").as_array().cloned().unwrap_or_default();
    alive(world) == 1 && keys.iter().all(|key| key["phase"] != "Overlap")
}

/// The workload has come up as its template says.
fn renew(world: &mut World, generation: u32) {
    let renewed = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
    } });
    assert_eq!(world.patch_status("Deployment", WORKLOAD, renewed), 200);
}

/// By annotation.
fn requests() -> Vec<Flow> {
    // That no older key works any more, the oracle sees to.
    let carried_out = |world: &World| {
        super::is_good(world) && status(world, "handled/revokeAt").is_string() && staged(world) == 0
    };
    let revoke = |world: &mut World| {
        let at = now(world);
        annotate(world, "revoke-at", &at);
    };
    vec![
        Flow::new(
            "rotate-at",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let at = now(world);
                annotate(world, "rotate-at", &at);
            },
            |world| {
                world.is_ready(KEY)
                    && rotations(world) == 1
                    && staged(world) == 0
                    && status(world, "handled/rotateAt").is_string()
            },
            2,
        ),
        Flow::new("revoke", |setup| rotated(setup).boxed_local(), revoke, carried_out, 10),
        // The staged key is not accepted yet when it is revoked.
        Flow::new(
            "revoke-in-create",
            |setup| World::with_account(setup).boxed_local(),
            |world| {
                world.iam.lag.token = minutes(5);
                world.create_key(KEY, ACCOUNT, &json!({}));
            },
            carried_out,
            60,
        )
        .later(minutes(1), |world| {
            world.iam.lag.token = Duration::ZERO;
            let at = now(world);
            annotate(world, "revoke-at", &at);
        })
        .gives_up(1),
        // Four seconds after the rotation was due: a publication may be on its way.
        Flow::new(
            "revoke-in-rotation",
            |setup| before_rotation(setup).boxed_local(),
            |_| {},
            carried_out,
            60,
        )
        .later(Duration::from_secs(9), revoke),
        // Nobody restarts the workload, so that the rollout never ends.
        Flow::new(
            "revoke-in-stuck-rollout",
            |setup| {
                async {
                    let mut world = with_workload(setup).await;
                    world.run_for(minutes(24 * 60 + 10), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            revoke,
            carried_out,
            30,
        ),
        // The overlap is over, and the old key waits for the workload: the key in use is looked at all the same.
        Flow::new(
            "ended-in-stuck-rollout",
            |setup| {
                async {
                    let mut world = with_workload(setup).await;
                    world.run_for(minutes(24 * 60 + 100), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            |world| {
                let active = status(world, "activeKeyId").as_str().unwrap_or_default().to_owned();
                world.person("disables the active key at the backend", |_, iam, _| {
                    let key = iam.keys.get_mut(&active).expect("it is there");
                    (key.disabled, key.ended_by_person) = (true, true);
                });
            },
            |world| super::is_good(world) && rotations(world) == 2 && is_renewed(world),
            3 * 60,
        )
        .later(minutes(80), |world| renew(world, 3)),
    ]
}

fn names_and_policies() -> Vec<Flow> {
    vec![
        Flow::new(
            "rename",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let renamed = json!({ "spec": { "secret": { "name": "web-new" } } });
                assert_eq!(world.patch("ServiceAccountKey", KEY, renamed), 200);
            },
            |world| {
                world.is_ready(KEY)
                    && world.object(&secret_place("web-new")).is_some()
                    && world.object(&secret_place(KEY)).is_none()
                    && status(world, "formerSecrets").as_array().is_none_or(Vec::is_empty)
                    && world.iam.keys.len() == 1
            },
            90,
        ),
        Flow::new(
            "previous",
            |setup| {
                async { rotated_of(setup, &json!({ "secret": { "previous": true } })).await }.boxed_local()
            },
            |_| {},
            |world| {
                let secret = world.object(&secret_place(KEY)).unwrap_or_default();
                ledger(world) == 1 && secret["data"]["key.json.previous"].is_null()
            },
            8 * 60,
        ),
        Flow::new(
            "suspend",
            |setup| rotated(setup).boxed_local(),
            |world| {
                let stopped = json!({ "spec": { "rotation": { "suspend": true } } });
                world.patch("ServiceAccountKey", KEY, stopped);
            },
            |world| ledger(world) == 1,
            12 * 60,
        )
        .later(minutes(3 * 60), |world| {
            let goes_on = json!({ "spec": { "rotation": { "suspend": false } } });
            world.patch("ServiceAccountKey", KEY, goes_on);
        }),
        Flow::new(
            "retain-key",
            |setup| async { with_key_of(setup, &json!({ "deletionPolicy": "Retain" })).await }.boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| {
                world.object(&key_place(KEY)).is_none()
                    && world.object(&secret_place(KEY)).is_none()
                    && alive(world) == 1
            },
            1,
        ),
        Flow::new(
            "retain-all",
            |setup| async { with_key_of(setup, &retaining()).await }.boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| {
                world.object(&key_place(KEY)).is_none()
                    && world.object(&secret_place(KEY)).is_some()
                    && alive(world) == 1
            },
            1,
        ),
        Flow::new(
            "take-over",
            |setup| left(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &retaining()),
            |world| super::is_good(world) && world.iam.keys.len() == 1,
            2,
        ),
        Flow::new(
            "take-over-dead",
            |setup| {
                async {
                    let mut world = left(setup).await;
                    world.person("disables the key that was left", |_, iam, _| {
                        for key in iam.keys.values_mut() {
                            (key.disabled, key.ended_by_person) = (true, true);
                        }
                    });
                    world
                }
                .boxed_local()
            },
            |world| world.create_key(KEY, ACCOUNT, &retaining()),
            super::is_good,
            2,
        ),
    ]
}

fn retaining() -> serde_json::Value {
    json!({ "deletionPolicy": "Retain", "secret": { "deletionPolicy": "Retain" } })
}

/// A Secret whose object is gone, and its key that works.
async fn left(setup: Setup) -> World {
    let mut world = with_key_of(setup, &retaining()).await;
    world.delete("ServiceAccountKey", KEY);
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    world
}
