//! The methods of service account keys.

use axum::body::Bytes;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::Server;
use super::accounts::find;
use super::model::{Account, Key, KeySize, Origin};
use super::org_policy::{Ban, OrgPolicy, subject};
use super::random;
use super::settings::KeyLimitError;
use super::store::{Ask, Write};
use super::system_keys;
use super::wire::enums::{DisableReason, EnumEncoding, KeyAlgorithm, KeyType, PrivateKeyType, PublicKeyType};
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::render;
use super::wire::requests::{self, CreateKey, DisableKey, Empty, UploadKey};
use super::wire::route::AccountPath;
use crate::credential::{
    GOOGLE_PKCS12_PASSWORD, GoogleCredentials, GoogleFileFields, RsaKeyPair, SecretBytes, parse_certificate,
    self_signed, spki_pem, write_pkcs12,
};

/// The only size that an uploaded key may have.
const UPLOADED_BITS: usize = 2048;

/// A key that was just made, with the file that shows its private half for the only time.
pub struct Made {
    /// The account.
    pub account: Account,
    /// The key as it is stored.
    pub key: Key,
    /// The file in the form that was asked for.
    pub file: SecretBytes,
}

/// `keys.create`. Every call makes another key: nothing recognises a repeated request.
pub async fn create(
    server: &Server,
    at: AccountPath,
    body: &Bytes,
    encoding: EnumEncoding,
    attempt: Option<String>,
) -> Result<Value, ApiError> {
    let request: CreateKey = requests::parse(body, server.settings.strict)?;
    let file = match request.private_key_type {
        Some(PrivateKeyType::Pkcs12) => FileForm::Pkcs12,
        Some(PrivateKeyType::GoogleCredentials | PrivateKeyType::Unspecified) | None => FileForm::Google,
    };
    let size = match request.key_algorithm {
        Some(KeyAlgorithm::Rsa1024) => KeySize::Rsa1024,
        Some(KeyAlgorithm::Rsa2048 | KeyAlgorithm::Unspecified) | None => KeySize::Rsa2048,
    };
    let sight = server.sight();
    let account = server.store.read(move |store| find(store, &sight, &at, Operation::KEYS_CREATE)).await?;
    let policy = server.tunables.org_policy();
    policy.allow(Ban::KeyCreation, || subject(&account))?;
    let activation_delay = server.tunables.activation_delay();
    let made = make(server, account, Terms { file, size, activation_delay, policy, attempt }).await?;
    Ok(render::created_key(&made.account, &made.key, file, &made.file, encoding))
}

/// The form of the file that shows a private half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileForm {
    /// The JSON that Google's clients read.
    #[default]
    Google,
    /// PKCS#12 with Google's usual password.
    Pkcs12,
}

/// What a new key begins with.
#[derive(Default)]
pub struct Terms {
    /// The form of its file.
    pub file: FileForm,
    /// How large its pair is.
    pub size: KeySize,
    /// How long the token endpoint does not know it.
    pub activation_delay: SignedDuration,
    /// The constraints on its life.
    pub policy: OrgPolicy,
    /// The nonce of the attempt that makes it.
    pub attempt: Option<String>,
}

/// Makes a key for an account and stores its public half.
///
/// # Errors
/// [`ApiError::AccountMissing`] if the account went away meanwhile, [`ApiError::KeyLimit`], and internal ones.
pub async fn make(server: &Server, account: Account, terms: Terms) -> Result<Made, ApiError> {
    // The slow part happens outside of the transaction; the limit is counted inside.
    let permit = server.generators.acquire().await?;
    let created = server.clock.now();
    let not_before = whole_seconds(created)?;
    let not_after = terms.policy.expiry(not_before)?;
    let id = random::key_id()?;
    let base = server.base_url.clone();
    let (key, file) = tokio::task::spawn_blocking({
        let account = account.clone();
        move || {
            let pair = match terms.size {
                KeySize::Rsa1024 => RsaKeyPair::generate_1024()?,
                KeySize::Rsa2048 => RsaKeyPair::generate_2048()?,
            };
            let certificate = self_signed(&pair, &account.unique_id, not_before, not_after)?;
            let file = match terms.file {
                FileForm::Google => {
                    GoogleCredentials::new(file_fields(&account, &id, &base), pair.to_pkcs8_pem()?)
                        .render()?
                }
                FileForm::Pkcs12 => write_pkcs12(&pair, &certificate, GOOGLE_PKCS12_PASSWORD)?,
            };
            let key = Key {
                id,
                account: account.unique_id,
                origin: Origin::Server,
                size: terms.size,
                system: false,
                public_pem: pair.public_pem(),
                certificate_pem: certificate,
                not_before,
                not_after,
                disabled: false,
                created,
                activation_delay: terms.activation_delay,
                attempt: terms.attempt,
            };
            Ok::<_, ApiError>((key, file))
        }
    })
    .await??;
    drop(permit);
    let stored = key.clone();
    let (limit, flavour) = (server.settings.key_limit, server.settings.key_limit_error);
    let account = server
        .store
        .write(move |store| {
            let account = still_there(store, &account)?;
            has_room(store, &account, limit, flavour)?;
            store.put_key(&stored)?;
            Ok::<_, ApiError>(account)
        })
        .await?;
    Ok(Made { account, key, file })
}

/// Keys of the server's own take no place.
fn has_room(
    store: &Write<'_>,
    account: &Account,
    limit: usize,
    flavour: KeyLimitError,
) -> Result<(), ApiError> {
    let taken = store.keys_of(&account.unique_id)?.iter().filter(|key| !key.system).count();
    if taken >= limit { Err(ApiError::KeyLimit { flavour }) } else { Ok(()) }
}

fn still_there(store: &Write<'_>, account: &Account) -> Result<Account, ApiError> {
    store
        .account(&account.unique_id)?
        .filter(|account| account.deleted.is_none())
        .ok_or(ApiError::AccountMissing)
}

/// Everything but the private key of a credentials file that sends its clients to this server.
fn file_fields(account: &Account, key_id: &str, base: &str) -> GoogleFileFields {
    let encoded_email = account.email.replace('@', "%40");
    GoogleFileFields {
        project_id: account.project.clone(),
        private_key_id: key_id.to_owned(),
        client_email: account.email.clone(),
        client_id: account.unique_id.clone(),
        auth_uri: format!("{base}/o/oauth2/auth"),
        token_uri: format!("{base}/token"),
        auth_provider_x509_cert_url: format!("{base}/oauth2/v1/certs"),
        client_x509_cert_url: format!("{base}/robot/v1/metadata/x509/{encoded_email}"),
        // Another value would make Google's clients refuse the file.
        universe_domain: "googleapis.com".to_owned(),
    }
}

/// A time without its fraction.
///
/// # Errors
/// [`ApiError::Time`].
pub fn whole_seconds(time: Timestamp) -> Result<Timestamp, ApiError> {
    Ok(time.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Floor))?)
}

/// `keys.upload`: the public half of a pair that was made elsewhere, in a certificate whose validity it takes over.
pub async fn upload(
    server: &Server,
    at: AccountPath,
    body: &Bytes,
    encoding: EnumEncoding,
    attempt: Option<String>,
) -> Result<Value, ApiError> {
    let request: UploadKey = requests::parse(body, server.settings.strict)?;
    let text = request.certificate()?;
    let refuse = |reason: String| {
        ApiError::invalid(format!(
            "public_key_data must be an X.509 v3 certificate with an RSA key: {reason}"
        ))
    };
    let certificate = parse_certificate(&text).map_err(|error| refuse(error.to_string()))?;
    let public = RsaPublicKey::from_public_key_der(&certificate.spki_der)
        .map_err(|error| refuse(error.to_string()))?;
    if public.n().bits() != UPLOADED_BITS {
        return Err(refuse(format!("{} bits, not {UPLOADED_BITS}", public.n().bits())));
    }
    let certificate_pem = String::from_utf8(text).map_err(|error| refuse(error.to_string()))?;
    let mut key = Key {
        id: random::key_id()?,
        account: String::new(),
        origin: Origin::User,
        size: KeySize::Rsa2048,
        system: false,
        public_pem: spki_pem(&certificate.spki_der)?,
        certificate_pem,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        disabled: false,
        created: server.clock.now(),
        activation_delay: server.tunables.activation_delay(),
        attempt,
    };
    let sight = server.sight();
    let (limit, flavour) = (server.settings.key_limit, server.settings.key_limit_error);
    let policy = server.tunables.org_policy();
    let (account, key) = server
        .store
        .write(move |store| {
            let account = find(store, &sight, &at, Operation::KEYS_UPLOAD)?;
            policy.allow(Ban::KeyUpload, || subject(&account))?;
            key.account.clone_from(&account.unique_id);
            has_room(store, &account, limit, flavour)?;
            store.put_key(&key)?;
            Ok::<_, ApiError>((account, key))
        })
        .await?;
    Ok(Value::Object(render::key(&account, &key, encoding)))
}

/// `attempts.get`: the key that an attempt made, by the nonce that its request carried in the user agent. Keywheel's own, not
/// Google's: there the audit log could tell.
///
/// # Errors
/// [`ApiError::KeyMissing`] if it made none, or one that is gone.
pub async fn of_attempt(server: &Server, nonce: String, encoding: EnumEncoding) -> Result<Value, ApiError> {
    let (account, key) = server
        .store
        .read(move |store| {
            let key = store.key_of_attempt(&nonce)?.ok_or(ApiError::KeyMissing)?;
            let account = store.account(&key.account)?.ok_or(ApiError::KeyMissing)?;
            Ok::<_, ApiError>((account, key))
        })
        .await?;
    Ok(Value::Object(render::key(&account, &key, encoding)))
}

/// `keys.get`; the public half only in the form that was asked for.
pub async fn get(
    server: &Server,
    at: AccountPath,
    id: String,
    query: &Query,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let form = query.enums("publicKeyType")?.pop().unwrap_or(PublicKeyType::None);
    let sight = server.sight();
    let (account, key) = server
        .store
        .read(move |store| {
            let account = find(store, &sight, &at, Operation::KEYS_GET)?;
            let key = store.key(&account.unique_id, &id)?.ok_or(ApiError::KeyMissing)?;
            Ok::<_, ApiError>((account, key))
        })
        .await?;
    Ok(match form {
        PublicKeyType::None => Value::Object(render::key(&account, &key, encoding)),
        PublicKeyType::X509Pem => {
            render::key_with_public_data(&account, &key, &key.certificate_pem, encoding)
        }
        PublicKeyType::Raw => render::key_with_public_data(&account, &key, &key.public_pem, encoding),
    })
}

/// `keys.list`: no pages, no halves.
pub async fn list(
    server: &Server,
    at: AccountPath,
    query: &Query,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let types: Vec<KeyType> = query.enums("keyTypes")?;
    for (index, kind) in types.iter().enumerate() {
        if *kind == KeyType::Unspecified {
            return Err(ApiError::invalid("KEY_TYPE_UNSPECIFIED is not a filter for 'key_types'."));
        }
        if types.iter().take(index).any(|earlier| earlier == kind) {
            return Err(ApiError::invalid("'key_types' must not repeat a type."));
        }
    }
    let wants = |kind: KeyType| types.is_empty() || types.contains(&kind);
    let (users, servers) = (wants(KeyType::UserManaged), wants(KeyType::SystemManaged));
    let (sight, now, delay) = (server.sight(), server.clock.now(), server.tunables.key_list_delay());
    let account = server.store.read(move |store| find(store, &sight, &at, Operation::KEYS_LIST)).await?;
    if servers {
        system_keys::ensure(server, &account).await?;
    }
    let unique_id = account.unique_id.clone();
    let keys = server.store.read(move |store| store.keys_of(&unique_id)).await?;
    let is_shown = |key: &&Key| {
        let old_enough = !delay.is_positive() || now.duration_since(key.created) >= delay;
        if key.system { servers } else { users && old_enough }
    };
    let shown: Vec<Value> =
        keys.iter().filter(is_shown).map(|key| Value::Object(render::key(&account, key, encoding))).collect();
    Ok(if shown.is_empty() { json!({}) } else { json!({ "keys": shown }) })
}

/// A key that users may change: not one of the server's own.
fn changeable(store: &impl Ask, account: &Account, id: &str) -> Result<Key, ApiError> {
    let key = store.key(&account.unique_id, id)?.ok_or(ApiError::KeyMissing)?;
    if key.system {
        return Err(ApiError::FailedPrecondition {
            reason: "A key that the system manages cannot be changed.".to_owned(),
        });
    }
    Ok(key)
}

/// `keys.delete`. Access tokens that the key has earned live on until they end.
pub async fn delete(server: &Server, at: AccountPath, id: String) -> Result<Value, ApiError> {
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let account = find(store, &sight, &at, Operation::KEYS_DELETE)?;
            changeable(store, &account, &id)?;
            store.remove_key(&account.unique_id, &id)?;
            Ok(json!({}))
        })
        .await
}

/// `keys.disable`; doing it twice changes nothing.
pub async fn disable(server: &Server, at: AccountPath, id: String, body: &Bytes) -> Result<Value, ApiError> {
    let request: DisableKey = requests::parse(body, server.settings.strict)?;
    match request.service_account_key_disable_reason {
        None | Some(DisableReason::Unspecified | DisableReason::UserInitiated) => {}
        Some(_) => return Err(ApiError::invalid("Only the server itself can give that disable reason.")),
    }
    set_disabled(server, at, id, Operation::KEYS_DISABLE, true).await
}

/// `keys.enable`; doing it twice changes nothing.
pub async fn enable(server: &Server, at: AccountPath, id: String, body: &Bytes) -> Result<Value, ApiError> {
    let _: Empty = requests::parse(body, server.settings.strict)?;
    set_disabled(server, at, id, Operation::KEYS_ENABLE, false).await
}

async fn set_disabled(
    server: &Server,
    at: AccountPath,
    id: String,
    operation: Operation,
    disabled: bool,
) -> Result<Value, ApiError> {
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let account = find(store, &sight, &at, operation)?;
            let mut key = changeable(store, &account, &id)?;
            if key.disabled != disabled {
                key.disabled = disabled;
                store.put_key(&key)?;
            }
            Ok(json!({}))
        })
        .await
}
