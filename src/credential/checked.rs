//! Private halves that were checked before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::{CredentialError, RsaKeyPair, SecretBytes};

/// More are not remembered: then it begins anew.
const MOST: usize = 10_000;

/// Fingerprints of private halves that were checked: the library proves with every read that the parts of a key belong
/// together, which was a third of all work of the simulation, and the same halves are read again in every pass. It holds
/// digests only.
#[derive(Default)]
pub struct CheckedHalves(Mutex<HashMap<Vec<u8>, String>>);

impl CheckedHalves {
    /// SHA-256 over the public half (`SubjectPublicKeyInfo`), lower-case hexadecimal.
    ///
    /// # Errors
    /// As [`RsaKeyPair::from_pkcs8_pem`].
    pub fn public_key_sha256(&self, pem: &SecretBytes) -> Result<String, CredentialError> {
        let name = digest(&SHA256, pem.expose()).as_ref().to_vec();
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&name) {
            return Ok(found.clone());
        }
        let found = RsaKeyPair::from_pkcs8_pem(pem)?.public_key_sha256();
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(name, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_half_is_checked_again() {
        let checked = CheckedHalves::default();
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = pair.to_pkcs8_pem().unwrap();
        for _ in 0..2 {
            assert_eq!(checked.public_key_sha256(&pem).unwrap(), pair.public_key_sha256());
        }
        let mut edited = pem.expose().to_vec();
        edited[200] = if edited[200] == b'A' { b'B' } else { b'A' };
        assert!(checked.public_key_sha256(&SecretBytes::new(edited)).is_err());
    }
}
