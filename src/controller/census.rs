//! The keys of an account, and which of them objects own.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, ResourceExt as _};

use super::key::named_ids;
use super::registry::Login;
use super::{Context, Error};
use crate::api::v1alpha1::{ServiceAccountKey, UnmanagedKey, meta};
use crate::backend::BackendError;
use crate::domain::account::{Census, Unclaimed};
use crate::domain::key::{KeyList, Siblings};
use crate::domain::names;

/// Where owners of keys are looked for.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Namespace of the account's object.
    pub namespace: &'a str,
    /// Name of that object.
    pub account: &'a str,
    /// Whether those of other namespaces count, too.
    pub everywhere: bool,
}

/// Lists the keys, then reads who owns them: whoever made a listed key had written its intent before.
pub async fn census(
    ctx: &Context,
    login: &Login,
    place: Place<'_>,
    unique_id: &str,
) -> Result<Result<Census, BackendError>, Error> {
    let listing = match login.read(place.namespace).await.list_keys(unique_id).await {
        Ok(listing) => listing,
        Err(error) => return Ok(Err(error)),
    };
    let now = ctx.clock.now();
    login.compare_clock(listing.backend_time, ctx.clock.as_ref());
    let facts = login.facts();
    let list = KeyList::Listed { keys: listing.keys.clone(), backend_time: listing.backend_time };
    ctx.looks.listed(&names::account(&facts.project, unique_id), now, &list, &ctx.timing);

    let mut claims = Siblings::default();
    let mut suspected = Vec::new();
    // Whose an uploaded key is, only its attempt can say.
    let mut uploading = false;
    for object in key_objects(ctx, place).await? {
        let here = object.namespace().as_deref() == Some(place.namespace);
        // One that cannot be read says no more than one without a status.
        let object = object.0.ok();
        let refers = here && object.as_ref().is_none_or(|o| o.spec.service_account_ref.name == place.account);
        let status = object.and_then(|o| o.status);
        let recorded = status.as_ref().and_then(|s| s.account_unique_id.as_deref());
        if !refers && recorded != Some(unique_id) {
            // What it has under way is of another account. Ids are of one key only, whatever is recorded.
            claims.claimed.extend(status.iter().flat_map(|s| &s.keys).map(|key| key.id.clone()));
            continue;
        }
        claims.add(status.as_ref(), false);
        if let Some(status) = status {
            let pairs = status.pending.iter().map(|p| &p.public_key_sha256);
            let pairs = pairs.chain(status.lost.iter().map(|l| &l.public_key_sha256));
            uploading |= pairs.flatten().next().is_some();
            suspected.extend(status.suspects.iter().map(|s| s.id.clone()));
        }
    }
    for secret in owned_secrets(ctx, place).await? {
        claims.claimed.extend(named_ids(&Secret { metadata: secret.metadata, ..Secret::default() }));
    }
    let total = listing.keys.len();
    // One that is owned begins anew if it is ever left alone.
    for key in listing.keys.iter().filter(|key| claims.claimed.contains(&key.id)) {
        ctx.first_seen.forget(&format!("{unique_id}/{}", key.id));
    }
    let unmanaged: Vec<Unclaimed> = listing
        .keys
        .into_iter()
        .filter(|key| !claims.claimed.contains(&key.id))
        .map(|key| Unclaimed {
            undecided: suspected.contains(&key.id)
                || (uploading && !key.made_by_backend)
                || key.created_at.is_none_or(|at| claims.windows.iter().any(|w| w.covers(at))),
            since: ctx.first_seen.of(&format!("{unique_id}/{}", key.id), ctx.clock.as_ref()),
            key: UnmanagedKey {
                id: key.id,
                uploaded: !key.made_by_backend,
                created_at: key.created_at,
                expires_at: key.expires_at,
                disabled: key.disabled,
                disable_reason: key.disable_reason,
            },
        })
        .collect();
    let managed = u32::try_from(total - unmanaged.len()).unwrap_or(u32::MAX);
    let system_managed = if unmanaged.is_empty() {
        None
    } else {
        let told = login.read(place.namespace).await.count_system_keys(unique_id).await;
        told.inspect_err(|error| tracing::debug!(%error, "the backend's own keys are not counted")).ok()
    };
    Ok(Ok(Census { managed, system_managed, limit: facts.can.key_limit, unmanaged }))
}

async fn key_objects(
    ctx: &Context,
    place: Place<'_>,
) -> Result<Vec<DeserializeGuard<ServiceAccountKey>>, Error> {
    let (api, selected) = if place.everywhere {
        (Api::all(ctx.io.client()), ListParams::default())
    } else {
        let selector = format!("spec.serviceAccountRef.name={}", place.account);
        (Api::namespaced(ctx.io.client(), place.namespace), ListParams::default().fields(&selector))
    };
    Ok(ctx.io.list(&api, &selected).await?.items)
}

/// Their annotations name keys; the credentials beside them are not kept.
async fn owned_secrets(ctx: &Context, place: Place<'_>) -> Result<Vec<PartialObjectMeta<Secret>>, Error> {
    let labelled = ListParams::default().labels(&format!("{}={}", meta::OWNED_LABEL, meta::OWNED_VALUE));
    let api = if place.everywhere { ctx.io.all() } else { ctx.io.namespaced(place.namespace) };
    Ok(ctx.io.list(&api, &labelled).await?.items)
}
