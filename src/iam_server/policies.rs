//! The methods of policies, on projects and on accounts.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::Server;
use super::access::holds;
use super::accounts::{Sight, find, known_project};
use super::caller::Caller;
use super::model::{Account, project_of_email};
use super::policy::{Member, Policy, Refusal};
use super::store::{Ask, StoreError, account_place, project_place};
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::requests::{self, GetPolicy, SetPolicy, TestPermissions};
use super::wire::route::AccountPath;

/// Kinds of members that are stored as they are written.
const STRANGERS: [&str; 8] = [
    "user:",
    "group:",
    "domain:",
    "deleted:",
    "principal:",
    "principalSet:",
    "projectOwner:",
    "serviceAccount:",
];

/// Whose policy.
#[derive(Debug, Clone)]
pub enum Resource {
    /// A project's.
    Project(String),
    /// An account's.
    Account(AccountPath),
}

/// What a resource is found to be.
struct Found {
    place: String,
    project: String,
    account: Option<Account>,
}

impl Resource {
    fn find(&self, store: &impl Ask, sight: &Sight, operation: Operation) -> Result<Found, ApiError> {
        match self {
            Self::Project(project) => {
                let project = known_project(sight.projects(), project, operation)?.to_owned();
                Ok(Found { place: project_place(&project), project, account: None })
            }
            Self::Account(at) => {
                let account = find(store, sight, at, operation)?;
                let (place, project) = (account_place(&account.unique_id), account.project.clone());
                Ok(Found { place, project, account: Some(account) })
            }
        }
    }
}

/// `getIamPolicy`. The version may be in the body or, where there is none, in the query.
pub async fn get(
    server: &Server,
    resource: Resource,
    operation: Operation,
    query: &Query,
    body: &Bytes,
) -> Result<Value, ApiError> {
    let request: GetPolicy = requests::parse(body, server.settings.strict)?;
    let asked = query.one("options.requestedPolicyVersion").map(str::parse::<i64>).transpose();
    let asked =
        asked.map_err(|_| ApiError::invalid("Invalid value at 'options.requested_policy_version'."))?;
    let version = asked.or(request.options.requested_policy_version).unwrap_or(0);
    if !matches!(version, 0 | 1 | 3) {
        return Err(ApiError::invalid(format!("Requested policy version {version} is not valid.")));
    }
    let sight = server.sight();
    server
        .store
        .read(move |store| {
            let found = resource.find(store, &sight, operation)?;
            shown(store, &store.policy(&found.place)?, version)
        })
        .await
}

/// `setIamPolicy`: the whole policy is replaced.
pub async fn set(
    server: &Server,
    resource: Resource,
    operation: Operation,
    body: &Bytes,
) -> Result<Value, ApiError> {
    let request: SetPolicy = requests::parse(body, server.settings.strict)?;
    let (proposal, mask) = (request.proposal()?, request.mask()?);
    let version = proposal.version;
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let found = resource.find(store, &sight, operation)?;
            let public = found.account.is_some();
            let policy = store.policy(&found.place)?.replaced(proposal, mask.audit_configs, |text| {
                read_member(store, sight.projects(), text, public)
            })?;
            store.put_record(&found.place, &policy)?;
            shown(store, &policy, version)
        })
        .await
}

/// `testIamPermissions`: which of them the caller has.
pub async fn test(
    server: &Server,
    resource: Resource,
    operation: Operation,
    caller: &Caller,
    body: &Bytes,
) -> Result<Value, ApiError> {
    let request: TestPermissions = requests::parse(body, server.settings.strict)?;
    if let Some(wild) = request.permissions.iter().find(|p| p.contains('*') || !p.contains('.')) {
        return Err(ApiError::invalid(format!("Permission {wild} is not valid for this resource.")));
    }
    let sight = server.sight();
    let caller = caller.principal.clone();
    let held: Vec<String> = server
        .store
        .read(move |store| {
            let found = resource.find(store, &sight, operation)?;
            let mut held = Vec::new();
            for permission in request.permissions {
                if holds(store, &caller, &found.project, found.account.as_ref(), &permission)? {
                    held.push(permission);
                }
            }
            Ok::<_, ApiError>(held)
        })
        .await?;
    Ok(if held.is_empty() { json!({}) } else { json!({ "permissions": held }) })
}

fn shown(store: &impl Ask, policy: &Policy, version: i64) -> Result<Value, ApiError> {
    policy.render(version, |member| Ok(write_member(store, member)?))
}

/// A member as a caller writes it. `public`: whether everybody may be one.
fn read_member(store: &impl Ask, projects: &[String], text: &str, public: bool) -> Result<Member, ApiError> {
    let invalid = |reason: String| Err(Refusal::Invalid(reason).into());
    if let Some(gone) = text.strip_prefix("deleted:serviceAccount:") {
        let Some((email, unique_id)) = gone.split_once("?uid=") else {
            return invalid(format!("Invalid deleted principal: {text}."));
        };
        let known = store.account(unique_id)?.is_some_and(|account| account.email == email);
        let (unique_id, email) = (unique_id.to_owned(), email.to_owned());
        return Ok(if known { Member::Account { unique_id, email } } else { other(text) });
    }
    if let Some(email) = text.strip_prefix("serviceAccount:") {
        let email = email.to_ascii_lowercase();
        let own = project_of_email(&email).filter(|project| projects.iter().any(|own| own == project));
        // What lies in other projects cannot be asked for.
        let Some(project) = own else { return Ok(other(text)) };
        return match store.account_by_email(project, &email)? {
            Some(account) => Ok(Member::Account { unique_id: account.unique_id, email }),
            None => invalid(format!("Service account {email} does not exist.")),
        };
    }
    if matches!(text, "allUsers" | "allAuthenticatedUsers") {
        return if public {
            Ok(other(text))
        } else {
            invalid(format!("The member {text} is of an unknown type for this resource."))
        };
    }
    let known = STRANGERS.iter().any(|kind| text.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
    if known { Ok(other(text)) } else { invalid(format!("The member {text} is of an unknown type.")) }
}

fn other(text: &str) -> Member {
    Member::Other(text.to_owned())
}

/// A member as callers read it: that an account is deleted shows in its name, until it comes back.
fn write_member(store: &impl Ask, member: &Member) -> Result<String, StoreError> {
    Ok(match member {
        Member::Other(text) => text.clone(),
        Member::Account { unique_id, email } => {
            let lives = store.account(unique_id)?.is_some_and(|account| account.deleted.is_none());
            if lives {
                format!("serviceAccount:{email}")
            } else {
                format!("deleted:serviceAccount:{email}?uid={unique_id}")
            }
        }
    })
}
