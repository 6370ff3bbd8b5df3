//! What an account publishes in `ConfigMaps` of its namespace: nothing in it is secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The public halves of an account's keys, for whoever checks its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedKeys {
    /// Name of the `ConfigMap` that gets `jwks.json` (a JSON Web Key Set) and `x509.json` (certificates by key id).
    #[schemars(schema_with = "config_map_name")]
    pub config_map_name: String,
}

/// Keyless use of an account: workloads speak for it by the tokens that the cluster projects into their pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Federation {
    /// The provider of a workload identity pool that believes this cluster, as in
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
    #[schemars(
        length(max = 256),
        regex(
            pattern = r"^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$"
        )
    )]
    pub provider: String,

    /// Name of the `ConfigMap` that gets `credentials.json`, a file of type `external_account`.
    #[schemars(schema_with = "config_map_name")]
    pub config_map_name: String,

    /// Where a pod has its projected token. Default: `/var/run/secrets/keywheel.dev/token`.
    #[serde(default = "default_token_file")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub token_file: String,
}

fn default_token_file() -> String {
    "/var/run/secrets/keywheel.dev/token".to_owned()
}

/// A DNS subdomain, which is what the API server takes as a name.
fn config_map_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string", "minLength": 1, "maxLength": 253,
        "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    })
}
