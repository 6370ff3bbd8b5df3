//! Who calls: access tokens that this server handed out, and JWTs that an account signs for itself.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};
use jiff::SignedDuration;

use super::Server;
use super::model::{Account, project_of_email};
use super::signed_token::SignedToken;
use super::store::{Ask as _, Read, StoreError};
use super::wire::errors::ApiError;

/// Scopes with which the IAM API may be called.
pub const IAM_SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/iam"];

/// The longest self-signed token: an hour, and room for clients that stretch both ends by a few seconds.
const LONGEST_BEARER: SignedDuration = SignedDuration::from_mins(65);

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    /// There was no `Authorization` header with a bearer token.
    Missing,
    /// An opaque token of the token endpoint.
    AccessToken,
    /// A JWT that the account signed for itself.
    SelfSigned,
}

impl AuthKind {
    /// For the request log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "none",
            Self::AccessToken => "access_token",
            Self::SelfSigned => "self_signed_jwt",
        }
    }
}

/// A caller whose credential has been checked.
pub struct Caller {
    /// The account.
    pub account: Account,
    /// Whether the credential is meant for the IAM API.
    in_scope: bool,
}

impl Caller {
    /// Whether it may call the administrative methods.
    ///
    /// # Errors
    /// [`ApiError::InsufficientScope`], [`ApiError::PermissionDenied`].
    pub fn allow(&self, permission: &'static str) -> Result<(), ApiError> {
        if !self.in_scope {
            return Err(ApiError::InsufficientScope);
        }
        if !self.account.admin {
            return Err(ApiError::PermissionDenied { permission });
        }
        Ok(())
    }
}

/// SHA-256 of an access token: what the store knows of it.
pub fn token_hash(token: &str) -> String {
    hex::encode(digest(&SHA256, token.as_bytes()))
}

/// The bearer token of a request and its kind. Only a JWT has dots.
pub fn bearer(headers: &HeaderMap) -> (AuthKind, Option<&str>) {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        None | Some("") => (AuthKind::Missing, None),
        Some(token) if token.contains('.') => (AuthKind::SelfSigned, Some(token)),
        Some(token) => (AuthKind::AccessToken, Some(token)),
    }
}

/// Finds out who calls.
///
/// # Errors
/// [`ApiError::Unauthenticated`] for everything that is not a live credential of a live account.
pub async fn authenticate(server: &Server, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let caller = match bearer(headers) {
        (_, None) => None,
        (AuthKind::SelfSigned, Some(token)) => by_signature(server, token).await?,
        (_, Some(token)) => by_access_token(server, token).await?,
    };
    caller.ok_or(ApiError::Unauthenticated)
}

async fn by_access_token(server: &Server, token: &str) -> Result<Option<Caller>, ApiError> {
    let hash = token_hash(token);
    let now = server.clock.now();
    server
        .store
        .read(move |store| {
            let Some(token) = store.token(&hash)? else { return Ok(None) };
            if now >= token.expires {
                return Ok(None);
            }
            let account = store.account(&token.account)?.filter(Account::is_usable);
            Ok(account.map(|account| Caller { account, in_scope: covers_iam(&token.scope) }))
        })
        .await
}

async fn by_signature(server: &Server, token: &str) -> Result<Option<Caller>, ApiError> {
    let Some(token) = SignedToken::parse(token) else { return Ok(None) };
    let now = server.clock.now();
    let own = server.own_urls();
    server
        .store
        .read(move |store| {
            if !token.is_for_itself() || !token.is_timely(now, LONGEST_BEARER) {
                return Ok(None);
            }
            // Either the audience is this API, or a scope says what the token is for.
            let in_scope = match (&token.claims().aud, token.claims().scope.as_deref()) {
                (Some(aud), _) if aud.any(|aud| is_this_api(aud, &own)) => true,
                (None, Some(scope)) => covers_iam(scope),
                _ => return Ok(None),
            };
            let Some(account) = issuer(store, &token)? else { return Ok(None) };
            let keys = store.keys_of(&account.unique_id)?;
            let signer = token.signer(keys.iter().filter(|key| key.is_usable(now)));
            Ok(signer.is_some().then_some(Caller { account, in_scope }))
        })
        .await
}

/// The live account that a token names as its issuer.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub fn issuer(store: &Read, token: &SignedToken) -> Result<Option<Account>, StoreError> {
    let Some(email) = token.claims().iss.as_deref() else { return Ok(None) };
    let Some(project) = project_of_email(email) else { return Ok(None) };
    Ok(store.account_by_email(project, email)?.filter(Account::is_usable))
}

fn covers_iam(scope: &str) -> bool {
    scope.split_ascii_whitespace().any(|scope| IAM_SCOPES.contains(&scope))
}

fn is_this_api(audience: &str, own: &[String]) -> bool {
    let audience = audience.trim_end_matches('/');
    audience == "https://iam.googleapis.com" || own.iter().any(|own| own == audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(value: &str) -> AuthKind {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        bearer(&headers).0
    }

    #[test]
    fn kinds_of_bearers() {
        assert_eq!(bearer(&HeaderMap::new()).0, AuthKind::Missing);
        assert_eq!(kind_of("Basic YTpi"), AuthKind::Missing);
        assert_eq!(kind_of("Bearer "), AuthKind::Missing);
        assert_eq!(kind_of("Bearer abc"), AuthKind::AccessToken);
        assert_eq!(kind_of("bearer a.b.c"), AuthKind::SelfSigned);
    }

    #[test]
    fn scopes_and_audiences() {
        assert!(covers_iam("x https://www.googleapis.com/auth/cloud-platform"));
        assert!(!covers_iam("https://www.googleapis.com/auth/earthengine"));
        let own = ["http://127.0.0.1:1".to_owned()];
        assert!(is_this_api("https://iam.googleapis.com/", &own));
        assert!(is_this_api("http://127.0.0.1:1/", &own));
        assert!(!is_this_api("https://storage.googleapis.com/", &own));
    }
}
