//! The verbs: what each does to the store, and what it answers.

mod deletion;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};

use self::writes::only_metadata;
use super::apply::Managers;
use super::refusal::Refusal;
use super::request::{Request, Verb};
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

/// Whether nothing holds an object.
pub fn no_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// A time as metadata has it.
pub fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
