//! Who hears of a change, and reconciles.

use keywheel::controller::{Context, owner_of};
use serde_json::Value;
use tokio::time::Instant;

use super::World;
use crate::actor::{Kind, ObjectKey};
use crate::api_server::{Change, Place};
use crate::fate::Director;

impl World {
    /// What watches would tell the processes.
    pub(super) fn tell(&mut self, changes: &[Change], mut director: Option<&mut dyn Director>) {
        let at = Instant::now();
        for change in changes {
            let referring = self.referring(change);
            for index in 0..self.actors.len() {
                // One that stands by lists everything when it begins.
                if !self.actors[index].is_alive() || !self.actors[index].controls {
                    continue;
                }
                if !director.as_mut().is_none_or(|d| d.hears(index)) {
                    self.note(&format!("A{index} misses {:?} {}", change.kind, change.place));
                    continue;
                }
                let actor = &mut self.actors[index];
                if let Some(kind) = Kind::of_stored(&change.place.kind) {
                    let place = change.place.clone();
                    actor.look(ObjectKey { kind, namespace: place.namespace, name: place.name }, at);
                }
                for object in &referring {
                    actor.look(object.clone(), at);
                }
                if let Some(memory) = &actor.memory
                    && let Some(owner) = owner(memory, &change.place, &change.object)
                {
                    actor.look(owner, at);
                }
            }
        }
    }

    /// What else is looked at when an object changes, as the operator's watches have it.
    pub(super) fn referring(&self, change: &Change) -> Vec<ObjectKey> {
        let place = &change.place;
        let of = |kind: Kind, namespace: &str, path: &str, value: &str| -> Vec<ObjectKey> {
            self.api.with(|s| {
                let all = s.store.list(kind.stored(), None);
                all.filter(|(p, o)| {
                    (namespace.is_empty() || p.namespace == namespace)
                        && o.pointer(path).and_then(Value::as_str) == Some(value)
                })
                .map(|(p, _)| ObjectKey { kind, namespace: p.namespace.clone(), name: p.name.clone() })
                .collect()
            })
        };
        match Kind::of_stored(&place.kind) {
            Some(Kind::ClusterBackend) => of(Kind::Account, "", "/spec/backendRef/name", &place.name),
            Some(Kind::Backend) => of(Kind::Account, &place.namespace, "/spec/backendRef/name", &place.name),
            Some(Kind::Account) => {
                let mut all = of(Kind::Key, &place.namespace, "/spec/serviceAccountRef/name", &place.name);
                if let Some(backend) = change.object.pointer("/spec/backendRef/name").and_then(Value::as_str)
                {
                    let (kind, namespace) = match change.object.pointer("/spec/backendRef/kind") {
                        Some(kind) if kind == "IamBackend" => (Kind::Backend, place.namespace.clone()),
                        _ => (Kind::ClusterBackend, String::new()),
                    };
                    all.push(ObjectKey { kind, namespace, name: backend.to_owned() });
                }
                all
            }
            Some(Kind::Key) if !change.object["metadata"]["deletionTimestamp"].is_null() => {
                let account = change.object.pointer("/spec/serviceAccountRef/name").and_then(Value::as_str);
                account
                    .map(|name| ObjectKey {
                        kind: Kind::Account,
                        namespace: place.namespace.clone(),
                        name: name.to_owned(),
                    })
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The key that a Secret belongs to, as the operator's watch finds it.
pub(super) fn owner(memory: &Context, place: &Place, object: &Value) -> Option<ObjectKey> {
    if place.kind != "secrets"
        || object.pointer("/metadata/labels/keywheel.dev~1owned").is_none_or(|v| v != "true")
    {
        return None;
    }
    let metadata = serde_json::json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"],
    });
    let partial = serde_json::from_value(metadata).ok()?;
    let found = owner_of(memory, &partial)?;
    Some(ObjectKey { kind: Kind::Key, namespace: found.namespace?, name: found.name })
}
