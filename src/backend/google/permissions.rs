//! What our login may do in the project.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::Google;
use crate::backend::{BackendError, Probed};
use crate::domain::Class;

const CALL: &str = "projects.testIamPermissions";

/// All that accounts and keys may ever need (documented with each method of IAM v1). What roles, services, last uses and
/// accounts that come back need beside it is told where somebody asks for them.
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
        let asked = self.send(CALL, self.http.post(url).json(&json!({ "permissions": NEEDED }))).await;
        let (granted, date): (Granted, _) = match asked {
            // Resource Manager is another service, which may be switched off. IAM has the time, too.
            Err(error) if matches!(error.class(), Class::Forbidden | Class::NotFound) => {
                return self.time_of_iam().await;
            }
            other => other?,
        };
        let backend_time = date.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
        let is_granted = |needed: &&str| granted.permissions.iter().any(|p| p == needed);
        let missing = NEEDED.iter().filter(|needed| !is_granted(needed));
        Ok(Probed { backend_time, missing_permissions: Some(missing.map(|&p| p.to_owned()).collect()) })
    }

    async fn time_of_iam(&self) -> Result<Probed, BackendError> {
        const CALL: &str = "accounts.list";
        let path = format!("v1/projects/{}/serviceAccounts?pageSize=1", self.facts.project);
        let (_, date): (IgnoredAny, _) = self.get(CALL, &path).await?;
        let backend_time = date.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
        Ok(Probed { backend_time, missing_permissions: None })
    }
}
