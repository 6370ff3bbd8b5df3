//! Objects, their versions, and everything that happened to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::resource::Resource;

/// Where an object is: kind (group and plural), namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// `plural.group`, or the plural alone for the core.
    pub kind: String,
    /// Namespace; empty for kinds without.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Place {
    /// The place of an object.
    pub fn new(resource: &Resource, namespace: &str, name: &str) -> Self {
        Self { kind: kind_of(resource), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// How a kind is named here. Events are served under two groups and are one kind.
pub fn kind_of(resource: &Resource) -> String {
    if resource.group.is_empty() || resource.plural == "events" {
        resource.plural.clone()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Version of the world after it.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// Where.
    pub place: Place,
    /// The object after it; for an end, as it was last, with the version of its end.
    pub object: Arc<Value>,
    /// The object before it.
    pub before: Option<Arc<Value>>,
}

/// Objects and their history.
#[derive(Default)]
pub struct Store {
    version: u64,
    objects: BTreeMap<Place, Arc<Value>>,
    changes: Vec<Change>,
    /// Changes up to this version are forgotten.
    compacted: u64,
}

impl Store {
    /// The version of the world.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Up to which version the history is forgotten.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets the history up to now: who watches from before must list again.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.changes.clear();
    }

    /// An object as it is.
    pub fn get(&self, place: &Place) -> Option<&Arc<Value>> {
        self.objects.get(place)
    }

    /// Objects of a kind, of one namespace or of all, in order.
    pub fn list<'a>(
        &'a self,
        kind: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Place, &'a Arc<Value>)> {
        let first = Place {
            kind: kind.to_owned(),
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(p, _)| p.kind == kind && namespace.is_none_or(|n| p.namespace == n))
    }

    /// All objects.
    pub fn all(&self) -> impl Iterator<Item = (&Place, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Stores an object under the next version.
    pub fn put(&mut self, place: Place, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(place.clone(), object.clone());
        let kind = if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.changes.push(Change { version: self.version, kind, place, object: object.clone(), before });
        object
    }

    /// Ends an object.
    pub fn remove(&mut self, place: &Place) -> Option<Arc<Value>> {
        let before = self.objects.remove(place)?;
        self.version += 1;
        let mut last = (*before).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(last);
        self.changes.push(Change {
            version: self.version,
            kind: ChangeKind::Deleted,
            place: place.clone(),
            object: object.clone(),
            before: Some(before),
        });
        Some(object)
    }

    /// Changes after a version, oldest first.
    pub fn since(&self, version: u64) -> &[Change] {
        let first = self.changes.partition_point(|c| c.version <= version);
        self.changes.get(first..).unwrap_or_default()
    }

    /// An object as it was `back` changes of its own ago, or at its first one.
    pub fn earlier(&self, place: &Place, back: usize) -> Option<Arc<Value>> {
        let mut changes = self.changes.iter().rev().filter(|c| c.place == *place);
        changes.nth(back).and_then(|c| (c.kind != ChangeKind::Deleted).then(|| c.object.clone()))
    }
}
