//! The same lives where the backend can do least: no chosen ids, no marks, keys that are there or not, whose secret is told
//! once.

use std::time::Duration;

use futures::FutureExt as _;
use keywheel::domain::Capabilities;
use serde_json::{Value, json};

use super::roles::{is_ready, list};
use super::{
    Flow, KEY, account_place, alive, annotate, before_rotation, ledger, now, operating, ready, rotated,
    rotations, staged, status, with_key,
};
use crate::api_server::{PatchFormat, Request, Verb};
use crate::fate::{Calm, Director, Fate, Loss, Offer};
use crate::people::{self, Deed, Use};
use crate::stage::{ACCOUNT, resource, secret_place};
use crate::world::{Setup, World};

fn least(setup: Setup) -> Setup {
    Setup { can: Capabilities::disruptive(), ..setup }
}

/// As slow as it may be to show new accounts and keys.
async fn slow(setup: Setup) -> World {
    let mut world = World::with_backend(least(setup));
    world.iam.lag.list = world.timing().list_lag.saturating_sub(Duration::from_secs(2));
    operating(world).await
}

/// The answer to the first creation of an account is lost.
struct LosesAccount(bool);

impl Director for LosesAccount {
    fn fate(&mut self, offer: &Offer) -> Fate {
        if !self.0 && offer.summary.starts_with("iam create-account") {
            self.0 = true;
            return Fate::LoseAnswer(Loss::Reset);
        }
        Fate::Deliver
    }
}

/// The answer to the creation of an account is just lost.
pub async fn with_stray(setup: Setup) -> World {
    let mut world = operating(World::with_backend(least(setup))).await;
    world.create_account(ACCOUNT);
    let nothing = |world: &World| world.iam.accounts.is_empty();
    let lost = world.run_while(Duration::from_secs(30), &mut LosesAccount(false), nothing).await;
    super::assert_at_stage(&mut world, lost, "the stage has no account whose answer is lost");
    world
}

/// An account that has a role.
pub async fn with_one_role(setup: Setup) -> World {
    let mut world = World::with_account(least(setup)).await;
    list(&mut world, 1);
    world.run_for(Duration::from_secs(10), &mut Calm).await;
    let holds = is_ready(&world) && roles(&world) == ["roles/storage.objectViewer"];
    super::assert_at_stage(&mut world, holds, "the role of the stage is not bound");
    world
}

/// The roles of the account.
fn roles(world: &World) -> Vec<String> {
    let account = world.iam.living(ACCOUNT).map(|record| record.account.unique_id.as_str());
    account.map(|account| world.iam.roles_of(account, world.iam.policy.now())).unwrap_or_default()
}

fn basic_auth(world: &World) -> bool {
    world.iam.living(ACCOUNT).is_some_and(|record| record.account.basic_auth)
}

fn is_account_ready(world: &World) -> bool {
    world.object(&account_place()).is_some_and(|account| ready(&account))
}

/// An account whose keys are all ours: a lost attempt is settled by its end.
async fn handed_over(setup: Setup) -> World {
    let mut world = World::with_backend(least(setup));
    world.create_account_with(ACCOUNT, &json!({ "unmanagedKeys": "Delete" }));
    let mut world = operating(world).await;
    world.run_for(Duration::from_secs(5), &mut Calm).await;
    world
}

/// A key, at a backend that lets namespaces adopt accounts.
async fn adopting(setup: Setup) -> World {
    let mut world = with_key(setup).await;
    let tenants = json!({ "spec": { "tenants": { "adoption": true } } });
    let verb = Verb::Patch(PatchFormat::Merge);
    world.request(&Request::by_person(verb, resource("ClusterIamBackend"), "", "default", tenants));
    world.run_for(Duration::from_secs(5), &mut Calm).await;
    world
}

pub(super) fn all() -> Vec<Flow> {
    accounts().into_iter().chain(keys()).collect()
}

fn accounts() -> Vec<Flow> {
    vec![
        Flow::new(
            "unnamed-account-create",
            |setup| slow(setup).boxed_local(),
            |world| world.create_account(ACCOUNT),
            is_account_ready,
            1,
        ),
        Flow::new(
            "unnamed-account-found",
            |setup| with_stray(setup).boxed_local(),
            |_| {},
            is_account_ready,
            1,
        ),
        // It stays theirs until they take it away; another one is made once no other can show itself.
        Flow::new(
            "unnamed-account-used",
            |setup| with_stray(setup).boxed_local(),
            |world| people::act(world, &Deed::UseStrays(Use::Key)),
            |world| is_account_ready(world) && world.iam.accounts.len() == 2,
            90,
        )
        .later(Duration::from_mins(10), |world| people::act(world, &Deed::LeaveStrays(true))),
        // Once it is nobody's it is ours.
        Flow::new(
            "unnamed-account-member",
            |setup| with_stray(setup).boxed_local(),
            |world| people::act(world, &Deed::UseStrays(Use::Role)),
            |world| is_account_ready(world) && world.iam.accounts.len() == 1,
            20,
        )
        .later(Duration::from_mins(10), |world| people::act(world, &Deed::LeaveStrays(false))),
        // The role is replaced; then the object is deleted.
        Flow::new(
            "one-role",
            |setup| World::with_account(least(setup)).boxed_local(),
            |world| list(world, 1),
            |world| world.object(&account_place()).is_none() && world.iam.living(ACCOUNT).is_none(),
            40,
        )
        .later(Duration::from_mins(2), |world| list(world, 2))
        .later(Duration::from_mins(20), |world| {
            world.delete("ServiceAccount", ACCOUNT);
        }),
        // People take it, or give another one, between any two calls.
        Flow::new(
            "one-role-person",
            |setup| with_one_role(setup).boxed_local(),
            |world| list(world, 2),
            |world| is_ready(world) && roles(world) == ["roles/editor"],
            2,
        ),
        Flow::new(
            "basic-auth",
            |setup| World::with_account(least(setup)).boxed_local(),
            |world| people::act(world, &Deed::SwitchBasicAuth(0)),
            |world| is_account_ready(world) && !basic_auth(world),
            2 * 60,
        ),
        // It goes while its account may be under way.
        Flow::new(
            "unnamed-account-delete-early",
            |setup| slow(setup).boxed_local(),
            |world| world.create_account(ACCOUNT),
            |world| world.object(&account_place()).is_none(),
            2,
        )
        .later(Duration::from_millis(1500), |world| {
            world.delete("ServiceAccount", ACCOUNT);
        }),
        Flow::new(
            "unnamed-account-delete",
            |setup| with_key(least(setup)).boxed_local(),
            |world| {
                world.delete("ServiceAccount", ACCOUNT);
                world.delete("ServiceAccountKey", KEY);
            },
            |world| world.object(&account_place()).is_none() && world.key(KEY).is_none(),
            5,
        ),
        // The object's note is all that is left of what it had.
        Flow::new(
            "unnamed-account-status-lost",
            |setup| adopting(least(setup)).boxed_local(),
            |world| {
                world.patch_status("ServiceAccount", ACCOUNT, json!({ "status": null }));
            },
            |world| {
                world.object(&account_place()).is_some_and(|a| ready(&a))
                    && world.iam.accounts.values().filter(|account| !account.deleted).count() == 1
            },
            1,
        ),
    ]
}

fn keys() -> Vec<Flow> {
    vec![
        Flow::new(
            "shared-secret-create",
            |setup| World::with_account(least(setup)).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &json!({})),
            |world| world.is_ready(KEY) && staged(world) == 0,
            1,
        ),
        // What a lost answer made is ours to end.
        Flow::new(
            "shared-secret-create-alone",
            |setup| handed_over(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &json!({})),
            |world| world.is_ready(KEY) && staged(world) == 0,
            1,
        ),
        Flow::new(
            "shared-secret-rotate",
            |setup| before_rotation(least(setup)).boxed_local(),
            |_| {},
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            3,
        ),
        Flow::new(
            "shared-secret-retire",
            |setup| rotated(least(setup)).boxed_local(),
            |_| {},
            |world| ledger(world) == 1 && alive(world) == 1,
            2 * 60,
        ),
        Flow::new(
            "shared-secret-revoke",
            |setup| rotated(least(setup)).boxed_local(),
            |world| {
                let at = now(world);
                annotate(world, "revoke-at", &at);
            },
            |world| {
                super::is_good(world) && status(world, "handled/revokeAt").is_string() && staged(world) == 0
            },
            5,
        ),
        Flow::new(
            "shared-secret-delete",
            |setup| rotated(least(setup)).boxed_local(),
            |world| {
                world.delete("ServiceAccountKey", KEY);
            },
            |world| world.key(KEY).is_none() && alive(world) == 0,
            1,
        ),
        Flow::new(
            "shared-secret-edited",
            |setup| with_key(least(setup)).boxed_local(),
            |world| {
                use base64::Engine as _;
                let place = secret_place(KEY);
                let secret = world.object(&place).unwrap_or_default();
                let engine = base64::engine::general_purpose::STANDARD;
                let bytes = engine.decode(secret["data"]["key.json"].as_str().unwrap_or_default());
                let mut file: Value = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default();
                file["serviceAccount"]["secret"] = json!("f".repeat(32));
                let data = json!({ "data": { "key.json": engine.encode(file.to_string()) } });
                world.patch("Secret", KEY, data);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            2,
        ),
    ]
}
