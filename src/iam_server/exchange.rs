//! One request from its arrival to its answer: who calls, which fault hits, what is done, what is logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;

use super::caller::{authenticate, kind_of_login};
use super::connection::Scissors;
use super::dispatch::{Asked, dispatch};
use super::faults::Action;
use super::metadata::Content;
use super::model::email;
use super::reply::{Reply, respond};
use super::request_log::Entry;
use super::sts::StsError;
use super::token::{Form as TokenForm, TokenError};
use super::wire::errors::{ApiError, Injected};
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::requests::{CreateAccount, parse};
use super::wire::route::{ApiCall, Route, Target};
use super::{
    Server, access, accounts, control, disruptive, earth_engine, id_tokens, metadata, page, public_keys, sts,
    token,
};

/// The longest body; a certificate has 2 KiB.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The longest nonce of an attempt.
const MAX_NONCE: usize = 64;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// What happens to the answer.
pub(super) enum Outcome {
    /// It is sent.
    Answer(Reply),
    /// Carried out, but the answer is lost.
    Dropped(Reply),
    /// Not carried out, and no answer.
    Hangup,
}

/// Carries a request out and writes its log line.
pub(super) async fn run(server: Arc<Server>, scissors: Scissors, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let route = Route::parse(&parts.method, parts.uri.path());
    let query = Query::parse(parts.uri.query());
    let mut entry = begin(&server, &parts, &route, &query);
    let unreadable: fn(&str) -> Reply = match route {
        Route::Disruptive(_) => |why| disruptive::Error::invalid(why).into(),
        _ => |why| ApiError::invalid(why).into(),
    };
    let outcome = match tokio::time::timeout(BODY_PATIENCE, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(body)) => answer(&server, route, &parts, &query, &body, &mut entry).await,
        Ok(Err(_)) | Err(_) => Outcome::Answer(unreadable("The request body cannot be read or is too long.")),
    };
    let reply = match outcome {
        Outcome::Answer(reply) => Some(reply),
        Outcome::Dropped(reply) => {
            scissors.cut();
            Some(reply)
        }
        Outcome::Hangup => {
            scissors.cut();
            None
        }
    };
    entry.status = reply.as_ref().map(|reply| reply.status().as_u16());
    finish(&server, &entry);
    respond(&server, reply)
}

fn begin(server: &Server, parts: &Parts, route: &Route, query: &Query) -> Entry {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in query.for_log() {
        shown.entry(name).or_default().push(value);
    }
    Entry {
        time: server.clock.now(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: shown,
        auth: kind_of_login(&parts.headers),
        caller: None,
        operation: operation_name(route).to_owned(),
        status: None,
        user_agent: parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        fault: None,
    }
}

fn operation_name(route: &Route) -> &'static str {
    match route {
        Route::Api(call) => call.operation.name,
        Route::Token => Operation::TOKEN.name,
        Route::StsToken => Operation::STS_TOKEN.name,
        Route::Metadata(_) => Operation::METADATA.name,
        Route::Disruptive(route) => route.name(),
        Route::Root => "root",
        Route::PublicKeys { .. } => "public_keys",
        Route::IdTokenCertificates(_) => "id_token_certificates",
        Route::EarthEngineDescription => "earth_engine_description",
        Route::Faults(_) => "faults",
        Route::Settings(_) => "settings",
        Route::Unbuilt(_) => "unbuilt",
        Route::Unknown => "unknown",
    }
}

/// A browser says so; a client of the metadata server does not.
fn wants_html(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn finish(server: &Server, entry: &Entry) {
    // The page itself, asked for every two seconds, would push everything else off it.
    if server.settings.page && entry.operation != "root" {
        server.recent.add(entry);
    }
    tracing::debug!(
        operation = entry.operation,
        status = entry.status,
        caller = entry.caller,
        fault = entry.fault,
        "{} {}",
        entry.method,
        entry.path
    );
    if let Some(log) = &server.log
        && let Err(error) = log.append(entry)
    {
        tracing::error!(%error, "the request log cannot be written");
    }
}

async fn answer(
    server: &Server,
    route: Route,
    parts: &Parts,
    query: &Query,
    body: &Bytes,
    entry: &mut Entry,
) -> Outcome {
    let reply = match route {
        Route::Api(call) => return api(server, call, parts, query, body, entry).await,
        Route::Token => return token_endpoint(server, body, entry).await,
        Route::StsToken => return sts_endpoint(server, body, entry).await,
        Route::Disruptive(route) => {
            return disruptive::answer(server, route, parts, query, body, entry).await;
        }
        Route::Metadata(path) => return metadata_endpoint(server, &path, query, parts, entry).await,
        Route::Root if server.settings.page && wants_html(parts) => match page::render(server).await {
            Ok(page) => Reply::page(page),
            Err(error) => ApiError::from(error).into(),
        },
        // Python's client looks only at the header.
        Route::Root if server.tunables.metadata_account().is_some() => {
            Reply::metadata(Content::Text("computeMetadata/\n".to_owned()))
        }
        Route::PublicKeys { format, email } => match public_keys::show(server, format, email).await {
            Ok(body) => Reply::public_keys(body),
            Err(error) => error.into(),
        },
        Route::IdTokenCertificates(format) => match id_tokens::certificates(server, format).await {
            Ok(body) => Reply::public_keys(body),
            Err(error) => error.into(),
        },
        Route::EarthEngineDescription => Reply::ok(earth_engine::description(&server.base_url)),
        Route::Faults(method) if server.settings.enable_fault_api => {
            control::faults(server, &method, body).map_or_else(Reply::from, Reply::ok)
        }
        Route::Settings(method) if server.settings.enable_fault_api => {
            control::settings(server, &method, body).map_or_else(Reply::from, Reply::ok)
        }
        Route::Unbuilt(what) => ApiError::Unimplemented { what }.into(),
        Route::Faults(_) | Route::Settings(_) | Route::Root | Route::Unknown => ApiError::UnknownPath.into(),
    };
    Outcome::Answer(reply)
}

async fn api(
    server: &Server,
    mut call: ApiCall,
    parts: &Parts,
    query: &Query,
    body: &Bytes,
    entry: &mut Entry,
) -> Outcome {
    if let Some(project) = call.target.project_mut() {
        *project = server.projects.id_of(project).to_owned();
    }
    let caller = match authenticate(server, &parts.headers).await {
        Ok(caller) => caller,
        Err(error) => return Outcome::Answer(error.into()),
    };
    entry.caller = Some(caller.principal.name());
    if let Err(error) = access::check(server, &caller, &call).await {
        return Outcome::Answer(error.into());
    }
    let fault = if server.faults.is_empty() {
        None
    } else {
        let about = account_of(server, &call, body).await;
        server.faults.take(call.operation.name, about.as_deref())
    };
    entry.fault = fault.as_ref().map(Action::name);
    let injected = |injected: Injected| ApiError::Injected(injected).into();
    let attempt = attempt_of(entry.user_agent.as_deref());
    let asked = Asked { caller: &caller, query, body, attempt };
    let act = async { dispatch(server, call, asked).await.map_or_else(Reply::from, Reply::ok) };
    with_fault(fault, injected, act).await
}

/// The nonce of the caller's attempt: the word after `attempt/` in its user agent.
fn attempt_of(user_agent: Option<&str>) -> Option<String> {
    let mut words = user_agent?.split(' ');
    let nonce = words.find_map(|word| word.strip_prefix("attempt/"))?;
    let plain =
        !nonce.is_empty() && nonce.len() <= MAX_NONCE && nonce.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| nonce.to_owned())
}

/// Lets a fault do its work around an action.
pub(super) async fn with_fault(
    fault: Option<Action>,
    injected: impl FnOnce(Injected) -> Reply,
    act: impl Future<Output = Reply>,
) -> Outcome {
    match fault {
        None => Outcome::Answer(act.await),
        Some(Action::Fail { status, canonical, message, details, retry_after }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let reply = injected(Injected { status, canonical, message, details });
            Outcome::Answer(reply.retried_after(retry_after))
        }
        Some(Action::Delay { millis }) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Outcome::Answer(act.await)
        }
        Some(Action::DropBefore) => Outcome::Hangup,
        Some(Action::ApplyThenDrop) => Outcome::Dropped(act.await),
    }
}

/// The address of the account that a call is about, as far as it is known before the call is carried out.
async fn account_of(server: &Server, call: &ApiCall, body: &Bytes) -> Option<String> {
    match &call.target {
        Target::Accounts(project) => {
            let request: CreateAccount = parse(body, false).ok()?;
            Some(email(&request.account_id?, project))
        }
        Target::Account(at) | Target::Key(at, _) => {
            let wanted = at.clone();
            let found = server.store.read(move |store| accounts::lookup(store, &wanted)).await.ok().flatten();
            Some(found.map_or_else(|| at.account.clone(), |account| account.email))
        }
        _ => None,
    }
}

async fn token_endpoint(server: &Server, body: &Bytes, entry: &mut Entry) -> Outcome {
    let parsed = TokenForm::parse(body).token();
    let issuer = parsed.as_ref().ok().and_then(|token| token.claims().iss.clone());
    let fault = server.faults.take(Operation::TOKEN.name, issuer.as_deref());
    entry.fault = fault.as_ref().map(Action::name);
    let injected = |injected: Injected| TokenError::injected(injected).into();
    let exchanged = async {
        match parsed {
            Ok(parsed) => token::exchange(server, parsed).await.map_or_else(Reply::from, Reply::ok),
            Err(error) => error.into(),
        }
    };
    let outcome = with_fault(fault, injected, exchanged).await;
    if let Outcome::Answer(reply) | Outcome::Dropped(reply) = &outcome
        && reply.status() == StatusCode::OK
    {
        entry.caller = issuer;
    }
    outcome
}

async fn sts_endpoint(server: &Server, body: &Bytes, entry: &mut Entry) -> Outcome {
    let fault = server.faults.take(Operation::STS_TOKEN.name, None);
    entry.fault = fault.as_ref().map(Action::name);
    let injected = |injected: Injected| StsError::injected(injected).into();
    let caller = &mut entry.caller;
    let exchanged = async {
        match sts::exchange(server, body).await {
            Ok((answer, name)) => {
                *caller = Some(name);
                Reply::ok(answer)
            }
            Err(error) => error.into(),
        }
    };
    with_fault(fault, injected, exchanged).await
}

async fn metadata_endpoint(
    server: &Server,
    path: &[String],
    query: &Query,
    parts: &Parts,
    entry: &mut Entry,
) -> Outcome {
    let fault = server.faults.take(Operation::METADATA.name, None);
    entry.fault = fault.as_ref().map(Action::name);
    let injected = |injected: Injected| Reply::metadata_error(injected.status, injected.message);
    let caller = &mut entry.caller;
    let answered = async {
        match metadata::answer(server, path, query, &parts.headers).await {
            Ok((content, name)) => {
                *caller = name;
                Reply::metadata(content)
            }
            Err(error) => error.into(),
        }
    };
    with_fault(fault, injected, answered).await
}

#[cfg(test)]
mod tests {
    use super::attempt_of;

    #[test]
    fn an_attempt_is_the_word_in_the_user_agent() {
        let of = |agent: &str| attempt_of(Some(agent));
        assert_eq!(of("keywheel/0.1.0 attempt/8s8y9xazuq"), Some("8s8y9xazuq".to_owned()));
        assert_eq!(of("gl-rust/1 attempt/abc gax/2"), Some("abc".to_owned()));
        for other in ["keywheel/0.1.0", "attempt/", "attempt/a%2f", "attempts/abc", ""] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(of(&format!("attempt/{}", "a".repeat(65))), None);
        assert_eq!(attempt_of(None), None);
    }
}
