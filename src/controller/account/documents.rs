//! The `ConfigMaps` in which an account publishes what anybody may read. They are not watched: an edit is mended at the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use super::super::pass::Pass;
use super::super::registry::Login;
use super::super::{Context, Error};
use crate::api::v1alpha1::{ServiceAccount, ServiceAccountSpec, meta};
use crate::domain::Trouble;
use crate::domain::account::{
    ConfigMapState, ConfigMapView, DATA_KEYS, Data, Documents, Observation, OurConfigMap, PublicKeys, Step,
};
use crate::domain::schedule::{is_audit_due, until_audit};
use crate::kube_io::KubeIoError;

/// The public keys as they were read in this reconcile: once is enough.
pub type Seen = Option<Result<PublicKeys, Trouble>>;

/// Under which name looks at the documents of an object are remembered.
fn look(uid: &str) -> String {
    format!("{uid}/documents")
}

fn publishes(spec: &ServiceAccountSpec) -> bool {
    spec.public_keys.is_some() || spec.federation.is_some()
}

/// Whether what an object publishes is to be looked at.
pub fn is_due(ctx: &Context, spec: &ServiceAccountSpec, uid: &str, now: Timestamp) -> bool {
    let period = ctx.timing.documents;
    publishes(spec) && is_audit_due(period, ctx.looks.looked_at(&look(uid), now, period), now)
}

/// How long it may sit still after this pass. What could not be read was not looked at: it stays due.
pub fn until_due(ctx: &Context, observation: &Observation, now: Timestamp) -> Duration {
    let (look, period) = (look(&observation.uid), ctx.timing.documents);
    if !publishes(&observation.spec) {
        return Duration::MAX;
    }
    if observation.documents.as_ref().is_some_and(|read| !matches!(read.public_keys, Some(Err(_)))) {
        ctx.looks.looked(&look, now);
    }
    until_audit(period, ctx.looks.looked_at(&look, now, period), now)
}

/// An object is gone.
pub fn forget(ctx: &Context, uid: &str) {
    ctx.looks.forget(&look(uid));
}

/// Reads the `ConfigMaps` of these names, and what the spec wants in them.
pub async fn read(
    ctx: &Context,
    login: &Login,
    object: &ServiceAccount,
    names: &[String],
    seen: &mut Seen,
    observation: &Observation,
) -> Result<Documents, Error> {
    let email = match &observation.account {
        Some(Ok(Some(account))) => account.email.as_str(),
        _ => return Err(Error::Missing { step: "documents", what: "the account" }),
    };
    // No quota counts what anybody may read.
    let backend = login.now();
    if observation.spec.public_keys.is_some() && seen.is_none() {
        *seen = Some(backend.public_keys(email).await.map_err(|error| error.trouble()));
    }
    let federation = observation.spec.federation.as_ref();
    let federation = federation.map(|to| backend.federation_file(email, &to.provider, &to.token_file));
    let api = ctx.io.namespaced::<ConfigMap>(&object.namespace().unwrap_or_default());
    let mut maps = Vec::new();
    for name in names {
        let state = match ctx.io.get(&api, name).await {
            Ok(None) => ConfigMapState::Absent,
            Ok(Some(map)) => state(&map, object),
            Err(error) => ConfigMapState::Refused(refusal(error)?),
        };
        maps.push(ConfigMapView { name: name.clone(), state });
    }
    let public_keys = seen.clone().filter(|_| observation.spec.public_keys.is_some());
    Ok(Documents { maps, public_keys, federation })
}

fn state(map: &ConfigMap, object: &ServiceAccount) -> ConfigMapState {
    let annotation = |name: &str| map.annotations().get(name);
    match (map.uid(), map.resource_version()) {
        (Some(uid), Some(resource_version)) if is_ours(map, object) => {
            let mut marked = map.clone();
            mark(&mut marked, object);
            ConfigMapState::Ours(OurConfigMap {
                uid,
                resource_version,
                data: ours(map.data.as_ref()),
                marked: marked.metadata == map.metadata,
                deleting: map.metadata.deletion_timestamp.is_some(),
            })
        }
        _ => ConfigMapState::Foreign { owner: annotation(meta::OWNER).cloned() },
    }
}

fn is_ours(map: &ConfigMap, object: &ServiceAccount) -> bool {
    object.metadata.uid.is_some() && map.annotations().get(meta::OWNER_UID) == object.metadata.uid.as_ref()
}

fn ours(data: Option<&BTreeMap<String, String>>) -> Data {
    let data = data.into_iter().flatten();
    let ours = data.filter(|(key, _)| DATA_KEYS.contains(&key.as_str()));
    ours.map(|(key, text)| (key.clone(), text.clone())).collect()
}

/// What tells whose it is, and has it go with its owner. All else that is there stays.
fn mark(map: &mut ConfigMap, object: &ServiceAccount) {
    let labels = map.labels_mut();
    labels.insert(meta::OWNED_LABEL.to_owned(), meta::OWNED_VALUE.to_owned());
    let annotations = map.annotations_mut();
    annotations.insert(meta::OWNER.to_owned(), object.name_any());
    annotations.insert(meta::OWNER_NAMESPACE.to_owned(), object.namespace().unwrap_or_default());
    annotations.insert(meta::OWNER_UID.to_owned(), object.uid().unwrap_or_default());
    let owners = map.owner_references_mut();
    // Others may own it, too; what they wrote into our entry stays.
    if !owners.iter().any(|owner| Some(&owner.uid) == object.metadata.uid.as_ref()) {
        owners.extend(object.owner_ref(&()));
    }
}

/// Takes a step about a `ConfigMap`; its name, and what the API server says, where it refuses.
pub async fn act(
    ctx: &Context,
    pass: &Pass,
    object: &ServiceAccount,
    step: &Step,
) -> Result<Option<(String, String)>, Error> {
    let api = ctx.io.namespaced::<ConfigMap>(&object.namespace().unwrap_or_default());
    let (name, outcome) = match step {
        Step::WriteConfigMap { name, data, over: None } => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: object.namespace(),
                ..ObjectMeta::default()
            };
            let mut map = ConfigMap { metadata, ..ConfigMap::default() };
            fill(&mut map, object, data);
            pass.may_send(ctx, "account")?;
            match ctx.io.create(&api, &map, false).await {
                // The next pass sees whose it is.
                Err(error) if error.is_already_exists() => (name, Ok(())),
                other => (name, other.map(drop)),
            }
        }
        Step::WriteConfigMap { name, data, over: Some(version) } => {
            let current = ctx.io.get(&api, name).await?;
            let same = |map: &ConfigMap| map.resource_version().as_ref() == Some(version);
            let mut map = current.filter(same).ok_or(Error::TooLate { step: "account" })?;
            fill(&mut map, object, data);
            match ctx.io.replace(&api, &map, false).await {
                // The next pass makes it anew.
                Err(error) if error.is_not_found() => (name, Ok(())),
                other => (name, other.map(drop)),
            }
        }
        Step::DeleteConfigMap { name, uid, resource_version } => {
            (name, ctx.io.delete(&api, name, uid, Some(resource_version)).await)
        }
        _ => return Err(Error::Missing { step: "documents", what: "a step of theirs" }),
    };
    match outcome {
        Ok(()) => Ok(None),
        Err(error) => {
            tracing::info!(%error, "a ConfigMap cannot be written or deleted");
            Ok(Some((name.clone(), refusal(error)?)))
        }
    }
}

/// Our entries and marks, and no entries of ours from before.
fn fill(map: &mut ConfigMap, object: &ServiceAccount, data: &Data) {
    mark(map, object);
    let entries = map.data.get_or_insert_default();
    entries.retain(|key, _| !DATA_KEYS.contains(&key.as_str()));
    entries.extend(data.clone());
}

/// What is no refusal is tried again with the whole.
fn refusal(error: KubeIoError) -> Result<String, Error> {
    match error.refusal() {
        Some(message) => Ok(message.to_owned()),
        None => Err(error.into()),
    }
}
