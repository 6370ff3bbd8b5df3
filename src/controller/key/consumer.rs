//! The consumer Secret: what is in it, and what shall be.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context as Digest, SHA256};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::material::{Half, Material, Stored};
use super::public_halves;
use super::world::World;
use crate::api::v1alpha1::{
    EntryFormat, KeyOrigin, KeyPhase, LedgerKey, SecretEntry, ServiceAccountKey, meta,
};
use crate::controller::registry::Login;
use crate::controller::{Context, Error};
use crate::credential::{CheckedHalves, Jwks, SecretBytes};
use crate::domain::key::{Account, Credential, Publication, Published, Secret, ledger};

/// Names that the spec put on the Secret: what leaves the spec leaves the Secret, what others added stays.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
struct Template {
    labels: BTreeSet<String>,
    annotations: BTreeSet<String>,
}

impl Template {
    fn of(object: &ServiceAccountKey) -> Self {
        let template = &object.spec.secret;
        Self {
            labels: template.labels.keys().cloned().collect(),
            annotations: template.annotations.keys().cloned().collect(),
        }
    }

    fn recorded(secret: &KubeSecret) -> Self {
        let recorded = secret.annotations().get(meta::TEMPLATE);
        recorded.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What the plan sees of the consumer Secret, and the private half for a repair.
pub fn read(
    secret: Option<&KubeSecret>,
    object: &ServiceAccountKey,
    account: Option<&Account>,
    login: Option<&Login>,
    halves: &CheckedHalves,
) -> (Secret, Materials) {
    let Some(secret) = secret else { return (Secret::Absent, Materials::default()) };
    let foreign = |why: &str| (Secret::Foreign { why: why.to_owned() }, Materials::default());
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    let (Some(uid), Some(resource_version)) = (secret.uid(), secret.resource_version()) else {
        return foreign("it has no uid");
    };
    match annotation(meta::OWNER_UID) {
        None => {
            return foreign(
                "it is there already and carries no mark of ours (annotation keywheel.dev/owner-uid). Remove it, or delete this object and apply it with another secret.name",
            );
        }
        // A copy from another namespace, where its owner may live on.
        Some(uid)
            if annotation(meta::OWNER_NAMESPACE) != object.namespace()
                && Some(&uid) != object.uid().as_ref() =>
        {
            let owner = annotation(meta::OWNER).unwrap_or_default();
            let namespace = annotation(meta::OWNER_NAMESPACE).unwrap_or_else(|| "unknown".to_owned());
            return foreign(&format!(
                "it is a copy of a Secret of the ServiceAccountKey {owner} in the namespace {namespace}. Remove it, and a \
                 key of its own is made"
            ));
        }
        // Two objects of one name cannot live at once: the one that wrote it is gone.
        Some(_) if annotation(meta::OWNER).as_ref() == object.metadata.name.as_ref() => {}
        Some(owner) if Some(&owner) != object.uid().as_ref() => {
            let owner = annotation(meta::OWNER).unwrap_or_default();
            return foreign(&format!(
                "it belongs to the ServiceAccountKey {owner}. Delete this object and apply it with another secret.name"
            ));
        }
        Some(_) => {}
    }
    let ours = annotation(meta::OWNER_UID) == object.uid();
    let key_id = annotation(meta::KEY_ID);
    let fits = |half: &(Half, String)| {
        let fields = account.zip(login).map(|(a, l)| l.now().credential_fields(&a.email, &a.unique_id, ""));
        fields.is_none_or(|fields| half.0.fits(&fields))
    };
    let half = private_half(secret, object, "", halves).filter(fits);
    let credential = half.as_ref().map_or(Credential::Missing, |(_, fingerprint)| Credential::Readable {
        public_key_sha256: fingerprint.clone(),
    });
    let view = Published {
        uid,
        resource_version,
        attempt: annotation(meta::ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or(0),
        published_at: annotation(meta::PUBLISHED_AT).and_then(|t| t.parse().ok()),
        account: annotation(meta::ACCOUNT),
        ledger: ledger_of(secret),
        credential,
        previous_key_id: annotation(meta::PREVIOUS_KEY_ID),
        public_ids: public_halves::shown_ids(secret, key_id.as_deref()),
        as_specified: is_as_specified(secret, object),
        immutable: secret.immutable == Some(true),
        held_by: super::observe::held_by(secret),
        key_id,
    };
    // The non-secret parts are made anew: an edit of theirs is what a repair mends.
    let stored = |half: Option<(Half, String)>, key_id: Option<&str>| match (half, key_id, account, login) {
        (Some((half, fingerprint)), Some(key_id), Some(account), Some(login)) => {
            let fields = login.now().credential_fields(&account.email, &account.unique_id, key_id);
            Some(Stored { half, fingerprint, fields })
        }
        _ => None,
    };
    let active = object.status.as_ref().and_then(|s| s.active_key_id.as_deref());
    let previous = view.previous_key_id.as_deref();
    let previous =
        previous.and_then(|id| stored(private_half(secret, object, PREVIOUS, halves).filter(fits), Some(id)));
    let marked = stored(half.clone(), view.key_id.as_deref());
    let current = stored(half, active.or(view.key_id.as_deref()));
    let materials = Materials { current, marked, previous };
    (if ours { Secret::Ours(view) } else { Secret::Left(view) }, materials)
}

/// The private halves that a consumer Secret holds.
#[derive(Default)]
pub struct Materials {
    /// That of the active key.
    pub current: Option<Stored>,
    /// The same under the id that the Secret itself names: what workloads present.
    pub marked: Option<Stored>,
    /// That of its `.previous` entries.
    pub previous: Option<Stored>,
}

/// As the annotation writes the format.
const SHARED_SECRET: &str = "Secret";

/// What follows an entry's data key where the previous credential stands.
const PREVIOUS: &str = ".previous";

/// The private half in our data keys, and its fingerprint: that of the key if any of them holds it, else the first that can
/// be read. A key that somebody keeps beside ours is none of our business.
fn private_half(
    secret: &KubeSecret,
    object: &ServiceAccountKey,
    suffix: &str,
    halves: &CheckedHalves,
) -> Option<(Half, String)> {
    let data = secret.data.as_ref()?;
    let previous = secret.annotations().get(meta::PREVIOUS_KEY_ID).filter(|_| !suffix.is_empty());
    let known = object.status.as_ref().and_then(|status| match previous {
        Some(id) => ledger::find(status, id),
        None => ledger::active(status),
    });
    let wanted = known.and_then(|key| key.public_key_sha256.as_ref());
    // As they were written; what was not written yet may be a person's.
    let specified = object.spec.secret.entries.iter().map(|e| (e.key.clone(), format!("{:?}", e.format)));
    let mut ours: BTreeMap<String, String> = specified.collect();
    ours.extend(recorded_entries(secret));
    let mut first = None;
    for (key, format) in &ours {
        let Some(value) = data.get(&format!("{key}{suffix}")) else { continue };
        let value = SecretBytes::new(value.0.clone());
        let Some((half, fingerprint)) = Half::read(value, format == SHARED_SECRET, halves) else { continue };
        if wanted == Some(&fingerprint) {
            return Some((half, fingerprint));
        }
        first.get_or_insert((half, fingerprint));
    }
    // What stands for the previous key and is another half is an edit, and goes no further.
    first.filter(|_| previous.is_none() || wanted.is_none())
}

fn is_as_specified(secret: &KubeSecret, object: &ServiceAccountKey) -> bool {
    let spec = &object.spec.secret;
    let annotations = secret.annotations();
    let active = object.status.as_ref().and_then(|s| s.active_key_id.as_ref());
    annotations.get(meta::ENTRIES) == Some(&entries_text(&spec.entries))
        && annotations.get(meta::KEY_ID) == active
        && annotations.get(meta::DATA_HASH) == Some(&hash(secret, &keys_of(&spec.entries)))
        && secret.labels().get(meta::OWNED_LABEL).is_some_and(|v| v == meta::OWNED_VALUE)
        && annotations.get(meta::OWNER) == object.metadata.name.as_ref()
        && annotations.get(meta::OWNER_NAMESPACE) == object.metadata.namespace.as_ref()
        && Template::recorded(secret) == Template::of(object)
        && spec.labels.iter().all(|(k, v)| secret.labels().get(k) == Some(v))
        && spec.annotations.iter().all(|(k, v)| annotations.get(k) == Some(v))
}

fn entries_text(entries: &[SecretEntry]) -> String {
    entries.iter().map(|e| format!("{}={:?}", e.key, e.format)).collect::<Vec<_>>().join(",")
}

/// SHA-256 over the data keys that are ours: an edit shows, and nothing private does.
pub(super) fn hash(secret: &KubeSecret, keys: &[String]) -> String {
    let mut digest = Digest::new(&SHA256);
    for key in keys {
        let value = secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.as_slice());
        digest.update(key.as_bytes());
        digest.update(&value.map_or(u64::MAX, |v| v.len() as u64).to_be_bytes());
        digest.update(value.unwrap_or_default());
        if secret.annotations().contains_key(meta::PREVIOUS_KEY_ID) {
            let value = secret.data.as_ref().and_then(|d| d.get(&format!("{key}{PREVIOUS}")));
            digest.update(value.map(|b| b.0.as_slice()).unwrap_or_default());
        }
    }
    hex::encode(digest.finish())
}

/// The Secret as it shall be: ours rewritten, what others added kept.
pub fn build(
    world: &World,
    publication: &Publication,
    material: &Material,
    previous: Option<&Material>,
) -> Result<KubeSecret, Error> {
    let mut secret = base(world);
    let spec = &world.object.spec.secret;
    let mut data = secret.data.take().unwrap_or_default();
    // As they were recorded when it was read: entries that left the spec leave the Secret.
    let had_previous = secret.annotations().contains_key(meta::PREVIOUS_KEY_ID);
    for old in world.secret.as_ref().map(recorded_keys).unwrap_or_default() {
        data.remove(&old);
        if had_previous {
            data.remove(&format!("{old}{PREVIOUS}"));
        }
    }
    let previous = publication.previous.as_deref().zip(previous);
    let public = public_halves::of_others(world, publication)?;
    for entry in &spec.entries {
        let (id, email) = (&publication.key_id, &publication.email);
        let value = match entry.format {
            EntryFormat::PublicJwks => {
                Jwks { keys: material.jwk(id).into_iter().chain(public.clone()).collect() }.render()
            }
            format => material.render(format, id, email, world.life(id))?,
        };
        data.insert(entry.key.clone(), ByteString(value.expose().to_vec()));
        if let Some((id, previous)) = previous {
            let value = previous.render(entry.format, id, email, world.life(id))?;
            data.insert(format!("{}{PREVIOUS}", entry.key), ByteString(value.expose().to_vec()));
        }
    }
    secret.data = Some(data);
    match previous {
        Some((id, _)) => {
            secret.annotations_mut().insert(meta::PREVIOUS_KEY_ID.to_owned(), id.to_owned());
        }
        None => {
            secret.annotations_mut().remove(meta::PREVIOUS_KEY_ID);
        }
    }
    let data_hash = hash(&secret, &keys_of(&spec.entries));
    let ledger = serde_json::to_string(&publication.ledger).unwrap_or_else(|_| "[]".to_owned());
    let ours = [
        (meta::ACCOUNT, publication.account.clone()),
        (meta::KEY_ID, publication.key_id.clone()),
        (meta::ATTEMPT, publication.attempt.to_string()),
        (meta::PUBLISHED_AT, publication.published_at.to_string()),
        (meta::DATA_HASH, data_hash),
        (meta::LEDGER, ledger),
    ];
    secret.annotations_mut().extend(ours.map(|(k, v)| (k.to_owned(), v)));
    Ok(secret)
}

/// The Secret as it would be written, with noise where the credential would be.
pub fn dry_run(world: &World, noise: &SecretBytes) -> KubeSecret {
    let mut secret = base(world);
    let data = secret.data.get_or_insert_default();
    let entries = &world.object.spec.secret.entries;
    for entry in entries {
        data.insert(entry.key.clone(), ByteString(noise.expose().to_vec()));
    }
    // Also what stands there already: admission webhooks see a dry run.
    let recorded = world.secret.as_ref().map(recorded_keys).unwrap_or_default();
    for key in recorded.into_iter().chain(entries.iter().map(|e| e.key.clone())) {
        for name in [format!("{key}{PREVIOUS}"), key] {
            if let Some(value) = data.get_mut(&name) {
                *value = ByteString(noise.expose().to_vec());
            }
        }
    }
    secret
}

/// The Secret as it was read, or a new one, with marks, labels and annotations of ours.
fn base(world: &World) -> KubeSecret {
    let spec = &world.object.spec.secret;
    let mut secret = world.secret.clone().unwrap_or_else(|| KubeSecret {
        metadata: ObjectMeta {
            name: Some(world.secret_name.clone()),
            namespace: world.object.namespace(),
            ..ObjectMeta::default()
        },
        type_: Some(spec.type_.clone()),
        ..KubeSecret::default()
    });
    let (old, new) = (Template::recorded(&secret), Template::of(&world.object));
    for gone in old.labels.difference(&new.labels) {
        secret.labels_mut().remove(gone);
    }
    for gone in old.annotations.difference(&new.annotations) {
        secret.annotations_mut().remove(gone);
    }
    secret.labels_mut().extend(spec.labels.clone());
    secret.labels_mut().insert(meta::OWNED_LABEL.to_owned(), meta::OWNED_VALUE.to_owned());
    let ours = [
        (meta::OWNER, world.observation.name.clone()),
        (meta::OWNER_NAMESPACE, world.object.namespace().unwrap_or_default()),
        (meta::OWNER_UID, world.uid().to_owned()),
        (meta::ENTRIES, entries_text(&spec.entries)),
        (meta::TEMPLATE, new.text()),
    ];
    let annotations = secret.annotations_mut();
    annotations.extend(spec.annotations.clone());
    annotations.extend(ours.map(|(k, v)| (k.to_owned(), v)));
    secret
}

pub(super) fn recorded_keys(secret: &KubeSecret) -> Vec<String> {
    recorded_entries(secret).into_iter().map(|(key, _)| key).collect()
}

/// Data keys and the names of their formats.
pub(super) fn recorded_entries(secret: &KubeSecret) -> Vec<(String, String)> {
    let recorded = secret.annotations().get(meta::ENTRIES).cloned().unwrap_or_default();
    let entries = recorded.split(',').filter_map(|e| e.split_once('='));
    entries.map(|(key, format)| (key.to_owned(), format.to_owned())).collect()
}

fn keys_of(entries: &[SecretEntry]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}

/// A Secret that an earlier object of this name left, with our uid. What it says about keys goes if it is not to be
/// believed.
pub fn taken_over(world: &World, secret: &KubeSecret, keep: bool) -> KubeSecret {
    let mut secret = secret.clone();
    let annotations = secret.annotations_mut();
    annotations.insert(meta::OWNER_UID.to_owned(), world.uid().to_owned());
    if !keep {
        for told in [meta::KEY_ID, meta::ATTEMPT, meta::PUBLISHED_AT, meta::LEDGER, meta::PREVIOUS_KEY_ID] {
            annotations.remove(told);
        }
    }
    secret
}

/// The keys that a Secret publishes.
pub fn published_ids(secret: &KubeSecret) -> Vec<String> {
    let annotation = |name: &str| secret.annotations().get(name).cloned();
    annotation(meta::KEY_ID).into_iter().chain(annotation(meta::PREVIOUS_KEY_ID)).collect()
}

/// All keys that a Secret names: those that it publishes, and those of its ledger.
pub fn named_ids(secret: &KubeSecret) -> Vec<String> {
    published_ids(secret).into_iter().chain(ledger_of(secret).into_iter().map(|key| key.id)).collect()
}

/// What a Secret says about older keys. Of an entry that another version wrote, or a person, the id counts at least: a key
/// that nobody remembers would never end.
fn ledger_of(secret: &KubeSecret) -> Vec<LedgerKey> {
    let text = secret.annotations().get(meta::LEDGER).map(String::as_str).unwrap_or_default();
    let entries: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let entry = |value: serde_json::Value| {
        let id = value.get("id")?.as_str()?.to_owned();
        let plain = || ledger::entry(&id, KeyPhase::Overlap, KeyOrigin::Abandoned, 0);
        Some(serde_json::from_value(value).unwrap_or_else(|_| plain()))
    };
    entries.into_iter().filter_map(entry).collect()
}

/// The same Secret with a new fence mark.
pub fn fenced(ctx: &Context, secret: &KubeSecret, mark: &str) -> KubeSecret {
    let mut secret = secret.clone();
    let mark = format!("{mark} {}", ctx.clock.now());
    secret.annotations_mut().insert(meta::FENCE.to_owned(), mark);
    secret
}
