//! Request bodies. Fields that only answers have may be sent back and mean nothing: the vendor's own tools do so.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::iam_server::wire::requests::RequestBody;

/// An account to be made or changed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountFields {
    /// What people call it.
    pub display_name: Option<String>,
    /// Whether its keys are taken as names and passwords.
    pub enable_basic_auth: Option<bool>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RequestBody for AccountFields {
    fn unknown_field(&self) -> Option<String> {
        unknown(&self.rest, &["name", "email", "createTime", "updateTime"])
    }
}

/// A member to be made or changed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberFields {
    /// The project, as `projects/P`; in a batch only.
    pub project: Option<String>,
    /// Who.
    pub email: Option<String>,
    /// The one role.
    pub roles: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RequestBody for MemberFields {
    fn unknown_field(&self) -> Option<String> {
        unknown(&self.rest, &["name", "displayName", "status", "accountType", "createTime"])
    }
}

/// Members to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BatchCreate {
    /// Each with its project.
    pub members: Vec<MemberFields>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RequestBody for BatchCreate {
    fn unknown_field(&self) -> Option<String> {
        unknown(&self.rest, &[]).or_else(|| {
            self.members.iter().find_map(|member| Some(format!("members.{}", member.unknown_field()?)))
        })
    }
}

/// Members to be removed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BatchDelete {
    /// `projects/P/members/ID` each.
    pub names: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RequestBody for BatchDelete {
    fn unknown_field(&self) -> Option<String> {
        unknown(&self.rest, &[])
    }
}

fn unknown(rest: &Map<String, Value>, known: &[&str]) -> Option<String> {
    rest.keys().find(|name| !known.contains(&name.as_str())).cloned()
}
