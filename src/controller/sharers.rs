//! Other objects on an account.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::Deserialize;

use crate::api::v1alpha1::{ServiceAccount, meta};
use crate::controller::{Context, Error};
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

/// The objects of all namespaces that have this account, but for the one of this namespace and name.
pub async fn sharers(
    ctx: &Context,
    (namespace, name): (&str, &str),
    unique_id: &str,
    project: Option<&str>,
) -> Result<Vec<String>, Error> {
    let api: Api<Sharer> = ctx.io.all();
    let objects = ctx.io.list(&api, &ListParams::default()).await?;
    let is_self =
        |other: &Sharer| other.namespace().as_deref() == Some(namespace) && other.name_any() == name;
    let mut sharers: Vec<String> = objects
        .iter()
        .filter(|other| !is_self(other) && has(ctx, other, unique_id, project))
        .map(|other| format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any()))
        .collect();
    // The message must not change with the order of a list.
    sharers.sort();
    Ok(sharers)
}

/// Servers of the embedded kind give their ids independently: the project must be the same, too.
fn has(ctx: &Context, other: &Sharer, unique_id: &str, project: Option<&str>) -> bool {
    let recorded = &other.status;
    let Some(known) = &recorded.unique_id else { return noted(ctx, other) == Some(unique_id) };
    known == unique_id
        && project.is_none_or(|project| names::is_in_project(recorded.resource_name.as_deref(), project))
}

/// The account that an object without a status had, by its own note; a copy of the object does not carry its mark.
fn noted<'o>(ctx: &Context, other: &'o Sharer) -> Option<&'o str> {
    let (id, mark) = names::split_mark(other.annotations().get(meta::ACCOUNT_ID)?);
    let own = names::owner_mark(&ctx.cluster_id, other.metadata.uid.as_deref().unwrap_or_default());
    (mark == Some(own.as_str())).then_some(id)
}
