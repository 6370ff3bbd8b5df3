//! Who calls: access tokens that this server handed out, and JWTs that an account signs for itself.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};
use jiff::SignedDuration;

use super::Server;
use super::last_use;
use super::model::{Account, Holder};
use super::principal::Principal;
use super::signed_token::SignedToken;
use super::store::{Ask as _, Read, StoreError};
use super::wire::errors::ApiError;
use super::wire::operation::Api;

/// The scope of everything in the cloud.
const CLOUD_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

impl Api {
    const ALL: [Self; 7] = [
        Self::Iam,
        Self::Credentials,
        Self::ResourceManager,
        Self::ServiceUsage,
        Self::OrgPolicy,
        Self::PolicyAnalyzer,
        Self::EarthEngine,
    ];

    /// Scopes with which it may be called.
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Iam | Self::Credentials => &[CLOUD_SCOPE, "https://www.googleapis.com/auth/iam"],
            Self::ServiceUsage => &[CLOUD_SCOPE, "https://www.googleapis.com/auth/service.management"],
            Self::EarthEngine => &[CLOUD_SCOPE, "https://www.googleapis.com/auth/earthengine"],
            Self::ResourceManager | Self::OrgPolicy | Self::PolicyAnalyzer => &[CLOUD_SCOPE],
        }
    }

    /// Its address at Google, the audience of tokens that are made for it alone.
    fn audience(self) -> &'static str {
        match self {
            Self::Iam => "https://iam.googleapis.com",
            Self::Credentials => "https://iamcredentials.googleapis.com",
            Self::ResourceManager => "https://cloudresourcemanager.googleapis.com",
            Self::ServiceUsage => "https://serviceusage.googleapis.com",
            Self::OrgPolicy => "https://orgpolicy.googleapis.com",
            Self::EarthEngine => "https://earthengine.googleapis.com",
            Self::PolicyAnalyzer => "https://policyanalyzer.googleapis.com",
        }
    }

    /// The name under which errors speak of it.
    pub fn service(self) -> &'static str {
        self.audience().trim_start_matches("https://")
    }
}

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
    /// A name and a password in the `Authorization` header.
    Basic,
}

impl AuthKind {
    /// For the request log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "none",
            Self::AccessToken => "access_token",
            Self::SelfSigned => "self_signed_jwt",
            Self::Basic => "basic",
        }
    }
}

/// A caller whose credential has been checked.
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// What the credential is for.
    reach: Reach,
}

/// What a credential is for.
enum Reach {
    /// APIs with one of these scopes, which blanks separate.
    Scopes(String),
    /// One API.
    Api(Api),
    /// This server.
    Server,
}

impl Caller {
    /// Whether the credential is meant for an API.
    pub fn covers(&self, api: Api) -> bool {
        match &self.reach {
            Reach::Scopes(scopes) => {
                scopes.split_ascii_whitespace().any(|scope| api.scopes().contains(&scope))
            }
            Reach::Api(one) => *one == api,
            Reach::Server => true,
        }
    }
}

/// SHA-256 of an access token: what the store knows of it.
pub fn token_hash(token: &str) -> String {
    hex::encode(digest(&SHA256, token.as_bytes()))
}

/// For the request log.
pub fn kind_of_login(headers: &HeaderMap) -> AuthKind {
    if basic(headers).is_some() { AuthKind::Basic } else { bearer(headers).0 }
}

/// Name and password of a request, still encoded.
pub fn basic(headers: &HeaderMap) -> Option<&str> {
    credential(headers, "basic")
}

/// What follows the scheme in the `Authorization` header, if it is this one.
fn credential<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}

/// The bearer token of a request and its kind. Only a JWT has dots.
pub fn bearer(headers: &HeaderMap) -> (AuthKind, Option<&str>) {
    match credential(headers, "bearer") {
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
            let principal = match token.holder {
                Holder::Account(id) => store.account(&id)?.filter(Account::is_usable).map(Principal::Account),
                Holder::Federated(federated) => Some(Principal::Federated(federated)),
                // Worth nothing here, as theirs is worth nothing there.
                Holder::Disruptive { .. } => None,
            };
            Ok(principal.map(|principal| Caller { principal, reach: Reach::Scopes(token.scope) }))
        })
        .await
}

async fn by_signature(server: &Server, token: &str) -> Result<Option<Caller>, ApiError> {
    let Some(token) = SignedToken::parse(token) else { return Ok(None) };
    let now = server.clock.now();
    let day = last_use::day_of(now)?;
    let (own, projects) = (server.own_urls(), server.settings.projects.clone());
    let found = server
        .store
        .read(move |store| {
            if !token.is_for_itself() || !token.is_timely(now, LONGEST_BEARER) {
                return Ok(None);
            }
            // Either the audience is an API, or scopes say what the token is for.
            let reach = match (&token.claims().aud, token.claims().scope.as_deref()) {
                (Some(aud), _) if aud.any(|aud| is_one_of(aud, &own)) => Reach::Server,
                (Some(aud), _) => {
                    match Api::ALL.iter().find(|api| aud.any(|aud| is_one_of(aud, &[api.audience()]))) {
                        Some(api) => Reach::Api(*api),
                        None => return Ok(None),
                    }
                }
                (None, Some(scope)) => Reach::Scopes(scope.to_owned()),
                (None, None) => return Ok(None),
            };
            let Some(account) = issuer(store, &projects, &token)? else { return Ok(None) };
            let keys = store.keys_of(&account.unique_id)?;
            let Some(signer) = token.signer(keys.iter().filter(|key| key.is_usable(now))) else {
                return Ok(None);
            };
            let news = last_use::is_news(store, &account.unique_id, &signer.id, day)?;
            Ok::<_, ApiError>(Some((account, reach, news.then(|| signer.id.clone()))))
        })
        .await?;
    let Some((account, reach, unnoted)) = found else { return Ok(None) };
    let unique_id = account.unique_id.clone();
    if let Some(key) = unnoted {
        server.store.write(move |store| last_use::note(store, &unique_id, &key, day)).await?;
    }
    Ok(Some(Caller { principal: Principal::Account(account), reach }))
}

/// The live account that a token names as its issuer.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub fn issuer(store: &Read, projects: &[String], token: &SignedToken) -> Result<Option<Account>, StoreError> {
    let Some(email) = token.claims().iss.as_deref() else { return Ok(None) };
    Ok(store.account_named(projects, email)?.filter(Account::is_usable))
}

fn is_one_of<T: AsRef<str>>(audience: &str, known: &[T]) -> bool {
    let audience = audience.trim_end_matches('/');
    known.iter().any(|known| known.as_ref() == audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(value: &str) -> AuthKind {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        assert!(bearer(&headers).0 == kind_of_login(&headers) || bearer(&headers).1.is_none());
        kind_of_login(&headers)
    }

    #[test]
    fn kinds_of_bearers() {
        assert_eq!(bearer(&HeaderMap::new()).0, AuthKind::Missing);
        assert_eq!(kind_of("Basic YTpi"), AuthKind::Basic);
        assert_eq!(kind_of("Digest YTpi"), AuthKind::Missing);
        assert_eq!(kind_of("Bearer "), AuthKind::Missing);
        assert_eq!(kind_of("Bearer abc"), AuthKind::AccessToken);
        assert_eq!(kind_of("bearer a.b.c"), AuthKind::SelfSigned);
    }

    fn of(reach: Reach) -> Caller {
        let account = Account {
            unique_id: "1".repeat(21),
            project: "p1".into(),
            email: "b@p1".into(),
            display_name: String::new(),
            description: String::new(),
            disabled: false,
            admin: false,
            created: jiff::Timestamp::UNIX_EPOCH,
            deleted: None,
            revision: 1,
        };
        Caller { principal: Principal::Account(account), reach }
    }

    #[test]
    fn scopes_and_audiences() {
        let scopes = |text: &str| of(Reach::Scopes(text.to_owned()));
        assert!(scopes("x https://www.googleapis.com/auth/cloud-platform").covers(Api::ResourceManager));
        assert!(scopes("https://www.googleapis.com/auth/iam").covers(Api::Iam));
        assert!(!scopes("https://www.googleapis.com/auth/iam").covers(Api::ResourceManager));
        assert!(!scopes("https://www.googleapis.com/auth/earthengine").covers(Api::Iam));
        assert!(!of(Reach::Api(Api::Iam)).covers(Api::ResourceManager));
        assert!(of(Reach::Server).covers(Api::ResourceManager));
        let own = ["http://127.0.0.1:1"];
        assert!(is_one_of("https://iam.googleapis.com/", &[Api::Iam.audience()]));
        assert!(is_one_of("http://127.0.0.1:1/", &own));
        assert!(!is_one_of("https://storage.googleapis.com/", &own));
    }
}
