//! The token exchange of workload identity federation (RFC 8693): the token of an identity provider, for an access token.

use axum::http::StatusCode;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::Server;
use super::federation::{NotVouched, ProviderError};
use super::model::Holder;
use super::principal::Principal;
use super::signed_token::SignedToken;
use super::token::{self, LIFETIME, MintError};
use super::wire::errors::Injected;

/// The only grant that is served.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The only kind of token that is handed out.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Kinds of tokens that are taken.
const SUBJECT_TYPES: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

/// What the endpoint refuses with, in the words of OAuth2.
#[derive(Debug, thiserror::Error)]
pub enum StsError {
    /// Another grant.
    #[error("Unsupported grant type.")]
    UnsupportedGrant,
    /// A parameter is missing, or one that this server does not know.
    #[error("Invalid value for \"{parameter}\".")]
    Invalid {
        /// Which.
        parameter: &'static str,
    },
    /// There is no such provider.
    #[error(
        "The target service indicated by the \"audience\" parameters is invalid. This might either be because the \
         pool or provider is disabled or deleted or because it doesn't exist."
    )]
    Target,
    /// The provider does not vouch for the token.
    #[error(transparent)]
    NotVouched(#[from] NotVouched),
    /// The provider's file cannot be used.
    #[error("Internal error encountered.")]
    Provider(#[from] ProviderError),
    /// The work on the provider's file was cut short.
    #[error("Internal error encountered.")]
    Worker(#[from] tokio::task::JoinError),
    /// The token could not be made.
    #[error("Internal error encountered.")]
    Mint(#[from] MintError),
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
}

impl StsError {
    /// What a test asked for.
    pub fn injected(injected: Injected) -> Self {
        let Injected { status, canonical: code, message, .. } = injected;
        Self::Injected { status, code, message }
    }

    /// HTTP status and OAuth2 error code.
    pub fn code(&self) -> (StatusCode, &str) {
        match self {
            Self::UnsupportedGrant => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Target => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::NotVouched(_) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::Provider(_) | Self::Worker(_) | Self::Mint(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_failure")
            }
            Self::Injected { status, code, .. } => (*status, code),
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({ "error": self.code().1, "error_description": self.to_string() })
    }
}

/// The form of a request.
#[derive(Default)]
struct Form {
    grant_type: String,
    audience: String,
    scope: String,
    requested_token_type: String,
    subject_token: String,
    subject_token_type: String,
}

impl Form {
    fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "grant_type" => &mut form.grant_type,
                "audience" => &mut form.audience,
                "scope" => &mut form.scope,
                "requested_token_type" => &mut form.requested_token_type,
                "subject_token" => &mut form.subject_token,
                "subject_token_type" => &mut form.subject_token_type,
                _ => continue,
            };
            *field = value.into_owned();
        }
        form
    }

    /// The subject's token, unchecked.
    fn subject(&self) -> Result<SignedToken, StsError> {
        if self.grant_type != TOKEN_EXCHANGE {
            return Err(StsError::UnsupportedGrant);
        }
        let invalid = |parameter| Err(StsError::Invalid { parameter });
        if self.requested_token_type != ACCESS_TOKEN {
            return invalid("requested_token_type");
        }
        if !SUBJECT_TYPES.contains(&self.subject_token_type.as_str()) {
            return invalid("subject_token_type");
        }
        if self.scope.trim().is_empty() {
            return invalid("scope");
        }
        // Some clients send the last line break of the file that holds it.
        SignedToken::parse(self.subject_token.trim()).ok_or(StsError::Invalid { parameter: "subject_token" })
    }
}

/// Exchanges a token; who the new one speaks for is told beside it.
///
/// # Errors
/// [`StsError`].
pub async fn exchange(server: &Server, body: &[u8]) -> Result<(Value, String), StsError> {
    let form = Form::parse(body);
    let subject = form.subject()?;
    let wanted = form.audience.trim_start_matches("https:").to_owned();
    let (providers, now) = (server.settings.identity_providers.clone(), server.clock.now());
    let (project, name) = server.projects.first().ok_or(StsError::Target)?;
    let vouched = tokio::task::spawn_blocking(move || {
        let provider = providers
            .iter()
            .find(|provider| wanted == format!("//iam.googleapis.com/{}", provider.name(&name)))
            .ok_or(StsError::Target)?;
        Ok::<_, StsError>(provider.vouch(&subject, &project, &name, now)??)
    });
    let federated = vouched.await??;
    let caller = Principal::Federated(federated.clone()).name();
    let holder = Holder::Federated(federated);
    let (secret, _) = token::mint(server, holder, form.scope.trim().to_owned(), LIFETIME).await?;
    let answer = json!({
        "access_token": secret,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": LIFETIME.as_secs(),
    });
    Ok((answer, caller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_is_wrong_with_it() {
        let good = [
            ("grant_type", TOKEN_EXCHANGE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", SUBJECT_TYPES[0]),
            ("scope", "https://www.googleapis.com/auth/cloud-platform"),
            ("subject_token", "e30.e30.\n"),
        ];
        let without = |left_out: &str| {
            let pairs = good.iter().filter(|(name, _)| *name != left_out);
            let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            Form::parse(body.as_bytes()).subject().err().map(|error| error.code().1.to_owned())
        };
        assert_eq!(without("grant_type").as_deref(), Some("unsupported_grant_type"));
        for parameter in ["requested_token_type", "subject_token_type", "scope", "subject_token"] {
            assert_eq!(without(parameter).as_deref(), Some("invalid_request"), "{parameter}");
        }
    }
}
