//! Earth Engine, as little of it as a client needs to begin and to be told a number: the description of the API, its
//! algorithms, a computation, and whether a project is registered.
//!
//! Source: the reference of `ProjectConfig`, and what the client `earthengine-api` 1.7 was seen to ask.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::Server;
use super::access;
use super::accounts::known_project;
use super::caller::Caller;
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::requests::{self, Compute};

/// What using any service of a project takes.
const USE: &str = "serviceusage.services.use";
/// How many exports a project may run at once.
const EXPORTS: u32 = 20;
/// How deep an expression may be: it is evaluated by recursion.
const DEEPEST: usize = 64;

/// Whether a project may use Earth Engine. It is registered by hand in the console, never over the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    /// Nobody has registered it.
    #[default]
    NotRegistered,
    /// For pay.
    Commercially,
    /// For research and the like.
    NotCommercially,
}

impl Registration {
    const ALL: [(Self, &'static str); 3] = [
        (Self::NotRegistered, "NOT_REGISTERED"),
        (Self::Commercially, "REGISTERED_COMMERCIALLY"),
        (Self::NotCommercially, "REGISTERED_NOT_COMMERCIALLY"),
    ];
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(state, _)| state == self);
        f.write_str(found.map_or("REGISTRATION_STATE_UNSPECIFIED", |(_, name)| name))
    }
}

/// A text that is no registration.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not PROJECT=STATE with NOT_REGISTERED, REGISTERED_COMMERCIALLY or REGISTERED_NOT_COMMERCIALLY"
)]
pub struct NoRegistration {
    text: String,
}

/// Which projects are registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registrations(BTreeMap<String, Registration>);

/// The registration of one project: `PROJECT=STATE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRegistration {
    project: String,
    state: Registration,
}

impl FromStr for ProjectRegistration {
    type Err = NoRegistration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || NoRegistration { text: text.to_owned() };
        let (project, name) = text.split_once('=').ok_or_else(refused)?;
        let known = Registration::ALL.iter().find(|(_, known)| *known == name).ok_or_else(refused)?;
        Ok(Self { project: project.to_owned(), state: known.0 })
    }
}

impl FromIterator<ProjectRegistration> for Registrations {
    fn from_iter<T: IntoIterator<Item = ProjectRegistration>>(all: T) -> Self {
        Self(all.into_iter().map(|one| (one.project, one.state)).collect())
    }
}

impl Registrations {
    /// Each as `PROJECT=STATE`.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(project, state)| format!("{project}={state}"))
    }

    fn of(&self, project: &str) -> Registration {
        self.0.get(project).copied().unwrap_or_default()
    }
}

/// Why nothing is computed.
fn refuse_unregistered(server: &Server, project: &str) -> Result<(), ApiError> {
    match server.tunables.earth_engine().of(project) {
        Registration::NotRegistered => Err(ApiError::NotRegistered { project: project.to_owned() }),
        Registration::Commercially | Registration::NotCommercially => Ok(()),
    }
}

/// Who computes something uses the project.
async fn may_use(
    server: &Server,
    caller: &Caller,
    project: &str,
    operation: Operation,
) -> Result<(), ApiError> {
    known_project(&server.settings.projects, project, operation)?;
    let (principal, named) = (caller.principal.clone(), project.to_owned());
    let may = server
        .store
        .read(move |store| access::holds(store, &principal, &named, None, USE).map_err(ApiError::from))
        .await?;
    if may { Ok(()) } else { Err(ApiError::PermissionDenied { permission: USE }) }
}

/// `earthEngine.getConfig`.
///
/// # Errors
/// [`ApiError::PermissionDenied`] for an unknown project.
pub fn config(server: &Server, project: &str) -> Result<Value, ApiError> {
    known_project(&server.settings.projects, project, Operation::EARTH_ENGINE_CONFIG)?;
    Ok(json!({
        "name": format!("projects/{project}/config"),
        "registrationState": server.tunables.earth_engine().of(project).to_string(),
        "maxConcurrentExports": EXPORTS.to_string(),
        "planMaxConcurrentExports": EXPORTS.to_string(),
    }))
}

/// `earthEngine.algorithms`: those that [`compute`] knows.
///
/// # Errors
/// [`ApiError::PermissionDenied`], [`ApiError::NotRegistered`].
pub async fn algorithms(server: &Server, caller: &Caller, project: &str) -> Result<Value, ApiError> {
    may_use(server, caller, project, Operation::EARTH_ENGINE_ALGORITHMS).await?;
    refuse_unregistered(server, project)?;
    let argument = |name: &str| json!({"argumentName": name, "type": "Number", "description": name});
    let all: Vec<Value> = Arithmetic::ALL
        .iter()
        .map(|(_, name)| {
            json!({
                "name": format!("algorithms/{name}"),
                "description": "",
                "returnType": "Number",
                "arguments": [argument("left"), argument("right")],
            })
        })
        .collect();
    Ok(json!({ "algorithms": all }))
}

/// `earthEngine.compute`: constants, lists, dictionaries, and arithmetic.
///
/// # Errors
/// [`ApiError::PermissionDenied`], [`ApiError::NotRegistered`], [`ApiError::InvalidArgument`] for any other expression.
pub async fn compute(
    server: &Server,
    caller: &Caller,
    project: &str,
    body: &Bytes,
) -> Result<Value, ApiError> {
    let request: Compute = requests::parse(body, server.settings.strict)?;
    may_use(server, caller, project, Operation::EARTH_ENGINE_COMPUTE).await?;
    refuse_unregistered(server, project)?;
    let Value::Object(expression) = request.expression else { return Err(unknown("no expression")) };
    let values = expression.get("values").and_then(Value::as_object).ok_or_else(|| unknown("no values"))?;
    let result = expression.get("result").and_then(Value::as_str).ok_or_else(|| unknown("no result"))?;
    Ok(json!({ "result": Evaluation { values }.reference(result, 0)? }))
}

/// `$discovery/rest`: what a client must know to build its calls. It asks before it has a token.
pub fn description(base: &str) -> Value {
    let anything = |name: &str| json!({"id": name, "type": "object", "properties": {}});
    let project = |pattern: &str, location: &str| json!({"type": "string", "required": true, "location": location, "pattern": pattern});
    let method = |id: &str,
                  http: &str,
                  path: &str,
                  parameter: &str,
                  pattern: &str,
                  request: Option<&str>,
                  response: &str| {
        let mut method = json!({
            "id": format!("earthengine.{id}"),
            "httpMethod": http,
            "path": path,
            "flatPath": path,
            "parameters": {parameter: project(pattern, "path")},
            "parameterOrder": [parameter],
            "response": {"$ref": response},
            "scopes": ["https://www.googleapis.com/auth/earthengine"],
        });
        if let (Some(request), Some(fields)) = (request, method.as_object_mut()) {
            fields.insert("request".to_owned(), json!({ "$ref": request }));
        }
        method
    };
    let of_project = "^projects/[^/]+$";
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "earthengine:v1",
        "name": "earthengine",
        "version": "v1",
        "protocol": "rest",
        "rootUrl": format!("{base}/"),
        "servicePath": "",
        "baseUrl": format!("{base}/"),
        "batchPath": "batch",
        "parameters": {
            "alt": {"type": "string", "location": "query"},
            "fields": {"type": "string", "location": "query"},
            "key": {"type": "string", "location": "query"},
            "prettyPrint": {"type": "boolean", "location": "query"},
            "quotaUser": {"type": "string", "location": "query"},
        },
        "schemas": {
            "ListAlgorithmsResponse": anything("ListAlgorithmsResponse"),
            "ComputeValueRequest": anything("ComputeValueRequest"),
            "ComputeValueResponse": anything("ComputeValueResponse"),
            "ProjectConfig": anything("ProjectConfig"),
        },
        "resources": {"projects": {
            "methods": {
                "getConfig": method(
                    "projects.getConfig", "GET", "v1/{+name}", "name", "^projects/[^/]+/config$", None, "ProjectConfig",
                ),
            },
            "resources": {
                "algorithms": {"methods": {"list": method(
                    "projects.algorithms.list", "GET", "v1/{+parent}/algorithms", "parent", of_project, None,
                    "ListAlgorithmsResponse",
                )}},
                "value": {"methods": {"compute": method(
                    "projects.value.compute", "POST", "v1/{+project}/value:compute", "project", of_project,
                    Some("ComputeValueRequest"), "ComputeValueResponse",
                )}},
            },
        }},
    })
}

fn unknown(what: impl fmt::Display) -> ApiError {
    ApiError::invalid(format!("The expression cannot be computed here: {what}."))
}

/// The functions that are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Arithmetic {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Add, "Number.add"),
        (Self::Subtract, "Number.subtract"),
        (Self::Multiply, "Number.multiply"),
        (Self::Divide, "Number.divide"),
    ];

    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
        }
    }
}

/// An expression's values, by name.
struct Evaluation<'a> {
    values: &'a Map<String, Value>,
}

impl Evaluation<'_> {
    fn reference(&self, name: &str, depth: usize) -> Result<Value, ApiError> {
        let node =
            self.values.get(name).ok_or_else(|| unknown(format_args!("there is no value {name:?}")))?;
        self.node(node, depth)
    }

    fn node(&self, node: &Value, depth: usize) -> Result<Value, ApiError> {
        // A value that names itself ends here, too.
        if depth > DEEPEST {
            return Err(unknown("it is too deep"));
        }
        let deeper = |node: &Value| self.node(node, depth + 1);
        let (kind, content) = match node.as_object().and_then(|fields| fields.iter().next()) {
            Some((kind, content)) => (kind.as_str(), content),
            None => return Err(unknown("a value is empty")),
        };
        match kind {
            "constantValue" => Ok(content.clone()),
            "integerValue" => {
                let number = content.as_str().and_then(|text| text.parse::<i64>().ok());
                number.map(Value::from).ok_or_else(|| unknown("an integerValue is none"))
            }
            "valueReference" => {
                self.reference(content.as_str().ok_or_else(|| unknown("a reference is no text"))?, depth + 1)
            }
            "arrayValue" => {
                let items = content.get("values").and_then(Value::as_array).into_iter().flatten();
                Ok(Value::Array(items.map(deeper).collect::<Result<_, _>>()?))
            }
            "dictionaryValue" => {
                let entries = content.get("values").and_then(Value::as_object).into_iter().flatten();
                let entries = entries.map(|(name, node)| Ok((name.clone(), deeper(node)?)));
                Ok(Value::Object(entries.collect::<Result<_, ApiError>>()?))
            }
            "functionInvocationValue" => self.call(content, depth + 1),
            other => Err(unknown(format_args!("{other} is not known"))),
        }
    }

    fn call(&self, call: &Value, depth: usize) -> Result<Value, ApiError> {
        let name = call.get("functionName").and_then(Value::as_str).unwrap_or_default();
        let known = Arithmetic::ALL.iter().find(|(_, known)| *known == name);
        let (function, _) = known.ok_or_else(|| unknown(format_args!("there is no function {name:?}")))?;
        let number = |argument: &str| {
            let node = call.get("arguments").and_then(|all| all.get(argument));
            let node = node.ok_or_else(|| unknown(format_args!("{name} needs {argument}")))?;
            let value = self.node(node, depth)?;
            value.as_f64().ok_or_else(|| unknown(format_args!("{argument} of {name} is no number")))
        };
        let result = function.of(number("left")?, number("right")?);
        Ok(whole(result).map_or_else(|| json!(result), Value::from))
    }
}

/// A number without a fraction, which is written without one.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9e15;
    // In range and without a fraction, so nothing is lost.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(values: &Value) -> Result<Value, ApiError> {
        Evaluation { values: values.as_object().unwrap() }.reference("0", 0)
    }

    #[test]
    fn expressions() {
        let sum = json!({"0": {"functionInvocationValue": {"functionName": "Number.add", "arguments": {
            "left": {"constantValue": 1}, "right": {"valueReference": "1"},
        }}}, "1": {"integerValue": "2"}});
        assert_eq!(evaluate(&sum).unwrap(), json!(3));
        let list = json!({"0": {"arrayValue": {"values": [{"constantValue": "a"}, {"dictionaryValue": {"values": {
            "b": {"constantValue": null}}}}]}}});
        assert_eq!(evaluate(&list).unwrap(), json!(["a", {"b": null}]));
        for bad in [
            json!({}),
            json!({"0": {}}),
            json!({"0": {"valueReference": "0"}}),
            json!({"0": {"integerValue": "x"}}),
            json!({"0": {"bytesValue": "eA=="}}),
            json!({"0": {"functionInvocationValue": {"functionName": "Image.load", "arguments": {}}}}),
            json!({"0": {"functionInvocationValue": {"functionName": "Number.add", "arguments": {}}}}),
        ] {
            assert!(matches!(evaluate(&bad), Err(ApiError::InvalidArgument { .. })), "{bad}");
        }
    }

    #[test]
    fn registrations_are_read_as_they_are_written() {
        let texts = ["p1=REGISTERED_COMMERCIALLY", "p2=NOT_REGISTERED"];
        let all: Registrations =
            texts.iter().map(|text| text.parse::<ProjectRegistration>().unwrap()).collect();
        assert_eq!(all.texts().collect::<Vec<_>>(), texts);
        assert_eq!(all.of("p3"), Registration::NotRegistered);
        for bad in ["", "p1", "p1=", "p1=REGISTERED"] {
            assert!(bad.parse::<ProjectRegistration>().is_err(), "{bad}");
        }
    }
}
