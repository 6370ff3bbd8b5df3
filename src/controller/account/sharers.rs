//! Other objects on an account.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::Deserialize;

use crate::api::v1alpha1::ServiceAccount;
use crate::controller::{Context, Error};
use crate::domain::account::Account;
use crate::domain::names;

/// Of a `ServiceAccount` only what says which account it has: also one that this version cannot read has it.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = ServiceAccount)]
struct Sharer {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Recorded,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    unique_id: Option<String>,
    resource_name: Option<String>,
}

/// The objects of all namespaces that have this account, but for the one with this uid.
pub(super) async fn sharers(ctx: &Context, uid: &str, account: &Account) -> Result<Vec<String>, Error> {
    let api: Api<Sharer> = ctx.io.all();
    let objects = ctx.io.list(&api, &ListParams::default()).await?;
    let mut sharers: Vec<String> = objects
        .iter()
        .filter(|other| other.metadata.uid.as_deref() != Some(uid) && has(&other.status, account))
        .map(|other| format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()))
        .collect();
    // The message must not change with the order of a list.
    sharers.sort();
    Ok(sharers)
}

/// Servers of the embedded kind give their ids independently: the project must be the same, too.
fn has(recorded: &Recorded, account: &Account) -> bool {
    recorded.unique_id.as_ref() == Some(&account.unique_id)
        && names::project_of(&account.name)
            .is_none_or(|project| names::is_in_project(recorded.resource_name.as_deref(), project))
}
