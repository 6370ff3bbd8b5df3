//! What comes back from another time, and repairs that a full account must not prevent.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Flow, KEY, is_good, ledger, rotated, rotations, staged, status, with_key_of};
use crate::fate::Calm;
use crate::stage::{ACCOUNT, NAMESPACE, key_place, secret_place};
use crate::world::{Setup, World};

pub(super) fn all() -> Vec<Flow> {
    vec![
        // A backup of yesterday: the status knows nothing of the key that the Secret publishes.
        Flow::new(
            "status-restored",
            |setup| rotated(setup).boxed_local(),
            restore_older_status,
            |world| is_good(world) && ledger(world) == 2 && world.iam.keys.len() == 2,
            5,
        ),
        // The object is restored first, and its Secret when an attempt is under way already: both keys are remembered.
        Flow::new(
            "secret-restored",
            |setup| without_its_secret(setup).boxed_local(),
            |world| {
                world.iam.lag.token = Duration::from_mins(5);
                world.create_key(KEY, ACCOUNT, &retaining());
            },
            |world| is_good(world) && staged(world) == 0 && ledger(world) == there(world),
            60,
        )
        .later(Duration::from_mins(1), |world| {
            restore_secret(world);
            world.iam.lag.token = Duration::ZERO;
        }),
        // Ten keys are all that the account takes, nine of them out of service.
        Flow::new(
            "secret-deleted-when-full",
            |setup| when_full(setup).boxed_local(),
            |world| {
                world.delete("Secret", KEY);
            },
            |world| {
                is_good(world)
                    && staged(world) == 0
                    && status(world, "keys").to_string().contains("SecretMissing")
            },
            20,
        ),
    ]
}

/// Keys that the backend has, whether they work or not.
fn there(world: &World) -> usize {
    world.iam.keys.values().filter(|k| !k.deleted).count()
}

fn retaining() -> Value {
    json!({ "deletionPolicy": "Retain", "secret": { "deletionPolicy": "Retain" } })
}

/// The status as it was before its last rotation.
fn restore_older_status(world: &mut World) {
    let current = world.key(KEY).unwrap_or_default();
    let active = |o: &Value| o["status"]["activeKeyId"].clone();
    let older = (0..40)
        .filter_map(|back| world.api.with(|s| s.store.earlier(&key_place(KEY), back)))
        .find(|o| active(o).is_string() && active(o) != active(&current) && o["status"]["pending"].is_null());
    let Some(older) = older else { return };
    // A merge: what is not in it any more must be taken away by name.
    let mut restored = older["status"].clone();
    if let (Some(fields), Some(now)) = (restored.as_object_mut(), current["status"].as_object()) {
        for name in now.keys().filter(|name| older["status"].get(name.as_str()).is_none()) {
            fields.insert(name.clone(), Value::Null);
        }
    }
    world.patch_status("ServiceAccountKey", KEY, json!({ "status": restored }));
}

/// An object that was to leave its Secret and its key is gone, and the Secret, too.
async fn without_its_secret(setup: Setup) -> World {
    let mut world = with_key_of(setup, &retaining()).await;
    world.delete("ServiceAccountKey", KEY);
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    world.delete("Secret", KEY);
    world
}

/// The Secret as it was when it was last there, the marks of its former object included.
fn restore_secret(world: &mut World) {
    let place = secret_place(KEY);
    if world.object(&place).is_some() {
        return;
    }
    let before = (0..8).find_map(|back| world.api.with(|s| s.store.earlier(&place, back)));
    let Some(before) = before else { return };
    let mut object = (*before).clone();
    object["metadata"] = json!({
        "name": KEY, "labels": before["metadata"]["labels"], "annotations": before["metadata"]["annotations"],
    });
    world.create("Secret", NAMESPACE, object);
}

/// A key that turned so often that the account holds no more.
async fn when_full(setup: Setup) -> World {
    let rotation = json!({ "every": "2h", "overlap": "30m", "deleteAfter": "168h" });
    let mut world = with_key_of(setup, &json!({ "rotation": rotation })).await;
    world.run_for(Duration::from_hours(24), &mut Calm).await;
    let holds = rotations(&world) >= 11;
    super::assert_at_stage(&mut world, holds, "the key of the stage did not turn often enough");
    world
}
