//! An API server behind kube's client: the whole client stack stays in play, only the network is missing.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use tower::Service;

use crate::api_server::watch::Shared;
use crate::api_server::{Answer, Request};

/// No answer came: the connection broke, or nobody answered in time.
#[derive(Debug, thiserror::Error)]
#[error("the connection was reset")]
pub struct Lost;

/// The way of a request to a server, and of its answer back.
pub trait Exchange: Send + Sync + 'static {
    /// Sends one request. It may never be answered.
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Answer, Lost>>;
}

/// A client that reaches `server` for its watches and `exchange` for all else.
pub fn client(server: Shared, exchange: Arc<dyn Exchange>) -> Client {
    client_that_tells(server, exchange, None)
}

/// Every request, in order.
pub type Told = Arc<Mutex<Vec<Request>>>;

/// The same, and tells all that it is asked.
pub fn client_that_tells(server: Shared, exchange: Arc<dyn Exchange>, told: Option<Told>) -> Client {
    Client::new(Network { server, exchange, told }, "default")
}

struct Network {
    server: Shared,
    exchange: Arc<dyn Exchange>,
    told: Option<Told>,
}

type Reply = http::Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Service<http::Request<Body>> for Network {
    type Response = Reply;
    type Error = Lost;
    type Future = BoxFuture<'static, Result<Reply, Lost>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (server, exchange, told) = (self.server.clone(), self.exchange.clone(), self.told.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(|_| Lost)?;
            let request = match Request::parse(&parts, &body) {
                Ok(request) => request,
                Err(refusal) => return Ok(whole(refusal.code, &refusal.body())),
            };
            if let Some(told) = told {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            }
            if request.verb == crate::api_server::Verb::Watch {
                return Ok(match server.watch(&request) {
                    Ok(lines) => {
                        let body = StreamBody::new(lines.map(|line| Ok(Frame::data(line))));
                        response(200, body.boxed_unsync())
                    }
                    Err(refusal) => whole(refusal.code, &refusal.body()),
                });
            }
            let (code, body) = exchange.send(request).await?;
            Ok(whole(code, &body))
        }
        .boxed()
    }
}

fn whole(code: u16, body: &serde_json::Value) -> Reply {
    // A page that is no document is sent as it is.
    let text = match body.as_str() {
        Some(page) => page.as_bytes().to_vec(),
        None => serde_json::to_vec(body).expect("a value is a document"),
    };
    response(code, Full::new(Bytes::from(text)).boxed_unsync())
}

fn response(code: u16, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    http::Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(body)
        .expect("a status and one header make a response")
}

/// A server that answers at once, for clients that nothing goes wrong for.
pub struct Direct {
    /// The server.
    pub server: Shared,
    /// What time it is.
    pub now: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>,
}

impl Exchange for Direct {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Answer, Lost>> {
        let now = (self.now)();
        let answer = self.server.with(|server| {
            let answer = server.handle(&request, now);
            while server.collect(now) {}
            answer
        });
        futures::future::ready(Ok(answer)).boxed()
    }
}
