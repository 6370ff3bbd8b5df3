//! What one pass has read: plain data for the plan, and the objects that a step writes back.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::Api;
use tokio::time::Instant;

use super::material::Material;
use crate::api::v1alpha1::ServiceAccountKey;
use crate::controller::registry::{BackendId, Login};
use crate::credential::SecretBytes;
use crate::domain::key::{Observation, Proof};

/// What one pass has read: plain data for the plan, and the objects that a step writes back.
pub struct World {
    /// For the plan.
    pub observation: Observation,
    /// The object as read.
    pub object: ServiceAccountKey,
    /// Its API.
    pub objects: Api<ServiceAccountKey>,
    /// Secrets of its namespace.
    pub secrets: Api<KubeSecret>,
    /// Name of the consumer Secret.
    pub secret_name: String,
    /// The consumer Secret as read.
    pub secret: Option<KubeSecret>,
    /// The private half that the consumer Secret holds.
    pub material: Option<Material>,
    /// Staged credentials by nonce.
    pub staged: Vec<(String, SecretBytes)>,
    /// The backend of the account.
    pub backend: Option<BackendId>,
    /// The login at it.
    pub login: Option<Arc<Login>>,
    /// When the first read was begun.
    pub read_at: Instant,
}

impl World {
    /// The staged key that was accepted, for the next pass of this reconcile.
    pub fn proved(&self) -> Option<(String, u32)> {
        let pending = self.observation.status.as_ref().and_then(|s| s.pending.as_ref())?;
        match self.observation.proof {
            Some(Proof::Accepted { times }) => Some((pending.nonce.clone(), times)),
            _ => None,
        }
    }

    /// Uid of the object.
    pub fn uid(&self) -> &str {
        &self.observation.uid
    }
}
