//! From what a request means to the method that carries it out.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::errors::Error;
use super::model::Account;
use super::operation::Operation;
use super::place::Place;
use super::route::{Call, Target};
use super::{access, accounts, keys, members, roles};
use crate::iam_server::Server;
use crate::iam_server::wire::query::Query;

const PAGE: [&str; 2] = ["pageSize", "pageToken"];

/// Carries out a call that the caller may make.
///
/// # Errors
/// [`Error`], as the method says.
pub async fn dispatch(
    server: &Server,
    call: Call,
    caller: &Account,
    query: &Query,
    body: &Bytes,
) -> Result<Value, Error> {
    let known: &[&str] = match call.operation {
        Operation::ACCOUNTS_LIST
        | Operation::KEYS_LIST
        | Operation::MEMBERS_LIST
        | Operation::ROLES_LIST
        | Operation::PERMISSIONS_LIST => &PAGE,
        Operation::MEMBERS_LIST_ALL => &["pageSize", "pageToken", "organization", "memberId"],
        _ => &[],
    };
    query.allow_only(known, server.settings.strict)?;
    match (call.operation, call.target) {
        (Operation::ACCOUNTS_CREATE, Target::Accounts(project)) => {
            accounts::create(server, project, body).await
        }
        (_, Target::Accounts(project)) => accounts::list(server, project, query).await,
        (operation, Target::Account(project, id)) => match operation {
            Operation::ACCOUNTS_GET => accounts::get(server, project, id).await,
            Operation::ACCOUNTS_PATCH => accounts::patch(server, project, id, body).await,
            Operation::ACCOUNTS_DELETE => accounts::delete(server, project, id).await,
            Operation::KEYS_CREATE => keys::create(server, project, id, body).await,
            Operation::KEYS_LIST => keys::list(server, project, id, query).await,
            _ => Err(Error::UnknownPath),
        },
        (Operation::KEYS_DELETE, Target::Key(project, id, key)) => {
            keys::delete(server, project, id, key).await
        }
        (_, Target::Key(project, id, key)) => keys::get(server, project, id, key).await,
        (operation, Target::Place(place)) => match operation {
            Operation::MEMBERS_CREATE => members::create(server, place, body).await,
            Operation::MEMBERS_LIST => members::list(server, place, query).await,
            Operation::PERMISSIONS_LIST => permissions(server, caller, place).await,
            _ => Err(Error::UnknownPath),
        },
        (operation, Target::Member(place, id)) => match operation {
            Operation::MEMBERS_GET => members::get(server, place, id).await,
            Operation::MEMBERS_PATCH => members::patch(server, place, id, body).await,
            Operation::MEMBERS_DELETE => members::delete(server, place, id).await,
            Operation::MEMBERS_INVITE_URL => members::invite_url(server, place, id).await,
            _ => Err(Error::UnknownPath),
        },
        (operation, Target::AllProjects) => match operation {
            Operation::MEMBERS_LIST_ALL => members::list_all(server, caller, query).await,
            Operation::MEMBERS_BATCH_CREATE => members::batch_create(server, caller, body).await,
            Operation::MEMBERS_BATCH_DELETE => members::batch_delete(server, caller, body).await,
            _ => Err(Error::UnknownPath),
        },
        (_, Target::Roles) => roles::list(query),
        (_, Target::Role(role)) => roles::get(&role),
    }
}

/// What the caller may do in a place, all of it on one page.
async fn permissions(server: &Server, caller: &Account, place: Place) -> Result<Value, Error> {
    let caller = caller.clone();
    let held = server.store.read(move |store| access::held(store, &caller, &place)).await?;
    Ok(json!({ "permissions": held, "nextPageToken": "" }))
}
