//! Both kinds of backend: reachability, identity, capabilities and clock into the status.

use std::fmt::Debug;
use std::sync::Arc;

use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::guard::guarded;
use super::registry::BackendId;
use super::{Context, Error};
use crate::api::v1alpha1::{
    BackendKind, BackendStatus, Capabilities, ClusterIamBackend, IamBackend, ServiceAccount, meta,
};
use crate::domain::backend::{Next, Observation, Probe, plan};
use crate::domain::{Class, Reason, conditions};

/// What the two kinds have in common.
pub trait BackendObject:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Which of the two.
    const KIND: BackendKind;
    /// Its status, as recorded.
    fn status(&self) -> Option<&BackendStatus>;
    /// Its status, to be written.
    fn set_status(&mut self, status: BackendStatus);
    /// Where such objects are.
    fn api(ctx: &Context, namespace: &str) -> Api<Self>;
}

impl BackendObject for ClusterIamBackend {
    const KIND: BackendKind = BackendKind::ClusterIamBackend;
    fn status(&self) -> Option<&BackendStatus> {
        self.status.as_ref()
    }
    fn set_status(&mut self, status: BackendStatus) {
        self.status = Some(status);
    }
    fn api(ctx: &Context, _: &str) -> Api<Self> {
        ctx.io.all()
    }
}

impl BackendObject for IamBackend {
    const KIND: BackendKind = BackendKind::IamBackend;
    fn status(&self) -> Option<&BackendStatus> {
        self.status.as_ref()
    }
    fn set_status(&mut self, status: BackendStatus) {
        self.status = Some(status);
    }
    fn api(ctx: &Context, namespace: &str) -> Api<Self> {
        ctx.io.namespaced(namespace)
    }
}

/// Reconciles one backend.
pub async fn reconcile<K: BackendObject>(
    object: Arc<DeserializeGuard<K>>,
    ctx: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let about = object.object_ref(&());
    Box::pin(guarded(&ctx, about, run::<K>(&object, &ctx))).await
}

async fn run<K: BackendObject>(object: &DeserializeGuard<K>, ctx: &Context) -> Result<Action, Error> {
    if let Err(invalid) = &object.0 {
        super::report::tell_invalid(ctx, &object.object_ref(&()), invalid).await;
        return Ok(Action::await_change());
    }
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let api = K::api(ctx, &namespace);
    let id = BackendId { kind: K::KIND, namespace: namespace.clone(), name: name.clone() };
    let Some(current) = ctx.io.get(&api, &name).await? else {
        ctx.backends.forget(&id);
        return Ok(Action::await_change());
    };
    let label = format!("probe/{:?}/{namespace}/{name}", K::KIND);
    let mut observation = observe(ctx, &current, &label);
    loop {
        let plan = plan(&observation, ctx.clock.now(), &ctx.timing);
        match plan.next {
            Next::NeedAccounts => {
                observation.accounts = Some(referring_accounts(ctx, &id).await?);
            }
            Next::NeedProbe => {
                let answer = probe(ctx, &id, observation.deleting).await?;
                if !matches!(answer, Probe::Answered { .. }) {
                    ctx.failures.count(&label);
                }
                observation.probe = Some(answer);
            }
            Next::AddFinalizer => {
                let mut finalizers = current.finalizers().to_vec();
                finalizers.push(meta::FINALIZER.to_owned());
                ctx.io.set_finalizers(&api, &current, &finalizers).await?;
                return Ok(Action::requeue(std::time::Duration::ZERO));
            }
            Next::RemoveFinalizer => {
                let finalizers: Vec<String> =
                    current.finalizers().iter().filter(|f| *f != meta::FINALIZER).cloned().collect();
                ctx.reporter.tell(&current.object_ref(&()), &plan.events).await;
                ctx.io.set_finalizers(&api, &current, &finalizers).await?;
                ctx.backends.forget(&id);
                return Ok(Action::await_change());
            }
            Next::Wait => {
                if matches!(observation.probe, Some(Probe::Answered { .. })) {
                    ctx.failures.clear(&label);
                }
                let before = current.status().cloned().unwrap_or_default();
                if plan.status != before {
                    let mut after = current.clone();
                    let mut events = conditions::events(&before.conditions, &plan.status.conditions);
                    events.extend(plan.events);
                    after.set_status(plan.status);
                    ctx.io.replace_status(&api, &after).await?;
                    ctx.reporter.tell(&current.object_ref(&()), &events).await;
                }
                return Ok(Action::requeue(plan.requeue));
            }
        }
    }
}

fn observe<K: BackendObject>(ctx: &Context, object: &K, label: &str) -> Observation {
    Observation {
        uid: object.uid().unwrap_or_default(),
        generation: object.meta().generation,
        deleting: object.meta().deletion_timestamp.is_some(),
        has_finalizer: object.finalizers().iter().any(|f| f == meta::FINALIZER),
        abandon: object.annotations().contains_key(meta::ABANDON),
        status: object.status().cloned().unwrap_or_default(),
        accounts: None,
        probe: None,
        failures: ctx.failures.so_far(label),
    }
}

async fn probe(ctx: &Context, id: &BackendId, deleting: bool) -> Result<Probe, Error> {
    let login = match ctx.backends.resolve(ctx, id).await? {
        Ok((login, _)) => login,
        // While accounts wait for their end the last good login goes on.
        Err(unusable) if deleting => match ctx.backends.last_good(id) {
            Some(login) => login,
            None => {
                return Ok(Probe::NoLogin { reason: Reason::BackendLoginLost, message: unusable.message });
            }
        },
        Err(unusable) => return Ok(Probe::NoLogin { reason: unusable.reason, message: unusable.message }),
    };
    match login.read(&id.namespace).await.probe().await {
        Ok(probed) => {
            let facts = login.facts();
            Ok(Probe::Answered {
                identity: facts.identity.clone(),
                project: facts.project.clone(),
                capabilities: Capabilities {
                    disable_keys: facts.can.disable_keys,
                    algorithms: facts.can.algorithms.clone(),
                    key_limit: facts.can.key_limit,
                    token_exchange: facts.can.token_exchange,
                    last_use: facts.can.last_use,
                    upload_keys: facts.can.upload_keys,
                    disable_accounts: facts.can.disable_accounts,
                    account_ids: facts.can.chosen_ids,
                    basic_auth: facts.can.basic_auth,
                },
                skew_seconds: login.compare_clock(probed.backend_time, ctx.clock.as_ref()),
                missing_permissions: probed.missing_permissions,
                sufficient_roles: facts.can.sufficient_roles,
            })
        }
        Err(error) => {
            let trouble = error.trouble();
            if trouble.class == Class::Unauthenticated {
                login.was_refused();
            }
            tracing::debug!(%error, "probe failed");
            Ok(Probe::Failed(trouble))
        }
    }
}

async fn referring_accounts(ctx: &Context, id: &BackendId) -> Result<Vec<String>, Error> {
    let api: Api<DeserializeGuard<ServiceAccount>> = match id.kind {
        BackendKind::ClusterIamBackend => Api::all(ctx.io.client()),
        BackendKind::IamBackend => Api::namespaced(ctx.io.client(), &id.namespace),
    };
    let accounts = ctx.io.list(&api, &ListParams::default()).await?;
    Ok(accounts
        .into_iter()
        .filter(|a| match &a.0 {
            Ok(account) => {
                BackendId::of(&account.spec.backend_ref, &account.namespace().unwrap_or_default()) == *id
            }
            // What cannot be read may refer to it.
            Err(_) => a.finalizers().iter().any(|f| f == meta::FINALIZER),
        })
        .map(|a| format!("{}/{}", a.namespace().unwrap_or_default(), a.name_any()))
        .collect())
}
