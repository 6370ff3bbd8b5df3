//! Scenarios that run against the in-process API server and against a real one: the transcripts must be equal.

mod custom;
mod desk;
mod lists;
mod meta;
mod secrets;

use futures::future::LocalBoxFuture;

pub use desk::{Desk, Line};

/// A scenario.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub run: for<'a> fn(&'a mut Desk) -> LocalBoxFuture<'a, ()>,
}

/// Defines a scenario: a name and what is done at its desk.
macro_rules! scenario {
    ($name:literal, $desk:ident => $body:block) => {
        $crate::conformance::Scenario {
            name: $name,
            run: |$desk| ::futures::FutureExt::boxed_local(async move { $body }),
        }
    };
}
use scenario;

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    [secrets::all(), custom::all(), meta::all(), lists::all()].into_iter().flatten().collect()
}

/// Where two transcripts differ first.
pub fn difference(one: &[Line], other: &[Line]) -> Option<String> {
    for (index, (a, b)) in one.iter().zip(other).enumerate() {
        if a != b {
            return Some(format!(
                "line {}: {}\n  ours: {} {}\n  real: {} {}",
                index + 1,
                a.asked,
                a.code,
                a.answer,
                b.code,
                b.answer
            ));
        }
    }
    (one.len() != other.len()).then(|| format!("{} lines against {}", one.len(), other.len()))
}

/// The transcript of a scenario against the in-process API server.
pub async fn in_process(scenario: &Scenario) -> Vec<Line> {
    use crate::api_server::{Server, watch::Shared};
    use crate::service::{Direct, client};
    let mut server = Server::new(1, jiff::Timestamp::now());
    server.create_namespace("conformance", jiff::Timestamp::now());
    // A real server has forgotten its beginnings, too.
    server.store.compact();
    let shared = Shared::new(server);
    let direct = Direct { server: shared.clone(), now: std::sync::Arc::new(jiff::Timestamp::now) };
    let mut desk = Desk::new(client(shared, std::sync::Arc::new(direct)), "conformance".to_owned());
    (scenario.run)(&mut desk).await;
    desk.transcript
}
