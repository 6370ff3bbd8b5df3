//! The public halves of other keys than the published one, for `PublicJwks` entries: what Secrets show and hold, and what the
//! backend tells of the rest.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::ResourceExt as _;

use super::Memory;
use super::consumer::{Materials, hash, recorded_entries, recorded_keys};
use super::material::Stored;
use super::world::World;
use crate::api::v1alpha1::{EntryFormat, LedgerKey, ServiceAccountKey, meta};
use crate::controller::{Context, Error};
use crate::credential::{Jwk, Jwks, spki_sha256};
use crate::domain::key::{Publication, Subject};
use crate::domain::{Class, Trouble};

/// The public halves in the `PublicJwks` entries.
fn shown(secret: &KubeSecret) -> Vec<Jwk> {
    let entries = recorded_entries(secret).into_iter().filter(|(_, format)| format == PUBLIC_JWKS);
    let texts = entries.filter_map(|(key, _)| secret.data.as_ref()?.get(&key));
    texts.flat_map(|text| Jwks::parse(&text.0).keys).collect()
}

/// The same, as far as they are what the ledger says: an edit may have changed any of them.
fn believed(secret: &KubeSecret, ledger: &[LedgerKey]) -> Vec<Jwk> {
    let whole = secret.annotations().get(meta::DATA_HASH) == Some(&hash(secret, &recorded_keys(secret)));
    let believed = |jwk: &Jwk| match recorded(ledger, &jwk.kid) {
        Some(fingerprint) => jwk.public_key_sha256().as_ref() == Some(fingerprint),
        None => whole,
    };
    shown(secret).into_iter().filter(believed).collect()
}

/// Private halves that a Secret holds under the ids of keys, as far as they are theirs.
fn held<'m>(materials: &'m Materials, ledger: &'m [LedgerKey]) -> impl Iterator<Item = &'m Stored> {
    materials.marked.iter().chain(&materials.previous).filter(|stored| {
        let recorded = recorded(ledger, stored.fields.key_id());
        recorded.is_none_or(|fingerprint| *fingerprint == stored.fingerprint)
    })
}

fn recorded<'l>(ledger: &'l [LedgerKey], id: &str) -> Option<&'l String> {
    ledger.iter().find(|key| key.id == id)?.public_key_sha256.as_ref()
}

/// Keys whose public halves need not be asked for: Secrets show or hold them, or this reconcile was told. None where no entry
/// asks for any.
pub fn known(
    sources: [(Option<&KubeSecret>, &Materials); 2],
    object: &ServiceAccountKey,
    memory: &Memory,
) -> BTreeSet<String> {
    if !are_asked_for(object) {
        return BTreeSet::new();
    }
    let ledger = object.status.as_ref().map(|status| status.keys.as_slice()).unwrap_or_default();
    let mut ids: BTreeSet<String> = memory.public_halves.iter().map(|jwk| jwk.kid.clone()).collect();
    for (secret, materials) in sources {
        let shown = secret.map(|secret| believed(secret, ledger)).unwrap_or_default();
        ids.extend(shown.into_iter().map(|jwk| jwk.kid));
        ids.extend(held(materials, ledger).map(|stored| stored.fields.key_id().to_owned()));
    }
    ids
}

fn are_asked_for(object: &ServiceAccountKey) -> bool {
    object.spec.secret.entries.iter().any(|entry| entry.format == EntryFormat::PublicJwks)
}

/// As the annotation writes the format.
const PUBLIC_JWKS: &str = "PublicJwks";

/// Whose they are, beside those of the published key.
pub fn shown_ids(secret: &KubeSecret, published: Option<&str>) -> Vec<String> {
    let shown: BTreeSet<String> = shown(secret).into_iter().map(|jwk| jwk.kid).collect();
    shown.into_iter().filter(|id| Some(id.as_str()) != published).collect()
}

/// The public halves of other keys that the Secret goes on showing: as it shows them, if they are what the ledger says, of
/// keys whose private half it holds, or as the backend told. Any other is not known here.
pub fn of_others(world: &World, publication: &Publication) -> Result<Vec<Jwk>, Error> {
    if !are_asked_for(&world.object) {
        return Ok(Vec::new());
    }
    let ledger = &publication.ledger;
    // Under a new name nothing stands yet: what the old one shows goes on there.
    let renamed = world.renamed.iter().map(|(secret, materials)| (secret, materials));
    let sources = world.secret.iter().map(|secret| (secret, &world.materials)).chain(renamed);
    let sources: Vec<_> = sources.map(|(secret, materials)| (believed(secret, ledger), materials)).collect();
    let mut public: Vec<Jwk> = Vec::new();
    for id in publication.public.iter().filter(|id| **id != publication.key_id) {
        let of = |jwk: &&Jwk| jwk.kid == *id;
        let shown = sources.iter().find_map(|(shown, _)| shown.iter().find(of));
        if let Some(known) = shown.or_else(|| world.public_halves.iter().find(of)) {
            public.push(known.clone());
            continue;
        }
        let mut private = sources.iter().flat_map(|(_, materials)| held(materials, ledger));
        if let Some(stored) = private.find(|stored| stored.fields.key_id() == id) {
            public.extend(stored.material()?.jwk(id));
        }
    }
    Ok(public)
}

/// Reads the public half of a key, or puts that off: whatever is to be written is written without it meanwhile.
pub async fn ask(ctx: &Context, world: &mut World, id: &str, memory: &mut Memory) {
    let told = match world.login.as_ref().zip(world.observation.account.reachable()) {
        None => Err(Trouble::new(Class::Unknown, "the backend of the account is not known")),
        Some((login, account)) => {
            let told = login.read(&world.namespace()).await.public_half(&account.unique_id, id).await;
            told.map_err(|error| error.trouble())
        }
    };
    let keys = world.observation.status.iter().flat_map(|status| &status.keys);
    let recorded = keys.filter(|key| key.id == id).find_map(|key| key.public_key_sha256.as_ref());
    let read = told.and_then(|der| {
        let read = Jwk::of_der(id, &der);
        let read = read.filter(|_| recorded.is_none_or(|fingerprint| *fingerprint == spki_sha256(&der)));
        read.ok_or_else(|| Trouble::new(Class::Invalid, "the backend shows another one than it made"))
    });
    match read {
        Ok(jwk) => {
            ctx.refusals.done(world.uid(), &Subject::PublicHalf(id.to_owned()));
            world.observation.public_halves.insert(id.to_owned());
            world.public_halves.push(jwk.clone());
            memory.public_halves.push(jwk);
        }
        Err(trouble) => {
            let message = format!(
                "The PublicJwks entries of the Secret lack key {id}, whose signatures are still good: its public half cannot be \
                 read: {}",
                trouble.message
            );
            tracing::warn!(key = id, message, "a public half is left out");
            let subject = Subject::PublicHalf(id.to_owned());
            let told = (trouble.class.reason(), message, trouble.retry_after);
            let now = ctx.clock.now();
            let refused = ctx.refusals.refused(world.uid(), subject.clone(), told, now, &ctx.timing);
            world.observation.put_off.insert(subject, refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;
    use crate::controller::key::material::Half;
    use crate::credential::{FileFields, GoogleFileFields, RsaKeyPair};

    fn jwk(id: &str, pair: &RsaKeyPair) -> Jwk {
        Jwk::of(id, &pair.public_pem()).unwrap()
    }

    fn showing(keys: Vec<Jwk>) -> KubeSecret {
        let set = Jwks { keys }.render();
        let mut secret = KubeSecret {
            data: Some(BTreeMap::from([("jwks.json".to_owned(), ByteString(set.expose().to_vec()))])),
            ..KubeSecret::default()
        };
        let annotations = secret.annotations_mut();
        annotations.insert(meta::ENTRIES.to_owned(), "jwks.json=PublicJwks".to_owned());
        secret
    }

    fn holding(id: &str, pair: &RsaKeyPair) -> Materials {
        let fields = GoogleFileFields { private_key_id: id.to_owned(), ..GoogleFileFields::default() };
        let pem = pair.to_pkcs8_pem().unwrap();
        let stored = Stored {
            half: Half::Pem(pem),
            fingerprint: pair.public_key_sha256(),
            fields: FileFields::Google(fields),
        };
        Materials { marked: Some(stored), ..Materials::default() }
    }

    fn object(keys: &serde_json::Value, format: &str) -> ServiceAccountKey {
        let entries = json!([{"key": "jwks.json", "format": format}]);
        serde_json::from_value(json!({
            "apiVersion": "keywheel.dev/v1alpha1", "kind": "ServiceAccountKey", "metadata": {"name": "billing"},
            "spec": {"serviceAccountRef": {"name": "billing"}, "secret": {"entries": entries}},
            "status": {"keys": keys},
        }))
        .unwrap()
    }

    #[test]
    fn what_the_ledger_knows_to_be_another_half_is_not_at_hand() {
        let (one, other) = (RsaKeyPair::generate_2048().unwrap(), RsaKeyPair::generate_2048().unwrap());
        let key = |id: &str, pair: &RsaKeyPair| json!({"id": id, "phase": "Overlap", "origin": "Rotation", "publicKeySha256": pair.public_key_sha256()});
        let at_hand = |secret: &KubeSecret, materials: &Materials, object: &ServiceAccountKey| {
            let sources = [(Some(secret), materials), (None, &Materials::default())];
            known(sources, object, &Memory::default()).into_iter().collect::<Vec<_>>()
        };
        let ledger = object(&json!([key("k0", &one), key("k1", &other)]), "PublicJwks");
        let (nothing, empty) = (Materials::default(), showing(Vec::new()));
        assert_eq!(at_hand(&showing(vec![jwk("k0", &one)]), &nothing, &ledger), ["k0"]);
        assert_eq!(at_hand(&showing(vec![jwk("k0", &other)]), &nothing, &ledger), [""; 0], "an edited set");
        assert_eq!(at_hand(&empty, &holding("k1", &other), &ledger), ["k1"]);
        assert_eq!(at_hand(&empty, &holding("k1", &one), &ledger), [""; 0], "an edited credential");
        let elsewhere = object(&json!([key("k0", &one)]), "KeyId");
        assert_eq!(at_hand(&showing(vec![jwk("k0", &one)]), &nothing, &elsewhere), [""; 0], "nobody asks");

        // Of what has no fingerprint a Secret is believed that nobody edited.
        let unknown = object(&json!([]), "PublicJwks");
        let mut secret = showing(vec![jwk("k0", &one)]);
        assert_eq!(at_hand(&secret, &nothing, &unknown), [""; 0]);
        let whole = hash(&secret, &recorded_keys(&secret));
        secret.annotations_mut().insert(meta::DATA_HASH.to_owned(), whole);
        assert_eq!(at_hand(&secret, &nothing, &unknown), ["k0"]);
    }
}
