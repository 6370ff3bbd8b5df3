//! Key pairs, certificates and the credential files that clients read.
//!
//! Private material lives in [`SecretBytes`] or [`RsaKeyPair`] only: neither can be printed, logged or
//! serialised, and no error of this module carries any of it.

mod checked;
mod disruptive_file;
mod error;
mod expiry;
mod google_file;
mod jwks;
mod jwt;
mod key_pair;
mod pkcs12;
mod secret_bytes;
mod x509;

pub use checked::CheckedHalves;
pub use disruptive_file::{DisruptiveCredentials, DisruptiveFields, shared_secret_sha256};
pub use error::CredentialError;
pub use expiry::Expiry;
pub use google_file::{GoogleCredentials, GoogleFileFields};
pub use jwks::{Jwk, Jwks};
pub use jwt::{
    ASSERTION_BACKDATE, ASSERTION_MAX_LIFETIME, bearer_assertion, shared_secret_assertion, sign_jwt,
};
pub use key_pair::{RsaKeyPair, spki_pem, spki_sha256};
pub use pkcs12::{GOOGLE_PKCS12_PASSWORD, read_pkcs12, write_pkcs12};
pub use secret_bytes::SecretBytes;
pub use x509::{ParsedCertificate, parse_certificate, self_signed};

/// The parts of a credential file that are not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFields {
    /// Of Google's.
    Google(GoogleFileFields),
    /// Of Disruptive Technologies'.
    Disruptive(DisruptiveFields),
}

impl FileFields {
    /// The key's id.
    pub fn key_id(&self) -> &str {
        match self {
            Self::Google(fields) => &fields.private_key_id,
            Self::Disruptive(fields) => &fields.key_id,
        }
    }
}
