//! The in-process API server of the simulation against the real one: the same scenarios, equal transcripts.

#![cfg(test)]

use std::sync::OnceLock;

use keywheel::kube_io::with_kubeconfig;
use keywheel_sim::conformance::{Desk, Line, Scenario, all, difference, in_process};
use keywheel_testbed::shared;
use kube::Client;
use libtest_mimic::{Failed, Trial};
use tokio::runtime::Runtime;

/// One trial for each scenario.
pub fn trials() -> Vec<Trial> {
    let trial = |scenario: Scenario| {
        Trial::test(format!("control_plane::conformance::{}", scenario.name), move || compare(&scenario))
    };
    all().into_iter().map(trial).collect()
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

fn client() -> Result<&'static Client, Failed> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let kubeconfig = shared::control_plane()?.admin_kubeconfig();
    let client = runtime().block_on(with_kubeconfig(kubeconfig))?;
    Ok(CLIENT.get_or_init(|| client))
}

fn compare(scenario: &Scenario) -> Result<(), Failed> {
    let client = client()?.clone();
    let namespace = shared::control_plane()?.create_namespace("conformance")?;
    runtime().block_on(async {
        let real = transcript(scenario, client, namespace).await;
        let ours = in_process(scenario).await;
        match difference(&ours, &real) {
            None => Ok(()),
            Some(difference) => Err(difference.into()),
        }
    })
}

async fn transcript(scenario: &Scenario, client: Client, namespace: String) -> Vec<Line> {
    let mut desk = Desk::new(client, namespace);
    (scenario.run)(&mut desk).await;
    desk.transcript
}
