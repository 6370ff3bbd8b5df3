//! Accounts that the operator makes where the backend chooses their ids: each is remembered by the object that it was made
//! for, from the moment it is there.

use std::collections::{BTreeMap, BTreeSet};

use keywheel::api::v1alpha1::meta::ACCOUNT_ID;
use serde_json::Value;

use super::Oracle;
use crate::actor::Kind;
use crate::api_server::Change;
use crate::api_server::watch::Shared;
use crate::iam::{self, AccountRecord, Answer, Iam, Key, Maker};
use crate::wire::{Call, Reply};

/// What processes were told about accounts that nobody has recorded, by process and unique id.
#[derive(Default)]
pub(super) struct Told {
    /// Who got the answer to the creation.
    made: BTreeSet<(usize, String)>,
    /// Whether the last list of its keys showed any.
    keys: BTreeMap<(usize, String), bool>,
    /// The roles that it was last read to have.
    pub(super) roles: BTreeMap<(usize, String), Vec<String>>,
}

impl Oracle {
    /// A process gets an answer.
    pub fn told(&mut self, actor: usize, call: &Call, reply: &Reply) {
        let (Call::Iam(asked), Reply::Iam(Ok(answer))) = (call, reply) else { return };
        match (&**asked, answer) {
            (iam::Call::CreateAccount(_), Answer::Account(Some(made))) => {
                self.told.made.insert((actor, made.unique_id.clone()));
            }
            (iam::Call::ListKeys { account }, Answer::Keys { keys, .. }) => {
                self.told.keys.insert((actor, account.clone()), !keys.is_empty());
            }
            (iam::Call::ReadMember { account, .. }, Answer::Roles(roles)) => {
                self.told.roles.insert((actor, account.clone()), roles.clone());
            }
            _ => {}
        }
    }

    /// What a lost answer made is taken only after a look that showed nobody who uses it. After a look nobody can say when a
    /// person came.
    pub(super) fn takes(&mut self, actor: usize, change: &Change, iam: &Iam) {
        let attempted =
            change.before.as_ref().is_some_and(|before| before.pointer("/status/creating").is_some());
        let recorded =
            |object: &Value| object.pointer("/status/uniqueId").and_then(Value::as_str).map(str::to_owned);
        let Some(unique_id) = recorded(&change.object).filter(|_| attempted) else { return };
        let by = (actor, unique_id);
        if change.before.as_deref().and_then(recorded).is_some() || self.told.made.contains(&by) {
            return;
        }
        let keys = self.told.keys.get(&by).copied().unwrap_or_else(|| has_keys(iam, &by.1));
        let roles = self.told.roles.get(&by).map_or_else(|| has_roles(iam, &by.1), |roles| !roles.is_empty());
        if keys || roles {
            self.report("No theft", format!("account {} is taken although a person uses it", by.1));
        }
    }

    /// Which attempts an account's object writes down.
    pub(super) fn learn_account(&mut self, object: &Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        if let Some(nonce) = object.pointer("/status/creating/nonce").and_then(Value::as_str) {
            self.creations.insert(nonce.to_owned(), uid.to_owned());
        }
    }

    /// Each account is recorded, or its attempt is open.
    pub(super) fn accounts(&mut self, api: &Shared, iam: &Iam) {
        for record in iam.accounts.values().filter(|record| !record.deleted) {
            let Some(nonce) = &record.made_for else { continue };
            if let Some(why) = self.is_unremembered(api, iam, record, nonce) {
                self.report("Covered", format!("account {} of attempt {nonce} {why}", record.id));
            }
        }
    }

    /// Whether the object that an account was made for is the one that goes.
    pub(super) fn is_going(&self, api: &Shared, record: &AccountRecord) -> bool {
        let uid = record.made_for.as_ref().and_then(|nonce| self.creations.get(nonce));
        api.with(|s| {
            let mut objects = s.store.list(Kind::Account.stored(), None);
            objects.any(|(_, o)| {
                uid.is_some_and(|uid| o["metadata"]["uid"] == uid.as_str())
                    && !o["metadata"]["deletionTimestamp"].is_null()
            })
        })
    }

    fn is_unremembered(
        &self,
        api: &Shared,
        iam: &Iam,
        record: &AccountRecord,
        nonce: &str,
    ) -> Option<String> {
        let Some(uid) = self.creations.get(nonce) else { return Some("was never written down".to_owned()) };
        if self.is_let_go(uid) {
            return None;
        }
        let object = api.with(|s| {
            let mut objects = s.store.list(Kind::Account.stored(), None);
            objects.find(|(_, o)| o["metadata"]["uid"] == uid.as_str()).map(|(_, o)| (**o).clone())
        });
        let Some(object) = object else {
            let gone = self.departed(uid);
            let policy = gone.and_then(|o| o.pointer("/spec/deletionPolicy")?.as_str());
            // A person uses it: it is not provably ours.
            let unique_id = &record.account.unique_id;
            let used = has_keys(iam, unique_id) || has_roles(iam, unique_id);
            let stays = policy.is_some_and(|policy| policy != "Delete") || used;
            return (!stays).then(|| "is left behind by an object that is gone".to_owned());
        };
        let id = record.account.unique_id.as_str();
        let noted = object["metadata"]["annotations"][ACCOUNT_ID].as_str();
        let noted = noted.is_some_and(|noted| noted.split(' ').next() == Some(id));
        let known = noted || object.pointer("/status/uniqueId").is_some_and(|known| *known == id);
        let open = object.pointer("/status/creating/nonce").is_some_and(|open| open == nonce);
        (!known && !open).then(|| "is not recorded".to_owned())
    }
}

/// Whether a person has keys on an account.
fn has_keys(iam: &Iam, unique_id: &str) -> bool {
    let theirs = |key: &&Key| key.account == unique_id && key.made_by == Maker::Person;
    iam.keys.values().filter(theirs).any(|key| !key.deleted)
}

fn has_roles(iam: &Iam, unique_id: &str) -> bool {
    !iam.roles_of(unique_id, iam.policy.now()).is_empty()
}
