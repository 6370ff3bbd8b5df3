//! The oracle goes red where the backend can do least: accounts without chosen ids, one role each, secrets that are shared.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test bed: what cannot be is a defect of it, and ends the test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::backend::NewAccount;
use keywheel::domain::Capabilities;
use keywheel_sim::api_server::{PatchFormat, Request, Verb};
use keywheel_sim::case::in_own_time;
use keywheel_sim::flows;
use keywheel_sim::iam;
use keywheel_sim::people::{self, Deed, Use};
use keywheel_sim::stage::{ACCOUNT, NAMESPACE, resource};
use keywheel_sim::wire::{Call, Reply};
use keywheel_sim::world::{Setup, World};
use serde_json::{Value, json};

/// The process of these worlds.
const OPERATOR: usize = 0;

/// What the oracle says of one act on a world in which all was well.
async fn said(begin: impl Future<Output = World>, act: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let mut world = begin.await;
    assert_eq!(world.oracle.violations(), []);
    act(&mut world);
    world.oracle.violations().iter().map(|violation| violation.invariant).collect()
}

fn asks(world: &mut World, call: iam::Call) {
    let Reply::Iam(answer) = world.forge(OPERATOR, Call::Iam(Box::new(call))) else {
        panic!("the backend answers")
    };
    assert!(answer.is_ok());
}

/// The operator writes into the account's object.
fn writes(world: &mut World, subresource: Option<&str>, patch: Value) {
    let verb = Verb::Patch(PatchFormat::Merge);
    let mut request = Request::by_person(verb, resource("ServiceAccount"), NAMESPACE, ACCOUNT, patch);
    request.subresource = subresource.map(str::to_owned);
    let Reply::Api((code, _)) = world.forge(OPERATOR, Call::Api(Box::new(request))) else {
        panic!("the API server answers")
    };
    assert_eq!(code, 200);
}

/// The one account that there is.
fn account(world: &World) -> String {
    world.iam.accounts.keys().next().unwrap().clone()
}

/// The operator records the account of the lost answer.
fn takes(world: &mut World) {
    let unique_id = account(world);
    writes(world, Some("status"), json!({ "status": { "uniqueId": unique_id, "creating": null } }));
}

#[test]
fn covered_an_account_that_nobody_remembers() {
    let unheard = |world: &mut World| {
        asks(
            world,
            iam::Call::CreateAccount(NewAccount {
                account_id: String::new(),
                display_name: "keywheel-unheard".to_owned(),
                description: String::new(),
                basic_auth: false,
            }),
        );
    };
    assert_eq!(in_own_time(said(flows::with_stray(Setup::new(1)), unheard)), ["Covered"]);
    let closed = |world: &mut World| writes(world, Some("status"), json!({ "status": { "creating": null } }));
    assert_eq!(in_own_time(said(flows::with_stray(Setup::new(1)), closed)), ["Covered"]);
}

#[test]
fn no_theft_an_account_that_a_person_uses() {
    let used = |how: Use| {
        move |world: &mut World| {
            people::act(world, &Deed::UseStrays(how));
            takes(world);
        }
    };
    for how in [Use::Key, Use::Role] {
        assert_eq!(in_own_time(said(flows::with_stray(Setup::new(1)), used(how))), ["No theft"]);
    }
    // Looked at before.
    let came_after = |world: &mut World| {
        let (account, resource) = (account(world), format!("projects/{}", iam::PROJECT));
        asks(world, iam::Call::ListKeys { account: account.clone() });
        asks(world, iam::Call::ReadMember { resource, account });
        people::act(world, &Deed::UseStrays(Use::Key));
        takes(world);
    };
    assert_eq!(in_own_time(said(flows::with_stray(Setup::new(1)), came_after)), [""; 0]);
}

#[test]
fn no_theft_the_one_role_that_others_gave() {
    let ends = |by_others: bool| {
        move |world: &mut World| {
            if by_others {
                people::act(world, &Deed::BindByHand(0));
            }
            let (account, resource) = (account(world), format!("projects/{}", iam::PROJECT));
            asks(world, iam::Call::ReadMember { resource: resource.clone(), account: account.clone() });
            asks(world, iam::Call::DeleteMember { resource, account });
        }
    };
    assert_eq!(in_own_time(said(flows::with_one_role(Setup::new(1)), ends(false))), [""; 0]);
    assert_eq!(in_own_time(said(flows::with_one_role(Setup::new(1)), ends(true))), ["No theft"]);
}

#[test]
fn covered_a_role_that_is_written_down_nowhere() {
    let act = |world: &mut World| {
        let (account, resource) = (account(world), format!("projects/{}", iam::PROJECT));
        asks(world, iam::Call::ReadMember { resource: resource.clone(), account: account.clone() });
        asks(world, iam::Call::PatchMember { resource, account, role: "roles/editor".to_owned() });
    };
    assert_eq!(in_own_time(said(flows::with_one_role(Setup::new(1)), act)), ["Covered", "Covered"]);
}

#[test]
fn no_exposure_a_shared_secret_in_any_encoding() {
    let with_key = || flows::with_key(Setup { can: Capabilities::disruptive(), ..Setup::new(1) });
    for before in 0..4 {
        let act = |world: &mut World| {
            let secret = world.iam.keys.values().next().unwrap().private_half();
            // As basic auth has it: the id of a key, which can be of any length.
            let told = if before == 3 {
                secret.to_owned()
            } else {
                STANDARD.encode(format!("{}:{secret}", "k".repeat(before)))
            };
            writes(world, None, json!({ "metadata": { "annotations": { "seen": told } } }));
        };
        assert_eq!(in_own_time(said(with_key(), act)), ["No exposure"]);
    }
}
