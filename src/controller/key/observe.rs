//! Reads, in the order that the protocol asks for: consumer Secret, object, staging Secrets; then the account's
//! own object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::material::Raw;
use super::world::World;
use super::{Memory, consumer, public_halves, requests, staging};
use crate::api::v1alpha1::{ServiceAccount, ServiceAccountKey, meta};
use crate::controller::pass::Pass;
use crate::controller::registry::{BackendId, Login};
use crate::controller::{Context, Error};
use crate::defect;
use crate::domain::conditions::{self, READY};
use crate::domain::key::{Account, AccountView, Former, Observation, Proof, Secret, Staged, Upload};
use crate::domain::{Reason, names};

/// Reads everything. `None`: the object is gone.
pub async fn observe(
    ctx: &Context,
    hint: &ServiceAccountKey,
    memory: &Memory,
) -> Result<Option<World>, Error> {
    let pass = Pass::begin(ctx)?;
    let (namespace, name) = (&*hint.namespace().unwrap_or_default(), &*hint.name_any());
    let objects = ctx.io.namespaced::<ServiceAccountKey>(namespace);
    let secrets = ctx.io.namespaced::<KubeSecret>(namespace);
    // Secrets are read before the object, by the names that the cached object gives. An object that was renamed since
    // shows other names: then all is read again.
    let mut names = SecretNames::of(hint);
    let (secret, renamed, former, object) = loop {
        let mut early = None;
        if defect!(ReadOrder) {
            early = ctx.io.get(&objects, name).await?;
        }
        let secret = ctx.io.get(&secrets, &names.current).await?;
        let mut renamed = None;
        if let Some(name) = &names.renamed {
            renamed = ctx.io.get(&secrets, name).await?;
        }
        let mut former = Vec::new();
        for name in &names.former {
            former.extend(ctx.io.get(&secrets, name).await?);
        }
        let object = if early.is_some() { early } else { ctx.io.get(&objects, name).await? };
        let Some(object) = object else { return Ok(None) };
        let now = SecretNames::of(&object);
        if now == names {
            break (secret, renamed, former, object);
        }
        names = now;
    };
    let uid = object.uid().unwrap_or_default();
    let staging_secrets = read_staging(ctx, &secrets, &object, namespace, memory).await?;
    let (account, bound) = account_view(ctx, &object, namespace).await?;
    let (backend, login) = bound.unzip();
    let (secret_view, materials) =
        consumer::read(secret.as_ref(), &object, account.reachable(), login.as_deref(), &ctx.halves);
    let (renamed_view, renamed_materials) =
        consumer::read(renamed.as_ref(), &object, account.reachable(), login.as_deref(), &ctx.halves);
    let sources = [(secret.as_ref(), &materials), (renamed.as_ref(), &renamed_materials)];
    let halves = public_halves::known(sources, &object, memory);
    let renamed = renamed.map(|secret| (secret, renamed_materials));
    let former_view = former.iter().filter_map(|secret| former_secret(secret, &uid)).collect();
    let now = ctx.clock.now();

    let (staged_view, staged) = what_is_staged(ctx, &staging_secrets, &uid);
    let observation = Observation {
        name: name.to_owned(),
        generation: object.metadata.generation,
        created_at: object.metadata.creation_timestamp.as_ref().map_or_else(|| ctx.clock.now(), |t| t.0),
        deleting: object.metadata.deletion_timestamp.is_some(),
        has_finalizer: object.finalizers().iter().any(|f| f == meta::FINALIZER),
        requests: requests::read(object.annotations()),
        spec: object.spec.clone(),
        status: object.status.clone(),
        secret: secret_view,
        renamed_from: renamed_view.ours().cloned(),
        former: former_view,
        staged: staged_view,
        account,
        keys: None,
        audited: None,
        looked_at: ctx.looks.looked_at(&uid, now, ctx.timing.audit),
        siblings: None,
        rollout: None,
        last_use: BTreeMap::new(),
        public_halves: halves,
        fresh_pair: memory.pair.as_ref().map(|(fingerprint, _)| fingerprint.clone()),
        staged_here: memory.staged_here.clone(),
        upload: uploaded_before(&object, memory),
        preflight: None,
        proof: proved_before(&object, memory),
        secret_proof: None,
        confirmed: false,
        own_finalizer: memory.own_finalizer,
        own_intent: memory.own_intent.clone(),
        sent: memory.sent.clone(),
        refused: memory.refused.clone(),
        rewrites_resume: ctx.rewrites.resume(&uid, &ctx.timing),
        put_off: ctx.refusals.fresh(&uid, now),
        fresh_nonce: ctx.nonce()?,
        uid,
    };
    Ok(Some(World {
        observation,
        object,
        objects,
        secrets,
        secret_name: names.current,
        secret,
        materials,
        renamed,
        former,
        public_halves: memory.public_halves.clone(),
        staged,
        backend,
        login,
        pass,
    }))
}

/// What staging Secrets say, in the order of their names, and the credentials in them.
fn what_is_staged(ctx: &Context, secrets: &[KubeSecret], uid: &str) -> (Vec<Staged>, Vec<(String, Raw)>) {
    let (mut views, mut credentials) = (Vec::new(), Vec::new());
    for secret in secrets {
        if let Some((view, credential)) = staging::read(secret, uid, &ctx.halves) {
            credentials.push((view.nonce.clone(), credential));
            views.push(view);
        }
    }
    views.sort_by(|a, b| a.name.cmp(&b.name));
    (views, credentials)
}

fn proved_before(object: &ServiceAccountKey, memory: &Memory) -> Option<Proof> {
    let pending = object.status.as_ref().and_then(|s| s.pending.as_ref())?;
    let (_, times) = memory.proved.as_ref().filter(|(nonce, _)| *nonce == pending.nonce)?;
    Some(Proof::Accepted { times: *times })
}

fn uploaded_before(object: &ServiceAccountKey, memory: &Memory) -> Option<Upload> {
    let pending = object.status.as_ref().and_then(|s| s.pending.as_ref())?;
    memory.upload.as_ref().filter(|(nonce, _)| *nonce == pending.nonce).map(|(_, upload)| upload.clone())
}

/// Names of the Secrets that an object publishes in.
#[derive(PartialEq, Eq)]
struct SecretNames {
    current: String,
    /// The one that the status names, where the spec names another.
    renamed: Option<String>,
    former: Vec<String>,
}

impl SecretNames {
    fn of(object: &ServiceAccountKey) -> Self {
        let current = object.spec.secret.name.clone().unwrap_or_else(|| object.name_any());
        let status = object.status.as_ref();
        Self {
            renamed: status.and_then(|s| s.secret_name.clone()).filter(|name| *name != current),
            former: status.iter().flat_map(|s| &s.former_secrets).map(|f| f.name.clone()).collect(),
            current,
        }
    }
}

/// The finalizers of a Secret that is being deleted.
pub fn held_by(secret: &KubeSecret) -> Option<String> {
    secret.metadata.deletion_timestamp.as_ref().map(|_| secret.finalizers().join(", "))
}

fn former_secret(secret: &KubeSecret, uid: &str) -> Option<Former> {
    if secret.annotations().get(meta::OWNER_UID).map(String::as_str) != Some(uid) {
        return None;
    }
    Some(Former {
        name: secret.name_any(),
        uid: secret.uid()?,
        resource_version: secret.resource_version()?,
        key_ids: consumer::published_ids(secret),
        held_by: held_by(secret),
    })
}

/// Staging Secrets by name: of the open attempt, of lost ones, and those that the watch has shown. With no
/// status nobody knows a name: then by label.
async fn read_staging(
    ctx: &Context,
    secrets: &Api<KubeSecret>,
    object: &ServiceAccountKey,
    namespace: &str,
    memory: &Memory,
) -> Result<Vec<KubeSecret>, Error> {
    let uid = object.uid().unwrap_or_default();
    let name = object.name_any();
    let Some(status) = &object.status else {
        let params = ListParams::default().labels(&format!("{}={}", meta::STAGING_LABEL, meta::OWNED_VALUE));
        let found = ctx.io.list(secrets, &params).await?;
        return Ok(found
            .into_iter()
            .filter(|s| s.annotations().get(meta::OWNER_UID) == Some(&uid))
            .collect());
    };
    let mut wanted: BTreeSet<String> = ctx.staging.of(namespace, &name);
    wanted.extend(memory.staged.iter().cloned());
    wanted.extend(status.pending.iter().map(|p| names::staging_secret(&uid, &p.nonce)));
    wanted.extend(status.lost.iter().map(|l| names::staging_secret(&uid, &l.nonce)));
    let mut found = Vec::new();
    for candidate in wanted {
        match ctx.io.get(secrets, &candidate).await? {
            Some(secret) => {
                // The status forgets the name before the Secret goes; the watch may not have told it.
                ctx.staging.seen(namespace, &name, &candidate);
                found.push(secret);
            }
            None => ctx.staging.gone(namespace, &name, &candidate),
        }
    }
    Ok(found)
}

/// The account by its own controller's word, and the backend it is at.
async fn account_view(
    ctx: &Context,
    object: &ServiceAccountKey,
    namespace: &str,
) -> Result<(AccountView, Option<(BackendId, Arc<Login>)>), Error> {
    let name = &object.spec.service_account_ref.name;
    let unusable = |reason, message: String, account| AccountView::Unusable { reason, message, account };
    let Some(account) = ctx.io.get(&ctx.io.namespaced::<ServiceAccount>(namespace), name).await? else {
        let message = format!("ServiceAccount {name} does not exist in this namespace; create it");
        return Ok((unusable(Reason::AccountMissing, message, None), None));
    };
    let status = account.status.clone().unwrap_or_default();
    let id = BackendId::of(&account.spec.backend_ref, namespace);
    let login = match ctx.backends.last_good(&id) {
        Some(login) => Some(login),
        None => ctx.backends.resolve(ctx, &id).await?.ok().map(|(login, _)| login),
    };
    let ready = conditions::find(&status.conditions, READY);
    let told = ready.map_or_else(
        || format!("ServiceAccount {name} is not ready yet"),
        |c| format!("ServiceAccount {name} is not ready: {}: {}", c.reason, c.message),
    );
    let (Some(email), Some(unique_id), Some(login)) = (status.email, status.unique_id, login) else {
        return Ok((unusable(Reason::AccountNotReady, told, None), None));
    };
    if login.skew(ctx.clock.as_ref()).is_none() {
        // Clocks are compared once before anything rests on them. No answer: the plan will hear of it.
        if let Ok(probed) = login.read(namespace).await.probe().await {
            login.compare_clock(probed.backend_time, ctx.clock.as_ref());
        }
    }
    let facts = login.facts();
    if !names::is_in_project(status.resource_name.as_deref(), &facts.project) {
        // What is not there any more is not gone: it is elsewhere.
        let message = format!(
            "The backend's login now belongs to project {}, where this account is not",
            facts.project
        );
        return Ok((unusable(Reason::BackendChanged, message, None), None));
    }
    let usable = Account {
        project: facts.project.clone(),
        email,
        unique_id,
        can: facts.can.clone(),
        basic_auth: facts.can.basic_auth
            && account.spec.disruptive.as_ref().is_some_and(|own| own.basic_auth == Some(true)),
        exclusive: status.exclusive == Some(true),
        clock_skew: login.skew(ctx.clock.as_ref()),
    };
    let broken = ready.and_then(|c| Reason::parse(&c.reason)).filter(|r| {
        matches!(r, Reason::AccountGone | Reason::AccountRecreated | Reason::NamespaceNotAllowed)
    });
    let view = if account.metadata.deletion_timestamp.is_some() {
        let message = format!("ServiceAccount {name} is being deleted: no key is made for it");
        unusable(Reason::AccountDeleting, message, Some(usable))
    } else if status.disabled == Some(true) {
        let message = format!("ServiceAccount {name} is disabled: its keys open nothing");
        unusable(Reason::AccountNotReady, message, Some(usable))
    } else if broken.is_some() {
        unusable(Reason::AccountNotReady, told, Some(usable))
    } else {
        AccountView::Usable(usable)
    };
    Ok((view, Some((id, login))))
}

/// Whether the Secret is still as it was read.
pub fn unchanged(before: &Secret, now: Option<&KubeSecret>, was: Option<&KubeSecret>) -> bool {
    let version = |s: Option<&KubeSecret>| s.map(|s| (s.uid(), s.resource_version()));
    match before {
        Secret::Absent => now.is_none(),
        Secret::Ours(_) | Secret::Left(_) | Secret::Foreign { .. } => version(now) == version(was),
    }
}
