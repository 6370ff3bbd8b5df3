//! RSA key pairs: made and used for signing by aws-lc-rs, checked elsewhere by another library.
//!
//! That library takes no pair below 2048 bits. Pairs of 1024, which only old clients ask for, are made and used by the crate
//! `rsa` instead, whose signatures are blinded.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use rsa::pkcs1::EncodeRsaPublicKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};
use x509_cert::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use super::{CredentialError, SecretBytes};

/// The size that the crate `rsa` is used for.
const SMALL_BITS: usize = 1024;

const PRIVATE_KEY_LABEL: &str = "PRIVATE KEY";
const PUBLIC_KEY_LABEL: &str = "PUBLIC KEY";

/// An RSA key pair. It has no `Debug`; both libraries cleanse the private half on drop.
pub struct RsaKeyPair {
    engine: Engine,
    spki_der: Vec<u8>,
    pkcs1_der: Vec<u8>,
    public_pem: String,
}

/// Who holds the private half.
enum Engine {
    /// aws-lc: 2048 bits and more.
    Usual(KeyPair),
    /// The crate `rsa`: 1024 bits.
    Small(Box<RsaPrivateKey>),
}

impl RsaKeyPair {
    /// Makes a pair of 2048 bits with the system's random source.
    ///
    /// Blocks for 50 to 500 ms: asynchronous callers go through `spawn_blocking`.
    ///
    /// # Errors
    /// [`CredentialError::Generate`] if the random source or the generator fails.
    pub fn generate_2048() -> Result<Self, CredentialError> {
        Self::usual(KeyPair::generate(KeySize::Rsa2048).map_err(CredentialError::Generate)?)
    }

    /// Makes a pair of 1024 bits, which nothing new should use. Blocks like [`Self::generate_2048`].
    ///
    /// # Errors
    /// [`CredentialError::GenerateSmall`] if the random source or the generator fails.
    pub fn generate_1024() -> Result<Self, CredentialError> {
        Self::small(RsaPrivateKey::new(&mut OsRng, SMALL_BITS).map_err(CredentialError::GenerateSmall)?)
    }

    /// Reads an unencrypted PKCS#8 PEM (`BEGIN PRIVATE KEY`) of 1024 bits, or of 2048 to 8192.
    ///
    /// # Errors
    /// [`CredentialError::Pem`], [`CredentialError::PemLabel`], [`CredentialError::PrivateKeyRejected`].
    pub fn from_pkcs8_pem(text: &SecretBytes) -> Result<Self, CredentialError> {
        let (label, der) = pem::decode_vec(text.expose())
            .map_err(|source| CredentialError::Pem { what: "private key", source })?;
        let der = Zeroizing::new(der);
        if label != PRIVATE_KEY_LABEL {
            return Err(CredentialError::PemLabel { what: "private key", expected: PRIVATE_KEY_LABEL });
        }
        Self::from_pkcs8_der(&SecretBytes::new(der.to_vec()))
    }

    /// Reads an unencrypted PKCS#8 document of 1024 bits, or of 2048 to 8192.
    ///
    /// # Errors
    /// [`CredentialError::PrivateKeyRejected`].
    pub fn from_pkcs8_der(der: &SecretBytes) -> Result<Self, CredentialError> {
        match KeyPair::from_pkcs8(der.expose()) {
            Ok(pair) => Self::usual(pair),
            Err(rejected) => match RsaPrivateKey::from_pkcs8_der(der.expose()) {
                Ok(small) if small.n().bits() == SMALL_BITS => Self::small(small),
                Ok(_) | Err(_) => Err(CredentialError::PrivateKeyRejected(rejected)),
            },
        }
    }

    fn usual(pair: KeyPair) -> Result<Self, CredentialError> {
        let der: PublicKeyX509Der<'_> = pair
            .public_key()
            .as_der()
            .map_err(|source| CredentialError::Encode { what: "public key", source })?;
        let spki_der = der.as_ref().to_vec();
        let pkcs1_der = pair.public_key().as_ref().to_vec();
        Self::new(Engine::Usual(pair), spki_der, pkcs1_der)
    }

    fn small(pair: RsaPrivateKey) -> Result<Self, CredentialError> {
        let public = RsaPublicKey::from(&pair);
        let spki_der = public
            .to_public_key_der()
            .map_err(rsa::pkcs8::Error::from)
            .map_err(|source| CredentialError::EncodeSmall { what: "public key", source: source.into() })?;
        let pkcs1_der = public
            .to_pkcs1_der()
            .map_err(|source| CredentialError::EncodeSmall { what: "public key", source: source.into() })?;
        Self::new(Engine::Small(Box::new(pair)), spki_der.into_vec(), pkcs1_der.into_vec())
    }

    fn new(engine: Engine, spki_der: Vec<u8>, pkcs1_der: Vec<u8>) -> Result<Self, CredentialError> {
        let public_pem = spki_pem(&spki_der)?;
        Ok(Self { engine, spki_der, pkcs1_der, public_pem })
    }

    /// The pair as PKCS#8 PEM: `BEGIN PRIVATE KEY`, lines of 64, a newline at the end.
    ///
    /// # Errors
    /// [`CredentialError::Encode`] or [`CredentialError::Pem`] if the library cannot write it.
    pub fn to_pkcs8_pem(&self) -> Result<SecretBytes, CredentialError> {
        pem::encode_string(PRIVATE_KEY_LABEL, LineEnding::LF, self.to_pkcs8_der()?.expose())
            .map(SecretBytes::from)
            .map_err(|source| CredentialError::Pem { what: "private key", source })
    }

    /// The pair as a PKCS#8 document.
    ///
    /// # Errors
    /// [`CredentialError::Encode`] if the library cannot write it.
    pub fn to_pkcs8_der(&self) -> Result<SecretBytes, CredentialError> {
        match &self.engine {
            Engine::Usual(pair) => {
                let der: Pkcs8V1Der<'_> = pair
                    .as_der()
                    .map_err(|source| CredentialError::Encode { what: "private key", source })?;
                Ok(SecretBytes::new(der.as_ref().to_vec()))
            }
            Engine::Small(pair) => {
                let der = pair.to_pkcs8_der().map_err(|source| CredentialError::EncodeSmall {
                    what: "private key",
                    source: source.into(),
                })?;
                Ok(SecretBytes::new(der.as_bytes().to_vec()))
            }
        }
    }

    /// The public half as DER of an X.509 `SubjectPublicKeyInfo`.
    pub fn public_spki_der(&self) -> Vec<u8> {
        self.spki_der.clone()
    }

    /// The public half as PEM (`BEGIN PUBLIC KEY`).
    pub fn public_pem(&self) -> String {
        self.public_pem.clone()
    }

    /// SHA-256 over [`Self::public_spki_der`], lower-case hexadecimal.
    pub fn public_key_sha256(&self) -> String {
        spki_sha256(&self.spki_der)
    }

    /// The PKCS#1 `RSAPublicKey` DER, which certificates embed.
    pub(super) fn public_pkcs1_der(&self) -> &[u8] {
        &self.pkcs1_der
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256.
    ///
    /// # Errors
    /// [`CredentialError::Sign`] if the library refuses.
    pub fn sign_rs256(&self, message: &[u8]) -> Result<Vec<u8>, CredentialError> {
        match &self.engine {
            Engine::Usual(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(CredentialError::Sign)?;
                Ok(signature)
            }
            Engine::Small(pair) => {
                let signer = SigningKey::<Sha256>::new(RsaPrivateKey::clone(pair));
                let signature =
                    signer.try_sign_with_rng(&mut OsRng, message).map_err(CredentialError::SignSmall)?;
                Ok(signature.to_vec())
            }
        }
    }
}

/// SHA-256 over a DER `SubjectPublicKeyInfo`, lower-case hexadecimal: how a public key is named in the ledger.
pub fn spki_sha256(spki_der: &[u8]) -> String {
    hex::encode(digest(&SHA256, spki_der))
}

/// A DER `SubjectPublicKeyInfo` as PEM (`BEGIN PUBLIC KEY`).
///
/// # Errors
/// [`CredentialError::Pem`] if it is too long to be written.
pub fn spki_pem(spki_der: &[u8]) -> Result<String, CredentialError> {
    pem::encode_string(PUBLIC_KEY_LABEL, LineEnding::LF, spki_der)
        .map_err(|source| CredentialError::Pem { what: "public key", source })
}

#[cfg(test)]
mod tests {
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::sha2::Digest as _;
    use rsa::signature::Verifier as _;

    use super::*;

    #[test]
    fn the_rsa_crate_accepts_its_signatures_and_only_those() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let public = RsaPublicKey::from_public_key_der(&pair.public_spki_der()).unwrap();
        assert_eq!(public.size(), 256);
        let verifier = VerifyingKey::<Sha256>::new(public);
        let signature = Signature::try_from(pair.sign_rs256(b"wheel").unwrap().as_slice()).unwrap();
        verifier.verify(b"wheel", &signature).unwrap();
        assert!(verifier.verify(b"wheels", &signature).is_err());
    }

    #[test]
    fn pem_of_both_halves_is_read_by_the_rsa_crate() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = pair.to_pkcs8_pem().unwrap();
        let text = pem.expose_str().unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(text.ends_with("-----END PRIVATE KEY-----\n"));
        let private = RsaPrivateKey::from_pkcs8_pem(text).unwrap();
        let spki = private.to_public_key().to_public_key_der().unwrap();
        assert_eq!(spki.as_bytes(), pair.public_spki_der());
        let public = RsaPublicKey::from_public_key_pem(&pair.public_pem()).unwrap();
        assert_eq!(public, private.to_public_key());
        assert_eq!(pair.public_key_sha256(), hex::encode(Sha256::digest(spki.as_bytes())));
    }

    #[test]
    fn a_pair_survives_its_own_pem() {
        for pair in [RsaKeyPair::generate_2048().unwrap(), RsaKeyPair::generate_1024().unwrap()] {
            let again = RsaKeyPair::from_pkcs8_pem(&pair.to_pkcs8_pem().unwrap()).unwrap();
            assert_eq!(pair.public_key_sha256(), again.public_key_sha256());
        }
    }

    #[test]
    fn a_small_pair_signs_and_shows_its_public_half_in_both_forms() {
        let pair = RsaKeyPair::generate_1024().unwrap();
        let public = RsaPublicKey::from_public_key_der(&pair.public_spki_der()).unwrap();
        assert_eq!(public.size(), 128);
        assert_eq!(public.to_pkcs1_der().unwrap().as_bytes(), pair.public_pkcs1_der());
        let signature = Signature::try_from(pair.sign_rs256(b"wheel").unwrap().as_slice()).unwrap();
        VerifyingKey::<Sha256>::new(public).verify(b"wheel", &signature).unwrap();
    }

    #[test]
    fn refuses_what_is_no_pkcs8_key() {
        let garbage = SecretBytes::from("not a key".to_owned());
        assert!(matches!(RsaKeyPair::from_pkcs8_pem(&garbage), Err(CredentialError::Pem { .. })));
        let pair = RsaKeyPair::generate_2048().unwrap();
        let public = SecretBytes::from(pair.public_pem());
        assert!(matches!(RsaKeyPair::from_pkcs8_pem(&public), Err(CredentialError::PemLabel { .. })));
        let wrong = pem::encode_string(PRIVATE_KEY_LABEL, LineEnding::LF, &pair.public_spki_der()).unwrap();
        let wrong = SecretBytes::from(wrong);
        assert!(matches!(RsaKeyPair::from_pkcs8_pem(&wrong), Err(CredentialError::PrivateKeyRejected(_))));
    }
}
