//! The durable store: one redb file, one writer at a time, every change in a transaction that is on the disk
//! before the answer leaves.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::last_use::Uses;
use super::model::{AccessToken, Account, Key};
use super::policy::Policy;
use super::settings::UNDELETE_WINDOW;

type AccountTable = TableDefinition<'static, &'static str, &'static [u8]>;
type PairTable<V> = TableDefinition<'static, (&'static str, &'static str), V>;

/// Unique id to account, deleted ones included.
const ACCOUNTS: AccountTable = TableDefinition::new("accounts");
/// (project, e-mail address) to unique id, of accounts that are not deleted.
const LIVE: PairTable<&'static str> = TableDefinition::new("live-accounts");
/// (unique id, key id) to key.
const KEYS: PairTable<&'static [u8]> = TableDefinition::new("keys");
/// Nonce of an attempt to (unique id, key id).
const ATTEMPTS: TableDefinition<'static, &'static str, (&'static str, &'static str)> =
    TableDefinition::new("attempts");
/// (kind, name) to what is asked for by its name, or by how its name begins.
const RECORDS: PairTable<&'static [u8]> = TableDefinition::new("records");
/// SHA-256 of an access token to what it is worth.
const TOKENS: AccountTable = TableDefinition::new("access-tokens");
/// (second of expiry, SHA-256), so that dead tokens can be thrown away.
const TOKEN_ENDS: TableDefinition<'static, (i64, &'static str), ()> =
    TableDefinition::new("access-token-ends");

/// Memory for pages of the file; the database's own default is 1 GiB.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// How many dead tokens go with each new one: more than one, so that they cannot pile up.
const TOKENS_SWEPT: usize = 16;
/// Sorts after everything that can follow a prefix: no name here goes beyond ASCII.
const AFTER_ALL: &str = "\u{7f}";

/// Failures of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the data file {} cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The database's reason.
        #[source]
        source: Box<redb::DatabaseError>,
    },
    /// A read or write failed.
    #[error("the data file cannot be read or written")]
    Database(#[source] Box<redb::Error>),
    /// A record cannot be read.
    #[error("a record in {table} is not what this version writes")]
    Record {
        /// The table.
        table: &'static str,
        /// The parser's reason.
        #[source]
        source: serde_json::Error,
    },
    /// The thread that worked on the file ended early.
    #[error("the work on the data file was cut short")]
    Worker(#[source] tokio::task::JoinError),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
from_redb!(StorageError, TableError, TransactionError, CommitError);

/// A handle on the store; clones share it.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
}

impl Store {
    /// Opens the file, or makes it. Nobody but its owner can read it from then on, if the process may see to that.
    ///
    /// # Errors
    /// [`StoreError::Open`], also while another process has it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // A file that cannot even be opened is told of by the database.
        if let Err(error) = keep_private(path) {
            tracing::warn!(%error, file = %path.display(), "the data file may be open to others than its owner");
        }
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|source| StoreError::Open { path: path.to_owned(), source: Box::new(source) })?;
        let transaction = database.begin_write()?;
        // Opening for writing makes the tables, so that readers always find them.
        Write::open(&transaction)?;
        transaction.commit()?;
        Ok(Self { database: Arc::new(database) })
    }

    /// Runs `work` on a snapshot.
    pub async fn read<T, E>(&self, work: impl FnOnce(&Read) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || work(&Read::open(&database)?))
            .await
            .map_err(StoreError::Worker)?
    }

    /// Runs `work` alone and makes its changes durable, all of them, or none if it fails.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut Write<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || {
            let transaction = database.begin_write().map_err(StoreError::from)?;
            let outcome = work(&mut Write::open(&transaction)?);
            match outcome {
                Ok(value) => {
                    transaction.commit().map_err(StoreError::from)?;
                    Ok(value)
                }
                Err(error) => {
                    transaction.abort().map_err(StoreError::from)?;
                    Err(error)
                }
            }
        })
        .await
        .map_err(StoreError::Worker)?
    }
}

/// Some keys are secrets that the server must know to check what they sign.
fn keep_private(path: &Path) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let open_to_others = file.metadata()?.permissions().mode() & 0o077;
    if open_to_others != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// What is stored by name.
pub trait Record: Serialize + DeserializeOwned {
    /// Tells its kind from others; part of the file's format.
    const KIND: &'static str;
}

impl Record for Policy {
    const KIND: &'static str = "policies";
}

/// What can be asked in both kinds of transaction.
pub trait Ask {
    /// The accounts.
    fn accounts(&self) -> &impl ReadableTable<&'static str, &'static [u8]>;
    /// The index of accounts that are not deleted.
    fn live(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static str>;
    /// The keys.
    fn keys(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]>;
    /// The keys of attempts.
    fn attempts(&self) -> &impl ReadableTable<&'static str, (&'static str, &'static str)>;
    /// The access tokens.
    fn tokens(&self) -> &impl ReadableTable<&'static str, &'static [u8]>;
    /// The records.
    fn records(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]>;

    /// An account by unique id, deleted or not.
    fn account(&self, unique_id: &str) -> Result<Option<Account>, StoreError> {
        self.accounts().get(unique_id)?.map(|found| decode("accounts", found.value())).transpose()
    }

    /// An account that is not deleted, by address.
    fn account_by_email(&self, project: &str, email: &str) -> Result<Option<Account>, StoreError> {
        let Some(found) = self.live().get((project, email))? else { return Ok(None) };
        self.account(found.value())
    }

    /// An account that is not deleted, by address, in any of these projects. Most addresses name theirs; those of default
    /// accounts do not.
    fn account_named(&self, projects: &[String], email: &str) -> Result<Option<Account>, StoreError> {
        for project in projects {
            if let Some(account) = self.account_by_email(project, email)? {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    /// Up to `limit` accounts of a project that are not deleted, in the order of their addresses, after `after`.
    fn accounts_after(&self, project: &str, after: &str, limit: usize) -> Result<Vec<Account>, StoreError> {
        let mut accounts = Vec::new();
        for entry in self.live().range((project, after)..(project, AFTER_ALL))? {
            let (name, unique_id) = entry?;
            if name.value().1 == after {
                continue;
            }
            if accounts.len() == limit {
                break;
            }
            accounts.extend(self.account(unique_id.value())?);
        }
        Ok(accounts)
    }

    /// A key of an account.
    fn key(&self, account: &str, id: &str) -> Result<Option<Key>, StoreError> {
        self.keys().get((account, id))?.map(|found| decode("keys", found.value())).transpose()
    }

    /// The key that an attempt made, while it is there.
    fn key_of_attempt(&self, nonce: &str) -> Result<Option<Key>, StoreError> {
        let Some(place) = self.attempts().get(nonce)? else { return Ok(None) };
        let (account, id) = place.value();
        self.key(account, id)
    }

    /// All keys of an account, in the order of their ids.
    fn keys_of(&self, account: &str) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        for entry in self.keys().range((account, "")..(account, AFTER_ALL))? {
            keys.push(decode("keys", entry?.1.value())?);
        }
        Ok(keys)
    }

    /// A record by name.
    fn record<T: Record>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.records().get((T::KIND, name))?.map(|found| decode(T::KIND, found.value())).transpose()
    }

    /// Up to `limit` records whose names begin with `prefix`, in the order of their names, after the one that goes on with
    /// `after`.
    fn records_after<T: Record>(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        let (first, end) = (format!("{prefix}{after}"), format!("{prefix}{AFTER_ALL}"));
        let mut found = Vec::new();
        // What a caller made up may lie behind the end.
        if first >= end {
            return Ok(found);
        }
        for entry in self.records().range((T::KIND, first.as_str())..(T::KIND, end.as_str()))? {
            let (name, record) = entry?;
            if found.len() == limit {
                break;
            }
            if name.value().1 != first {
                found.push(decode(T::KIND, record.value())?);
            }
        }
        Ok(found)
    }

    /// The policy of what lies at a place; nobody has written most of them.
    fn policy(&self, place: &str) -> Result<Policy, StoreError> {
        Ok(self.record(place)?.unwrap_or_default())
    }

    /// An access token by its SHA-256.
    fn token(&self, sha256: &str) -> Result<Option<AccessToken>, StoreError> {
        self.tokens().get(sha256)?.map(|found| decode("access-tokens", found.value())).transpose()
    }
}

/// A snapshot.
pub struct Read {
    accounts: ReadOnlyTable<&'static str, &'static [u8]>,
    live: ReadOnlyTable<(&'static str, &'static str), &'static str>,
    keys: ReadOnlyTable<(&'static str, &'static str), &'static [u8]>,
    attempts: ReadOnlyTable<&'static str, (&'static str, &'static str)>,
    tokens: ReadOnlyTable<&'static str, &'static [u8]>,
    records: ReadOnlyTable<(&'static str, &'static str), &'static [u8]>,
}

impl Read {
    fn open(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read()?;
        Ok(Self {
            accounts: transaction.open_table(ACCOUNTS)?,
            live: transaction.open_table(LIVE)?,
            keys: transaction.open_table(KEYS)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            tokens: transaction.open_table(TOKENS)?,
            records: transaction.open_table(RECORDS)?,
        })
    }
}

impl Ask for Read {
    fn accounts(&self) -> &impl ReadableTable<&'static str, &'static [u8]> {
        &self.accounts
    }
    fn live(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static str> {
        &self.live
    }
    fn keys(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]> {
        &self.keys
    }
    fn attempts(&self) -> &impl ReadableTable<&'static str, (&'static str, &'static str)> {
        &self.attempts
    }
    fn tokens(&self) -> &impl ReadableTable<&'static str, &'static [u8]> {
        &self.tokens
    }
    fn records(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]> {
        &self.records
    }
}

/// The one writing transaction.
pub struct Write<'txn> {
    accounts: Table<'txn, &'static str, &'static [u8]>,
    live: Table<'txn, (&'static str, &'static str), &'static str>,
    keys: Table<'txn, (&'static str, &'static str), &'static [u8]>,
    attempts: Table<'txn, &'static str, (&'static str, &'static str)>,
    tokens: Table<'txn, &'static str, &'static [u8]>,
    records: Table<'txn, (&'static str, &'static str), &'static [u8]>,
    token_ends: Table<'txn, (i64, &'static str), ()>,
}

impl Ask for Write<'_> {
    fn accounts(&self) -> &impl ReadableTable<&'static str, &'static [u8]> {
        &self.accounts
    }
    fn live(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static str> {
        &self.live
    }
    fn keys(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]> {
        &self.keys
    }
    fn attempts(&self) -> &impl ReadableTable<&'static str, (&'static str, &'static str)> {
        &self.attempts
    }
    fn tokens(&self) -> &impl ReadableTable<&'static str, &'static [u8]> {
        &self.tokens
    }
    fn records(&self) -> &impl ReadableTable<(&'static str, &'static str), &'static [u8]> {
        &self.records
    }
}

impl<'txn> Write<'txn> {
    fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            accounts: transaction.open_table(ACCOUNTS)?,
            live: transaction.open_table(LIVE)?,
            keys: transaction.open_table(KEYS)?,
            attempts: transaction.open_table(ATTEMPTS)?,
            tokens: transaction.open_table(TOKENS)?,
            records: transaction.open_table(RECORDS)?,
            token_ends: transaction.open_table(TOKEN_ENDS)?,
        })
    }

    /// Writes an account and keeps the index of addresses true.
    pub fn put_account(&mut self, account: &Account) -> Result<(), StoreError> {
        let place = (account.project.as_str(), account.email.as_str());
        if account.deleted.is_none() {
            self.live.insert(place, account.unique_id.as_str())?;
        } else if self.live.get(place)?.is_some_and(|id| id.value() == account.unique_id) {
            self.live.remove(place)?;
        }
        self.accounts.insert(account.unique_id.as_str(), encode("accounts", account)?.as_slice())?;
        Ok(())
    }

    /// Throws away accounts whose time to come back is over, with their keys.
    pub fn purge_deleted(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        for entry in self.accounts.range::<&str>(..)? {
            let account: Account = decode("accounts", entry?.1.value())?;
            if account.deleted.is_some_and(|at| now.duration_since(at) >= UNDELETE_WINDOW) {
                gone.push(account.unique_id);
            }
        }
        for unique_id in gone {
            for key in self.keys_of(&unique_id)? {
                self.remove_key(&unique_id, &key.id)?;
            }
            self.remove_record::<Policy>(&account_place(&unique_id))?;
            self.remove_record::<Uses>(&unique_id)?;
            self.accounts.remove(unique_id.as_str())?;
        }
        Ok(())
    }

    /// Writes a key.
    pub fn put_key(&mut self, key: &Key) -> Result<(), StoreError> {
        let place = (key.account.as_str(), key.id.as_str());
        self.keys.insert(place, encode("keys", key)?.as_slice())?;
        if let Some(nonce) = &key.attempt {
            self.attempts.insert(nonce.as_str(), place)?;
        }
        Ok(())
    }

    /// Removes a key; whether it was there.
    pub fn remove_key(&mut self, account: &str, id: &str) -> Result<bool, StoreError> {
        let Some(key) = self.key(account, id)? else { return Ok(false) };
        if let Some(nonce) = &key.attempt {
            self.attempts.remove(nonce.as_str())?;
        }
        self.remove_record::<Uses>(&key_place(account, id))?;
        Ok(self.keys.remove((account, id))?.is_some())
    }

    /// Writes a record.
    pub fn put_record<T: Record>(&mut self, name: &str, record: &T) -> Result<(), StoreError> {
        self.records.insert((T::KIND, name), encode(T::KIND, record)?.as_slice())?;
        Ok(())
    }

    /// Removes a record, if it is there.
    pub fn remove_record<T: Record>(&mut self, name: &str) -> Result<(), StoreError> {
        self.records.remove((T::KIND, name))?;
        Ok(())
    }

    /// Writes an access token and throws a few dead ones away.
    pub fn put_token(&mut self, sha256: &str, token: &AccessToken, now: Timestamp) -> Result<(), StoreError> {
        let mut dead = Vec::new();
        for entry in self.token_ends.range(..(now.as_second(), ""))?.take(TOKENS_SWEPT) {
            let (place, _) = entry?;
            let (end, hash) = place.value();
            dead.push((end, hash.to_owned()));
        }
        for (end, hash) in dead {
            self.token_ends.remove((end, hash.as_str()))?;
            self.tokens.remove(hash.as_str())?;
        }
        self.token_ends.insert((token.expires.as_second(), sha256), ())?;
        self.tokens.insert(sha256, encode("access-tokens", token)?.as_slice())?;
        Ok(())
    }
}

/// Where the policy of a project is stored.
pub fn project_place(project: &str) -> String {
    format!("projects/{project}")
}

/// Where the policy of an account is stored, by unique id.
pub fn account_place(unique_id: &str) -> String {
    format!("accounts/{unique_id}")
}

/// Where what is known of a key beside itself is stored.
pub fn key_place(account: &str, id: &str) -> String {
    format!("{account}/{id}")
}

fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Record { table, source })
}

fn encode<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Record { table, source })
}
