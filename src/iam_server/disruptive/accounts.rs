//! The methods of service accounts.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::errors::Error;
use super::model::{Account, Key, KeyOwner, Member, account_record, key_record, time_text};
use super::operation::Operation;
use super::pages::Page;
use super::requests::AccountFields;
use crate::iam_server::accounts::Sight;
use crate::iam_server::store::{Ask, Write};
use crate::iam_server::wire::query::Query;
use crate::iam_server::wire::requests::parse;
use crate::iam_server::{Server, random};

/// The account at a path, if it can be seen.
///
/// # Errors
/// [`Error::Missing`]; for an account that is not to be seen yet also [`Error::Forbidden`], by turns.
pub fn find(
    store: &impl Ask,
    sight: &Sight,
    project: &str,
    id: &str,
    operation: Operation,
) -> Result<Account, Error> {
    let account = store.record::<Account>(&account_record(project, id))?;
    match account {
        Some(account) if sight.shows(account.created) => Ok(account),
        Some(_) if sight.is_forbidding() => Err(Error::Forbidden { permission: operation.permission }),
        _ => Err(Error::Missing { what: "service account" }),
    }
}

/// An account in an answer.
fn shown(account: &Account) -> Value {
    json!({
        "name": account.name(),
        "email": account.email(),
        "displayName": account.display_name,
        "enableBasicAuth": account.basic_auth,
        "createTime": time_text(account.created),
        "updateTime": time_text(account.updated),
    })
}

/// `accounts.create`.
pub async fn create(server: &Server, project: String, body: &Bytes) -> Result<Value, Error> {
    let fields: AccountFields = parse(body, server.settings.strict)?;
    let display_name = fields.display_name.unwrap_or_default();
    let account = insert(server, project, display_name, fields.enable_basic_auth.unwrap_or(false)).await?;
    Ok(shown(&account))
}

/// Makes an account, which may do nothing.
///
/// # Errors
/// Internal ones.
pub async fn insert(
    server: &Server,
    project: String,
    display_name: String,
    basic_auth: bool,
) -> Result<Account, Error> {
    let now = server.clock.now();
    let id = random::sortable_id(now)?;
    let account = Account { id, project, display_name, basic_auth, created: now, updated: now };
    server
        .store
        .write(move |store| {
            store.put_record(&account.record_name(), &account)?;
            Ok(account)
        })
        .await
}

/// `accounts.list`, in the order of ids.
pub async fn list(server: &Server, project: String, query: &Query) -> Result<Value, Error> {
    let page = Page::of(query, format!("projects/{project}/serviceaccounts"))?;
    let sight = server.sight();
    let (accounts, next) = server
        .store
        .read(move |store| {
            let found = store.records_after(&account_record(&project, ""), page.after(), page.wanted())?;
            Ok::<_, Error>(page.cut(found, |account: &Account| account.id.clone()))
        })
        .await?;
    let accounts: Vec<Value> =
        accounts.iter().filter(|account| sight.shows(account.created)).map(shown).collect();
    Ok(json!({ "serviceAccounts": accounts, "nextPageToken": next }))
}

/// `accounts.get`.
pub async fn get(server: &Server, project: String, id: String) -> Result<Value, Error> {
    let sight = server.sight();
    let find = move |store: &_| find(store, &sight, &project, &id, Operation::ACCOUNTS_GET);
    Ok(shown(&server.store.read(find).await?))
}

/// `accounts.patch`: takes what the body names. That keys are passwords no more holds from the next request on.
pub async fn patch(server: &Server, project: String, id: String, body: &Bytes) -> Result<Value, Error> {
    let fields: AccountFields = parse(body, server.settings.strict)?;
    let (sight, now) = (server.sight(), server.clock.now());
    let account = server
        .store
        .write(move |store| {
            let mut account = find(store, &sight, &project, &id, Operation::ACCOUNTS_PATCH)?;
            let before = account.clone();
            if let Some(name) = fields.display_name {
                account.display_name = name;
            }
            if let Some(on) = fields.enable_basic_auth {
                account.basic_auth = on;
            }
            if account != before {
                account.updated = now;
                store.put_record(&account.record_name(), &account)?;
            }
            Ok::<_, Error>(account)
        })
        .await?;
    Ok(shown(&account))
}

/// `accounts.delete`: for good, with its keys and memberships.
pub async fn delete(server: &Server, project: String, id: String) -> Result<Value, Error> {
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let account = find(store, &sight, &project, &id, Operation::ACCOUNTS_DELETE)?;
            remove(store, &account)?;
            Ok(json!({}))
        })
        .await
}

fn remove(store: &mut Write<'_>, account: &Account) -> Result<(), Error> {
    for key in store.records_after::<Key>(&key_record(&account.id, ""), "", usize::MAX)? {
        store.remove_record::<KeyOwner>(&key.id)?;
        store.remove_record::<Key>(&key.record_name())?;
    }
    for member in store.records_after::<Member>("", "", usize::MAX)? {
        if member.id == account.id {
            store.remove_record::<Member>(&member.record_name())?;
        }
    }
    store.remove_record::<Account>(&account.record_name())?;
    Ok(())
}
