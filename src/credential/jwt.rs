//! Assertions for the JWT bearer grant (RFC 7523).

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;

use super::{CredentialError, RsaKeyPair, SecretBytes};

/// How far `iat` lies before the caller's clock, so that an endpoint whose clock is a little behind does not see
/// a token from the future. Google's own Rust client back-dates by the same 10 s.
pub const ASSERTION_BACKDATE: Duration = Duration::from_secs(10);

/// The longest span from `iat` to `exp` that token endpoints accept.
pub const ASSERTION_MAX_LIFETIME: Duration = Duration::from_hours(1);

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// Makes a signed RS256 JWT that a token endpoint exchanges for an access token.
///
/// `iat` is [`ASSERTION_BACKDATE`] before `now`, and `exp` is `iat` plus `lifetime`: the span is exactly what was
/// asked for. `audience` is the endpoint's URL (or the one that Google's clients always send), `scope` a list
/// separated by blanks. The result is a secret until it has expired: whoever holds it can have a token.
///
/// # Errors
/// [`CredentialError::AssertionLifetime`] for a lifetime below 1 s or above [`ASSERTION_MAX_LIFETIME`];
/// [`CredentialError::Sign`], [`CredentialError::JsonWrite`].
pub fn bearer_assertion(
    pair: &RsaKeyPair,
    key_id: &str,
    client_email: &str,
    audience: &str,
    scope: &str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<SecretBytes, CredentialError> {
    let (iat, exp) = times(now, lifetime)?;
    sign_jwt(pair, key_id, &Claims { iss: client_email, scope: Some(scope), aud: audience, iat, exp })
}

/// The same, signed HS256 with a secret that the endpoint has, too; without a scope.
///
/// # Errors
/// [`CredentialError::AssertionLifetime`] as above; [`CredentialError::JsonWrite`].
pub fn shared_secret_assertion(
    secret: &SecretBytes,
    key_id: &str,
    email: &str,
    audience: &str,
    now: Timestamp,
    lifetime: Duration,
) -> Result<SecretBytes, CredentialError> {
    let (iat, exp) = times(now, lifetime)?;
    let claims = Claims { iss: email, scope: None, aud: audience, iat, exp };
    let mut token = unsigned("HS256", key_id, &claims)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
    let signature = hmac::sign(&key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
    Ok(SecretBytes::from(token))
}

/// `iat` and `exp`.
fn times(now: Timestamp, lifetime: Duration) -> Result<(i64, i64), CredentialError> {
    let seconds = lifetime.as_secs();
    let span = match i64::try_from(seconds) {
        Ok(span) if span >= 1 && lifetime <= ASSERTION_MAX_LIFETIME => span,
        _ => return Err(CredentialError::AssertionLifetime { seconds }),
    };
    let iat = now.as_second().saturating_sub_unsigned(ASSERTION_BACKDATE.as_secs());
    Ok((iat, iat.saturating_add(span)))
}

/// Signs claims as a compact JWT with RS256.
///
/// # Errors
/// [`CredentialError::Sign`], [`CredentialError::JsonWrite`].
pub fn sign_jwt(
    pair: &RsaKeyPair,
    key_id: &str,
    claims: &impl Serialize,
) -> Result<SecretBytes, CredentialError> {
    let mut token = unsigned("RS256", key_id, claims)?;
    let signature = pair.sign_rs256(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(SecretBytes::from(token))
}

fn unsigned(alg: &str, key_id: &str, claims: &impl Serialize) -> Result<String, CredentialError> {
    let header = Header { alg, typ: "JWT", kid: key_id };
    Ok(format!("{}.{}", part("JWT header", &header)?, part("JWT claims", claims)?))
}

fn part(what: &'static str, value: &impl Serialize) -> Result<String, CredentialError> {
    let json = serde_json::to_vec(value).map_err(|source| CredentialError::JsonWrite { what, source })?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
    use rsa::RsaPublicKey;
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::sha2::Sha256;
    use rsa::signature::Verifier as _;
    use serde_json::{Value, json};

    use super::*;

    fn make(pair: &RsaKeyPair, lifetime: u64) -> Result<SecretBytes, CredentialError> {
        bearer_assertion(
            pair,
            "kid-1",
            "billing@p1.iam.gserviceaccount.com",
            "https://oauth2.googleapis.com/token",
            "https://www.googleapis.com/auth/cloud-platform",
            Timestamp::from_second(1_800_000_000).unwrap(),
            Duration::from_secs(lifetime),
        )
    }

    #[test]
    fn says_what_it_should_and_the_rsa_crate_accepts_it() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let token = make(&pair, 3600).unwrap();
        let token = token.expose_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let json =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(json(header), json!({"alg": "RS256", "typ": "JWT", "kid": "kid-1"}));
        assert_eq!(
            json(claims),
            json!({
                "iss": "billing@p1.iam.gserviceaccount.com",
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "aud": "https://oauth2.googleapis.com/token",
                "iat": 1_799_999_990,
                "exp": 1_800_003_590,
            })
        );
        let verifier =
            VerifyingKey::<Sha256>::new(RsaPublicKey::from_public_key_der(&pair.public_spki_der()).unwrap());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let signature = Signature::try_from(signature.as_slice()).unwrap();
        verifier.verify(message.as_bytes(), &signature).unwrap();
        assert!(verifier.verify(header.as_bytes(), &signature).is_err());
    }

    #[test]
    fn a_shared_secret_signs_too() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let secret = SecretBytes::from("5d".repeat(16));
        let sign = |lifetime| {
            shared_secret_assertion(
                &secret,
                "kid-1",
                "a@p",
                "https://id/token",
                now,
                Duration::from_secs(lifetime),
            )
        };
        let token = sign(3600).unwrap();
        let (message, signature) = token.expose_str().unwrap().rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let json =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(json(header), json!({"alg": "HS256", "typ": "JWT", "kid": "kid-1"}));
        let expected =
            json!({"iss": "a@p", "aud": "https://id/token", "iat": 1_799_999_990, "exp": 1_800_003_590});
        assert_eq!(json(claims), expected);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        assert!(matches!(sign(3601), Err(CredentialError::AssertionLifetime { .. })));
    }

    #[test]
    fn refuses_lifetimes_that_no_endpoint_takes() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        for lifetime in [0, 3601] {
            assert!(matches!(make(&pair, lifetime), Err(CredentialError::AssertionLifetime { .. })));
        }
    }
}
