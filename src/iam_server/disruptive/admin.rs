//! The first account: without it nobody could make any.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use super::errors::Error;
use super::model::{Account, Administrator, Key, account_named, account_record, key_record};
use super::{accounts, keys, members, token};
use crate::credential::{CredentialError, DisruptiveCredentials, DisruptiveFields, SecretBytes};
use crate::iam_server::Server;
use crate::iam_server::admin::write_private;
use crate::iam_server::store::Ask as _;

/// The only administrator's record.
const RECORD: &str = "administrator";

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
    /// The file is no credential file, or could not be made into one.
    #[error("the admin key file {} is not a credential file of Disruptive Technologies", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CredentialError,
    },
    /// The file belongs to another data file.
    #[error(
        "the admin key file {} holds key {key_id}, which is no administrator's in this data file; remove the file to \
         have a new key written", path.display()
    )]
    Stranger {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key_id: String,
    },
    /// The account or its key could not be made.
    #[error("the administrator could not be given a key")]
    Make(#[source] Error),
}

/// Sees to it that there is an administrator of the organization and that its credential lies in the file. A file that is
/// there is left alone, but its key must be that of an administrator in this store: a server that nobody can administrate
/// does not start.
///
/// # Errors
/// [`AdminError`].
pub async fn ensure(server: &Server, project: &str, path: &Path) -> Result<(), AdminError> {
    let file_error = |source| AdminError::File { path: path.to_owned(), source };
    if path.try_exists().map_err(file_error)? {
        return check(server, path).await;
    }
    let (account, key) = make(server, project).await.map_err(AdminError::Make)?;
    let endpoint = format!("{}{}", server.base_url, token::PATH);
    let file = DisruptiveCredentials::new(
        DisruptiveFields { key_id: key.id.clone(), email: account.email(), token_endpoint: endpoint },
        key.secret,
    );
    let content = file.render().map_err(|source| AdminError::Content { path: path.to_owned(), source })?;
    write_private(path, &content).map_err(file_error)?;
    tracing::info!(account = account.email(), key = key.id, file = %path.display(), "admin key written");
    Ok(())
}

async fn make(server: &Server, project: &str) -> Result<(Account, Key), Error> {
    let home = project.to_owned();
    let found = server
        .store
        .read(move |store| match store.record::<Administrator>(RECORD)? {
            Some(known) => store.record::<Account>(&account_record(&home, &known.account)),
            None => Ok(None),
        })
        .await?;
    let account = match found {
        Some(account) => account,
        None => {
            let name = "Keywheel administrator".to_owned();
            let account = accounts::insert(server, project.to_owned(), name, false).await?;
            let record = Administrator { account: account.id.clone() };
            server.store.write(move |store| store.put_record(RECORD, &record)).await?;
            account
        }
    };
    members::make_administrator(server, &account).await?;
    // Never delayed: delays are for keys that callers make.
    let key = keys::make(server, &account, SignedDuration::ZERO).await?;
    Ok((account, key))
}

async fn check(server: &Server, path: &Path) -> Result<(), AdminError> {
    let bytes = fs::read(path).map_err(|source| AdminError::File { path: path.to_owned(), source })?;
    let file = DisruptiveCredentials::parse(&SecretBytes::new(bytes))
        .map_err(|source| AdminError::Content { path: path.to_owned(), source })?;
    let (email, key) = (file.email().to_owned(), file.key_id().to_owned());
    let known = server
        .store
        .read(move |store| {
            let Some((_, id)) = account_named(&email) else { return Ok(false) };
            let has_key = store.record::<Key>(&key_record(id, &key))?.is_some();
            Ok::<_, Error>(has_key && members::is_administrator(store, id)?)
        })
        .await
        .map_err(AdminError::Make)?;
    if known {
        return Ok(());
    }
    Err(AdminError::Stranger { path: path.to_owned(), key_id: file.key_id().to_owned() })
}
