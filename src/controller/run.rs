//! The controllers wired together: watches, wake-ups, readiness, the end.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::ExponentialBackoff;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::context::Parts;
use super::lease::{self, Deposed, Leadership, LeaseOptions};
use super::registry::{BackendId, NetworkConnector, Registry};
use super::{Context, SystemClock, SystemEntropy, account, backend, key};
use crate::api::v1alpha1::{
    BackendKind, ClusterIamBackend, IamBackend, ServiceAccount, ServiceAccountKey, meta,
};
use crate::domain::Timing;
use crate::kube_io::{Io, KubeIoError};

/// Objects of one kind that are worked on at once.
const CONCURRENCY: u16 = 16;
/// Several wake-ups of an object within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// A broken watch is opened again after these, doubling. All watches of a controller share one backoff, and each error of
/// any of them takes a step: with the library's half a minute they would be blind for minutes after a restart of the API
/// server.
const WATCH_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// What the controllers are started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the login Secrets of cluster-wide backends.
    pub cluster_resource_namespace: String,
    /// Address of the embedded server for namespaced backends.
    pub embedded_endpoint: Option<String>,
    /// What tells this cluster from others; default: the uid of the namespace `kube-system`.
    pub cluster_id: Option<String>,
    /// The Lease that lets one process act.
    pub lease: LeaseOptions,
    /// All waits and caps.
    pub timing: Timing,
}

/// The controllers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kinds are not installed.
    #[error(
        "the API server does not know {kind}: install the custom resource definitions with \
         `keywheel crds | kubectl apply --server-side -f -`, or with the chart"
    )]
    NotInstalled {
        /// The first kind that is missing.
        kind: String,
    },
    /// The API server refused or did not answer at the start.
    #[error("the API server cannot be used: {0}")]
    Kube(#[from] KubeIoError),
    /// Another process leads now.
    #[error(transparent)]
    Deposed(#[from] Deposed),
    /// The identity of the cluster cannot be read.
    #[error("the namespace kube-system does not exist: give a --cluster-id")]
    NoClusterId,
}

/// Runs all controllers until `shutdown`, while it holds the Lease. `ready` is set once every kind is known to be
/// installed: readiness is not that of the controllers' stores, because a store wakes only one of those who wait for
/// it, and the controller is one of them (kube 5.0).
pub async fn run(
    client: Client,
    options: Options,
    ready: Arc<AtomicBool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let io = Io::new(client.clone(), options.timing.call_timeout);
    installed::<ClusterIamBackend>(&io).await?;
    installed::<IamBackend>(&io).await?;
    installed::<ServiceAccount>(&io).await?;
    installed::<ServiceAccountKey>(&io).await?;
    let cluster_id = match options.cluster_id {
        Some(id) => id,
        None => {
            let system = io.get(&io.all::<Namespace>(), "kube-system").await?;
            system.and_then(|n| n.uid()).ok_or(RunError::NoClusterId)?
        }
    };
    let ctx = Arc::new(Context::new(Parts {
        client: client.clone(),
        timing: options.timing,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        leadership: Leadership::default(),
        backends: Registry::new(
            Arc::new(NetworkConnector),
            options.cluster_resource_namespace,
            options.embedded_endpoint,
        ),
        cluster_id,
    }));
    let stop = shutdown.shared();
    // A process that stands by is ready, too: a rolling update goes on.
    ready.store(true, Ordering::Release);
    // Calls about the Lease are not kept waiting by those about objects.
    let patience = options.lease.duration / 4;
    let (io, lease) = (Io::new(client, patience.min(ctx.timing.call_timeout)), &options.lease);
    let outcome = tokio::select! {
        deposed = lease::keep(&io, ctx.clock.as_ref(), lease, &ctx.leadership) => Err(deposed.into()),
        () = lead(&ctx, stop) => {
            ctx.leadership.give_up();
            if let Err(error) = lease::give_back(&io, ctx.clock.as_ref(), lease).await {
                tracing::info!(%error, "the Lease is not given back: it runs out");
            }
            Ok(())
        }
    };
    tracing::info!("controllers stopped");
    outcome
}

/// Waits for the Lease, then runs all controllers until `stop`.
async fn lead(ctx: &Arc<Context>, stop: impl Future<Output = ()> + Clone + Send + Sync + 'static) {
    tokio::select! {
        () = ctx.leadership.gained() => {}
        () = stop.clone() => return,
    }
    tracing::info!(cluster_id = ctx.cluster_id, "controllers start");
    control(ctx, stop).await;
}

/// Runs all controllers until `stop`.
pub async fn control(ctx: &Arc<Context>, stop: impl Future<Output = ()> + Clone + Send + Sync + 'static) {
    futures::future::join4(
        backends::<ClusterIamBackend>(ctx, stop.clone()),
        backends::<IamBackend>(ctx, stop.clone()),
        accounts(ctx, stop.clone()),
        keys(ctx, stop),
    )
    .await;
}

/// A kind that is not installed would make a watch fail for ever, and nobody would know why.
async fn installed<K>(io: &Io) -> Result<(), RunError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<DeserializeGuard<K>> = Api::all(io.client());
    match io.list(&api, &ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_unserved() => Err(RunError::NotInstalled { kind: K::kind(&()).into_owned() }),
        Err(error) => Err(error.into()),
    }
}

type Running = BoxFuture<'static, ()>;

fn controller<K>(ctx: &Context) -> Controller<DeserializeGuard<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(ctx.io.client());
    let config = ControllerConfig::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    let (first, longest) = WATCH_RETRY;
    let retry = ExponentialBuilder::new().with_min_delay(first).with_max_delay(longest).with_jitter();
    Controller::new(api, watcher::Config::default())
        .with_config(config)
        .trigger_backoff(ExponentialBackoff::from(retry.without_max_times()))
}

fn backends<K: backend::BackendObject>(
    ctx: &Arc<Context>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> Running {
    let accounts: Api<DeserializeGuard<ServiceAccount>> = Api::all(ctx.io.client());
    // A deleting backend waits for its accounts: one that goes wakes it.
    controller::<K>(ctx)
        .watches(accounts, watcher::Config::default(), |account: DeserializeGuard<ServiceAccount>| {
            let namespace = account.namespace().unwrap_or_default();
            account
                .0
                .ok()
                .map(|a| BackendId::of(&a.spec.backend_ref, &namespace))
                .and_then(|id| backend_ref::<K>(&id))
        })
        .graceful_shutdown_on(stop)
        .run(backend::reconcile::<K>, never_fails, ctx.clone())
        .for_each(log)
        .boxed()
}

fn backend_ref<K: backend::BackendObject>(id: &BackendId) -> Option<ObjectRef<DeserializeGuard<K>>> {
    (id.kind == K::KIND).then(|| {
        let reference = ObjectRef::new(&id.name);
        if id.namespace.is_empty() { reference } else { reference.within(&id.namespace) }
    })
}

fn accounts(ctx: &Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) -> Running {
    let controller = controller::<ServiceAccount>(ctx);
    let (of_cluster, of_local) = (controller.store(), controller.store());
    let client = ctx.io.client();
    let any = watcher::Config::default;
    let clusters: Api<DeserializeGuard<ClusterIamBackend>> = Api::all(client.clone());
    let locals: Api<DeserializeGuard<IamBackend>> = Api::all(client.clone());
    let keys: Api<DeserializeGuard<ServiceAccountKey>> = Api::all(client);
    controller
        .watches(clusters, any(), move |b: DeserializeGuard<ClusterIamBackend>| {
            accounts_of(&of_cluster, BackendKind::ClusterIamBackend, "", &b.name_any())
        })
        .watches(locals, any(), move |b: DeserializeGuard<IamBackend>| {
            let namespace = b.namespace().unwrap_or_default();
            accounts_of(&of_local, BackendKind::IamBackend, &namespace, &b.name_any())
        })
        // A deleting account waits for its keys, a living one ends what a force-deleted key left behind: one that
        // goes wakes it.
        .watches(keys, any(), |key: DeserializeGuard<ServiceAccountKey>| {
            let namespace = key.namespace().unwrap_or_default();
            let going = key.meta().deletion_timestamp.is_some();
            key.0
                .ok()
                .filter(|_| going)
                .map(|k| ObjectRef::new(&k.spec.service_account_ref.name).within(&namespace))
        })
        .graceful_shutdown_on(stop)
        .run(account::reconcile, never_fails, ctx.clone())
        .for_each(log)
        .boxed()
}

fn accounts_of(
    store: &Store<DeserializeGuard<ServiceAccount>>,
    kind: BackendKind,
    namespace: &str,
    name: &str,
) -> Vec<ObjectRef<DeserializeGuard<ServiceAccount>>> {
    let wanted = BackendId { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    store
        .state()
        .iter()
        .filter(|a| {
            a.0.as_ref().is_ok_and(|account| {
                BackendId::of(&account.spec.backend_ref, &account.namespace().unwrap_or_default()) == wanted
            })
        })
        .map(|a| ObjectRef::from_obj(a.as_ref()))
        .collect()
}

fn keys(ctx: &Arc<Context>, stop: impl Future<Output = ()> + Send + Sync + 'static) -> Running {
    let controller = controller::<ServiceAccountKey>(ctx);
    let of_account = controller.store();
    let client = ctx.io.client();
    let accounts: Api<DeserializeGuard<ServiceAccount>> = Api::all(client.clone());
    // Metadata only: key material of all Secrets in memory would be a second store of them.
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(client);
    let ours = watcher::Config::default().labels(&format!("{}={}", meta::OWNED_LABEL, meta::OWNED_VALUE));
    let seen = ctx.clone();
    controller
        .watches(accounts, watcher::Config::default(), move |account: DeserializeGuard<ServiceAccount>| {
            keys_of(&of_account, &account.namespace().unwrap_or_default(), &account.name_any())
        })
        .watches(secrets, ours, move |secret: PartialObjectMeta<Secret>| owner_of(&seen, &secret))
        .graceful_shutdown_on(stop)
        .run(key::reconcile, never_fails, ctx.clone())
        .for_each(log)
        .boxed()
}

fn keys_of(
    store: &Store<DeserializeGuard<ServiceAccountKey>>,
    namespace: &str,
    account: &str,
) -> Vec<ObjectRef<DeserializeGuard<ServiceAccountKey>>> {
    store
        .state()
        .iter()
        .filter(|k| k.namespace().as_deref() == Some(namespace))
        .filter(|k| k.0.as_ref().is_ok_and(|key| key.spec.service_account_ref.name == account))
        .map(|k| ObjectRef::from_obj(k.as_ref()))
        .collect()
}

/// The owner stands in an annotation: Secrets of ours have no owner reference, a restored one would let the
/// garbage collector take the credential.
pub fn owner_of(
    ctx: &Context,
    secret: &PartialObjectMeta<Secret>,
) -> Option<ObjectRef<DeserializeGuard<ServiceAccountKey>>> {
    let owner = secret.annotations().get(meta::OWNER)?;
    let namespace = secret.namespace()?;
    if secret.labels().contains_key(meta::STAGING_LABEL) {
        ctx.staging.seen(&namespace, owner, &secret.name_any());
    }
    Some(ObjectRef::new(owner).within(&namespace))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that the controller asks for")]
fn never_fails<K>(_: Arc<K>, never: &std::convert::Infallible, _: Arc<Context>) -> Action {
    match *never {}
}

async fn log<K, E: Debug>(outcome: Result<(ObjectRef<K>, Action), E>)
where
    K: Resource,
    K::DynamicType: Clone + Debug,
{
    if let Err(error) = outcome {
        // A queued object that is gone by the time of its turn is nothing; the rest is worth a look.
        tracing::debug!(?error, "not reconciled");
    }
}
