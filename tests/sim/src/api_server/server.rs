//! The verbs: what each does to the store, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};

use super::apply::Managers;
use super::refusal::Refusal;
use super::request::{PatchFormat, Request, Verb};
use super::resource::{Resource, Rules};
use super::rules;
use super::selector::Selector;
use super::store::{Place, Store, kind_of};

/// An answer: HTTP status and body.
pub type Answer = (u16, Value);

/// An API server and what it stores.
pub struct Server {
    /// What is stored.
    pub store: Store,
    managers: BTreeMap<Place, Managers>,
    random: ChaCha8Rng,
}

impl Server {
    /// An API server with the namespaces that every cluster has. Uids follow from the seed.
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut server = Self {
            store: Store::default(),
            managers: BTreeMap::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
        };
        for name in ["default", "kube-system", "keywheel-system"] {
            server.create_namespace(name, now);
        }
        server
    }

    /// Makes a namespace, as an administrator.
    pub fn create_namespace(&mut self, name: &str, now: Timestamp) {
        let place = Place { kind: "namespaces".to_owned(), namespace: String::new(), name: name.to_owned() };
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": name, "uid": self.uid(), "creationTimestamp": seconds(now),
                "labels": { "kubernetes.io/metadata.name": name },
            },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        self.store.put(place, object);
    }

    fn uid(&mut self) -> String {
        let (high, low) = (self.random.next_u64(), self.random.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// Answers a request. A watch is not answered here.
    pub fn handle(&mut self, request: &Request, now: Timestamp) -> Answer {
        let outcome = match request.verb {
            Verb::Get => self.get(request),
            Verb::List => self.list(request),
            Verb::Watch => Err(Refusal::not_allowed()),
            Verb::Create => self.create(request, now),
            Verb::Update => self.update(request),
            Verb::Patch(format) => self.patch(request, format, now),
            Verb::Delete => self.delete(request, now),
            Verb::DeleteMany => self.delete_many(request, now),
        };
        match outcome {
            Ok((code, body)) if request.metadata_only => (code, only_metadata(body)),
            Ok(answer) => answer,
            Err(refusal) => (refusal.code, refusal.body()),
        }
    }

    fn place(request: &Request) -> Place {
        Place::new(
            &request.resource,
            request.namespace.as_deref().unwrap_or_default(),
            request.name.as_deref().unwrap_or_default(),
        )
    }

    fn existing(&self, request: &Request) -> Result<(Place, Arc<Value>), Refusal> {
        let place = Self::place(request);
        match self.store.get(&place) {
            Some(object) => Ok((place.clone(), object.clone())),
            None => Err(not_found(&request.resource, &place.name)),
        }
    }

    fn get(&self, request: &Request) -> Result<Answer, Refusal> {
        Ok((200, (*self.existing(request)?.1).clone()))
    }

    fn list(&self, request: &Request) -> Result<Answer, Refusal> {
        let selector = Selector::of(request)?;
        let kind = kind_of(&request.resource);
        let mut version = self.store.version();
        let mut after = None;
        if let Some(token) = request.query.get("continue") {
            let (at, last) = token
                .split_once('|')
                .and_then(|(at, last)| Some((at.parse::<u64>().ok()?, last.to_owned())))
                .ok_or_else(|| Refusal::bad_request("continue key is not valid"))?;
            if at < self.store.compacted() {
                return Err(Refusal::expired(
                    "The provided continue parameter is too old to display a consistent list result.",
                ));
            }
            (version, after) = (at, Some(last));
        } else if let Some(wanted) = request.query.get("resourceVersion").and_then(|v| v.parse::<u64>().ok())
            && request.query.get("resourceVersionMatch").is_some_and(|m| m == "Exact")
            && wanted < self.store.compacted()
        {
            return Err(Refusal::expired(format!(
                "The resourceVersion for the provided list is too old: {wanted}"
            )));
        }
        let named = |place: &Place| format!("{}/{}", place.namespace, place.name);
        let mut items: Vec<(String, Value)> = self
            .store
            .list(&kind, request.namespace.as_deref())
            .filter(|(place, object)| {
                selector.matches(object) && after.as_ref().is_none_or(|after| named(place) > *after)
            })
            .map(|(place, object)| (named(place), (**object).clone()))
            .collect();
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        let limit = request.query.get("limit").and_then(|l| l.parse::<usize>().ok()).filter(|l| *l > 0);
        if let Some(limit) = limit.filter(|limit| *limit < items.len()) {
            metadata["remainingItemCount"] = json!(items.len() - limit);
            items.truncate(limit);
            let last = items.last().map(|(name, _)| name.clone()).unwrap_or_default();
            metadata["continue"] = json!(format!("{version}|{last}"));
        }
        let items: Vec<Value> = items.into_iter().map(|(_, object)| object).collect();
        let body = json!({
            "apiVersion": request.resource.api_version(),
            "kind": format!("{}List", request.resource.kind),
            "metadata": metadata, "items": items,
        });
        Ok((200, body))
    }

    fn create(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
        let resource = &request.resource;
        let mut object = Self::decoded(request, &request.body)?;
        let namespace = request.namespace.clone().unwrap_or_default();
        let meta = &mut object["metadata"];
        if meta["name"].as_str().is_none_or(str::is_empty)
            && let Some(prefix) = meta["generateName"].as_str()
        {
            meta["name"] = json!(format!("{prefix}{:05x}", self.random.next_u32() & 0xf_ffff));
        }
        if meta.get("resourceVersion").is_some_and(|v| v.as_str().is_some_and(|v| !v.is_empty())) {
            return Err(Refusal::failure(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        self.admit(resource, &namespace, &name)?;
        let place = Place::new(resource, &namespace, &name);
        self.begin(resource, &namespace, &mut object, now);
        rules::prepare(resource, &mut object)?;
        refuse_invalid(resource, &name, &object, None)?;
        if self.store.get(&place).is_some() {
            return Err(already_exists(resource, &name));
        }
        self.check_quota(resource, &namespace, &name)?;
        if request.is_dry_run() {
            return Ok((201, object));
        }
        self.managers.remove(&place);
        self.managed(request, &place, None, &object);
        Ok((201, (*self.store.put(place, object)).clone()))
    }

    /// What the system gives a new object.
    fn begin(&mut self, resource: &Resource, namespace: &str, object: &mut Value, now: Timestamp) {
        let uid = self.uid();
        let meta = &mut object["metadata"];
        if resource.namespaced {
            meta["namespace"] = json!(namespace);
        }
        meta["uid"] = json!(uid);
        meta["creationTimestamp"] = json!(seconds(now));
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "managedFields",
            "selfLink",
        ] {
            meta.as_object_mut().expect("metadata is an object").remove(field);
        }
        match &resource.rules {
            Rules::Custom(custom) => {
                meta["generation"] = json!(1);
                if custom.has_status
                    && let Some(map) = object.as_object_mut()
                {
                    map.remove("status");
                }
            }
            Rules::Namespace => {
                let name = object["metadata"]["name"].clone();
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
                object["spec"] = json!({ "finalizers": ["kubernetes"] });
                object["status"] = json!({ "phase": "Active" });
            }
            Rules::Quota => object["status"] = json!({}),
            _ => {}
        }
    }

    /// The body as an object of the kind and place that the path names.
    fn decoded(request: &Request, body: &Value) -> Result<Value, Refusal> {
        let resource = &request.resource;
        if !body.is_object() {
            return Err(Refusal::bad_request("the body is no object"));
        }
        let mut object = body.clone();
        let told =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let expected = (resource.api_version(), resource.kind.clone());
        let absent_is_fine = resource.custom().is_none() && told == ("", "");
        if !absent_is_fine && (told.0 != expected.0 || told.1 != expected.1) {
            return Err(Refusal::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {} was expected",
                told.1, told.0, expected.1, expected.0
            )));
        }
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if let Some(expected) =
            request.namespace.as_deref().filter(|ns| !namespace.is_empty() && *ns != namespace)
        {
            return Err(Refusal::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({expected})"
            )));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(expected) = request.name.as_deref().filter(|n| *n != name) {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({expected})"
            )));
        }
        Ok(object)
    }

    fn admit(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Refusal> {
        if !resource.namespaced {
            return Ok(());
        }
        match self.namespace(namespace) {
            None => Err(Refusal::not_found("", "namespaces", namespace)),
            Some(found) if !found["metadata"]["deletionTimestamp"].is_null() => {
                Err(Refusal::terminating(&resource.group, &resource.plural, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    fn namespace(&self, name: &str) -> Option<&Arc<Value>> {
        let place = Place { kind: "namespaces".to_owned(), namespace: String::new(), name: name.to_owned() };
        self.store.get(&place)
    }

    /// The quota plugin, as far as objects are counted.
    fn check_quota(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Refusal> {
        let counted = [resource.plural.clone(), format!("count/{}", kind_of(resource))];
        for (place, quota) in self.store.list("resourcequotas", Some(namespace)) {
            for what in &counted {
                let Some(hard) = quota["spec"]["hard"][what].as_str().and_then(|h| h.parse::<usize>().ok())
                else {
                    continue;
                };
                let used = self.store.list(&kind_of(resource), Some(namespace)).count();
                if used + 1 > hard {
                    let why = format!(
                        "exceeded quota: {}, requested: {what}=1, used: {what}={used}, limited: {what}={hard}",
                        place.name
                    );
                    return Err(Refusal::forbidden(&resource.group, &resource.plural, name, &why));
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, request: &Request) -> Result<Answer, Refusal> {
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

    fn patch(&mut self, request: &Request, format: PatchFormat, now: Timestamp) -> Result<Answer, Refusal> {
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

    fn apply(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
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
    fn change(
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
                let cause = super::refusal::Cause::invalid(
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
    fn keep(request: &Request, old: &Value, new: &mut Value) {
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

    fn managed(&mut self, request: &Request, place: &Place, old: Option<&Value>, new: &Value) {
        let manager = request.query.get("fieldManager").cloned().unwrap_or_else(|| "unknown".to_owned());
        let part = request.subresource.clone().unwrap_or_default();
        let managers = self.managers.entry(place.clone()).or_default();
        managers.updated(&manager, &part, &request.resource, old, new);
    }

    fn delete(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
        let (place, old) = self.existing(request)?;
        Self::check_preconditions(request, &place, &old)?;
        Ok(self.end(request, &place, &old, now))
    }

    fn check_preconditions(request: &Request, place: &Place, old: &Value) -> Result<(), Refusal> {
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
    fn end(&mut self, request: &Request, place: &Place, old: &Value, now: Timestamp) -> Answer {
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

    fn delete_many(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Refusal> {
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

fn refuse_invalid(
    resource: &Resource,
    name: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let causes = rules::check(resource, object, old);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid(&resource.group, &resource.kind, name, &causes))
    }
}

fn not_found(resource: &Resource, name: &str) -> Refusal {
    Refusal::not_found(&resource.group, &resource.plural, name)
}

fn already_exists(resource: &Resource, name: &str) -> Refusal {
    Refusal::already_exists(&resource.group, &resource.plural, name)
}

fn conflict(resource: &Resource, name: &str, why: &str) -> Refusal {
    Refusal::conflict(&resource.group, &resource.plural, name, why)
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

/// Whether nothing holds an object.
pub fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// A time as metadata has it.
pub fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

fn only_metadata(body: Value) -> Value {
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
