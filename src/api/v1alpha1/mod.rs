//! Version `v1alpha1`: the four kinds, what a schema can refuse, and the columns that `kubectl get` prints.

mod backend;
mod duration;
mod key_spec;
mod key_status;
pub mod meta;
mod service_account;

pub use backend::{
    AllowedNamespaces, BackendStatus, Capabilities, ClusterEmbedded, ClusterIamBackend,
    ClusterIamBackendSpec, Embedded, IamBackend, IamBackendSpec, NamespaceSelector, SecretAuth, SecretKeyRef,
    Tenants,
};
pub use duration::{InvalidSpan, Span};
pub use key_spec::{
    Algorithm, DeletionPolicy, EntryFormat, KeySource, LocalRef, Rotation, SecretEntry, SecretTemplate,
    ServiceAccountKey, ServiceAccountKeySpec, Verification, VerificationMode,
};
pub use key_status::{
    KeyOrigin, KeyPhase, KeyReason, LedgerKey, LostAttempt, PendingAttempt, ServiceAccountKeyStatus,
    SuspectKey,
};
pub use service_account::{
    AccountDeletionPolicy, AccountOrigin, AdoptionPolicy, BackendKind, BackendRef, ServiceAccount,
    ServiceAccountSpec, ServiceAccountStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// The API group.
pub const GROUP: &str = "keywheel.dev";

/// All custom resource definitions, in the order in which they are printed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ClusterIamBackend::crd(), IamBackend::crd(), ServiceAccount::crd(), ServiceAccountKey::crd()]
}
