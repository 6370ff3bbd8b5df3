//! `ServiceAccount`: an account at an IAM backend.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::disruptive::DisruptiveAccount;
use super::documents::{Federation, PublishedKeys};
use super::roles::{BoundRole, RoleBinding};

/// A service account at an IAM backend.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywheel.dev",
    version = "v1alpha1",
    kind = "ServiceAccount",
    plural = "serviceaccounts",
    shortname = "iamsa",
    namespaced,
    category = "keywheel",
    status = "ServiceAccountStatus",
    derive = "PartialEq",
    doc = "A service account at an IAM backend.",
    validation = Rule::new(
        "has(self.spec.accountId) || has(self.spec.email) || has(self.spec.disruptive) || self.metadata.name.matches('^[a-z][-a-z0-9]{4,28}[a-z0-9]$')")
        .message("without spec.accountId and spec.email, metadata.name is the account id: 6 to 30 lower-case letters, \
                  digits and hyphens, beginning with a letter and not ending with a hyphen; where the backend chooses the \
                  ids (Disruptive Technologies), set spec.disruptive: {}"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Email", type_ = "string", json_path = ".status.email"),
    printcolumn(name = "Disabled", type_ = "boolean", json_path = ".status.disabled", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.backendRef == oldSelf.backendRef").message("backendRef is immutable"),
    validation = Rule::new("has(self.accountId) == has(oldSelf.accountId) && \
        (!has(self.accountId) || self.accountId == oldSelf.accountId)").message("accountId is immutable"),
    validation = Rule::new("has(self.email) == has(oldSelf.email) && (!has(self.email) || self.email == oldSelf.email)")
        .message("email is immutable"),
    validation = Rule::new("!(has(self.email) && has(self.accountId))").message("set accountId or email, not both"),
    validation = Rule::new("!has(self.email) || self.adoptionPolicy != 'IfExists'")
        .message("an account that is named by its email is taken up and never created: adoptionPolicy is Required there"),
    validation = Rule::new("!has(self.email) || !has(self.deletionPolicy) || self.deletionPolicy != 'Delete'")
        .message("an account that is named by its email is never deleted: deletionPolicy is Disable or Retain"),
    validation = Rule::new("!has(self.publicKeys) || !has(self.federation) || \
        self.publicKeys.configMapName != self.federation.configMapName")
        .message("publicKeys and federation need a ConfigMap each")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountSpec {
    /// The backend that holds the account. Immutable.
    pub backend_ref: BackendRef,

    /// Id of the account at the backend, the part of its e-mail before the `@`: 6 to 30 lower-case letters,
    /// digits and hyphens. Immutable. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])$"))]
    pub account_id: Option<String>,

    /// E-mail of an account that is there, instead of `accountId`: default accounts of the project are taken up this way, too.
    /// It is adopted whatever `adoptionPolicy` says, and never created or deleted. Where the backend has an
    /// `accountIdPattern`, the whole e-mail must match it. Immutable. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 320), regex(pattern = r"^[a-z0-9][-a-z0-9.]*@[a-z0-9][-a-z0-9.]*$"))]
    pub email: Option<String>,

    /// Unique id of an account of this object's id that was deleted at most 30 days ago: it is brought back, once, with what its
    /// roles and keys were, instead of a new one being made. One that this object did not have needs the
    /// backend's `tenants.undelete`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[0-9]+$"))]
    pub undelete: Option<String>,

    /// Name for people, at most 100 bytes. Default: none, and an adopted account keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("size(bytes(self)) <= 100").message("displayName has at most 100 bytes"))]
    pub display_name: Option<String>,

    /// Text for people, at most 160 bytes: an owner mark of up to 90 bytes follows it at the backend.
    /// Default: none, and an adopted account keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 160))]
    #[x_kube(validation = Rule::new("size(bytes(self)) <= 160").message("description has at most 160 bytes"))]
    pub description: Option<String>,

    /// Whether the account is disabled at the backend: its keys then open nothing. Default: false.
    #[serde(default)]
    pub disabled: bool,

    /// What to do about an account of this id that is already at the backend. Default: `Never`.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,

    /// What becomes of the account when this object is deleted. Default: `Delete` if Keywheel created the
    /// account, `Retain` if it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<AccountDeletionPolicy>,

    /// What to do about keys on the account that no `ServiceAccountKey` owns. `Disable` and `Delete` hand all keys of the
    /// account to Keywheel; they wait until nothing of ours can still claim a key, 70 min at least, and end nothing on an
    /// account that other `ServiceAccount` objects have, too. Default: `Report`.
    #[serde(default)]
    pub unmanaged_keys: UnmanagedKeys,

    /// Roles that the account shall have. They are bound once the account is there, mended once an hour, and taken back when
    /// they are no longer listed, or when the account is deleted with this object. Other members of the same bindings are left
    /// alone. A role that the account had before is this object's once it is listed. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub roles: Vec<RoleBinding>,

    /// Services that the project must have, as in `earthengine.googleapis.com`. They are enabled, looked at once an hour, and
    /// never disabled again. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        inner(length(min = 3, max = 100), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub services: Vec<String>,

    /// Publishes the public halves of all valid keys of the account, system-managed ones included, in a `ConfigMap` of this
    /// namespace. They are read every 15 minutes, and written when they change. Default: not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_keys: Option<PublishedKeys>,

    /// Publishes a credentials file without a key in a `ConfigMap` of this namespace, for workloads that speak for the account
    /// by a token that is projected into their pods. Default: not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<Federation>,

    /// What an account at Disruptive Technologies has beside its keys. Default: no basic auth, no memberships; an adopted account
    /// keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptive: Option<DisruptiveAccount>,
}

/// What to do about keys that no object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnmanagedKeys {
    /// Name them in the status.
    #[default]
    Report,
    /// Count them only.
    Ignore,
    /// Disable them.
    Disable,
    /// Delete them.
    Delete,
}

/// How many keys an account has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountKeys {
    /// Owned by `ServiceAccountKey` objects.
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub managed: u32,

    /// All others.
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub unmanaged: u32,

    /// Those that the backend keeps for itself, beside all others: counted with unmanaged ones; absent where that could not be
    /// read. Nothing touches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub system_managed: Option<u32>,

    /// How many fit on the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub limit: Option<u32>,
}

/// A key on the account that no object owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnmanagedKey {
    /// Id at the backend.
    pub id: String,

    /// Whether its public half was uploaded.
    #[serde(default)]
    pub uploaded: bool,

    /// When it was created, by the backend's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<jiff::Timestamp>,

    /// When it stops working by itself; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<jiff::Timestamp>,

    /// Whether it is disabled.
    #[serde(default)]
    pub disabled: bool,

    /// Why, in the backend's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_reason: Option<String>,
}

/// An account that `undelete` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restoring {
    /// Its unique id.
    pub unique_id: String,

    /// When it was last asked for.
    pub asked_at: jiff::Timestamp,

    /// Whether it is back. It is brought back once.
    #[serde(default)]
    pub done: bool,
}

/// The creation of an account whose id the backend chooses. It is found by its name after a lost answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountAttempt {
    /// Part of the name that the account carries until it is recorded.
    pub nonce: String,

    /// When it was begun, by the operator's clock.
    pub started_at: jiff::Timestamp,

    /// The same by the backend's clock.
    pub backend_time: jiff::Timestamp,

    /// Accounts that were there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_account_ids: Vec<String>,
}

/// Names a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Kind of the backend. Default: `ClusterIamBackend`.
    #[serde(default)]
    pub kind: BackendKind,

    /// Name of the backend; an `IamBackend` lies in this object's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The two kinds of backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum BackendKind {
    /// Cluster-wide.
    #[default]
    ClusterIamBackend,
    /// In one namespace.
    IamBackend,
}

/// What to do about an account that is already at the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// Refuse, with reason `AccountExists`.
    #[default]
    Never,
    /// Use it; create one if there is none.
    IfExists,
    /// Use it; refuse, with reason `AccountNotFound`, if there is none.
    Required,
}

/// What becomes of an account when its object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccountDeletionPolicy {
    /// Delete it at the backend.
    Delete,
    /// Disable it and leave it.
    Disable,
    /// Leave it as it is.
    Retain,
}

/// How the account came to be this object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccountOrigin {
    /// Keywheel created it for this object.
    Created,
    /// It was there before.
    Adopted,
}

/// What is known about an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// E-mail of the account at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,

    /// The backend's own id of the account. It differs after the account is deleted and made again, even
    /// under the same e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,

    /// Full resource name at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,

    /// Whether the account is disabled at the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,

    /// Whether Keywheel created the account or adopted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<AccountOrigin>,

    /// Whether nobody else makes keys on the account, as far as we can know: it carries our mark, no other object of
    /// this cluster has it, and we created it or `unmanagedKeys` hands its keys to us. Only then a key whose making got no
    /// answer is taken for ours without proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,

    /// How many keys the account had when its unmanaged keys last changed; looked at once an hour. Absent: it never had
    /// an unmanaged one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<AccountKeys>,

    /// The first 20 keys that no object owned then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub unmanaged_keys: Vec<UnmanagedKey>,

    /// The account that is being brought back, or was: written down before it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Restoring>,

    /// Roles that this object bound or is about to bind: nothing else is ever taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_roles: Vec<BoundRole>,

    /// Until when a policy may not show the last change of a role: its answer may have been lost, and reads lag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_settle_at: Option<jiff::Timestamp>,

    /// Names of the `ConfigMaps` that this object wrote or is about to write: no others are ever deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub config_maps: Vec<String>,

    /// The account that is being made, where the backend chooses ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creating: Option<AccountAttempt>,

    /// When this object created the account at the backend, or began to; reads may lag behind for minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<jiff::Timestamp>,

    /// How often the last step failed in a row; the wait before the next try grows with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub failures: u32,

    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<jiff::Timestamp>,

    /// Until when the backend asked to be left alone with its last refusal; an hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<jiff::Timestamp>,

    /// `Ready`: the account is at the backend as the spec says, with its roles (`RolesBound`), the services
    /// that it needs (`ServicesEnabled`) and what it publishes (`ConfigMapsPublished`). `EarthEngineRegistered` only tells. `Reconciling`, `Stalled` and `AccountShared` (others have
    /// the account, too, and it would be ours alone else): only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
pub(crate) fn is_zero(count: &u32) -> bool {
    *count == 0
}
