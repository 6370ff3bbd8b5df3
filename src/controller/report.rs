//! Events about objects.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Client};

use super::{Clock, Context};
use crate::domain::{Event, Reason, Severity};

/// Longest note that the API server takes.
const NOTE_LIMIT: usize = 1024;

/// Who reports.
const CONTROLLER: &str = "keywheel";
/// Where events about cluster-wide objects go.
const DEFAULT_NAMESPACE: &str = "default";

/// Publishes events. An event that cannot be stored is logged and forgotten: it never holds up a key.
///
/// Each is an object of its own. A series, as kube's recorder makes it of all events with one reason, would keep the
/// first one's note: of two keys that were deleted it would name the first one twice.
#[derive(Clone)]
pub struct Reporter {
    client: Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl Reporter {
    /// Reports as `keywheel`.
    pub fn new(client: Client, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { client, timeout, clock }
    }

    /// Publishes events about an object.
    pub async fn tell(&self, about: &ObjectReference, events: &[Event]) {
        let namespace = about.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let api: Api<KubeEvent> = Api::namespaced(self.client.clone(), namespace);
        for event in events {
            let post = PostParams::default();
            let told = event_about(about, namespace, event, self.clock.now());
            match tokio::time::timeout(self.timeout, api.create(&post, &told)).await {
                Ok(Ok(_)) => {}
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
    let note =
        format!("The object cannot be read: {}. Correct it; its deletion waits for that, too", invalid.error);
    ctx.reporter.tell(about, &[Event::warning(Reason::InvalidObject, note)]).await;
}

fn event_about(about: &ObjectReference, namespace: &str, event: &Event, now: Timestamp) -> KubeEvent {
    let mut note = event.note.clone();
    if let Some((at, _)) = note.char_indices().nth(NOTE_LIMIT - 24) {
        note.truncate(at);
    }
    let name = about.name.as_deref().unwrap_or(CONTROLLER);
    let severity = match event.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    KubeEvent {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(severity.to_owned()),
        reason: Some(event.reason.as_str().to_owned()),
        note: Some(note),
        action: Some("Reconcile".to_owned()),
        regarding: Some(about.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        ..KubeEvent::default()
    }
}
