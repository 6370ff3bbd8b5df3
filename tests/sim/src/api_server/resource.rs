//! The kinds that are served: built-in ones with their own rules, and our custom resources.

use std::sync::{Arc, OnceLock};

use keywheel::api::v1alpha1::crds;

use super::schema::Schema;

/// A kind that is served.
pub struct Resource {
    /// API group; empty for the core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Name in paths.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// Whose rules hold.
    pub rules: Rules,
}

/// Whose rules hold for a kind.
pub enum Rules {
    /// Built in.
    Secret,
    /// Built in.
    ConfigMap,
    /// Built in.
    Namespace,
    /// Built in; counts what a namespace may hold.
    Quota,
    /// Built in, without rules that matter here.
    Plain,
    /// A custom resource: its schema.
    Custom(Box<Custom>),
}

/// What a definition says about a custom resource.
pub struct Custom {
    /// Its schema, with defaults and rules.
    pub schema: Schema,
    /// Whether `status` is a subresource of its own.
    pub has_status: bool,
    /// Fields that a list can be filtered by, without the leading dot.
    pub selectable: Vec<String>,
}

impl Resource {
    fn built_in(group: &str, version: &str, plural: &str, kind: &str, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: !matches!(rules, Rules::Namespace),
            rules,
        })
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// What its definition says, if it is a custom one.
    pub fn custom(&self) -> Option<&Custom> {
        match &self.rules {
            Rules::Custom(custom) => Some(custom),
            _ => None,
        }
    }

    /// Whether a write without a resource version wins over anybody's.
    pub fn allows_unconditional_update(&self) -> bool {
        self.custom().is_none() && self.plural != "leases"
    }
}

/// All kinds that are served. Schemas are compiled once a process.
pub fn all() -> &'static [Arc<Resource>] {
    static ALL: OnceLock<Vec<Arc<Resource>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = vec![
            Resource::built_in("", "v1", "namespaces", "Namespace", Rules::Namespace),
            Resource::built_in("", "v1", "secrets", "Secret", Rules::Secret),
            Resource::built_in("", "v1", "configmaps", "ConfigMap", Rules::ConfigMap),
            Resource::built_in("", "v1", "resourcequotas", "ResourceQuota", Rules::Quota),
            Resource::built_in("", "v1", "events", "Event", Rules::Plain),
            Resource::built_in("events.k8s.io", "v1", "events", "Event", Rules::Plain),
            Resource::built_in("apps", "v1", "deployments", "Deployment", Rules::Plain),
            Resource::built_in("coordination.k8s.io", "v1", "leases", "Lease", Rules::Plain),
        ];
        all.extend(crds().into_iter().map(|crd| {
            let version = crd.spec.versions.into_iter().next().expect("a definition has a version");
            let schema = version.schema.and_then(|s| s.open_api_v3_schema).expect("a version has a schema");
            let custom = Custom {
                schema: Schema::new(serde_json::to_value(schema).expect("a schema is JSON")),
                has_status: version.subresources.is_some_and(|s| s.status.is_some()),
                selectable: version
                    .selectable_fields
                    .unwrap_or_default()
                    .into_iter()
                    .map(|f| f.json_path.trim_start_matches('.').to_owned())
                    .collect(),
            };
            Arc::new(Resource {
                group: crd.spec.group,
                version: version.name,
                plural: crd.spec.names.plural,
                kind: crd.spec.names.kind,
                namespaced: crd.spec.scope == "Namespaced",
                rules: Rules::Custom(Box::new(custom)),
            })
        }));
        all
    })
}

/// The kind at a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Arc<Resource>> {
    all().iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The kind of an object.
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Arc<Resource>> {
    all().iter().find(|r| r.kind == kind && r.api_version() == api_version)
}
