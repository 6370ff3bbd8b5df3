//! Around every reconcile: a span, a shield against panics, the wait after a failure, one log line.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::controller::Action;
use tracing::Instrument as _;

use super::lease::reading;
use super::{Context, Error};
use crate::domain::{Event, Reason};

/// How soon a process that lost the Lease looks whether it has it again.
const STANDBY: Duration = Duration::from_secs(5);

/// Runs one reconcile. A failure never leaves here: it becomes a wait that grows with each one, so that a bad
/// object never stops the good ones.
pub async fn guarded<E>(
    ctx: &Context,
    about: ObjectReference,
    pass: impl Future<Output = Result<Action, Error>>,
) -> Result<Action, E>
where
    E: Debug,
{
    let kind = about.kind.clone().unwrap_or_default();
    let namespace = about.namespace.clone().unwrap_or_default();
    let name = about.name.clone().unwrap_or_default();
    let object = format!("{kind}/{namespace}/{name}");
    // Rule 1.
    if ctx.leadership.term(reading(ctx.clock.as_ref())).is_none() {
        return Ok(Action::requeue(STANDBY));
    }
    let span = tracing::info_span!("reconcile", kind, namespace, name);
    let outcome = AssertUnwindSafe(pass.instrument(span.clone())).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|panic| Err(Error::Panicked { message: said(panic.as_ref()) }));
    let _entered = span.enter();
    Ok(match outcome {
        Ok(action) => {
            ctx.failures.clear(&object);
            tracing::debug!("reconciled");
            action
        }
        Err(Error::NotLeading) => Action::requeue(STANDBY),
        Err(error) if error.is_conflict() => {
            tracing::debug!(%error, "observing again");
            Action::requeue(Duration::ZERO)
        }
        Err(error) => {
            let failures = ctx.failures.count(&object);
            let asked = error.retry_after().unwrap_or_default().min(ctx.timing.asked_cap);
            let wait = ctx.timing.retry(failures).max(asked);
            tracing::warn!(%error, failures, wait_seconds = wait.as_secs_f32(), "pass failed");
            if error.is_defect() && failures == 1 {
                let event = Event::warning(Reason::InternalError, error.to_string());
                let reporter = ctx.reporter.clone();
                tokio::spawn(async move { reporter.tell(&about, &[event]).await });
            }
            Action::requeue(wait)
        }
    })
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
