//! The first account: without it nobody could make any.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::model::{Account, email};
use super::store::Ask as _;
use super::wire::errors::ApiError;
use super::{Server, accounts, keys};
use crate::credential::{CredentialError, GoogleCredentials, SecretBytes};

/// The local part of its address.
pub const ADMIN_ACCOUNT: &str = "keywheel-admin";

/// Why the administrator's credential is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The file cannot be read or written.
    #[error("the admin key file {} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is no credential file.
    #[error("the admin key file {} is not a Google credential file", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CredentialError,
    },
    /// The file belongs to another data file.
    #[error(
        "the admin key file {} holds key {key_id}, which this data file does not know; remove the file to have a \
         new key written", path.display()
    )]
    Stranger {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key_id: String,
    },
    /// The account or its key could not be made.
    #[error("the account {ADMIN_ACCOUNT} could not be given a key")]
    Make(#[source] ApiError),
}

/// Sees to it that the administrator exists and that its credential lies in the file. A file that is there is left
/// alone, but its key must be one of this store: a server that nobody can administrate does not start. An
/// administrator or key that somebody has disabled stays disabled.
///
/// # Errors
/// [`AdminError`].
pub async fn ensure(server: &Server, project: &str, path: &Path) -> Result<(), AdminError> {
    let file_error = |source| AdminError::File { path: path.to_owned(), source };
    if path.try_exists().map_err(file_error)? {
        return check(server, project, path).await;
    }
    let account = account(server, project).await.map_err(AdminError::Make)?;
    // Never delayed and never ending: delays and constraints are for keys that callers make.
    let made = keys::make(server, account, keys::Terms::default()).await.map_err(AdminError::Make)?;
    write_private(path, &made.file).map_err(file_error)?;
    tracing::info!(account = made.account.email, key = made.key.id, file = %path.display(), "admin key written");
    Ok(())
}

async fn account(server: &Server, project: &str) -> Result<Account, ApiError> {
    let address = email(ADMIN_ACCOUNT, project);
    let found = server
        .store
        .write({
            let (project, address) = (project.to_owned(), address.clone());
            move |store| {
                let Some(mut account) = store.account_by_email(&project, &address)? else { return Ok(None) };
                if !account.admin {
                    account.admin = true;
                    account.revision += 1;
                    store.put_account(&account)?;
                }
                Ok::<_, ApiError>(Some(account))
            }
        })
        .await?;
    if let Some(account) = found {
        return Ok(account);
    }
    let account = Account {
        unique_id: String::new(),
        project: project.to_owned(),
        email: address,
        display_name: "Keywheel administrator".to_owned(),
        description: "Made by the server when it first started".to_owned(),
        disabled: false,
        admin: true,
        created: server.clock.now(),
        deleted: None,
        revision: 1,
    };
    accounts::insert(server, ADMIN_ACCOUNT.to_owned(), account).await
}

async fn check(server: &Server, project: &str, path: &Path) -> Result<(), AdminError> {
    let bytes = fs::read(path).map_err(|source| AdminError::File { path: path.to_owned(), source })?;
    let file = GoogleCredentials::parse(&SecretBytes::new(bytes))
        .map_err(|source| AdminError::Content { path: path.to_owned(), source })?;
    let key_id = file.private_key_id().to_owned();
    let (project, address, id) = (project.to_owned(), file.client_email().to_owned(), key_id.clone());
    let known = server
        .store
        .read(move |store| {
            let Some(account) = store.account_by_email(&project, &address)? else { return Ok(false) };
            Ok::<_, ApiError>(account.admin && store.key(&account.unique_id, &id)?.is_some())
        })
        .await
        .map_err(AdminError::Make)?;
    if known { Ok(()) } else { Err(AdminError::Stranger { path: path.to_owned(), key_id }) }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// The system's.
pub fn write_private(path: &Path, content: &SecretBytes) -> io::Result<()> {
    let temporary = beside(path);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content.expose())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// The system's.
pub fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let temporary = beside(path);
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

/// A name in the same folder, for this process alone.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}
