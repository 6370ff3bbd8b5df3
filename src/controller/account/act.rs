//! One effect on an account: at the backend, on a Secret or a `ConfigMap`, on the object itself.

use std::num::NonZeroU32;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource as _, ResourceExt as _};

use super::documents;
use crate::api::v1alpha1::{ServiceAccount, meta};
use crate::backend::policies::Rebound;
use crate::backend::{Description, IamBackend, NewAccount};
use crate::controller::pass::Pass;
use crate::controller::registry::Login;
use crate::controller::{Context, Error};
use crate::defect;
use crate::domain::account::{Account, PolicyChange, PolicyView, Step};
use crate::domain::{Class, Trouble};

const ONE: NonZeroU32 = NonZeroU32::MIN;
/// A policy is read before it is written.
const READ_AND_WRITE: NonZeroU32 = ONE.saturating_add(1);

/// What a step taught the pass: its answer counts as a fresh read.
#[derive(Clone, Default)]
pub struct Learned {
    /// The backend refused the step.
    pub refused: Option<Trouble>,
    /// The account, as it was answered.
    pub account: Option<Account>,
    /// A policy, as it is after a change.
    pub policy: Option<PolicyView>,
    /// The backend refused to change a policy.
    pub bind_refused: Option<Trouble>,
    /// The backend refused to enable a service.
    pub enable_refused: Option<Trouble>,
    /// The e-mail of an account that was brought back.
    pub restored: Option<String>,
    /// A `ConfigMap`, and what the API server said of it.
    pub map_refused: Option<(String, String)>,
    /// The account was deleted.
    pub ended: bool,
}

impl Learned {
    /// Whether nobody refused the step.
    pub fn is_accepted(&self) -> bool {
        self.refused.is_none()
            && self.bind_refused.is_none()
            && self.enable_refused.is_none()
            && self.map_refused.is_none()
    }
}

/// Takes a step. A refusal of the backend is for the plan to tell.
pub async fn act(
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
        Step::AddFinalizer | Step::RemoveFinalizer | Step::Note { .. } => {
            on_object(ctx, api, object, step).await?;
            return Ok(Learned::default());
        }
        Step::Create { account_id, display_name, description, basic_auth } => {
            let new = NewAccount {
                account_id: account_id.clone(),
                display_name: display_name.clone(),
                description: description.clone(),
                basic_auth: *basic_auth,
            };
            let backend = match login {
                // The turn was taken with the list that came before the intent.
                Some(login) if !login.facts().can.chosen_ids => {
                    pass.may_send(ctx, "account")?;
                    login.now()
                }
                _ => backend(ONE).await?,
            };
            // It leaves once, whatever becomes of its answer.
            ctx.intents.sent(&object.uid().unwrap_or_default());
            // One that is there already although it was read as absent shows whose it is at the next try.
            match backend.create_account(&new).await {
                Ok(account) => return Ok(Learned { account: Some(account), ..Learned::default() }),
                Err(error) => Err(error),
            }
        }
        Step::Undelete { unique_id } => match backend(ONE).await?.undelete_account(unique_id).await {
            Ok(email) => return Ok(Learned { restored: Some(email), ..Learned::default() }),
            Err(error) => Err(error),
        },
        Step::Describe { unique_id, display_name, description, basic_auth } => {
            let to = Description {
                display_name: display_name.clone(),
                description: description.clone(),
                basic_auth: *basic_auth,
            };
            backend(ONE).await?.describe_account(unique_id, &to).await
        }
        Step::SetDisabled { unique_id, disabled } => {
            backend(ONE).await?.set_account_disabled(unique_id, *disabled).await
        }
        Step::Bind(change) => {
            let project = login.map(|login| login.facts().project.clone()).unwrap_or_default();
            return bind(ctx, pass, &project, backend(READ_AND_WRITE).await?, change).await;
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

/// What a step writes on the object itself.
async fn on_object(
    ctx: &Context,
    api: &Api<ServiceAccount>,
    object: &ServiceAccount,
    step: &Step,
) -> Result<(), Error> {
    if let Step::Note { value } = step {
        return Ok(ctx.io.annotate(api, object, meta::ACCOUNT_ID, value).await?);
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != meta::FINALIZER);
    finalizers.extend((*step == Step::AddFinalizer).then(|| meta::FINALIZER.to_owned()));
    Ok(ctx.io.set_finalizers(api, object, &finalizers).await?)
}

/// Changes a policy. One writer a project: who comes second would only be refused.
async fn bind(
    ctx: &Context,
    pass: &Pass,
    project: &str,
    backend: &dyn IamBackend,
    change: &PolicyChange,
) -> Result<Learned, Error> {
    let writer = ctx.backends.policy_writer(project);
    let _alone = writer.lock().await;
    let still = || pass.may_send(ctx, "account").is_ok();
    match backend.change_policy(change, &still).await {
        Ok(Some(Rebound { told, written })) => {
            let answers = (written || defect!(UnwrittenAnswers)).then(|| change.clone());
            let view = PolicyView { resource: change.resource.clone(), told: Ok(told), answers };
            Ok(Learned { policy: Some(view), ..Learned::default() })
        }
        Ok(None) => Err(Error::TooLate { step: "account" }),
        // Somebody else was faster: the whole is done again.
        Err(error) if error.lost_race() => Err(error.into()),
        Err(error) => {
            tracing::info!(%error, "a policy cannot be changed");
            Ok(Learned { bind_refused: Some(error.trouble()), ..Learned::default() })
        }
    }
}
