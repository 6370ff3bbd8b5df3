//! Deletion: preconditions, finalizers, whole collections.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::refusal::Refusal;
use super::super::request::Request;
use super::super::resource::Rules;
use super::super::selector::Selector;
use super::super::store::{Place, kind_of};
use super::{Answer, Server, conflict, no_finalizers, seconds};

impl Server {
    pub(super) fn delete(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
        let (place, old) = self.existing(request)?;
        Self::check_preconditions(request, &place, &old)?;
        Ok(self.end(request, &place, &old, now))
    }

    pub(super) fn check_preconditions(request: &Request, place: &Place, old: &Value) -> Result<(), Refusal> {
        let wanted = |field: &str| request.body["preconditions"][field].as_str().map(str::to_owned);
        let is = |field: &str| old["metadata"][field].as_str().unwrap_or_default();
        if let Some(uid) = wanted("uid").filter(|uid| uid != is("uid")) {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", is("uid"));
            return Err(conflict(&request.resource, &place.name, &why).about_plural(&request.resource.kind));
        }
        if let Some(version) = wanted("resourceVersion").filter(|v| v != is("resourceVersion")) {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
                is("resourceVersion")
            );
            return Err(conflict(&request.resource, &place.name, &why).about_plural(&request.resource.kind));
        }
        Ok(())
    }

    /// Ends an object, or marks it where something holds it.
    pub(super) fn end(&mut self, request: &Request, place: &Place, old: &Value, now: Timestamp) -> Answer {
        let resource = request.resource.clone();
        let mut new = old.clone();
        let policy = request.body["propagationPolicy"].as_str().unwrap_or_default();
        let held_by = match policy {
            "Foreground" => Some("foregroundDeletion"),
            "Orphan" => Some("orphan"),
            _ => None,
        };
        if matches!(resource.rules, Rules::Namespace) {
            if old["metadata"]["deletionTimestamp"].is_null() {
                new["metadata"]["deletionTimestamp"] = json!(seconds(now));
                new["status"]["phase"] = json!("Terminating");
                if !request.is_dry_run() {
                    new = (*self.store.put(place.clone(), new)).clone();
                }
            }
            return (200, new);
        }
        if let Some(held_by) = held_by.filter(|_| old["metadata"]["deletionTimestamp"].is_null()) {
            let mut all = new["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            all.push(json!(held_by));
            new["metadata"]["finalizers"] = json!(all);
        }
        if no_finalizers(&new) {
            if !request.is_dry_run() {
                self.store.remove(place);
                self.managers.remove(place);
            }
            let mut details =
                json!({ "name": place.name, "kind": resource.plural, "uid": old["metadata"]["uid"] });
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            return (
                200,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                }),
            );
        }
        if old["metadata"]["deletionTimestamp"].is_null() {
            new["metadata"]["deletionTimestamp"] = json!(seconds(now));
            new["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            if let Some(generation) = old["metadata"]["generation"].as_i64() {
                new["metadata"]["generation"] = json!(generation + 1);
            }
            if !request.is_dry_run() {
                new = (*self.store.put(place.clone(), new)).clone();
            }
        }
        (200, new)
    }

    pub(super) fn delete_many(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
        let selector = Selector::of(request)?;
        let kind = kind_of(&request.resource);
        let found: Vec<(Place, Arc<Value>)> = self
            .store
            .list(&kind, request.namespace.as_deref())
            .filter(|(_, object)| selector.matches(object))
            .map(|(place, object)| (place.clone(), object.clone()))
            .collect();
        for (place, old) in &found {
            self.end(request, place, old, now);
        }
        self.list(request)
    }
}
