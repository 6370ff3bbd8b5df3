//! What our login may do in the project.

use serde::Deserialize;
use serde_json::json;

use super::Google;
use crate::backend::{BackendError, Probed};

const CALL: &str = "projects.testIamPermissions";

/// All that the operator may ever need on an account (documented with each method of IAM v1).
const NEEDED: &[&str] = &[
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.update",
    "iam.serviceAccounts.enable",
    "iam.serviceAccounts.disable",
    "iam.serviceAccounts.delete",
    "iam.serviceAccountKeys.list",
    "iam.serviceAccountKeys.get",
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.enable",
    "iam.serviceAccountKeys.disable",
    "iam.serviceAccountKeys.delete",
];

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    permissions: Vec<String>,
}

impl Google {
    /// Asks what of that the login may do on the whole project: needs no permission itself, and changes nothing.
    pub(super) async fn test_permissions(&self) -> Result<Probed, BackendError> {
        let url = format!(
            "{}/v3/projects/{}:testIamPermissions",
            self.endpoints.resource_manager, self.facts.project
        );
        let (granted, date): (Granted, _) =
            self.send(CALL, self.http.post(url).json(&json!({ "permissions": NEEDED }))).await?;
        let backend_time = date.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
        let is_granted = |needed: &&str| granted.permissions.iter().any(|p| p == needed);
        let missing = NEEDED.iter().filter(|needed| !is_granted(needed));
        Ok(Probed { backend_time, missing_permissions: Some(missing.map(|&p| p.to_owned()).collect()) })
    }
}
