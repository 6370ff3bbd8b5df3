//! The operator as it runs in production, with its watches, wake-ups and waits, against servers that answer at once.
//! Runs are judged by what comes of them: which task runs first is kube's business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use keywheel::controller::{Context, Leadership, Parts, Registry, control};
use keywheel::domain::{Capabilities, Timing};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api_server::watch::Shared;
use crate::api_server::{Place, Request, Server};
use crate::clock::{TrueTime, WallClock};
use crate::iam::{self, Iam, Line, SimConnector};
use crate::random::SeededEntropy;
use crate::service::{Direct, Told, client_that_tells};
use crate::stage::NAMESPACE;

/// Both servers.
pub struct Cluster {
    /// The API server.
    pub api: Shared,
    /// The IAM system.
    pub iam: Arc<Mutex<Iam>>,
    /// The true time.
    pub time: TrueTime,
    /// What operators asked the API server.
    pub asked: Told,
}

struct DirectLine {
    iam: Arc<Mutex<Iam>>,
    time: TrueTime,
}

#[async_trait]
impl Line for DirectLine {
    async fn call(&self, call: iam::Call) -> Option<Result<iam::Answer, iam::Refusal>> {
        let now = self.time.now();
        Some(self.iam.lock().unwrap_or_else(PoisonError::into_inner).apply(&call, now))
    }
}

/// An operator that runs.
pub struct Operator {
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Operator {
    /// Ends it in good order.
    pub async fn stop(self) {
        // Nobody listens if it ended by itself.
        self.shutdown.send(()).ok();
        self.task.await.expect("the controllers end without a panic");
    }

    /// Ends it as SIGKILL does.
    pub fn kill(self) {
        self.task.abort();
    }
}

impl Cluster {
    /// A cluster with a namespace and a login.
    pub fn new(seed: u64) -> Self {
        let time = TrueTime::begin();
        let mut server = Server::new(seed, time.now());
        server.create_namespace(NAMESPACE, time.now());
        let iam = Arc::new(Mutex::new(Iam::new(seed)));
        Self { api: Shared::new(server), iam, time, asked: Told::default() }
    }

    /// Starts an operator.
    pub fn start(&self, process: u64) -> Operator {
        let time = self.time;
        let exchange = Direct { server: self.api.clone(), now: Arc::new(move || time.now()) };
        let line = DirectLine { iam: self.iam.clone(), time };
        let ctx = Arc::new(Context::new(Parts {
            client: client_that_tells(self.api.clone(), Arc::new(exchange), Some(self.asked.clone())),
            timing: Timing::default(),
            clock: Arc::new(WallClock::new(time, u32::try_from(process).expect("few processes"))),
            entropy: Arc::new(SeededEntropy::new(1, process, Arc::default())),
            leadership: Leadership::unlimited(),
            backends: Registry::new(
                Arc::new(SimConnector {
                    line: Arc::new(line),
                    can: Capabilities { names_attempts: true, ..crate::iam::google() },
                }),
                "keywheel-system".to_owned(),
                None,
            ),
            cluster_id: "sim".to_owned(),
        }));
        let (shutdown, stop) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stop = async { drop(stop.await) };
            control(&ctx, stop.shared()).await;
        });
        Operator { shutdown, task }
    }

    /// A person's request; its status.
    pub fn request(&self, request: &Request) -> u16 {
        let now = self.time.now();
        self.api.with(|server| {
            let (code, _) = server.handle(request, now);
            while server.collect(now) {}
            code
        })
    }

    /// An object as it is.
    pub fn object(&self, place: &Place) -> Option<Value> {
        self.api.with(|s| s.store.get(place).map(|o| (**o).clone()))
    }

    /// Waits until something holds, for so long at most.
    pub async fn comes(&self, longest: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.time.elapsed() + longest;
        while !holds(self) {
            if self.time.elapsed() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        true
    }
}
