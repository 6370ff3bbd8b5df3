//! Public halves as JSON Web Keys, for whoever checks signatures (RFC 7517, RFC 7518 section 6.3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};
use serde::{Deserialize, Serialize};

use super::{SecretBytes, spki_sha256};

/// A public key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    kty: String,
    alg: String,
    #[serde(rename = "use")]
    usage: String,
    /// Id of the key at its backend.
    pub kid: String,
    n: String,
    e: String,
}

impl Jwk {
    /// Of an RSA public key (SPKI, PEM); none of another text.
    pub fn of(kid: &str, public_pem: &str) -> Option<Self> {
        Some(Self::of_key(kid, &RsaPublicKey::from_public_key_pem(public_pem).ok()?))
    }

    /// The same of an SPKI in DER.
    pub fn of_der(kid: &str, spki_der: &[u8]) -> Option<Self> {
        Some(Self::of_key(kid, &RsaPublicKey::from_public_key_der(spki_der).ok()?))
    }

    fn of_key(kid: &str, public: &RsaPublicKey) -> Self {
        Self {
            kty: "RSA".to_owned(),
            alg: "RS256".to_owned(),
            usage: "sig".to_owned(),
            kid: kid.to_owned(),
            n: URL_SAFE_NO_PAD.encode(public.n().to_bytes_be()),
            e: URL_SAFE_NO_PAD.encode(public.e().to_bytes_be()),
        }
    }

    /// SHA-256 of its SPKI, in hex; none if it is no RSA key.
    pub fn public_key_sha256(&self) -> Option<String> {
        let number =
            |text: &str| URL_SAFE_NO_PAD.decode(text).ok().map(|bytes| BigUint::from_bytes_be(&bytes));
        let public = RsaPublicKey::new(number(&self.n)?, number(&self.e)?).ok()?;
        Some(spki_sha256(public.to_public_key_der().ok()?.as_bytes()))
    }
}

/// A set of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Its keys.
    pub keys: Vec<Jwk>,
}

impl Jwks {
    /// What a text holds; nothing if it is no such set.
    pub fn parse(text: &[u8]) -> Self {
        serde_json::from_slice(text).unwrap_or_default()
    }

    /// The same bytes for the same keys, in whatever order they came.
    pub fn render(mut self) -> SecretBytes {
        self.keys.sort_by(|a, b| a.kid.cmp(&b.kid));
        SecretBytes::from(serde_json::to_string(&self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::RsaKeyPair;

    #[test]
    fn a_set_is_read_back_in_one_order() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = pair.public_pem();
        assert_eq!(Jwk::of("b", &pem).unwrap().public_key_sha256(), Some(pair.public_key_sha256()));
        let (one, two) = (Jwk::of("b", &pem).unwrap(), Jwk::of("a", &pem).unwrap());
        assert_eq!(Jwk::of_der("b", &pair.public_spki_der()), Some(one.clone()));
        let text = Jwks { keys: vec![one.clone(), two.clone()] }.render();
        assert!(text.expose() == Jwks { keys: vec![two.clone(), one.clone()] }.render().expose());
        assert_eq!(Jwks::parse(text.expose()).keys, [two, one]);
        let shown: serde_json::Value = serde_json::from_slice(text.expose()).unwrap();
        assert_eq!(
            (shown["keys"][0]["use"].as_str(), shown["keys"][0]["e"].as_str()),
            (Some("sig"), Some("AQAB"))
        );
    }

    #[test]
    fn what_is_no_set_holds_nothing() {
        for text in ["", "{}", "[]", r#"{"keys":[{"kid":"a"}]}"#, r#"{"keys":1}"#] {
            assert_eq!(Jwks::parse(text.as_bytes()), Jwks::default(), "{text}");
        }
        assert_eq!((Jwk::of("a", "no key"), Jwk::of_der("a", b"no key")), (None, None));
    }
}
