//! Who may do what: administrators everything, others what their roles on the project or the account allow. A binding with
//! a condition allows nothing here: conditions are kept, not evaluated.

use super::accounts::lookup;
use super::caller::Caller;
use super::model::Account;
use super::policy::Policy;
use super::principal::Principal;
use super::store::{Ask, StoreError, account_place, project_place};
use super::wire::errors::ApiError;
use super::wire::operation::{Api, Operation};
use super::wire::route::{AccountPath, ApiCall, Target};
use super::{Server, roles, services};

/// Lets a caller carry out a call, or says why not.
///
/// # Errors
/// [`ApiError::InsufficientScope`], [`ApiError::ServiceDisabled`], [`ApiError::PermissionDenied`].
pub async fn check(server: &Server, caller: &Caller, call: &ApiCall) -> Result<(), ApiError> {
    let Operation { permission, api, .. } = call.operation;
    if !caller.covers(api) {
        return Err(ApiError::InsufficientScope { service: api.service() });
    }
    let (caller, target, now) = (caller.principal.clone(), call.target.clone(), server.clock.now());
    server
        .store
        .read(move |store| {
            // What enables services cannot be switched off by itself.
            if api != Api::ServiceUsage && !services::is_enabled(store, caller.project(), api.service(), now)?
            {
                let project = caller.project().to_owned();
                return Err(ApiError::ServiceDisabled { service: api.service(), project });
            }
            if may(store, &caller, &target, permission)? {
                Ok(())
            } else {
                Err(ApiError::PermissionDenied { permission })
            }
        })
        .await
}

fn may(store: &impl Ask, caller: &Principal, target: &Target, permission: &str) -> Result<bool, ApiError> {
    // Everybody may ask what they may do.
    if caller.is_admin() || permission.is_empty() {
        return Ok(true);
    }
    match target {
        Target::Accounts(project)
        | Target::Project(project)
        | Target::Description(project, _)
        | Target::Services(project)
        | Target::EarthEngine(project)
        | Target::Service(project, _)
        | Target::Constraint(project, _)
        | Target::Activities(project, _) => Ok(holds(store, caller, project, None, permission)?),
        Target::Account(at) | Target::Key(at, _) => on_account(store, caller, at, permission),
        Target::Operation(id) => match services::project_of_operation(store, id)? {
            Some(project) => Ok(holds(store, caller, &project, None, permission)?),
            None => Ok(false),
        },
        Target::Attempt(_) => Ok(false),
    }
}

fn on_account(
    store: &impl Ask,
    caller: &Principal,
    at: &AccountPath,
    permission: &str,
) -> Result<bool, ApiError> {
    let found = lookup(store, at)?;
    let project = found.as_ref().map_or(&at.project, |account| &account.project);
    Ok(holds(store, caller, project, found.as_ref(), permission)?)
}

/// Whether somebody has a permission on a project, or on an account in it.
///
/// # Errors
/// [`StoreError`].
pub fn holds(
    store: &impl Ask,
    caller: &Principal,
    project: &str,
    account: Option<&Account>,
    permission: &str,
) -> Result<bool, StoreError> {
    if caller.is_admin() || grants(&store.policy(&project_place(project))?, caller, permission) {
        return Ok(true);
    }
    match account {
        Some(account) => Ok(grants(&store.policy(&account_place(&account.unique_id))?, caller, permission)),
        None => Ok(false),
    }
}

fn grants(policy: &Policy, caller: &Principal, permission: &str) -> bool {
    policy.bindings().iter().any(|binding| {
        binding.condition.is_none()
            && roles::allows(&binding.role, permission)
            && binding.members.iter().any(|member| caller.is(member))
    })
}
