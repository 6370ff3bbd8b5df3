//! Answers to what a plan asks for.

use std::num::NonZeroU32;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::ResourceExt as _;

use super::material::Raw;
use super::observe::unchanged;
use super::world::World;
use super::{Memory, consumer, public_halves, rollout, siblings, staging, upload};
use crate::backend::ExchangeError;
use crate::controller::registry::Login;
use crate::controller::{Context, Error};
use crate::credential::SecretBytes;
use crate::defect;
use crate::domain::key::{KeyList, LastUse, Need, Preflight, Proof};
use crate::domain::{Class, Trouble, names};
use crate::kube_io::KubeIoError;

/// Size of the credential that the dry runs pretend to store: that of a Google credentials file for RSA-2048.
const TYPICAL_CREDENTIAL: usize = 2400;

/// Reads what is needed into the world. `false`: the Secret changed, the pass is void.
pub async fn ask(ctx: &Context, world: &mut World, need: &Need, memory: &mut Memory) -> Result<bool, Error> {
    match need {
        Need::Confirm if defect!(NoConfirm) => world.observation.confirmed = true,
        Need::Confirm => {
            let again = ctx.io.get(&world.secrets, &world.secret_name).await?;
            if !unchanged(&world.observation.secret, again.as_ref(), world.secret.as_ref()) {
                return Ok(false);
            }
            if !others_unchanged(ctx, world).await? {
                return Ok(false);
            }
            world.observation.confirmed = true;
        }
        Need::Keys => world.observation.keys = Some(list(ctx, world).await),
        Need::Fingerprints => {
            let mut listed = list(ctx, world).await;
            upload::fingerprints(world, &mut listed).await;
            world.observation.keys = Some(listed);
        }
        Need::Audit => audit(ctx, world).await,
        Need::Siblings => world.observation.siblings = Some(siblings::siblings(ctx, world).await?),
        Need::Rollout => world.observation.rollout = Some(rollout::rollouts(ctx, world).await),
        Need::LastUse { id } => {
            let told = last_use(world, id).await;
            world.observation.last_use.insert(id.clone(), told);
        }
        Need::PublicHalf { id } => public_halves::ask(ctx, world, id, memory).await,
        // It takes as long as many reads: what was read before it is read again.
        Need::Pair => {
            upload::make(ctx, memory).await?;
            return Ok(false);
        }
        Need::Find { nonce } => world.observation.upload = Some(upload::find(ctx, world, nonce).await?),
        Need::SecretProof => world.observation.secret_proof = Some(prove_published(ctx, world).await?),
        Need::Preflight => world.observation.preflight = Some(preflight(ctx, world).await?),
        Need::Proof { nonce, times } => {
            let proof = prove(ctx, world, nonce, *times).await?;
            world.observation.proof = Some(proof);
        }
    }
    Ok(true)
}

async fn last_use(world: &World, id: &str) -> Result<LastUse, Trouble> {
    let login = world.login.as_ref().zip(world.observation.account.reachable());
    let Some((login, account)) = login else {
        return Err(Trouble::new(Class::Unknown, "the backend of the account is not known"));
    };
    let told = login.read(&world.namespace()).await.last_use(&account.email, id).await;
    told.map_err(|error| error.trouble())
}

/// Secrets of other names count as publishing, too.
async fn others_unchanged(ctx: &Context, world: &World) -> Result<bool, Error> {
    let renamed = world.renamed.iter().map(|(secret, _)| secret);
    for before in renamed.chain(&world.former) {
        let now = ctx.io.get(&world.secrets, &before.name_any()).await?;
        let version = |s: &KubeSecret| (s.uid(), s.resource_version());
        if now.as_ref().map(version) != Some(version(before)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What any object saw of the account lately, or else a list of our own.
async fn audit(ctx: &Context, world: &mut World) {
    let account = world.observation.account.reachable().map(|a| names::account(&a.project, &a.unique_id));
    let since = world.observation.looked_at;
    let recent = account.and_then(|account| ctx.looks.recent(&account, since, ctx.clock.now(), &ctx.timing));
    match recent {
        Some(list) => world.observation.audited = Some(list),
        None => world.observation.keys = Some(list(ctx, world).await),
    }
}

/// Lists the keys of the account, for this object and for the audits of all others.
pub(super) async fn list(ctx: &Context, world: &mut World) -> KeyList {
    let mut list = list_now(ctx, world).await;
    attribute(world, &mut list).await;
    if let (KeyList::Listed { .. }, Some(account)) = (&list, world.observation.account.reachable()) {
        let account = names::account(&account.project, &account.unique_id);
        ctx.looks.listed(&account, ctx.clock.now(), &list, &ctx.timing);
    }
    list
}

/// Names the keys of lost attempts, where the backend can. Without its answer nothing is decided on the list.
async fn attribute(world: &World, answer: &mut KeyList) {
    let KeyList::Listed { keys, .. } = answer else { return };
    let Some(login) = world.login.as_ref().filter(|login| login.facts().can.names_attempts) else {
        return;
    };
    let status = world.observation.status.as_ref();
    let lost = status.into_iter().flat_map(|status| &status.lost);
    for nonce in lost.filter(|lost| lost.public_key_sha256.is_none()).map(|lost| &lost.nonce) {
        match login.read(&world.namespace()).await.key_of_attempt(nonce).await {
            Ok(id) => {
                for key in keys.iter_mut().filter(|key| Some(&key.id) == id.as_ref()) {
                    key.nonce = Some(nonce.clone());
                }
            }
            Err(error) => {
                *answer = KeyList::Unreadable(error.trouble());
                return;
            }
        }
    }
}

/// A list may be the one before an intent, whose create leaves at once.
const LIST_AND_CREATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

async fn list_now(ctx: &Context, world: &mut World) -> KeyList {
    let (Some(login), Some(account)) = (world.login.clone(), world.observation.account.reachable()) else {
        return KeyList::Unreadable(Trouble::new(Class::Unknown, "the backend of the account is not known"));
    };
    let backend = login.turn(&world.namespace(), LIST_AND_CREATE).await;
    let mut listing = backend.list_keys(&account.unique_id).await;
    let refused = listing.as_ref().err().is_some_and(|e| e.class() == Class::Unauthenticated);
    if let Some(id) = world.backend.as_ref().filter(|_| refused) {
        // The login Secret may have been replaced since it was read; it is not watched.
        if let Ok(Ok((renewed, _))) = ctx.backends.resolve(ctx, id).await
            && !Arc::ptr_eq(&renewed, &login)
        {
            listing = renewed.read(&world.namespace()).await.list_keys(&account.unique_id).await;
            world.login = Some(renewed);
        }
    }
    match listing {
        Ok(listing) => {
            if let Some(login) = &world.login {
                login.compare_clock(listing.backend_time, ctx.clock.as_ref());
            }
            KeyList::Listed { keys: listing.keys, backend_time: listing.backend_time }
        }
        Err(error) => {
            tracing::info!(%error, "keys cannot be listed");
            KeyList::Unreadable(error.trouble())
        }
    }
}

/// Would both Secrets be stored? Asked with random bytes of the real size, never with key material.
async fn preflight(ctx: &Context, world: &World) -> Result<Preflight, Error> {
    let mut noise = vec![0_u8; TYPICAL_CREDENTIAL];
    ctx.entropy.fill(&mut noise)?;
    let noise = SecretBytes::new(noise);
    let key = staging::StagedKey { id: Some("dry-run"), ..staging::StagedKey::default() };
    let noise = Raw::File(noise);
    let staged = staging::build(world, &world.observation.fresh_nonce, 0, key, &noise);
    let (Raw::File(noise) | Raw::Pair(noise)) = noise;
    if let Some(refusal) = refused(ctx.io.create(&world.secrets, &staged, true).await)? {
        return Ok(refusal);
    }
    let consumer = consumer::dry_run(world, &noise);
    let outcome = if world.secret.is_some() {
        ctx.io.replace(&world.secrets, &consumer, true).await
    } else {
        ctx.io.create(&world.secrets, &consumer, true).await
    };
    Ok(refused(outcome)?.unwrap_or(Preflight::Accepted))
}

/// A webhook that cannot answer a dry run says nothing about the real write.
fn refused(outcome: Result<KubeSecret, KubeIoError>) -> Result<Option<Preflight>, Error> {
    match outcome {
        Ok(_) => Ok(None),
        Err(error) => match error.refusal() {
            Some(message) if message.contains("does not support dry run") => {
                tracing::info!(message, "a webhook cannot answer a dry run");
                Ok(None)
            }
            Some(message) => Ok(Some(Preflight::Refused { message: message.to_owned() })),
            None => Err(error.into()),
        },
    }
}

async fn prove(ctx: &Context, world: &World, nonce: &str, times: u32) -> Result<Proof, Error> {
    let missing = |what| Error::Missing { step: "proof", what };
    let login = world.login.as_ref().ok_or_else(|| missing("the backend"))?;
    let credential = world.staged_material(nonce)?.file()?;
    exchange(ctx, world, login, &credential, times).await
}

/// Whether the backend accepts what the consumer Secret holds.
async fn prove_published(ctx: &Context, world: &World) -> Result<Proof, Error> {
    let missing = |what| Error::Missing { step: "proof", what };
    let login = world.login.as_ref().ok_or_else(|| missing("the backend"))?;
    let stored = world.materials.marked.as_ref().ok_or_else(|| missing("the Secret's credential"))?;
    exchange(ctx, world, login, &stored.material()?.file()?, 1).await
}

async fn exchange(
    ctx: &Context,
    world: &World,
    login: &Login,
    credential: &SecretBytes,
    times: u32,
) -> Result<Proof, Error> {
    let basic_auth = world.observation.account.reachable().is_some_and(|account| account.basic_auth);
    for _ in 0..times {
        match login.now().exchange(credential, basic_auth, ctx.clock.now()).await {
            Ok(()) => {}
            Err(ExchangeError::KeyRefused { description }) => {
                return Ok(Proof::Refused { message: description });
            }
            Err(ExchangeError::Unavailable(error)) => return Ok(Proof::Unavailable(error.trouble())),
            Err(ExchangeError::Credential(error)) => {
                return Ok(Proof::Refused { message: format!("the staged credential is unusable: {error}") });
            }
        }
    }
    Ok(Proof::Accepted { times })
}
