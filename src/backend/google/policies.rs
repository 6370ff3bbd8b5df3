//! Policies: who has which role on a project or an account. A policy is replaced as a whole, so each change reads it, changes
//! only what it must, and hands back its etag: who was faster wins, and the other one is refused (409).

use google_cloud_iam_v1::model::{Binding, GetPolicyOptions, Policy};
use google_cloud_type::model::Expr;

use super::Google;
use crate::api::v1alpha1::{BoundRole, RoleCondition};
use crate::backend::BackendError;
use crate::domain::account::{Membership, PolicyChange};

/// The only version that has conditions: a policy that is read with a lower one may lose them (documented).
const VERSION: i32 = 3;

impl Google {
    pub(super) async fn membership(
        &self,
        resource: &str,
        email: &str,
        unique_id: &str,
    ) -> Result<Membership, BackendError> {
        Ok(view(&self.policy(resource).await?, resource, email, unique_id))
    }

    /// What it says already is not written.
    pub(super) async fn rebind(
        &self,
        change: &PolicyChange,
        still: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Membership>, BackendError> {
        let seen = |policy: &Policy| view(policy, &change.resource, &change.email, &change.unique_id);
        let policy = self.policy(&change.resource).await?;
        let changed = changed(policy.clone(), change);
        if changed.bindings == policy.bindings {
            return Ok(Some(seen(&policy)));
        }
        if policy.etag.is_empty() {
            // It would be written over what somebody else writes now.
            return Err(BackendError::Incomplete { call: "getIamPolicy", what: "etag" });
        }
        if !still() {
            return Ok(None);
        }
        Ok(Some(seen(&self.set_policy(&change.resource, changed.set_version(VERSION)).await?)))
    }

    async fn policy(&self, resource: &str) -> Result<Policy, BackendError> {
        let options = GetPolicyOptions::new().set_requested_policy_version(VERSION);
        if resource.contains("/serviceAccounts/") {
            let request = self.iam.get_iam_policy().set_resource(resource).set_options(options);
            self.within("accounts.getIamPolicy", self.once(request).send()).await
        } else {
            let request = self.projects.get_iam_policy().set_resource(resource).set_options(options);
            self.within("projects.getIamPolicy", self.once(request).send()).await
        }
    }

    async fn set_policy(&self, resource: &str, policy: Policy) -> Result<Policy, BackendError> {
        if resource.contains("/serviceAccounts/") {
            let request = self.iam.set_iam_policy().set_resource(resource).set_policy(policy);
            self.within("accounts.setIamPolicy", self.once(request).send()).await
        } else {
            let request = self.projects.set_iam_policy().set_resource(resource).set_policy(policy);
            self.within("projects.setIamPolicy", self.once(request).send()).await
        }
    }
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
    use super::*;

    const RESOURCE: &str = "projects/p";

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
