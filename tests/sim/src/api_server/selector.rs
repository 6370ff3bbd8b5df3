//! Which objects a list or a watch is about.

use serde_json::Value;

use super::refusal::Refusal;
use super::request::Request;
use super::resource::Resource;

/// Conditions on labels and fields, all of which must hold.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    /// The selectors of a request.
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let text = |name: &str| request.query.get(name).map(String::as_str).unwrap_or_default();
        let labels = split_outside_parentheses(text("labelSelector"))
            .into_iter()
            .map(|part| requirement(&part))
            .collect::<Result<_, _>>()?;
        let fields = text("fieldSelector")
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| field(&request.resource, part))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// Whether an object is one of them.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Missing(key) => label(key).is_none(),
        }) && self.fields.iter().all(|(path, value, equal)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let found = object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
            (found == value) == *equal
        })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is a part").push(c);
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Result<Requirement, Refusal> {
    let part = part.trim();
    let bad = || Refusal::bad_request(format!("unable to parse requirement: {part}"));
    if let Some((key, rest)) = part.split_once(' ') {
        let values = rest.split_once('(').and_then(|(_, v)| v.strip_suffix(')')).ok_or_else(bad)?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        return match rest.split(['(', ' ']).next() {
            Some("in") => Ok(Requirement::In(key.to_owned(), values)),
            Some("notin") => Ok(Requirement::NotIn(key.to_owned(), values)),
            _ => Err(bad()),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key.to_owned(), vec![value.to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key.to_owned(), vec![value.to_owned()]));
    }
    Ok(match part.strip_prefix('!') {
        Some(key) => Requirement::Missing(key.to_owned()),
        None => Requirement::Exists(part.to_owned()),
    })
}

fn field(resource: &Resource, part: &str) -> Result<(String, String, bool), Refusal> {
    let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (path, value, true)
    } else {
        return Err(Refusal::bad_request(format!("invalid selector: {part:?}; can't understand {part:?}")));
    };
    let known = match resource.custom() {
        Some(custom) => custom.selectable.iter().any(|s| s == path),
        None => resource.plural == "secrets" && path == "type",
    };
    if known || path == "metadata.name" || path == "metadata.namespace" {
        Ok((path.to_owned(), value.to_owned(), equal))
    } else {
        Err(Refusal::bad_request(format!("field label not supported: {path}")))
    }
}
