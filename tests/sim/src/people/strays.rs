//! What people do to accounts that nobody has recorded: what a lost answer made looks like one that is free.

use super::bindings::BY_HAND;
use crate::actor::Kind;
use crate::iam::{AccountRecord, Call, Key, Maker};
use crate::world::World;

/// How a person uses an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// With a key on it.
    Key,
    /// With a role.
    Role,
}

/// Uses each of them.
pub(super) fn take_up(world: &mut World, how: Use) {
    for unique_id in strays(world) {
        world.person(&format!("uses account {unique_id} ({how:?})"), |_, iam, now| match how {
            Use::Key => drop(iam.create_key(&unique_id, Maker::Person, now)),
            Use::Role => drop(iam.give(&unique_id, Some(BY_HAND), now)),
        });
    }
}

/// Deletes each of them that people use, or uses it no more.
pub(super) fn leave(world: &mut World, delete: bool) {
    let is_theirs = |unique_id: &String| {
        let theirs = |key: &Key| key.account == *unique_id && key.made_by == Maker::Person && !key.deleted;
        world.iam.keys.values().any(theirs)
            || !world.iam.roles_of(unique_id, world.iam.policy.now()).is_empty()
    };
    for unique_id in strays(world).into_iter().filter(is_theirs).collect::<Vec<_>>() {
        let what = if delete { "deletes" } else { "uses no more" };
        world.person(&format!("{what} account {unique_id}"), |_, iam, now| {
            let theirs = |key: &&mut Key| key.account == unique_id && key.made_by == Maker::Person;
            iam.keys.values_mut().filter(theirs).for_each(|key| key.deleted = true);
            drop(iam.give(&unique_id, None, now));
            if delete {
                drop(iam.apply(&Call::DeleteAccount { account: unique_id }, now));
            }
        });
    }
}

/// Accounts of attempts that no object has recorded, by unique id.
pub fn strays(world: &World) -> Vec<String> {
    let recorded: Vec<String> = world.api.with(|s| {
        let objects = s.store.list(Kind::Account.stored(), None);
        objects.filter_map(|(_, o)| o.pointer("/status/uniqueId")?.as_str().map(str::to_owned)).collect()
    });
    let is_stray = |record: &&AccountRecord| {
        !record.deleted && record.made_for.is_some() && !recorded.contains(&record.account.unique_id)
    };
    world.iam.accounts.values().filter(is_stray).map(|record| record.account.unique_id.clone()).collect()
}
