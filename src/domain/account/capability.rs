//! What a spec asks for and the backend lacks: refused before anything is made.

use crate::api::v1alpha1::{AccountDeletionPolicy, AdoptionPolicy, ServiceAccountSpec, UnmanagedKeys};
use crate::domain::{Capabilities, Reason};

/// What is lacking, by the name of its field, and what to do.
pub(super) fn lacking(
    spec: &ServiceAccountSpec,
    can: &Capabilities,
    recorded: bool,
) -> Option<(Reason, String)> {
    let named = spec.account_id.is_some() || spec.email.is_some();
    let asked = [
        (
            !recorded
                && spec.account_id.is_some()
                && !can.chosen_ids
                && spec.adoption_policy == AdoptionPolicy::Never,
            "The backend chooses the ids of its accounts: remove accountId and have one made, or set adoptionPolicy: \
             Required to adopt the one of that id",
        ),
        (
            !recorded && !named && !can.chosen_ids && spec.adoption_policy == AdoptionPolicy::Required,
            "The backend chooses the ids of its accounts: name the one to adopt by accountId or email, or remove \
             adoptionPolicy and have one made",
        ),
        (spec.undelete.is_some() && !can.undelete, "The backend brings no account back: remove undelete"),
        (
            spec.description.is_some() && !can.descriptions,
            "Accounts of the backend have no description: remove description",
        ),
        (spec.disabled && !can.disable_accounts, "The backend cannot disable an account: remove disabled"),
        (
            spec.deletion_policy == Some(AccountDeletionPolicy::Disable) && !can.disable_accounts,
            "The backend cannot disable an account: set deletionPolicy: Delete or Retain",
        ),
        (
            spec.unmanaged_keys == UnmanagedKeys::Disable && !can.disable_keys,
            "The backend cannot disable a key: set unmanagedKeys: Report or Delete",
        ),
        (
            spec.roles.iter().any(|role| role.condition.is_some()) && !can.conditional_roles,
            "Roles of the backend hold always: remove condition from roles",
        ),
        (!spec.services.is_empty() && !can.services, "The backend has no services: remove services"),
        (
            spec.public_keys.is_some() && !can.public_keys,
            "Keys of the backend have no public half: remove publicKeys",
        ),
        (
            spec.federation.is_some() && !can.federation,
            "The backend believes no tokens of others: remove federation",
        ),
        (
            spec.disruptive.is_some() && !can.basic_auth,
            "The backend is not Disruptive Technologies: remove disruptive",
        ),
    ];
    let (_, message) = asked.into_iter().find(|(lacking, _)| *lacking)?;
    Some((Reason::CapabilityMissing, message.to_owned()))
}
