//! Public halves as JSON Web Keys, for whoever checks signatures (RFC 7517, RFC 7518 section 6.3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};

use super::SecretBytes;

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
        let public = RsaPublicKey::from_public_key_pem(public_pem).ok()?;
        Some(Self {
            kty: "RSA".to_owned(),
            alg: "RS256".to_owned(),
            usage: "sig".to_owned(),
            kid: kid.to_owned(),
            n: URL_SAFE_NO_PAD.encode(public.n().to_bytes_be()),
            e: URL_SAFE_NO_PAD.encode(public.e().to_bytes_be()),
        })
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
        let pem = RsaKeyPair::generate_2048().unwrap().public_pem();
        let (one, two) = (Jwk::of("b", &pem).unwrap(), Jwk::of("a", &pem).unwrap());
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
        assert_eq!(Jwk::of("a", "no key"), None);
    }
}
