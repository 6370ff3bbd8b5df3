//! What the oracle sees of the cluster: plain facts, read from the objects without the operator's own code.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::api_server::{Place, Store};

/// A `ServiceAccountKey`.
#[derive(Clone, Debug)]
pub struct KeyObject {
    /// Where it is.
    pub place: Place,
    /// Its uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether our finalizer holds it.
    pub held: bool,
    /// Unique id of its account, if it is known.
    pub account: Option<String>,
    /// The object.
    pub object: Arc<Value>,
}

impl KeyObject {
    /// A part of its status.
    pub fn status(&self, pointer: &str) -> Option<&Value> {
        self.object.pointer(&format!("/status{pointer}"))
    }

    /// The items of a list in its status.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.status(&format!("/{name}")).and_then(Value::as_array).into_iter().flatten()
    }

    /// Ids of the keys in its ledger.
    pub fn ledger(&self) -> impl Iterator<Item = &str> {
        self.list("keys").filter_map(|k| k["id"].as_str())
    }

    /// Name of its Secret.
    pub fn secret_name(&self) -> &str {
        let given = self.object.pointer("/spec/secret/name").and_then(Value::as_str);
        given.unwrap_or(&self.place.name)
    }

    /// The key that it says is active.
    pub fn active(&self) -> Option<&str> {
        self.status("/activeKeyId").and_then(Value::as_str)
    }

    /// Whether anything was ever recorded.
    pub fn has_status(&self) -> bool {
        self.status("").and_then(Value::as_object).is_some_and(|s| !s.is_empty())
    }
}

/// A Secret with a credential in it.
#[derive(Clone, Debug)]
pub struct SecretObject {
    /// Where it is.
    pub place: Place,
    /// Uid of the object that it says it belongs to.
    pub owner_uid: Option<String>,
    /// Whether it is a staging Secret.
    pub staging: bool,
    /// The key that its mark names.
    pub key_id: Option<String>,
    /// The keys whose private halves are in it, with those halves.
    pub credentials: BTreeMap<String, String>,
    /// The key whose credential it shows as the previous one.
    pub previous: Option<String>,
    /// Ids in its copy of the ledger.
    pub older: BTreeSet<String>,
}

/// What there is.
pub struct View {
    /// Keys.
    pub keys: Vec<KeyObject>,
    /// Secrets.
    pub secrets: Vec<SecretObject>,
}

impl View {
    /// Reads everything.
    pub fn of(api: &Shared) -> Self {
        api.with(|server| Self {
            keys: keys(&server.store),
            secrets: server
                .store
                .list("secrets", None)
                .map(|(place, object)| read_once(place, object))
                .collect(),
        })
    }

    /// The key with this uid.
    pub fn key(&self, uid: &str) -> Option<&KeyObject> {
        self.keys.iter().find(|k| k.uid == uid)
    }

    /// Secrets that workloads read.
    pub fn consumers(&self) -> impl Iterator<Item = &SecretObject> {
        self.secrets.iter().filter(|s| !s.staging && s.owner_uid.is_some())
    }
}

fn keys(store: &Store) -> Vec<KeyObject> {
    store
        .list(Kind::Key.stored(), None)
        .map(|(place, object)| {
            let account =
                object.pointer("/spec/serviceAccountRef/name").and_then(Value::as_str).unwrap_or_default();
            let account = Place {
                kind: Kind::Account.stored().to_owned(),
                namespace: place.namespace.clone(),
                name: account.to_owned(),
            };
            let unique_id =
                |object: &Value, at: &str| object.pointer(at).and_then(Value::as_str).map(str::to_owned);
            let by_account = store.get(&account).and_then(|a| unique_id(a, "/status/uniqueId"));
            KeyObject {
                place: place.clone(),
                uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
                deleting: !object["metadata"]["deletionTimestamp"].is_null(),
                held: object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()),
                account: unique_id(object, "/status/accountUniqueId").or(by_account),
                object: object.clone(),
            }
        })
        .collect()
}

/// The same object is read once: most of what there is does not change.
fn read_once(place: &Place, object: &Arc<Value>) -> SecretObject {
    thread_local! {
        static READ: RefCell<BTreeMap<Place, (Arc<Value>, SecretObject)>> = const { RefCell::new(BTreeMap::new()) };
    }
    READ.with_borrow_mut(|read| {
        if let Some((_, known)) = read.get(place).filter(|(same, _)| Arc::ptr_eq(same, object)) {
            return known.clone();
        }
        let found = secret(place, object);
        read.insert(place.clone(), (object.clone(), found.clone()));
        found
    })
}

fn secret(place: &Place, object: &Value) -> SecretObject {
    let annotation = |name: &str| {
        object["metadata"]["annotations"][format!("keywheel.dev/{name}")].as_str().map(str::to_owned)
    };
    let key_id = annotation("key-id");
    let older: Vec<Value> =
        annotation("ledger").and_then(|l| serde_json::from_str(&l).ok()).unwrap_or_default();
    let mut credentials = BTreeMap::new();
    for value in object["data"].as_object().into_iter().flat_map(Map::values) {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if let Ok(file) = serde_json::from_str::<Map<String, Value>>(&text) {
            let part = |name: &str| file.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(id), Some(pem)) = (part("private_key_id"), part("private_key")) {
                credentials.insert(id, pem);
            }
            // The file of the other platform.
            let part = |name: &str| file.get("serviceAccount")?.get(name)?.as_str().map(str::to_owned);
            if let (Some(id), Some(secret)) = (part("keyId"), part("secret")) {
                credentials.insert(id, secret);
            }
        } else if (text.starts_with("-----BEGIN PRIVATE KEY") || is_shared_secret(&text))
            && let Some(id) = &key_id
        {
            credentials.entry(id.clone()).or_insert(text);
        }
    }
    SecretObject {
        place: place.clone(),
        owner_uid: annotation("owner-uid"),
        staging: object["type"] == "keywheel.dev/staging",
        key_id,
        credentials,
        previous: annotation("previous-key-id"),
        older: older.iter().filter_map(|k| k["id"].as_str().map(str::to_owned)).collect(),
    }
}

/// As the backend makes them.
fn is_shared_secret(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// A time in an object.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
