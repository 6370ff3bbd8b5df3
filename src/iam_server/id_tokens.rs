//! ID tokens: what an account says of itself to somebody else, signed by this server (`OpenID` Connect Core 1.0, section 2).
//!
//! The server's own pair is made when the first one is asked for, and again after a restart: an ID token lives for an hour.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Server;
use super::keys::whole_seconds;
use super::model::Account;
use super::public_keys::jwk;
use super::random;
use super::wire::errors::ApiError;
use super::wire::route::PublicKeyFormat;
use crate::credential::{Expiry, RsaKeyPair, self_signed, sign_jwt};

/// Who Google says it is in them.
const ISSUER: &str = "https://accounts.google.com";
/// How long they are good for.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The server's own pair.
#[derive(Default)]
pub struct IdTokens(OnceCell<Issuer>);

struct Issuer {
    id: String,
    pair: RsaKeyPair,
    certificate_pem: String,
}

impl IdTokens {
    async fn issuer(&self, now: Timestamp) -> Result<&Issuer, ApiError> {
        let make = async || {
            let id = random::key_id()?;
            let not_before = whole_seconds(now)?;
            let made = tokio::task::spawn_blocking(move || {
                let pair = RsaKeyPair::generate_2048()?;
                let certificate_pem = self_signed(&pair, "keywheel-iam", not_before, Expiry::Never)?;
                Ok::<_, ApiError>(Issuer { id, pair, certificate_pem })
            });
            made.await?
        };
        self.0.get_or_try_init(make).await
    }
}

/// An ID token of an account for somebody.
///
/// # Errors
/// Internal ones.
pub async fn issue(server: &Server, account: &Account, audience: &str) -> Result<String, ApiError> {
    let now = server.clock.now();
    let issuer = server.id_tokens.issuer(now).await?;
    let claims = json!({
        "aud": audience,
        "azp": account.email,
        "email": account.email,
        "email_verified": true,
        "exp": now.checked_add(LIFETIME)?.as_second(),
        "iat": now.as_second(),
        "iss": ISSUER,
        "sub": account.unique_id,
    });
    let token = sign_jwt(&issuer.pair, &issuer.id, &claims)?;
    Ok(token.expose_str()?.to_owned())
}

/// The public half with which they can be checked.
///
/// # Errors
/// Internal ones.
pub async fn certificates(server: &Server, format: PublicKeyFormat) -> Result<Value, ApiError> {
    let issuer = server.id_tokens.issuer(server.clock.now()).await?;
    let (id, public) = (issuer.id.as_str(), issuer.pair.public_pem());
    Ok(match format {
        PublicKeyFormat::X509 => json!({ id: issuer.certificate_pem }),
        PublicKeyFormat::Raw => json!({ id: public }),
        PublicKeyFormat::Jwk => json!({ "keys": jwk(id, &public).into_iter().collect::<Vec<_>>() }),
    })
}
