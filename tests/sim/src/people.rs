//! What people do: to objects, to Secrets, at the backend, at any moment.

mod bindings;
mod listed;
mod strays;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api_server::{PatchFormat, Request, Verb};
use crate::iam::Maker;
use crate::oracle::View;
use crate::random::Dice;
use crate::stage::{NAMESPACE, key_place, resource, secret_place};
use crate::world::World;
pub use listed::{ROLES, account_spec_of, roles};
pub use strays::{Use, strays};

const KEY: &str = "ServiceAccountKey";

/// Something that a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Applies a key, again if it is gone.
    ApplyKey(usize),
    /// Deletes a key.
    DeleteKey(usize),
    /// Takes the finalizer off a key that is being deleted.
    ForceDelete(usize),
    /// Deletes the Secret.
    DeleteSecret(usize),
    /// Overwrites the credential in the Secret.
    EmptySecret(usize),
    /// Takes our annotations off the Secret.
    StripSecret(usize),
    /// Puts an older credential back.
    RestoreSecret(usize),
    /// Makes the Secret immutable.
    FreezeSecret(usize),
    /// Deletes everything that is staged.
    DeleteStaged,
    /// Wipes the status.
    WipeStatus(usize),
    /// Changes labels and entries in the spec.
    ChangeSecretSpec(usize),
    /// Changes the rotation.
    ChangeRotation(usize, &'static str),
    /// Stops the wheel, or lets it go on.
    Suspend(usize, bool),
    /// Makes a key at the backend by hand.
    MakeKey(usize),
    /// Disables the published key at the backend.
    DisableKey(usize),
    /// Deletes the published key at the backend.
    DeleteKeyAtBackend(usize),
    /// Asks for a rotation now.
    RotateNow(usize),
    /// Asks for a revocation now.
    RevokeNow(usize),
    /// Gives the Secret another name, or the first one again.
    Rename(usize, bool),
    /// Wants the pair to be made by the backend, or by the operator.
    ChangeSource(usize, &'static str),
    /// Wants the previous credential to be kept in the Secret, or not.
    KeepPrevious(usize, bool),
    /// Makes the account unusable at the backend, or usable again.
    DisableAccount(usize, bool),
    /// Says what becomes of keys on the account that no object owns.
    HandOver(usize, &'static str),
    /// Gives the account another name for people.
    NameAccount(usize, &'static str),
    /// Makes the account unusable by its spec, or usable again.
    DisableBySpec(usize, bool),
    /// Lists other roles for the account in its spec.
    EditRoles(usize, usize),
    /// Wants a service, or none.
    EditServices(usize, Option<&'static str>),
    /// Turns a service off at the backend.
    TurnOff(&'static str),
    /// Takes the account out of every binding.
    TakeRoles(usize),
    /// Lets others into every binding that the account is in.
    JoinRoles(usize),
    /// Gives the account a role that no spec lists.
    BindByHand(usize),
    /// Lets namespaces ask for few roles, or for more again.
    AllowRoles(bool),
    /// Lets the keys of an account in by basic auth, or not, at the backend.
    SwitchBasicAuth(usize),
    /// Applies an account, again if it is gone.
    ApplyAccount(usize),
    /// Deletes an account that has no keys.
    DeleteAccount,
    /// Uses each account that nobody has recorded: what a lost answer made.
    UseStrays(Use),
    /// Takes such an account away, or what they did with it.
    LeaveStrays(bool),
    /// Lets the namespace hold no more Secrets than there are, or any number again.
    Quota(bool),
    /// Takes the operator's login away, or brings it back.
    Login(bool),
}

/// The account that has no keys.
pub const WITHOUT_KEYS: usize = 3;

/// Name of a key.
pub fn key_name(number: usize) -> String {
    format!("key-{number}")
}

/// Name of an account.
pub fn account_name(number: usize) -> String {
    format!("account-{number}")
}

/// The account of a key: two keys have one between them.
pub const fn account_of(key: usize) -> usize {
    key / 2
}

/// What a key of a history asks for: most the same, some of each kind.
pub fn spec(seed: u64, key: usize) -> Value {
    let mut spec = json!({ "rotation": { "every": "20h", "overlap": "2h", "deleteAfter": "3h" } });
    let kind = (usize::try_from(seed % 97).unwrap_or_default() * 7 + key * 3) % 8;
    let more = match kind {
        0 => json!({ "keySource": "Local", "validity": "30d" }),
        1 => json!({ "secret": { "previous": true } }),
        2 => json!({ "deletionPolicy": "Retain", "secret": { "deletionPolicy": "Retain" } }),
        3 => json!({ "verification": { "mode": "None" } }),
        4 => json!({ "rotation": { "every": null, "schedule": "0 3,15 * * *" } }),
        _ => json!({}),
    };
    json_patch::merge(&mut spec, &more);
    if kind == 4 {
        // A merge takes it out: the stage would put its own there.
        spec["rotation"]["every"] = Value::Null;
    }
    spec
}

/// A deed at random.
pub fn deed(dice: &mut Dice, keys: usize) -> Deed {
    let key = usize::try_from(dice.below(u64::try_from(keys).expect("few keys"))).expect("few keys");
    let yes = !dice.one_in(3);
    match dice.below(46) {
        0 | 1 => Deed::ApplyKey(key),
        2 | 3 => Deed::DeleteKey(key),
        4 => Deed::ForceDelete(key),
        5 | 6 => Deed::DeleteSecret(key),
        7 => Deed::EmptySecret(key),
        8 => Deed::StripSecret(key),
        9 => Deed::RestoreSecret(key),
        10 => Deed::DeleteStaged,
        11 => Deed::WipeStatus(key),
        12 => Deed::ChangeSecretSpec(key),
        13 => Deed::ChangeRotation(key, dice.pick::<&str>(&["10h", "30h", "5h"])),
        14 => Deed::Suspend(key, yes),
        15 | 33 => Deed::MakeKey(account_of(key)),
        16 => Deed::DisableAccount(account_of(key), yes),
        17 => Deed::Quota(yes),
        18 => Deed::Login(!yes),
        19 => Deed::DisableKey(key),
        20 => Deed::DeleteKeyAtBackend(key),
        21 | 22 => Deed::RotateNow(key),
        23 | 24 => Deed::RevokeNow(key),
        25 | 26 => Deed::Rename(key, yes),
        27 => Deed::ChangeSource(key, dice.pick::<&str>(&["Backend", "Local"])),
        28 => Deed::KeepPrevious(key, yes),
        29 => Deed::FreezeSecret(key),
        30 | 31 => {
            Deed::HandOver(account_of(key), dice.pick::<&str>(&["Disable", "Delete", "Report", "Ignore"]))
        }
        35..=37 => {
            let account = role_account(dice, key);
            Deed::EditRoles(account, usize::try_from(dice.below(4)).expect("a small number"))
        }
        38 => Deed::TakeRoles(role_account(dice, key)),
        39 => Deed::JoinRoles(role_account(dice, key)),
        40 => Deed::BindByHand(role_account(dice, key)),
        41 => Deed::AllowRoles(yes),
        42 => Deed::EditServices(account_of(key), yes.then_some("vision.googleapis.com")),
        43 => Deed::DeleteAccount,
        44 => Deed::TurnOff(dice.pick::<&str>(&["translate.googleapis.com", "vision.googleapis.com"])),
        45 => Deed::ApplyAccount(WITHOUT_KEYS),
        32 => Deed::NameAccount(account_of(key), dice.pick::<&str>(&["Billing", "Shop"])),
        _ => Deed::DisableBySpec(account_of(key), yes),
    }
}

/// One with keys or the one without.
fn role_account(dice: &mut Dice, key: usize) -> usize {
    if dice.one_in(2) { WITHOUT_KEYS } else { account_of(key) }
}

/// Does it.
pub fn act(world: &mut World, deed: &Deed) {
    match deed {
        Deed::ApplyKey(key) => apply_key(world, *key),
        Deed::DeleteKey(key) => {
            world.delete(KEY, &key_name(*key));
        }
        Deed::ForceDelete(key) => {
            if world.key(&key_name(*key)).is_some_and(|k| !k["metadata"]["deletionTimestamp"].is_null()) {
                world.patch(KEY, &key_name(*key), json!({ "metadata": { "finalizers": null } }));
            }
        }
        Deed::DeleteSecret(key) => {
            world.delete("Secret", &key_name(*key));
        }
        Deed::EmptySecret(key) => {
            world.patch("Secret", &key_name(*key), json!({ "data": { "key.json": STANDARD.encode("{}") } }));
        }
        Deed::StripSecret(key) => {
            let annotations = json!({ "keywheel.dev/entries": null, "keywheel.dev/data-hash": null });
            world.patch("Secret", &key_name(*key), json!({ "metadata": { "annotations": annotations } }));
        }
        Deed::RestoreSecret(key) => restore_secret(world, &key_name(*key)),
        Deed::FreezeSecret(key) => {
            world.patch("Secret", &key_name(*key), json!({ "immutable": true }));
        }
        Deed::DeleteStaged => {
            let staged: Vec<String> = View::of(&world.api)
                .secrets
                .into_iter()
                .filter(|s| s.staging)
                .map(|s| s.place.name)
                .collect();
            for name in staged {
                world.delete("Secret", &name);
            }
        }
        Deed::WipeStatus(key) => {
            world.patch_status(KEY, &key_name(*key), json!({ "status": null }));
        }
        Deed::ChangeSecretSpec(key) => {
            let entries = json!([
                { "key": "key.json", "format": "GoogleCredentials" },
                { "key": "id", "format": "KeyId" },
            ]);
            let secret = json!({ "entries": entries, "labels": { "team": "red" } });
            world.patch(KEY, &key_name(*key), json!({ "spec": { "secret": secret } }));
        }
        Deed::ChangeRotation(key, every) => {
            world.patch(KEY, &key_name(*key), json!({ "spec": { "rotation": { "every": every } } }));
        }
        Deed::Suspend(key, suspend) => {
            world.patch(KEY, &key_name(*key), json!({ "spec": { "rotation": { "suspend": suspend } } }));
        }
        Deed::RotateNow(key) => ask(world, *key, "rotate-at"),
        Deed::RevokeNow(key) => ask(world, *key, "revoke-at"),
        Deed::Rename(key, renamed) => {
            let name = if *renamed { json!(format!("{}-new", key_name(*key))) } else { Value::Null };
            world.patch(KEY, &key_name(*key), json!({ "spec": { "secret": { "name": name } } }));
        }
        Deed::ChangeSource(key, source) => {
            let validity = if *source == "Local" { json!("30d") } else { Value::Null };
            let spec = json!({ "keySource": source, "validity": validity });
            world.patch(KEY, &key_name(*key), json!({ "spec": spec }));
        }
        Deed::KeepPrevious(key, keep) => {
            world.patch(KEY, &key_name(*key), json!({ "spec": { "secret": { "previous": keep } } }));
        }
        Deed::DeleteKeyAtBackend(key) => end_key(world, *key, true),
        Deed::MakeKey(account) => make_key(world, *account),
        // Where there is no such thing nobody does it.
        Deed::DisableKey(key) if world.iam.can.disable_keys => end_key(world, *key, false),
        Deed::DisableAccount(account, disabled) if world.iam.can.disable_accounts => {
            disable_account(world, *account, *disabled);
        }
        Deed::DisableKey(_) | Deed::DisableAccount(..) => {}
        Deed::HandOver(account, policy) => account_spec(world, *account, &json!({ "unmanagedKeys": policy })),
        Deed::NameAccount(account, name) => account_spec(world, *account, &json!({ "displayName": name })),
        Deed::DisableBySpec(account, disabled) => {
            account_spec(world, *account, &json!({ "disabled": disabled }));
        }
        Deed::EditRoles(account, number) => {
            account_spec(world, *account, &json!({ "roles": roles(*number) }));
        }
        Deed::EditServices(account, service) => {
            let services: Vec<&str> = service.iter().copied().collect();
            account_spec(world, *account, &json!({ "services": services }));
        }
        Deed::TurnOff(service) => {
            world.person(&format!("turns {service} off"), |_, iam, _| iam.services.disable(service));
        }
        Deed::TakeRoles(account) => bindings::take(world, *account),
        Deed::JoinRoles(account) => bindings::join(world, *account),
        Deed::BindByHand(account) => bindings::bind(world, *account),
        Deed::SwitchBasicAuth(account) => switch_basic_auth(world, *account),
        Deed::AllowRoles(all) => listed::allow(world, *all),
        Deed::ApplyAccount(account) => listed::apply(world, &account_name(*account)),
        Deed::DeleteAccount => {
            world.delete("ServiceAccount", &account_name(WITHOUT_KEYS));
        }
        Deed::UseStrays(how) => strays::take_up(world, *how),
        Deed::LeaveStrays(delete) => strays::leave(world, *delete),
        Deed::Quota(tight) => quota(world, *tight),
        Deed::Login(there) => login(world, *there),
    }
}

/// What would keep the world from ever coming to rest is put right: that is people's business, not the operator's.
pub fn put_right(world: &mut World) {
    quota(world, false);
    login(world, true);
    strays::leave(world, true);
    bindings::take_back(world);
    for account in 0..4 {
        disable_account(world, account, false);
        account_spec(world, account, &json!({ "disabled": false }));
        listed::ask_for_less(world, account);
    }
    let keys: Vec<String> = View::of(&world.api).keys.into_iter().map(|k| k.place.name).collect();
    for name in keys {
        world.patch(KEY, &name, json!({ "spec": { "rotation": { "suspend": false } } }));
    }
    // What they wanted to keep at the backend they take away again: the accounts are full of it.
    let kept: Vec<String> = world
        .iam
        .keys
        .values()
        .filter(|k| world.oracle.is_retained(k))
        .filter(|k| View::of(&world.api).consumers().all(|s| !s.credentials.contains_key(&k.id)))
        .map(|k| k.id.clone())
        .collect();
    world.person("takes away the keys that were retained", |_, iam, _| {
        for id in kept {
            if let Some(key) = iam.keys.get_mut(&id) {
                (key.deleted, key.ended_by_person) = (true, true);
            }
        }
    });
    let foreign: Vec<String> = View::of(&world.api)
        .secrets
        .into_iter()
        .filter(|s| !s.staging)
        .filter(|s| {
            let frozen = world.object(&s.place).is_some_and(|o| o["immutable"] == true);
            // One that the operator left behind is not ours to clear away.
            let by_hand =
                |uid: &str| world.oracle.is_let_go(uid) || world.oracle.is_let_go(&s.place.to_string());
            let orphaned = s
                .owner_uid
                .as_ref()
                .is_some_and(|uid| View::of(&world.api).key(uid).is_none() && by_hand(uid));
            s.place.namespace == NAMESPACE && (frozen || orphaned)
        })
        .map(|s| s.place.name)
        .collect();
    for name in foreign {
        world.delete("Secret", &name);
    }
}

fn apply_key(world: &mut World, key: usize) {
    if world.key(&key_name(key)).is_none() {
        let spec = spec(0, key);
        world.create_key(&key_name(key), &account_name(account_of(key)), &spec);
    }
}

fn restore_secret(world: &mut World, name: &str) {
    let place = secret_place(name);
    let Some(current) = world.object(&place) else { return };
    let key_id = |s: &Value| s["metadata"]["annotations"]["keywheel.dev/key-id"].clone();
    let older = (0..12)
        .filter_map(|back| world.api.with(|s| s.store.earlier(&place, back)))
        .find(|s| key_id(s) != key_id(&current) && s["metadata"]["uid"] == current["metadata"]["uid"]);
    if let Some(older) = older {
        let annotations = older["metadata"]["annotations"].clone();
        world.patch(
            "Secret",
            name,
            json!({ "data": older["data"], "metadata": { "annotations": annotations } }),
        );
    }
}

fn unique_id(world: &World, account: usize) -> Option<String> {
    world.iam.living(&account_name(account)).map(|record| record.account.unique_id.clone())
}

fn make_key(world: &mut World, account: usize) {
    let Some(unique_id) = unique_id(world, account) else { return };
    world.person("makes a key at the backend", |_, iam, now| {
        // An account that is full stays as it is.
        drop(iam.create_key(&unique_id, Maker::Person, now));
    });
}

fn end_key(world: &mut World, key: usize, delete: bool) {
    let active = world.object(&key_place(&key_name(key)));
    let active = active.and_then(|k| k["status"]["activeKeyId"].as_str().map(str::to_owned));
    let Some(id) = active else { return };
    let what = if delete { "deletes" } else { "disables" };
    world.person(&format!("{what} key {} at the backend", crate::iam::short(&id)), |_, iam, _| {
        if let Some(key) = iam.keys.get_mut(&id) {
            key.disabled = true;
            key.deleted = key.deleted || delete;
            key.ended_by_person = true;
        }
    });
}

fn ask(world: &mut World, key: usize, what: &str) {
    let annotation = format!("keywheel.dev/{what}");
    let at = format!("{:.0}", world.time.now());
    world.patch(KEY, &key_name(key), json!({ "metadata": { "annotations": { annotation: at } } }));
}

fn disable_account(world: &mut World, account: usize, disabled: bool) {
    let Some(unique_id) = unique_id(world, account) else { return };
    if world.iam.accounts[&unique_id].account.disabled == disabled {
        return;
    }
    world.person(&format!("disables account {account}: {disabled}"), |_, iam, _| {
        if let Some(record) = iam.accounts.get_mut(&unique_id) {
            record.account.disabled = disabled;
            record.touched_by_person = true;
        }
    });
}

fn switch_basic_auth(world: &mut World, account: usize) {
    let Some(unique_id) = unique_id(world, account).filter(|_| world.iam.can.basic_auth) else { return };
    world.person(&format!("switches basic auth of account {account}"), |_, iam, _| {
        if let Some(record) = iam.accounts.get_mut(&unique_id) {
            record.account.basic_auth = !record.account.basic_auth;
        }
    });
}

fn account_spec(world: &mut World, account: usize, spec: &Value) {
    world.patch("ServiceAccount", &account_name(account), json!({ "spec": spec }));
}

fn quota(world: &mut World, tight: bool) {
    let name = "few-secrets";
    if !tight {
        world.delete("ResourceQuota", name);
        return;
    }
    let secrets = world.api.with(|s| s.store.list("secrets", Some(NAMESPACE)).count());
    let object = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name },
        "spec": { "hard": { "count/secrets": secrets.to_string() } },
    });
    world.request(&Request::by_person(Verb::Create, resource("ResourceQuota"), NAMESPACE, "", object));
}

/// The operator's login is taken away, or brought back.
pub fn login(world: &mut World, there: bool) {
    let system = "keywheel-system";
    if there {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
            "stringData": { "key.json": "a login" },
        });
        world.request(&Request::by_person(Verb::Create, resource("Secret"), system, "", object));
        let touch = json!({ "metadata": { "annotations": { "touched": "1" } } });
        let verb = Verb::Patch(PatchFormat::Merge);
        world.request(&Request::by_person(verb, resource("ClusterIamBackend"), "", "default", touch));
    } else {
        world.request(&Request::by_person(Verb::Delete, resource("Secret"), system, "login", Value::Null));
    }
}
