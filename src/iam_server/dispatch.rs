//! From what a request means to the method that carries it out.

use axum::body::Bytes;
use serde_json::Value;

use super::caller::Caller;
use super::policies::Resource;
use super::wire::enums::EnumEncoding;
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::route::{AccountPath, ApiCall, Target};
use super::{
    Server, accounts, earth_engine, impersonation, keys, last_use, org_policy, policies, projects, services,
};

/// What a request says beside its path.
pub struct Asked<'r> {
    /// Who asks.
    pub caller: &'r Caller,
    /// Parameters.
    pub query: &'r Query,
    /// The body.
    pub body: &'r Bytes,
    /// The nonce of the caller's attempt.
    pub attempt: Option<String>,
}

/// Carries out a call that the caller may make.
///
/// # Errors
/// [`ApiError`], as the method says.
pub async fn dispatch(server: &Server, call: ApiCall, asked: Asked<'_>) -> Result<Value, ApiError> {
    let encoding = asked.query.encoding()?;
    let known: &[&str] = match call.operation {
        Operation::ACCOUNTS_LIST | Operation::EARTH_ENGINE_ALGORITHMS => &["pageSize", "pageToken"],
        Operation::ACCOUNTS_GET_POLICY => &["options.requestedPolicyVersion"],
        Operation::SERVICES_LIST | Operation::KEY_ACTIVITIES | Operation::ACCOUNT_ACTIVITIES => {
            &["filter", "pageSize", "pageToken"]
        }
        Operation::SERVICES_BATCH_GET => &["names"],
        Operation::KEYS_LIST => &["keyTypes"],
        Operation::KEYS_GET => &["publicKeyType"],
        _ => &[],
    };
    asked.query.allow_only(known, server.settings.strict)?;
    let (query, body) = (asked.query, asked.body);
    match (call.operation, call.target) {
        (operation, Target::Accounts(project)) => match operation {
            Operation::ACCOUNTS_CREATE => accounts::create(server, &project, body).await,
            Operation::ACCOUNTS_LIST => accounts::list(server, &project, query).await,
            _ => Err(ApiError::UnknownPath),
        },
        (operation, Target::Project(project)) => {
            on_policy(server, operation, Resource::Project(project), &asked).await
        }
        (operation, Target::Account(at)) => on_account(server, operation, at, asked, encoding).await,
        (_, Target::Description(project, version)) => projects::get(server, &project, version, encoding),
        (operation, Target::Services(project)) => match operation {
            Operation::SERVICES_LIST => services::list(server, project, query, encoding).await,
            Operation::SERVICES_BATCH_GET => services::batch_get(server, project, query, encoding).await,
            Operation::SERVICES_BATCH_ENABLE => services::batch_enable(server, project, body, encoding).await,
            _ => Err(ApiError::UnknownPath),
        },
        (operation, Target::Service(project, name)) => match operation {
            Operation::SERVICES_GET => services::get(server, project, name, encoding).await,
            Operation::SERVICES_ENABLE => services::enable(server, project, name, body, encoding).await,
            Operation::SERVICES_DISABLE => services::disable(server, project, name, body, encoding).await,
            _ => Err(ApiError::UnknownPath),
        },
        (operation, Target::EarthEngine(project)) => match operation {
            Operation::EARTH_ENGINE_CONFIG => earth_engine::config(server, &project),
            Operation::EARTH_ENGINE_ALGORITHMS => {
                earth_engine::algorithms(server, asked.caller, &project).await
            }
            Operation::EARTH_ENGINE_COMPUTE => {
                earth_engine::compute(server, asked.caller, &project, body).await
            }
            _ => Err(ApiError::UnknownPath),
        },
        (_, Target::Operation(id)) => services::operation(server, id, encoding).await,
        (_, Target::Constraint(project, constraint)) => org_policy::effective(server, &project, &constraint),
        (operation, Target::Activities(project, activity)) => {
            last_use::query(server, project, activity, operation, query).await
        }
        (_, Target::Attempt(nonce)) => keys::of_attempt(server, nonce, encoding).await,
        (operation, Target::Key(at, id)) => match operation {
            Operation::KEYS_GET => keys::get(server, at, id, query, encoding).await,
            Operation::KEYS_DELETE => keys::delete(server, at, id).await,
            Operation::KEYS_DISABLE => keys::disable(server, at, id, body).await,
            Operation::KEYS_ENABLE => keys::enable(server, at, id, body).await,
            _ => Err(ApiError::UnknownPath),
        },
    }
}

async fn on_account(
    server: &Server,
    operation: Operation,
    at: AccountPath,
    asked: Asked<'_>,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let body = asked.body;
    match operation {
        Operation::ACCOUNTS_GET => accounts::get(server, at).await,
        Operation::ACCOUNTS_PATCH => accounts::patch(server, at, body).await,
        Operation::ACCOUNTS_UPDATE => accounts::update(server, at, body).await,
        Operation::ACCOUNTS_DELETE => accounts::delete(server, at).await,
        Operation::ACCOUNTS_UNDELETE => accounts::undelete(server, at, body).await,
        Operation::ACCOUNTS_DISABLE => accounts::set_disabled(server, at, body, operation, true).await,
        Operation::ACCOUNTS_ENABLE => accounts::set_disabled(server, at, body, operation, false).await,
        Operation::GENERATE_ACCESS_TOKEN => {
            impersonation::generate(server, at, asked.caller.principal.clone(), body).await
        }
        Operation::KEYS_LIST => keys::list(server, at, asked.query, encoding).await,
        Operation::KEYS_CREATE => keys::create(server, at, body, encoding, asked.attempt).await,
        Operation::KEYS_UPLOAD => keys::upload(server, at, body, encoding, asked.attempt).await,
        _ => on_policy(server, operation, Resource::Account(at), &asked).await,
    }
}

async fn on_policy(
    server: &Server,
    operation: Operation,
    resource: Resource,
    asked: &Asked<'_>,
) -> Result<Value, ApiError> {
    match operation {
        Operation::ACCOUNTS_GET_POLICY | Operation::PROJECTS_GET_POLICY => {
            policies::get(server, resource, operation, asked.query, asked.body).await
        }
        Operation::ACCOUNTS_SET_POLICY | Operation::PROJECTS_SET_POLICY => {
            policies::set(server, resource, operation, asked.body).await
        }
        Operation::ACCOUNTS_TEST_PERMISSIONS | Operation::PROJECTS_TEST_PERMISSIONS => {
            policies::test(server, resource, operation, asked.caller, asked.body).await
        }
        _ => Err(ApiError::UnknownPath),
    }
}
