//! Service Usage: which services a project may use.
//!
//! Shapes: the discovery document of Service Usage v1. Enabling is an operation that may take its time.

use axum::body::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Server;
use super::accounts::known_project;
use super::random;
use super::store::{Ask, Record, StoreError};
use super::wire::enums::{EnumEncoding, ServiceState, WireEnum as _};
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::requests::{self, BatchEnable, DisableService, Empty};

/// The services that can be named: name, title, and whether a new project has it. It has what this server serves
/// itself, but for Earth Engine, which at Google nobody has without asking for it either.
const SERVICES: [(&str, &str, bool); 15] = [
    ("bigquery.googleapis.com", "BigQuery API", false),
    ("cloudresourcemanager.googleapis.com", "Cloud Resource Manager API", true),
    ("compute.googleapis.com", "Compute Engine API", false),
    ("drive.googleapis.com", "Google Drive API", false),
    ("earthengine.googleapis.com", "Google Earth Engine API", false),
    ("iam.googleapis.com", "Identity and Access Management (IAM) API", true),
    ("iamcredentials.googleapis.com", "IAM Service Account Credentials API", true),
    ("logging.googleapis.com", "Cloud Logging API", false),
    ("monitoring.googleapis.com", "Cloud Monitoring API", false),
    ("orgpolicy.googleapis.com", "Organization Policy API", true),
    ("policyanalyzer.googleapis.com", "Policy Analyzer API", true),
    ("pubsub.googleapis.com", "Cloud Pub/Sub API", false),
    ("serviceusage.googleapis.com", "Service Usage API", true),
    ("storage.googleapis.com", "Cloud Storage API", false),
    ("sts.googleapis.com", "Security Token Service API", true),
];

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 200;
/// Most services of one `services.batchEnable`.
const MAX_BATCH: usize = 20;
/// Most services of one `services.batchGet`.
const MAX_NAMES: usize = 30;
/// The name of an operation that had nothing to do.
const NOTHING_TO_DO: &str = "operations/noop.DONE_OPERATION";
const TYPES: &str = "type.googleapis.com/google.api.serviceusage.v1";

/// What somebody wanted of a service, and when it is so.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wish {
    enabled: bool,
    since: Timestamp,
}

impl Record for Wish {
    const KIND: &'static str = "services";
}

/// An operation that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Begun {
    project: String,
    services: Vec<String>,
    kind: Kind,
    ends: Timestamp,
}

impl Record for Begun {
    const KIND: &'static str = "operations";
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Enable,
    BatchEnable,
    Disable,
}

/// A service of a project, as it is shown.
struct Shown<'a> {
    /// `projects/NUMBER`.
    parent: &'a str,
    name: &'a str,
    enabled: bool,
}

impl Shown<'_> {
    fn render(&self, encoding: EnumEncoding) -> Value {
        let state = if self.enabled { ServiceState::Enabled } else { ServiceState::Disabled };
        let title = SERVICES.iter().find(|(name, ..)| *name == self.name).map(|(_, title, _)| *title);
        json!({
            "name": format!("{}/services/{}", self.parent, self.name),
            "parent": self.parent,
            "config": {"name": self.name, "title": title},
            "state": state.encode(encoding),
        })
    }
}

/// Whether a project may use a service now.
///
/// # Errors
/// [`StoreError`].
pub fn is_enabled(
    store: &impl Ask,
    project: &str,
    service: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let wish: Option<Wish> = store.record(&place(project, service))?;
    Ok(match wish {
        // Until then it is what it was.
        Some(wish) => wish.enabled == (now >= wish.since),
        None => SERVICES.iter().any(|(name, _, given)| *name == service && *given),
    })
}

fn place(project: &str, service: &str) -> String {
    format!("{project}/{service}")
}

/// A service that exists; of others Google does not say whether they do.
fn known(service: &str) -> Result<&str, ApiError> {
    let is_known = SERVICES.iter().any(|(name, ..)| *name == service);
    if is_known { Ok(service) } else { Err(ApiError::ServiceUnknown { service: service.to_owned() }) }
}

/// `services.get`.
///
/// # Errors
/// [`ApiError::PermissionDenied`] for an unknown project, [`ApiError::ServiceUnknown`].
pub async fn get(
    server: &Server,
    project: String,
    service: String,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let operation = Operation::SERVICES_GET;
    known_project(&server.settings.projects, &project, operation)?;
    known(&service)?;
    let parent = server.projects.name_of(&project, operation)?;
    show_all(server, project, parent, vec![service], encoding).await?.pop().ok_or(ApiError::UnknownPath)
}

/// `services.batchGet`.
///
/// # Errors
/// As [`get`]; [`ApiError::InvalidArgument`] for names of another project, none, or too many.
pub async fn batch_get(
    server: &Server,
    project: String,
    query: &Query,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let operation = Operation::SERVICES_BATCH_GET;
    known_project(&server.settings.projects, &project, operation)?;
    let parent = server.projects.name_of(&project, operation)?;
    let mut services = Vec::new();
    for name in query.all("names") {
        let service = name
            .strip_prefix("projects/")
            .and_then(|rest| rest.split_once("/services/"))
            .filter(|(owner, _)| server.projects.id_of(owner) == project)
            .map(|(_, service)| service)
            .ok_or_else(|| ApiError::invalid(format!("Invalid value at 'names': {name:?}")))?;
        services.push(known(service)?.to_owned());
    }
    if services.is_empty() || services.len() > MAX_NAMES {
        return Err(ApiError::invalid(format!("'names' needs 1 to {MAX_NAMES} services.")));
    }
    let shown = show_all(server, project, parent, services, encoding).await?;
    Ok(json!({ "services": shown }))
}

async fn show_all(
    server: &Server,
    project: String,
    parent: String,
    services: Vec<String>,
    encoding: EnumEncoding,
) -> Result<Vec<Value>, ApiError> {
    let now = server.clock.now();
    server
        .store
        .read(move |store| {
            let show = |name: &String| {
                let enabled = is_enabled(store, &project, name, now)?;
                Ok(Shown { parent: &parent, name, enabled }.render(encoding))
            };
            services.iter().map(show).collect()
        })
        .await
}

/// `services.list`, by name; the page token is the last one shown.
///
/// # Errors
/// [`ApiError::PermissionDenied`] for an unknown project, [`ApiError::InvalidArgument`] for a filter that is not one.
pub async fn list(
    server: &Server,
    project: String,
    query: &Query,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let operation = Operation::SERVICES_LIST;
    known_project(&server.settings.projects, &project, operation)?;
    let parent = server.projects.name_of(&project, operation)?;
    let wanted = match query.one("filter") {
        None => None,
        Some("state:ENABLED") => Some(true),
        Some("state:DISABLED") => Some(false),
        Some(other) => return Err(ApiError::invalid(format!("Invalid value at 'filter': {other:?}"))),
    };
    let size = query.number("pageSize")?.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    let after = query.one("pageToken").unwrap_or_default().to_owned();
    let now = server.clock.now();
    let (services, more) = server
        .store
        .read(move |store| {
            let mut services = Vec::new();
            for (name, ..) in SERVICES.iter().filter(|(name, ..)| *name > after.as_str()) {
                let enabled = is_enabled(store, &project, name, now)?;
                if wanted.is_some_and(|wanted| wanted != enabled) {
                    continue;
                }
                if services.len() == size {
                    return Ok((services, true));
                }
                services.push((*name, enabled));
            }
            Ok::<_, ApiError>((services, false))
        })
        .await?;
    let mut answer = Map::new();
    if let (true, Some((last, _))) = (more, services.last()) {
        answer.insert("nextPageToken".to_owned(), (*last).into());
    }
    let shown: Vec<Value> = services
        .into_iter()
        .map(|(name, enabled)| Shown { parent: &parent, name, enabled }.render(encoding))
        .collect();
    if !shown.is_empty() {
        answer.insert("services".to_owned(), shown.into());
    }
    Ok(answer.into())
}

/// `services.enable`.
///
/// # Errors
/// As [`get`].
pub async fn enable(
    server: &Server,
    project: String,
    service: String,
    body: &Bytes,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let _: Empty = requests::parse(body, server.settings.strict)?;
    begin(server, project, vec![service], Kind::Enable, Operation::SERVICES_ENABLE, encoding).await
}

/// `services.disable`. No service here depends on another, and none has usage that would forbid it.
///
/// # Errors
/// As [`get`].
pub async fn disable(
    server: &Server,
    project: String,
    service: String,
    body: &Bytes,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let _: DisableService = requests::parse(body, server.settings.strict)?;
    begin(server, project, vec![service], Kind::Disable, Operation::SERVICES_DISABLE, encoding).await
}

/// `services.batchEnable`.
///
/// # Errors
/// As [`get`]; [`ApiError::InvalidArgument`] for none, or too many.
pub async fn batch_enable(
    server: &Server,
    project: String,
    body: &Bytes,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    let request: BatchEnable = requests::parse(body, server.settings.strict)?;
    let services = request.service_ids;
    if services.is_empty() || services.len() > MAX_BATCH {
        return Err(ApiError::invalid(format!("service_ids needs 1 to {MAX_BATCH} services.")));
    }
    begin(server, project, services, Kind::BatchEnable, Operation::SERVICES_BATCH_ENABLE, encoding).await
}

async fn begin(
    server: &Server,
    project: String,
    services: Vec<String>,
    kind: Kind,
    operation: Operation,
    encoding: EnumEncoding,
) -> Result<Value, ApiError> {
    known_project(&server.settings.projects, &project, operation)?;
    services.iter().try_for_each(|service| known(service).map(drop))?;
    let parent = server.projects.name_of(&project, operation)?;
    let now = server.clock.now();
    let ends = now.checked_add(server.tunables.service_delay())?;
    let wanted = kind != Kind::Disable;
    let id = format!("acf.{}", random::operation_id()?);
    let begun = Begun { project, services, kind, ends };
    server
        .store
        .write(move |store| {
            let mut changed = false;
            for service in &begun.services {
                let place = place(&begun.project, service);
                let is = is_enabled(store, &begun.project, service, now)?;
                let becomes = store.record::<Wish>(&place)?.map_or(is, |wish| wish.enabled);
                changed |= is != wanted || becomes != wanted;
                // What is under way to it already does not begin again.
                if becomes != wanted {
                    let since = if is == wanted { now } else { ends };
                    store.put_record(&place, &Wish { enabled: wanted, since })?;
                }
            }
            if !changed {
                return begun.render(store, NOTHING_TO_DO, &parent, now, encoding);
            }
            store.put_record(&id, &begun)?;
            begun.render(store, &format!("operations/{id}"), &parent, now, encoding)
        })
        .await
}

/// `operations.get`.
///
/// # Errors
/// [`ApiError::OperationMissing`].
pub async fn operation(server: &Server, id: String, encoding: EnumEncoding) -> Result<Value, ApiError> {
    let now = server.clock.now();
    let projects = server.projects.clone();
    server
        .store
        .read(move |store| {
            let begun: Begun =
                store.record(&id)?.ok_or_else(|| ApiError::OperationMissing { id: id.clone() })?;
            let parent = projects.name_of(&begun.project, Operation::OPERATIONS_GET)?;
            begun.render(store, &format!("operations/{id}"), &parent, now, encoding)
        })
        .await
}

/// The project of an operation, if there is such an operation.
///
/// # Errors
/// [`StoreError`].
pub fn project_of_operation(store: &impl Ask, id: &str) -> Result<Option<String>, StoreError> {
    Ok(store.record::<Begun>(id)?.map(|begun| begun.project))
}

impl Begun {
    fn render(
        &self,
        store: &impl Ask,
        name: &str,
        parent: &str,
        now: Timestamp,
        encoding: EnumEncoding,
    ) -> Result<Value, ApiError> {
        let names = self.services.iter().map(|service| format!("{parent}/services/{service}"));
        let metadata = json!({
            "@type": format!("{TYPES}.OperationMetadata"),
            "resourceNames": names.collect::<Vec<_>>(),
        });
        let mut fields =
            Map::from_iter([("name".to_owned(), name.into()), ("metadata".to_owned(), metadata)]);
        // One that had nothing to do is over before its services would be ready.
        if now >= self.ends || name == NOTHING_TO_DO {
            fields.insert("done".to_owned(), true.into());
            fields.insert("response".to_owned(), self.response(store, parent, now, encoding)?);
        }
        Ok(fields.into())
    }

    fn response(
        &self,
        store: &impl Ask,
        parent: &str,
        now: Timestamp,
        encoding: EnumEncoding,
    ) -> Result<Value, ApiError> {
        let mut shown = Vec::new();
        for name in &self.services {
            let enabled = is_enabled(store, &self.project, name, now)?;
            shown.push(Shown { parent, name, enabled }.render(encoding));
        }
        Ok(match self.kind {
            Kind::BatchEnable => {
                json!({"@type": format!("{TYPES}.BatchEnableServicesResponse"), "services": shown})
            }
            Kind::Enable => {
                json!({"@type": format!("{TYPES}.EnableServiceResponse"), "service": shown.pop()})
            }
            Kind::Disable => {
                json!({"@type": format!("{TYPES}.DisableServiceResponse"), "service": shown.pop()})
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_in_the_order_of_their_names() {
        assert!(SERVICES.is_sorted_by_key(|(name, ..)| *name));
    }
}
