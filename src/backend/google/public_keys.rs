//! The public halves of an account's keys, as Google shows them to whoever checks its signatures.

use std::collections::BTreeMap;

use super::Google;
use crate::backend::BackendError;
use crate::credential::Jwks;
use crate::domain::account::PublicKeys;

impl Google {
    /// Both forms. Keys that are disabled or expired are not among them, those that Google keeps for itself are.
    pub(super) async fn read_public_keys(&self, email: &str) -> Result<PublicKeys, BackendError> {
        let base = format!("{}/service_accounts/v1", self.endpoints.public_keys);
        let set = self.read_open::<Jwks>("publicKeys.jwk", format!("{base}/jwk/{email}"));
        let by_id = self.read_open::<BTreeMap<String, String>>(
            "publicKeys.x509",
            format!("{base}/metadata/x509/{email}"),
        );
        let (set, by_id) = futures::future::try_join(set, by_id).await?;
        let unreadable = |call| BackendError::Incomplete { call, what: "keys" };
        let jwks = set.render();
        let jwks = jwks.expose_str().map_err(|_| unreadable("publicKeys.jwk"))?.to_owned();
        let x509 = serde_json::to_string(&by_id).map_err(|_| unreadable("publicKeys.x509"))?;
        Ok(PublicKeys { jwks, x509 })
    }
}
