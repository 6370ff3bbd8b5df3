//! Roles and services of an account: bound, changed, taken back with it; enabled, and told.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Value, json};

use super::{Flow, account_place, operating, ready};
use crate::fate::Calm;
use crate::iam::{PROJECT, member};
use crate::people::roles;
use crate::stage::ACCOUNT;
use crate::world::{Setup, World};

/// Enabled from the beginning, and not.
const SERVICES: [&str; 2] = ["storage.googleapis.com", "earthengine.googleapis.com"];

pub(super) fn all() -> Vec<Flow> {
    vec![
        // One role leaves and others come; then the object is deleted.
        Flow::new(
            "roles",
            |setup| World::with_account(setup).boxed_local(),
            |world| list(world, 1),
            |world| world.object(&account_place()).is_none() && world.iam.living(ACCOUNT).is_none(),
            40,
        )
        .later(Duration::from_mins(2), |world| list(world, 2))
        .later(Duration::from_mins(20), |world| {
            world.delete("ServiceAccount", ACCOUNT);
        }),
        // In the lag of reads, and in the time in which what was sent may still arrive.
        Flow::new(
            "roles-dropped-at-once",
            |setup| World::with_account(setup).boxed_local(),
            |world| list(world, 1),
            |world| world.object(&account_place()).is_none() && world.iam.living(ACCOUNT).is_none(),
            40,
        )
        .later(Duration::from_secs(20), |world| list(world, 0))
        .later(Duration::from_secs(40), |world| {
            world.delete("ServiceAccount", ACCOUNT);
        }),
        Flow::new(
            "roles-deleted-at-once",
            |setup| World::with_account(setup).boxed_local(),
            |world| list(world, 1),
            |world| world.object(&account_place()).is_none() && world.iam.living(ACCOUNT).is_none(),
            40,
        )
        .later(Duration::from_secs(20), |world| {
            world.delete("ServiceAccount", ACCOUNT);
        }),
        // People do something to the policy between any two calls of it.
        Flow::new(
            "roles-person",
            |setup| with_roles(setup).boxed_local(),
            |world| list(world, 2),
            |world| is_ready(world) && held(world) == roles(2).as_array().map_or(0, Vec::len),
            2,
        ),
        Flow::new(
            "services",
            |setup| operating(World::with_backend(setup)).boxed_local(),
            |world| world.create_account_with(ACCOUNT, &json!({ "services": SERVICES })),
            |world| {
                let now = world.time.now();
                SERVICES.iter().all(|service| world.iam.services.is_enabled(service, now))
                    && is_ready(world)
                    && condition(world, "EarthEngineRegistered") == "EarthEngineRegistered"
            },
            30,
        )
        .later(Duration::from_mins(5), |world| {
            let told = condition(world, "EarthEngineRegistered");
            world.note(&format!("the account says {told}"));
            world.person("registers the project for Earth Engine", |_, iam, _| {
                "REGISTERED_NOT_COMMERCIALLY".clone_into(&mut iam.services.registration);
            });
        }),
    ]
}

/// The spec lists other roles.
pub(super) fn list(world: &mut World, number: usize) {
    world.patch("ServiceAccount", ACCOUNT, json!({ "spec": { "roles": roles(number) } }));
}

/// An account whose roles are bound.
pub async fn with_roles(setup: Setup) -> World {
    let mut world = operating(World::with_backend(setup)).await;
    world.create_account_with(ACCOUNT, &json!({ "roles": roles(1) }));
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    let holds = is_ready(&world) && held(&world) == 2;
    super::assert_at_stage(&mut world, holds, "the roles of the stage are not bound");
    world
}

pub(super) fn is_ready(world: &World) -> bool {
    let account = world.object(&account_place()).unwrap_or_default();
    let judged = account["status"]["observedGeneration"] == account["metadata"]["generation"];
    judged && ready(&account)
}

/// In how many bindings the account is.
fn held(world: &World) -> usize {
    let member = member(&format!("{ACCOUNT}@{PROJECT}.iam.gserviceaccount.com"));
    world.iam.policy.now().bindings.iter().filter(|binding| binding.members.contains(&member)).count()
}

/// The reason of a condition of the account.
fn condition(world: &World, name: &str) -> String {
    let account = world.object(&account_place()).unwrap_or_default();
    let all = account["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|c| c["type"] == name).and_then(|c| c["reason"].as_str().map(str::to_owned));
    found.unwrap_or_else(|| Value::Null.to_string())
}
