//! Pairs that are made here: made, uploaded, found again by their public half.

use std::time::Duration;

use super::material::Raw;
use super::world::World;
use super::{Memory, staging};
use crate::backend::BackendError;
use crate::controller::registry::Login;
use crate::controller::{Context, Error};
use crate::credential::{Expiry, RsaKeyPair, SecretBytes, self_signed};
use crate::domain::Class;
use crate::domain::key::{Account, KeyList, ListedKey, Refusal, Upload};
use crate::domain::schedule::{add, sub};

/// A certificate is valid from a little before: clocks differ.
const EARLIER: Duration = Duration::from_mins(5);
/// Subject of the certificates: they can be read by everybody, so they say nothing.
const SUBJECT: &str = "unused";

/// A pair for the next attempt, made once a reconcile: that takes as long as many reads.
pub async fn make(ctx: &Context, memory: &mut Memory) -> Result<(), Error> {
    if memory.pair.is_none() {
        let entropy = ctx.entropy.clone();
        let made = tokio::task::spawn_blocking(move || entropy.rsa_pair()).await;
        let pair = made.map_err(|e| Error::Panicked { message: e.to_string() })??;
        memory.pair = Some((pair.public_key_sha256(), pair.to_pkcs8_pem()?));
    }
    Ok(())
}

/// Stages the pair of the open attempt. Its key is known by its public half from the intent on, so an answer that is lost
/// costs nothing: the next pass finds the staging Secret, or an attempt without one.
pub async fn stage_pair(ctx: &Context, world: &World, nonce: &str, memory: &mut Memory) -> Result<(), Error> {
    world.pass.may_send(ctx, "stage")?;
    let status = world.observation.status.as_ref();
    let pending = status.and_then(|s| s.pending.as_ref());
    let missing = |what| Error::Missing { step: "stage", what };
    let wanted =
        pending.and_then(|p| p.public_key_sha256.clone()).ok_or(missing("the pair's fingerprint"))?;
    let pem = match memory.pair.take() {
        Some((fingerprint, pem)) if fingerprint == wanted => pem,
        // A pair is never made a second time under one intent.
        _ => return Err(missing("the pair of the intent")),
    };
    memory.sent = Some(nonce.to_owned());
    let raw = Raw::Pair(pem);
    let attempt = staging::attempt_of(world, nonce);
    let secret = staging::build(world, nonce, attempt, staging::StagedKey::default(), &raw);
    match ctx.io.create(&world.secrets, &secret, false).await {
        Ok(_) => {
            memory.sent = None;
            memory.staged_here = Some(nonce.to_owned());
        }
        Err(error) => {
            tracing::warn!(%error, nonce, "the pair is not staged");
            if let Some(message) = error.refusal() {
                memory.refused = Some(Refusal::Unstageable { message: message.to_owned() });
            }
        }
    }
    memory.staged.push(kube::ResourceExt::name_any(&secret));
    Ok(())
}

/// Uploads the public half of the staged pair, in one request.
pub async fn upload(
    ctx: &Context,
    world: &World,
    login: &Login,
    account: &Account,
    nonce: &str,
    memory: &mut Memory,
) -> Result<(), Error> {
    let missing = |what| Error::Missing { step: "upload", what };
    let pem = world.staged.iter().find(|(n, _)| n == nonce).and_then(|(_, raw)| match raw {
        Raw::Pair(pem) => Some(pem),
        Raw::File(_) => None,
    });
    let certificate = certificate(ctx, world, pem.ok_or(missing("the staged pair"))?)?;
    // Used up before it leaves: whatever becomes of the answer, the next upload comes after a look.
    let first = memory.staged_here.as_deref() == Some(nonce);
    memory.upload = None;
    match login.now().upload_key(&account.unique_id, &certificate, nonce).await {
        Ok(key) => {
            memory.staged_here = None;
            let there = Upload::There {
                id: key.id,
                created_at: key.created_at,
                expires_at: key.expires_at,
                disabled: false,
                only: first,
            };
            memory.upload = Some((nonce.to_owned(), there));
            Ok(())
        }
        Err(error) => {
            let trouble = error.trouble();
            if trouble.class.is_definite_refusal() {
                memory.upload = Some((nonce.to_owned(), Upload::Refused(trouble)));
                return Ok(());
            }
            memory.staged_here = None;
            Err(error.into())
        }
    }
}

fn certificate(ctx: &Context, world: &World, pem: &SecretBytes) -> Result<String, Error> {
    let pair = RsaKeyPair::from_pkcs8_pem(pem)?;
    let now = ctx.clock.now();
    let validity = world.object.spec.validity.as_ref().and_then(|v| v.to_duration().ok());
    let end = validity.map_or(Expiry::Never, |validity| Expiry::At(add(now, validity)));
    Ok(self_signed(&pair, SUBJECT, sub(now, EARLIER), end)?)
}

/// Looks for the staged pair of an attempt among the keys of the account.
pub async fn find(ctx: &Context, world: &mut World, nonce: &str) -> Result<Upload, Error> {
    let staged = world.observation.staged.iter().find(|s| s.nonce == nonce);
    let wanted = staged.and_then(|s| s.public_key_sha256.clone());
    let wanted = wanted.ok_or(Error::Missing { step: "find", what: "the staged pair" })?;
    let list = super::ask::list(ctx, world).await;
    let keys = match &list {
        KeyList::Unreadable(trouble) => return Ok(Upload::Unavailable(trouble.clone())),
        KeyList::Listed { keys, .. } => keys.clone(),
    };
    for key in keys.iter().filter(|k| !k.made_by_backend) {
        match fingerprint(world, key).await {
            Ok(found) if found == wanted => {
                return Ok(Upload::There {
                    id: key.id.clone(),
                    created_at: key.created_at,
                    expires_at: key.expires_at,
                    disabled: key.disabled,
                    only: false,
                });
            }
            Ok(_) => {}
            // Gone since it was listed: it is not the one.
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => return Ok(Upload::Unavailable(error.trouble())),
        }
    }
    Ok(Upload::NotThere)
}

/// The list with the fingerprint of each uploaded key that the ledger does not know already. One that is gone since it was
/// listed leaves the list.
pub async fn fingerprints(world: &World, list: &mut KeyList) {
    let KeyList::Listed { keys, backend_time } = &*list else { return };
    let known = world.observation.status.as_ref().map(|s| s.keys.as_slice()).unwrap_or_default();
    let mut named = Vec::new();
    for key in keys {
        if key.made_by_backend || known.iter().any(|own| own.id == key.id) {
            named.push(key.clone());
            continue;
        }
        match fingerprint(world, key).await {
            Ok(found) => named.push(ListedKey { public_key_sha256: Some(found), ..key.clone() }),
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => {
                *list = KeyList::Unreadable(error.trouble());
                return;
            }
        }
    }
    *list = KeyList::Listed { keys: named, backend_time: *backend_time };
}

async fn fingerprint(world: &World, key: &ListedKey) -> Result<String, BackendError> {
    let (Some(login), Some(account)) = (&world.login, world.observation.account.reachable()) else {
        return Err(BackendError::Incomplete { call: "keys.get", what: "backend" });
    };
    login.read(&world.namespace()).await.key_fingerprint(&account.unique_id, &key.id).await
}
