//! `generateAccessToken`: who may, speaks for an account without a key of it.

use axum::body::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Server;
use super::access::holds;
use super::accounts::{Sight, find};
use super::model::{Account, Holder};
use super::principal::Principal;
use super::store::Ask;
use super::token;
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::requests::{self, GenerateAccessToken};
use super::wire::route::AccountPath;

/// The longest life of a token, and the one that it has unless another is asked for.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// What speaking for an account takes.
const PERMISSION: &str = "iam.serviceAccounts.getAccessToken";
/// How delegates are named.
const DELEGATE: &str = "projects/-/serviceAccounts/";

/// `accounts.generateAccessToken`.
///
/// # Errors
/// [`ApiError::PermissionDenied`] where one of the chain may not speak for the next; [`ApiError::InvalidArgument`];
/// [`ApiError::FailedPrecondition`] for a disabled account.
pub async fn generate(
    server: &Server,
    at: AccountPath,
    caller: Principal,
    body: &Bytes,
) -> Result<Value, ApiError> {
    let request: GenerateAccessToken = requests::parse(body, server.settings.strict)?;
    if request.scope.iter().all(|scope| scope.trim().is_empty()) {
        return Err(ApiError::invalid("scope is required."));
    }
    let lifetime = request.lifetime.as_deref().map_or(Ok(HOUR), |text| {
        text.parse::<SignedDuration>()
            .ok()
            .filter(|wanted| wanted.is_positive() && *wanted <= HOUR)
            .ok_or_else(|| ApiError::invalid("lifetime must be more than 0s and at most 3600s."))
    })?;
    let delegates = request
        .delegates
        .iter()
        .map(|name| name.strip_prefix(DELEGATE).map(AccountPath::anywhere))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ApiError::invalid("delegates must be projects/-/serviceAccounts/ACCOUNT."))?;
    let sight = server.sight();
    let account = server
        .store
        .read(move |store| {
            let mut speaker = caller;
            for at in &delegates {
                speaker = Principal::Account(next(store, &sight, &speaker, at)?);
            }
            next(store, &sight, &speaker, &at)
        })
        .await?;
    if account.disabled {
        return Err(ApiError::FailedPrecondition {
            reason: format!("Service account {} is disabled.", account.email),
        });
    }
    let scope = request.scope.join(" ");
    let (secret, expires) = token::mint(server, Holder::Account(account.unique_id), scope, lifetime).await?;
    // Whole seconds, as Google: google-auth reads nothing else.
    Ok(json!({ "accessToken": secret, "expireTime": format!("{expires:.0}") }))
}

/// The account for which a speaker may speak.
fn next(store: &impl Ask, sight: &Sight, speaker: &Principal, at: &AccountPath) -> Result<Account, ApiError> {
    let account = find(store, sight, at, Operation::GENERATE_ACCESS_TOKEN)?;
    if holds(store, speaker, &account.project, Some(&account), PERMISSION)? {
        Ok(account)
    } else {
        Err(ApiError::PermissionDenied { permission: PERMISSION })
    }
}
