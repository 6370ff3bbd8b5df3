//! Requests that change an object that is there.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::apply::Managers;
use super::super::refusal::Refusal;
use super::super::request::{PatchFormat, Request, Verb};
use super::super::resource::Rules;
use super::super::rules;
use super::super::store::Place;
use super::{Answer, Server, conflict, no_finalizers, not_found, refuse_invalid};

impl Server {
    pub(super) fn update(&mut self, request: &Request) -> Result<Answer, Refusal> {
        let body = Self::decoded(request, &request.body)?;
        let (place, old) = self.existing(request)?;
        let uid = body["metadata"]["uid"].as_str().unwrap_or_default();
        let current = old["metadata"]["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && uid != current {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {current}");
            return Err(conflict(&request.resource, &place.name, &why));
        }
        self.change(request, &place, &old, body, false)
    }

    pub(super) fn patch(
        &mut self,
        request: &Request,
        format: PatchFormat,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        if format == PatchFormat::Apply {
            return self.apply(request, now);
        }
        let (place, old) = self.existing(request)?;
        let mut new = (*old).clone();
        match format {
            PatchFormat::Merge => json_patch::merge(&mut new, &request.body),
            PatchFormat::Strategic => {
                let union = |key: &str| {
                    let (old, added) =
                        (old["metadata"][key].as_array(), request.body["metadata"][key].as_array());
                    added.map(|added| {
                        let mut all = old.cloned().unwrap_or_default();
                        all.extend(added.iter().filter(|v| old.is_none_or(|o| !o.contains(v))).cloned());
                        Value::Array(all)
                    })
                };
                let finalizers = union("finalizers");
                json_patch::merge(&mut new, &request.body);
                if let Some(finalizers) = finalizers {
                    new["metadata"]["finalizers"] = finalizers;
                }
            }
            PatchFormat::Json | PatchFormat::Apply => {
                let patch: json_patch::Patch = serde_json::from_value(request.body.clone())
                    .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
                json_patch::patch(&mut new, &patch).map_err(|error| {
                    let name = request.name.as_deref().unwrap_or_default();
                    let mut refusal =
                        Refusal::invalid(&request.resource.group, &request.resource.kind, name, &[]);
                    refusal.message =
                        format!("the server rejected our request due to an error in our request: {error}");
                    refusal.details = Value::Null;
                    refusal
                })?;
            }
        }
        if !new["metadata"].is_object() {
            new["metadata"] = json!({});
        }
        for field in ["name", "namespace"] {
            if new["metadata"][field] != old["metadata"][field] {
                return Err(Refusal::bad_request(format!(
                    "the {field} of the object cannot be changed by a patch"
                )));
            }
        }
        self.change(request, &place, &old, new, false)
    }

    pub(super) fn apply(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
        let Some(manager) = request.query.get("fieldManager").cloned() else {
            return Err(Refusal::no_manager());
        };
        let mut wanted = request.body.clone();
        if !wanted["metadata"].is_object() {
            wanted["metadata"] = json!({});
        }
        if !wanted["metadata"]["managedFields"].is_null() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        let place = Self::place(request);
        let force = request.query.get("force").is_some_and(|f| f == "true");
        let part = request.subresource.clone().unwrap_or_default();
        let resource = request.resource.clone();
        let Some(old) = self.store.get(&place).cloned() else {
            if !part.is_empty() {
                return Err(not_found(&resource, &place.name));
            }
            if let Some(uid) = wanted["metadata"]["uid"].as_str().filter(|u| !u.is_empty()) {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(conflict(&resource, &place.name, &why));
            }
            wanted["metadata"]["name"] = json!(place.name);
            let named = Request { name: None, body: wanted.clone(), verb: Verb::Create, ..request.clone() };
            let answer = self.create(&named, now)?;
            if !request.is_dry_run() {
                let mut managers = Managers::default();
                let live =
                    json!({ "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {} });
                managers.apply(&manager, &part, true, &resource, &live, &wanted)?;
                self.managers.insert(place, managers);
            }
            return Ok(answer);
        };
        let mut managers = self.managers.get(&place).cloned().unwrap_or_default();
        let mut new = managers.apply(&manager, &part, force, &resource, &old, &wanted)?;
        for field in ["uid", "resourceVersion"] {
            if let Some(value) = wanted["metadata"].get(field).filter(|v| !v.is_null()) {
                new["metadata"][field] = value.clone();
            }
        }
        let before = self.managers.get(&place).cloned().unwrap_or_default();
        let answer = self.change(request, &place, &old, new, before != managers)?;
        if !request.is_dry_run() && self.store.get(&place).is_some() {
            self.managers.insert(place, managers);
        }
        Ok(answer)
    }

    /// A whole new state of an object, from an update or a patch. It is stored if it differs, or if its fields have
    /// other managers now.
    pub(super) fn change(
        &mut self,
        request: &Request,
        place: &Place,
        old: &Value,
        mut new: Value,
        managers_moved: bool,
    ) -> Result<Answer, Refusal> {
        let resource = request.resource.clone();
        let name = &place.name;
        let version = new["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if version.is_empty() {
            if !resource.allows_unconditional_update() {
                let cause = super::super::refusal::Cause::invalid(
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update",
                );
                let refusal = Refusal::invalid(&resource.group, &resource.kind, name, &[cause]);
                return Err(refusal.about_plural(&resource.plural));
            }
        } else if old["metadata"]["resourceVersion"] != version {
            let why =
                "the object has been modified; please apply your changes to the latest version and try again";
            return Err(conflict(&resource, name, why));
        }
        Self::keep(request, old, &mut new);
        rules::prepare(&resource, &mut new)?;
        let generation_moves =
            resource.custom().is_some() && request.subresource.is_none() && differs_beyond(old, &new);
        if generation_moves {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        refuse_invalid(&resource, name, &new, Some(old))?;
        if request.is_dry_run() || new == *old && !managers_moved {
            return Ok((200, new));
        }
        if request.verb != Verb::Patch(PatchFormat::Apply) {
            self.managed(request, place, Some(old), &new);
        }
        let ended = !new["metadata"]["deletionTimestamp"].is_null()
            && no_finalizers(&new)
            && !matches!(resource.rules, Rules::Namespace);
        if ended {
            self.store.remove(place);
            self.managers.remove(place);
            return Ok((200, new));
        }
        Ok((200, (*self.store.put(place.clone(), new)).clone()))
    }

    /// What no write can change: the system's part of the metadata, and what lies outside the subresource.
    pub(super) fn keep(request: &Request, old: &Value, new: &mut Value) {
        let has_status = match &request.resource.rules {
            Rules::Custom(custom) => custom.has_status,
            Rules::Namespace | Rules::Quota => true,
            _ => false,
        };
        if request.subresource.as_deref() == Some("status") {
            let status = new.get("status").cloned();
            *new = old.clone();
            match status {
                Some(status) => new["status"] = status,
                None => {
                    if let Some(map) = new.as_object_mut() {
                        map.remove("status");
                    }
                }
            }
            return;
        }
        if has_status && let Some(map) = new.as_object_mut() {
            match old.get("status") {
                Some(status) => map.insert("status".to_owned(), status.clone()),
                None => map.remove("status"),
            };
        }
        if matches!(request.resource.rules, Rules::Namespace) {
            new["spec"] = old["spec"].clone();
        }
        for field in [
            "namespace",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
        ] {
            match old["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => {
                    if let Some(map) = new["metadata"].as_object_mut() {
                        map.remove(field);
                    }
                }
            }
        }
        if new["metadata"]["uid"].as_str().is_none_or(str::is_empty) {
            new["metadata"]["uid"] = old["metadata"]["uid"].clone();
        }
        if let Some(map) = new["metadata"].as_object_mut() {
            map.remove("managedFields");
        }
    }

    pub(super) fn managed(&mut self, request: &Request, place: &Place, old: Option<&Value>, new: &Value) {
        let manager = request.query.get("fieldManager").cloned().unwrap_or_else(|| "unknown".to_owned());
        let part = request.subresource.clone().unwrap_or_default();
        let managers = self.managers.entry(place.clone()).or_default();
        managers.updated(&manager, &part, &request.resource, old, new);
    }
}

/// Whether anything but metadata and status differs: that is a new generation.
fn differs_beyond(old: &Value, new: &Value) -> bool {
    let rest = |v: &Value| {
        let mut map = v.as_object().cloned().unwrap_or_default();
        map.remove("metadata");
        map.remove("status");
        map
    };
    rest(old) != rest(new)
}

pub(super) fn only_metadata(body: Value) -> Value {
    if body.get("items").is_some() {
        let items: Vec<Value> =
            body["items"].as_array().into_iter().flatten().cloned().map(only_metadata).collect();
        return json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": body["metadata"], "items": items,
        });
    }
    if body["kind"] == "Status" {
        return body;
    }
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"] })
}
