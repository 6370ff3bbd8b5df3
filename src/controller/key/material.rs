//! A credential in every form that an entry can ask for.

use crate::api::v1alpha1::EntryFormat;
use crate::controller::Error;
use crate::credential::{GoogleCredentials, GoogleFileFields, RsaKeyPair, SecretBytes};

/// A private half and what belongs to it, ready to be written in any form.
pub struct Material {
    file: GoogleCredentials,
    pair: RsaKeyPair,
}

impl Material {
    /// From a private half that was read back: the parts that are not secret are made anew.
    pub fn new(pair: RsaKeyPair, fields: GoogleFileFields) -> Result<Self, Error> {
        let pem = pair.to_pkcs8_pem()?;
        Ok(Self { file: GoogleCredentials::new(fields, pem), pair })
    }

    /// From a raw credential as the backend gave it.
    pub fn parse(raw: &SecretBytes) -> Result<Self, Error> {
        let file = GoogleCredentials::parse(raw)?;
        let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem())?;
        Ok(Self { file, pair })
    }

    /// One entry of the Secret.
    pub fn render(&self, format: EntryFormat, key_id: &str, email: &str) -> Result<SecretBytes, Error> {
        Ok(match format {
            EntryFormat::GoogleCredentials => self.file.render()?,
            EntryFormat::PrivateKeyPem => self.pair.to_pkcs8_pem()?,
            EntryFormat::PublicKeyPem => SecretBytes::from(self.pair.public_pem()),
            EntryFormat::KeyId => SecretBytes::from(key_id.to_owned()),
            EntryFormat::Email => SecretBytes::from(email.to_owned()),
        })
    }
}
