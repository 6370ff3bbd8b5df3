//! Google Cloud IAM, as a backend's spec names it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretAuth, SecretKeyRef};

/// Google Cloud IAM, as a cluster administrator configures it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.projectId == oldSelf.projectId").message("projectId is immutable"))]
#[serde(rename_all = "camelCase")]
pub struct ClusterGoogle {
    /// Id of the project in which accounts are made: 6 to 30 lower-case letters, digits and hyphens. Projects of a
    /// domain (`example.com:project`) are not supported. Immutable.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]$")
    )]
    pub project_id: String,

    /// How the operator logs in. Default: as the account that the metadata server gives it (workload identity).
    #[serde(default)]
    pub auth: GoogleAuth,

    /// Other addresses than Google's, such as those of a private endpoint or of a test server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<GoogleEndpoints>,
}

/// Google Cloud IAM, as a namespace's owner configures it: with a key, and at Google's own addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.projectId == oldSelf.projectId").message("projectId is immutable"))]
#[serde(rename_all = "camelCase")]
pub struct Google {
    /// Id of the project in which accounts are made. Immutable.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]$")
    )]
    pub project_id: String,

    /// How the operator logs in: with a file of type `service_account`.
    pub auth: SecretAuth,
}

/// How the operator logs in at Google. Without `secretRef` and `workloadIdentityFederation`: as the account that the
/// metadata server gives to the operator's pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.secretRef) || !has(self.workloadIdentityFederation)")
    .message("at most one of secretRef and workloadIdentityFederation may be set"))]
#[serde(rename_all = "camelCase")]
pub struct GoogleAuth {
    /// A credentials file in the operator's cluster resource namespace, of type `service_account` or
    /// `external_account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,

    /// A token that the cluster projects into the operator's pod is exchanged for one of Google's: no key at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity_federation: Option<WorkloadIdentityFederation>,

    /// E-mail of an account that the login acts as; it needs `roles/iam.serviceAccountTokenCreator` on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 256), regex(pattern = r"^[^@/\s]+@[^@/\s]+$"))]
    pub impersonate: Option<String>,
}

/// Workload identity federation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentityFederation {
    /// The provider, as in
    /// `//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,

    /// Where the projected token is mounted. Default: `/var/run/secrets/keywheel.dev/federation/token`.
    #[serde(default = "default_token_file")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub token_file: String,
}

fn default_token_file() -> String {
    "/var/run/secrets/keywheel.dev/federation/token".to_owned()
}

/// Addresses of Google's services; those that are not set are Google's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.iam) ? self.iam : '', has(self.resourceManager) ? self.resourceManager : '', \
    has(self.token) ? self.token : '', has(self.sts) ? self.sts : '', \
    has(self.iamCredentials) ? self.iamCredentials : '', has(self.serviceUsage) ? self.serviceUsage : '', \
    has(self.earthEngine) ? self.earthEngine : '', has(self.policyAnalyzer) ? self.policyAnalyzer : '', \
    has(self.publicKeys) ? self.publicKeys : ''].all(u, u == '' || (isURL(u) && url(u).getScheme() in ['http', 'https']))").message("endpoints must be http or https URLs"))]
#[serde(rename_all = "camelCase")]
pub struct GoogleEndpoints {
    /// IAM. Default: `https://iam.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub iam: Option<String>,

    /// Cloud Resource Manager. Default: `https://cloudresourcemanager.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub resource_manager: Option<String>,

    /// The token endpoint, at which keys are proved. Default: `https://oauth2.googleapis.com/token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub token: Option<String>,

    /// The Security Token Service. Default: `https://sts.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub sts: Option<String>,

    /// IAM Credentials, for `impersonate`. Default: `https://iamcredentials.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub iam_credentials: Option<String>,

    /// Service Usage, for `services`. Default: `https://serviceusage.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub service_usage: Option<String>,

    /// Earth Engine, for accounts that ask for it. Default: `https://earthengine.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub earth_engine: Option<String>,

    /// Policy Analyzer, for `requireUnusedFor`. Default: `https://policyanalyzer.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub policy_analyzer: Option<String>,

    /// Where public keys of accounts are shown, for `publicKeys`. Default: `https://www.googleapis.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub public_keys: Option<String>,
}
