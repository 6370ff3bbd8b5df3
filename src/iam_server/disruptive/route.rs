//! From a method and a path to what is meant.

use axum::http::Method;

use super::operation::Operation;
use super::place::Place;

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A method.
    Call(Call),
    /// The token endpoint.
    Token,
    /// The vendor has it, this server does not.
    Unbuilt(String),
    /// Nothing.
    Unknown,
}

/// A call of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which method.
    pub operation: Operation,
    /// On what.
    pub target: Target,
}

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The accounts of a project.
    Accounts(String),
    /// One account, or its keys: project and id.
    Account(String, String),
    /// One key: project, account, id.
    Key(String, String, String),
    /// The members of a place, or what the caller may do there.
    Place(Place),
    /// One member.
    Member(Place, String),
    /// The members of all projects.
    AllProjects,
    /// The roles.
    Roles,
    /// One role.
    Role(String),
}

impl Route {
    /// Reads a request line; nothing if the path is not one of this API. Google's Organization Policy API lies under `/v2`,
    /// too, with collections that this API does not have.
    pub fn parse(method: &Method, parts: &[&str]) -> Option<Self> {
        match parts {
            ["oauth2", "token"] if method == Method::POST => Some(Self::Token),
            [
                "v2",
                "projects" | "organizations" | "folders",
                _,
                "policies" | "constraints" | "customConstraints",
                ..,
            ] => None,
            ["v2", rest @ ..] => Some(Self::below(method.as_str(), rest)),
            _ => None,
        }
    }

    /// For the request log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Call(call) => call.operation.name,
            Self::Token => Operation::TOKEN.name,
            Self::Unbuilt(_) => "unbuilt",
            Self::Unknown => "unknown",
        }
    }

    fn call(operation: Operation, target: Target) -> Self {
        Self::Call(Call { operation, target })
    }

    fn below(method: &str, parts: &[&str]) -> Self {
        match (method, parts) {
            ("GET", ["roles"]) => Self::call(Operation::ROLES_LIST, Target::Roles),
            ("GET", ["roles", role]) => Self::call(Operation::ROLES_GET, Target::Role((*role).to_owned())),
            ("GET", ["projects", "-", "members"]) => {
                Self::call(Operation::MEMBERS_LIST_ALL, Target::AllProjects)
            }
            ("POST", ["projects", "-", "members:batchCreate"]) => {
                Self::call(Operation::MEMBERS_BATCH_CREATE, Target::AllProjects)
            }
            ("POST", ["projects", "-", "members:batchDelete"]) => {
                Self::call(Operation::MEMBERS_BATCH_DELETE, Target::AllProjects)
            }
            (_, ["projects", project, "serviceaccounts", rest @ ..]) => Self::accounts(method, project, rest),
            (_, ["projects", project, rest @ ..]) => {
                Self::place(method, Place::Project((*project).to_owned()), rest)
            }
            (_, ["organizations", organization, rest @ ..]) => {
                Self::place(method, Place::Organization((*organization).to_owned()), rest)
            }
            (_, ["projects" | "organizations"]) => {
                Self::Unbuilt("The list of projects and organizations".to_owned())
            }
            (_, ["invitations", ..]) => {
                Self::Unbuilt("The page on which an invitation is accepted".to_owned())
            }
            _ => Self::Unknown,
        }
    }

    fn accounts(method: &str, project: &str, rest: &[&str]) -> Self {
        let project = project.to_owned();
        let (operation, target) = match (method, rest) {
            ("POST", []) => (Operation::ACCOUNTS_CREATE, Target::Accounts(project)),
            ("GET", []) => (Operation::ACCOUNTS_LIST, Target::Accounts(project)),
            ("GET" | "PATCH" | "DELETE", [account]) => {
                let operation = match method {
                    "GET" => Operation::ACCOUNTS_GET,
                    "PATCH" => Operation::ACCOUNTS_PATCH,
                    _ => Operation::ACCOUNTS_DELETE,
                };
                (operation, Target::Account(project, (*account).to_owned()))
            }
            ("POST", [account, "keys"]) => {
                (Operation::KEYS_CREATE, Target::Account(project, (*account).to_owned()))
            }
            ("GET", [account, "keys"]) => {
                (Operation::KEYS_LIST, Target::Account(project, (*account).to_owned()))
            }
            ("GET" | "DELETE", [account, "keys", key]) => {
                let operation = if method == "GET" { Operation::KEYS_GET } else { Operation::KEYS_DELETE };
                (operation, Target::Key(project, (*account).to_owned(), (*key).to_owned()))
            }
            _ => return Self::Unknown,
        };
        Self::call(operation, target)
    }

    fn place(method: &str, place: Place, rest: &[&str]) -> Self {
        let in_project = matches!(place, Place::Project(_));
        let (operation, target) = match (method, rest) {
            ("GET", ["permissions"]) => (Operation::PERMISSIONS_LIST, Target::Place(place)),
            ("POST", ["members"]) => (Operation::MEMBERS_CREATE, Target::Place(place)),
            ("GET", ["members"]) => (Operation::MEMBERS_LIST, Target::Place(place)),
            ("GET", ["members", last]) => match last.rsplit_once(':') {
                None => (Operation::MEMBERS_GET, Target::Member(place, (*last).to_owned())),
                Some((id, "getInviteUrl")) => {
                    (Operation::MEMBERS_INVITE_URL, Target::Member(place, id.to_owned()))
                }
                Some(_) => return Self::Unknown,
            },
            // Members of organizations cannot be changed: there is one role only.
            ("PATCH", ["members", id]) if in_project => {
                (Operation::MEMBERS_PATCH, Target::Member(place, (*id).to_owned()))
            }
            ("DELETE", ["members", id]) => {
                (Operation::MEMBERS_DELETE, Target::Member(place, (*id).to_owned()))
            }
            (_, []) => return Self::Unbuilt("Describing and changing projects and organizations".to_owned()),
            (_, ["devices" | "dataconnectors", ..]) => {
                return Self::Unbuilt("Whatever concerns devices".to_owned());
            }
            _ => return Self::Unknown,
        };
        Self::call(operation, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, path: &str) -> Option<Route> {
        let parts: Vec<&str> = path.split('/').collect();
        Route::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &parts)
    }

    fn name(method: &str, path: &str) -> &'static str {
        match parse(method, path) {
            Some(Route::Call(call)) => call.operation.name,
            other => panic!("{method} {path} is {other:?}"),
        }
    }

    #[test]
    fn every_operation_has_a_path() {
        let account = "v2/projects/p1/serviceaccounts";
        let table = [
            ("POST", account.to_owned(), Operation::ACCOUNTS_CREATE),
            ("GET", account.to_owned(), Operation::ACCOUNTS_LIST),
            ("GET", format!("{account}/a"), Operation::ACCOUNTS_GET),
            ("PATCH", format!("{account}/a"), Operation::ACCOUNTS_PATCH),
            ("DELETE", format!("{account}/a"), Operation::ACCOUNTS_DELETE),
            ("POST", format!("{account}/a/keys"), Operation::KEYS_CREATE),
            ("GET", format!("{account}/a/keys"), Operation::KEYS_LIST),
            ("GET", format!("{account}/a/keys/k"), Operation::KEYS_GET),
            ("DELETE", format!("{account}/a/keys/k"), Operation::KEYS_DELETE),
            ("POST", "v2/projects/p1/members".into(), Operation::MEMBERS_CREATE),
            ("GET", "v2/organizations/o/members".into(), Operation::MEMBERS_LIST),
            ("GET", "v2/projects/p1/members/a".into(), Operation::MEMBERS_GET),
            ("PATCH", "v2/projects/p1/members/a".into(), Operation::MEMBERS_PATCH),
            ("DELETE", "v2/organizations/o/members/a".into(), Operation::MEMBERS_DELETE),
            ("GET", "v2/projects/p1/members/a:getInviteUrl".into(), Operation::MEMBERS_INVITE_URL),
            ("GET", "v2/projects/-/members".into(), Operation::MEMBERS_LIST_ALL),
            ("POST", "v2/projects/-/members:batchCreate".into(), Operation::MEMBERS_BATCH_CREATE),
            ("POST", "v2/projects/-/members:batchDelete".into(), Operation::MEMBERS_BATCH_DELETE),
            ("GET", "v2/projects/p1/permissions".into(), Operation::PERMISSIONS_LIST),
            ("GET", "v2/roles".into(), Operation::ROLES_LIST),
            ("GET", "v2/roles/project.user".into(), Operation::ROLES_GET),
        ];
        for (method, path, operation) in &table {
            assert_eq!(name(method, path), operation.name, "{method} {path}");
        }
        assert_eq!(parse("POST", "oauth2/token"), Some(Route::Token));
        // All but the token endpoint, which is no call.
        assert_eq!(table.len() + 1, Operation::ALL.len());
    }

    #[test]
    fn googles_paths_are_googles() {
        for path in [
            "v2/projects/p1/policies/c:getEffectivePolicy",
            "v2/projects/p1/constraints",
            "v2/organizations/o/customConstraints/c",
            "v1/projects/p1",
            "v3/projects/p1",
            "token",
            "oauth2/v1/certs",
            "oauth2/v4/token",
        ] {
            assert_eq!(parse("GET", path), None, "{path}");
        }
        assert_eq!(parse("GET", "oauth2/token"), None);
    }

    #[test]
    fn what_is_missing_is_told_apart_from_what_does_not_exist() {
        for path in ["v2/projects", "v2/projects/p1", "v2/organizations/o", "v2/projects/p1/devices/d"] {
            assert!(matches!(parse("GET", path), Some(Route::Unbuilt(_))), "{path}");
        }
        for (method, path) in [
            ("PATCH", "v2/organizations/o/members/a"),
            ("PUT", "v2/projects/p1/serviceaccounts/a"),
            ("POST", "v2/projects/p1/serviceaccounts/a/keys/k"),
            ("GET", "v2/projects/p1/serviceaccount/a"),
            ("POST", "v2/projects/p1/members:batchCreate"),
            ("GET", "v2"),
        ] {
            assert_eq!(parse(method, path), Some(Route::Unknown), "{method} {path}");
        }
    }
}
