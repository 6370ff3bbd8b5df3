//! What one pass knows before anything is asked: the object, its backend, and what the backend lets it ask for.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use regex::Regex;

use super::act::Learned;
use super::documents;
use crate::api::v1alpha1::{BackendKind, ServiceAccount, Tenants, meta};
use crate::backend::Facts;
use crate::controller::registry::{BackendId, Login, Rules, allows};
use crate::controller::{Context, Error};
use crate::domain::account::{Done, Grants, Observation, handle};
use crate::domain::schedule::{audit_wait, is_audit_due};
use crate::domain::{Capabilities, Reason, names};

/// What a pass begins with.
pub async fn observe(
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
        noted: object.annotations().get(meta::ACCOUNT_ID).cloned(),
        owner_mark: names::owner_mark(&ctx.cluster_id, &uid),
        own_attempt: ctx.intents.of(&uid),
        uid,
        backend: Err((Reason::BackendNotFound, String::new())),
        account: learned.account.map(|account| Ok(Some(account))),
        roll: None,
        in_use: None,
        fresh_nonce: ctx.nonce()?,
        shared_with: None,
        keys: None,
        leftovers: None,
        census_due,
        census: None,
        policies: None,
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
                let facts = login.facts();
                let asked = asked_for(&observation, &facts.can);
                observation.backend = Ok(grants(&rules, &id, &namespace, facts, asked));
                Some(login)
            }
        },
        Err(unusable) => match ctx.backends.last_good(&id).filter(|_| deleting) {
            Some(login) => {
                observation.backend = Ok(remembered(login.facts(), id.kind));
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

/// What may still be asked of a backend that cannot be read any more.
fn remembered(facts: &Facts, kind: BackendKind) -> Grants {
    Grants {
        can: facts.can.clone(),
        // Whoever may write an IamBackend may adopt whatever its login sees.
        adoption: kind == BackendKind::IamBackend,
        undelete: false,
        account_id: Ok(()),
        project: facts.project.clone(),
        // What stays keeps the roles that its spec lists.
        roles: None,
        services: None,
    }
}

/// The account that the object asks for by name; one whose id the backend chooses has none.
fn asked_for<'o>(observation: &'o Observation, can: &Capabilities) -> Option<&'o str> {
    if can.chosen_ids {
        return Some(handle(observation));
    }
    let spec = &observation.spec;
    let noted = observation.noted.as_deref().filter(|_| observation.status.unique_id.is_none());
    let named = spec.email.as_deref().or(spec.account_id.as_deref());
    named.or_else(|| noted.map(|noted| names::split_mark(noted).0))
}

fn grants(rules: &Rules, id: &BackendId, namespace: &str, facts: &Facts, asked: Option<&str>) -> Grants {
    let (can, project) = (facts.can.clone(), facts.project.clone());
    match (&rules.tenants, id.kind) {
        (Some(tenants), BackendKind::ClusterIamBackend) => Grants {
            can,
            adoption: tenants.adoption,
            undelete: tenants.undelete,
            account_id: asked.map_or(Ok(()), |asked| matches(tenants, namespace, asked)),
            project,
            roles: Some(tenants.roles.clone()),
            services: Some(tenants.services.clone()),
        },
        _ => Grants {
            can,
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
