//! What other objects on the same account say about keys: read after the list, because whoever made a listed key had
//! written its intent before.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::consumer;
use super::world::World;
use crate::api::v1alpha1::{ServiceAccountKey, ServiceAccountKeyStatus, meta};
use crate::controller::{Context, Error};
use crate::domain::key::{Siblings, Window};
use crate::domain::schedule::sub;

/// A backend gives whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Reads them, whatever operator looks after them.
pub async fn siblings(ctx: &Context, world: &World) -> Result<Siblings, Error> {
    let namespace = world.object.namespace().unwrap_or_default();
    let objects: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), &namespace);
    let account = &world.object.spec.service_account_ref.name;
    let selected = ListParams::default().fields(&format!("spec.serviceAccountRef.name={account}"));
    let mut siblings = Siblings::default();
    for object in ctx.io.list(&objects, &selected).await? {
        let own = object.uid().as_deref() == Some(world.uid());
        match object.0.ok().map(|o| o.status) {
            Some(Some(status)) => add_status(&mut siblings, &status, own),
            // Without a status nobody knows what it has under way.
            Some(None) | None if !own => siblings.windows.push(Window { from: None, until: None }),
            Some(None) | None => {}
        }
    }
    let labelled = ListParams::default().labels(&format!("{}={}", meta::OWNED_LABEL, meta::OWNED_VALUE));
    let secrets: Api<Secret> = ctx.io.namespaced(&namespace);
    for secret in ctx.io.list(&secrets, &labelled).await? {
        let own = secret.annotations().get(meta::OWNER_UID).map(String::as_str) == Some(world.uid());
        if !own {
            siblings.claimed.extend(consumer::named_ids(&secret));
        }
    }
    Ok(siblings)
}

/// Adds what a status says.
pub fn add_status(siblings: &mut Siblings, status: &ServiceAccountKeyStatus, own: bool) {
    let unproved = status.lost.iter().filter(|l| l.public_key_sha256.is_none());
    siblings.fenced_attempts += unproved.clone().filter(|l| l.fenced).count();
    if own {
        return;
    }
    siblings.claimed.extend(status.keys.iter().map(|k| k.id.clone()));
    // A pair that is made here is known by its public half, whenever its key appears.
    siblings.windows.extend(
        status
            .pending
            .iter()
            .filter(|p| p.public_key_sha256.is_none())
            .map(|p| Window { from: Some(sub(p.backend_time, SECOND)), until: None }),
    );
    siblings.windows.extend(
        unproved
            .filter(|l| !l.fenced)
            .map(|l| Window { from: Some(sub(l.backend_time, SECOND)), until: Some(l.until) }),
    );
}
