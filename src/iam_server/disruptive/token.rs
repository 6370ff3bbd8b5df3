//! The token endpoint: a JWT that a key's secret signed, for an access token (RFC 7523).

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::model::{Account, Key, account_named, account_record, key_record};
use crate::iam_server::Server;
use crate::iam_server::model::Holder;
use crate::iam_server::signed_token::SignedToken;
use crate::iam_server::store::Ask as _;
use crate::iam_server::token::{TokenError, mint};

/// Its path on this server.
pub const PATH: &str = "/oauth2/token";

/// The vendor's own endpoint, which clients name that know no other.
const VENDORS: &str = "https://identity.disruptive-technologies.com/oauth2/token";

/// How long an access token lives.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The longest assertion: an hour, and room for clients that set its beginning back, or read their clock twice.
const LONGEST_ASSERTION: SignedDuration = SignedDuration::from_mins(65);

/// Exchanges a JWT for an access token.
///
/// # Errors
/// [`TokenError`].
pub async fn exchange(server: &Server, token: SignedToken) -> Result<Value, TokenError> {
    let (now, delay) = (server.clock.now(), server.tunables.activation_delay());
    let (own, projects) = (server.own_urls(), server.settings.projects.clone());
    let account = server
        .store
        .read(move |store| {
            let named = token.claims().iss.as_deref().and_then(account_named);
            let account = match named.filter(|(home, _)| projects.iter().any(|project| project == home)) {
                Some((project, id)) => store.record::<Account>(&account_record(project, id))?,
                None => None,
            };
            let account = account.ok_or(TokenError::AccountNotFound)?;
            let key = match token.key_id() {
                Some(id) => store.record::<Key>(&key_record(&account.id, id))?,
                None => None,
            };
            let signs = |key: &Key| key.is_active(now, delay) && token.is_signed_with(&key.secret);
            if !key.as_ref().is_some_and(signs) {
                return Err(TokenError::Signature);
            }
            if !token.is_timely(now, LONGEST_ASSERTION) {
                return Err(TokenError::Timeframe);
            }
            if !token.claims().aud.as_ref().is_some_and(|aud| aud.any(|aud| is_this_endpoint(aud, &own))) {
                return Err(TokenError::Audience { right: format!("{}{PATH}", own[0]) });
            }
            Ok(account)
        })
        .await?;
    let holder = Holder::Disruptive { project: account.project, account: account.id };
    let (secret, _) = mint(server, holder, String::new(), LIFETIME).await?;
    Ok(json!({ "access_token": secret, "token_type": "bearer", "expires_in": LIFETIME.as_secs() }))
}

fn is_this_endpoint(audience: &str, own: &[String]) -> bool {
    audience == VENDORS || own.iter().any(|base| audience.strip_prefix(base) == Some(PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences() {
        let own = ["http://127.0.0.1:4000".to_owned()];
        for good in [VENDORS, "http://127.0.0.1:4000/oauth2/token"] {
            assert!(is_this_endpoint(good, &own), "{good}");
        }
        for bad in ["", "http://127.0.0.1:4000", "http://127.0.0.1:4000/token", "/oauth2/token"] {
            assert!(!is_this_endpoint(bad, &own), "{bad}");
        }
    }
}
