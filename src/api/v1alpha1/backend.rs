//! `ClusterIamBackend` and `IamBackend`: where accounts live and how the operator logs in.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClusterDisruptive, ClusterGoogle, Disruptive, Google};

/// An IAM system that every allowed namespace may use. Its login Secret lies in the operator's
/// cluster resource namespace (flag `--cluster-resource-namespace`).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywheel.dev",
    version = "v1alpha1",
    kind = "ClusterIamBackend",
    plural = "clusteriambackends",
    shortname = "ciamb",
    category = "keywheel",
    status = "BackendStatus",
    derive = "PartialEq",
    doc = "An IAM system that service accounts of every allowed namespace may use.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Project", type_ = "string", json_path = ".status.projectId"),
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.identity"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("[has(self.google), has(self.disruptive), has(self.embedded)].filter(x, x).size() == 1")
        .message("exactly one of google, disruptive and embedded must be set"),
    validation = Rule::new("has(self.google) == has(oldSelf.google) && has(self.disruptive) == has(oldSelf.disruptive)")
        .message("the kind of system is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIamBackendSpec {
    /// Google Cloud IAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google: Option<ClusterGoogle>,

    /// Disruptive Technologies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptive: Option<ClusterDisruptive>,

    /// Keywheel's own IAM server (`keywheel iam`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<ClusterEmbedded>,

    /// Which namespaces may refer to this backend. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,

    /// What the allowed namespaces may ask of this backend. Default: any account id, nothing adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Tenants>,

    /// How many requests the backend gets from the operator, shared fairly between namespaces. Default: none for `embedded`;
    /// 300 in a minute and 30 at once for `google`, which is half of its quota for writes in a project, and for `disruptive`, which
    /// names no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// An IAM system for the namespace it lies in, with a login of its own.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywheel.dev",
    version = "v1alpha1",
    kind = "IamBackend",
    plural = "iambackends",
    shortname = "iamb",
    namespaced,
    category = "keywheel",
    status = "BackendStatus",
    derive = "PartialEq",
    doc = "An IAM system for the service accounts of one namespace, with a login Secret in that namespace.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Project", type_ = "string", json_path = ".status.projectId"),
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.identity"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("[has(self.google), has(self.disruptive), has(self.embedded)].filter(x, x).size() == 1")
        .message("exactly one of google, disruptive and embedded must be set"),
    validation = Rule::new("has(self.google) == has(oldSelf.google) && has(self.disruptive) == has(oldSelf.disruptive)")
        .message("the kind of system is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct IamBackendSpec {
    /// Google Cloud IAM, with a login of this namespace's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google: Option<Google>,

    /// Disruptive Technologies, with a login of this namespace's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptive: Option<Disruptive>,

    /// Keywheel's own IAM server, at the address that the controller was started with
    /// (flag `--embedded-endpoint`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<Embedded>,

    /// How many requests the backend gets from the operator, shared fairly between namespaces. Default: none for `embedded`;
    /// 300 in a minute and 30 at once for `google`, which is half of its quota for writes in a project, and for `disruptive`, which
    /// names no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// The embedded IAM server, as a cluster administrator configures it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterEmbedded {
    /// Base URL of the server, such as `http://keywheel-iam.keywheel-system.svc:8085`.
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https']")
        .message("endpoint must be an http or https URL"))]
    #[schemars(length(min = 1, max = 2048))]
    pub endpoint: String,

    /// How the operator logs in.
    pub auth: SecretAuth,
}

/// The embedded IAM server, as a namespace's owner configures it: the address is the operator's to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Embedded {
    /// How the operator logs in.
    pub auth: SecretAuth,
}

/// How many requests a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// In a minute, in the long run; 60 at least: whoever waits for its turn holds up others. Default: 300.
    #[serde(default = "default_rate")]
    #[schemars(schema_with = "rate")]
    pub requests_per_minute: u32,

    /// At once, after a rest. Default: 30.
    #[serde(default = "default_burst")]
    #[schemars(schema_with = "burst")]
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests_per_minute: default_rate(), burst: default_burst() }
    }
}

fn default_rate() -> u32 {
    300
}

fn default_burst() -> u32 {
    30
}

fn rate(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int64", "minimum": 60, "maximum": 100_000 })
}

fn burst(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int64", "minimum": 2, "maximum": 100_000 })
}

/// A login that is kept in a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretAuth {
    /// The Secret and its data key that hold a credentials file: Google's, of type `service_account`, or that of the client of
    /// Disruptive Technologies. It lies in the backend's namespace; for a `ClusterIamBackend` in the operator's cluster resource
    /// namespace, `keywheel-system` if nothing else was chosen. What changes in it is seen with the next look, within 5 min.
    pub secret_ref: SecretKeyRef,
}

/// One data key of a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Data key in the Secret. Default: `key.json`.
    #[serde(default = "default_auth_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_auth_key() -> String {
    "key.json".to_owned()
}

/// Namespaces chosen by name or by label. A namespace is allowed if either chooses it; neither set allows none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Names of namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub names: Vec<String>,

    /// Labels of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Labels that a namespace must carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// All of these labels, with these values. Empty: every namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// What namespaces may ask of a cluster-wide backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tenants {
    /// A regular expression that the whole account id must match; `{namespace}` stands for the name of the
    /// namespace, as in `{namespace}-[a-z0-9-]+`. Where the backend chooses the ids, it is about the `accountId` or `email` of
    /// an account that is to be adopted. Empty (default): any account id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub account_id_pattern: String,

    /// Whether accounts that are already at the backend may be adopted. Default: false.
    #[serde(default)]
    pub adoption: bool,

    /// Whether accounts that were deleted may be brought back by objects that did not have them (`undelete`): nobody can tell whose
    /// they were. Default: false.
    #[serde(default)]
    pub undelete: bool,

    /// Roles that namespaces may ask for on the project; a star at the end stands for anything, as in
    /// `roles/earthengine.*`. Who may create a `ServiceAccount` then has these roles. Empty (default): none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 256)))]
    pub roles: Vec<String>,

    /// Services that namespaces may have enabled in the project, which may cost money; a star at the end stands for anything.
    /// Empty (default): none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 256)))]
    pub services: Vec<String>,
}

/// What is known about a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// E-mail of the login that the operator uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,

    /// Project in which accounts are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,

    /// Permissions that the login lacks on the project, of those that the operator may need. It may have them on single
    /// accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_permissions: Vec<String>,

    /// What this backend can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,

    /// How far the backend's clock is ahead of the operator's, in whole seconds, such as `-3s`. Rewritten only
    /// when it moves by more than 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<String>,

    /// `Ready`: the backend answers and the login is accepted. `ClockInSync`: both clocks agree within 5 min.
    /// `PermissionsGranted`: the login may do on the whole project what the operator may need, where the backend can tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What a backend can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability of its own")]
pub struct Capabilities {
    /// Whether a key can be disabled before it is deleted.
    pub disable_keys: bool,

    /// Key algorithms that can be asked for.
    pub algorithms: Vec<String>,

    /// How many keys an account can have; absent where the backend names no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub key_limit: Option<u32>,

    /// Whether a key can be proved by exchanging it for a token.
    pub token_exchange: bool,

    /// Whether it tells when a key was last used.
    #[serde(default)]
    pub last_use: bool,

    /// Whether the public half of a key that was made elsewhere can be uploaded.
    #[serde(default)]
    pub upload_keys: bool,

    /// Whether an account can be disabled.
    #[serde(default)]
    pub disable_accounts: bool,

    /// Whether the id of an account is chosen by whoever makes it.
    #[serde(default)]
    pub account_ids: bool,

    /// Whether keys can be let in by basic auth.
    #[serde(default)]
    pub basic_auth: bool,
}

/// A count as the API server wants it: `format: uint32` would draw a warning.
pub(crate) fn count(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "format": "int64", "minimum": 0 })
}
