//! Watches: changes as they happen, bookmarks, and the end of a history that was forgotten.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::request::Request;
use super::selector::Selector;
use super::server::Server;
use super::store::{ChangeKind, kind_of};

/// How often a quiet watch says which version it has come to.
const BOOKMARK: Duration = Duration::from_mins(1);
/// How long a watch lasts if nobody says.
const LONGEST: Duration = Duration::from_mins(30);

/// A server that several clients share.
#[derive(Clone)]
pub struct Shared {
    server: Arc<Mutex<Server>>,
    news: Arc<Notify>,
    lost: Arc<Mutex<BTreeSet<u64>>>,
}

impl Shared {
    /// Shares a server.
    pub fn new(server: Server) -> Self {
        Self { server: Arc::new(Mutex::new(server)), news: Arc::new(Notify::new()), lost: Arc::default() }
    }

    /// Does something with the server; watches hear of it afterwards.
    pub fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let before = server.store.version();
        let outcome = act(&mut server);
        if server.store.version() != before {
            self.news.notify_waiters();
        }
        outcome
    }

    /// No watch will hear of the change with this version.
    pub fn lose_change(&self, version: u64) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(version);
    }

    /// Wakes the watches, for instance to find their history forgotten.
    pub fn nudge(&self) {
        self.news.notify_waiters();
    }

    /// The lines of a watch.
    pub fn watch(&self, request: &Request) -> Result<impl Stream<Item = Bytes> + Send + use<>, Refusal> {
        let selector = Selector::of(request)?;
        let text = |name: &str| request.query.get(name).map(String::as_str);
        let lasts = text("timeoutSeconds").and_then(|t| t.parse().ok()).map_or(LONGEST, Duration::from_secs);
        let from = text("resourceVersion").and_then(|v| v.parse::<u64>().ok()).filter(|v| *v > 0);
        let mut lines = Vec::new();
        let version = match from {
            Some(version) => version,
            None => self.with(|server| {
                let kind = kind_of(&request.resource);
                let found = server.store.list(&kind, request.namespace.as_deref());
                lines.extend(
                    found.filter(|(_, o)| selector.matches(o)).map(|(_, o)| line("ADDED", o, request)),
                );
                server.store.version()
            }),
        };
        let watch = Watch {
            shared: self.clone(),
            request: request.clone(),
            selector,
            version,
            lines: lines.into(),
            until: Instant::now() + lasts,
            bookmarks: text("allowWatchBookmarks") == Some("true"),
            over: false,
        };
        Ok(stream::unfold(watch, |mut watch| async move { watch.next().await.map(|line| (line, watch)) }))
    }
}

struct Watch {
    shared: Shared,
    request: Request,
    selector: Selector,
    version: u64,
    lines: std::collections::VecDeque<Bytes>,
    until: Instant,
    bookmarks: bool,
    over: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            let news = self.shared.news.clone();
            let heard = news.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            self.read();
            if !self.lines.is_empty() {
                continue;
            }
            let pause = self.until.min(Instant::now() + BOOKMARK);
            if tokio::time::timeout_at(pause, heard).await.is_err() {
                if Instant::now() >= self.until {
                    return None;
                }
                if self.bookmarks {
                    let object = json!({
                        "kind": self.request.resource.kind, "apiVersion": self.request.resource.api_version(),
                        "metadata": { "resourceVersion": self.version.to_string(), "creationTimestamp": null },
                    });
                    self.lines.push_back(line("BOOKMARK", &object, &self.request));
                }
            }
        }
    }

    /// What happened since the last look.
    fn read(&mut self) {
        let server = self.shared.server.lock().unwrap_or_else(PoisonError::into_inner);
        if self.version < server.store.compacted() {
            let message =
                format!("too old resource version: {} ({})", self.version, server.store.compacted());
            let refusal = Refusal::expired(message);
            self.lines.push_back(raw("ERROR", &refusal.body()));
            self.over = true;
            return;
        }
        let kind = kind_of(&self.request.resource);
        let lost = self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for change in server.store.since(self.version) {
            let here = change.place.kind == kind
                && self.request.namespace.as_ref().is_none_or(|ns| *ns == change.place.namespace);
            if !here || lost.contains(&change.version) {
                continue;
            }
            let was = change.before.as_ref().is_some_and(|o| self.selector.matches(o));
            let is = change.kind != ChangeKind::Deleted && self.selector.matches(&change.object);
            let what = match (was, is) {
                (false, false) => continue,
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
            };
            // What leaves a selection is shown as it was when it was in it.
            let object = match &change.before {
                Some(before) if what == "DELETED" => {
                    let mut last = (**before).clone();
                    last["metadata"]["resourceVersion"] =
                        change.object["metadata"]["resourceVersion"].clone();
                    Arc::new(last)
                }
                _ => change.object.clone(),
            };
            self.lines.push_back(line(what, &object, &self.request));
        }
        self.version = server.store.version();
    }
}

fn line(what: &str, object: &Value, request: &Request) -> Bytes {
    if request.metadata_only {
        let object = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        });
        raw(what, &object)
    } else {
        raw(what, object)
    }
}

fn raw(what: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({ "type": what, "object": object })))
}
