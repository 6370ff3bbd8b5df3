//! Which roles a spec asks for, and which of them it may.

use super::plan::Table;
use super::{Account, Grants};
use crate::api::v1alpha1::{BoundRole, RoleBinding, ServiceAccountSpec};
use crate::domain::{Reason, names};

/// All that a spec asks for.
pub(super) fn asked(spec: &ServiceAccountSpec) -> Vec<RoleBinding> {
    let memberships = spec.disruptive.iter().flat_map(|own| &own.memberships);
    let memberships = memberships.map(|membership| RoleBinding {
        role: membership.role.clone(),
        resource: Some(membership.resource()),
        condition: None,
    });
    spec.roles.iter().cloned().chain(memberships).collect()
}

/// Why a role may not be asked for.
pub(super) fn refused(roles: &[RoleBinding], grants: &Grants) -> Option<(Reason, String)> {
    roles.iter().find_map(|binding| refusal(binding, grants)).or_else(|| one_of_two(roles, grants))
}

/// Two roles where there can be one.
pub(super) fn one_of_two(roles: &[RoleBinding], grants: &Grants) -> Option<(Reason, String)> {
    let project = format!("projects/{}", grants.project);
    let on = |binding: &RoleBinding| binding.resource.clone().unwrap_or_else(|| project.clone());
    let second = |(at, binding): (usize, &RoleBinding)| {
        let mut before = roles.iter().take(at);
        before.find(|first| on(first) == on(binding) && first.role != binding.role).map(|first| {
            let (first, second) = (&first.role, &binding.role);
            format!(
                "{first} and {second} are asked for on {}, where an account has one role: keep one of them",
                on(binding)
            )
        })
    };
    let message = roles.iter().enumerate().find_map(second).filter(|_| grants.can.one_role)?;
    Some((Reason::InvalidSpec, message))
}

fn refusal(binding: &RoleBinding, grants: &Grants) -> Option<(Reason, String)> {
    let project = format!("projects/{}", grants.project);
    let role = &binding.role;
    let resource = binding.resource.as_ref().unwrap_or(&project);
    // An account can be a member of other projects and organizations only where the backend has members.
    let elsewhere = *resource != project && !resource.starts_with(&format!("{project}/"));
    if elsewhere && !grants.can.one_role {
        let message =
            format!("{role} is asked for on {resource}; this backend's accounts get roles within {project}");
        return Some((Reason::ResourceNotAllowed, message));
    }
    let allowed = grants.roles.as_ref()?;
    if *resource != project {
        let message = format!(
            "{role} is asked for on {resource}: a ClusterIamBackend gives roles on its project only. Use an IamBackend of \
             this namespace"
        );
        return Some((Reason::ResourceNotAllowed, message));
    }
    (!allowed.iter().any(|pattern| matches(pattern, role))).then(|| {
        let message = format!(
            "The backend's tenants.roles does not let namespaces ask for {role}; it lists {}",
            if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
        );
        (Reason::RoleNotAllowed, message)
    })
}

/// A star at the end of a pattern stands for anything.
pub(super) fn matches(pattern: &str, role: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == role, |beginning| role.starts_with(beginning))
}

impl Table<'_> {
    /// What the spec asks for and may, each once, on what it is.
    pub(super) fn wanted_roles(&self, account: &Account, grants: &Grants) -> Vec<BoundRole> {
        let project = names::project_of(&account.name).unwrap_or_default();
        let mut wanted: Vec<BoundRole> = Vec::new();
        for binding in asked(&self.obs.spec).iter().filter(|binding| refusal(binding, grants).is_none()) {
            let bound = BoundRole {
                role: binding.role.clone(),
                resource: binding.resource.clone().unwrap_or_else(|| format!("projects/{project}")),
                condition: binding.condition.clone(),
            };
            if !wanted.contains(&bound) {
                wanted.push(bound);
            }
        }
        wanted
    }
}
