//! One request to this API: who calls, which fault hits, what is done.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::access;
use super::caller::authenticate;
use super::dispatch::dispatch;
use super::errors::{Error, patience};
use super::model::{Member, email, member_record};
use super::operation::Operation;
use super::requests::MemberFields;
use super::route::{Call, Route, Target};
use super::{form, token};
use crate::iam_server::Server;
use crate::iam_server::exchange::{Outcome, with_fault};
use crate::iam_server::faults::Action;
use crate::iam_server::reply::Reply;
use crate::iam_server::request_log::Entry;
use crate::iam_server::store::Ask as _;
use crate::iam_server::token::TokenError;
use crate::iam_server::wire::errors::Injected;
use crate::iam_server::wire::query::Query;
use crate::iam_server::wire::requests::parse;

/// Answers a request.
pub async fn answer(
    server: &Server,
    route: Route,
    parts: &Parts,
    query: &Query,
    body: &Bytes,
    entry: &mut Entry,
) -> Outcome {
    match route {
        Route::Call(call) => carry_out(server, call, parts, query, body, entry).await,
        Route::Token => token_endpoint(server, parts, body, entry).await,
        Route::Unbuilt(what) => Outcome::Answer(Error::Unimplemented { what }.into()),
        Route::Unknown => Outcome::Answer(Error::UnknownPath.into()),
    }
}

async fn carry_out(
    server: &Server,
    call: Call,
    parts: &Parts,
    query: &Query,
    body: &Bytes,
    entry: &mut Entry,
) -> Outcome {
    let caller = match authenticate(server, &parts.headers).await {
        Ok(caller) => caller,
        Err(error) => return Outcome::Answer(error.into()),
    };
    entry.caller = Some(caller.email());
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
    let act =
        async { dispatch(server, call, &caller, query, body).await.map_or_else(Reply::from, Reply::ok) };
    with_fault(fault, |injected| Error::injected(injected).into(), act).await
}

/// The address of the account that a call is about, as far as it is known before the call is carried out. An account that
/// is yet to be has none.
async fn account_of(server: &Server, call: &Call, body: &Bytes) -> Option<String> {
    match &call.target {
        Target::Account(project, id) | Target::Key(project, id, _) => Some(email(project, id)),
        Target::Place(_) => parse::<MemberFields>(body, false).ok()?.email,
        Target::Member(place, id) => {
            let name = member_record(place, id);
            let member = server.store.read(move |store| store.record::<Member>(&name)).await.ok().flatten();
            member.map(|member| member.email)
        }
        Target::Accounts(_) | Target::AllProjects | Target::Roles | Target::Role(_) => None,
    }
}

async fn token_endpoint(server: &Server, parts: &Parts, body: &Bytes, entry: &mut Entry) -> Outcome {
    let parsed = form::read(&parts.headers, body).token();
    let issuer = parsed.as_ref().ok().and_then(|token| token.claims().iss.clone());
    let fault = server.faults.take(Operation::TOKEN.name, issuer.as_deref());
    entry.fault = fault.as_ref().map(Action::name);
    let exchanged = async {
        match parsed {
            Ok(parsed) => token::exchange(server, parsed).await.map_or_else(Reply::from, Reply::ok),
            Err(error) => error.into(),
        }
    };
    let injected = |injected: Injected| {
        let patience = patience(injected.status).map(|seconds| seconds.to_string());
        Reply::from(TokenError::injected(injected)).retried_after(patience)
    };
    let outcome = with_fault(fault, injected, exchanged).await;
    if let Outcome::Answer(reply) | Outcome::Dropped(reply) = &outcome
        && reply.status() == StatusCode::OK
    {
        entry.caller = issuer;
    }
    outcome
}
