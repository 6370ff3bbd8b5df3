//! Calls about one key.

use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_iam_admin_v1::model::{
    ServiceAccountKeyAlgorithm, ServiceAccountPrivateKeyType, ServiceAccountPublicKeyType,
};
use jiff::Timestamp;

use super::Google;
use crate::backend::{BackendError, MintedKey, UploadedKey, user_agent};
use crate::credential::{SecretBytes, parse_certificate};

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
        let request = self.once(request).with_user_agent(user_agent(nonce));
        let key = self.within(CALL, request.send()).await?;
        let id = id_of(CALL, &key.name)?;
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

    pub(super) async fn upload(
        &self,
        unique_id: &str,
        certificate: &str,
        nonce: &str,
    ) -> Result<UploadedKey, BackendError> {
        const CALL: &str = "keys.upload";
        let request = self
            .iam
            .upload_service_account_key()
            .set_name(self.account(unique_id))
            .set_public_key_data(certificate.as_bytes().to_vec());
        let request = self.once(request).with_user_agent(user_agent(nonce));
        let key = self.within(CALL, request.send()).await?;
        Ok(UploadedKey {
            id: id_of(CALL, &key.name)?,
            created_at: key.valid_after_time.and_then(time),
            expires_at: key.valid_before_time.and_then(time).and_then(end),
        })
    }

    /// The public half comes in a certificate: Google gives it out in no other form for an uploaded key.
    pub(super) async fn certified(&self, unique_id: &str, key_id: &str) -> Result<Vec<u8>, BackendError> {
        const CALL: &str = "keys.get";
        let request = self
            .iam
            .get_service_account_key()
            .set_name(self.key(unique_id, key_id))
            .set_public_key_type(ServiceAccountPublicKeyType::TypeX509PemFile);
        let key = self.within(CALL, self.once(request).send()).await?;
        let certificate = parse_certificate(&key.public_key_data)
            .map_err(|_| BackendError::Incomplete { call: CALL, what: "publicKeyData" })?;
        Ok(certificate.spki_der)
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

fn id_of(call: &'static str, name: &str) -> Result<String, BackendError> {
    match name.rsplit_once("/keys/") {
        Some((_, id)) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(BackendError::Incomplete { call, what: "name" }),
    }
}

fn time(time: google_cloud_wkt::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds(), time.nanos()).ok()
}

/// The end of a key's life, if it has one.
pub(super) fn end(time: Timestamp) -> Option<Timestamp> {
    (time.as_second() < NEVER).then_some(time)
}
