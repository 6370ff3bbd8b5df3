//! The projects of this server: their numbers, and what Resource Manager says of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Server;
use super::accounts::known_project;
use super::random;
use super::store::{Ask as _, Record, Write};
use super::wire::enums::{EnumEncoding, ProjectState, WireEnum as _};
use super::wire::errors::ApiError;
use super::wire::operation::{Operation, ResourceManager};

/// What is stored of a project.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    number: u64,
    created: Timestamp,
}

impl Record for Stored {
    const KIND: &'static str = "projects";
}

/// A project.
#[derive(Debug, Clone)]
struct Project {
    id: String,
    stored: Stored,
}

/// All projects of the server, by id and by number.
#[derive(Debug, Clone, Default)]
pub struct Projects(Vec<Project>);

impl Projects {
    /// Gives those that are new a number.
    ///
    /// # Errors
    /// [`ApiError`], internal ones only.
    pub fn open(store: &mut Write<'_>, ids: &[String], now: Timestamp) -> Result<Self, ApiError> {
        let mut projects = Vec::new();
        for id in ids {
            let stored = match store.record(id)? {
                Some(stored) => stored,
                None => {
                    let new = Stored { number: random::project_number()?, created: now };
                    store.put_record(id, &new)?;
                    new
                }
            };
            projects.push(Project { id: id.clone(), stored });
        }
        Ok(Self(projects))
    }

    /// The id of a project that is named by id or by number; what is unknown stays as it is.
    pub fn id_of<'a>(&'a self, name: &'a str) -> &'a str {
        let number: Option<u64> = name.parse().ok();
        let found = self.0.iter().find(|project| Some(project.stored.number) == number);
        found.map_or(name, |project| &project.id)
    }

    /// The id and the name of the first one, which has what belongs to the server as a whole.
    pub fn first(&self) -> Option<(String, String)> {
        let first = self.0.first()?;
        Some((first.id.clone(), format!("projects/{}", first.stored.number)))
    }

    /// The number of a project of this server.
    pub fn number(&self, id: &str) -> Option<u64> {
        self.0.iter().find(|project| project.id == id).map(|project| project.stored.number)
    }

    /// `projects/NUMBER`, as resources other than accounts are named.
    ///
    /// # Errors
    /// [`ApiError::PermissionDenied`] for a project that is none of this server's.
    pub fn name_of(&self, id: &str, operation: Operation) -> Result<String, ApiError> {
        Ok(format!("projects/{}", self.find(id, operation)?.stored.number))
    }

    fn find(&self, id: &str, operation: Operation) -> Result<&Project, ApiError> {
        let found = self.0.iter().find(|project| project.id == id);
        found.ok_or(ApiError::PermissionDenied { permission: operation.permission })
    }
}

/// `projects.get`, whose two versions say the same in other words.
///
/// # Errors
/// [`ApiError::PermissionDenied`].
pub fn get(
    server: &Server,
    id: &str,
    version: ResourceManager,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let operation = Operation::PROJECTS_GET;
    known_project(&server.settings.projects, id, operation)?;
    let stored = &server.projects.find(id, operation)?.stored;
    let (number, created) = (stored.number, stored.created.to_string());
    let state = ProjectState::Active.encode(encoding);
    Ok(match version {
        ResourceManager::V1 => json!({
            "projectNumber": number.to_string(),
            "projectId": id,
            "lifecycleState": state,
            "name": id,
            "createTime": created,
        }),
        ResourceManager::V3 => json!({
            "name": format!("projects/{number}"),
            "projectId": id,
            "state": state,
            "displayName": id,
            "createTime": created,
            "updateTime": created,
        }),
    })
}
