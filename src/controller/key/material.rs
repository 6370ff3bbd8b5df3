//! A credential in every form that an entry can ask for.

use jiff::Timestamp;

use crate::api::v1alpha1::EntryFormat;
use crate::controller::Error;
use crate::credential::{
    CheckedHalves, CredentialError, DisruptiveCredentials, Expiry, FileFields, GOOGLE_PKCS12_PASSWORD,
    GoogleCredentials, GoogleFileFields, Jwk, Jwks, RsaKeyPair, SecretBytes, self_signed,
    shared_secret_sha256, write_pkcs12,
};

/// What a staging Secret holds.
pub enum Raw {
    /// A credential as the backend gave it.
    File(SecretBytes),
    /// A private half that was made here (PKCS#8, PEM).
    Pair(SecretBytes),
}

/// The part of a credential that is secret.
#[derive(Clone)]
pub enum Half {
    /// A private key: PKCS#8, PEM.
    Pem(SecretBytes),
    /// A secret that the backend has, too.
    Shared(SecretBytes),
}

impl Half {
    /// Whether it is of the kind that the backend of these fields has. An edit can put another's in its place.
    pub fn fits(&self, fields: &FileFields) -> bool {
        matches!(
            (self, fields),
            (Self::Pem(_), FileFields::Google(_)) | (Self::Shared(_), FileFields::Disruptive(_))
        )
    }

    /// What the value of a data key holds, and its fingerprint: that of the public half, or of the shared secret. `alone`: the
    /// entry holds a shared secret and nothing else, which could be any text.
    pub fn read(value: SecretBytes, alone: bool, halves: &CheckedHalves) -> Option<(Self, String)> {
        let shared = if alone {
            Some(value.clone())
        } else {
            DisruptiveCredentials::parse(&value).ok().map(|file| file.secret().clone())
        };
        if let Some(secret) = shared {
            let fingerprint = shared_secret_sha256(&secret).ok()?;
            return Some((Self::Shared(secret), fingerprint));
        }
        let pem = match GoogleCredentials::parse(&value) {
            Ok(file) => file.private_key_pem().clone(),
            Err(_) => value,
        };
        let fingerprint = halves.public_key_sha256(&pem).ok()?;
        Some((Self::Pem(pem), fingerprint))
    }
}

/// The key that a credential file names, and the fingerprint of its private half.
pub fn named_key(file: &SecretBytes, halves: &CheckedHalves) -> Option<(String, String)> {
    if let Ok(file) = DisruptiveCredentials::parse(file) {
        return Some((file.key_id().to_owned(), shared_secret_sha256(file.secret()).ok()?));
    }
    let file = GoogleCredentials::parse(file).ok()?;
    let fingerprint = halves.public_key_sha256(file.private_key_pem()).ok()?;
    Some((file.private_key_id().to_owned(), fingerprint))
}

/// When a key works, as far as the backend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// From then.
    pub from: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
}

/// A private half and what belongs to it, ready to be written in any form of its backend.
pub enum Material {
    /// Of Google.
    Google {
        /// The file that its clients read.
        file: GoogleCredentials,
        /// The pair in it.
        pair: Box<RsaKeyPair>,
    },
    /// Of Disruptive Technologies.
    Disruptive {
        /// The file that its client reads.
        file: DisruptiveCredentials,
        /// Project of the account.
        project: String,
    },
}

/// A private half as a Secret holds it, and the parts of its file that are not secret.
pub struct Stored {
    /// The private half.
    pub half: Half,
    /// Its fingerprint: that of its public half, or of the shared secret.
    pub fingerprint: String,
    /// Made anew: an edit of theirs is what a repair mends.
    pub fields: FileFields,
}

impl Stored {
    /// Ready to be written. An edit can put the half of one backend where that of another was.
    pub fn material(&self) -> Result<Material, Error> {
        match (&self.half, &self.fields) {
            (Half::Pem(pem), FileFields::Google(fields)) => Material::of_pem(pem, fields.clone()),
            (Half::Shared(secret), FileFields::Disruptive(fields)) => {
                Ok(Material::disruptive(DisruptiveCredentials::new(fields.clone(), secret.clone())))
            }
            _ => Err(Error::Missing { step: "publish", what: "a private half of this backend" }),
        }
    }
}

impl Material {
    /// From a private key that was read back.
    fn of_pem(pem: &SecretBytes, fields: GoogleFileFields) -> Result<Self, Error> {
        let pair = RsaKeyPair::from_pkcs8_pem(pem)?;
        let pem = pair.to_pkcs8_pem()?;
        Ok(Self::Google { file: GoogleCredentials::new(fields, pem), pair: Box::new(pair) })
    }

    fn disruptive(file: DisruptiveCredentials) -> Self {
        // An account's e-mail is ID@PROJECT.serviceaccount.d21s.com.
        let host = file.email().split_once('@').map_or("", |(_, host)| host);
        let project = host.split_once('.').map_or(host, |(project, _)| project).to_owned();
        Self::Disruptive { file, project }
    }

    /// From what was staged. `fields` are the parts of a pair's file that are not secret.
    pub fn staged(raw: &Raw, fields: impl FnOnce() -> FileFields) -> Result<Self, Error> {
        match raw {
            Raw::File(raw) => match DisruptiveCredentials::parse(raw) {
                Ok(file) => Ok(Self::disruptive(file)),
                Err(_) => {
                    let file = GoogleCredentials::parse(raw)?;
                    let pair = Box::new(RsaKeyPair::from_pkcs8_pem(file.private_key_pem())?);
                    Ok(Self::Google { file, pair })
                }
            },
            Raw::Pair(pem) => match fields() {
                FileFields::Google(fields) => Material::of_pem(pem, fields),
                FileFields::Disruptive(_) => {
                    Err(Error::Missing { step: "publish", what: "a private half of this backend" })
                }
            },
        }
    }

    /// The credential file that clients read.
    pub fn file(&self) -> Result<SecretBytes, Error> {
        Ok(match self {
            Self::Google { file, .. } => file.render()?,
            Self::Disruptive { file, .. } => file.render()?,
        })
    }

    /// One entry of the Secret.
    pub fn render(
        &self,
        format: EntryFormat,
        key_id: &str,
        email: &str,
        life: Life,
    ) -> Result<SecretBytes, Error> {
        Ok(match (self, format) {
            (_, EntryFormat::KeyId) => SecretBytes::from(key_id.to_owned()),
            (_, EntryFormat::Email) => SecretBytes::from(email.to_owned()),
            (Self::Google { file, .. }, EntryFormat::GoogleCredentials) => file.render()?,
            (Self::Google { file, .. }, EntryFormat::ProjectId) => {
                SecretBytes::from(file.project_id().to_owned())
            }
            (Self::Google { file, .. }, EntryFormat::TokenEndpoint) => {
                SecretBytes::from(file.token_uri().to_owned())
            }
            (Self::Google { pair, .. }, EntryFormat::Pkcs12) => {
                write_pkcs12(pair, &certificate(pair, email, life)?, GOOGLE_PKCS12_PASSWORD)?
            }
            (Self::Google { .. }, EntryFormat::Pkcs12Password) => {
                SecretBytes::from(GOOGLE_PKCS12_PASSWORD.to_owned())
            }
            (Self::Google { pair, .. }, EntryFormat::PrivateKeyPem) => pair.to_pkcs8_pem()?,
            (Self::Google { pair, .. }, EntryFormat::CertificatePem) => {
                SecretBytes::from(certificate(pair, email, life)?)
            }
            (Self::Google { pair, .. }, EntryFormat::PublicKeyPem) => SecretBytes::from(pair.public_pem()),
            (Self::Google { .. }, EntryFormat::PublicJwks) => {
                Jwks { keys: self.jwk(key_id).into_iter().collect() }.render()
            }
            (Self::Disruptive { file, .. }, EntryFormat::DisruptiveCredentials) => file.render()?,
            (Self::Disruptive { file, .. }, EntryFormat::Secret) => file.secret().clone(),
            (Self::Disruptive { file, .. }, EntryFormat::TokenEndpoint) => {
                SecretBytes::from(file.token_endpoint().to_owned())
            }
            (Self::Disruptive { project, .. }, EntryFormat::ProjectId) => SecretBytes::from(project.clone()),
            // The plan refuses what the backend does not have.
            _ => return Err(Error::Missing { step: "publish", what: "this form of a credential" }),
        })
    }

    /// Its public half, where it has one.
    pub fn jwk(&self, key_id: &str) -> Option<Jwk> {
        match self {
            Self::Google { pair, .. } => Jwk::of(key_id, &pair.public_pem()),
            Self::Disruptive { .. } => None,
        }
    }
}

/// The same bytes each time: nothing in it is random.
fn certificate(pair: &RsaKeyPair, email: &str, life: Life) -> Result<String, CredentialError> {
    let until = life.until.map_or(Expiry::Never, Expiry::from);
    // A name in a certificate has at most 64 characters (RFC 5280, ub-common-name).
    let name: String = email.chars().take(64).collect();
    self_signed(pair, &name, life.from.unwrap_or(Timestamp::UNIX_EPOCH), until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{DisruptiveFields, parse_certificate, read_pkcs12};

    fn rendered(material: &Material, format: EntryFormat, life: Life) -> SecretBytes {
        material.render(format, "k1", "billing@p.iam.gserviceaccount.com", life).unwrap()
    }

    #[test]
    fn every_form_with_the_private_half_gives_it_back() {
        let halves = CheckedHalves::default();
        let pem = RsaKeyPair::generate_2048().unwrap().to_pkcs8_pem().unwrap();
        let fields = GoogleFileFields {
            project_id: "p".to_owned(),
            private_key_id: "k1".to_owned(),
            client_email: "billing@p.iam.gserviceaccount.com".to_owned(),
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
            ..GoogleFileFields::default()
        };
        let material = Material::of_pem(&pem, fields).unwrap();
        for format in [EntryFormat::GoogleCredentials, EntryFormat::PrivateKeyPem] {
            assert!(format.holds_private_half());
            let value = rendered(&material, format, Life::default());
            let Some((Half::Pem(read), _)) = Half::read(value, false, &halves) else { panic!("{format:?}") };
            assert!(read.expose() == pem.expose(), "{format:?}");
        }
        let file = rendered(&material, EntryFormat::Pkcs12, Life::default());
        let read = read_pkcs12(&file, GOOGLE_PKCS12_PASSWORD).unwrap();
        assert!(read.to_pkcs8_pem().unwrap().expose() == pem.expose());
        assert!(Half::read(file, false, &halves).is_none(), "what others may have written is not read");
        assert_eq!(rendered(&material, EntryFormat::ProjectId, Life::default()).expose(), b"p");
        assert_eq!(rendered(&material, EntryFormat::Pkcs12Password, Life::default()).expose(), b"notasecret");
    }

    #[test]
    fn the_certificate_is_valid_as_long_as_the_key_and_always_the_same() {
        let material = Material::of_pem(
            &RsaKeyPair::generate_2048().unwrap().to_pkcs8_pem().unwrap(),
            GoogleFileFields::default(),
        )
        .unwrap();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let life = Life { from: Some(at(1_800_000_000)), until: Some(at(1_800_003_600)) };
        let first = rendered(&material, EntryFormat::CertificatePem, life);
        assert!(first.expose() == rendered(&material, EntryFormat::CertificatePem, life).expose());
        let parsed = parse_certificate(first.expose()).unwrap();
        assert_eq!((Some(parsed.not_before), parsed.not_after), (life.from, Expiry::from(at(1_800_003_600))));
        let endless = rendered(&material, EntryFormat::CertificatePem, Life::default());
        assert_eq!(parse_certificate(endless.expose()).unwrap().not_after, Expiry::Never);
    }

    #[test]
    fn a_shared_secret_goes_into_every_form_of_its_own_and_into_no_other() {
        let (secret, halves) = (SecretBytes::from("5d".repeat(16)), CheckedHalves::default());
        let fields = DisruptiveFields {
            key_id: "k1".to_owned(),
            email: "c0kqf@p1.serviceaccount.d21s.com".to_owned(),
            token_endpoint: "https://id/token".to_owned(),
        };
        let fingerprint = shared_secret_sha256(&secret).unwrap();
        let stored = Stored {
            half: Half::Shared(secret.clone()),
            fingerprint: fingerprint.clone(),
            fields: FileFields::Disruptive(fields.clone()),
        };
        let material = stored.material().unwrap();
        for (format, alone) in [(EntryFormat::DisruptiveCredentials, false), (EntryFormat::Secret, true)] {
            assert!(format.holds_private_half());
            let value = rendered(&material, format, Life::default());
            let Some((Half::Shared(read), found)) = Half::read(value, alone, &halves) else {
                panic!("{format:?}")
            };
            assert!(read.expose() == secret.expose() && found == fingerprint, "{format:?}");
        }
        assert_eq!(rendered(&material, EntryFormat::ProjectId, Life::default()).expose(), b"p1");
        assert_eq!(
            rendered(&material, EntryFormat::TokenEndpoint, Life::default()).expose(),
            b"https://id/token"
        );
        assert!(material.render(EntryFormat::GoogleCredentials, "k1", "a@p", Life::default()).is_err());
        assert_eq!(
            named_key(&material.file().unwrap(), &halves),
            Some(("k1".to_owned(), fingerprint.clone()))
        );
        // A text that is no secret of ours is none because it stands anywhere.
        assert!(Half::read(secret, false, &halves).is_none());
        let pem = RsaKeyPair::generate_2048().unwrap().to_pkcs8_pem().unwrap();
        let other = Stored { half: Half::Pem(pem), fingerprint, fields: FileFields::Disruptive(fields) };
        assert!(other.material().is_err());
    }
}
