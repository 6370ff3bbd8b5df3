//! What people list in the specs of accounts: roles and services.

use serde_json::{Value, json};

use super::account_name;
use crate::actor::Kind;
use crate::api_server::{PatchFormat, Place, Request, Verb};
use crate::stage::{NAMESPACE, resource};
use crate::world::World;

/// The roles that namespaces may ask for.
pub const ROLES: [&str; 3] = ["roles/viewer", "roles/editor", "roles/storage.*"];

/// What the spec of an account lists, by number: none, two of which one has a condition, one that goes and another that comes,
/// one that nobody may have.
pub fn roles(number: usize) -> Value {
    let until = json!({ "title": "until", "expression": "request.time < timestamp('2027-01-01T00:00:00Z')" });
    match number % 4 {
        0 => json!([]),
        1 => {
            json!([{ "role": "roles/viewer" }, { "role": "roles/storage.objectViewer", "condition": until }])
        }
        2 => json!([
            { "role": "roles/storage.objectViewer", "condition": until },
            { "role": "roles/storage.objectViewer" },
            { "role": "roles/editor" },
        ]),
        _ => json!([{ "role": "roles/viewer" }, { "role": "roles/owner" }]),
    }
}

/// What an account of a history asks for.
pub fn account_spec_of(seed: u64, account: usize) -> Value {
    let number = usize::try_from(seed % 97).unwrap_or_default() + account;
    // What nobody may have keeps an account from being made.
    let services = if number.is_multiple_of(3) { json!(["translate.googleapis.com"]) } else { json!([]) };
    json!({ "roles": roles(number % 3), "services": services })
}

/// Lets namespaces ask for all of these roles, or for the first one only.
pub(super) fn allow(world: &mut World, all: bool) {
    let allowed = if all { &ROLES[..] } else { &ROLES[..1] };
    let patch = json!({ "spec": { "tenants": { "roles": allowed } } });
    let verb = Verb::Patch(PatchFormat::Merge);
    world.request(&Request::by_person(verb, resource("ClusterIamBackend"), "", "default", patch));
}

/// An account that is not made because of a role that nobody may have asks for none.
pub(super) fn ask_for_less(world: &mut World, account: usize) {
    let name = account_name(account);
    let kind = Kind::Account.stored().to_owned();
    let place = Place { kind, namespace: NAMESPACE.to_owned(), name: name.clone() };
    if world.object(&place).is_some_and(|object| object["status"]["uniqueId"].is_null()) {
        world.patch("ServiceAccount", &name, json!({ "spec": { "roles": roles(0) } }));
    }
}

/// Applies an account with roles if it is gone.
pub(super) fn apply(world: &mut World, name: &str) {
    let kind = Kind::Account.stored().to_owned();
    let place = Place { kind, namespace: NAMESPACE.to_owned(), name: name.to_owned() };
    if world.object(&place).is_none() {
        world.create_account_with(name, &json!({ "roles": roles(1) }));
    }
}
