//! What the cluster's own controllers do: end what a namespace holds, collect what lost its owner, count quotas.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{Server, no_finalizers, seconds};
use super::store::Place;

impl Server {
    /// One round of the cluster's own controllers. Whether there was anything to do.
    pub fn collect(&mut self, now: Timestamp) -> bool {
        let before = self.store.version();
        self.empty_namespaces(now);
        self.collect_orphans(now);
        self.count_quotas();
        self.store.version() != before
    }

    fn empty_namespaces(&mut self, now: Timestamp) {
        let ending: Vec<Place> = self
            .store
            .list("namespaces", Some(""))
            .filter(|(_, object)| !object["metadata"]["deletionTimestamp"].is_null())
            .map(|(place, _)| place.clone())
            .collect();
        for namespace in ending {
            let inside: Vec<(Place, Arc<Value>)> = self
                .store
                .all()
                .filter(|(place, _)| place.namespace == namespace.name)
                .map(|(place, object)| (place.clone(), object.clone()))
                .collect();
            for (place, object) in &inside {
                self.mark_or_remove(place, object, now);
            }
            let left = self.store.all().any(|(place, _)| place.namespace == namespace.name);
            if !left {
                self.store.remove(&namespace);
            }
        }
    }

    fn mark_or_remove(&mut self, place: &Place, object: &Value, now: Timestamp) {
        if no_finalizers(object) {
            self.store.remove(place);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            let mut marked = object.clone();
            marked["metadata"]["deletionTimestamp"] = json!(seconds(now));
            marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if let Some(generation) = object["metadata"]["generation"].as_i64() {
                marked["metadata"]["generation"] = json!(generation + 1);
            }
            self.store.put(place.clone(), marked);
        }
    }

    /// An object all of whose owners are gone goes, too. An owner is gone if nothing has its uid.
    fn collect_orphans(&mut self, now: Timestamp) {
        let living: BTreeSet<String> = self
            .store
            .all()
            .filter_map(|(_, object)| object["metadata"]["uid"].as_str().map(str::to_owned))
            .collect();
        let orphans: Vec<(Place, Arc<Value>)> = self
            .store
            .all()
            .filter(|(_, object)| {
                object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| {
                    !owners.is_empty()
                        && owners.iter().all(|o| o["uid"].as_str().is_some_and(|uid| !living.contains(uid)))
                })
            })
            .map(|(place, object)| (place.clone(), object.clone()))
            .collect();
        for (place, object) in orphans {
            self.mark_or_remove(&place, &object, now);
        }
    }

    fn count_quotas(&mut self) {
        let quotas: Vec<(Place, Arc<Value>)> =
            self.store.list("resourcequotas", None).map(|(p, o)| (p.clone(), o.clone())).collect();
        for (place, quota) in quotas {
            let mut used = serde_json::Map::new();
            for what in quota["spec"]["hard"].as_object().into_iter().flat_map(serde_json::Map::keys) {
                let kind = what.strip_prefix("count/").unwrap_or(what);
                let count = self.store.list(kind, Some(&place.namespace)).count();
                used.insert(what.clone(), json!(count.to_string()));
            }
            let status = json!({ "hard": quota["spec"]["hard"], "used": used });
            if quota["status"] != status {
                let mut counted = (*quota).clone();
                counted["status"] = status;
                self.store.put(place, counted);
            }
        }
    }
}
