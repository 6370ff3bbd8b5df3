//! What one pass has read: plain data for the plan, and the objects that a step writes back.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, ResourceExt as _};

use super::consumer::Materials;
use super::material::{Life, Material, Raw};
use crate::api::v1alpha1::ServiceAccountKey;
use crate::controller::Error;
use crate::controller::pass::Pass;
use crate::controller::registry::{BackendId, Login};
use crate::credential::Jwk;
use crate::domain::key::{KeyList, Observation, Proof};

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
    /// The private halves that the consumer Secret holds.
    pub materials: Materials,
    /// The Secret of the name before, where the spec gave it another one, and what it holds.
    pub renamed: Option<(KubeSecret, Materials)>,
    /// Secrets of former names as read.
    pub former: Vec<KubeSecret>,
    /// Public halves that the backend told.
    pub public_halves: Vec<Jwk>,
    /// Staged credentials by nonce.
    pub staged: Vec<(String, Raw)>,
    /// The backend of the account.
    pub backend: Option<BackendId>,
    /// The login at it.
    pub login: Option<Arc<Login>>,
    /// When the first read was begun.
    pub pass: Pass,
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

    /// Whether the ledger was compared with a list of the keys at the backend.
    pub fn has_looked(&self) -> bool {
        let listed = |list: &Option<KeyList>| matches!(list, Some(KeyList::Listed { .. }));
        listed(&self.observation.keys) || listed(&self.observation.audited)
    }

    /// What was staged by an attempt, in every form. A pair's file names the key that its upload made.
    pub fn staged_material(&self, nonce: &str) -> Result<Material, Error> {
        let missing = |what| Error::Missing { step: "staged credential", what };
        let (_, raw) = self.staged.iter().find(|(n, _)| n == nonce).ok_or(missing("the staging Secret"))?;
        let login = self.login.as_ref().ok_or(missing("the backend"))?;
        let account = self.observation.account.reachable().ok_or(missing("the account"))?;
        let staged = self.observation.staged.iter().find(|s| s.nonce == nonce);
        let key = staged.and_then(|staged| self.observation.staged_key(staged));
        let id = key.ok_or(missing("the id of its key"))?.id;
        Material::staged(raw, || login.now().credential_fields(&account.email, &account.unique_id, &id))
    }

    /// When a key works, by the ledger, or by what is known of the attempt that made it.
    pub fn life(&self, key_id: &str) -> Life {
        let known = self.observation.status.iter().flat_map(|status| &status.keys).find(|k| k.id == key_id);
        if let Some(key) = known {
            return Life { from: key.created_at, until: key.expires_at };
        }
        let mut staged = self.observation.staged.iter().filter_map(|s| self.observation.staged_key(s));
        let staged = staged.find(|key| key.id == key_id);
        staged.map_or_else(Life::default, |key| Life { from: key.created_at, until: key.expires_at })
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// Uid of the object.
    pub fn uid(&self) -> &str {
        &self.observation.uid
    }
}
