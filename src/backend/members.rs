//! Members: an account is one of a project or an organization with exactly one role. No write says which role it replaces, so
//! each change reads first, and leaves a role alone that is none of those that it may take away.

use async_trait::async_trait;

use super::BackendError;
use super::policies::Rebound;
use crate::api::v1alpha1::BoundRole;
use crate::defect;
use crate::domain::account::{Membership, PolicyChange};

/// Where members are; each call is one request.
#[async_trait]
pub trait Members: Sync {
    /// The roles of a member; none if it is no member. A member's id is the account's.
    async fn read_member(&self, resource: &str, id: &str) -> Result<Vec<String>, BackendError>;

    /// Makes an account a member.
    async fn create_member(&self, resource: &str, email: &str, role: &str) -> Result<(), BackendError>;

    /// Gives a member of a project another role.
    async fn replace_role(&self, resource: &str, id: &str, role: &str) -> Result<(), BackendError>;

    /// Ends a membership.
    async fn delete_member(&self, resource: &str, id: &str) -> Result<(), BackendError>;
}

/// What an account is in a project (`projects/ID`) or an organization (`organizations/ID`).
pub async fn membership(members: &dyn Members, resource: &str, id: &str) -> Result<Membership, BackendError> {
    Ok(member_of(resource, members.read_member(resource, id).await?))
}

/// One write at most. An organization changes no member's role: the membership goes, and the next change makes it anew. None:
/// `still` did not hold any more when it was to be written.
pub async fn change(
    members: &dyn Members,
    change: &PolicyChange,
    still: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Rebound>, BackendError> {
    let (resource, id) = (change.resource.as_str(), change.unique_id.as_str());
    let told = membership(members, resource, id).await?;
    let held = told.held.first();
    let wanted = change.add.first();
    let removes =
        |role: &BoundRole| change.remove.iter().any(|gone| gone.role == role.role) || defect!(MemberTaken);
    match (held, wanted) {
        (Some(held), Some(wanted)) if held.role == wanted.role => {
            return Ok(Some(Rebound { told, written: false }));
        }
        (Some(held), Some(_)) if !removes(held) => {
            return Err(BackendError::OneRole { resource: resource.to_owned(), held: held.role.clone() });
        }
        (Some(held), None) if !removes(held) => return Ok(Some(Rebound { told, written: false })),
        (None, None) => return Ok(Some(Rebound { told, written: false })),
        _ => {}
    }
    if !still() {
        return Ok(None);
    }
    let after = match (held, wanted) {
        (None, Some(wanted)) => {
            members.create_member(resource, &change.email, &wanted.role).await?;
            vec![wanted.role.clone()]
        }
        (Some(_), Some(wanted)) if resource.starts_with("projects/") => {
            members.replace_role(resource, id, &wanted.role).await?;
            vec![wanted.role.clone()]
        }
        _ => {
            members.delete_member(resource, id).await?;
            Vec::new()
        }
    };
    Ok(Some(Rebound { told: member_of(resource, after), written: true }))
}

fn member_of(resource: &str, roles: Vec<String>) -> Membership {
    let bound = |role| BoundRole { role, resource: resource.to_owned(), condition: None };
    Membership { held: roles.into_iter().map(bound).collect(), ghosts: Vec::new() }
}
