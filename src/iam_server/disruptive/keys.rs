//! The methods of keys. They have no end and cannot be switched off: what is to end is deleted.

use axum::body::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::accounts::find;
use super::errors::Error;
use super::model::{Account, Key, KeyOwner, key_record, time_text};
use super::operation::Operation;
use super::pages::Page;
use crate::iam_server::store::Ask;
use crate::iam_server::wire::query::Query;
use crate::iam_server::wire::requests::{Empty, parse};
use crate::iam_server::{Server, random};

/// A key in an answer, without its secret.
fn shown(account: &Account, key: &Key) -> Value {
    json!({
        "name": format!("{}/keys/{}", account.name(), key.id),
        "id": key.id,
        "createTime": time_text(key.created),
    })
}

/// `keys.create`: the only answer that ever has the secret, outside of the key.
pub async fn create(server: &Server, project: String, id: String, body: &Bytes) -> Result<Value, Error> {
    let _: Empty = parse(body, server.settings.strict)?;
    let sight = server.sight();
    let find = move |store: &_| find(store, &sight, &project, &id, Operation::KEYS_CREATE);
    let account = server.store.read(find).await?;
    let key = make(server, &account, server.tunables.activation_delay()).await?;
    let secret = key.secret.expose_str()?;
    Ok(json!({ "key": shown(&account, &key), "secret": secret }))
}

/// Makes a key for an account.
///
/// # Errors
/// [`Error::Missing`] if the account went away meanwhile, and internal ones.
pub async fn make(
    server: &Server,
    account: &Account,
    activation_delay: SignedDuration,
) -> Result<Key, Error> {
    let created = server.clock.now();
    let id = random::sortable_id(created)?;
    let secret = random::secret()?;
    let key = Key { id, account: account.id.clone(), secret, created, activation_delay };
    let account = account.clone();
    server
        .store
        .write(move |store| {
            if store.record::<Account>(&account.record_name())?.is_none() {
                return Err(Error::Missing { what: "service account" });
            }
            store.put_record(&key.record_name(), &key)?;
            let owner = KeyOwner { project: account.project, account: account.id };
            store.put_record(&key.id, &owner)?;
            Ok(key)
        })
        .await
}

/// `keys.list`, in the order of ids.
pub async fn list(server: &Server, project: String, id: String, query: &Query) -> Result<Value, Error> {
    let page = Page::of(query, format!("projects/{project}/serviceaccounts/{id}/keys"))?;
    let (sight, now, delay) = (server.sight(), server.clock.now(), server.tunables.key_list_delay());
    let (account, keys, next) = server
        .store
        .read(move |store| {
            let account = find(store, &sight, &project, &id, Operation::KEYS_LIST)?;
            let found = store.records_after(&key_record(&account.id, ""), page.after(), page.wanted())?;
            let (keys, next) = page.cut(found, |key: &Key| key.id.clone());
            Ok::<_, Error>((account, keys, next))
        })
        .await?;
    let old_enough = |key: &&Key| !delay.is_positive() || now.duration_since(key.created) >= delay;
    let keys: Vec<Value> = keys.iter().filter(old_enough).map(|key| shown(&account, key)).collect();
    Ok(json!({ "keys": keys, "nextPageToken": next }))
}

fn key_of(store: &impl Ask, account: &Account, id: &str) -> Result<Key, Error> {
    store.record(&key_record(&account.id, id))?.ok_or(Error::Missing { what: "key" })
}

/// `keys.get`.
pub async fn get(server: &Server, project: String, id: String, key: String) -> Result<Value, Error> {
    let sight = server.sight();
    server
        .store
        .read(move |store| {
            let account = find(store, &sight, &project, &id, Operation::KEYS_GET)?;
            Ok(shown(&account, &key_of(store, &account, &key)?))
        })
        .await
}

/// `keys.delete`. Access tokens that the key has earned live on until they end.
pub async fn delete(server: &Server, project: String, id: String, key: String) -> Result<Value, Error> {
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let account = find(store, &sight, &project, &id, Operation::KEYS_DELETE)?;
            let key = key_of(store, &account, &key)?;
            store.remove_record::<KeyOwner>(&key.id)?;
            store.remove_record::<Key>(&key.record_name())?;
            Ok(json!({}))
        })
        .await
}
