//! The OAuth2 token endpoint: a JWT that a key signed, for an access token (RFC 7523) or an ID token.

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::caller::{issuer, token_hash};
use super::model::{AccessToken, Holder};
use super::signed_token::SignedToken;
use super::store::{Ask as _, StoreError};
use super::wire::errors::{ApiError, Injected};
use super::{Server, id_tokens, last_use, random};

/// The only grant that is served.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long an access token lives.
pub const LIFETIME: SignedDuration = SignedDuration::from_secs(3599);

/// The longest assertion.
const LONGEST_ASSERTION: SignedDuration = SignedDuration::from_hours(1);

/// Audiences that clients have hard-wired; Google's own Python library never sends another.
const GOOGLE_AUDIENCES: [&str; 4] = [
    "https://oauth2.googleapis.com/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v3/token",
    "https://www.googleapis.com/oauth2/v4/token",
];

/// Paths of this server's own token endpoint.
const OWN_PATHS: [&str; 3] = ["/token", "/o/oauth2/token", "/oauth2/v4/token"];

/// What the endpoint refuses with, in the words of OAuth2 and, where known, of Google.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Another grant.
    #[error("Invalid grant_type: {grant}")]
    UnsupportedGrant {
        /// The one that was asked for.
        grant: String,
    },
    /// The form has no assertion.
    #[error("Missing required parameter: assertion")]
    AssertionMissing,
    /// The assertion is no JWT.
    #[error("Invalid JWT: the assertion is not a signed JWT.")]
    AssertionMalformed,
    /// The account is deleted, disabled or was never there.
    #[error("Invalid grant: account not found")]
    AccountNotFound,
    /// The signature is not one of a key that counts: unknown, deleted, disabled, expired or not active yet.
    #[error("Invalid JWT Signature.")]
    Signature,
    /// The times do not fit.
    #[error(
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
         Check your iat and exp values in the JWT claim."
    )]
    Timeframe,
    /// Meant for another endpoint.
    #[error("Invalid JWT: Failed audience check. The right audience is {right}")]
    Audience {
        /// This endpoint.
        right: String,
    },
    /// It speaks for somebody else.
    #[error(
        "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of \
         the scopes requested."
    )]
    Impersonation,
    /// It asks for nothing.
    #[error("Invalid OAuth scope or ID token audience provided.")]
    ScopeMissing,
    /// The ID token could not be made.
    #[error("Internal error encountered.")]
    IdToken(#[source] ApiError),
    /// A test asked for this answer.
    #[error("{message}")]
    Injected {
        /// HTTP status.
        status: StatusCode,
        /// The OAuth2 error code.
        code: String,
        /// The description.
        message: String,
    },
    /// The store failed.
    #[error("Internal error encountered.")]
    Store(#[from] StoreError),
    /// A time could not be computed.
    #[error("Internal error encountered.")]
    Time(#[from] jiff::Error),
    /// The token could not be made.
    #[error("Internal error encountered.")]
    Mint(#[from] MintError),
}

/// Why no access token could be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its end could not be computed.
    #[error("the end of an access token cannot be computed")]
    Time(#[from] jiff::Error),
    /// The random source failed.
    #[error("the random source failed")]
    Random(#[from] aws_lc_rs::error::Unspecified),
}

impl TokenError {
    /// What a test asked for.
    pub fn injected(injected: Injected) -> Self {
        let Injected { status, canonical: code, message, .. } = injected;
        Self::Injected { status, code, message }
    }

    /// HTTP status and OAuth2 error code.
    pub fn code(&self) -> (StatusCode, &str) {
        match self {
            Self::UnsupportedGrant { .. } => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::AssertionMissing => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::AssertionMalformed
            | Self::AccountNotFound
            | Self::Signature
            | Self::Timeframe
            | Self::Audience { .. } => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::Impersonation => (StatusCode::UNAUTHORIZED, "unauthorized_client"),
            Self::ScopeMissing => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Self::Injected { status, code, .. } => (*status, code),
            Self::Store(_) | Self::Time(_) | Self::Mint(_) | Self::IdToken(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_failure")
            }
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({ "error": self.code().1, "error_description": self.to_string() })
    }
}

/// The form's grant type and assertion.
#[derive(Default)]
pub struct Form {
    /// The grant type.
    pub grant: Option<String>,
    /// The assertion.
    pub assertion: Option<String>,
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "grant_type" => form.grant = Some(value.into_owned()),
                "assertion" => form.assertion = Some(value.into_owned()),
                _ => {}
            }
        }
        form
    }

    /// The JWT, unchecked.
    ///
    /// # Errors
    /// [`TokenError::UnsupportedGrant`], [`TokenError::AssertionMissing`], [`TokenError::AssertionMalformed`].
    pub fn token(&self) -> Result<SignedToken, TokenError> {
        match self.grant.as_deref() {
            Some(JWT_BEARER) => {}
            other => {
                return Err(TokenError::UnsupportedGrant { grant: other.unwrap_or_default().to_owned() });
            }
        }
        let assertion = self.assertion.as_deref().ok_or(TokenError::AssertionMissing)?;
        SignedToken::parse(assertion).ok_or(TokenError::AssertionMalformed)
    }
}

/// Exchanges a JWT for an access token. The order of the checks tells a stranger as little as possible: the account
/// and the signature come first.
///
/// # Errors
/// [`TokenError`].
pub async fn exchange(server: &Server, token: SignedToken) -> Result<Value, TokenError> {
    let now = server.clock.now();
    let delay = server.tunables.activation_delay();
    let (own, projects) = (server.own_urls(), server.settings.projects.clone());
    let day = last_use::day_of(now)?;
    let (account, wanted, unnoted) = server
        .store
        .read(move |store| {
            let account = issuer(store, &projects, &token)?.ok_or(TokenError::AccountNotFound)?;
            let keys = store.keys_of(&account.unique_id)?;
            let candidates = keys.iter().filter(|key| key.is_usable(now) && key.is_active(now, delay));
            let signer = token.signer(candidates).ok_or(TokenError::Signature)?.id.clone();
            if !token.is_timely(now, LONGEST_ASSERTION) {
                return Err(TokenError::Timeframe);
            }
            let claims = token.claims();
            if !claims.aud.as_ref().is_some_and(|aud| aud.any(|aud| is_token_endpoint(aud, &own))) {
                return Err(TokenError::Audience { right: format!("{}/token", own[0]) });
            }
            if !token.is_for_itself() {
                return Err(TokenError::Impersonation);
            }
            let scope = claims.scope.as_deref().map(str::trim).unwrap_or_default();
            let wanted = match claims.target_audience.as_deref().map(str::trim).unwrap_or_default() {
                _ if !scope.is_empty() => Wanted::Access(scope.to_owned()),
                "" => return Err(TokenError::ScopeMissing),
                audience => Wanted::Id(audience.to_owned()),
            };
            let news = last_use::is_news(store, &account.unique_id, &signer, day)?;
            Ok((account, wanted, news.then_some(signer)))
        })
        .await?;
    if let Some(key) = unnoted {
        let user = account.unique_id.clone();
        server.store.write(move |store| last_use::note(store, &user, &key, day)).await?;
    }
    match wanted {
        Wanted::Access(scope) => {
            let (secret, _) = mint(server, Holder::Account(account.unique_id), scope, LIFETIME).await?;
            Ok(json!({ "access_token": secret, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" }))
        }
        Wanted::Id(audience) => {
            let token = id_tokens::issue(server, &account, &audience).await.map_err(TokenError::IdToken)?;
            Ok(json!({ "id_token": token }))
        }
    }
}

/// What an assertion asks for.
enum Wanted {
    /// An access token of these scopes.
    Access(String),
    /// An ID token for this audience.
    Id(String),
}

/// Hands out an access token; it and its end.
///
/// # Errors
/// [`MintError`].
pub async fn mint(
    server: &Server,
    holder: Holder,
    scope: String,
    lifetime: SignedDuration,
) -> Result<(String, Timestamp), MintError> {
    let now = server.clock.now();
    let expires = now.checked_add(lifetime)?;
    let secret = random::access_token()?;
    let hash = token_hash(&secret);
    let token = AccessToken { holder, scope, expires };
    server.store.write(move |store| store.put_token(&hash, &token, now).map_err(MintError::from)).await?;
    Ok((secret, expires))
}

fn is_token_endpoint(audience: &str, own: &[String]) -> bool {
    let is_own = |base: &String| audience.strip_prefix(base).is_some_and(|path| OWN_PATHS.contains(&path));
    GOOGLE_AUDIENCES.contains(&audience) || own.iter().any(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences_of_real_clients() {
        let own = ["http://127.0.0.1:4000".to_owned()];
        for good in [
            "https://oauth2.googleapis.com/token",
            "https://accounts.google.com/o/oauth2/token",
            "https://www.googleapis.com/oauth2/v4/token",
            "http://127.0.0.1:4000/token",
            "http://127.0.0.1:4000/o/oauth2/token",
        ] {
            assert!(is_token_endpoint(good, &own), "{good}");
        }
        for bad in [
            "",
            "http://127.0.0.1:4000",
            "http://127.0.0.1:40001/token",
            "https://evil.example/token",
            "/token",
        ] {
            assert!(!is_token_endpoint(bad, &own), "{bad}");
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let error = |body: &[u8]| Form::parse(body).token().err().map(|error| error.code().1.to_owned());
        assert_eq!(error(b"").as_deref(), Some("unsupported_grant_type"));
        assert_eq!(error(b"grant_type=refresh_token").as_deref(), Some("unsupported_grant_type"));
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        assert_eq!(error(grant.as_bytes()).as_deref(), Some("invalid_request"));
        assert_eq!(error(format!("{grant}&assertion=x").as_bytes()).as_deref(), Some("invalid_grant"));
    }
}
