//! Staging Secrets whose `ServiceAccountKey` is gone, for the sweep of their account.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt as _};

use super::context::Clock;
use super::key::{named_ids, read_staging};
use super::registry::Login;
use super::{Context, Error};
use crate::api::v1alpha1::{ServiceAccountKey, meta};
use crate::backend::BackendError;
use crate::domain::Class;
use crate::domain::account::{Content, Leftover};
use crate::domain::schedule::sub;

/// When a staging Secret was first seen without its object, or a key without an owner. Lost with the process: the wait
/// begins anew.
#[derive(Default)]
pub struct FirstSeen(Mutex<HashMap<String, Duration>>);

impl FirstSeen {
    /// When it was first seen, by today's time of day; now, if it was not yet. Counted since boot: what is waited for
    /// does not come sooner because somebody sets the clock.
    pub fn of(&self, uid: &str, clock: &dyn Clock) -> Timestamp {
        let since_boot = clock.since_boot();
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *map.entry(uid.to_owned()).or_insert(since_boot);
        sub(clock.now(), since_boot.saturating_sub(first))
    }

    /// It is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What is left of the keys of `account` (`project/unique id`) in a namespace. The objects and the consumer Secrets
/// are read after the staging Secrets: a Secret whose object was there by then is not a leftover.
pub async fn leftovers(
    ctx: &Context,
    namespace: &str,
    account: &str,
    uploads: Option<Uploads<'_>>,
) -> Result<Vec<Leftover>, Error> {
    let secrets: Api<Secret> = ctx.io.namespaced(namespace);
    let labelled = |label: &str| ListParams::default().labels(&format!("{label}={}", meta::OWNED_VALUE));
    let staged = ctx.io.list(&secrets, &labelled(meta::STAGING_LABEL)).await?;
    if staged.items.is_empty() {
        return Ok(Vec::new());
    }
    // A malformed object lives, too.
    let objects: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), namespace);
    let objects = ctx.io.list(&objects, &ListParams::default()).await?;
    let living: BTreeSet<String> = objects.iter().filter_map(kube::ResourceExt::uid).collect();
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
    // What a malformed one has in its ledger nobody knows.
    let ledgers: Option<Vec<_>> = objects.iter().map(|object| object.0.as_ref().ok()).collect();
    let ledgers = ledgers.map(|keys| keys.into_iter().filter_map(|key| key.status.as_ref()));
    let ledgers = ledgers.map(|all| all.flat_map(|status| status.keys.iter().map(|key| key.id.clone())));
    let in_use: Option<BTreeSet<String>> =
        ledgers.map(|ids| consumers.flat_map(named_ids).chain(ids).collect());
    // Only a pair is looked for at the backend.
    let pairs = orphaned.iter().any(|staged| staged.key_id.is_none());
    let uploaded = match uploads.filter(|_| pairs) {
        Some(uploads) => uploads.by_fingerprint().await,
        None => None,
    };
    Ok(orphaned
        .into_iter()
        .map(|staged| {
            let sha = staged.public_key_sha256.as_ref();
            let pair = |found: &HashMap<String, Vec<String>>| sha.and_then(|sha| found.get(sha)).cloned();
            let (ids, content) = match (staged.key_id, &uploaded) {
                (Some(id), _) => (vec![id], Content::Key),
                (None, Some(found)) => (pair(found).unwrap_or_default(), Content::Pair),
                (None, None) => (Vec::new(), Content::Unsearched),
            };
            let (ids, content) = match &in_use {
                Some(in_use) => (ids.into_iter().filter(|id| !in_use.contains(id)).collect(), content),
                None => (ids, Content::Unsearched),
            };
            Leftover {
                to_end: ids,
                since: ctx.first_seen.of(&staged.uid, ctx.clock.as_ref()),
                name: staged.name,
                uid: staged.uid,
                content,
            }
        })
        .collect())
}

/// Where the keys of an account can be looked at.
pub struct Uploads<'a> {
    /// The login at its backend.
    pub login: &'a Login,
    /// Who asks.
    pub namespace: &'a str,
    /// The account.
    pub unique_id: &'a str,
}

impl Uploads<'_> {
    /// Ids of the keys that were uploaded, by fingerprint. `None`: that cannot be told now.
    async fn by_fingerprint(&self) -> Option<HashMap<String, Vec<String>>> {
        let listing = match self.login.read(self.namespace).await.list_keys(self.unique_id).await {
            Ok(listing) => listing,
            // Its keys went with it.
            Err(error) if error.class() == Class::NotFound => return Some(HashMap::new()),
            Err(error) => {
                tracing::info!(%error, "keys cannot be listed");
                return None;
            }
        };
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for key in listing.keys.into_iter().filter(|key| !key.made_by_backend) {
            match self.login.read(self.namespace).await.key_fingerprint(self.unique_id, &key.id).await {
                Ok(fingerprint) => found.entry(fingerprint).or_default().push(key.id),
                Err(error) if error.class() == Class::NotFound => {}
                // Not what we upload.
                Err(error @ BackendError::Incomplete { .. }) => {
                    tracing::info!(%error, key = key.id, "a key cannot be read");
                }
                Err(error) => {
                    tracing::info!(%error, key = key.id, "a key cannot be looked at");
                    return None;
                }
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Set {
        now: i64,
        since_boot: u64,
    }

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.now).unwrap()
        }

        fn since_boot(&self) -> Duration {
            Duration::from_secs(self.since_boot)
        }
    }

    #[test]
    fn what_was_first_seen_is_as_old_as_it_is_whatever_the_clock_is_set_to() {
        let seen = FirstSeen::default();
        let age = |now, since_boot| {
            let clock = Set { now, since_boot };
            clock.now().duration_since(seen.of("u", &clock)).as_secs()
        };
        assert_eq!(age(10_000, 50), 0);
        assert_eq!(age(17_800, 650), 600, "the clock went two hours ahead");
        assert_eq!(age(4_000, 1250), 1200, "and back");
        seen.forget("u");
        assert_eq!(age(4_600, 1850), 0);
    }
}
