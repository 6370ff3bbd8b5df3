//! What our login may do in its project.

use reqwest::Method;
use serde::Deserialize;

use super::Disruptive;
use crate::backend::{BackendError, Probed};

/// All that accounts, keys and memberships may ever need.
const NEEDED: &[&str] = &[
    "serviceaccount.create",
    "serviceaccount.read",
    "serviceaccount.update",
    "serviceaccount.delete",
    "serviceaccount.key.create",
    "serviceaccount.key.read",
    "serviceaccount.key.delete",
    "membership.create",
    "membership.read",
    "membership.update",
    "membership.delete",
];

#[derive(Deserialize)]
struct Granted {
    #[serde(default)]
    permissions: Vec<String>,
}

impl Disruptive {
    /// Asks what the login may do in the project: proves reachability and login, too.
    pub(super) async fn test_permissions(&self) -> Result<Probed, BackendError> {
        const CALL: &str = "permissions.list";
        let path = format!("projects/{}/permissions", self.facts.project);
        let answer = self.session.send::<Granted>(CALL, Method::GET, &path, &[], None).await?;
        let backend_time = answer.date.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
        let is_granted = |needed: &&str| answer.document.permissions.iter().any(|p| p == needed);
        let missing = NEEDED.iter().filter(|needed| !is_granted(needed));
        Ok(Probed { backend_time, missing_permissions: Some(missing.map(|&p| p.to_owned()).collect()) })
    }
}
