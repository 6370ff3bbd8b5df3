//! JWTs that service accounts sign: read without trust, then checked against the stored public keys with the `rsa`
//! crate, which is not the library that makes our signatures, or against a secret that both sides know.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::Sha256;
use rsa::signature::Verifier as _;
use serde::Deserialize;

use super::model::Key;
use super::settings::CLOCK_SKEW;
use crate::credential::SecretBytes;

/// A JWT in its parts. Nothing in it is true until [`SignedToken::is_signed_by`] says so.
pub struct SignedToken {
    algorithm: String,
    key_id: Option<String>,
    claims: Claims,
    message: String,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// The claims that mean something here. Clients send some of them as null.
#[derive(Deserialize)]
pub struct Claims {
    /// Who signed: the account's address.
    pub iss: Option<String>,
    /// For whom; only the issuer itself is possible.
    pub sub: Option<String>,
    /// To whom it is addressed.
    pub aud: Option<Audience>,
    /// What for.
    pub scope: Option<String>,
    /// The audience of an ID token that is asked for.
    pub target_audience: Option<String>,
    iat: Option<f64>,
    exp: Option<f64>,
}

/// One audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// A string.
    One(String),
    /// An array.
    Many(Vec<String>),
}

impl Audience {
    /// Whether one of them satisfies `test`.
    pub fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => test(one),
            Self::Many(many) => many.iter().any(|one| test(one)),
        }
    }
}

impl SignedToken {
    /// Takes a compact JWT apart; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let header: Header = serde_json::from_slice(&part(header)?).ok()?;
        Some(Self {
            algorithm: header.alg,
            key_id: header.kid.filter(|kid| !kid.is_empty()),
            claims: serde_json::from_slice(&part(claims)?).ok()?,
            message: message.to_owned(),
            signature: part(signature)?,
        })
    }

    /// The claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether the token speaks for nobody but its signer.
    pub fn is_for_itself(&self) -> bool {
        self.claims.sub.as_ref().is_none_or(|sub| Some(sub) == self.claims.iss.as_ref())
    }

    /// The first of `keys` that signed the token. A token that names a key is held to it; one without (those made
    /// from PKCS#12 files are) may be of any key. RS256 is the only algorithm: what a token says of itself never
    /// weakens the check.
    pub fn signer<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Option<&'k Key> {
        keys.into_iter()
            .filter(|key| self.key_id.as_ref().is_none_or(|kid| *kid == key.id))
            .find(|key| self.is_signed_by(&key.public_pem))
    }

    /// The key that the token names.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether this secret made the signature, by HS256.
    pub fn is_signed_with(&self, secret: &SecretBytes) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        self.algorithm == "HS256" && hmac::verify(&key, self.message.as_bytes(), &self.signature).is_ok()
    }

    /// Whether the private half of this public key (PEM) made the signature.
    pub fn is_signed_by(&self, public_pem: &str) -> bool {
        RsaPublicKey::from_public_key_pem(public_pem).is_ok_and(|public| self.is_signed_by_key(public))
    }

    /// Whether the private half of this public key made the signature.
    pub fn is_signed_by_key(&self, public: RsaPublicKey) -> bool {
        if self.algorithm != "RS256" {
            return false;
        }
        let Ok(signature) = Signature::try_from(self.signature.as_slice()) else { return false };
        VerifyingKey::<Sha256>::new(public).verify(self.message.as_bytes(), &signature).is_ok()
    }

    /// Whether the token is of now: `iat` not in the future, `exp` not in the past (both up to the clock skew),
    /// and no longer than `longest` from one to the other.
    pub fn is_timely(&self, now: Timestamp, longest: SignedDuration) -> bool {
        let (Some(iat), Some(exp)) = (seconds(self.claims.iat), seconds(self.claims.exp)) else {
            return false;
        };
        let now = now.as_second();
        let skew = CLOCK_SKEW.as_secs();
        iat <= now.saturating_add(skew)
            && exp > now.saturating_sub(skew)
            && exp > iat
            && exp.saturating_sub(iat) <= longest.as_secs()
    }
}

/// A `NumericDate`, which may have a fraction.
fn seconds(date: Option<f64>) -> Option<i64> {
    const LIMIT: f64 = 1e12;
    let date = date?;
    if !(-LIMIT..=LIMIT).contains(&date) {
        return None;
    }
    // In range, so nothing but the fraction is lost.
    #[allow(clippy::cast_possible_truncation)]
    Some(date.floor() as i64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::credential::{Expiry, RsaKeyPair, bearer_assertion};
    use crate::iam_server::model::{KeySize, Origin};

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token(pair: &RsaKeyPair, kid: &str) -> String {
        let token =
            bearer_assertion(pair, kid, "b@p1", "aud", "scope", at(NOW), Duration::from_hours(1)).unwrap();
        token.expose_str().unwrap().to_owned()
    }

    fn key(pair: &RsaKeyPair, id: &str) -> Key {
        Key {
            id: id.into(),
            account: "1".into(),
            origin: Origin::Server,
            size: KeySize::default(),
            system: false,
            public_pem: pair.public_pem(),
            certificate_pem: String::new(),
            not_before: at(NOW),
            not_after: Expiry::Never,
            disabled: false,
            created: at(NOW),
            activation_delay: SignedDuration::ZERO,
            attempt: None,
        }
    }

    #[test]
    fn only_the_signer_passes() {
        let (one, two) = (RsaKeyPair::generate_2048().unwrap(), RsaKeyPair::generate_2048().unwrap());
        let keys = [key(&one, "one"), key(&two, "two")];
        let parsed = SignedToken::parse(&token(&two, "two")).unwrap();
        assert_eq!(parsed.signer(&keys).unwrap().id, "two");
        let lying = SignedToken::parse(&token(&two, "one")).unwrap();
        assert!(lying.signer(&keys).is_none(), "a token is held to the key it names");
        let silent = SignedToken::parse(&token(&two, "")).unwrap();
        assert_eq!(silent.signer(&keys).unwrap().id, "two");
    }

    #[test]
    fn a_changed_claim_or_algorithm_is_noticed() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let good = token(&pair, "k");
        let parts: Vec<&str> = good.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        let forged = URL_SAFE_NO_PAD.encode(claims.replace("b@p1", "a@p1"));
        let forged = SignedToken::parse(&format!("{}.{forged}.{}", parts[0], parts[2])).unwrap();
        assert_eq!(forged.claims().iss.as_deref(), Some("a@p1"));
        assert!(!forged.is_signed_by(&pair.public_pem()));
        for algorithm in ["none", "HS256", "RS512"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"k"}}"#));
            let signature =
                URL_SAFE_NO_PAD.encode(pair.sign_rs256(format!("{header}.{}", parts[1]).as_bytes()).unwrap());
            let other = SignedToken::parse(&format!("{header}.{}.{signature}", parts[1])).unwrap();
            assert!(!other.is_signed_by(&pair.public_pem()), "{algorithm}");
        }
    }

    #[test]
    fn time_has_limits_on_both_sides() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        // From NOW - 10 to NOW + 3590.
        let parsed = SignedToken::parse(&token(&pair, "k")).unwrap();
        let hour = SignedDuration::from_hours(1);
        for (now, timely) in [
            (NOW, true),
            (NOW - 310, true),
            (NOW - 311, false),
            (NOW + 3590 + 299, true),
            (NOW + 3590 + 300, false),
        ] {
            assert_eq!(parsed.is_timely(at(now), hour), timely, "{now}");
        }
        assert!(!parsed.is_timely(at(NOW), hour - SignedDuration::from_secs(1)));
    }

    #[test]
    fn nulls_arrays_and_fractions_are_read() {
        let make = |claims: &str| {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            SignedToken::parse(&format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(claims), part("s")))
        };
        let parsed = make(r#"{"iss":"a","sub":null,"aud":null,"iat":1.5,"exp":3601.0}"#).unwrap();
        assert!(parsed.is_for_itself() && parsed.claims().aud.is_none());
        assert!(parsed.is_timely(at(10), SignedDuration::from_hours(1)));
        let parsed = make(r#"{"iss":"a","sub":"b","aud":["x","y"],"iat":1e300,"exp":2}"#).unwrap();
        assert!(!parsed.is_for_itself());
        assert!(parsed.claims().aud.as_ref().unwrap().any(|aud| aud == "y"));
        assert!(!parsed.is_timely(at(10), SignedDuration::from_hours(1)));
        assert!(make("[]").is_none());
        assert!(SignedToken::parse("a.b").is_none());
    }
}
