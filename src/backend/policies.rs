//! Policies: who has which role on a project or an account. A policy is replaced as a whole, so each change reads it, changes
//! only what it must, and hands back its etag: who was faster wins, and the other one is refused (409).

use async_trait::async_trait;
pub use google_cloud_iam_v1::model::{Binding, Policy};
use google_cloud_type::model::Expr;

use super::BackendError;
use crate::api::v1alpha1::{BoundRole, RoleCondition};
use crate::defect;
use crate::domain::account::{Membership, PolicyChange};

/// The only version that has conditions: a policy that is read with a lower one may lose them (documented).
pub const POLICY_VERSION: i32 = 3;

/// Where policies are; each call is one request.
#[async_trait]
pub trait Policies: Sync {
    /// The policy of a resource.
    async fn read_policy(&self, resource: &str) -> Result<Policy, BackendError>;

    /// Replaces the policy of a resource if it is the one of this etag. The answer is what it then is.
    async fn write_policy(&self, resource: &str, policy: Policy) -> Result<Policy, BackendError>;
}

/// A policy that says what a change asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebound {
    /// What it says of the account.
    pub told: Membership,
    /// Whether it was written: else it was only read, and a read may show what was before.
    pub written: bool,
}

/// What the policy of a resource says of an account.
pub async fn membership(
    policies: &dyn Policies,
    resource: &str,
    email: &str,
    unique_id: &str,
) -> Result<Membership, BackendError> {
    Ok(view(&policies.read_policy(resource).await?, resource, email, unique_id))
}

/// Reads a policy, changes it, and tells what it then says. What it says already is not written. None: `still` did not hold any
/// more when it was to be written.
pub async fn rebind(
    policies: &dyn Policies,
    change: &PolicyChange,
    still: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Rebound>, BackendError> {
    let seen = |policy: &Policy| view(policy, &change.resource, &change.email, &change.unique_id);
    let policy = policies.read_policy(&change.resource).await?;
    let mut changed = changed(policy.clone(), change);
    if changed.bindings == policy.bindings {
        return Ok(Some(Rebound { told: seen(&policy), written: false }));
    }
    if policy.etag.is_empty() {
        // It would be written over what somebody else writes now.
        return Err(BackendError::Incomplete { call: "getIamPolicy", what: "etag" });
    }
    if !still() {
        return Ok(None);
    }
    if defect!(PolicyBlind) {
        changed.etag.clear();
    }
    let answer = policies.write_policy(&change.resource, changed.set_version(POLICY_VERSION)).await?;
    Ok(Some(Rebound { told: seen(&answer), written: true }))
}

fn member(email: &str) -> String {
    format!("serviceAccount:{email}")
}

/// How a policy shows this account once it was deleted.
fn ghost(email: &str, unique_id: &str) -> String {
    format!("deleted:serviceAccount:{email}?uid={unique_id}")
}

fn view(policy: &Policy, resource: &str, email: &str, unique_id: &str) -> Membership {
    let having = |member: &str| -> Vec<BoundRole> {
        let bindings = policy.bindings.iter().filter(|b| b.members.iter().any(|m| m == member));
        bindings.map(|binding| bound(binding, resource)).collect()
    };
    Membership { held: having(&member(email)), ghosts: having(&ghost(email, unique_id)) }
}

fn bound(binding: &Binding, resource: &str) -> BoundRole {
    let condition = binding.condition.as_ref().map(|expr| RoleCondition {
        title: expr.title.clone(),
        description: expr.description.clone(),
        expression: expr.expression.clone(),
    });
    BoundRole { role: binding.role.clone(), resource: resource.to_owned(), condition }
}

/// The policy with the change: every other member, binding, condition and audit setting as it was.
fn changed(mut policy: Policy, change: &PolicyChange) -> Policy {
    let (member, ghost) = (member(&change.email), ghost(&change.email, &change.unique_id));
    let is = |binding: &Binding, roles: &[BoundRole]| roles.contains(&bound(binding, &change.resource));
    for binding in &mut policy.bindings {
        if is(binding, &change.remove) {
            binding.members.retain(|m| *m != member && *m != ghost);
        }
    }
    for role in &change.add {
        match policy.bindings.iter_mut().find(|b| bound(b, &change.resource) == *role) {
            Some(binding) if binding.members.contains(&member) => {}
            Some(binding) => binding.members.push(member.clone()),
            None => policy.bindings.push(binding(role, &member)),
        }
    }
    // A binding without members is refused.
    policy.bindings.retain(|binding| !binding.members.is_empty());
    policy
}

fn binding(role: &BoundRole, member: &str) -> Binding {
    let binding = Binding::new().set_role(&role.role).set_members([member]);
    match &role.condition {
        None => binding,
        Some(condition) => binding.set_condition(
            Expr::new()
                .set_title(&condition.title)
                .set_description(&condition.description)
                .set_expression(&condition.expression),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const RESOURCE: &str = "projects/p";

    /// A policy on the other side, and what was written over it.
    struct There(Policy, Mutex<Vec<Policy>>);

    #[async_trait]
    impl Policies for There {
        async fn read_policy(&self, _: &str) -> Result<Policy, BackendError> {
            Ok(self.0.clone())
        }

        async fn write_policy(&self, _: &str, policy: Policy) -> Result<Policy, BackendError> {
            self.1.lock().unwrap().push(policy.clone());
            Ok(policy)
        }
    }

    /// What comes of a change, and what was written.
    async fn rebound(
        policy: Policy,
        change: &PolicyChange,
        still: bool,
    ) -> (Result<Option<Rebound>, BackendError>, Vec<Policy>) {
        let there = There(policy, Mutex::default());
        let outcome = rebind(&there, change, &|| still).await;
        (outcome, there.1.into_inner().unwrap())
    }

    #[tokio::test]
    async fn only_what_differs_is_written_with_its_etag_and_in_time() {
        let (viewer, held) = (role("roles/viewer", None), members("roles/viewer", &["serviceAccount:a@p"]));
        let empty = Policy::new().set_etag("e1");
        let add = change(std::slice::from_ref(&viewer), &[]);
        let told = |written| Rebound {
            told: Membership { held: vec![viewer.clone()], ghosts: Vec::new() },
            written,
        };

        let (outcome, written) = rebound(empty.clone(), &add, true).await;
        assert_eq!(outcome.unwrap(), Some(told(true)));
        let [policy] = &written[..] else { panic!("{written:?}") };
        assert_eq!(
            (&policy.etag[..], policy.version, &policy.bindings),
            (&b"e1"[..], 3, &vec![held.clone()])
        );

        let (outcome, written) = rebound(empty.clone().set_bindings([held]), &add, true).await;
        assert_eq!((outcome.unwrap(), written), (Some(told(false)), Vec::new()), "it is only read");

        let (outcome, written) = rebound(empty, &add, false).await;
        assert_eq!((outcome.unwrap(), written), (None, Vec::new()), "too late");

        let (outcome, written) = rebound(Policy::new(), &add, true).await;
        assert!(matches!(outcome, Err(BackendError::Incomplete { what: "etag", .. })) && written.is_empty());
    }

    fn role(name: &str, expression: Option<&str>) -> BoundRole {
        let condition = expression.map(|expression| RoleCondition {
            title: "until".to_owned(),
            description: String::new(),
            expression: expression.to_owned(),
        });
        BoundRole { role: name.to_owned(), resource: RESOURCE.to_owned(), condition }
    }

    fn change(add: &[BoundRole], remove: &[BoundRole]) -> PolicyChange {
        PolicyChange {
            resource: RESOURCE.to_owned(),
            email: "a@p".to_owned(),
            unique_id: "1".to_owned(),
            add: add.to_vec(),
            remove: remove.to_vec(),
        }
    }

    fn members(name: &str, members: &[&str]) -> Binding {
        Binding::new().set_role(name).set_members(members.iter().copied())
    }

    #[test]
    fn only_our_member_comes_and_goes() {
        let theirs = members("roles/viewer", &["user:b@x", "serviceAccount:a@p"]);
        let conditional = binding(&role("roles/viewer", Some("true")), "user:c@x");
        let policy = Policy::new().set_etag("e1").set_bindings([theirs, conditional.clone()]);
        let add = [role("roles/viewer", Some("true")), role("roles/editor", None)];
        let after = changed(policy, &change(&add, &[role("roles/viewer", None)]));
        assert_eq!(after.etag, "e1");
        assert_eq!(after.bindings[0], members("roles/viewer", &["user:b@x"]));
        assert_eq!(after.bindings[1].members, ["user:c@x", "serviceAccount:a@p"]);
        assert_eq!(after.bindings[1].condition, conditional.condition);
        assert_eq!(after.bindings[2], members("roles/editor", &["serviceAccount:a@p"]));
        assert_eq!(changed(after.clone(), &change(&add, &[])), after, "a second time changes nothing");
    }

    #[test]
    fn a_binding_that_nobody_has_goes_and_of_ghosts_only_our_own() {
        let (ghost, other) = ("deleted:serviceAccount:a@p?uid=1", "deleted:serviceAccount:a@p?uid=11");
        let policy = Policy::new().set_bindings([
            members("roles/viewer", &["serviceAccount:a@p"]),
            members("roles/editor", &[ghost, "serviceAccount:ba@p", other]),
            members("roles/owner", &[ghost]),
        ]);
        let seen = view(&policy, RESOURCE, "a@p", "1");
        assert_eq!(seen.held, [role("roles/viewer", None)]);
        assert_eq!(seen.ghosts, [role("roles/editor", None), role("roles/owner", None)]);
        let remove = [role("roles/viewer", None), role("roles/editor", None)];
        let after = changed(policy, &change(&[], &remove));
        let kept = ["serviceAccount:ba@p", other];
        assert_eq!(after.bindings, [members("roles/editor", &kept), members("roles/owner", &[ghost])]);
    }
}
