//! Whose account it is that was found: ours, another object's, or one that may be taken over.

use super::plan::Table;
use super::restoring::Contest;
use super::{Account, Grants, Next, Plan, noted};
use crate::api::v1alpha1::AdoptionPolicy;
use crate::domain::Reason;
use crate::domain::names::split_mark;

impl Table<'_> {
    /// Whether the account is this object's: it carries our mark, or was recorded where there is no room for one.
    pub(super) fn is_ours(&self, account: &Account, grants: &Grants) -> bool {
        if !grants.can.descriptions {
            return self.obs.status.unique_id.as_ref() == Some(&account.unique_id);
        }
        split_mark(&account.description).1 == Some(self.obs.owner_mark.as_str())
    }

    /// What keeps this object from having the account; `None`: it has it, or takes it over.
    pub(super) fn contended(&self, account: &Account, grants: &Grants, ours: bool) -> Option<Plan> {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        match &obs.status.unique_id {
            Some(known) if *known != account.unique_id => {
                let message = format!(
                    "{} is now another account ({}, was {known}). Delete this object and apply it again",
                    account.email, account.unique_id
                );
                return Some(self.stalled(Reason::AccountRecreated, message));
            }
            None if ours => {}
            None if self.restores(account) => match self.contested(account) {
                Contest::Nobody => {}
                Contest::Unread => return Some(Plan { next: Next::NeedSharers, ..self.keep() }),
                Contest::By(message) => return Some(self.stalled(Reason::AccountExists, message)),
            },
            None if mark.is_some() => {
                let message = format!(
                    "{} carries the mark of another ServiceAccount object, in this cluster or another: it is not adopted",
                    account.email
                );
                return Some(self.stalled(Reason::AccountExists, message));
            }
            None if self.is_noted(account, grants) => {}
            None if obs.spec.email.is_none() && obs.spec.adoption_policy == AdoptionPolicy::Never => {
                let also =
                    if grants.adoption { "" } else { ", and have the backend's tenants.adoption allow it" };
                let email = &account.email;
                let message = if noted::id(obs).is_some() {
                    format!(
                        "The annotation keywheel.dev/account-id says that this object had {email}. To take it up again set \
                         adoptionPolicy: IfExists{also}; to have another one made, take the annotation off"
                    )
                } else {
                    format!("{email} is already there. To take it over set adoptionPolicy: IfExists{also}")
                };
                return Some(self.stalled(Reason::AccountExists, message));
            }
            None if !grants.adoption => {
                let message = format!(
                    "{} is already there, and the backend's tenants.adoption does not let namespaces adopt accounts: have it set \
                     to true, or use an IamBackend",
                    account.email
                );
                return Some(self.stalled(Reason::AdoptionNotAllowed, message));
            }
            Some(_) | None => {}
        }
        if obs.status.unique_id.is_none() && !grants.can.descriptions {
            // There is no mark that would say so.
            match &obs.shared_with {
                None => return Some(Plan { next: Next::NeedSharers, ..self.keep() }),
                Some(others) if !others.is_empty() => {
                    let message = format!(
                        "{} is the account of other ServiceAccount objects: {}. Without an owner mark at the backend one object \
                         has an account; refer to that one, or delete it with deletionPolicy: Retain. On a copy take the \
                         annotation keywheel.dev/account-id off",
                        account.email,
                        others.join(", ")
                    );
                    return Some(self.stalled(Reason::AccountExists, message));
                }
                Some(_) => {}
            }
        }
        None
    }
}
