//! Between an operator's process and the world: every call waits here until the scheduler says what becomes of it.

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::runtime::controller::Action;
use tokio::sync::{mpsc, oneshot};

use crate::actor::ObjectKey;
use crate::api_server::{Answer, Request};
use crate::iam;
use crate::service::{Exchange, Lost};

/// A call to either server.
#[derive(Clone)]
pub enum Call {
    /// To the API server.
    Api(Box<Request>),
    /// To the IAM system.
    Iam(Box<iam::Call>),
}

impl Call {
    /// Whether it changes something.
    pub fn is_mutating(&self) -> bool {
        match self {
            Self::Api(request) => request.is_mutating(),
            Self::Iam(call) => call.is_mutating(),
        }
    }

    /// Whether it is about an event, which nothing rests on.
    pub fn is_event(&self) -> bool {
        matches!(self, Self::Api(request) if request.is_event())
    }

    /// Whether it is about the Lease.
    pub fn is_about_lease(&self) -> bool {
        matches!(self, Self::Api(request) if request.resource.kind == "Lease")
    }

    /// For people.
    pub fn summary(&self) -> String {
        match self {
            Self::Api(request) => request.summary(),
            Self::Iam(call) => call.summary(),
        }
    }
}

/// An answer of either server.
#[derive(Clone)]
pub enum Reply {
    /// Of the API server.
    Api(Answer),
    /// Of the IAM system.
    Iam(Result<iam::Answer, iam::Refusal>),
}

/// A call that waits for its fate. Dropping it breaks the connection.
pub struct InFlight {
    /// The process that made it.
    pub actor: usize,
    /// The call.
    pub call: Call,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Reply>,
}

/// What a process tells the scheduler.
pub enum Message {
    /// It made a call.
    Call(InFlight),
    /// It found that another process has the Lease that it had, and ends.
    Deposed {
        /// The process.
        actor: usize,
    },
    /// A reconcile ended.
    Done {
        /// The process.
        actor: usize,
        /// The object.
        object: ObjectKey,
        /// When to look again.
        action: Action,
    },
}

/// The end of the wire in a process.
#[derive(Clone)]
pub struct Wire {
    /// The process.
    pub actor: usize,
    /// To the scheduler.
    pub outbox: mpsc::UnboundedSender<Message>,
}

impl Wire {
    async fn exchange(&self, call: Call) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        self.outbox.send(Message::Call(InFlight { actor: self.actor, call, reply })).ok()?;
        answer.await.ok()
    }
}

impl Exchange for Wire {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Answer, Lost>> {
        let wire = self.clone();
        async move {
            match wire.exchange(Call::Api(Box::new(request))).await {
                Some(Reply::Api(answer)) => Ok(answer),
                _ => Err(Lost),
            }
        }
        .boxed()
    }
}

#[async_trait]
impl iam::Line for Wire {
    async fn call(&self, call: iam::Call) -> Option<Result<iam::Answer, iam::Refusal>> {
        match self.exchange(Call::Iam(Box::new(call))).await {
            Some(Reply::Iam(answer)) => Some(answer),
            _ => None,
        }
    }
}
