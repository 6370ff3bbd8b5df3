//! What roles allow: of Google's predefined roles those with a permission that this server asks for.
//!
//! Source: the reference of IAM roles and permissions. A role that is not in the table can be bound and allows nothing
//! here.

/// A role and its permissions; one that ends in `*` stands for all that begin so.
const ROLES: [(&str, &[&str]); 19] = [
    ("roles/owner", &["*"]),
    (
        "roles/editor",
        &[
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.disable",
            "iam.serviceAccounts.enable",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.undelete",
            "iam.serviceAccounts.update",
            "iam.serviceAccountKeys.*",
            "resourcemanager.projects.get",
            "serviceusage.*",
            "earthengine.*",
        ],
    ),
    (
        "roles/viewer",
        &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "iam.serviceAccountKeys.get",
            "iam.serviceAccountKeys.list",
            "resourcemanager.projects.get",
            "serviceusage.services.get",
            "serviceusage.services.list",
            "earthengine.config.get",
        ],
    ),
    ("roles/iam.serviceAccountAdmin", &["iam.serviceAccounts.*", "resourcemanager.projects.get"]),
    (
        "roles/iam.serviceAccountCreator",
        &[
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    (
        "roles/iam.serviceAccountViewer",
        &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccountKeys.get",
            "iam.serviceAccountKeys.list",
            "resourcemanager.projects.get",
        ],
    ),
    (
        "roles/iam.serviceAccountKeyAdmin",
        &[
            "iam.serviceAccountKeys.*",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    ("roles/iam.serviceAccountTokenCreator", &["iam.serviceAccounts.getAccessToken"]),
    ("roles/iam.workloadIdentityUser", &["iam.serviceAccounts.getAccessToken"]),
    (
        "roles/iam.securityAdmin",
        &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.setIamPolicy",
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ],
    ),
    (
        "roles/resourcemanager.projectIamAdmin",
        &[
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ],
    ),
    ("roles/browser", &["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"]),
    ("roles/serviceusage.serviceUsageAdmin", &["serviceusage.*"]),
    (
        "roles/serviceusage.serviceUsageConsumer",
        &["serviceusage.services.get", "serviceusage.services.list", "serviceusage.services.use"],
    ),
    ("roles/serviceusage.serviceUsageViewer", &["serviceusage.services.get", "serviceusage.services.list"]),
    ("roles/orgpolicy.policyViewer", &["orgpolicy.policy.get"]),
    (
        "roles/policyanalyzer.activityAnalysisViewer",
        &["policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query"],
    ),
    ("roles/earthengine.viewer", &["earthengine.computations.create", "earthengine.config.get"]),
    (
        "roles/earthengine.writer",
        &["earthengine.computations.create", "earthengine.config.get", "earthengine.assets.*"],
    ),
];

/// Whether who has a role has a permission.
pub fn allows(role: &str, permission: &str) -> bool {
    let granted = ROLES.iter().find(|(name, _)| *name == role).map_or(&[] as &[&str], |(_, granted)| granted);
    granted.iter().any(|grant| match grant.strip_suffix('*') {
        Some(prefix) => permission.starts_with(prefix),
        None => *grant == permission,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_allows_what_its_name_says() {
        assert!(allows("roles/owner", "iam.serviceAccounts.setIamPolicy"));
        assert!(allows("roles/iam.serviceAccountKeyAdmin", "iam.serviceAccountKeys.upload"));
        assert!(!allows("roles/iam.serviceAccountKeyAdmin", "iam.serviceAccounts.delete"));
        assert!(!allows("roles/editor", "iam.serviceAccounts.setIamPolicy"));
        assert!(!allows("roles/unheard.of", "iam.serviceAccounts.get"));
    }

    #[test]
    fn every_role_is_there_once() {
        let names: std::collections::BTreeSet<&str> = ROLES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ROLES.len());
    }
}
