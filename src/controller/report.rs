//! Events about objects.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder};

use super::Context;
use crate::domain::{Event, Reason, Severity};

/// Longest note that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// Publishes events. An event that cannot be stored is logged and forgotten: it never holds up a key.
#[derive(Clone)]
pub struct Reporter {
    recorder: Recorder,
    timeout: Duration,
}

impl Reporter {
    /// Reports as `keywheel`.
    pub fn new(client: Client, timeout: Duration) -> Self {
        let reporter = kube::runtime::events::Reporter { controller: "keywheel".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter), timeout }
    }

    /// Publishes events about an object.
    pub async fn tell(&self, about: &ObjectReference, events: &[Event]) {
        for event in events {
            let mut note = event.note.clone();
            if let Some((at, _)) = note.char_indices().nth(NOTE_LIMIT - 24) {
                note.truncate(at);
            }
            let kube_event = KubeEvent {
                type_: match event.severity {
                    Severity::Normal => EventType::Normal,
                    Severity::Warning => EventType::Warning,
                },
                reason: event.reason.as_str().to_owned(),
                note: Some(note),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            match tokio::time::timeout(self.timeout, self.recorder.publish(&kube_event, about)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(reason = %event.reason, %error, "event not stored"),
                Err(_) => tracing::debug!(reason = %event.reason, "event not stored in time"),
            }
        }
    }
}

/// One malformed object: said where its owner looks, and the good ones go on.
pub async fn tell_invalid(ctx: &Context, about: &ObjectReference, invalid: &InvalidObject) {
    tracing::warn!(
        kind = about.kind,
        namespace = about.namespace,
        name = about.name,
        error = invalid.error,
        "object cannot be read"
    );
    let note = format!("The object cannot be read: {}. Correct it or delete it", invalid.error);
    ctx.reporter.tell(about, &[Event::warning(Reason::InvalidObject, note)]).await;
}
