//! Keys that no object owns: told, ended where their account hands them over, disowned, let go.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::odd::{set_clocks, with_suspect};
use super::{
    Flow, KEY, account_place, alive, annotate, is_good, ledger, made_by_person, operating, status, with_key,
};
use crate::fate::Calm;
use crate::iam::{Key, Maker};
use crate::stage::{ACCOUNT, NAMESPACE, key_place, secret_place};
use crate::world::{Setup, World};

const fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

pub(super) fn all() -> Vec<Flow> {
    vec![
        Flow::new(
            "unmanaged-report",
            |setup| with_key(setup).boxed_local(),
            |world| made_by_person(world, 1),
            |world| is_good(world) && of_person(world, Key::works) && told(world) == [false],
            6 * 60,
        )
        .later(minutes(4 * 60), |_| {}),
        Flow::new(
            "unmanaged-disable",
            |setup| handed_over(setup, "Disable").boxed_local(),
            |world| made_by_person(world, 1),
            |world| is_good(world) && of_person(world, |k| k.disabled && !k.deleted) && told(world) == [true],
            6 * 60,
        ),
        Flow::new(
            "unmanaged-delete",
            |setup| handed_over(setup, "Delete").boxed_local(),
            |world| made_by_person(world, 1),
            |world| is_good(world) && of_person(world, |k| k.deleted) && told(world).is_empty(),
            6 * 60,
        ),
        // It was seen once, minutes before the clocks went ahead.
        Flow::new(
            "unmanaged-clock-ahead",
            |setup| {
                async {
                    let mut world = handed_over(setup, "Delete").await;
                    world.run_for(minutes(58), &mut Calm).await;
                    made_by_person(&mut world, 1);
                    world.run_for(minutes(5), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            |world| set_clocks(world, 2 * 3600),
            |world| is_good(world) && of_person(world, |k| k.deleted) && told(world).is_empty(),
            8 * 60,
        )
        .later(minutes(120), |world| set_clocks(world, 0)),
        // The audits after it do not bring the key up again.
        Flow::new(
            "disown",
            |setup| with_suspect(setup).boxed_local(),
            |world| {
                let suspect = status(world, "suspects/0/id").as_str().unwrap_or_default().to_owned();
                annotate(world, "disown-key", &suspect);
            },
            |world| alive(world) == 2 && ledger(world) == 1 && status(world, "suspects").is_null(),
            6 * 60,
        )
        .later(minutes(3 * 60), |_| {}),
        Flow::new(
            "abandon",
            |setup| without_login(setup).boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| {
                world.object(&key_place(KEY)).is_none()
                    && world.object(&secret_place(KEY)).is_none()
                    && alive(world) == 1
            },
            60,
        )
        .later(minutes(30), |world| annotate(world, "abandon", "yes")),
    ]
}

/// Whether the keys that people made are like this.
fn of_person(world: &World, is_so: impl Fn(&Key) -> bool) -> bool {
    world.iam.keys.values().filter(|k| k.made_by == Maker::Person).all(is_so)
}

/// The unmanaged keys in the account's status: whether they are disabled.
fn told(world: &World) -> Vec<bool> {
    let account = world.object(&account_place()).unwrap_or_default();
    let keys = account["status"]["unmanagedKeys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|key| key["disabled"] == true).collect()
}

/// An account whose keys are all ours, and a published key on it.
async fn handed_over(setup: Setup, unmanaged_keys: &str) -> World {
    let mut world = operating(World::with_backend(setup)).await;
    let object: Value = json!({
        "apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccount", "metadata": { "name": ACCOUNT },
        "spec": { "backendRef": { "name": "default" }, "unmanagedKeys": unmanaged_keys },
    });
    world.create("ServiceAccount", NAMESPACE, object);
    world.create_key(KEY, ACCOUNT, &json!({}));
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    let holds = world.is_ready(KEY);
    super::assert_at_stage(&mut world, holds, "the key of the stage is not ready");
    world
}

/// The login went while no process was there that would remember it.
async fn without_login(setup: Setup) -> World {
    let mut world = with_key(setup).await;
    for actor in 0..world.actors.len() {
        world.kill(actor);
    }
    crate::people::login(&mut world, false);
    operating(world).await
}
