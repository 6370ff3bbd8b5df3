//! The methods of service accounts.

use std::sync::atomic::Ordering;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Server;
use super::model::{Account, email, project_of_email};
use super::org_policy::Ban;
use super::random;
use super::settings::UNDELETE_WINDOW;
use super::store::Ask;
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use super::wire::query::Query;
use super::wire::render;
use super::wire::requests::{self, AccountFields, CreateAccount, Empty, PatchAccount};
use super::wire::route::AccountPath;

const MAX_DISPLAY_NAME_BYTES: usize = 100;
const MAX_DESCRIPTION_BYTES: usize = 256;
const DEFAULT_PAGE: usize = 20;
const MAX_PAGE: usize = 100;

/// What can be seen: the projects that there are, and of accounts those that have been there for a while.
pub struct Sight {
    projects: Vec<String>,
    now: Timestamp,
    delay: SignedDuration,
    /// Whether what is not there yet looks as if it were somebody else's.
    as_forbidden: bool,
}

impl Server {
    /// What the caller of one request can see. A new account that is not there yet is answered with 404 and with 403 by
    /// turns, as at Google.
    pub fn sight(&self) -> Sight {
        Sight {
            projects: self.settings.projects.clone(),
            now: self.clock.now(),
            delay: self.tunables.account_visibility_delay(),
            as_forbidden: self.looks.fetch_add(1, Ordering::Relaxed) % 2 == 1,
        }
    }
}

impl Sight {
    /// The projects that there are.
    pub fn projects(&self) -> &[String] {
        &self.projects
    }

    /// Whether what was made then can be seen.
    pub fn shows(&self, created: Timestamp) -> bool {
        !self.delay.is_positive() || self.now.duration_since(created) >= self.delay
    }

    /// Whether what is not there yet looks as if it were somebody else's.
    pub fn is_forbidding(&self) -> bool {
        self.as_forbidden
    }
}

/// The account at a path. With the project left open, "not there" and "not yours" look the same.
///
/// # Errors
/// [`ApiError::AccountMissing`], [`ApiError::PermissionDenied`], [`ApiError::Store`].
pub fn find(
    store: &impl Ask,
    sight: &Sight,
    at: &AccountPath,
    operation: Operation,
) -> Result<Account, ApiError> {
    let denied = ApiError::PermissionDenied { permission: operation.permission };
    if !at.is_wildcard() && !sight.projects.contains(&at.project) {
        return Err(denied);
    }
    match lookup(store, at)? {
        Some(account) if sight.shows(account.created) => Ok(account),
        Some(_) if sight.as_forbidden => Err(denied),
        None if at.is_wildcard() => Err(denied),
        Some(_) | None => Err(ApiError::AccountMissing),
    }
}

/// The account at a path, if there is one that is not deleted.
///
/// # Errors
/// [`ApiError::Store`].
pub fn lookup(store: &impl Ask, at: &AccountPath) -> Result<Option<Account>, ApiError> {
    let found = if is_unique_id(&at.account) {
        store.account(&at.account)?.filter(|account| account.deleted.is_none())
    } else {
        let project =
            if at.is_wildcard() { project_of_email(&at.account) } else { Some(at.project.as_str()) };
        match project {
            Some(project) => store.account_by_email(project, &at.account)?,
            None => None,
        }
    };
    Ok(found.filter(|account| at.is_wildcard() || account.project == at.project))
}

fn is_unique_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A project of this server. Of any other nobody learns whether it is there.
///
/// # Errors
/// [`ApiError::PermissionDenied`].
pub fn known_project<'a>(
    projects: &'a [String],
    project: &str,
    operation: Operation,
) -> Result<&'a str, ApiError> {
    let known = projects.iter().find(|known| *known == project).map(String::as_str);
    known.ok_or(ApiError::PermissionDenied { permission: operation.permission })
}

/// `accounts.create`.
pub async fn create(server: &Server, project: &str, body: &Bytes) -> Result<Value, ApiError> {
    let request: CreateAccount = requests::parse(body, server.settings.strict)?;
    known_project(&server.settings.projects, project, Operation::ACCOUNTS_CREATE)?;
    let account_id = request.account_id.unwrap_or_default();
    check_account_id(&account_id)?;
    let subject = || format!("projects/{project}");
    server.tunables.org_policy().allow(Ban::Accounts, subject)?;
    let fields = request.service_account.unwrap_or_default();
    let display_name = checked_display_name(fields.display_name)?;
    let description = checked_description(fields.description)?;
    let account = Account {
        unique_id: String::new(),
        project: project.to_owned(),
        email: email(&account_id, project),
        display_name,
        description,
        disabled: false,
        admin: false,
        created: server.clock.now(),
        deleted: None,
        revision: 1,
    };
    let account = insert(server, account_id, account).await?;
    Ok(render::account(&account))
}

/// Gives the account a unique id and stores it.
///
/// # Errors
/// [`ApiError::AccountExists`] if its address is taken.
pub async fn insert(server: &Server, account_id: String, mut account: Account) -> Result<Account, ApiError> {
    server
        .store
        .write(move |store| {
            if let Some(taken) = store.account_by_email(&account.project, &account.email)? {
                return Err(ApiError::AccountExists {
                    account_id,
                    project: taken.project.clone(),
                    resource: taken.resource_name(),
                });
            }
            loop {
                account.unique_id = random::unique_id()?;
                if store.account(&account.unique_id)?.is_none() {
                    break;
                }
            }
            store.put_account(&account)?;
            Ok(account)
        })
        .await
}

fn check_account_id(id: &str) -> Result<(), ApiError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (6..=30).contains(&id.len())
        && id.bytes().all(inner)
        && id.starts_with(|first: char| first.is_ascii_lowercase())
        && !id.ends_with('-');
    if good {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Invalid value at 'account_id': {id:?} must have 6 to 30 characters and match [a-z]([-a-z0-9]*[a-z0-9])."
    )))
}

fn checked_display_name(name: Option<String>) -> Result<String, ApiError> {
    checked("display_name", MAX_DISPLAY_NAME_BYTES, name)
}

fn checked_description(description: Option<String>) -> Result<String, ApiError> {
    checked("description", MAX_DESCRIPTION_BYTES, description)
}

fn checked(field: &str, limit: usize, text: Option<String>) -> Result<String, ApiError> {
    let text = text.unwrap_or_default();
    if text.len() > limit {
        let length = text.len();
        return Err(ApiError::invalid(format!(
            "Invalid value at 'service_account.{field}': {length} bytes, at most {limit} are possible."
        )));
    }
    Ok(text)
}

/// `accounts.get`.
pub async fn get(server: &Server, at: AccountPath) -> Result<Value, ApiError> {
    let sight = server.sight();
    let account = server.store.read(move |store| find(store, &sight, &at, Operation::ACCOUNTS_GET)).await?;
    Ok(render::account(&account))
}

/// `accounts.list`, in the order of addresses; the page token is the last address shown.
pub async fn list(server: &Server, project: &str, query: &Query) -> Result<Value, ApiError> {
    known_project(&server.settings.projects, project, Operation::ACCOUNTS_LIST)?;
    let size = query.number("pageSize")?.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    let after = match query.one("pageToken") {
        None => String::new(),
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ApiError::invalid("Invalid value at 'page_token'."))?,
    };
    let (project, sight) = (project.to_owned(), server.sight());
    let mut accounts = server
        .store
        .read(move |store| {
            let mut accounts = store.accounts_after(&project, &after, size + 1)?;
            accounts.retain(|account| sight.shows(account.created));
            Ok::<_, ApiError>(accounts)
        })
        .await?;
    let more = accounts.len() > size;
    accounts.truncate(size);
    let mut answer = json!({});
    if let Some(fields) = answer.as_object_mut() {
        if !accounts.is_empty() {
            let shown: Vec<Value> = accounts.iter().map(render::account).collect();
            fields.insert("accounts".to_owned(), shown.into());
        }
        if let (true, Some(last)) = (more, accounts.last()) {
            fields.insert("nextPageToken".to_owned(), URL_SAFE_NO_PAD.encode(&last.email).into());
        }
    }
    Ok(answer)
}

/// Changes one account in one transaction; an unchanged one is not written.
async fn change(
    server: &Server,
    at: AccountPath,
    operation: Operation,
    edit: impl FnOnce(&mut Account) + Send + 'static,
) -> Result<Account, ApiError> {
    let sight = server.sight();
    server
        .store
        .write(move |store| {
            let mut account = find(store, &sight, &at, operation)?;
            let before = account.clone();
            edit(&mut account);
            if account != before {
                account.revision += 1;
                store.put_account(&account)?;
            }
            Ok(account)
        })
        .await
}

/// `accounts.patch`: takes the fields in the mask, which is mandatory.
pub async fn patch(server: &Server, at: AccountPath, body: &Bytes) -> Result<Value, ApiError> {
    let request: PatchAccount = requests::parse(body, server.settings.strict)?;
    let mask = request.update_mask.unwrap_or_default();
    let (mut names, mut descriptions) = (false, false);
    for path in mask.split(',').map(str::trim).filter(|path| !path.is_empty()) {
        match path {
            "displayName" | "display_name" => names = true,
            "description" => descriptions = true,
            other => {
                return Err(ApiError::invalid(format!("Invalid value at 'update_mask': {other:?}.")));
            }
        }
    }
    if !names && !descriptions {
        return Err(ApiError::invalid("update_mask is required."));
    }
    let fields = request.service_account.unwrap_or_default();
    let display_name = checked_display_name(fields.display_name)?;
    let description = checked_description(fields.description)?;
    let edit = move |account: &mut Account| {
        if names {
            account.display_name = display_name;
        }
        if descriptions {
            account.description = description;
        }
    };
    let account = change(server, at, Operation::ACCOUNTS_PATCH, edit).await?;
    Ok(render::patched_account(&account, names, descriptions))
}

/// `accounts.update`, which Google is giving up: only the display name is taken.
pub async fn update(server: &Server, at: AccountPath, body: &Bytes) -> Result<Value, ApiError> {
    let request: AccountFields = requests::parse(body, server.settings.strict)?;
    let display_name = checked_display_name(request.display_name)?;
    let edit = move |account: &mut Account| account.display_name = display_name;
    let account = change(server, at, Operation::ACCOUNTS_UPDATE, edit).await?;
    Ok(render::account(&account))
}

/// `accounts.disable` and `accounts.enable`; doing it twice changes nothing.
pub async fn set_disabled(
    server: &Server,
    at: AccountPath,
    body: &Bytes,
    operation: Operation,
    disabled: bool,
) -> Result<Value, ApiError> {
    let _: Empty = requests::parse(body, server.settings.strict)?;
    change(server, at, operation, move |account| account.disabled = disabled).await?;
    Ok(json!({}))
}

/// `accounts.delete`: the account can come back for 30 days, its address is free at once.
pub async fn delete(server: &Server, at: AccountPath) -> Result<Value, ApiError> {
    let now = server.clock.now();
    let edit = move |account: &mut Account| account.deleted = Some(now);
    change(server, at, Operation::ACCOUNTS_DELETE, edit).await?;
    Ok(json!({}))
}

/// `accounts.undelete`, by unique id: the address may belong to another account by now.
pub async fn undelete(server: &Server, at: AccountPath, body: &Bytes) -> Result<Value, ApiError> {
    let _: Empty = requests::parse(body, server.settings.strict)?;
    if !is_unique_id(&at.account) {
        return Err(ApiError::invalid("A deleted service account can only be named by its unique id."));
    }
    let denied = ApiError::PermissionDenied { permission: Operation::ACCOUNTS_UNDELETE.permission };
    if !at.is_wildcard() && !server.settings.projects.contains(&at.project) {
        return Err(denied);
    }
    let now = server.clock.now();
    let restored = server
        .store
        .write(move |store| {
            let found = store
                .account(&at.account)?
                .filter(|account| at.is_wildcard() || account.project == at.project)
                .filter(|account| {
                    account.deleted.is_none_or(|gone| now.duration_since(gone) < UNDELETE_WINDOW)
                });
            let Some(mut account) = found else {
                return Err(if at.is_wildcard() { denied } else { ApiError::AccountMissing });
            };
            if account.deleted.is_none() {
                return Err(ApiError::FailedPrecondition {
                    reason: format!("Service account {} is not deleted.", account.unique_id),
                });
            }
            if let Some(taken) = store.account_by_email(&account.project, &account.email)? {
                return Err(ApiError::AccountExists {
                    account_id: account.email.clone(),
                    project: taken.project.clone(),
                    resource: taken.resource_name(),
                });
            }
            account.deleted = None;
            account.revision += 1;
            store.put_account(&account)?;
            Ok(account)
        })
        .await?;
    Ok(json!({ "restoredAccount": render::account(&restored) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids() {
        for good in ["abcdef", "a-b-c-1", &format!("a{}", "b".repeat(29))] {
            check_account_id(good).unwrap();
        }
        for bad in ["", "abcde", "Bad_id", "1abcde", "-abcde", "abcde-", "abc.def", &"a".repeat(31)] {
            assert!(check_account_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_are_measured_in_bytes() {
        assert!(checked_display_name(Some("ä".repeat(50))).is_ok());
        assert!(checked_display_name(Some("ä".repeat(51))).is_err());
        assert!(checked_description(Some("x".repeat(256))).is_ok());
        assert!(checked_description(Some("x".repeat(257))).is_err());
    }
}
