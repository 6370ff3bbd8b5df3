//! The metadata server of a machine: which account its programs have, and tokens of it for whoever asks.
//!
//! Source: "About VM metadata" and what Google's clients were seen to ask. It serves an account only if one was set.

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::model::{Account, Holder};
use super::store::{Ask as _, StoreError};
use super::token::{self, LIFETIME, MintError};
use super::wire::errors::ApiError;
use super::wire::query::Query;
use super::{Server, id_tokens};

/// The header without which nothing is answered, and which every answer has.
pub const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");
/// What a token is for unless somebody asks for less.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"];
const UNIVERSE: &str = "googleapis.com";

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A value, or the names in a folder.
    Text(String),
    /// A document.
    Document(Value),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The header is missing: a page in a browser, say, that was made to ask.
    #[error("Missing Metadata-Flavor:Google header.")]
    Flavor,
    /// The request came over a proxy.
    #[error("Requests with X-Forwarded-For are not served.")]
    Forwarded,
    /// There is no such value, or no account was set.
    #[error("Not found.")]
    Missing,
    /// An ID token for nobody.
    #[error("non-empty audience parameter required")]
    Audience,
    /// The ID token could not be made.
    #[error("Internal error encountered.")]
    IdToken(#[source] ApiError),
    /// The token could not be made.
    #[error("Internal error encountered.")]
    Mint(#[from] MintError),
    /// The account could not be read.
    #[error("Internal error encountered.")]
    Store(#[from] StoreError),
}

impl MetadataError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Flavor | Self::Forwarded => StatusCode::FORBIDDEN,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::Audience => StatusCode::BAD_REQUEST,
            Self::Mint(_) | Self::Store(_) | Self::IdToken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Answers to a path behind `/computeMetadata/v1/`; also who was asked about, for the request log.
///
/// # Errors
/// [`MetadataError`].
pub async fn answer(
    server: &Server,
    path: &[String],
    query: &Query,
    headers: &HeaderMap,
) -> Result<(Content, Option<String>), MetadataError> {
    if headers.get(FLAVOR.0).is_none_or(|value| value != FLAVOR.1) {
        return Err(MetadataError::Flavor);
    }
    if headers.contains_key("x-forwarded-for") {
        return Err(MetadataError::Forwarded);
    }
    let (project, number) = server.projects.first().ok_or(MetadataError::Missing)?;
    let text = |text: &str| Ok((Content::Text(text.to_owned()), None));
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] | [""] => text("instance/\nproject/\nuniverse/\n"),
        ["project", ""] => text("numeric-project-id\nproject-id\n"),
        ["project", "project-id"] => text(&project),
        ["project", "numeric-project-id"] => text(number.trim_start_matches("projects/")),
        ["universe", "universe-domain" | "universe_domain"] => text(UNIVERSE),
        ["instance", "service-accounts"] | ["instance", "service-accounts", ""] => {
            let account = account(server).await?;
            Ok((Content::Text(format!("default/\n{}/\n", account.email)), None))
        }
        ["instance", "service-accounts", name, rest @ ..] => {
            let account = account(server).await?;
            if *name != "default" && *name != account.email {
                return Err(MetadataError::Missing);
            }
            of_account(server, account, rest, query).await
        }
        _ => Err(MetadataError::Missing),
    }
}

async fn of_account(
    server: &Server,
    account: Account,
    rest: &[&str],
    query: &Query,
) -> Result<(Content, Option<String>), MetadataError> {
    let text = |text: String| Ok((Content::Text(text), None));
    match rest {
        [] | [""] if query.one("recursive") == Some("true") => {
            let told = json!({ "aliases": ["default"], "email": account.email, "scopes": SCOPES });
            Ok((Content::Document(told), None))
        }
        [] | [""] => text("aliases\nemail\nidentity\nscopes\ntoken\n".to_owned()),
        ["email"] => text(account.email),
        ["aliases"] => text("default\n".to_owned()),
        ["scopes"] => text(format!("{}\n", SCOPES.join("\n"))),
        ["token"] => {
            let asked = query.one("scopes").map(|scopes| scopes.replace(',', " "));
            let scope = asked.unwrap_or_else(|| SCOPES.join(" "));
            let holder = Holder::Account(account.unique_id);
            let (secret, _) = token::mint(server, holder, scope, LIFETIME).await?;
            let answer =
                json!({ "access_token": secret, "expires_in": LIFETIME.as_secs(), "token_type": "Bearer" });
            Ok((Content::Document(answer), Some(account.email)))
        }
        ["identity"] => {
            let audience = query.one("audience").ok_or(MetadataError::Audience)?;
            let token = id_tokens::issue(server, &account, audience).await.map_err(MetadataError::IdToken)?;
            Ok((Content::Text(token), Some(account.email)))
        }
        _ => Err(MetadataError::Missing),
    }
}

/// The account that was set, while it may do anything.
async fn account(server: &Server) -> Result<Account, MetadataError> {
    let email = server.tunables.metadata_account().ok_or(MetadataError::Missing)?;
    let projects = server.settings.projects.clone();
    let found = server.store.read(move |store| store.account_named(&projects, &email)).await?;
    found.filter(Account::is_usable).ok_or(MetadataError::Missing)
}
