//! Odd cases: lost answers that left a key, full accounts, wrong clocks, long absences, clocks that are set forward.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::json;

use super::{
    Flow, KEY, account_place, alive, annotate, before_rotation, deleted_by_person, is_good, ledger,
    made_by_person, now, operating, ready, rotated, rotations, staged, status, with_key,
};
use crate::api_server::{PatchFormat, Request, Verb};
use crate::fate::{Calm, Director, Fate, Loss, Offer};
use crate::iam;
use crate::stage::{ACCOUNT, NAMESPACE, resource};
use crate::world::{Setup, World};

const fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

pub(super) fn all() -> Vec<Flow> {
    let mut all = orphans();
    all.extend(accounts());
    all.extend(times());
    all
}

/// The answer of the first create is lost.
struct LosesCreate(bool);

impl Director for LosesCreate {
    fn fate(&mut self, offer: &Offer) -> Fate {
        if !self.0 && offer.summary.starts_with("iam create-key") {
            self.0 = true;
            return Fate::LoseAnswer(Loss::Reset);
        }
        Fate::Deliver
    }
}

fn orphans() -> Vec<Flow> {
    vec![
        Flow::new(
            "orphan",
            |setup| {
                async {
                    let mut world = before_rotation(setup).await;
                    world.run_for(minutes(3), &mut LosesCreate(false)).await;
                    world
                }
                .boxed_local()
            },
            |_| {},
            |world| alive(world) == 1 && ledger(world) == 1 && status(world, "lost").is_null(),
            9 * 60,
        ),
        // On an account that may be anybody's a person must say whose the key is.
        Flow::new(
            "claim",
            |setup| with_suspect(setup).boxed_local(),
            |world| {
                let suspect = status(world, "suspects/0/id").as_str().unwrap_or_default().to_owned();
                annotate(world, "claim-key", &suspect);
            },
            |world| alive(world) == 1 && ledger(world) == 1 && status(world, "suspects").is_null(),
            9 * 60,
        ),
    ]
}

/// A key of a lost attempt, on an account that may be anybody's.
pub(super) async fn with_suspect(setup: Setup) -> World {
    let mut world = with_adopted(setup).await;
    world.create_key(KEY, ACCOUNT, &json!({}));
    world.run_for(minutes(5), &mut LosesCreate(false)).await;
    world.run_for(minutes(180), &mut Calm).await;
    world
}

/// An account that a person made, and that was adopted.
async fn with_adopted(setup: Setup) -> World {
    let mut world = adoptable(setup).await;
    adopt(&mut world);
    world.run_for(Duration::from_secs(5), &mut Calm).await;
    world
}

async fn adoptable(setup: Setup) -> World {
    let mut world = World::with_backend(setup);
    let tenants = json!({ "spec": { "tenants": { "adoption": true } } });
    let verb = Verb::Patch(PatchFormat::Merge);
    world.request(&Request::by_person(verb, resource("ClusterIamBackend"), "", "default", tenants));
    let account = keywheel::backend::NewAccount {
        account_id: ACCOUNT.to_owned(),
        display_name: "Billing".to_owned(),
        description: String::new(),
        basic_auth: false,
    };
    world.person("makes an account at the backend", |_, iam, now| {
        drop(iam.apply(&iam::Call::CreateAccount(account), now));
    });
    operating(world).await
}

fn adopt(world: &mut World) {
    let object = json!({
        "apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccount", "metadata": { "name": ACCOUNT },
        "spec": { "backendRef": { "name": "default" }, "adoptionPolicy": "IfExists" },
    });
    world.create("ServiceAccount", NAMESPACE, object);
}

fn accounts() -> Vec<Flow> {
    vec![
        Flow::new(
            "account-adopt",
            |setup| adoptable(setup).boxed_local(),
            adopt,
            |world| world.object(&account_place()).is_some_and(|a| ready(&a)),
            1,
        ),
        Flow::new(
            "account-made-again",
            |setup| with_key(setup).boxed_local(),
            |world| {
                world.person("deletes the account at the backend", |_, iam, _| {
                    for record in iam.accounts.values_mut() {
                        (record.deleted, record.touched_by_person) = (true, true);
                    }
                    for key in iam.keys.values_mut() {
                        (key.deleted, key.ended_by_person) = (true, true);
                    }
                });
                world.delete("ServiceAccount", ACCOUNT);
                world.patch("ServiceAccount", ACCOUNT, json!({ "metadata": { "finalizers": null } }));
                world.create_account(ACCOUNT);
            },
            is_good,
            10,
        ),
        Flow::new(
            "account-full",
            |setup| {
                async {
                    let mut world = with_key(setup).await;
                    made_by_person(&mut world, 9);
                    world
                }
                .boxed_local()
            },
            |world| {
                let at = now(world);
                annotate(world, "rotate-at", &at);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            120,
        )
        .later(minutes(10), |world| deleted_by_person(world, 1)),
        // One place is left, and a list shows a new key only after nine minutes.
        Flow::new(
            "account-nearly-full",
            |setup| {
                async {
                    let mut world = with_key(setup).await;
                    made_by_person(&mut world, 8);
                    world.run_for(minutes(20), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            |world| {
                world.iam.lag.list = minutes(9);
                let at = now(world);
                annotate(world, "rotate-at", &at);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            120,
        )
        .later(minutes(40), |world| deleted_by_person(world, 3)),
    ]
}

fn times() -> Vec<Flow> {
    vec![
        Flow::new(
            "clock-ahead",
            |setup| rotated(setup).boxed_local(),
            |world| set_clocks(world, 2 * 3600),
            |world| ledger(world) == 1,
            9 * 60,
        )
        .later(minutes(45), |world| set_clocks(world, 0)),
        Flow::new(
            "clock-back",
            |setup| rotated(setup).boxed_local(),
            |world| set_clocks(world, -2 * 3600),
            |world| ledger(world) == 1,
            12 * 60,
        )
        .later(minutes(120), |world| set_clocks(world, 0)),
        Flow::new(
            "secret-deleted-twice",
            |setup| with_key(setup).boxed_local(),
            |world| {
                world.delete("Secret", KEY);
            },
            // Once is enough where the first repair was held up until after the second time.
            |world| world.is_ready(KEY) && rotations(world) >= 1 && staged(world) == 0,
            30,
        )
        .later(minutes(2), |world| {
            world.delete("Secret", KEY);
        }),
        Flow::new(
            "down-for-weeks",
            |setup| {
                async {
                    let mut world = with_key(setup).await;
                    for actor in 0..world.actors.len() {
                        world.kill(actor);
                    }
                    world.run_for(Duration::from_hours(22 * 24), &mut Calm).await;
                    world
                }
                .boxed_local()
            },
            World::start_all,
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            5,
        ),
        // Half past two does not exist on one day in March, and twice on one in October: one rotation a day.
        Flow::new(
            "dst-forward",
            |setup| nightly(setup, "2027-03-27T12:00:00Z").boxed_local(),
            |_| {},
            |world| nights(world, 2) && world.time.elapsed() > minutes(38 * 60),
            39 * 60,
        ),
        Flow::new(
            "dst-back",
            |setup| nightly(setup, "2027-10-30T12:00:00Z").boxed_local(),
            |_| {},
            |world| nights(world, 2) && world.time.elapsed() > minutes(39 * 60),
            40 * 60,
        ),
    ]
}

fn nights(world: &World, count: u64) -> bool {
    world.is_ready(KEY) && rotations(world) == count && staged(world) == 0
}

async fn nightly(setup: Setup, from: &str) -> World {
    let setup = Setup { begin: Some(from.parse().expect("a time")), ..setup };
    let rotation = json!({
        "every": null, "schedule": "30 2 * * *", "timeZone": "Europe/Oslo", "overlap": "1h", "deleteAfter": "6h",
    });
    super::with_key_of(setup, &json!({ "rotation": rotation })).await
}

pub(super) fn set_clocks(world: &mut World, seconds: i64) {
    world.note(&format!("the clocks of the operator are {seconds} s ahead"));
    for actor in world.actors.iter().filter(|a| a.is_alive()) {
        actor.clock.set_error(jiff::SignedDuration::from_secs(seconds));
    }
}
