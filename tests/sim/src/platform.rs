//! What people write where the backend can do less: the same wishes in the words that it has.

use keywheel::domain::Capabilities;
use serde_json::{Map, Value, json};

use crate::iam::PROJECT;

/// A body of theirs, whole or a patch, as they would write it for this backend.
pub fn adapted(kind: &str, whole: bool, body: &Value, can: &Capabilities) -> Value {
    let mut body = body.clone();
    if can.chosen_ids {
        return body;
    }
    let spec = body.as_object_mut().and_then(|body| body.get_mut("spec")).and_then(Value::as_object_mut);
    match (kind, spec) {
        ("ServiceAccountKey", Some(spec)) => key(spec, whole),
        ("ServiceAccount", Some(spec)) => account(spec, whole),
        _ => {}
    }
    body
}

fn key(spec: &mut Map<String, Value>, whole: bool) {
    for lacking in ["validity", "algorithm"] {
        spec.remove(lacking);
    }
    if spec.contains_key("keySource") {
        spec.insert("keySource".to_owned(), json!("Backend"));
    }
    if let Some(rotation) = spec.get_mut("rotation").and_then(Value::as_object_mut) {
        for lacking in ["deleteAfter", "requireUnusedFor"] {
            rotation.remove(lacking);
        }
    }
    if whole && !spec.contains_key("secret") {
        spec.insert("secret".to_owned(), json!({}));
    }
    let Some(secret) = spec.get_mut("secret").and_then(Value::as_object_mut) else { return };
    match secret.get_mut("entries").and_then(Value::as_array_mut) {
        Some(entries) => entries.iter_mut().for_each(entry),
        None if whole => {
            let file = json!([{ "key": "key.json", "format": "DisruptiveCredentials" }]);
            secret.insert("entries".to_owned(), file);
        }
        None => {}
    }
}

fn entry(entry: &mut Value) {
    let format = match entry["format"].as_str().unwrap_or_default() {
        "GoogleCredentials" => "DisruptiveCredentials",
        "PrivateKeyPem" => "Secret",
        "Email" => "Email",
        _ => "KeyId",
    };
    entry["format"] = json!(format);
}

fn account(spec: &mut Map<String, Value>, whole: bool) {
    let listed = spec.remove("roles");
    for lacking in ["description", "disabled", "services", "undelete", "publicKeys", "federation"] {
        spec.remove(lacking);
    }
    if spec.get("unmanagedKeys").is_some_and(|policy| policy == "Disable") {
        spec.insert("unmanagedKeys".to_owned(), json!("Delete"));
    }
    if spec.get("deletionPolicy").is_some_and(|policy| policy == "Disable") {
        spec.insert("deletionPolicy".to_owned(), json!("Retain"));
    }
    if whole {
        spec.insert("disruptive".to_owned(), json!({}));
    }
    if let Some(listed) = listed.as_ref().and_then(Value::as_array) {
        memberships(spec, listed);
    }
}

/// The last role of those that are listed: there can be one. Three of them name it as a role of the project; of two, the keys
/// are let in by basic auth, too.
fn memberships(spec: &mut Map<String, Value>, listed: &[Value]) {
    let role = listed.last().map(|binding| binding["role"].clone());
    let (roles, memberships) = match (role, listed.len()) {
        (None, _) => (json!([]), json!([])),
        (Some(role), 3) => (json!([{ "role": role }]), json!([])),
        (Some(role), _) => (json!([]), json!([{ "project": PROJECT, "role": role }])),
    };
    spec.insert("roles".to_owned(), roles);
    let own = json!({ "memberships": memberships, "basicAuth": listed.len() == 2 });
    spec.insert("disruptive".to_owned(), own);
}
