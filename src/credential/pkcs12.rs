//! PKCS#12 files (RFC 7292): a private key and its certificate under a password.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12ImportPolicy, PrivateKey,
    PrivateKeyChain,
};
use x509_cert::der::pem;

use super::{CredentialError, RsaKeyPair, SecretBytes};

/// The password of every PKCS#12 file that Google hands out.
pub const GOOGLE_PKCS12_PASSWORD: &str = "notasecret";

/// The name of the key in the file; Google's Java clients look it up by this one.
const FRIENDLY_NAME: &str = "privatekey";

/// How often the password is hashed. The file is no safer than what it lies beside; OpenSSL writes as many.
const ITERATIONS: u32 = 2048;

/// Writes a file with a pair and its certificate (PEM): AES-256 with PBKDF2, MAC with SHA-256. Python's `cryptography` and
/// OpenSSL 3 read that without their legacy algorithms.
///
/// # Errors
/// [`CredentialError::Pem`] for a certificate that is not PEM, [`CredentialError::Pkcs12Write`].
pub fn write_pkcs12(
    pair: &RsaKeyPair,
    certificate_pem: &str,
    password: &str,
) -> Result<SecretBytes, CredentialError> {
    let (_, certificate) = pem::decode_vec(certificate_pem.as_bytes())
        .map_err(|source| CredentialError::Pem { what: "certificate", source })?;
    let certificate = Certificate::from_der(&certificate).map_err(CredentialError::Pkcs12Write)?;
    let key = PrivateKey::from_der(pair.to_pkcs8_der()?.expose()).map_err(CredentialError::Pkcs12Write)?;
    let mut store = KeyStore::new();
    // What ties the certificate to its key; any bytes do.
    let chain = PrivateKeyChain::new(FRIENDLY_NAME, key, [certificate]);
    store.add_entry(FRIENDLY_NAME, KeyStoreEntry::PrivateKeyChain(chain));
    let written = store
        .writer(password)
        .encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256)
        .encryption_iterations(ITERATIONS)
        .mac_algorithm(MacAlgorithm::HmacSha256)
        .mac_iterations(ITERATIONS)
        .write();
    written.map(SecretBytes::new).map_err(CredentialError::Pkcs12Write)
}

/// Reads the first private key of a file. Not for what others may have written: a file can ask for a million rounds, or a
/// gigabyte.
///
/// # Errors
/// [`CredentialError::Pkcs12Read`] for another file or another password, [`CredentialError::Pkcs12Empty`],
/// [`CredentialError::PrivateKeyRejected`].
pub fn read_pkcs12(file: &SecretBytes, password: &str) -> Result<RsaKeyPair, CredentialError> {
    let store = KeyStore::from_pkcs12(file.expose(), password, Pkcs12ImportPolicy::Relaxed)
        .map_err(CredentialError::Pkcs12Read)?;
    let (_, chain) = store.private_key_chain().ok_or(CredentialError::Pkcs12Empty)?;
    RsaKeyPair::from_pkcs8_der(&SecretBytes::new(chain.key().as_der().to_vec()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::credential::{Expiry, self_signed};

    fn written(pair: &RsaKeyPair) -> SecretBytes {
        let certificate = self_signed(pair, "unused", Timestamp::UNIX_EPOCH, Expiry::Never).unwrap();
        write_pkcs12(pair, &certificate, GOOGLE_PKCS12_PASSWORD).unwrap()
    }

    #[test]
    fn a_file_gives_its_pair_back() {
        for pair in [RsaKeyPair::generate_2048().unwrap(), RsaKeyPair::generate_1024().unwrap()] {
            let read = read_pkcs12(&written(&pair), GOOGLE_PKCS12_PASSWORD).unwrap();
            assert_eq!(read.public_key_sha256(), pair.public_key_sha256());
        }
    }

    #[test]
    fn another_password_and_other_files_are_refused() {
        let file = written(&RsaKeyPair::generate_2048().unwrap());
        assert!(matches!(read_pkcs12(&file, "secret"), Err(CredentialError::Pkcs12Read(_))));
        for junk in [&b""[..], b"junk", file.expose().get(..200).unwrap()] {
            let read = read_pkcs12(&SecretBytes::new(junk.to_vec()), GOOGLE_PKCS12_PASSWORD);
            assert!(matches!(read, Err(CredentialError::Pkcs12Read(_))));
        }
    }
}
