//! Staging Secrets: the raw credential of one attempt, created once, never updated.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::world::World;
use crate::api::v1alpha1::meta;
use crate::credential::{GoogleCredentials, RsaKeyPair, SecretBytes};
use crate::domain::key::Staged;
use crate::domain::names;

/// Data key of the raw credential.
const CREDENTIAL: &str = "credential";

/// The staging Secret of an attempt.
pub fn build(
    world: &World,
    nonce: &str,
    key_id: &str,
    attempt: u32,
    credential: &SecretBytes,
    created_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
) -> Secret {
    let account = world
        .observation
        .account
        .reachable()
        .map(|a| names::account(&a.project, &a.unique_id))
        .unwrap_or_default();
    let mut annotations = BTreeMap::from([
        (meta::OWNER, world.observation.name.clone()),
        (meta::OWNER_UID, world.uid().to_owned()),
        (meta::NONCE, nonce.to_owned()),
        (meta::ATTEMPT, attempt.to_string()),
        (meta::ACCOUNT, account),
        (meta::KEY_ID, key_id.to_owned()),
    ]);
    annotations.extend(created_at.map(|t| (meta::CREATED_AT, t.to_string())));
    annotations.extend(expires_at.map(|t| (meta::EXPIRES_AT, t.to_string())));
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
        data: Some(BTreeMap::from([(CREDENTIAL.to_owned(), ByteString(credential.expose().to_vec()))])),
        ..Secret::default()
    }
}

/// A staging Secret of this object, and the credential in it. One that is not ours, or whose credential is not that
/// of the key it names, is not seen at all.
pub fn read(secret: &Secret, uid: &str) -> Option<(Staged, SecretBytes)> {
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    if annotation(meta::OWNER_UID).as_deref() != Some(uid)
        || secret.type_.as_deref() != Some(meta::STAGING_TYPE)
    {
        return None;
    }
    let time = |name: &str| annotation(name).and_then(|t| t.parse::<Timestamp>().ok());
    let raw = secret.data.as_ref().and_then(|d| d.get(CREDENTIAL)).map(|b| b.0.clone()).unwrap_or_default();
    let credential = SecretBytes::new(raw);
    // The annotations alone prove nothing: whoever may write Secrets could name any key of the account in them.
    let file = GoogleCredentials::parse(&credential).ok()?;
    let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).ok()?;
    let nonce = annotation(meta::NONCE)?;
    let key_id = annotation(meta::KEY_ID)?;
    if file.private_key_id() != key_id || secret.name_any() != names::staging_secret(uid, &nonce) {
        return None;
    }
    let staged = Staged {
        name: secret.name_any(),
        uid: secret.uid()?,
        nonce,
        attempt: annotation(meta::ATTEMPT)?.parse().ok()?,
        key_id,
        account: annotation(meta::ACCOUNT)?,
        public_key_sha256: Some(pair.public_key_sha256()),
        created_at: time(meta::CREATED_AT),
        expires_at: time(meta::EXPIRES_AT),
    };
    Some((staged, credential))
}
