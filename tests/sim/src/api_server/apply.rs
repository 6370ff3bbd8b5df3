//! Who set which field, and server-side apply.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::resource::Resource;
use super::schema::list_map_keys;

/// One step of a path through an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A field of an object.
    Field(String),
    /// The item of a list with these keys, as JSON.
    Item(String),
}

type Path = Vec<Step>;

/// The fields that one manager set.
#[derive(Clone, Debug, Default, PartialEq)]
struct Managed {
    paths: BTreeSet<Path>,
}

/// Who set which field of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(BTreeMap<(String, bool, String), Managed>);

impl Managers {
    /// A write that was no apply: what it changed is its manager's now.
    pub fn updated(
        &mut self,
        manager: &str,
        part: &str,
        resource: &Resource,
        old: Option<&Value>,
        new: &Value,
    ) {
        let (before, after) = (old.map(|o| leaves(resource, o)).unwrap_or_default(), leaves(resource, new));
        let changed: BTreeSet<Path> = after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        for managed in self.0.values_mut() {
            managed.paths.retain(|path| after.contains_key(path) && !changed.contains(path));
        }
        self.0.retain(|_, managed| !managed.paths.is_empty());
        if !changed.is_empty() {
            let key = (manager.to_owned(), false, part.to_owned());
            self.0.entry(key).or_default().paths.extend(changed);
        }
    }

    /// Applies what a manager wants to an object. What it set before and no longer names goes, unless somebody else
    /// set it, too.
    pub fn apply(
        &mut self,
        manager: &str,
        part: &str,
        force: bool,
        resource: &Resource,
        live: &Value,
        wanted: &Value,
    ) -> Result<Value, Refusal> {
        let wanted_leaves = leaves(resource, wanted);
        let live_leaves = leaves(resource, live);
        let own = (manager.to_owned(), true, part.to_owned());
        let mut conflicts = Vec::new();
        for ((other, applied, _), managed) in self.0.iter().filter(|(key, _)| **key != own) {
            for path in managed.paths.iter().filter(|p| wanted_leaves.contains_key(*p)) {
                if live_leaves.get(path) != wanted_leaves.get(path) {
                    let how =
                        if *applied { String::new() } else { format!(" using {}", resource.api_version()) };
                    conflicts.push((format!("conflict with {other:?}{how}"), shown(path)));
                }
            }
        }
        if !conflicts.is_empty() && !force {
            return Err(Refusal::apply_conflict(&conflicts));
        }
        let mut result = live.clone();
        let before = self.0.get(&own).map(|m| m.paths.clone()).unwrap_or_default();
        let abandoned = before.iter().filter(|path| {
            !wanted_leaves.contains_key(*path)
                && !self.0.iter().any(|(key, managed)| *key != own && managed.paths.contains(*path))
        });
        for path in abandoned {
            // With the last field that somebody set goes the object around it, defaults and all.
            let shared = |prefix: &[Step]| {
                wanted_leaves.keys().any(|p| p.starts_with(prefix))
                    || self
                        .0
                        .iter()
                        .any(|(key, m)| *key != own && m.paths.iter().any(|p| p.starts_with(prefix)))
            };
            let length = (2..=path.len()).find(|length| !shared(&path[..*length])).unwrap_or(path.len());
            remove(&mut result, &path[..length]);
        }
        for (path, value) in &wanted_leaves {
            if live_leaves.get(path) != Some(value) {
                for (_, managed) in self.0.iter_mut().filter(|(key, _)| **key != own) {
                    managed.paths.remove(path);
                }
            }
            set(&mut result, path, value);
        }
        let paths = wanted_leaves.into_keys().collect();
        self.0.insert(own, Managed { paths });
        self.0.retain(|_, managed| !managed.paths.is_empty());
        Ok(result)
    }
}

/// All fields of an object that somebody can own, with their values.
fn leaves(resource: &Resource, object: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    let schema = resource.custom().map(|c| c.schema.raw());
    for (name, value) in object.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for part in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    if let Some(value) = value.get(part) {
                        walk(None, value, vec![field("metadata"), field(part)], &mut found);
                    }
                }
            }
            _ => {
                let of = schema.and_then(|s| s.pointer(&format!("/properties/{name}")));
                walk(of, value, vec![field(name)], &mut found);
            }
        }
    }
    found
}

fn field(name: &str) -> Step {
    Step::Field(name.to_owned())
}

fn walk(schema: Option<&Value>, value: &Value, path: Path, found: &mut BTreeMap<Path, Value>) {
    let below = |step| path.iter().cloned().chain([step]).collect::<Path>();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let of = schema.and_then(|s| {
                    s.get("properties").and_then(|p| p.get(name)).or_else(|| s.get("additionalProperties"))
                });
                walk(of, value, below(field(name)), found);
            }
        }
        Value::Array(items) if is_set(&path) => {
            for item in items {
                found.insert(below(Step::Item(item.to_string())), item.clone());
            }
        }
        Value::Array(items) => {
            let keys = schema.map(list_map_keys).unwrap_or_default();
            if keys.is_empty() {
                found.insert(path, value.clone());
                return;
            }
            for item in items {
                let step = Step::Item(item_key(&keys, item));
                let of = schema.and_then(|s| s.get("items"));
                walk(of, item, below(step), found);
            }
        }
        _ => {
            found.insert(path, value.clone());
        }
    }
}

fn is_set(path: &[Step]) -> bool {
    *path == [field("metadata"), field("finalizers")]
}

fn item_key(keys: &[String], item: &Value) -> String {
    let key: Map<String, Value> =
        keys.iter().map(|k| (k.clone(), item.get(k).cloned().unwrap_or_default())).collect();
    Value::Object(key).to_string()
}

/// The item of a list that a step names: its value, or its keys.
fn position(items: &[Value], step: &str) -> Option<usize> {
    items.iter().position(|item| {
        *item.to_string() == *step
            || serde_json::from_str::<Map<String, Value>>(step)
                .is_ok_and(|keys| keys.iter().all(|(k, v)| item.get(k) == Some(v)))
    })
}

fn set(target: &mut Value, path: &[Step], value: &Value) {
    let Some((step, rest)) = path.split_first() else {
        // An empty object sets no field.
        if !(target.is_object() && value.as_object().is_some_and(Map::is_empty)) {
            *target = value.clone();
        }
        return;
    };
    match step {
        Step::Field(name) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let map = target.as_object_mut().expect("it was made an object");
            set(map.entry(name.clone()).or_insert(Value::Null), rest, value);
        }
        Step::Item(key) => {
            if !target.is_array() {
                *target = Value::Array(Vec::new());
            }
            let items = target.as_array_mut().expect("it was made an array");
            let index = position(items, key).unwrap_or_else(|| {
                items.push(serde_json::from_str(key).unwrap_or_default());
                items.len() - 1
            });
            set(&mut items[index], rest, value);
        }
    }
}

fn remove(target: &mut Value, path: &[Step]) {
    match path {
        [Step::Field(name)] => {
            if let Some(map) = target.as_object_mut() {
                map.remove(name);
            }
        }
        [Step::Item(key)] => {
            if let Some(items) = target.as_array_mut()
                && let Some(index) = position(items, key)
            {
                items.remove(index);
            }
        }
        [Step::Field(name), rest @ ..] => {
            if let Some(child) = target.get_mut(name) {
                remove(child, rest);
                if child.as_object().is_some_and(Map::is_empty) {
                    target.as_object_mut().expect("it has a field").remove(name);
                }
            }
        }
        [Step::Item(key), rest @ ..] => {
            if let Some(items) = target.as_array_mut()
                && let Some(index) = position(items, key)
            {
                remove(&mut items[index], rest);
                let nothing_but_keys = serde_json::from_str::<Value>(key).is_ok_and(|k| items[index] == k);
                if nothing_but_keys || items[index].as_object().is_some_and(Map::is_empty) {
                    items.remove(index);
                }
            }
        }
        [] => {}
    }
}

fn shown(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Item(key) => match serde_json::from_str::<Map<String, Value>>(key) {
                Ok(keys) => {
                    let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    format!("[{}]", keys.join(","))
                }
                Err(_) => format!("[={key}]"),
            },
        })
        .collect()
}
