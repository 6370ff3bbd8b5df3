//! How an API server says no.

use serde_json::{Value, json};

/// A refusal, as `metav1.Status` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Value,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(mut self, group: &str, plural: &str, name: &str) -> Self {
        let mut details = json!({ "kind": plural });
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        self.details = details;
        self
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// There is no such object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(404, "NotFound", format!("{what} {name:?} not found")).about(group, plural, name)
    }

    /// There is no such path: a plain page, not a `Status`.
    pub fn no_such_path() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// There is one already.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(409, "AlreadyExists", format!("{what} {name:?} already exists")).about(group, plural, name)
    }

    /// The object is another one by now.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(group, plural, name)
    }

    /// Another manager owns fields that an apply sets.
    pub fn apply_conflict(causes: &[(String, String)]) -> Self {
        let count = causes.len();
        let said: Vec<String> = causes.iter().map(|(manager, field)| format!("{manager}: {field}")).collect();
        let mut refusal =
            Self::new(409, "Conflict", format!("Apply failed with {count} conflicts: {}", said.join("; ")));
        let causes: Vec<Value> = causes
            .iter()
            .map(|(manager, field)| {
                json!({ "reason": "FieldManagerConflict", "message": manager, "field": field })
            })
            .collect();
        refusal.details = json!({ "causes": causes });
        refusal
    }

    /// The object breaks rules; each cause is a field and what is wrong with it.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let said: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let all = if said.len() == 1 { said.concat() } else { format!("[{}]", said.join(", ")) };
        let what = qualified(group, kind);
        let mut refusal =
            Self::new(422, "Invalid", format!("{what} {name:?} is invalid: {all}")).about(group, kind, name);
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({ "reason": c.reason, "field": c.field, "message": c.message }))
            .collect();
        refusal.details["causes"] = json!(causes);
        refusal
    }

    /// An admission plugin refuses.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, plural);
        Self::new(403, "Forbidden", format!("{what} {name:?} is forbidden: {why}")).about(group, plural, name)
    }

    /// Nothing is made in a namespace that goes.
    pub fn terminating(group: &str, plural: &str, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut refusal = Self::forbidden(group, plural, name, &why);
        refusal.details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        refusal
    }

    /// The history before a version is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The verb is not served.
    pub fn not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    /// The patch format is not served.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A failure of the server itself, or one that a fault injects.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, reason, message)
    }

    /// An apply that does not say who applies.
    pub fn no_manager() -> Self {
        let cause = Cause::required("fieldManager");
        Self::invalid("meta.k8s.io", "PatchOptions", "", &[cause])
    }

    /// The same, said about the plural instead of the kind.
    #[must_use]
    pub fn about_plural(mut self, plural: &str) -> Self {
        self.details["kind"] = json!(plural);
        self
    }

    /// The answer's body.
    pub fn body(&self) -> Value {
        if self.code == 404 && self.reason.is_empty() {
            return json!(self.message);
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason.is_empty()
            && let Some(map) = status.as_object_mut()
        {
            map.remove("reason");
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Path of the field.
    pub field: String,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Cause {
    /// A value that is not allowed.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "FieldValueInvalid", message: message.into() }
    }

    /// Rules could not be asked because the object has the wrong shape.
    pub fn not_asked() -> Self {
        let message = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        Self::invalid("<nil>", format!("Invalid value: null: {message}"))
    }

    /// Whether rules cannot be asked about an object with this in it.
    pub fn blocks_rules(&self) -> bool {
        let blocking = [
            "FieldValueTypeInvalid",
            "FieldValueRequired",
            "FieldValueNotSupported",
            "FieldValueTooLong",
            "FieldValueTooMany",
        ];
        blocking.contains(&self.reason)
    }

    /// A change that is not allowed.
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {}", message.into()),
        }
    }

    /// A field that must be there.
    pub fn required(field: impl Into<String>) -> Self {
        Self { field: field.into(), reason: "FieldValueRequired", message: "Required value".to_owned() }
    }
}

fn qualified(group: &str, what: &str) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}
