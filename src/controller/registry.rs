//! Backends, logged in to: one connection per backend object, kept while its spec and login stay the same.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;

use super::connection::Target;
use super::{Clock, Context, Error};
use crate::api::v1alpha1::{
    AllowedNamespaces, BackendKind, BackendRef, ClusterIamBackend, IamBackend, SecretKeyRef, Tenants,
};
use crate::backend::{BackendError, Facts, IamBackend as Backend, System, Throttle, connect};
use crate::credential::SecretBytes;
use crate::domain::Reason;
use crate::domain::schedule::{add, between};

/// Names a backend object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendId {
    /// Its kind.
    pub kind: BackendKind,
    /// Its namespace; empty for the cluster-wide kind.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl BackendId {
    /// What a reference from a namespace means.
    pub fn of(reference: &BackendRef, namespace: &str) -> Self {
        let namespace = match reference.kind {
            BackendKind::ClusterIamBackend => String::new(),
            BackendKind::IamBackend => namespace.to_owned(),
        };
        Self { kind: reference.kind, namespace, name: reference.name.clone() }
    }
}

/// A login in use.
pub struct Login {
    backend: Arc<dyn Backend>,
    throttle: Option<Arc<Throttle>>,
    fingerprint: Fingerprint,
    /// Whether the backend refused it: Google's client asks no second time for a token that it was once refused.
    refused: AtomicBool,
    /// The backend's time when it was last told, and when that was on a clock that nobody sets.
    told: Mutex<Option<(Timestamp, Duration)>>,
}

#[derive(Clone, PartialEq)]
struct Fingerprint {
    uid: String,
    target: Target,
    login: Option<Vec<u8>>,
}

impl Login {
    /// What the backend is and can do.
    pub fn facts(&self) -> &Facts {
        self.backend.facts()
    }

    /// The backend, as soon as a namespace may send it so many requests.
    pub async fn turn(&self, namespace: &str, requests: NonZeroU32) -> &dyn Backend {
        if let Some(throttle) = &self.throttle {
            throttle.turn(namespace, requests).await;
        }
        self.backend.ready().await;
        self.backend.as_ref()
    }

    /// A namespace had its turn and did not use it.
    pub fn give_back(&self, namespace: &str) {
        if let Some(throttle) = &self.throttle {
            throttle.give_back(namespace);
        }
    }

    /// The backend, for one request of a namespace.
    pub async fn read(&self, namespace: &str) -> &dyn Backend {
        self.turn(namespace, NonZeroU32::MIN).await
    }

    /// The backend at once: for what no quota counts, and for the one create of an intent, which must leave soon. The list that
    /// comes before an intent waits for both ([`Login::turn`]).
    pub fn now(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// The backend refused it: the next look at the backend logs in anew.
    pub fn was_refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// The backend told its time; the answer is how many seconds it is ahead of ours.
    pub fn compare_clock(&self, backend_time: Timestamp, clock: &dyn Clock) -> i64 {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((backend_time, clock.since_boot()));
        // The backend gives whole seconds.
        backend_time.as_second() - clock.now().as_second()
    }

    /// By how much the backend's clock, run on since it was last told, differs from ours, either way: a step of
    /// ours shows at once. `None` if it was never told.
    pub fn skew(&self, clock: &dyn Clock) -> Option<Duration> {
        let (backend_time, at) = (*self.told.lock().unwrap_or_else(PoisonError::into_inner))?;
        let (ours, theirs) = (clock.now(), add(backend_time, clock.since_boot().saturating_sub(at)));
        Some(between(theirs.min(ours), theirs.max(ours)))
    }
}

/// Why a backend cannot be used.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Unusable {
    /// Why, and what to do about it.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What a cluster-wide backend lets namespaces do; a namespaced one lets its own do everything.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Which namespaces.
    pub allowed: Option<AllowedNamespaces>,
    /// What they may ask for; `None` for a namespaced backend.
    pub tenants: Option<Tenants>,
    /// Whether the backend object is being deleted: nothing new is made at it.
    pub deleting: bool,
}

/// Outcome of a look at a backend object.
pub type Resolved = Result<(Arc<Login>, Rules), Unusable>;

/// Logs in at a backend: the seam at which another world can be put under the controllers.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Logs in. The first call will show whether the login is accepted.
    async fn connect(
        &self,
        system: System<'_>,
        call_timeout: Duration,
    ) -> Result<Arc<dyn Backend>, BackendError>;
}

/// Logs in over the network.
#[derive(Debug, Default)]
pub struct NetworkConnector;

#[async_trait]
impl Connector for NetworkConnector {
    async fn connect(
        &self,
        system: System<'_>,
        call_timeout: Duration,
    ) -> Result<Arc<dyn Backend>, BackendError> {
        connect(system, call_timeout).await
    }
}

/// All logins in use, and where login Secrets and the embedded server are.
pub struct Registry {
    connector: Arc<dyn Connector>,
    logins: Mutex<HashMap<BackendId, Arc<Login>>>,
    /// Who changes policies of a project, one at a time.
    policy_writers: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Namespace of the login Secrets of cluster-wide backends.
    cluster_resource_namespace: String,
    /// Address of the embedded server for namespaced backends.
    embedded_endpoint: Option<String>,
}

impl Registry {
    /// An empty registry.
    pub fn new(
        connector: Arc<dyn Connector>,
        cluster_resource_namespace: String,
        embedded_endpoint: Option<String>,
    ) -> Self {
        Self {
            connector,
            logins: Mutex::new(HashMap::new()),
            policy_writers: Mutex::new(HashMap::new()),
            cluster_resource_namespace,
            embedded_endpoint,
        }
    }

    /// To be held while a policy of a project is read and written: two writers of our own would only refuse each other.
    pub fn policy_writer(&self, project: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut writers = self.policy_writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.entry(project.to_owned()).or_default().clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<BackendId, Arc<Login>>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The login in use, if there is one: for calls that end things while the login Secret is gone already.
    pub fn last_good(&self, id: &BackendId) -> Option<Arc<Login>> {
        self.locked().get(id).cloned()
    }

    /// The backend object is gone.
    pub fn forget(&self, id: &BackendId) {
        self.locked().remove(id);
    }

    /// Reads the backend object and its login anew, and logs in if either changed.
    pub async fn resolve(&self, ctx: &Context, id: &BackendId) -> Result<Resolved, Error> {
        let (uid, target, secret_namespace, rules) = match id.kind {
            BackendKind::ClusterIamBackend => {
                let Some(object) = ctx.io.get(&ctx.io.all::<ClusterIamBackend>(), &id.name).await? else {
                    return Ok(Err(missing("ClusterIamBackend", &id.name)));
                };
                let (uid, deleting) = (object.uid(), object.metadata.deletion_timestamp.is_some());
                let spec = object.spec;
                let rules = Rules {
                    allowed: spec.allowed_namespaces.clone(),
                    tenants: Some(spec.tenants.clone().unwrap_or_default()),
                    deleting,
                };
                (uid, Target::of_cluster(spec), self.cluster_resource_namespace.clone(), rules)
            }
            BackendKind::IamBackend => {
                let api = ctx.io.namespaced::<IamBackend>(&id.namespace);
                let Some(object) = ctx.io.get(&api, &id.name).await? else {
                    return Ok(Err(missing("IamBackend", &id.name)));
                };
                let (uid, deleting) = (object.uid(), object.metadata.deletion_timestamp.is_some());
                let rules = Rules { deleting, ..Rules::default() };
                let target = Target::of_namespace(object.spec, self.embedded_endpoint.as_deref());
                (uid, target, id.namespace.clone(), rules)
            }
        };
        let target = match target {
            Ok(target) => target,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let login = match target.secret_ref() {
            None => None,
            Some(reference) => match self.read_login(ctx, &secret_namespace, reference).await? {
                Ok(login) => Some(login),
                Err(unusable) => return Ok(Err(unusable)),
            },
        };
        let system = match target.system(login.as_ref()) {
            Ok(system) => system,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let digest_of =
            |login: &SecretBytes| digest::digest(&digest::SHA256, login.expose()).as_ref().to_vec();
        let fingerprint = Fingerprint {
            uid: uid.unwrap_or_default(),
            target: target.clone(),
            login: login.as_ref().map(digest_of),
        };
        if let Some(known) =
            self.last_good(id).filter(|l| l.fingerprint == fingerprint && !l.refused.load(Ordering::Relaxed))
        {
            return Ok(Ok((known, rules)));
        }
        match self.connector.connect(system, ctx.timing.call_timeout).await {
            Ok(backend) => {
                // Another login at the same backend has spent what it has spent.
                let before = self.last_good(id).filter(|l| l.fingerprint.target.rate == target.rate);
                let throttle = before
                    .and_then(|login| login.throttle.clone())
                    .or_else(|| target.rate.map(|rate| Arc::new(Throttle::new(rate))));
                let login = Arc::new(Login {
                    backend,
                    throttle,
                    fingerprint,
                    refused: AtomicBool::new(false),
                    told: Mutex::new(None),
                });
                self.locked().insert(id.clone(), login.clone());
                Ok(Ok((login, rules)))
            }
            Err(error) => {
                let place = target.secret_ref().map(|SecretKeyRef { name, key }| {
                    format!(". Look at the data key {key} of the Secret {secret_namespace}/{name}")
                });
                let message = format!("{error}{}", place.unwrap_or_default());
                Ok(Err(Unusable::new(Reason::LoginInvalid, message)))
            }
        }
    }

    async fn read_login(
        &self,
        ctx: &Context,
        namespace: &str,
        reference: &SecretKeyRef,
    ) -> Result<Result<SecretBytes, Unusable>, Error> {
        let SecretKeyRef { name, key } = reference;
        let Some(secret) = ctx.io.get(&ctx.io.namespaced::<Secret>(namespace), name).await? else {
            let message = format!("The login Secret {namespace}/{name} does not exist");
            return Ok(Err(Unusable::new(Reason::LoginMissing, message)));
        };
        Ok(match secret.data.unwrap_or_default().remove(key) {
            Some(value) => Ok(SecretBytes::new(value.0)),
            None => {
                let message = format!("The login Secret {namespace}/{name} has no data key {key}");
                Err(Unusable::new(Reason::LoginMissing, message))
            }
        })
    }
}

fn missing(kind: &str, name: &str) -> Unusable {
    Unusable::new(Reason::BackendNotFound, format!("{kind} {name} does not exist"))
}

/// Whether a namespace may use a backend.
pub async fn allows(ctx: &Context, rules: &Rules, namespace: &str) -> Result<Result<(), Unusable>, Error> {
    let Some(allowed) = &rules.allowed else { return Ok(Ok(())) };
    if allowed.names.iter().any(|n| n == namespace) {
        return Ok(Ok(()));
    }
    if let Some(selector) = &allowed.selector {
        let found = ctx.io.get(&ctx.io.all::<Namespace>(), namespace).await?;
        let labels = found.map(|n| n.labels().clone()).unwrap_or_default();
        if selector.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v)) {
            return Ok(Ok(()));
        }
    }
    let message = format!("The backend's allowedNamespaces do not include {namespace}");
    Ok(Err(Unusable::new(Reason::NamespaceNotAllowed, message)))
}
