//! What the built-in kinds and the object metadata must satisfy, as the API server checks it on every write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::refusal::{Cause, Refusal};
use super::resource::{Resource, Rules};

/// Most bytes of all values of a Secret together.
const SECRET_LIMIT: usize = 1024 * 1024;

/// Puts an object into the shape in which it is stored, before it is checked.
pub fn prepare(resource: &Resource, object: &mut Value) -> Result<(), Refusal> {
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    match &resource.rules {
        Rules::Custom(custom) => custom.schema.normalise(object),
        Rules::Secret => {
            if let Some(Value::Object(plain)) = object.as_object_mut().and_then(|o| o.remove("stringData")) {
                let data = object["data"].as_object().cloned().unwrap_or_default();
                let encoded = plain
                    .into_iter()
                    .map(|(k, v)| (k, json!(STANDARD.encode(v.as_str().unwrap_or_default()))));
                object["data"] = Value::Object(data.into_iter().chain(encoded).collect());
            }
            if object.get("type").is_none_or(|t| t.as_str().unwrap_or_default().is_empty()) {
                object["type"] = json!("Opaque");
            }
            for value in object.get("data").and_then(Value::as_object).into_iter().flat_map(Map::values) {
                if STANDARD.decode(value.as_str().unwrap_or_default()).is_err() {
                    return Err(Refusal::bad_request(
                        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data",
                    ));
                }
            }
            drop_empty(object, &["data", "immutable"]);
        }
        Rules::ConfigMap => drop_empty(object, &["data", "binaryData", "immutable"]),
        Rules::Namespace | Rules::Quota | Rules::Plain => {}
    }
    drop_empty(&mut object["metadata"], &["labels", "annotations", "finalizers", "ownerReferences"]);
    Ok(())
}

/// Empty maps, empty lists and `null` are not stored.
fn drop_empty(object: &mut Value, fields: &[&str]) {
    let Some(map) = object.as_object_mut() else { return };
    for field in fields {
        let empty = match map.get(*field) {
            Some(Value::Object(inner)) => inner.is_empty(),
            Some(Value::Array(inner)) => inner.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            map.remove(*field);
        }
    }
}

/// What is wrong with an object, or with its change.
pub fn check(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = check_metadata(resource, &object["metadata"], old.map(|o| &o["metadata"]));
    match &resource.rules {
        Rules::Custom(custom) => {
            let same_spec = old.is_some_and(|old| {
                old.get("spec") == object.get("spec") && old.get("status") == object.get("status")
            });
            if !same_spec {
                causes.extend(custom.schema.validate(object, old));
            }
        }
        Rules::Secret => causes.extend(check_secret(object, old)),
        Rules::ConfigMap => causes.extend(check_immutable(object, old, &["data", "binaryData"])),
        Rules::Namespace | Rules::Quota | Rules::Plain => {}
    }
    causes
}

fn check_metadata(resource: &Resource, meta: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = meta["name"].as_str().unwrap_or_default();
    if old.is_none() {
        let longest = if matches!(resource.rules, Rules::Namespace) { 63 } else { 253 };
        let dots = !matches!(resource.rules, Rules::Namespace);
        if name.is_empty() {
            causes.push(Cause {
                message: "Required value: name or generateName is required".to_owned(),
                ..Cause::required("metadata.name")
            });
        } else if !is_name(name, longest, dots) {
            causes.push(Cause::invalid(
                "metadata.name",
                format!("Invalid value: {name:?}: a lowercase RFC 1123 name is needed"),
            ));
        }
    }
    for part in ["labels", "annotations"] {
        for (key, value) in meta.get(part).and_then(Value::as_object).into_iter().flatten() {
            let key_fits =
                if part == "labels" { is_qualified(key) } else { is_qualified(&key.to_lowercase()) };
            if !key_fits {
                causes.push(Cause::invalid(
                    format!("metadata.{part}"),
                    format!("Invalid value: {key:?}: name part is no qualified name"),
                ));
            }
            let value = value.as_str().unwrap_or_default();
            if part == "labels" && !is_label_value(value) {
                causes.push(Cause::invalid(
                    "metadata.labels",
                    format!("Invalid value: {value:?}: a valid label is needed"),
                ));
            }
        }
    }
    let Some(old) = old else { return causes };
    if meta["uid"] != old["uid"] {
        causes.push(Cause::invalid(
            "metadata.uid",
            format!("Invalid value: {}: field is immutable", meta["uid"]),
        ));
    }
    if !old["deletionTimestamp"].is_null() {
        let known = old["finalizers"].as_array().cloned().unwrap_or_default();
        let new = meta["finalizers"].as_array().into_iter().flatten().filter(|f| !known.contains(f));
        if new.count() > 0 {
            causes.push(Cause::forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted",
            ));
        }
    }
    if resource.custom().is_some() {
        // Changes of a custom resource's metadata are checked twice, and what is wrong is said twice.
        causes.extend(causes.clone());
    }
    causes
}

fn check_secret(object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let data = object.get("data").and_then(Value::as_object);
    for key in data.into_iter().flat_map(Map::keys) {
        let fits = !key.is_empty()
            && key.len() <= 253
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !fits || key == "." || key.starts_with("..") {
            causes.push(Cause::invalid(
                format!("data[{key}]"),
                format!("Invalid value: {key:?}: a valid config key is needed"),
            ));
        }
    }
    let decoded = |v: &Value| STANDARD.decode(v.as_str().unwrap_or_default()).map_or(0, |b| b.len());
    if data.into_iter().flat_map(Map::values).map(decoded).sum::<usize>() > SECRET_LIMIT {
        causes.push(Cause {
            field: "data".to_owned(),
            reason: "FieldValueTooLong",
            message: "Too long".to_owned(),
        });
    }
    if old.is_some_and(|old| old["type"] != object["type"]) {
        causes.push(Cause::invalid("type", format!("Invalid value: {}: field is immutable", object["type"])));
    }
    causes.extend(check_immutable(object, old, &["data"]));
    causes
}

fn check_immutable(object: &Value, old: Option<&Value>, fields: &[&str]) -> Vec<Cause> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else { return Vec::new() };
    let mut causes = Vec::new();
    if object["immutable"] != true {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields {
        if object.get(*field) != old.get(*field) {
            causes.push(Cause::forbidden(*field, "field is immutable when `immutable` is set"));
        }
    }
    causes
}

fn is_name(text: &str, longest: usize, dots: bool) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !p.starts_with('-')
            && !p.ends_with('-')
    };
    text.len() <= longest && if dots { text.split('.').all(part) } else { part(text) }
}

fn is_label_value(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.is_empty()
        || text.len() <= 63
            && alphanumeric(text.chars().next())
            && alphanumeric(text.chars().last())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_name(prefix, 253, true) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}
