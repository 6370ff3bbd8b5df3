//! Accounts: observe, plan, act.

mod act;
mod documents;
mod observe;

use std::num::NonZeroU32;
use std::sync::Arc;

use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt};

use self::act::{Learned, act};
use self::observe::observe;
use super::census::{Place, census};
use super::guard::guarded;
use super::leftovers::{Uploads, leftovers};
use super::pass::Pass;
use super::registry::Login;
use super::sharers::sharers;
use super::{Context, Error};
use crate::api::v1alpha1::{ServiceAccount, ServiceAccountKey, ServiceAccountStatus};
use crate::backend::{AccountListing, BackendError};
use crate::domain::account::{
    Census, Done, Leftover, Next, Observation, Plan, PolicyView, Roll, ServiceView, Step, handle, plan,
};
use crate::domain::schedule::{audit_wait, until_audit};
use crate::domain::{Event, Trouble, conditions, names};

/// Steps that one reconcile takes at most: finalizer, create, describe, disable, a policy or a service each, delete and their
/// looks.
const PASSES: usize = 48;
/// A list may be the one before an intent.
const LIST_AND_CREATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// Reconciles one account.
pub async fn reconcile(
    object: Arc<DeserializeGuard<ServiceAccount>>,
    ctx: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let about = object.object_ref(&());
    Box::pin(guarded(&ctx, about, run(&object, &ctx))).await
}

async fn run(object: &DeserializeGuard<ServiceAccount>, ctx: &Context) -> Result<Action, Error> {
    if let Err(invalid) = &object.0 {
        super::report::tell_invalid(ctx, &object.object_ref(&()), invalid).await;
        return Ok(Action::await_change());
    }
    let namespace = object.namespace().unwrap_or_default();
    let api = ctx.io.namespaced::<ServiceAccount>(&namespace);
    let mut learned = Learned::default();
    let mut done = Done::default();
    let (mut seen, mut public_keys, mut served) = (Vec::new(), None, Vec::new());
    'passes: for _ in 0..PASSES {
        let pass = Pass::begin(ctx)?;
        let Some(current) = ctx.io.get(&api, &object.name_any()).await? else {
            return Ok(Action::await_change());
        };
        let taught = std::mem::take(&mut learned);
        let (login, mut observation) = observe(ctx, &current, taught.clone()).await?;
        observation.done.clone_from(&done);
        let decided = loop {
            let decided = decide(ctx, &namespace, login.as_deref(), &mut seen, &mut observation).await?;
            match (&decided.next, login.as_deref()) {
                (Next::NeedDocuments { names }, Some(login)) if observation.documents.is_none() => {
                    let read = documents::read(ctx, login, &current, names, &mut public_keys, &observation);
                    observation.documents = Some(read.await?);
                }
                // Many reads take long: what was read before them is read again.
                (Next::NeedServices { names }, Some(login)) if !all_read(names, &served) => {
                    served = services(login, &namespace, names).await;
                    learned = taught;
                    continue 'passes;
                }
                (Next::NeedServices { names }, _) if observation.services.is_none() => {
                    let views = served.iter().filter(|view| names.contains(&view.name));
                    observation.services = Some(views.cloned().collect());
                }
                _ => break decided,
            }
        };
        match decided.next.clone() {
            Next::Wait => {
                write_status(ctx, &api, &current, decided.clone()).await?;
                if let Some(attempt) =
                    decided.status.creating.as_ref().filter(|a| a.nonce == observation.fresh_nonce)
                {
                    ctx.intents.wrote(&observation.uid, &attempt.nonce);
                }
                let (now, uid) = (ctx.clock.now(), &observation.uid);
                if matches!(observation.census, Some(Ok(_))) {
                    ctx.looks.looked(uid, now);
                }
                let period = audit_wait(&ctx.timing, uid);
                let audit = until_audit(period, ctx.looks.looked_at(uid, now, period), now);
                let documents = documents::until_due(ctx, &observation, now);
                return Ok(Action::requeue(decided.requeue.min(audit).min(documents)));
            }
            Next::Act(step) => {
                let acted = act(ctx, &api, &current, &pass, login.as_deref(), &step).await;
                if let Some(key) = unowned(&observation, &step) {
                    done.tried.push(key.to_owned());
                    match acted {
                        // The account is as good as before, and the other keys may still end.
                        Err(Error::Backend(error)) => {
                            tell_kept(ctx, &current, key, &error).await;
                            continue;
                        }
                        // A count comes in its time: another one now would be as late.
                        Err(error) => {
                            ctx.looks.looked(&observation.uid, ctx.clock.now());
                            return Err(error);
                        }
                        Ok(_) => {}
                    }
                } else if let (Step::DeleteKey { key_id, .. }, Ok(Learned { refused: None, .. })) =
                    (&step, &acted)
                {
                    done.ended.push(key_id.clone());
                }
                learned = acted?;
                if let Some(answer) = learned.policy.take() {
                    seen.retain(|view: &PolicyView| view.resource != answer.resource);
                    seen.push(answer);
                }
                remember(&mut done, &step, &learned);
                if learned.is_accepted() {
                    ctx.reporter.tell(&current.object_ref(&()), &decided.events).await;
                }
                if step == Step::RemoveFinalizer {
                    ctx.intents.sent(&observation.uid);
                    ctx.looks.forget(&observation.uid);
                    documents::forget(ctx, &observation.uid);
                    return Ok(Action::await_change());
                }
            }
            // A read that was asked for is there by now.
            _ => return Err(Error::Missing { step: "account", what: "what it asked for" }),
        }
    }
    Err(Error::Restless { passes: PASSES, rule: "account" })
}

/// What reads may not show yet.
fn remember(done: &mut Done, step: &Step, learned: &Learned) {
    done.refused_maps.extend(learned.map_refused.clone());
    match step {
        Step::EnableService { name } => {
            done.asked.push(name.clone());
            done.refused.extend(learned.enable_refused.clone().map(|trouble| (name.clone(), trouble)));
        }
        Step::Bind(_) => done.bind_refused.clone_from(&learned.bind_refused),
        Step::Undelete { .. } => done.restored.clone_from(&learned.restored),
        _ => {}
    }
}

/// The key that no object owns and that a step ends.
fn unowned<'s>(observation: &Observation, step: &'s Step) -> Option<&'s str> {
    let (Step::DisableKey { key_id, .. } | Step::DeleteKey { key_id, .. }) = step else { return None };
    let Some(Ok(census)) = &observation.census else { return None };
    census.unmanaged.iter().any(|unclaimed| unclaimed.key.id == *key_id).then_some(key_id)
}

/// It is tried again with the next count.
async fn tell_kept(ctx: &Context, object: &ServiceAccount, key: &str, error: &BackendError) {
    tracing::warn!(%error, key, "a key that no object owns cannot be ended");
    let note = format!("Key {key}, which no ServiceAccountKey owns, cannot be ended: {error}");
    let event = Event::warning(error.class().reason(), note);
    ctx.reporter.tell(&object.object_ref(&()), &[event]).await;
}

/// Plans, reading what the plan asks for.
async fn decide(
    ctx: &Context,
    namespace: &str,
    login: Option<&Login>,
    seen: &mut Vec<PolicyView>,
    observation: &mut Observation,
) -> Result<Plan, Error> {
    loop {
        let decided = plan(observation, ctx.clock.now(), &ctx.timing);
        match (&decided.next, login) {
            (Next::NeedAccount, Some(login)) if observation.account.is_none() => {
                let found = login.read(namespace).await.find_account(handle(observation)).await;
                observation.account = Some(found.map_err(|e| e.trouble()));
            }
            (Next::NeedRoll, Some(login)) if observation.roll.is_none() => {
                // The create that follows its intent leaves at once.
                let begins = observation.status.creating.is_none();
                let requests = if begins { LIST_AND_CREATE } else { NonZeroU32::MIN };
                let listed = login.turn(namespace, requests).await.list_accounts().await;
                let roll =
                    |all: AccountListing| Roll { accounts: all.accounts, backend_time: all.backend_time };
                observation.roll = Some(listed.map(roll).map_err(|error| error.trouble()));
            }
            (Next::NeedUse { unique_id }, Some(login)) if observation.in_use.is_none() => {
                let own = (namespace, observation.name.as_str());
                let shared = !sharers(ctx, own, unique_id, Some(&login.facts().project)).await?.is_empty();
                let used = in_use(login, namespace, unique_id).await;
                observation.in_use = Some(used.map(|used| used || shared).map_err(|error| error.trouble()));
            }
            (Next::NeedPolicies { resources }, Some(login)) if observation.policies.is_none() => {
                observation.policies = Some(policies(login, namespace, resources, seen, observation).await);
            }
            (Next::NeedEarthEngine, Some(login)) if observation.earth_engine.is_none() => {
                let told = login.read(namespace).await.earth_engine_registration().await;
                observation.earth_engine = Some(told.map_err(|error| error.trouble()));
            }
            (Next::NeedSharers, _) if observation.shared_with.is_none() => {
                let Some(Ok(Some(account))) = &observation.account else { return Ok(decided) };
                let own = (namespace, observation.name.as_str());
                let project = names::project_of(&account.name);
                let others = sharers(ctx, own, &account.unique_id, project).await?;
                observation.shared_with = Some(others);
            }
            (Next::NeedKeys, _) if observation.keys.is_none() => {
                observation.keys = Some(referring_keys(ctx, namespace, &observation.name).await?);
            }
            (Next::NeedCensus { everywhere }, Some(login)) if observation.census.is_none() => {
                let place = Place { namespace, account: &observation.name, everywhere: *everywhere };
                observation.census = Some(count(ctx, login, place, observation).await?);
            }
            (Next::NeedLeftovers, _) if observation.leftovers.is_none() => {
                observation.leftovers = Some(left_behind(ctx, namespace, login, &observation.status).await?);
            }
            _ => return Ok(decided),
        }
    }
}

/// Whether an account has keys, or a role in its project.
async fn in_use(login: &Login, namespace: &str, unique_id: &str) -> Result<bool, BackendError> {
    let project = format!("projects/{}", login.facts().project);
    let keys = login.read(namespace).await.list_keys(unique_id).await?.keys;
    let roles = login.read(namespace).await.view_policy(&project, "", unique_id).await?.held;
    Ok(!keys.is_empty() || !roles.is_empty())
}

/// Each policy is read once in a reconcile; what was changed in it counts as it was answered: a read may still show what was
/// before.
async fn policies(
    login: &Login,
    namespace: &str,
    resources: &[String],
    seen: &mut Vec<PolicyView>,
    observation: &Observation,
) -> Vec<PolicyView> {
    let status = &observation.status;
    let known =
        (status.email.as_deref().unwrap_or_default(), status.unique_id.as_deref().unwrap_or_default());
    let (email, unique_id) = match &observation.account {
        Some(Ok(Some(account))) => (account.email.as_str(), account.unique_id.as_str()),
        _ => known,
    };
    for resource in resources {
        if !seen.iter().any(|view| view.resource == *resource) {
            let told = login.read(namespace).await.view_policy(resource, email, unique_id).await;
            let told = told.map_err(|error| error.trouble());
            seen.push(PolicyView { resource: resource.clone(), told, answers: None });
        }
    }
    seen.iter().filter(|view| resources.contains(&view.resource)).cloned().collect()
}

fn all_read(names: &[String], served: &[ServiceView]) -> bool {
    names.iter().all(|name| served.iter().any(|view| view.name == *name))
}

async fn services(login: &Login, namespace: &str, names: &[String]) -> Vec<ServiceView> {
    let mut views = Vec::new();
    for name in names {
        let enabled = login.read(namespace).await.service_is_enabled(name).await;
        views.push(ServiceView { name: name.clone(), enabled: enabled.map_err(|error| error.trouble()) });
    }
    views
}

async fn count(
    ctx: &Context,
    login: &Login,
    place: Place<'_>,
    observation: &Observation,
) -> Result<Result<Census, Trouble>, Error> {
    let unique_id = observation.status.unique_id.as_deref().unwrap_or_default();
    Ok(census(ctx, login, place, unique_id).await?.map_err(|error| error.trouble()))
}

async fn left_behind(
    ctx: &Context,
    namespace: &str,
    login: Option<&Login>,
    status: &ServiceAccountStatus,
) -> Result<Vec<Leftover>, Error> {
    let project = status.resource_name.as_deref().and_then(names::project_of);
    match (project, &status.unique_id) {
        (Some(project), Some(unique_id)) => {
            let uploads = login.map(|login| Uploads { login, namespace, unique_id });
            leftovers(ctx, namespace, &names::account(project, unique_id), uploads).await
        }
        // Not recorded: no key was made for it.
        _ => Ok(Vec::new()),
    }
}

async fn referring_keys(ctx: &Context, namespace: &str, account: &str) -> Result<Vec<String>, Error> {
    let api: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), namespace);
    let selected = ListParams::default().fields(&format!("spec.serviceAccountRef.name={account}"));
    Ok(ctx.io.list(&api, &selected).await?.iter().map(ResourceExt::name_any).collect())
}

async fn write_status(
    ctx: &Context,
    api: &Api<ServiceAccount>,
    object: &ServiceAccount,
    decided: Plan,
) -> Result<(), Error> {
    let before = object.status.clone().unwrap_or_default();
    if decided.status == before {
        return Ok(());
    }
    let mut events = conditions::events(&before.conditions, &decided.status.conditions);
    events.extend(decided.events);
    let mut after = object.clone();
    after.status = Some(decided.status);
    ctx.io.replace_status(api, &after).await?;
    ctx.reporter.tell(&object.object_ref(&()), &events).await;
    Ok(())
}
