//! What an IAM system knows: accounts, keys, who made and who ended them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywheel::backend::{Description, NewAccount};
use keywheel::credential::{GoogleCredentials, GoogleFileFields, SecretBytes};
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
    /// Which of the fixed pairs it is.
    pub pair: usize,
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
    pub fn is_of(&self, private_pem: &str) -> bool {
        match &self.uploaded {
            Some(uploaded) => *uploaded == fingerprint(private_pem),
            None => pairs::private_pem(self.pair) == private_pem,
        }
    }
}

/// An account, also after its end.
#[derive(Clone, Debug)]
pub struct AccountRecord {
    /// What the backend shows.
    pub account: Account,
    /// Id of the account, the part of its e-mail before the `@`.
    pub id: String,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Whether a person deleted it, or disabled it.
    pub touched_by_person: bool,
}

/// How slow this backend shows what was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// Until a list shows a new key.
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
    /// Whether it can disable keys.
    pub can_disable: bool,
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
            can_disable: true,
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
            Call::FindAccount(id) => {
                Ok(Answer::Account(self.living(id).map(|record| Box::new(record.account.clone()))))
            }
            Call::CreateAccount(new) => self.create_account(new),
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
                self.policy.rename(&gone, true, now);
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
            Call::EnableKey { .. } | Call::DisableKey { .. } if !self.can_disable => {
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
            Call::ReadPolicy { resource } | Call::WritePolicy { resource, .. }
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
            Call::ReadService(service) => Ok(Answer::Enabled(self.services.is_enabled(service, now))),
            Call::EnableService(service) => {
                self.services.enable(service, now);
                Ok(Answer::Done)
            }
            Call::ReadRegistration => Ok(Answer::Registration(self.services.registration.clone())),
            Call::Exchange { key, private_pem, .. } => self.exchange(key, private_pem, now),
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
        if alive >= KEY_LIMIT {
            return Err(Refusal::precondition());
        }
        let pair = self.made;
        self.made += 1;
        let id = self.identifier("key", pair)[..40].to_owned();
        let after = |lag: Duration| now + SignedDuration::try_from(lag).expect("a lag is short");
        let key = Key {
            id: id.clone(),
            account: account.to_owned(),
            pair,
            uploaded: None,
            expires_at: None,
            made_by,
            created_at: self.clock(now),
            listed_from: after(self.lag.list),
            accepted_from: after(self.lag.token),
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
        let fields = fields(&account.email, &key.account, id);
        let pem = SecretBytes::from(pairs::private_pem(key.pair).to_owned());
        GoogleCredentials::new(fields, pem).render().expect("a credential can be written")
    }

    fn exchange(&mut self, id: &str, private_pem: &str, now: Timestamp) -> Result<Answer, Refusal> {
        let Some(key) = self.keys.get_mut(id) else { return Err(Refusal::bad_signature()) };
        let account = &self.accounts[&key.account];
        if account.deleted || account.account.disabled {
            return Err(Refusal::account_unusable());
        }
        let fits = key.is_of(private_pem);
        let expired = key.expires_at.is_some_and(|end| end <= now);
        if !key.works() || expired || key.accepted_from > now || !fits {
            return Err(Refusal::bad_signature());
        }
        key.was_accepted = true;
        Ok(Answer::Done)
    }

    fn create_account(&mut self, new: &NewAccount) -> Result<Answer, Refusal> {
        if self.living(&new.account_id).is_some() {
            return Err(Refusal::already_exists());
        }
        let number = self.accounts.len();
        let unique_id = format!("1{:020}", u128::from(self.seed) * 1000 + number as u128);
        let email = format!("{}@{PROJECT}.iam.gserviceaccount.com", new.account_id);
        let account = Account {
            name: format!("projects/{PROJECT}/serviceAccounts/{email}"),
            email,
            unique_id: unique_id.clone(),
            display_name: new.display_name.clone(),
            description: new.description.clone(),
            disabled: false,
        };
        let record = AccountRecord {
            account: account.clone(),
            id: new.account_id.clone(),
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
        Ok(Answer::Done)
    }

    /// The account of this id that is not deleted.
    pub fn living(&self, id: &str) -> Option<&AccountRecord> {
        self.accounts.values().find(|record| record.id == id && !record.deleted)
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

/// The parts of a credential file that are not secret.
pub fn fields(email: &str, unique_id: &str, key_id: &str) -> GoogleFileFields {
    GoogleFileFields {
        project_id: PROJECT.to_owned(),
        private_key_id: key_id.to_owned(),
        client_email: email.to_owned(),
        client_id: unique_id.to_owned(),
        auth_uri: "https://iam.sim/auth".to_owned(),
        token_uri: "https://iam.sim/token".to_owned(),
        auth_provider_x509_cert_url: "https://iam.sim/certs".to_owned(),
        client_x509_cert_url: format!("https://iam.sim/x509/{email}"),
        universe_domain: "googleapis.com".to_owned(),
    }
}
