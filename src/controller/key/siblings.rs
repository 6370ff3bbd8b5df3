//! What other objects on the same account say about keys: read after the list, because whoever made a listed key had
//! written its intent before.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::consumer;
use super::world::World;
use crate::api::v1alpha1::{ServiceAccountKey, meta};
use crate::controller::sharers::sharers;
use crate::controller::{Context, Error};
use crate::domain::key::Siblings;

/// Reads them, whatever operator looks after them.
pub async fn siblings(ctx: &Context, world: &World) -> Result<Siblings, Error> {
    let namespace = world.object.namespace().unwrap_or_default();
    let objects: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), &namespace);
    let account = &world.object.spec.service_account_ref.name;
    let selected = ListParams::default().fields(&format!("spec.serviceAccountRef.name={account}"));
    let mut siblings = Siblings::default();
    for object in ctx.io.list(&objects, &selected).await? {
        let own = object.uid().as_deref() == Some(world.uid());
        // One that cannot be read says no more than one without a status.
        siblings.add(object.0.ok().and_then(|o| o.status).as_ref(), own);
    }
    let labelled = ListParams::default().labels(&format!("{}={}", meta::OWNED_LABEL, meta::OWNED_VALUE));
    let secrets: Api<Secret> = ctx.io.namespaced(&namespace);
    for secret in ctx.io.list(&secrets, &labelled).await? {
        let own = secret.annotations().get(meta::OWNER_UID).map(String::as_str) == Some(world.uid());
        if !own {
            siblings.claimed.extend(consumer::named_ids(&secret));
        }
    }
    siblings.account_shared = is_shared(ctx, world).await?;
    Ok(siblings)
}

/// Where an account carries no mark, what it records of being alone may be as old as its last look.
async fn is_shared(ctx: &Context, world: &World) -> Result<bool, Error> {
    let Some(account) = world.observation.account.reachable().filter(|a| a.exclusive && !a.can.descriptions)
    else {
        return Ok(false);
    };
    let namespace = world.object.namespace().unwrap_or_default();
    let own = (namespace.as_str(), world.object.spec.service_account_ref.name.as_str());
    Ok(!sharers(ctx, own, &account.unique_id, Some(&account.project)).await?.is_empty())
}
