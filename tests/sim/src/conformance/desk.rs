//! Where a scenario works: requests to an API server, and a transcript of what it answered.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};

use crate::stage::resource;

/// How long the cluster's own controllers may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is looked what they did.
const LOOK: Duration = Duration::from_millis(100);

/// Merge patch, RFC 7396.
pub const MERGE: &str = "application/merge-patch+json";
/// JSON patch, RFC 6902.
pub const JSON: &str = "application/json-patch+json";
/// Server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";
/// Strategic merge patch.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// One line of a transcript: what was asked, what was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The request.
    pub asked: String,
    /// HTTP status.
    pub code: u16,
    /// The answer, without what differs from one server to the next.
    pub answer: Value,
}

/// Where a scenario works.
pub struct Desk {
    client: Client,
    /// Its namespace.
    pub namespace: String,
    /// What was asked and answered.
    pub transcript: Vec<Line>,
    names: Names,
}

impl Desk {
    /// A desk in a namespace of its own.
    pub fn new(client: Client, namespace: String) -> Self {
        let names = Names { namespace: namespace.clone(), ..Names::default() };
        Self { client, namespace, transcript: Vec::new(), names }
    }

    fn path(&self, kind: &str, name: &str, query: &str) -> String {
        let resource = resource(kind);
        let root = if resource.group.is_empty() {
            format!("/api/{}", resource.version)
        } else {
            format!("/apis/{}/{}", resource.group, resource.version)
        };
        let middle =
            if resource.namespaced { format!("/namespaces/{}", self.namespace) } else { String::new() };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("{root}{middle}/{}{name}{query}", resource.plural)
    }

    async fn raw(&self, method: &str, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Body::from(bytes))
            .expect("a request of a method, a path and a body");
        let response = self.client.send(request).await.expect("the server answers");
        let code = response.status().as_u16();
        let bytes: Bytes = response.into_body().collect().await.expect("the answer ends").to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes))))
    }

    /// A request that goes into the transcript; its answer as it came.
    pub async fn ask(&mut self, method: &str, path: &str, content_type: &str, body: Value) -> Value {
        let (code, answer) = self.raw(method, path, content_type, &body).await;
        let shown = self.names.plain(&format!("{method} {path}"));
        let line = Line { asked: shown, code, answer: self.names.normalised(&answer) };
        self.transcript.push(line);
        answer
    }

    /// Creates an object.
    pub async fn post(&mut self, kind: &str, object: Value) -> Value {
        self.post_with(kind, "", object).await
    }

    /// Creates an object, with parameters.
    pub async fn post_with(&mut self, kind: &str, query: &str, object: Value) -> Value {
        let path = self.path(kind, "", query);
        self.ask("POST", &path, "application/json", typed(kind, object)).await
    }

    /// Replaces an object.
    pub async fn put(&mut self, kind: &str, name: &str, object: Value) -> Value {
        self.put_with(kind, name, "", object).await
    }

    /// Replaces an object, with parameters.
    pub async fn put_with(&mut self, kind: &str, name: &str, query: &str, object: Value) -> Value {
        let path = self.path(kind, name, query);
        self.ask("PUT", &path, "application/json", typed(kind, object)).await
    }

    /// Patches an object.
    pub async fn patch(&mut self, kind: &str, name: &str, format: &str, patch: Value) -> Value {
        self.patch_with(kind, name, "", format, patch).await
    }

    /// Patches an object, with parameters.
    pub async fn patch_with(
        &mut self,
        kind: &str,
        name: &str,
        query: &str,
        format: &str,
        patch: Value,
    ) -> Value {
        let path = self.path(kind, name, query);
        self.ask("PATCH", &path, format, patch).await
    }

    /// Applies an object as a manager.
    pub async fn apply(
        &mut self,
        kind: &str,
        name: &str,
        manager: &str,
        force: bool,
        object: Value,
    ) -> Value {
        let query = format!("fieldManager={manager}&force={force}");
        self.patch_with(kind, name, &query, APPLY, typed(kind, object)).await
    }

    /// Reads an object.
    pub async fn get(&mut self, kind: &str, name: &str) -> Value {
        let path = self.path(kind, name, "");
        self.ask("GET", &path, "application/json", Value::Null).await
    }

    /// Lists objects.
    pub async fn list(&mut self, kind: &str, query: &str) -> Value {
        let path = self.path(kind, "", query);
        self.ask("GET", &path, "application/json", Value::Null).await
    }

    /// Deletes an object.
    pub async fn delete(&mut self, kind: &str, name: &str, options: Value) -> Value {
        let path = self.path(kind, name, "");
        self.ask("DELETE", &path, "application/json", options).await
    }

    /// Deletes the namespace.
    pub async fn delete_namespace(&mut self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let (code, _) = self.raw("DELETE", &path, "application/json", &Value::Null).await;
        self.transcript.push(Line { asked: "DELETE the namespace".to_owned(), code, answer: Value::Null });
    }

    /// Waits until an object is as it should be; only that it came to be goes into the transcript.
    pub async fn until(&mut self, what: &str, kind: &str, name: &str, is: impl Fn(u16, &Value) -> bool) {
        let path = self.path(kind, name, "");
        let look = async {
            loop {
                let (code, object) = self.raw("GET", &path, "application/json", &Value::Null).await;
                if is(code, &object) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, look).await.is_ok();
        self.transcript.push(Line {
            asked: format!("until {what}"),
            code: u16::from(came),
            answer: Value::Null,
        });
    }

    /// The first events of a watch, as many as are wanted.
    pub async fn watch(&mut self, kind: &str, query: &str, events: usize) {
        let path = self.path(kind, "", &format!("watch=true&timeoutSeconds=20&{query}"));
        let request = http::Request::get(&path).body(Body::empty()).expect("a request of a path");
        let response = self.client.send(request).await.expect("the server answers");
        let code = response.status().as_u16();
        let mut frames = response.into_body().into_data_stream();
        let mut text = Vec::new();
        let count = |text: &[u8]| text.split(|b| *b == b'\n').count() - 1;
        while count(&text) < events {
            match tokio::time::timeout(PATIENCE, frames.next()).await {
                Ok(Some(Ok(bytes))) => text.extend_from_slice(&bytes),
                _ => break,
            }
        }
        let lines: Vec<Value> = String::from_utf8_lossy(&text)
            .lines()
            .take(events)
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| json!(line)))
            .map(|event| json!({ "type": event["type"], "object": self.names.normalised(&event["object"]) }))
            .collect();
        let asked = self.names.plain(&format!("WATCH {path}"));
        self.transcript.push(Line { asked, code, answer: json!(lines) });
    }
}

/// An object with its kind filled in.
fn typed(kind: &str, mut object: Value) -> Value {
    if object.is_object() {
        let resource = resource(kind);
        if object.get("apiVersion").is_none() {
            object["apiVersion"] = json!(resource.api_version());
        }
        if object.get("kind").is_none() {
            object["kind"] = json!(resource.kind);
        }
    }
    object
}

/// Names for what differs between servers: uids and versions by the order in which they appear.
#[derive(Default)]
struct Names {
    namespace: String,
    uids: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
}

impl Names {
    fn plain(&self, text: &str) -> String {
        let mut text = text.replace(&self.namespace, "NAMESPACE");
        for parameter in ["resourceVersion=", "continue="] {
            if let Some(at) = text.find(parameter) {
                let end = text[at..].find('&').map_or(text.len(), |e| at + e);
                let known = text[at + parameter.len()..end].to_owned();
                if known != "0" && known != "1" {
                    text.replace_range(at + parameter.len()..end, "SOME");
                }
            }
        }
        text
    }

    fn normalised(&mut self, answer: &Value) -> Value {
        if answer["kind"] == "Status" {
            return self.status(answer);
        }
        self.walk(answer, "")
    }

    /// Of a refusal: what a program can act on. The words differ between versions of the real server.
    fn status(&self, status: &Value) -> Value {
        let details = &status["details"];
        let mut fields: Vec<String> = details["causes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| {
                format!(
                    "{} {}",
                    c["reason"].as_str().unwrap_or_default(),
                    c["field"].as_str().unwrap_or_default()
                )
            })
            .collect();
        fields.sort();
        let name = details["name"].as_str().map(|n| self.plain(n));
        json!({
            "status": status["status"], "reason": status["reason"], "code": status["code"],
            "details": { "name": name, "group": details["group"], "kind": details["kind"], "causes": fields },
        })
    }

    fn walk(&mut self, value: &Value, name: &str) -> Value {
        match value {
            Value::Object(map) => {
                let of_list = map.contains_key("items");
                let mut result = Map::new();
                for (key, value) in map {
                    match key.as_str() {
                        "managedFields" | "selfLink" => {}
                        "remainingItemCount" => {
                            result.insert(key.clone(), value.clone());
                        }
                        "items" if of_list => {
                            let items = value.as_array().into_iter().flatten().map(|item| {
                                let mut item = self.walk(item, "");
                                if let Some(map) = item.as_object_mut() {
                                    map.remove("kind");
                                    map.remove("apiVersion");
                                }
                                item
                            });
                            let items: Vec<Value> = items.collect();
                            result.insert(key.clone(), json!(items));
                        }
                        _ => {
                            let mut inner = self.walk(value, key);
                            if of_list
                                && key == "metadata"
                                && let Some(map) = inner.as_object_mut()
                            {
                                // Of the whole world, in which others work, too.
                                map.remove("resourceVersion");
                                map.retain(|name, value| name != "continue" || value != "");
                            }
                            result.insert(key.clone(), inner);
                        }
                    }
                }
                Value::Object(result)
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.walk(item, "")).collect()),
            Value::String(text) => match name {
                "uid" => named("UID", &mut self.uids, text),
                "resourceVersion" => named("VERSION", &mut self.versions, text),
                "creationTimestamp" | "deletionTimestamp" => json!("TIME"),
                "continue" if !text.is_empty() => json!("TOKEN"),
                _ => json!(self.plain(text)),
            },
            other => other.clone(),
        }
    }
}

fn named(what: &str, known: &mut BTreeMap<String, usize>, text: &str) -> Value {
    let next = known.len() + 1;
    let number = known.entry(text.to_owned()).or_insert(next);
    json!(format!("{what} {number}"))
}
