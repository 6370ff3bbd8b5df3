//! One effect, then the status that records it.

use kube::ResourceExt as _;

use super::consumer;
use super::material::{Raw, Stored};
use super::world::World;
use super::{Memory, rollout, staging, upload};
use crate::api::v1alpha1::meta;
use crate::backend::{IamBackend, MintedKey};
use crate::controller::registry::Login;
use crate::controller::{Context, Error};
use crate::defect;
use crate::domain::Class;
use crate::domain::key::{Account, Plan, Publication, Refusal, Step};

/// Takes a step and writes the status that the plan foresees for it.
pub async fn act(
    ctx: &Context,
    world: &World,
    step: &Step,
    plan: &Plan,
    memory: &mut Memory,
) -> Result<(), Error> {
    match step {
        Step::AddFinalizer => {
            let mut finalizers = world.object.finalizers().to_vec();
            finalizers.push(meta::FINALIZER.to_owned());
            ctx.io.set_finalizers(&world.objects, &world.object, &finalizers).await?;
            memory.own_finalizer = true;
            return Ok(());
        }
        Step::RemoveFinalizer => {
            let finalizers: Vec<String> =
                world.object.finalizers().iter().filter(|f| *f != meta::FINALIZER).cloned().collect();
            ctx.io.set_finalizers(&world.objects, &world.object, &finalizers).await?;
            return Ok(());
        }
        Step::WriteStatus => {
            let intent = plan.status.pending.as_ref().filter(|p| p.nonce == world.observation.fresh_nonce);
            if let Some(intent) = intent.filter(|p| defect!(NoIntent) && p.public_key_sha256.is_none()) {
                create(ctx, world, &intent.nonce, memory).await?;
            }
        }
        Step::Create { nonce } => return create(ctx, world, nonce, memory).await,
        Step::StagePair { nonce } => return upload::stage_pair(ctx, world, nonce, memory).await,
        Step::Upload { nonce } => {
            let (login, account) = in_time(ctx, world, "upload")?;
            return upload::upload(ctx, world, login, account, nonce, memory).await;
        }
        Step::TakeOver { keep } => {
            let secret = world.secret.as_ref().ok_or(missing("take over", "the Secret"))?;
            ctx.io.replace(&world.secrets, &consumer::taken_over(world, secret, *keep), false).await?;
        }
        Step::DeleteFormer { name, uid, resource_version } => {
            ctx.io.delete(&world.secrets, name, uid, Some(resource_version)).await?;
        }
        Step::Restart { workload, key_id } => {
            in_time(ctx, world, "restart")?;
            rollout::restart(ctx, world, workload, key_id).await?;
        }
        Step::Publish(publication) => {
            publish(ctx, world, publication).await?;
            if publication.staged_nonce.is_none() {
                ctx.rewrites.count(world.uid(), ctx.clock.now(), &ctx.timing);
            }
        }
        Step::Unstage { name, uid } => {
            ctx.io.delete(&world.secrets, name, uid, None).await?;
            let namespace = world.object.namespace().unwrap_or_default();
            ctx.staging.gone(&namespace, &world.observation.name, name);
            memory.staged.retain(|n| n != name);
        }
        Step::Fence { mark } => {
            let secret = world.secret.as_ref().ok_or(missing("fence", "the Secret"))?;
            if !defect!(FenceOnPaper) {
                ctx.io.replace(&world.secrets, &consumer::fenced(ctx, secret, mark), false).await?;
            }
        }
        Step::EnableKey { id } => {
            let (backend, account) = at_its_turn(ctx, world, "enable").await?;
            match backend.enable_key(&account.unique_id, id).await {
                // A key that is gone cannot be enabled; it is recorded as published, and replaced at once.
                Err(error) if error.class() == Class::NotFound => {}
                other => other?,
            }
        }
        Step::DisableKey { id } => {
            let (backend, account) = at_its_turn(ctx, world, "disable").await?;
            done_or_gone(backend.disable_key(&account.unique_id, id).await)?;
        }
        Step::DeleteKey { id } => {
            let (backend, account) = at_its_turn(ctx, world, "delete").await?;
            done_or_gone(backend.delete_key(&account.unique_id, id).await)?;
        }
        Step::DeleteSecret { uid, resource_version } => {
            ctx.io.delete(&world.secrets, &world.secret_name, uid, Some(resource_version)).await?;
        }
    }
    write_status(ctx, world, plan).await?;
    if plan.status != world.observation.status.clone().unwrap_or_default() {
        // From now on an absent status is a lost one.
        memory.own_finalizer = false;
    }
    let opened = plan.status.pending.as_ref().filter(|_| *step == Step::WriteStatus);
    let known = world.observation.status.as_ref().and_then(|s| s.pending.as_ref());
    if let Some(pending) = opened.filter(|p| known.is_none_or(|k| k.nonce != p.nonce)) {
        memory.own_intent = Some(pending.nonce.clone());
        // What was learned of an earlier attempt says nothing about this one.
        memory.refused = None;
        memory.sent = None;
        memory.upload = None;
        memory.staged_here = None;
    }
    Ok(())
}

/// Writes the status of a plan, guarded, if it differs from the one that was read.
pub async fn write_status(ctx: &Context, world: &World, plan: &Plan) -> Result<(), Error> {
    if world.observation.status.as_ref() == Some(&plan.status) {
        return Ok(());
    }
    let mut after = world.object.clone();
    after.status = Some(plan.status.clone());
    if defect!(BlindStatus) {
        let newest = ctx.io.get(&world.objects, &world.observation.name).await?;
        after.metadata.resource_version = newest.and_then(|o| o.resource_version());
    }
    ctx.io.replace_status(&world.objects, &after).await?;
    Ok(())
}

fn missing(step: &'static str, what: &'static str) -> Error {
    Error::Missing { step, what }
}

/// An unguarded request leaves only while the reads that it rests on are young.
fn in_time<'w>(
    ctx: &Context,
    world: &'w World,
    step: &'static str,
) -> Result<(&'w Login, &'w Account), Error> {
    world.pass.may_send(ctx, step)?;
    let login = world.login.as_deref().ok_or(missing(step, "the backend"))?;
    let account = world.observation.account.reachable().ok_or(missing(step, "the account"))?;
    Ok((login, account))
}

/// The backend, once the namespace may send it a request, if what was read is still young then.
async fn at_its_turn<'w>(
    ctx: &Context,
    world: &'w World,
    step: &'static str,
) -> Result<(&'w dyn IamBackend, &'w Account), Error> {
    let (login, account) = in_time(ctx, world, step)?;
    let namespace = world.namespace();
    let backend = login.read(&namespace).await;
    world.pass.may_send(ctx, step).inspect_err(|_| login.give_back(&namespace))?;
    Ok((backend, account))
}

/// What is ended already, is ended.
fn done_or_gone(outcome: Result<(), crate::backend::BackendError>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.class() == Class::NotFound => Ok(()),
        Err(error) if defect!(Denied404) && error.class() == Class::Forbidden => Ok(()),
        other => Ok(other?),
    }
}

/// Sends the one create that the intent allows, and stages its answer before anything else happens.
async fn create(ctx: &Context, world: &World, nonce: &str, memory: &mut Memory) -> Result<(), Error> {
    let (login, account) = in_time(ctx, world, "create")?;
    let algorithm = world.object.spec.algorithm.unwrap_or_default().as_str();
    // Used up before it leaves: whatever happens to the answer, there is no second one.
    memory.sent = Some(nonce.to_owned());
    match login.now().create_key(&account.unique_id, &account.email, algorithm, nonce).await {
        Ok(minted) => stage(ctx, world, login, account, nonce, minted, memory).await,
        Err(error) => {
            tracing::warn!(%error, nonce, "no key was handed out");
            let trouble = error.trouble();
            if trouble.class.is_definite_refusal() || defect!(UnknownIsRefusal) {
                memory.refused = Some(Refusal::ByBackend(trouble));
            }
        }
    }
    Ok(())
}

/// Stores the credential. The name is the attempt's own, so a POST that got no answer may be repeated: the second
/// one finds the first. What the API server refuses for good is deleted at the backend at once, unseen by anyone:
/// the answer is our proof that it is ours. What may have been stored is left, and the attempt is lost.
async fn stage(
    ctx: &Context,
    world: &World,
    login: &Login,
    account: &Account,
    nonce: &str,
    minted: MintedKey,
    memory: &mut Memory,
) {
    let attempt = staging::attempt_of(world, nonce);
    let key = staging::StagedKey {
        id: Some(&minted.id),
        created_at: minted.created_at,
        expires_at: minted.expires_at,
    };
    let raw = Raw::File(minted.credential);
    let secret = staging::build(world, nonce, attempt, key, &raw);
    let begun = ctx.clock.since_boot();
    let mut unanswered = false;
    let error = loop {
        match ctx.io.create(&world.secrets, &secret, false).await {
            Ok(_) => return memory.staged.push(secret.name_any()),
            Err(error) if unanswered && error.is_already_exists() => {
                return memory.staged.push(secret.name_any());
            }
            Err(error) if error.refusal().is_some() || error.is_already_exists() => break error,
            Err(error) => {
                tracing::warn!(%error, nonce, "the key is not staged yet");
                unanswered = true;
            }
        }
        // Also after the first one: a process that was paused finds its own timeout, and what it sent stored by then.
        if ctx.clock.since_boot().saturating_sub(begun) > ctx.timing.send_window {
            return;
        }
        tokio::time::sleep(ctx.timing.retry_base).await;
    };
    tracing::warn!(%error, nonce, key = minted.id, "the key cannot be staged");
    if unanswered || world.pass.may_send(ctx, "discard").is_err() {
        return;
    }
    let message = error.refusal().unwrap_or("the name of the staging Secret is taken").to_owned();
    match login.now().delete_key(&account.unique_id, &minted.id).await {
        Ok(()) => memory.refused = Some(Refusal::Unstageable { message }),
        Err(error) => {
            tracing::warn!(%error, key = minted.id, "the key that cannot be staged is not deleted either");
        }
    }
}

/// The private half of the active key: in the Secret, or in that of the name before.
fn published(world: &World) -> Option<&Stored> {
    let renamed = world.renamed.as_ref().and_then(|(_, materials)| materials.current.as_ref());
    world.materials.current.as_ref().or(renamed)
}

/// The private half of the key that `.previous` shall show.
fn previous<'w>(world: &'w World, id: &str) -> Option<&'w Stored> {
    let secret = world.observation.secret.ours()?;
    if secret.key_id.as_deref() == Some(id) {
        world.materials.current.as_ref()
    } else {
        world.materials.previous.as_ref().filter(|_| secret.previous_key_id.as_deref() == Some(id))
    }
}

/// The one write that changes what workloads read. The first one cannot be guarded, and all say when: they must leave
/// in time.
async fn publish(ctx: &Context, world: &World, publication: &Publication) -> Result<(), Error> {
    let material = match &publication.staged_nonce {
        Some(nonce) => world.staged_material(nonce)?,
        None => published(world).ok_or(missing("publish", "the published private half"))?.material()?,
    };
    let previous = publication.previous.as_ref().and_then(|id| previous(world, id));
    let previous = previous.map(Stored::material).transpose()?;
    let mut secret = consumer::build(world, publication, &material, previous.as_ref())?;
    // Guarded or not: the overlap of the key before counts from the time that is written now.
    if !defect!(PostWithoutLease) {
        in_time(ctx, world, "publish")?;
    }
    if defect!(BlindPublish) {
        secret.metadata.resource_version = None;
    }
    let outcome = if world.secret.is_some() {
        ctx.io.replace(&world.secrets, &secret, false).await
    } else {
        ctx.io.create(&world.secrets, &secret, false).await
    };
    match outcome {
        // Somebody made it since it was read as absent: the next pass sees whose it is.
        Err(error) if error.is_already_exists() => Err(Error::TooLate { step: "publish" }),
        Err(error) => Err(Error::from(error)),
        Ok(_) => Ok(()),
    }
}
