//! What people do to the policy of the project.

use keywheel::backend::policies::{Binding, Policy};

use super::account_name;
use crate::iam::member;
use crate::world::World;

/// The role that people give an account by hand; no spec may list it.
pub(super) const BY_HAND: &str = "roles/owner";

/// Takes an account out of every binding.
pub(super) fn take(world: &mut World, account: usize) {
    edit(world, account, "takes away every role of", |policy, member| {
        policy.bindings.iter_mut().for_each(|binding| binding.members.retain(|m| m != member));
    });
}

/// Lets others into every binding that an account is in.
pub(super) fn join(world: &mut World, account: usize) {
    edit(world, account, "gives others the roles of", |policy, member| {
        for binding in
            policy.bindings.iter_mut().filter(|binding| binding.members.iter().any(|m| m == member))
        {
            let other = format!("user:joined-{}@example.com", binding.members.len());
            if !binding.members.contains(&other) {
                binding.members.insert(0, other);
            }
        }
        let other = Binding::new().set_role("roles/browser").set_members(["user:bob@example.com"]);
        policy.bindings.insert(0, other);
    });
}

/// Gives an account a role that its spec does not list.
pub(super) fn bind(world: &mut World, account: usize) {
    if world.iam.can.one_role {
        give(world, account);
        return;
    }
    edit(world, account, "gives a role by hand to", |policy, member| {
        for binding in policy.bindings.iter_mut().filter(|binding| binding.role == BY_HAND) {
            if !binding.members.iter().any(|m| m == member) {
                binding.members.push(member.to_owned());
            }
        }
    });
}

/// In place of the role that it has, where it can have one only.
fn give(world: &mut World, account: usize) {
    let name = account_name(account);
    let Some(unique_id) = world.iam.living(&name).map(|record| record.account.unique_id.clone()) else {
        return;
    };
    world.person(&format!("gives a role by hand to {name}"), |_, iam, now| {
        drop(iam.give(&unique_id, Some(BY_HAND), now));
    });
}

/// Takes away what people gave by hand, where it keeps others away.
pub(super) fn take_back(world: &mut World) {
    if !world.iam.can.one_role {
        return;
    }
    world.person("takes away every role that was given by hand", |_, iam, now| {
        iam.policy.edit(now, |policy| policy.bindings.retain(|binding| binding.role != BY_HAND));
    });
}

fn edit(world: &mut World, account: usize, what: &str, change: impl FnOnce(&mut Policy, &str)) {
    let name = account_name(account);
    let Some(email) = world.iam.living(&name).map(|record| record.account.email.clone()) else { return };
    world.person(&format!("{what} {name}"), |_, iam, now| {
        iam.policy.edit(now, |policy| change(policy, &member(&email)));
    });
}
