//! The roles, and what each allows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::errors::Error;
use super::pages::Page;
use super::place::Place;
use crate::iam_server::wire::query::Query;

/// A role; each allows what those before it allow, and more.
///
/// The names of the permissions, and those of the first two roles, are in the fixtures of the vendor's library; that accounts
/// and members are an administrator's is in the vendor's documentation. The rest is assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Looks at a project.
    ProjectUser,
    /// Works with its devices.
    ProjectDeveloper,
    /// Manages it.
    ProjectAdmin,
    /// Manages an organization, and all projects in it.
    OrganizationAdmin,
}

/// Each permission with the least role that has it.
const PERMISSIONS: [(&str, Role); 31] = [
    ("dataconnector.create", Role::ProjectDeveloper),
    ("dataconnector.read", Role::ProjectUser),
    ("dataconnector.update", Role::ProjectDeveloper),
    ("dataconnector.delete", Role::ProjectDeveloper),
    ("device.read", Role::ProjectUser),
    ("device.update", Role::ProjectDeveloper),
    ("device.transfer", Role::ProjectAdmin),
    ("emulator.create", Role::ProjectDeveloper),
    ("emulator.read", Role::ProjectUser),
    ("emulator.update", Role::ProjectDeveloper),
    ("emulator.delete", Role::ProjectDeveloper),
    ("membership.create", Role::ProjectAdmin),
    ("membership.read", Role::ProjectUser),
    ("membership.update", Role::ProjectAdmin),
    ("membership.delete", Role::ProjectAdmin),
    ("organization.read", Role::OrganizationAdmin),
    ("organization.update", Role::OrganizationAdmin),
    ("project.create", Role::OrganizationAdmin),
    ("project.read", Role::ProjectUser),
    ("project.update", Role::ProjectAdmin),
    ("project.delete", Role::OrganizationAdmin),
    ("sensor.read", Role::ProjectUser),
    ("sensor.update", Role::ProjectDeveloper),
    ("sensor.transfer", Role::ProjectAdmin),
    ("serviceaccount.create", Role::ProjectAdmin),
    ("serviceaccount.read", Role::ProjectUser),
    ("serviceaccount.update", Role::ProjectAdmin),
    ("serviceaccount.delete", Role::ProjectAdmin),
    ("serviceaccount.key.create", Role::ProjectAdmin),
    ("serviceaccount.key.read", Role::ProjectUser),
    ("serviceaccount.key.delete", Role::ProjectAdmin),
];

impl Role {
    /// All.
    pub const ALL: [Self; 4] =
        [Self::ProjectUser, Self::ProjectDeveloper, Self::ProjectAdmin, Self::OrganizationAdmin];

    /// As requests and answers name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProjectUser => "roles/project.user",
            Self::ProjectDeveloper => "roles/project.developer",
            Self::ProjectAdmin => "roles/project.admin",
            Self::OrganizationAdmin => "roles/organization.admin",
        }
    }

    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether a member of this place can have it.
    pub fn fits(self, place: &Place) -> bool {
        matches!(place, Place::Organization(_)) == (self == Self::OrganizationAdmin)
    }

    /// What it allows.
    pub fn permissions(self) -> impl Iterator<Item = &'static str> {
        PERMISSIONS.into_iter().filter(move |(_, least)| *least <= self).map(|(permission, _)| permission)
    }

    fn shown(self) -> Value {
        let (display_name, description) = match self {
            Self::ProjectUser => ("Project user", "Looks at everything in a project, and changes nothing."),
            Self::ProjectDeveloper => {
                ("Project developer", "Changes devices and data connectors of a project.")
            }
            Self::ProjectAdmin => {
                ("Project administrator", "Manages a project, its accounts and its members.")
            }
            Self::OrganizationAdmin => {
                ("Organization administrator", "Manages an organization and every project in it.")
            }
        };
        json!({
            "name": self.name(),
            "displayName": display_name,
            "description": description,
            "permissions": self.permissions().collect::<Vec<_>>(),
        })
    }
}

/// `roles.list`.
///
/// # Errors
/// [`Error::Shared`] for a page size that is none.
pub fn list(query: &Query) -> Result<Value, Error> {
    let page = Page::of(query, "roles")?;
    let (roles, next) = page.cut(page.rest(Role::ALL.to_vec(), |role| role.name()), |role| role.name());
    let roles: Vec<Value> = roles.into_iter().map(Role::shown).collect();
    Ok(json!({ "roles": roles, "nextPageToken": next }))
}

/// `roles.get`.
///
/// # Errors
/// [`Error::Missing`].
pub fn get(role: &str) -> Result<Value, Error> {
    let role = Role::named(&format!("roles/{role}")).ok_or(Error::Missing { what: "role" })?;
    Ok(role.shown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_allows_what_the_one_before_allows() {
        for (lesser, greater) in Role::ALL.into_iter().zip(Role::ALL.into_iter().skip(1)) {
            let greater: Vec<&str> = greater.permissions().collect();
            let lesser: Vec<&str> = lesser.permissions().collect();
            assert!(lesser.iter().all(|permission| greater.contains(permission)));
            assert!(lesser.len() < greater.len());
        }
    }

    #[test]
    fn accounts_are_managed_by_administrators_only() {
        for permission in ["serviceaccount.create", "serviceaccount.key.create", "membership.update"] {
            assert!(Role::ProjectAdmin.permissions().any(|held| held == permission), "{permission}");
            assert!(!Role::ProjectDeveloper.permissions().any(|held| held == permission), "{permission}");
        }
        assert!(Role::ProjectUser.permissions().any(|held| held == "serviceaccount.key.read"));
    }

    #[test]
    fn every_method_needs_a_permission_that_there_is() {
        for operation in
            super::super::Operation::ALL.iter().filter(|operation| !operation.permission.is_empty())
        {
            assert!(
                PERMISSIONS.iter().any(|(permission, _)| *permission == operation.permission),
                "{operation:?}"
            );
        }
    }

    #[test]
    fn roles_of_projects_are_not_roles_of_organizations() {
        let (project, organization) = (Place::Project("p".into()), Place::Organization("o".into()));
        for role in Role::ALL {
            assert_ne!(role.fits(&project), role.fits(&organization));
            assert_eq!(Role::named(role.name()), Some(role));
        }
        assert!(Role::OrganizationAdmin.fits(&organization));
    }
}
