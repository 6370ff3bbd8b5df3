//! A credential in every form that an entry can ask for.

use crate::api::v1alpha1::EntryFormat;
use crate::controller::Error;
use crate::credential::{GoogleCredentials, GoogleFileFields, RsaKeyPair, SecretBytes};

/// What a staging Secret holds.
pub enum Raw {
    /// A credential as the backend gave it.
    File(SecretBytes),
    /// A private half that was made here (PKCS#8, PEM).
    Pair(SecretBytes),
}

/// A private half and what belongs to it, ready to be written in any form.
pub struct Material {
    file: GoogleCredentials,
    pair: RsaKeyPair,
}

/// A private half as a Secret holds it, and the parts of its file that are not secret.
pub struct Stored {
    /// PKCS#8, PEM.
    pub pem: SecretBytes,
    /// Made anew: an edit of theirs is what a repair mends.
    pub fields: GoogleFileFields,
}

impl Stored {
    /// Ready to be written.
    pub fn material(&self) -> Result<Material, Error> {
        Material::new(RsaKeyPair::from_pkcs8_pem(&self.pem)?, self.fields.clone())
    }
}

impl Material {
    /// From a private half that was read back.
    fn new(pair: RsaKeyPair, fields: GoogleFileFields) -> Result<Self, Error> {
        let pem = pair.to_pkcs8_pem()?;
        Ok(Self { file: GoogleCredentials::new(fields, pem), pair })
    }

    /// From what was staged. `fields` are the parts of a pair's file that are not secret.
    pub fn staged(raw: &Raw, fields: impl FnOnce() -> GoogleFileFields) -> Result<Self, Error> {
        match raw {
            Raw::File(raw) => {
                let file = GoogleCredentials::parse(raw)?;
                let pair = RsaKeyPair::from_pkcs8_pem(file.private_key_pem())?;
                Ok(Self { file, pair })
            }
            Raw::Pair(pem) => Self::new(RsaKeyPair::from_pkcs8_pem(pem)?, fields()),
        }
    }

    /// The credential file that clients read.
    pub fn file(&self) -> Result<SecretBytes, Error> {
        Ok(self.file.render()?)
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
