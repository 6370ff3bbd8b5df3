//! Requests, as the path, the query and the headers say them.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::refusal::Refusal;
use super::resource::{self, Resource};

/// A request to the API server.
#[derive(Clone)]
pub struct Request {
    /// What is asked for.
    pub verb: Verb,
    /// Of which kind.
    pub resource: Arc<Resource>,
    /// In which namespace; `None`: all, or a kind without.
    pub namespace: Option<String>,
    /// Which object.
    pub name: Option<String>,
    /// Which part of it.
    pub subresource: Option<String>,
    /// Parameters.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
    /// Whether only metadata is wanted.
    pub metadata_only: bool,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many.
    List,
    /// Changes as they happen.
    Watch,
    /// A new object.
    Create,
    /// A whole object anew.
    Update,
    /// A part of one.
    Patch(PatchFormat),
    /// An end.
    Delete,
    /// Many ends.
    DeleteMany,
}

/// Formats of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own, with merge keys for built-in kinds.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Request {
    /// Reads a request.
    pub fn parse(parts: &http::request::Parts, body: &[u8]) -> Result<Self, Refusal> {
        let path = parts.uri.path().trim_matches('/');
        let segments: Vec<String> = path
            .split('/')
            .map(|s| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned())
            .collect();
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_path()),
        };
        let (namespace, plural, name, subresource) = match rest {
            ["namespaces", name] => (None, "namespaces", Some(*name), None),
            ["namespaces", name, sub @ ("status" | "finalize")] => {
                (None, "namespaces", Some(*name), Some(*sub))
            }
            ["namespaces", ns, plural] => (Some(*ns), *plural, None, None),
            ["namespaces", ns, plural, name] => (Some(*ns), *plural, Some(*name), None),
            ["namespaces", ns, plural, name, sub] => (Some(*ns), *plural, Some(*name), Some(*sub)),
            [plural] => (None, *plural, None, None),
            [plural, name] => (None, *plural, Some(*name), None),
            [plural, name, sub] => (None, *plural, Some(*name), Some(*sub)),
            _ => return Err(Refusal::no_such_path()),
        };
        let resource = resource::find(group, version, plural).ok_or_else(Refusal::no_such_path)?.clone();
        if name.is_some() && namespace.is_some() != resource.namespaced {
            return Err(Refusal::no_such_path());
        }
        match subresource {
            None => {}
            Some("status") if resource.custom().is_none_or(|c| c.has_status) => {}
            Some(_) => return Err(Refusal::no_such_path()),
        }
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .map(|(k, v)| (k.into_owned(), v.into_owned()))
                .collect();
        let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let verb = match (&parts.method, name) {
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::GET, None) if query.get("watch").is_some_and(|w| w == "true" || w == "1") => {
                Verb::Watch
            }
            (&Method::GET, None) => Verb::List,
            (&Method::POST, None) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Update,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (&Method::DELETE, None) => Verb::DeleteMany,
            (&Method::PATCH, Some(_)) => Verb::Patch(match header("content-type") {
                "application/merge-patch+json" => PatchFormat::Merge,
                "application/json-patch+json" => PatchFormat::Json,
                "application/strategic-merge-patch+json" if resource.custom().is_none() => {
                    PatchFormat::Strategic
                }
                "application/apply-patch+yaml" => PatchFormat::Apply,
                other => {
                    let message = format!(
                        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/apply-patch+cbor (was {other})"
                    );
                    return Err(Refusal::unsupported(message));
                }
            }),
            _ => return Err(Refusal::not_allowed()),
        };
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))?
        };
        Ok(Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
            query,
            body,
            metadata_only: header("accept").contains("as=PartialObjectMetadata"),
        })
    }

    /// A request that a person makes.
    pub fn by_person(verb: Verb, resource: &Arc<Resource>, namespace: &str, name: &str, body: Value) -> Self {
        Self {
            verb,
            resource: resource.clone(),
            namespace: resource.namespaced.then(|| namespace.to_owned()),
            name: (verb != Verb::Create).then(|| name.to_owned()),
            subresource: None,
            query: BTreeMap::from([("fieldManager".to_owned(), "kubectl".to_owned())]),
            body,
            metadata_only: false,
        }
    }

    /// Whether it only asks what would happen.
    pub fn is_dry_run(&self) -> bool {
        self.query.get("dryRun").is_some_and(|v| v == "All")
            || self.body.pointer("/dryRun/0").is_some_and(|v| v == "All")
                && matches!(self.verb, Verb::Delete | Verb::DeleteMany)
    }

    /// Whether it changes something.
    pub fn is_mutating(&self) -> bool {
        !self.is_dry_run() && !matches!(self.verb, Verb::Get | Verb::List | Verb::Watch)
    }

    /// Whether it is about an event, which nothing rests on.
    pub fn is_event(&self) -> bool {
        self.resource.plural == "events"
    }

    /// The name of the object that it is about: in the path, or in the body of a create.
    pub fn object_name(&self) -> String {
        let in_body = || self.body.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        self.name.clone().or_else(in_body).unwrap_or_default()
    }

    /// For people: verb, kind, object.
    pub fn summary(&self) -> String {
        let verb = match self.verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch(PatchFormat::Merge) => "merge",
            Verb::Patch(PatchFormat::Json) => "json-patch",
            Verb::Patch(PatchFormat::Strategic) => "strategic-merge",
            Verb::Patch(PatchFormat::Apply) => "apply",
            Verb::Delete => "delete",
            Verb::DeleteMany => "delete-all",
        };
        let part = self.subresource.as_ref().map(|s| format!("/{s}")).unwrap_or_default();
        let dry = if self.is_dry_run() { " (dry run)" } else { "" };
        format!("{verb} {}{part} {}{dry}", self.resource.kind, self.object_name())
    }
}
