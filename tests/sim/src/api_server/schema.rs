//! Structural schemas: pruning, defaults, validation, and the rules in CEL.

use std::time::Duration;

use keywheel::api::v1alpha1::Span;
use kube_cel::{CompiledSchema, Validator, compile_schema};
use regex::Regex;
use serde_json::{Map, Value};

use super::refusal::Cause;

/// Where a schema has its rules.
const RULES: &str = "x-kubernetes-validations";

/// A schema with its rules, compiled once.
pub struct Schema {
    raw: Value,
    rules: CompiledSchema,
    /// Whether a rule looks at the status.
    rules_on_status: bool,
    /// The path of every pattern, compiled.
    patterns: std::collections::HashMap<String, Regex>,
}

impl Schema {
    /// Compiles a schema as a definition carries it.
    pub fn new(raw: Value) -> Self {
        let rules = compile_schema(&raw);
        let mut patterns = std::collections::HashMap::new();
        collect_patterns(&raw, &mut patterns);
        let rules_on_status = raw.pointer("/properties/status").is_some_and(has_rules)
            || raw.get(RULES).is_some_and(|rules| rules.to_string().contains("status"));
        Self { raw, rules, rules_on_status, patterns }
    }

    /// The schema itself.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// Drops what the schema does not know and fills in what it gives.
    pub fn normalise(&self, object: &mut Value) {
        let kept: Vec<(String, Value)> = ["apiVersion", "kind", "metadata"]
            .iter()
            .filter_map(|k| object.as_object_mut().and_then(|o| o.remove(*k)).map(|v| ((*k).to_owned(), v)))
            .collect();
        prune(&self.raw, object);
        fill(&self.raw, object);
        if let Some(map) = object.as_object_mut() {
            map.extend(kept);
        }
    }

    /// What is wrong with an object, or with its change.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.check(&self.raw, object, "", &mut causes);
        if causes.iter().any(Cause::blocks_rules) {
            causes.push(Cause::not_asked());
            return causes;
        }
        // What a rule said of the same spec it says again, and most writes are of the status.
        if !self.rules_on_status && old.is_some_and(|old| old.get("spec") == object.get("spec")) {
            return causes;
        }
        let comparable = |value: &Value| {
            let mut value = value.clone();
            in_go_durations(&self.raw, &mut value);
            value
        };
        let outcome = Validator::new().validate_compiled(
            &self.rules,
            &comparable(object),
            old.map(comparable).as_ref(),
        );
        if let Err(errors) = outcome {
            causes.extend(errors.iter().map(|e| {
                let field = if e.field_path.is_empty() { "<nil>" } else { &e.field_path };
                Cause::invalid(field, e.message.clone())
            }));
        }
        causes
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if let Some(type_) = schema.get("type").and_then(Value::as_str) {
            let fits = match type_ {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                _ => true,
            };
            if !fits {
                causes.push(Cause {
                    field: path.to_owned(),
                    reason: "FieldValueTypeInvalid",
                    message: format!("Invalid value: must be of type {type_}"),
                });
                return;
            }
        }
        let said = |causes: &mut Vec<Cause>, reason: &'static str, message: String| {
            causes.push(Cause { field: path.to_owned(), reason, message });
        };
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            said(causes, "FieldValueNotSupported", format!("Unsupported value: {value}"));
        }
        let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
        let outside = |length: usize, least: &str, most: &str| {
            let length = length as f64;
            (limit(least).is_some_and(|l| length < l), limit(most).is_some_and(|l| length > l))
        };
        match value {
            Value::String(text) => {
                let (short, long) = outside(text.chars().count(), "minLength", "maxLength");
                // The first thing that is wrong with a text is all that is said.
                if long {
                    said(causes, "FieldValueTooLong", "Too long".to_owned());
                } else if short {
                    said(causes, "FieldValueInvalid", "Invalid value: too short".to_owned());
                } else if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                    && !self.patterns.get(pattern).is_some_and(|p| p.is_match(text))
                {
                    said(
                        causes,
                        "FieldValueInvalid",
                        format!("Invalid value: {text:?} should match '{pattern}'"),
                    );
                }
                let well_formed = match schema.get("format").and_then(Value::as_str) {
                    Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
                    Some("duration") => Span::new(text.as_str()).to_duration().is_ok(),
                    _ => true,
                };
                if !well_formed {
                    said(
                        causes,
                        "FieldValueTypeInvalid",
                        format!("Invalid value: {text:?} has the wrong format"),
                    );
                }
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                if limit("minimum").is_some_and(|l| number < l)
                    || limit("maximum").is_some_and(|l| number > l)
                {
                    said(causes, "FieldValueInvalid", format!("Invalid value: {number} is out of range"));
                }
            }
            Value::Array(items) => {
                let (few, many) = outside(items.len(), "minItems", "maxItems");
                if few {
                    said(causes, "FieldValueInvalid", "Invalid value: too few items".to_owned());
                }
                if many {
                    said(causes, "FieldValueTooMany", "Too many".to_owned());
                }
                self.check_items(schema, items, path, causes);
            }
            Value::Object(map) => {
                let (few, many) = outside(map.len(), "minProperties", "maxProperties");
                if few || many {
                    let reason = if many { "FieldValueTooMany" } else { "FieldValueInvalid" };
                    said(causes, reason, "Invalid value: wrong number of properties".to_owned());
                }
                self.check_object(schema, map, path, causes);
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn check_items(&self, schema: &Value, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
        if let Some(of) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.check(of, item, &format!("{path}[{index}]"), causes);
            }
        }
        let keys = list_map_keys(schema);
        if keys.is_empty() {
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let same = |other: &Value| keys.iter().all(|k| other.get(k) == item.get(k));
            if items.iter().take(index).any(same) {
                causes.push(Cause {
                    field: format!("{path}[{index}]"),
                    reason: "FieldValueDuplicate",
                    message: "Duplicate value".to_owned(),
                });
            }
        }
    }

    fn check_object(&self, schema: &Value, map: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !map.contains_key(*name)) {
            causes.push(Cause::required(below(name)));
        }
        let properties = schema.get("properties");
        for (name, value) in map {
            if let Some(of) = properties.and_then(|p| p.get(name)) {
                self.check(of, value, &below(name), causes);
            } else if let Some(of) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                self.check(of, value, &format!("{path}.{name}"), causes);
            }
        }
    }
}

/// The keys by which the items of a list are told apart; none: the list is one value.
pub fn list_map_keys(schema: &Value) -> Vec<String> {
    if schema.get("x-kubernetes-list-type").is_none_or(|t| t != "map") {
        return Vec::new();
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key(RULES) || map.values().any(has_rules),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

fn collect_patterns(schema: &Value, into: &mut std::collections::HashMap<String, Regex>) {
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        into.entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).expect("a pattern of ours parses"));
    }
    each_child(schema, |child| collect_patterns(child, into));
}

fn each_child(schema: &Value, mut visit: impl FnMut(&Value)) {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|p| p.values())
        .for_each(&mut visit);
    schema.get("items").into_iter().for_each(&mut visit);
    schema.get("additionalProperties").filter(|a| a.is_object()).into_iter().for_each(&mut visit);
}

/// Drops fields that the schema does not know.
fn prune(schema: &Value, value: &mut Value) {
    if schema.get("x-kubernetes-preserve-unknown-fields").is_some_and(|p| p == true) {
        return;
    }
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties").filter(|a| **a != Value::Bool(false));
            if additional.is_none() {
                map.retain(|name, _| properties.is_some_and(|p| p.contains_key(name)));
            }
            for (name, value) in map {
                let of = properties.and_then(|p| p.get(name)).or(additional.filter(|a| a.is_object()));
                if let Some(of) = of {
                    prune(of, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                items.iter_mut().for_each(|item| prune(of, item));
            }
        }
        _ => {}
    }
}

/// Fills in defaults. A null where none may be is as if it were absent.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            map.retain(|name, value| {
                let nullable = properties.and_then(|p| p.get(name)).and_then(|s| s.get("nullable"));
                !value.is_null() || nullable.is_some_and(|n| n == true)
            });
            for (name, of) in properties.into_iter().flatten() {
                if let Some(default) = of.get("default").filter(|_| !map.contains_key(name)) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(name) {
                    fill(of, value);
                }
            }
            if let Some(of) = schema.get("additionalProperties").filter(|a| a.is_object()) {
                map.values_mut().for_each(|value| fill(of, value));
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                items.iter_mut().for_each(|item| fill(of, item));
            }
        }
        _ => {}
    }
}

/// CEL's durations are Go's, without days and weeks; the API server translates by the format of the schema.
fn in_go_durations(schema: &Value, value: &mut Value) {
    match value {
        Value::String(text) if schema.get("format").is_some_and(|f| f == "duration") => {
            let length = Span::new(text.as_str()).to_duration().unwrap_or(Duration::ZERO);
            *text = format!("{}ms", length.as_millis());
        }
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, value) in map {
                if let Some(of) = properties.and_then(|p| p.get(name)) {
                    in_go_durations(of, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.get("items") {
                items.iter_mut().for_each(|item| in_go_durations(of, item));
            }
        }
        _ => {}
    }
}
