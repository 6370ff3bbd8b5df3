//! The public halves of an account's keys, for whoever checks its signatures.

use serde_json::{Map, Value, json};

use super::Server;
use super::model::Key;
use super::store::Ask as _;
use super::system_keys;
use super::wire::errors::ApiError;
use super::wire::route::PublicKeyFormat;
use crate::credential::Jwk;

/// How long verifiers may keep an answer: Google tells them to look again every 15 minutes.
pub const CACHE_CONTROL: &str = "public, max-age=900, must-revalidate";

/// The keys whose signatures count now: disabled, deleted and expired ones are not shown, nor are those of a disabled
/// account.
///
/// # Errors
/// [`ApiError::AccountMissing`] for an unknown or deleted account.
pub async fn show(server: &Server, format: PublicKeyFormat, email: String) -> Result<Value, ApiError> {
    let (now, projects) = (server.clock.now(), server.settings.projects.clone());
    let found = server.store.read(move |store| store.account_named(&projects, &email)).await?;
    let account = found.ok_or(ApiError::AccountMissing)?;
    let mut keys = Vec::new();
    if account.is_usable() {
        system_keys::ensure(server, &account).await?;
        keys = server.store.read(move |store| store.keys_of(&account.unique_id)).await?;
        keys.retain(|key| key.is_usable(now));
    }
    Ok(match format {
        PublicKeyFormat::X509 => by_id(&keys, |key| &key.certificate_pem),
        PublicKeyFormat::Raw => by_id(&keys, |key| &key.public_pem),
        PublicKeyFormat::Jwk => {
            json!({ "keys": keys.iter().filter_map(|key| jwk(&key.id, &key.public_pem)).collect::<Vec<_>>() })
        }
    })
}

fn by_id(keys: &[Key], text: impl Fn(&Key) -> &String) -> Value {
    let entries: Map<String, Value> =
        keys.iter().map(|key| (key.id.clone(), Value::from(text(key).as_str()))).collect();
    Value::Object(entries)
}

/// A public key (PEM) as a JWK.
pub fn jwk(id: &str, public_pem: &str) -> Option<Value> {
    serde_json::to_value(Jwk::of(id, public_pem)?).ok()
}
