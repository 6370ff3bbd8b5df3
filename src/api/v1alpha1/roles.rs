//! Roles that an account shall have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A role for the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleBinding {
    /// The role: `roles/viewer`, or one of your own as `projects/my-project/roles/reader` or
    /// `organizations/123/roles/reader`.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^((projects|organizations)/[A-Za-z0-9.:-]+/)?roles/[A-Za-z0-9_.]+$")
    )]
    pub role: String,

    /// On what: `projects/<project>` or, at an `IamBackend`, `projects/<project>/serviceAccounts/<e-mail>`, in the backend's
    /// own project. Default: that project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^projects/[A-Za-z0-9.:-]+(/serviceAccounts/[A-Za-z0-9@._:-]+)?$")
    )]
    pub resource: Option<String>,

    /// When the role holds. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<RoleCondition>,
}

/// When a role holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleCondition {
    /// Name for people.
    #[schemars(length(min = 1, max = 100))]
    pub title: String,

    /// Text for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub description: String,

    /// An expression in the backend's dialect of CEL, such as `request.time < timestamp("2027-01-01T00:00:00Z")`.
    #[schemars(length(min = 1, max = 4096))]
    pub expression: String,
}

/// A role that this object bound, or is about to bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundRole {
    /// The role.
    pub role: String,

    /// On what.
    pub resource: String,

    /// When it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<RoleCondition>,
}
