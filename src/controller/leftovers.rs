//! Staging Secrets whose `ServiceAccountKey` is gone, for the sweep of their account.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::key::{named_ids, read_staging};
use super::{Context, Error};
use crate::api::v1alpha1::{ServiceAccountKey, meta};
use crate::domain::account::Leftover;

/// When a staging Secret was first seen without its object, or a key without an owner. Lost with the process: the wait
/// begins anew.
#[derive(Default)]
pub struct FirstSeen(Mutex<HashMap<String, Timestamp>>);

impl FirstSeen {
    /// When it was first seen; now, if it was not yet.
    pub fn of(&self, uid: &str, now: Timestamp) -> Timestamp {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *map.entry(uid.to_owned()).or_insert(now)
    }

    /// It is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What is left of the keys of `account` (`project/unique id`) in a namespace. The objects and the consumer Secrets
/// are read after the staging Secrets: a Secret whose object was there by then is not a leftover.
pub async fn leftovers(ctx: &Context, namespace: &str, account: &str) -> Result<Vec<Leftover>, Error> {
    let secrets: Api<Secret> = ctx.io.namespaced(namespace);
    let labelled = |label: &str| ListParams::default().labels(&format!("{label}={}", meta::OWNED_VALUE));
    let staged = ctx.io.list(&secrets, &labelled(meta::STAGING_LABEL)).await?;
    if staged.items.is_empty() {
        return Ok(Vec::new());
    }
    let objects: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), namespace);
    // A malformed object lives, too.
    let living: BTreeSet<String> = ctx
        .io
        .list(&objects, &ListParams::default())
        .await?
        .iter()
        .filter_map(kube::ResourceExt::uid)
        .collect();
    let orphaned: Vec<_> = staged
        .iter()
        .filter_map(|secret| {
            let owner = secret.annotations().get(meta::OWNER_UID).filter(|uid| !living.contains(*uid))?;
            read_staging(secret, owner, &ctx.halves).map(|(staged, _)| staged)
        })
        .filter(|staged| staged.account == account)
        .collect();
    if orphaned.is_empty() {
        return Ok(Vec::new());
    }
    let owned = ctx.io.list(&secrets, &labelled(meta::OWNED_LABEL)).await?;
    let consumers = owned.iter().filter(|s| !s.labels().contains_key(meta::STAGING_LABEL));
    let published: BTreeSet<String> = consumers.flat_map(named_ids).collect();
    let now = ctx.clock.now();
    Ok(orphaned
        .into_iter()
        .map(|staged| Leftover {
            published: staged.key_id.as_ref().is_some_and(|id| published.contains(id)),
            since: ctx.first_seen.of(&staged.uid, now),
            name: staged.name,
            uid: staged.uid,
            key_id: staged.key_id,
        })
        .collect())
}
