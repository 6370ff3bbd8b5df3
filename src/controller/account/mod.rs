//! Accounts: observe, plan, act.

mod documents;
mod sharers;

use std::num::NonZeroU32;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt};
use regex::Regex;

use self::sharers::sharers;
use super::census::{Place, census};
use super::guard::guarded;
use super::leftovers::{Uploads, leftovers};
use super::pass::Pass;
use super::registry::{BackendId, Login, Rules, allows};
use super::{Context, Error};
use crate::api::v1alpha1::{
    BackendKind, ServiceAccount, ServiceAccountKey, ServiceAccountStatus, Tenants, meta,
};
use crate::backend::policies::Rebound;
use crate::backend::{BackendError, Description, NewAccount};
use crate::defect;
use crate::domain::account::{
    Account, Census, Done, Grants, Leftover, Next, Observation, Plan, PolicyView, ServiceView, Step, handle,
    plan,
};
use crate::domain::schedule::{audit_wait, is_audit_due, until_audit};
use crate::domain::{Class, Event, Reason, Trouble, conditions, names};

/// Steps that one reconcile takes at most: finalizer, create, describe, disable, a policy or a service each, delete and their
/// looks.
const PASSES: usize = 48;

const ONE: NonZeroU32 = NonZeroU32::MIN;
/// A policy is read before it is written.
const READ_AND_WRITE: NonZeroU32 = ONE.saturating_add(1);

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
            Next::NeedAccount
            | Next::NeedPolicies { .. }
            | Next::NeedServices { .. }
            | Next::NeedEarthEngine
            | Next::NeedDocuments { .. }
            | Next::NeedSharers
            | Next::NeedKeys
            | Next::NeedLeftovers
            | Next::NeedCensus { .. } => {
                return Err(Error::Missing { step: "account", what: "what it asked for" });
            }
            Next::Wait => {
                write_status(ctx, &api, &current, decided.clone()).await?;
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
                    ctx.looks.forget(&observation.uid);
                    documents::forget(ctx, &observation.uid);
                    return Ok(Action::await_change());
                }
            }
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

/// What a step taught the pass: its answer counts as a fresh read.
#[derive(Clone, Default)]
struct Learned {
    refused: Option<Trouble>,
    account: Option<Account>,
    policy: Option<PolicyView>,
    bind_refused: Option<Trouble>,
    enable_refused: Option<Trouble>,
    restored: Option<String>,
    /// A `ConfigMap`, and what the API server said of it.
    map_refused: Option<(String, String)>,
    ended: bool,
}

impl Learned {
    fn is_accepted(&self) -> bool {
        self.refused.is_none()
            && self.bind_refused.is_none()
            && self.enable_refused.is_none()
            && self.map_refused.is_none()
    }
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
            (Next::NeedPolicies { resources }, Some(login)) if observation.policies.is_none() => {
                observation.policies = Some(policies(login, namespace, resources, seen, observation).await);
            }
            (Next::NeedEarthEngine, Some(login)) if observation.earth_engine.is_none() => {
                let told = login.read(namespace).await.earth_engine_registration().await;
                observation.earth_engine = Some(told.map_err(|error| error.trouble()));
            }
            (Next::NeedSharers, _) if observation.shared_with.is_none() => {
                let Some(Ok(Some(account))) = &observation.account else { return Ok(decided) };
                observation.shared_with = Some(sharers(ctx, &observation.uid, account).await?);
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

async fn observe(
    ctx: &Context,
    object: &ServiceAccount,
    learned: Learned,
) -> Result<(Option<Arc<Login>>, Observation), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let deleting = object.meta().deletion_timestamp.is_some();
    let uid = object.uid().unwrap_or_default();
    let id = BackendId::of(&object.spec.backend_ref, &namespace);
    let now = ctx.clock.now();
    let period = audit_wait(&ctx.timing, &uid);
    let census_due = is_audit_due(period, ctx.looks.looked_at(&uid, now, period), now);
    let documents_due = documents::is_due(ctx, &object.spec, &uid, now);
    let mut observation = Observation {
        name: object.name_any(),
        generation: object.meta().generation,
        deleting,
        has_finalizer: object.finalizers().iter().any(|f| f == meta::FINALIZER),
        abandon: object.annotations().contains_key(meta::ABANDON),
        spec: object.spec.clone(),
        status: object.status.clone().unwrap_or_default(),
        owner_mark: names::owner_mark(&ctx.cluster_id, &uid),
        uid,
        backend: Err((Reason::BackendNotFound, String::new())),
        account: learned.account.map(|account| Ok(Some(account))),
        shared_with: None,
        keys: None,
        leftovers: None,
        census_due,
        census: None,
        policies: None,
        bind_refused: learned.bind_refused,
        services: None,
        earth_engine: None,
        documents_due,
        documents: None,
        done: Done::default(),
        ended: learned.ended,
        refused: learned.refused,
    };
    let login = match ctx.backends.resolve(ctx, &id).await? {
        Ok((login, rules)) => match allows(ctx, &rules, &namespace).await? {
            _ if rules.deleting && !deleting && observation.status.unique_id.is_none() => {
                let message = format!("The backend {} is being deleted: no account is made at it", id.name);
                observation.backend = Err((Reason::BackendNotFound, message));
                None
            }
            // What was made while it was allowed may still be ended.
            Err(refusal) if !deleting => {
                observation.backend = Err((refusal.reason, refusal.message));
                None
            }
            _ if !names::is_in_project(
                observation.status.resource_name.as_deref(),
                &login.facts().project,
            ) =>
            {
                let project = &login.facts().project;
                let message = format!(
                    "The backend's login now belongs to project {project}, where this account is not"
                );
                observation.backend = Err((Reason::BackendChanged, message));
                None
            }
            _ => {
                let project = &login.facts().project;
                observation.backend = Ok(grants(&rules, &id, &namespace, project, handle(&observation)));
                Some(login)
            }
        },
        Err(unusable) => match ctx.backends.last_good(&id).filter(|_| deleting) {
            Some(login) => {
                let project = login.facts().project.clone();
                observation.backend = Ok(Grants {
                    adoption: false,
                    undelete: false,
                    account_id: Ok(()),
                    project,
                    // What stays keeps the roles that its spec lists.
                    roles: None,
                    services: None,
                });
                Some(login)
            }
            None if deleting && unusable.reason == Reason::LoginMissing => {
                let message = format!(
                    "{}. Restore it, or let the object go with the annotation keywheel.dev/abandon",
                    unusable.message
                );
                observation.backend = Err((Reason::BackendLoginLost, message));
                None
            }
            None => {
                observation.backend = Err((unusable.reason, unusable.message));
                None
            }
        },
    };
    Ok((login, observation))
}

fn grants(rules: &Rules, id: &BackendId, namespace: &str, project: &str, handle: &str) -> Grants {
    let project = project.to_owned();
    match (&rules.tenants, id.kind) {
        (Some(tenants), BackendKind::ClusterIamBackend) => Grants {
            adoption: tenants.adoption,
            undelete: tenants.undelete,
            account_id: matches(tenants, namespace, handle),
            project,
            roles: Some(tenants.roles.clone()),
            services: Some(tenants.services.clone()),
        },
        _ => Grants {
            adoption: true,
            undelete: true,
            account_id: Ok(()),
            project,
            roles: None,
            services: None,
        },
    }
}

/// A pattern that is no regular expression lets nothing through.
fn matches(tenants: &Tenants, namespace: &str, handle: &str) -> Result<(), String> {
    let pattern = &tenants.account_id_pattern;
    if pattern.is_empty() {
        return Ok(());
    }
    let own = pattern.replace("{namespace}", &regex::escape(namespace));
    match Regex::new(&format!("^(?:{own})$")) {
        Ok(regex) if regex.is_match(handle) => Ok(()),
        _ => Err(own),
    }
}

async fn referring_keys(ctx: &Context, namespace: &str, account: &str) -> Result<Vec<String>, Error> {
    let api: Api<DeserializeGuard<ServiceAccountKey>> = Api::namespaced(ctx.io.client(), namespace);
    let selected = ListParams::default().fields(&format!("spec.serviceAccountRef.name={account}"));
    Ok(ctx.io.list(&api, &selected).await?.iter().map(ResourceExt::name_any).collect())
}

/// Takes a step. A refusal of the backend is for the plan to tell.
async fn act(
    ctx: &Context,
    api: &Api<ServiceAccount>,
    object: &ServiceAccount,
    pass: &Pass,
    login: Option<&Login>,
    step: &Step,
) -> Result<Learned, Error> {
    let namespace = object.namespace().unwrap_or_default();
    // Once the namespace may send a request, if what was read is still young then.
    let backend = async |requests: NonZeroU32| {
        let login = login.ok_or(Error::Missing { step: "account", what: "the backend" })?;
        let backend = login.turn(&namespace, requests).await;
        let given_back = |_: &Error| (0..requests.get()).for_each(|_| login.give_back(&namespace));
        pass.may_send(ctx, "account").inspect_err(given_back)?;
        Ok::<_, Error>(backend)
    };
    let outcome = match step {
        Step::AddFinalizer | Step::RemoveFinalizer => {
            let mut finalizers = object.finalizers().to_vec();
            finalizers.retain(|finalizer| finalizer != meta::FINALIZER);
            finalizers.extend((*step == Step::AddFinalizer).then(|| meta::FINALIZER.to_owned()));
            ctx.io.set_finalizers(api, object, &finalizers).await?;
            return Ok(Learned::default());
        }
        Step::Create { account_id, display_name, description } => {
            let new = NewAccount {
                account_id: account_id.clone(),
                display_name: display_name.clone(),
                description: description.clone(),
            };
            // One that is there already although it was read as absent shows whose it is at the next try.
            match backend(ONE).await?.create_account(&new).await {
                Ok(account) => return Ok(Learned { account: Some(account), ..Learned::default() }),
                Err(error) => Err(error),
            }
        }
        Step::Undelete { unique_id } => match backend(ONE).await?.undelete_account(unique_id).await {
            Ok(email) => return Ok(Learned { restored: Some(email), ..Learned::default() }),
            Err(error) => Err(error),
        },
        Step::Describe { unique_id, display_name, description } => {
            let to = Description { display_name: display_name.clone(), description: description.clone() };
            backend(ONE).await?.describe_account(unique_id, &to).await
        }
        Step::SetDisabled { unique_id, disabled } => {
            backend(ONE).await?.set_account_disabled(unique_id, *disabled).await
        }
        Step::Bind(change) => {
            let project = login.map(|login| login.facts().project.clone()).unwrap_or_default();
            let writer = ctx.backends.policy_writer(&project);
            let backend = backend(READ_AND_WRITE).await?;
            let _alone = writer.lock().await;
            let still = || pass.may_send(ctx, "account").is_ok();
            match backend.change_policy(change, &still).await {
                Ok(Some(Rebound { told, written })) => {
                    let answers = (written || defect!(UnwrittenAnswers)).then(|| change.clone());
                    let view = PolicyView { resource: change.resource.clone(), told: Ok(told), answers };
                    return Ok(Learned { policy: Some(view), ..Learned::default() });
                }
                Ok(None) => return Err(Error::TooLate { step: "account" }),
                // Somebody else was faster: the whole is done again.
                Err(error) if error.lost_race() => return Err(error.into()),
                Err(error) => {
                    tracing::info!(%error, "a policy cannot be changed");
                    return Ok(Learned { bind_refused: Some(error.trouble()), ..Learned::default() });
                }
            }
        }
        Step::EnableService { name } => {
            let asked = backend(ONE).await?.enable_service(name).await;
            if let Err(error) = &asked {
                tracing::info!(%error, "a service cannot be enabled");
            }
            let enable_refused = asked.err().map(|error| error.trouble());
            return Ok(Learned { enable_refused, ..Learned::default() });
        }
        Step::WriteConfigMap { .. } | Step::DeleteConfigMap { .. } => {
            let map_refused = documents::act(ctx, pass, object, step).await?;
            return Ok(Learned { map_refused, ..Learned::default() });
        }
        Step::DeleteKey { unique_id, key_id } => {
            match backend(ONE).await?.delete_key(unique_id, key_id).await {
                Err(error) if error.class() == Class::NotFound => Ok(()),
                // An account that cannot clean up is as good as before.
                Err(error) if object.meta().deletion_timestamp.is_none() => return Err(error.into()),
                other => other,
            }
        }
        Step::DisableKey { unique_id, key_id } => {
            backend(ONE).await?.disable_key(unique_id, key_id).await?;
            return Ok(Learned::default());
        }
        Step::Unstage { name, uid } => {
            let secrets = ctx.io.namespaced::<Secret>(&namespace);
            ctx.io.delete(&secrets, name, uid, None).await?;
            ctx.first_seen.forget(uid);
            return Ok(Learned::default());
        }
        Step::Delete { unique_id } => match backend(ONE).await?.delete_account(unique_id).await {
            Err(error) if error.class() == Class::NotFound => Ok(()),
            other => other,
        },
    };
    let refused = outcome.err().map(|error| {
        tracing::info!(%error, "the backend refused or did not answer");
        error.trouble()
    });
    let ended = refused.is_none() && matches!(step, Step::Delete { .. });
    Ok(Learned { refused, ended, ..Learned::default() })
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
