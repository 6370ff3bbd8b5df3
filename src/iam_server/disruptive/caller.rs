//! Who calls: the bearer of an access token, or who sends a key's id and secret, if the account lets its keys be used so.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::errors::Error;
use super::model::{Account, Key, KeyOwner, account_record, key_record};
use crate::credential::SecretBytes;
use crate::iam_server::Server;
use crate::iam_server::caller::{basic, bearer, token_hash};
use crate::iam_server::model::Holder;
use crate::iam_server::store::Ask as _;

/// Finds out who calls.
///
/// # Errors
/// [`Error::Unauthenticated`] for everything that is not a live credential of a live account.
pub async fn authenticate(server: &Server, headers: &HeaderMap) -> Result<Account, Error> {
    let account = match (basic(headers), bearer(headers).1) {
        (Some(pair), _) => by_key(server, pair).await?,
        (None, Some(token)) => by_access_token(server, token).await?,
        (None, None) => None,
    };
    // A project that is not served any more has no accounts.
    account
        .filter(|account| server.settings.projects.contains(&account.project))
        .ok_or(Error::Unauthenticated)
}

async fn by_access_token(server: &Server, token: &str) -> Result<Option<Account>, Error> {
    let (hash, now) = (token_hash(token), server.clock.now());
    server
        .store
        .read(move |store| match store.token(&hash)? {
            Some(token) if now < token.expires => match token.holder {
                Holder::Disruptive { project, account } => {
                    Ok(store.record::<Account>(&account_record(&project, &account))?)
                }
                Holder::Account(_) | Holder::Federated(_) => Ok(None),
            },
            _ => Ok(None),
        })
        .await
}

async fn by_key(server: &Server, pair: &str) -> Result<Option<Account>, Error> {
    let Some((id, secret)) = decoded(pair) else { return Ok(None) };
    let (now, delay) = (server.clock.now(), server.tunables.activation_delay());
    server
        .store
        .read(move |store| {
            let Some(owner) = store.record::<KeyOwner>(&id)? else { return Ok(None) };
            let Some(key) = store.record::<Key>(&key_record(&owner.account, &id))? else { return Ok(None) };
            let right = verify_slices_are_equal(key.secret.expose(), secret.expose()).is_ok();
            if !right || !key.is_active(now, delay) {
                return Ok(None);
            }
            let account = store.record::<Account>(&account_record(&owner.project, &owner.account))?;
            Ok(account.filter(|account| account.basic_auth))
        })
        .await
}

/// Name and password.
fn decoded(pair: &str) -> Option<(String, SecretBytes)> {
    let bytes = SecretBytes::new(STANDARD.decode(pair).ok()?);
    let (name, password) = bytes.expose_str().ok()?.split_once(':')?;
    Some((name.to_owned(), SecretBytes::from(password.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords() {
        let (name, password) = decoded("aWQ6czpj").unwrap();
        assert_eq!((name.as_str(), password.expose()), ("id", b"s:c".as_slice()));
        for bad in ["", "!!", "aWQ=", "/////w=="] {
            assert!(decoded(bad).is_none(), "{bad}");
        }
    }
}
