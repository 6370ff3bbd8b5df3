//! What an IAM system knows: accounts, keys, who made and who ended them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywheel::backend::{Description, NewAccount};
use keywheel::credential::{
    DisruptiveCredentials, DisruptiveFields, FileFields, GoogleCredentials, GoogleFileFields, SecretBytes,
};
use keywheel::domain::Capabilities;
use keywheel::domain::account::Account;
use keywheel::domain::key::ListedKey;
use sha2::{Digest as _, Sha256};

use super::call::{Answer, Call, Refusal};
use super::pairs::{self, fingerprint};
use super::policy::ProjectPolicy;
use super::services::Services;

/// The one project of this world.
pub const PROJECT: &str = "sim-project";
/// How many keys fit on an account.
pub const KEY_LIMIT: usize = 10;

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// An attempt of the operator, by its nonce.
    Attempt(String),
    /// A person.
    Person,
}

/// A key, also after its end.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts about a key, each true or not")]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Unique id of its account.
    pub account: String,
    /// Which of the fixed pairs it is, or which secret.
    pub pair: usize,
    /// Whether it is a secret that the backend shares.
    pub shared: bool,
    /// Fingerprint of the pair, where its public half was uploaded.
    pub uploaded: Option<String>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// Who made it.
    pub made_by: Maker,
    /// When, in whole seconds of the backend's clock.
    pub created_at: Timestamp,
    /// When a list first shows it.
    pub listed_from: Timestamp,
    /// Before when the token endpoint does not know it yet.
    pub accepted_from: Timestamp,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Whether a person disabled or deleted it.
    pub ended_by_person: bool,
    /// Whether the token endpoint ever accepted it.
    pub was_accepted: bool,
}

impl Key {
    /// Whether the token endpoint would accept it, as far as the key itself goes.
    pub fn works(&self) -> bool {
        !self.disabled && !self.deleted
    }

    /// Whether this is its private half.
    pub fn is_of(&self, private_half: &str) -> bool {
        match &self.uploaded {
            Some(uploaded) => *uploaded == fingerprint(private_half),
            None => self.private_half() == private_half,
        }
    }

    /// Its private half, as the backend made it.
    pub fn private_half(&self) -> &'static str {
        if self.shared { pairs::secret(self.pair) } else { pairs::private_pem(self.pair) }
    }
}

/// An account, also after its end.
#[derive(Clone, Debug)]
pub struct AccountRecord {
    /// What the backend shows.
    pub account: Account,
    /// Id of the account, the part of its e-mail before the `@`.
    pub id: String,
    /// The attempt that made it, where its name told.
    pub made_for: Option<String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When a list of accounts first shows it.
    pub listed_from: Timestamp,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Whether a person deleted it, or disabled it.
    pub touched_by_person: bool,
}

/// How slow this backend shows what was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// Until a list shows a new key, or a new account.
    pub list: Duration,
    /// Until the token endpoint accepts a new key.
    pub token: Duration,
}

/// An IAM system.
pub struct Iam {
    /// Accounts by unique id.
    pub accounts: BTreeMap<String, AccountRecord>,
    /// Keys by id.
    pub keys: BTreeMap<String, Key>,
    /// Who has which role.
    pub policy: ProjectPolicy,
    /// What the project may use.
    pub services: Services,
    /// How slow it is from now on.
    pub lag: Lag,
    /// How far its clock is wrong.
    pub clock_error: SignedDuration,
    /// What it can do.
    pub can: Capabilities,
    seed: u64,
    made: usize,
}

impl Iam {
    /// An empty one; ids follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            policy: ProjectPolicy::default(),
            services: Services::default(),
            lag: Lag::default(),
            clock_error: SignedDuration::ZERO,
            can: google(),
            seed,
            made: 0,
        }
    }

    /// What its clock shows.
    pub fn clock(&self, now: Timestamp) -> Timestamp {
        let shown = now + self.clock_error;
        Timestamp::from_second(shown.as_second()).unwrap_or(shown)
    }

    /// Applies a call.
    pub fn apply(&mut self, call: &Call, now: Timestamp) -> Result<Answer, Refusal> {
        let clock = self.clock(now);
        match call {
            Call::Probe => Ok(Answer::Time(clock)),
            Call::FindAccount(handle) => {
                let found = self.handled(handle).map(|record| Box::new(record.account.clone()));
                Ok(Answer::Account(found))
            }
            Call::ListAccounts => {
                let shown = |record: &&AccountRecord| !record.deleted && record.listed_from <= now;
                let living = self.accounts.values().filter(shown);
                Ok(Answer::Accounts { accounts: living.map(|r| r.account.clone()).collect(), time: clock })
            }
            Call::CreateAccount(new) => self.create_account(new, now),
            Call::Undelete { account } => self.undelete(account, now),
            Call::Describe { account, to } => self.describe(account, to),
            Call::SetDisabled { account, disabled } => {
                self.account_mut(account)?.account.disabled = *disabled;
                Ok(Answer::Done)
            }
            Call::DeleteAccount { account } => {
                let record = self.account_mut(account)?;
                record.deleted = true;
                let gone = record.account.clone();
                if self.can.one_role {
                    self.policy.leave(&gone.email, now);
                } else {
                    self.policy.rename(&gone, true, now);
                }
                for key in self.keys.values_mut().filter(|k| k.account == *account) {
                    key.deleted = true;
                }
                Ok(Answer::Done)
            }
            Call::ListKeys { account } => {
                self.account_mut(account)?;
                Ok(Answer::Keys { keys: self.listed(account, now), time: clock })
            }
            Call::CreateKey { account, nonce } => {
                let id = self.create_key(account, Maker::Attempt(nonce.clone()), now)?;
                let credential = self.credential(&id);
                Ok(Answer::Minted { credential, created_at: self.keys[&id].created_at, id })
            }
            Call::UploadKey { account, nonce, fingerprint, expires_at } => {
                let id = self.create_key(account, Maker::Attempt(nonce.clone()), now)?;
                let key = self.key_mut(account, &id)?;
                key.uploaded = Some(fingerprint.clone());
                key.expires_at = *expires_at;
                Ok(Answer::Uploaded { created_at: key.created_at, expires_at: *expires_at, id })
            }
            Call::Fingerprint { account, key } => {
                let key = self.key_mut(account, key)?;
                let made_here = || fingerprint(pairs::private_pem(key.pair));
                Ok(Answer::Fingerprint(key.uploaded.clone().unwrap_or_else(made_here)))
            }
            Call::KeyOfAttempt { nonce } => {
                let made =
                    |key: &&Key| matches!(&key.made_by, Maker::Attempt(by) if by == nonce) && !key.deleted;
                Ok(Answer::KeyOfAttempt(self.keys.values().find(made).map(|key| key.id.clone())))
            }
            Call::EnableKey { .. } | Call::DisableKey { .. } if !self.can.disable_keys => {
                Err(Refusal::unsupported())
            }
            Call::EnableKey { account, key } => {
                self.key_mut(account, key)?.disabled = false;
                Ok(Answer::Done)
            }
            Call::DisableKey { account, key } => {
                self.key_mut(account, key)?.disabled = true;
                Ok(Answer::Done)
            }
            Call::DeleteKey { account, key } => {
                self.key_mut(account, key)?.deleted = true;
                Ok(Answer::Done)
            }
            Call::ReadPolicy { resource }
            | Call::WritePolicy { resource, .. }
            | Call::ReadMember { resource, .. }
            | Call::CreateMember { resource, .. }
            | Call::PatchMember { resource, .. }
            | Call::DeleteMember { resource, .. }
                if *resource != format!("projects/{PROJECT}") =>
            {
                Err(Refusal::not_found())
            }
            Call::ReadPolicy { .. } => Ok(Answer::Policy(Box::new(self.policy.now().clone()))),
            Call::WritePolicy { policy, .. } => {
                let accounts = &self.accounts;
                // Of other projects every one is.
                let is_there = |email: &str| {
                    !email.contains(PROJECT)
                        || accounts.values().any(|record| !record.deleted && record.account.email == email)
                };
                Ok(Answer::Policy(Box::new(self.policy.replace(policy, is_there, now)?)))
            }
            Call::ReadMember { .. }
            | Call::CreateMember { .. }
            | Call::PatchMember { .. }
            | Call::DeleteMember { .. } => self.member(call, now),
            Call::ReadService(service) => Ok(Answer::Enabled(self.services.is_enabled(service, now))),
            Call::EnableService(service) => {
                self.services.enable(service, now);
                Ok(Answer::Done)
            }
            Call::ReadRegistration => Ok(Answer::Registration(self.services.registration.clone())),
            Call::Exchange { key, private_half } => self.exchange(key, private_half, now),
        }
    }

    /// Keys of an account as a list shows them.
    fn listed(&self, account: &str, now: Timestamp) -> Vec<ListedKey> {
        self.keys
            .values()
            .filter(|k| k.account == account && !k.deleted && k.listed_from <= now)
            .map(|k| ListedKey {
                id: k.id.clone(),
                created_at: Some(k.created_at),
                expires_at: k.expires_at,
                disabled: k.disabled,
                made_by_backend: k.uploaded.is_none(),
                disable_reason: None,
                extended_status: None,
                public_key_sha256: None,
                nonce: None,
            })
            .collect()
    }

    /// Makes a key.
    pub fn create_key(&mut self, account: &str, made_by: Maker, now: Timestamp) -> Result<String, Refusal> {
        self.account_mut(account)?;
        let alive = self.keys.values().filter(|k| k.account == account && !k.deleted).count();
        if self.can.key_limit.is_some() && alive >= KEY_LIMIT {
            return Err(Refusal::precondition());
        }
        let pair = self.made;
        self.made += 1;
        let id = self.identifier("key", pair)[..40].to_owned();
        let key = Key {
            id: id.clone(),
            account: account.to_owned(),
            pair,
            shared: !self.can.upload_keys,
            uploaded: None,
            expires_at: None,
            made_by,
            created_at: self.clock(now),
            listed_from: after(now, self.lag.list),
            accepted_from: after(now, self.lag.token),
            disabled: false,
            deleted: false,
            ended_by_person: false,
            was_accepted: false,
        };
        self.keys.insert(id.clone(), key);
        Ok(id)
    }

    /// The credential of a key.
    pub fn credential(&self, id: &str) -> SecretBytes {
        let key = &self.keys[id];
        let account = &self.accounts[&key.account].account;
        let half = SecretBytes::from(key.private_half().to_owned());
        match fields(&self.can, &account.email, &key.account, id) {
            FileFields::Google(fields) => GoogleCredentials::new(fields, half).render(),
            FileFields::Disruptive(fields) => DisruptiveCredentials::new(fields, half).render(),
        }
        .expect("a credential can be written")
    }

    fn exchange(&mut self, id: &str, private_half: &str, now: Timestamp) -> Result<Answer, Refusal> {
        let Some(key) = self.keys.get_mut(id) else { return Err(Refusal::bad_signature()) };
        let account = &self.accounts[&key.account];
        if account.deleted || account.account.disabled {
            return Err(Refusal::account_unusable());
        }
        let fits = key.is_of(private_half);
        let expired = key.expires_at.is_some_and(|end| end <= now);
        if !key.works() || expired || key.accepted_from > now || !fits {
            return Err(Refusal::bad_signature());
        }
        key.was_accepted = true;
        Ok(Answer::Done)
    }

    fn create_account(&mut self, new: &NewAccount, now: Timestamp) -> Result<Answer, Refusal> {
        let number = self.accounts.len();
        let chosen = self.can.chosen_ids;
        if chosen && self.living(&new.account_id).is_some() {
            return Err(Refusal::already_exists());
        }
        let unique_id = if chosen {
            format!("1{:020}", u128::from(self.seed) * 1000 + number as u128)
        } else {
            self.identifier("account", number)[..20].to_owned()
        };
        let id = if chosen { new.account_id.clone() } else { unique_id.clone() };
        let domain = if chosen { "iam.gserviceaccount.com" } else { "serviceaccount.d21s.com" };
        let email = format!("{id}@{PROJECT}.{domain}");
        let account = Account {
            name: if chosen {
                format!("projects/{PROJECT}/serviceAccounts/{email}")
            } else {
                format!("projects/{PROJECT}/serviceaccounts/{id}")
            },
            email,
            unique_id: unique_id.clone(),
            display_name: new.display_name.clone(),
            description: new.description.clone(),
            disabled: false,
            basic_auth: new.basic_auth,
        };
        let record = AccountRecord {
            account: account.clone(),
            id,
            made_for: new.display_name.strip_prefix("keywheel-").map(str::to_owned),
            made_at: now,
            listed_from: after(now, self.lag.list),
            deleted: false,
            touched_by_person: false,
        };
        self.accounts.insert(unique_id, record);
        Ok(Answer::Account(Some(Box::new(account))))
    }

    fn undelete(&mut self, account: &str, now: Timestamp) -> Result<Answer, Refusal> {
        let id = self.accounts.get(account).ok_or_else(Refusal::not_found)?.id.clone();
        if self.living(&id).is_some() {
            return Err(Refusal::already_exists());
        }
        let record = self.accounts.get_mut(account).ok_or_else(Refusal::not_found)?;
        record.deleted = false;
        let back = record.account.clone();
        self.policy.rename(&back, false, now);
        Ok(Answer::Account(Some(Box::new(back))))
    }

    fn describe(&mut self, account: &str, to: &Description) -> Result<Answer, Refusal> {
        let shown = &mut self.account_mut(account)?.account;
        if let Some(name) = &to.display_name {
            shown.display_name.clone_from(name);
        }
        if let Some(text) = &to.description {
            shown.description.clone_from(text);
        }
        if let Some(enabled) = to.basic_auth {
            shown.basic_auth = enabled;
        }
        Ok(Answer::Done)
    }

    /// The account of this id that is not deleted; where ids are not chosen, that of this name.
    pub fn living(&self, id: &str) -> Option<&AccountRecord> {
        let named = |record: &&AccountRecord| !self.can.chosen_ids && record.account.display_name == id;
        self.accounts.values().find(|record| (record.id == id || named(record)) && !record.deleted)
    }

    /// The account of this id or e-mail that is not deleted.
    pub(super) fn handled(&self, handle: &str) -> Option<&AccountRecord> {
        let is_of = |record: &&AccountRecord| record.id == handle || record.account.email == handle;
        self.accounts.values().find(|record| is_of(record) && !record.deleted)
    }

    /// An account that is not deleted.
    pub fn account_mut(&mut self, unique_id: &str) -> Result<&mut AccountRecord, Refusal> {
        self.accounts.get_mut(unique_id).filter(|a| !a.deleted).ok_or_else(Refusal::not_found)
    }

    /// A key that is not deleted.
    pub fn key_mut(&mut self, account: &str, id: &str) -> Result<&mut Key, Refusal> {
        self.account_mut(account)?;
        self.keys.get_mut(id).filter(|k| k.account == account && !k.deleted).ok_or_else(Refusal::not_found)
    }

    fn identifier(&self, what: &str, number: usize) -> String {
        hex::encode(Sha256::digest(format!("{what}/{}/{number}", self.seed)))
    }
}

fn after(now: Timestamp, lag: Duration) -> Timestamp {
    now + SignedDuration::try_from(lag).expect("a lag is short")
}

/// All that Google can do, as far as it is simulated.
pub fn google() -> Capabilities {
    Capabilities {
        key_limit: Some(u32::try_from(KEY_LIMIT).expect("a small number")),
        last_use: false,
        algorithms: vec!["RSA_2048".to_owned()],
        ..Capabilities::google()
    }
}

/// The parts of a credential file that are not secret.
pub fn fields(can: &Capabilities, email: &str, unique_id: &str, key_id: &str) -> FileFields {
    if !can.upload_keys {
        return FileFields::Disruptive(DisruptiveFields {
            key_id: key_id.to_owned(),
            email: email.to_owned(),
            token_endpoint: "https://iam.sim/oauth2/token".to_owned(),
        });
    }
    FileFields::Google(GoogleFileFields {
        project_id: PROJECT.to_owned(),
        private_key_id: key_id.to_owned(),
        client_email: email.to_owned(),
        client_id: unique_id.to_owned(),
        auth_uri: "https://iam.sim/auth".to_owned(),
        token_uri: "https://iam.sim/token".to_owned(),
        auth_provider_x509_cert_url: "https://iam.sim/certs".to_owned(),
        client_x509_cert_url: format!("https://iam.sim/x509/{email}"),
        universe_domain: "googleapis.com".to_owned(),
    })
}
