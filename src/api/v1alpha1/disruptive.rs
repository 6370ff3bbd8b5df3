//! Disruptive Technologies: the backend, and what an account has there beside its keys.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretAuth;

/// Disruptive Technologies, as a cluster administrator configures it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.projectId == oldSelf.projectId").message("projectId is immutable"))]
#[serde(rename_all = "camelCase")]
pub struct ClusterDisruptive {
    /// Id of the project in which accounts are made, as in the address of Studio. Immutable.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9][-a-z0-9]*$"))]
    pub project_id: String,

    /// How the operator logs in: with a file as the vendor's client reads it from `DT_CREDENTIALS_FILE`.
    pub auth: SecretAuth,

    /// Other addresses than the vendor's own, such as those of a test server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<DisruptiveEndpoints>,
}

/// Disruptive Technologies, as a namespace's owner configures it: at the vendor's own addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.projectId == oldSelf.projectId").message("projectId is immutable"))]
#[serde(rename_all = "camelCase")]
pub struct Disruptive {
    /// Id of the project in which accounts are made, as in the address of Studio. Immutable.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9][-a-z0-9]*$"))]
    pub project_id: String,

    /// How the operator logs in: with a file as the vendor's client reads it from `DT_CREDENTIALS_FILE`.
    pub auth: SecretAuth,
}

/// Addresses; those that are not set are the vendor's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.api) ? self.api : '', has(self.token) ? self.token : '']\
    .all(u, u == '' || (isURL(u) && url(u).getScheme() in ['http', 'https']))").message("endpoints must be http or https URLs"))]
#[serde(rename_all = "camelCase")]
pub struct DisruptiveEndpoints {
    /// The API. Default: `https://api.disruptive-technologies.com/v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub api: Option<String>,

    /// The token endpoint, at which keys are proved. Default: `https://identity.disruptive-technologies.com/oauth2/token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub token: Option<String>,
}

/// What an account has at Disruptive Technologies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptiveAccount {
    /// Whether its keys are let in by basic auth, too: key id and secret with every request. New keys are then proved both ways.
    /// Default: not, and an adopted account keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<bool>,

    /// Its roles: one in each project or organization. A new account has none, not even in its own project. They are looked
    /// after as `roles` are, which may name the one in the backend's own project. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub memberships: Vec<DisruptiveMembership>,
}

/// A role in a project or an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.project) != has(self.organization)")
    .message("a membership is in a project or in an organization"))]
#[serde(rename_all = "camelCase")]
pub struct DisruptiveMembership {
    /// Id of a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9][-a-z0-9]*$"))]
    pub project: Option<String>,

    /// Id of an organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9][-a-z0-9]*$"))]
    pub organization: Option<String>,

    /// The role, such as `roles/project.developer` or `roles/organization.admin`.
    #[schemars(length(max = 128), regex(pattern = r"^roles/[A-Za-z0-9_.]+$"))]
    pub role: String,
}

impl DisruptiveMembership {
    /// The project or the organization, by its resource name.
    pub fn resource(&self) -> String {
        match (&self.project, &self.organization) {
            (Some(project), _) => format!("projects/{project}"),
            (None, Some(organization)) => format!("organizations/{organization}"),
            (None, None) => String::new(),
        }
    }
}
