//! Version `v1alpha1`: the four kinds, what a schema can refuse, and the columns that `kubectl get` prints.

mod backend;
mod disruptive;
mod documents;
mod duration;
mod google;
mod key_spec;
mod key_status;
pub mod meta;
mod roles;
mod service_account;

pub use backend::{
    AllowedNamespaces, BackendStatus, Capabilities, ClusterEmbedded, ClusterIamBackend,
    ClusterIamBackendSpec, Embedded, IamBackend, IamBackendSpec, NamespaceSelector, RateLimit, SecretAuth,
    SecretKeyRef, Tenants,
};
pub use disruptive::{
    ClusterDisruptive, Disruptive, DisruptiveAccount, DisruptiveEndpoints, DisruptiveMembership,
};
pub use documents::{Federation, PublishedKeys};
pub use duration::{InvalidSpan, Span};
pub use google::{ClusterGoogle, Google, GoogleAuth, GoogleEndpoints, WorkloadIdentityFederation};
pub use key_spec::{
    Algorithm, DeletionPolicy, EntryFormat, KeySource, LocalRef, Rotation, SecretEntry, SecretTemplate,
    ServiceAccountKey, ServiceAccountKeySpec, Verification, VerificationMode, Workload, WorkloadKind,
};
pub use key_status::{
    FormerSecret, Handled, KeyOrigin, KeyPhase, KeyReason, KeySeen, LedgerKey, LostAttempt, PendingAttempt,
    ServiceAccountKeyStatus, SuspectKey,
};
pub use roles::{BoundRole, RoleBinding, RoleCondition};
pub use service_account::{
    AccountAttempt, AccountDeletionPolicy, AccountKeys, AccountOrigin, AdoptionPolicy, BackendKind,
    BackendRef, Restoring, ServiceAccount, ServiceAccountSpec, ServiceAccountStatus, UnmanagedKey,
    UnmanagedKeys,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

/// The API group.
pub const GROUP: &str = "keywheel.dev";

/// All custom resource definitions, in the order in which they are printed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds =
        vec![ClusterIamBackend::crd(), IamBackend::crd(), ServiceAccount::crd(), ServiceAccountKey::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            forbid_null(schema);
        }
    }
    crds
}

/// An optional field is left out, not null: the API server then drops a null before CEL could stumble over it.
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(forbid_null);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => forbid_null(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(forbid_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        forbid_null(values);
    }
}
