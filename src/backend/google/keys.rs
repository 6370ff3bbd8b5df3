//! Calls about one key.

use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_iam_admin_v1::model::{ServiceAccountKeyAlgorithm, ServiceAccountPrivateKeyType};
use jiff::Timestamp;

use super::Google;
use crate::backend::{BackendError, MintedKey};
use crate::credential::SecretBytes;

/// Google writes "never" as the last second of the year 9999.
const NEVER: i64 = 253_402_300_799;

impl Google {
    pub(super) async fn mint(
        &self,
        unique_id: &str,
        algorithm: &str,
        nonce: &str,
    ) -> Result<MintedKey, BackendError> {
        const CALL: &str = "keys.create";
        let algorithm = match algorithm {
            "RSA_1024" => ServiceAccountKeyAlgorithm::KeyAlgRsa1024,
            _ => ServiceAccountKeyAlgorithm::KeyAlgRsa2048,
        };
        let request = self
            .iam
            .create_service_account_key()
            .set_name(self.account(unique_id))
            .set_private_key_type(ServiceAccountPrivateKeyType::TypeGoogleCredentialsFile)
            .set_key_algorithm(algorithm);
        let request = self
            .once(request)
            .with_user_agent(format!("keywheel/{} attempt/{nonce}", env!("CARGO_PKG_VERSION")));
        let key = self.within(CALL, request.send()).await?;
        let id = match key.name.rsplit_once("/keys/") {
            Some((_, id)) if !id.is_empty() => id.to_owned(),
            _ => return Err(BackendError::Incomplete { call: CALL, what: "name" }),
        };
        if key.private_key_data.is_empty() {
            return Err(BackendError::Incomplete { call: CALL, what: "privateKeyData" });
        }
        Ok(MintedKey {
            id,
            credential: SecretBytes::new(key.private_key_data.to_vec()),
            created_at: key.valid_after_time.and_then(time),
            expires_at: key.valid_before_time.and_then(time).and_then(end),
        })
    }

    pub(super) async fn enable(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        let request = self.once(self.iam.enable_service_account_key().set_name(self.key(unique_id, key_id)));
        self.within("keys.enable", request.send()).await
    }

    pub(super) async fn disable(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        let request = self.once(self.iam.disable_service_account_key().set_name(self.key(unique_id, key_id)));
        self.within("keys.disable", request.send()).await
    }

    pub(super) async fn erase(&self, unique_id: &str, key_id: &str) -> Result<(), BackendError> {
        let request = self.once(self.iam.delete_service_account_key().set_name(self.key(unique_id, key_id)));
        self.within("keys.delete", request.send()).await
    }
}

fn time(time: google_cloud_wkt::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds(), time.nanos()).ok()
}

/// The end of a key's life, if it has one.
pub(super) fn end(time: Timestamp) -> Option<Timestamp> {
    (time.as_second() < NEVER).then_some(time)
}
