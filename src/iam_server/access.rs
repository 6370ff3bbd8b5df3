//! Who may do what: administrators everything, others what their roles on the project or the account allow. A binding with
//! a condition allows nothing here: conditions are kept, not evaluated.

use super::Server;
use super::accounts::lookup;
use super::caller::Caller;
use super::model::Account;
use super::policy::{Member, Policy};
use super::roles;
use super::store::{Ask, StoreError, account_place, project_place};
use super::wire::errors::ApiError;
use super::wire::route::{AccountPath, ApiCall, Target};

/// Lets a caller carry out a call, or says why not.
///
/// # Errors
/// [`ApiError::InsufficientScope`], [`ApiError::PermissionDenied`].
pub async fn check(server: &Server, caller: &Caller, call: &ApiCall) -> Result<(), ApiError> {
    if !caller.covers(call.operation.api) {
        return Err(ApiError::InsufficientScope { service: call.operation.api.service() });
    }
    let permission = call.operation.permission;
    // Everybody may ask what they may do.
    if caller.account.admin || permission.is_empty() {
        return Ok(());
    }
    let (caller, target) = (caller.account.clone(), call.target.clone());
    let held = server
        .store
        .read(move |store| match &target {
            Target::Accounts(project) | Target::Project(project) => {
                Ok(holds(store, &caller, project, None, permission)?)
            }
            Target::Account(at) | Target::Key(at, _) => on_account(store, &caller, at, permission),
            Target::Attempt(_) => Ok(false),
        })
        .await?;
    if held { Ok(()) } else { Err(ApiError::PermissionDenied { permission }) }
}

fn on_account(
    store: &impl Ask,
    caller: &Account,
    at: &AccountPath,
    permission: &str,
) -> Result<bool, ApiError> {
    let found = lookup(store, at)?;
    let project = found.as_ref().map_or(&at.project, |account| &account.project);
    Ok(holds(store, caller, project, found.as_ref(), permission)?)
}

/// Whether an account has a permission on a project, or on an account in it.
///
/// # Errors
/// [`StoreError`].
pub fn holds(
    store: &impl Ask,
    caller: &Account,
    project: &str,
    account: Option<&Account>,
    permission: &str,
) -> Result<bool, StoreError> {
    if caller.admin || grants(&store.policy(&project_place(project))?, caller, permission) {
        return Ok(true);
    }
    match account {
        Some(account) => Ok(grants(&store.policy(&account_place(&account.unique_id))?, caller, permission)),
        None => Ok(false),
    }
}

fn grants(policy: &Policy, caller: &Account, permission: &str) -> bool {
    let is_caller = |member: &Member| matches!(member, Member::Account { unique_id, .. } if *unique_id == caller.unique_id);
    policy.bindings().iter().any(|binding| {
        binding.condition.is_none()
            && roles::allows(&binding.role, permission)
            && binding.members.iter().any(is_caller)
    })
}
