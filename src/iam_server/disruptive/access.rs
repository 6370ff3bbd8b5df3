//! Who may do what: the one role that an account has in a project, and the one in the organization, which counts in every
//! project. An account has none at first, not even in its own project.

use super::ORGANIZATION;
use super::errors::Error;
use super::model::{Account, Member, member_record};
use super::place::Place;
use super::roles::Role;
use super::route::{Call, Target};
use crate::iam_server::Server;
use crate::iam_server::store::{Ask, StoreError};

/// Lets a caller carry out a call, or says why not.
///
/// # Errors
/// [`Error::Missing`] for a project or an organization that is not there, [`Error::Forbidden`].
pub async fn check(server: &Server, caller: &Account, call: &Call) -> Result<(), Error> {
    let permission = call.operation.permission;
    let projects = server.settings.projects.clone();
    let (caller, target) = (caller.clone(), call.target.clone());
    server
        .store
        .read(move |store| {
            let allowed = match &target {
                Target::Accounts(project) | Target::Account(project, _) | Target::Key(project, ..) => {
                    let place = Place::Project(project.clone());
                    known(&projects, &place)?;
                    holds(store, &caller, &place, permission)?
                }
                Target::Place(place) | Target::Member(place, _) => {
                    known(&projects, place)?;
                    holds(store, &caller, place, permission)?
                }
                // Each project that the call comes to is looked at by itself; none at all is a refusal.
                Target::AllProjects => !among(store, &caller, &projects, permission)?.is_empty(),
                Target::Roles | Target::Role(_) => true,
            };
            if allowed { Ok(()) } else { Err(Error::Forbidden { permission }) }
        })
        .await
}

/// A place that this server has.
///
/// # Errors
/// [`Error::Missing`].
pub fn known(projects: &[String], place: &Place) -> Result<(), Error> {
    match place {
        Place::Project(id) if projects.contains(id) => Ok(()),
        Place::Organization(id) if id == ORGANIZATION => Ok(()),
        Place::Project(_) => Err(Error::Missing { what: "project" }),
        Place::Organization(_) => Err(Error::Missing { what: "organization" }),
    }
}

/// Whether an account has a permission in a place; whoever is logged in has the empty one.
///
/// # Errors
/// [`StoreError`].
pub fn holds(
    store: &impl Ask,
    caller: &Account,
    place: &Place,
    permission: &str,
) -> Result<bool, StoreError> {
    Ok(permission.is_empty() || held(store, caller, place)?.contains(&permission))
}

/// What an account may do in a place.
///
/// # Errors
/// [`StoreError`].
pub fn held(store: &impl Ask, caller: &Account, place: &Place) -> Result<Vec<&'static str>, StoreError> {
    let role = |place: &Place| {
        let member = store.record::<Member>(&member_record(place, &caller.id))?;
        Ok::<_, StoreError>(member.map(|member| member.role))
    };
    // The greater of the two has all that the other has.
    let above = role(&Place::Organization(ORGANIZATION.to_owned()))?;
    let greatest = role(place)?.max(above);
    Ok(greatest.into_iter().flat_map(Role::permissions).collect())
}

/// The projects in which an account has a permission.
///
/// # Errors
/// [`StoreError`].
pub fn among(
    store: &impl Ask,
    caller: &Account,
    projects: &[String],
    permission: &str,
) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for project in projects {
        if holds(store, caller, &Place::Project(project.clone()), permission)? {
            found.push(project.clone());
        }
    }
    Ok(found)
}
