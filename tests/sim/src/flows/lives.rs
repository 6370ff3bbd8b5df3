//! A key's and an account's life, and what drifts in it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use keywheel::domain::Capabilities;
use serde_json::{Value, json};

use super::{
    Flow, KEY, account_place, before_rotation, ledger, operating, ready, restore_older_secret, rotated,
    rotations, staged, with_key,
};
use crate::stage::{ACCOUNT, NAMESPACE, secret_place};
use crate::world::{Setup, World};

pub(super) fn all() -> Vec<Flow> {
    vec![
        Flow::new(
            "create",
            |setup| World::with_account(setup).boxed_local(),
            |world| world.create_key(KEY, ACCOUNT, &json!({})),
            |world| world.is_ready(KEY) && staged(world) == 0,
            1,
        ),
        // The token endpoint knows the new key only after minutes.
        Flow::new(
            "verification-waits",
            |setup| World::with_account(setup).boxed_local(),
            |world| {
                world.iam.lag.token = Duration::from_mins(3);
                world.create_key(KEY, ACCOUNT, &json!({}));
            },
            |world| world.is_ready(KEY) && staged(world) == 0,
            30,
        ),
        Flow::new(
            "rotate",
            |setup| before_rotation(setup).boxed_local(),
            |_| {},
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            3,
        ),
        Flow::new("retire", |setup| rotated(setup).boxed_local(), |_| {}, |world| ledger(world) == 1, 8 * 60),
        Flow::new(
            "delete-only-retire",
            |setup| rotated(Setup { can: Capabilities::disruptive(), ..setup }).boxed_local(),
            |_| {},
            |world| ledger(world) == 1,
            2 * 60,
        ),
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
        ),
        Flow::new(
            "drift-secret-emptied",
            |setup| with_key(setup).boxed_local(),
            |world| {
                let data = json!({ "data": { "key.json": STANDARD.encode("{}") } });
                world.patch("Secret", KEY, data);
            },
            |world| world.is_ready(KEY) && rotations(world) == 1 && staged(world) == 0,
            2,
        ),
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
        ),
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
        ),
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
