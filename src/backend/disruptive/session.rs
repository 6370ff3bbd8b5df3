//! One login: its token, and requests that carry it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::Endpoints;
use crate::backend::{BackendError, retry};
use crate::credential::{
    ASSERTION_MAX_LIFETIME, DisruptiveCredentials, SecretBytes, shared_secret_assertion,
};

const LOGIN: &str = "login";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// A token is asked for anew this long before it ends, or a quarter of its life: the change that follows a read has one.
const EARLY: Duration = Duration::from_mins(2);
/// A change does not go with a token that ends sooner, or within a quarter of its life.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A login at the API.
pub(super) struct Session {
    pub http: reqwest::Client,
    pub endpoints: Endpoints,
    login: DisruptiveCredentials,
    token: Mutex<Option<Token>>,
    /// One asks at a time. Changes do not wait for it: they use the last token as long as it lasts.
    asking: tokio::sync::Mutex<()>,
    call_timeout: Duration,
}

struct Token {
    value: SecretBytes,
    lasts: Duration,
    until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    /// Seconds. It may be left out (RFC 6749, 5.1).
    expires_in: Option<u64>,
}

/// How the API tells errors, and, without a code, the token endpoint.
#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    /// What the token endpoint says beside it (RFC 6749, 5.2).
    #[serde(default)]
    error_description: String,
    /// A number; in older documents a text.
    code: Option<Value>,
}

impl ErrorAnswer {
    fn words(self) -> String {
        if self.error_description.is_empty() {
            return self.error;
        }
        format!("{}: {}", self.error, self.error_description)
    }

    /// Whether it is the API's own: gateways have errors, too.
    fn is_of_api(&self, status: u16) -> bool {
        match &self.code {
            Some(Value::Number(code)) => code.as_u64() == Some(u64::from(status)),
            Some(Value::String(code)) => *code == status.to_string(),
            _ => false,
        }
    }
}

/// A successful answer.
pub(super) struct Answer<T> {
    pub document: T,
    pub date: Option<Timestamp>,
}

impl Session {
    pub(super) fn new(
        endpoints: Endpoints,
        login: DisruptiveCredentials,
        call_timeout: Duration,
    ) -> Result<Self, BackendError> {
        let http = reqwest::Client::builder()
            .timeout(call_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| BackendError::Client { endpoint: endpoints.api.clone(), source: e.into() })?;
        Ok(Self {
            http,
            endpoints,
            login,
            token: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            call_timeout,
        })
    }

    /// E-mail of the login.
    pub(super) fn email(&self) -> &str {
        self.login.email()
    }

    /// Sends one request with our login.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer<T>, BackendError> {
        let mut request = self.request(&method, path).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.carry(call, &method, request).await
    }

    /// A request that has yet to be carried.
    pub(super) fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        self.http.request(method.clone(), format!("{}/{path}", self.endpoints.api))
    }

    /// Sends a request with our login. A read may ask for a token first, and both together end in time; what changes something
    /// leaves at once or not at all, because what was read before it grows old.
    pub(super) async fn carry<T: DeserializeOwned>(
        &self,
        call: &'static str,
        method: &Method,
        request: RequestBuilder,
    ) -> Result<Answer<T>, BackendError> {
        let after = self.call_timeout;
        let until = Instant::now() + after;
        let no_token = |error| BackendError::NoToken { call, source: Box::new(error) };
        let token = match self.held(AT_ONCE) {
            Some(token) if *method != Method::GET => token,
            _ => {
                let asked = timeout_at(until, self.token(EARLY)).await;
                let token =
                    asked.unwrap_or(Err(BackendError::Timeout { call: LOGIN, after })).map_err(no_token)?;
                if *method != Method::GET {
                    return Err(no_token(BackendError::TokenLate));
                }
                token
            }
        };
        let sent = timeout_at(until, self.send_with(token, call, request)).await;
        sent.unwrap_or(Err(BackendError::Timeout { call, after }))
    }

    /// Asks for a token if the last one is about to end. Whether there is one then shows with the next call.
    pub(super) async fn ready(&self) {
        if let Ok(Err(error)) = tokio::time::timeout(self.call_timeout, self.token(EARLY)).await {
            tracing::debug!(%error, "the login gets no token");
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last token, unless it is so near its end.
    fn held(&self, margin: Duration) -> Option<SecretBytes> {
        let last = self.last();
        let fits = |token: &&Token| Instant::now() + margin.min(token.lasts / 4) < token.until;
        last.as_ref().filter(fits).map(|token| token.value.clone())
    }

    async fn send_with<T: DeserializeOwned>(
        &self,
        token: SecretBytes,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<Answer<T>, BackendError> {
        let shown = token.expose_str().map_err(BackendError::Login)?;
        let answer = request.bearer_auth(shown).send().await.map_err(|e| self.no_answer(call, e))?;
        let status = answer.status();
        if status.as_u16() == 401 {
            // The key of the login may have been replaced: the next call logs in anew, unless another one did.
            let mut last = self.last();
            if last.as_ref().is_some_and(|last| last.value.expose() == token.expose()) {
                *last = None;
            }
        }
        let headers = answer.headers().clone();
        let body = self.body(call, answer).await?;
        if !status.is_success() {
            return Err(refusal(call, status.as_u16(), &headers, &body));
        }
        let document = serde_json::from_slice(body.expose())
            .map_err(|_| BackendError::Incomplete { call, what: "body" })?;
        Ok(Answer { document, date: retry::date(&headers) })
    }

    /// A token that is not near its end, asked for if the last one is.
    async fn token(&self, margin: Duration) -> Result<SecretBytes, BackendError> {
        if let Some(token) = self.held(margin) {
            return Ok(token);
        }
        let _alone = self.asking.lock().await;
        if let Some(token) = self.held(margin) {
            return Ok(token);
        }
        let (value, lasts) = match self.exchange(LOGIN, &self.login, Timestamp::now()).await {
            // Whatever it says no to is the login: that a token endpoint is not there says nothing of what was asked for.
            Err(BackendError::Answer { status, message, .. })
                if (400..500).contains(&status) && ![408, 429, 499].contains(&status) =>
            {
                return Err(BackendError::LoginRefused { identity: self.email().to_owned(), message });
            }
            other => other?,
        };
        let lasts = lasts.min(ASSERTION_MAX_LIFETIME);
        *self.last() = Some(Token { value: value.clone(), lasts, until: Instant::now() + lasts });
        Ok(value)
    }

    /// Exchanges a credential for a token, and tells how long it lasts.
    pub(super) async fn exchange(
        &self,
        call: &'static str,
        credential: &DisruptiveCredentials,
        now: Timestamp,
    ) -> Result<(SecretBytes, Duration), BackendError> {
        let fields = credential.fields();
        let assertion = shared_secret_assertion(
            credential.secret(),
            &fields.key_id,
            &fields.email,
            &fields.token_endpoint,
            now,
            ASSERTION_MAX_LIFETIME,
        )
        .map_err(BackendError::Login)?;
        let assertion = assertion.expose_str().map_err(BackendError::Login)?;
        let form = [("grant_type", GRANT), ("assertion", assertion)];
        let request = self.http.post(&self.endpoints.token).form(&form);
        let answer = request.send().await.map_err(|e| self.no_answer(call, e))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = self.body(call, answer).await?;
        if !status.is_success() {
            return Err(told(call, status.as_u16(), &headers, &body, |_| true));
        }
        match serde_json::from_slice(body.expose()) {
            Ok(TokenAnswer { access_token: Some(token), expires_in }) if !token.is_empty() => {
                let lasts = expires_in.map_or(ASSERTION_MAX_LIFETIME, Duration::from_secs);
                Ok((SecretBytes::from(token), lasts))
            }
            _ => Err(BackendError::Incomplete { call, what: "access token" }),
        }
    }

    /// Whether key id and secret are let in by basic auth; `Err` where nothing was learned. What the account may do there is
    /// another question.
    pub(super) async fn is_let_in(
        &self,
        call: &'static str,
        credential: &DisruptiveCredentials,
        path: &str,
    ) -> Result<bool, BackendError> {
        let secret = credential.secret().expose_str().map_err(BackendError::Login)?;
        let request = self.http.get(format!("{}/{path}", self.endpoints.api));
        let request = request.basic_auth(credential.key_id(), Some(secret));
        let answer = request.send().await.map_err(|e| self.no_answer(call, e))?;
        match answer.status().as_u16() {
            200..=299 => Ok(true),
            status => {
                let headers = answer.headers().clone();
                match refusal(call, status, &headers, &self.body(call, answer).await?) {
                    BackendError::Answer { status: 403 | 404, canonical: Some(_), .. } => Ok(true),
                    BackendError::Answer { status: 401, canonical: Some(_), .. } => Ok(false),
                    other => Err(other),
                }
            }
        }
    }

    /// It may hold a secret.
    async fn body(&self, call: &'static str, answer: Response) -> Result<SecretBytes, BackendError> {
        Ok(SecretBytes::new(answer.bytes().await.map_err(|e| self.no_answer(call, e))?.to_vec()))
    }

    /// The client's own limit is the same as ours, and either may be first.
    fn no_answer(&self, call: &'static str, error: reqwest::Error) -> BackendError {
        if error.is_timeout() {
            return BackendError::Timeout { call, after: self.call_timeout };
        }
        BackendError::NoAnswer { call, source: error.without_url() }
    }
}

/// A failure that was answered. A body that is no error document leaves open who answered.
fn refusal(call: &'static str, status: u16, headers: &HeaderMap, body: &SecretBytes) -> BackendError {
    told(call, status, headers, body, |answer| answer.is_of_api(status))
}

fn told(
    call: &'static str,
    status: u16,
    headers: &HeaderMap,
    body: &SecretBytes,
    is_own: impl Fn(&ErrorAnswer) -> bool,
) -> BackendError {
    let told: Option<ErrorAnswer> = serde_json::from_slice(body.expose()).ok().filter(is_own);
    let canonical = told.as_ref().map(|_| String::new());
    let message =
        told.map_or_else(|| "the answer is no error document of the backend".to_owned(), ErrorAnswer::words);
    let retry_after = retry::asked(&[], Some(headers));
    BackendError::Answer { call, status, canonical, message, retry_after }
}
