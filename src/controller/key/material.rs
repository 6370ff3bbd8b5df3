//! A credential in every form that an entry can ask for.

use jiff::Timestamp;

use crate::api::v1alpha1::EntryFormat;
use crate::controller::Error;
use crate::credential::{
    CredentialError, Expiry, GOOGLE_PKCS12_PASSWORD, GoogleCredentials, GoogleFileFields, Jwk, Jwks,
    RsaKeyPair, SecretBytes, self_signed, write_pkcs12,
};

/// What a staging Secret holds.
pub enum Raw {
    /// A credential as the backend gave it.
    File(SecretBytes),
    /// A private half that was made here (PKCS#8, PEM).
    Pair(SecretBytes),
}

/// The private key (PKCS#8, PEM) in the value of a data key. What is no credential file is given back as it is.
pub fn private_pem(value: SecretBytes) -> SecretBytes {
    match GoogleCredentials::parse(&value) {
        Ok(file) => file.private_key_pem().clone(),
        Err(_) => value,
    }
}

/// When a key works, as far as the backend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// From then.
    pub from: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
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
    /// Fingerprint of its public half.
    pub public_key_sha256: String,
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
    pub fn render(
        &self,
        format: EntryFormat,
        key_id: &str,
        email: &str,
        life: Life,
    ) -> Result<SecretBytes, Error> {
        Ok(match format {
            EntryFormat::GoogleCredentials => self.file.render()?,
            EntryFormat::Pkcs12 => {
                write_pkcs12(&self.pair, &self.certificate(email, life)?, GOOGLE_PKCS12_PASSWORD)?
            }
            EntryFormat::Pkcs12Password => SecretBytes::from(GOOGLE_PKCS12_PASSWORD.to_owned()),
            EntryFormat::PrivateKeyPem => self.pair.to_pkcs8_pem()?,
            EntryFormat::CertificatePem => SecretBytes::from(self.certificate(email, life)?),
            EntryFormat::PublicKeyPem => SecretBytes::from(self.pair.public_pem()),
            EntryFormat::PublicJwks => Jwks { keys: self.jwk(key_id).into_iter().collect() }.render(),
            EntryFormat::KeyId => SecretBytes::from(key_id.to_owned()),
            EntryFormat::Email => SecretBytes::from(email.to_owned()),
            EntryFormat::ProjectId => SecretBytes::from(self.file.project_id().to_owned()),
        })
    }

    /// Its public half.
    pub fn jwk(&self, key_id: &str) -> Option<Jwk> {
        Jwk::of(key_id, &self.pair.public_pem())
    }

    /// The same bytes each time: nothing in it is random.
    fn certificate(&self, email: &str, life: Life) -> Result<String, CredentialError> {
        let until = life.until.map_or(Expiry::Never, Expiry::from);
        // A name in a certificate has at most 64 characters (RFC 5280, ub-common-name).
        let name: String = email.chars().take(64).collect();
        self_signed(&self.pair, &name, life.from.unwrap_or(Timestamp::UNIX_EPOCH), until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{parse_certificate, read_pkcs12};

    fn rendered(material: &Material, format: EntryFormat, life: Life) -> SecretBytes {
        material.render(format, "k1", "billing@p.iam.gserviceaccount.com", life).unwrap()
    }

    #[test]
    fn every_form_with_the_private_half_gives_it_back() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = pair.to_pkcs8_pem().unwrap();
        let fields = GoogleFileFields {
            project_id: "p".to_owned(),
            private_key_id: "k1".to_owned(),
            client_email: "billing@p.iam.gserviceaccount.com".to_owned(),
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
            ..GoogleFileFields::default()
        };
        let material = Material::new(pair, fields).unwrap();
        for format in [EntryFormat::GoogleCredentials, EntryFormat::PrivateKeyPem] {
            assert!(format.holds_private_half());
            let read = private_pem(rendered(&material, format, Life::default()));
            assert!(read.expose() == pem.expose(), "{format:?}");
        }
        let file = rendered(&material, EntryFormat::Pkcs12, Life::default());
        let read = read_pkcs12(&file, GOOGLE_PKCS12_PASSWORD).unwrap();
        assert!(read.to_pkcs8_pem().unwrap().expose() == pem.expose());
        assert!(
            private_pem(file.clone()).expose() == file.expose(),
            "what others may have written is not read"
        );
        assert_eq!(rendered(&material, EntryFormat::ProjectId, Life::default()).expose(), b"p");
        assert_eq!(rendered(&material, EntryFormat::Pkcs12Password, Life::default()).expose(), b"notasecret");
    }

    #[test]
    fn the_certificate_is_valid_as_long_as_the_key_and_always_the_same() {
        let material =
            Material::new(RsaKeyPair::generate_2048().unwrap(), GoogleFileFields::default()).unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let life = Life { from: Some(at(1_800_000_000)), until: Some(at(1_800_003_600)) };
        let first = rendered(&material, EntryFormat::CertificatePem, life);
        assert!(first.expose() == rendered(&material, EntryFormat::CertificatePem, life).expose());
        let parsed = parse_certificate(first.expose()).unwrap();
        assert_eq!((Some(parsed.not_before), parsed.not_after), (life.from, Expiry::from(at(1_800_003_600))));
        let endless = rendered(&material, EntryFormat::CertificatePem, Life::default());
        assert_eq!(parse_certificate(endless.expose()).unwrap().not_after, Expiry::Never);
    }
}
