//! Staging Secrets: the raw credential of one attempt, created once, never updated.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::material::{Raw, named_key};
use super::world::World;
use crate::api::v1alpha1::meta;
use crate::credential::{CheckedHalves, SecretBytes};
use crate::domain::key::Staged;
use crate::domain::names;

/// Data key of the raw credential.
const CREDENTIAL: &str = "credential";
/// Data key of a private half that was made here.
const PAIR: &str = "private-key.pem";

/// What a staging Secret says about its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct StagedKey<'a> {
    /// Id, where the backend made the key.
    pub id: Option<&'a str>,
    /// When it was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
}

/// The number of the open attempt. The status may have learnt of a higher one meanwhile.
pub fn attempt_of(world: &World, nonce: &str) -> u32 {
    let status = world.observation.status.as_ref();
    let pending = status.and_then(|s| s.pending.as_ref()).filter(|p| p.nonce == nonce);
    pending.map(|p| p.attempt).or(status.map(|s| s.attempt)).unwrap_or(0)
}

/// The staging Secret of an attempt.
pub fn build(world: &World, nonce: &str, attempt: u32, key: StagedKey<'_>, raw: &Raw) -> Secret {
    let account = world
        .observation
        .account
        .reachable()
        .map(|a| names::account(&a.project, &a.unique_id))
        .unwrap_or_default();
    let mut annotations = BTreeMap::from([
        (meta::OWNER, world.observation.name.clone()),
        (meta::OWNER_NAMESPACE, world.object.namespace().unwrap_or_default()),
        (meta::OWNER_UID, world.uid().to_owned()),
        (meta::NONCE, nonce.to_owned()),
        (meta::ATTEMPT, attempt.to_string()),
        (meta::ACCOUNT, account),
    ]);
    annotations.extend(key.id.map(|id| (meta::KEY_ID, id.to_owned())));
    annotations.extend(key.created_at.map(|t| (meta::CREATED_AT, t.to_string())));
    annotations.extend(key.expires_at.map(|t| (meta::EXPIRES_AT, t.to_string())));
    let (data_key, bytes) = match raw {
        Raw::File(bytes) => (CREDENTIAL, bytes),
        Raw::Pair(bytes) => (PAIR, bytes),
    };
    let labels = [
        (meta::OWNED_LABEL, meta::OWNED_VALUE),
        (meta::STAGING_LABEL, meta::OWNED_VALUE),
        (meta::EXCLUDE_FROM_BACKUP_LABEL, "true"),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(names::staging_secret(world.uid(), nonce)),
            namespace: world.object.namespace(),
            labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            annotations: Some(annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ..ObjectMeta::default()
        },
        type_: Some(meta::STAGING_TYPE.to_owned()),
        data: Some(BTreeMap::from([(data_key.to_owned(), ByteString(bytes.expose().to_vec()))])),
        ..Secret::default()
    }
}

/// A staging Secret of this object, and the credential in it. One that is not ours, or whose credential is not that
/// of the key it names, is not seen at all.
pub fn read(secret: &Secret, uid: &str, halves: &CheckedHalves) -> Option<(Staged, Raw)> {
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    if annotation(meta::OWNER_UID).as_deref() != Some(uid)
        || secret.type_.as_deref() != Some(meta::STAGING_TYPE)
        || annotation(meta::OWNER_NAMESPACE) != secret.namespace()
    {
        return None;
    }
    let time = |name: &str| annotation(name).and_then(|t| t.parse::<Timestamp>().ok());
    let bytes =
        |key: &str| secret.data.as_ref().and_then(|d| d.get(key)).map(|b| SecretBytes::new(b.0.clone()));
    let key_id = annotation(meta::KEY_ID);
    // The annotations alone prove nothing: whoever may write Secrets could name any key of the account in them.
    let (raw, public_key_sha256) = match (bytes(CREDENTIAL), bytes(PAIR)) {
        (Some(credential), _) => {
            let (named, fingerprint) = named_key(&credential, halves)?;
            if key_id.as_deref() != Some(named.as_str()) {
                return None;
            }
            (Raw::File(credential), fingerprint)
        }
        (None, Some(pem)) if key_id.is_none() => {
            let public_half = halves.public_key_sha256(&pem).ok()?;
            (Raw::Pair(pem), public_half)
        }
        _ => return None,
    };
    let nonce = annotation(meta::NONCE)?;
    if secret.name_any() != names::staging_secret(uid, &nonce) {
        return None;
    }
    let staged = Staged {
        name: secret.name_any(),
        uid: secret.uid()?,
        nonce,
        attempt: annotation(meta::ATTEMPT)?.parse().ok()?,
        key_id,
        account: annotation(meta::ACCOUNT)?,
        public_key_sha256: Some(public_key_sha256),
        created_at: time(meta::CREATED_AT),
        expires_at: time(meta::EXPIRES_AT),
        held_by: super::observe::held_by(secret),
    };
    Some((staged, raw))
}
