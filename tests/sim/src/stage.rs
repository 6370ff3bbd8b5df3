//! Worlds that are set up: a namespace, a backend, an account, and keys on it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::actor::Kind;
use crate::api_server::{PatchFormat, Place, Request, Resource, Verb, of_kind};
use crate::fate::{Calm, Director};
use crate::world::{Setup, World};

/// The namespace that people work in.
pub const NAMESPACE: &str = "team-a";
/// The first account.
pub const ACCOUNT: &str = "account-0";
/// The group's version.
const API: &str = "keywheel.dev/v1alpha1";

/// The kind of our objects, or of a built-in one.
pub fn resource(kind: &str) -> &'static std::sync::Arc<Resource> {
    of_kind(API, kind)
        .or_else(|| of_kind("v1", kind))
        .or_else(|| of_kind("apps/v1", kind))
        .expect("the kind is served")
}

/// The place of a key.
pub fn key_place(name: &str) -> Place {
    Place { kind: Kind::Key.stored().to_owned(), namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

/// The place of a Secret.
pub fn secret_place(name: &str) -> Place {
    Place { kind: "secrets".to_owned(), namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

/// What rotation most worlds have: once a day, an hour of overlap, six hours until the end.
pub fn rotation() -> Value {
    json!({ "every": "24h", "overlap": "1h", "deleteAfter": "6h" })
}

impl World {
    /// A namespace, a backend and a login in a new world.
    pub fn with_backend(setup: Setup) -> Self {
        let mut world = Self::new(setup);
        world.person("sets the stage", |server, _, now| server.create_namespace(NAMESPACE, now));
        let login = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login" },
            "stringData": { "key.json": "a login" },
        });
        world.create("Secret", "keywheel-system", login);
        let backend = json!({
            "apiVersion": API, "kind": "ClusterIamBackend", "metadata": { "name": "default" },
            "spec": {
                "embedded": { "endpoint": "http://iam.sim", "auth": { "secretRef": { "name": "login" } } },
                "tenants": { "roles": crate::people::ROLES, "services": ["*"] },
            },
        });
        world.create("ClusterIamBackend", "", backend);
        world
    }

    /// The same with an account, and an operator that has made it ready; nothing went wrong so far.
    pub async fn with_account(setup: Setup) -> Self {
        let mut world = Self::with_backend(setup);
        world.create_account(ACCOUNT);
        world.start_all();
        world.run_for(Duration::from_secs(5), &mut Calm).await;
        world
    }

    /// A person creates an object; it must be accepted.
    pub fn create(&mut self, kind: &str, namespace: &str, object: Value) {
        let request = Request::by_person(Verb::Create, resource(kind), namespace, "", object);
        let code = self.request(&request);
        assert_eq!(code, 201, "{} is refused", request.summary());
    }

    /// A person creates an account.
    pub fn create_account(&mut self, name: &str) {
        self.create_account_with(name, &json!({}));
    }

    /// The same with this much of a spec.
    pub fn create_account_with(&mut self, name: &str, spec: &Value) {
        let mut object = json!({
            "apiVersion": API, "kind": "ServiceAccount", "metadata": { "name": name },
            "spec": { "backendRef": { "name": "default" } },
        });
        json_patch::merge(&mut object["spec"], spec);
        self.create("ServiceAccount", NAMESPACE, object);
    }

    /// A person creates a key with this much of a spec.
    pub fn create_key(&mut self, name: &str, account: &str, spec: &Value) {
        let mut object = json!({
            "apiVersion": API, "kind": "ServiceAccountKey", "metadata": { "name": name },
            "spec": { "serviceAccountRef": { "name": account }, "rotation": rotation() },
        });
        json_patch::merge(&mut object["spec"], spec);
        self.create("ServiceAccountKey", NAMESPACE, object);
    }

    /// A person deletes an object of the namespace.
    pub fn delete(&mut self, kind: &str, name: &str) -> u16 {
        self.request(&Request::by_person(Verb::Delete, resource(kind), NAMESPACE, name, Value::Null))
    }

    /// A person patches an object of the namespace.
    pub fn patch(&mut self, kind: &str, name: &str, patch: Value) -> u16 {
        let verb = Verb::Patch(PatchFormat::Merge);
        self.request(&Request::by_person(verb, resource(kind), NAMESPACE, name, patch))
    }

    /// A person patches the status of an object, which takes rights that few have.
    pub fn patch_status(&mut self, kind: &str, name: &str, patch: Value) -> u16 {
        let verb = Verb::Patch(PatchFormat::Merge);
        let mut request = Request::by_person(verb, resource(kind), NAMESPACE, name, patch);
        request.subresource = Some("status".to_owned());
        self.request(&request)
    }

    /// An object as it is.
    pub fn object(&self, place: &Place) -> Option<Value> {
        self.api.with(|s| s.store.get(place).map(|o| (**o).clone()))
    }

    /// A key as it is.
    pub fn key(&self, name: &str) -> Option<Value> {
        self.object(&key_place(name))
    }

    /// Whether a key is Ready with nothing under way.
    pub fn is_ready(&self, name: &str) -> bool {
        self.key(name).is_some_and(|key| {
            let conditions = key["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
                && key["status"]["pending"].is_null()
        })
    }

    /// Runs until a condition holds, for so long at most. Whether it came to hold.
    pub async fn run_while(
        &mut self,
        longest: Duration,
        director: &mut dyn Director,
        go_on: impl Fn(&Self) -> bool,
    ) -> bool {
        let end = self.time.elapsed() + longest;
        while go_on(self) {
            if self.time.elapsed() >= end || !self.oracle.violations().is_empty() {
                return false;
            }
            self.turn(end, director).await;
        }
        true
    }

    /// The last lines of the trace, for a message.
    pub fn tail(&self, lines: usize) -> String {
        let all = self.trace.lines();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
