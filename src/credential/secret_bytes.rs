//! Bytes that must not leak.

use zeroize::Zeroizing;

use super::CredentialError;

/// Secret material. It is overwritten when dropped, and on purpose has no `Debug`, `Display`, `Serialize` or
/// `PartialEq`: what cannot be formatted cannot reach a log.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over; no copy is left behind.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the moment of their use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// [`CredentialError::NotUtf8`]; it does not say where, for that would describe the secret.
    pub fn expose_str(&self) -> Result<&str, CredentialError> {
        std::str::from_utf8(&self.0).map_err(|_| CredentialError::NotUtf8)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let secret = SecretBytes::from("hush".to_owned());
        assert_eq!(secret.expose(), b"hush");
        assert_eq!(secret.expose_str().unwrap(), "hush");
        assert_eq!(secret.len(), 4);
        assert!(!secret.is_empty());
        assert!(SecretBytes::new(Vec::new()).is_empty());
    }

    #[test]
    fn refuses_text_that_is_none() {
        let secret = SecretBytes::new(vec![0xff, 0xfe]);
        assert!(matches!(secret.expose_str(), Err(CredentialError::NotUtf8)));
    }
}
