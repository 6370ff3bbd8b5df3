//! What people hand over, or let go: keys that nobody owns, suspects that are not ours, objects whose backend is gone.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::needs::FRESH;
use super::{Oracle, View, is_in_window, time};
use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind, Place};
use crate::iam::{self, Iam, Maker};

/// How long a key must go unclaimed before its account ends it: what a lost attempt may take, and the lag of a list.
const UNCLAIMED: SignedDuration = SignedDuration::from_mins(70);

/// Who ends a key, how, and when.
pub(super) struct Ending {
    pub actor: usize,
    pub deletes: bool,
    pub now: Timestamp,
}

impl Oracle {
    /// Whether the account of a key hands it over to us: its object says so, has it alone, and nobody can claim the key.
    pub(super) fn is_handed_over(
        &self,
        key: &iam::Key,
        ending: &Ending,
        view: &View,
        api: &Shared,
        iam: &Iam,
    ) -> bool {
        let objects = accounts_of(api, &key.account);
        let [(place, object)] = &objects[..] else { return false };
        let unseen = self.is_unseen(ending.actor, &key.id, place, self.edited.get(place));
        let stored = &object["spec"]["unmanagedKeys"];
        let policy = if unseen { self.policies.get(place).unwrap_or(stored) } else { stored };
        let says_so = policy == "Delete" || policy == "Disable" && !ending.deletes;
        let slack = SignedDuration::try_from(self.slack).unwrap_or_default();
        says_so
            && self.is_marked(iam, &key.account, object)
            && ending.now + slack >= key.created_at + UNCLAIMED
            && !self.may_be_claimed(key, view, ending.now)
    }

    /// Whether a person's key is still there as it was although its account hands it over.
    pub(super) fn is_left_over(
        &self,
        key: &iam::Key,
        view: &View,
        api: &Shared,
        iam: &Iam,
        now: Timestamp,
    ) -> bool {
        let objects = accounts_of(api, &key.account);
        let [(_, object)] = &objects[..] else { return false };
        let policy = &object["spec"]["unmanagedKeys"];
        let ends = policy == "Delete" && !key.deleted || policy == "Disable" && key.works();
        ends && key.made_by == Maker::Person
            && self.is_marked(iam, &key.account, object)
            && !self.may_be_claimed(key, view, now)
    }

    /// Whether the account at the backend carries the mark of this object, or was made for it where there is no room for one.
    fn is_marked(&self, iam: &Iam, account: &str, object: &Value) -> bool {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let mark = format!("keywheel:sim/{uid}");
        let marked = |record: &iam::AccountRecord| record.account.description.ends_with(&mark);
        let made = |record: &iam::AccountRecord| {
            let nonce = record.made_for.as_ref();
            nonce.and_then(|nonce| self.creations.get(nonce)).is_some_and(|made_for| made_for == uid)
        };
        iam.accounts.get(account).is_some_and(|record| marked(record) || made(record))
    }

    /// Whether an object has a key, doubts whose it is, or may yet come across it.
    fn may_be_claimed(&self, key: &iam::Key, view: &View, now: Timestamp) -> bool {
        let id = key.id.as_str();
        view.keys.iter().any(|object| {
            let here = object.account.as_deref() == Some(key.account.as_str());
            // A person may have made it, or have taken its status away, after everything was read.
            let fresh = self.edited.get(&object.place).is_some_and(|w| w.at + FRESH > now);
            let open = object.status("/pending").filter(|p| !p.is_null());
            object.ledger().any(|k| k == id)
                || here && object.list("suspects").any(|s| s["id"] == id)
                || here && open.and_then(|p| time(&p["backendTime"])).is_some_and(|at| at <= key.created_at)
                || here && object.list("lost").any(|l| is_in_window(l, key.created_at))
                || here && !object.has_status() && !fresh
        })
    }

    /// What the operator forgets because a person asked for it: a suspect that was disowned, an object that was let go.
    pub(super) fn asked_to_forget(&mut self, before: &Value, change: &Change, iam: &Iam) {
        let annotation =
            |name: &str| before["metadata"]["annotations"][format!("keywheel.dev/{name}")].as_str();
        let disowned: Vec<&str> =
            annotation("disown-key").into_iter().flat_map(|ids| ids.split(',').map(str::trim)).collect();
        let suspects = |o: &Value| ids(&o["status"]["suspects"]);
        let kept = suspects(&change.object);
        for id in suspects(before).into_iter().filter(|id| !kept.contains(id)) {
            if disowned.contains(&id.as_str()) {
                self.excused.insert(id.clone());
                self.disowned.insert(id);
            }
        }
        let deleting = !before["metadata"]["deletionTimestamp"].is_null();
        if change.kind == ChangeKind::Deleted && deleting && annotation("abandon").is_some() {
            let uid = before["metadata"]["uid"].as_str().unwrap_or_default();
            let made = |key: &&iam::Key| match &key.made_by {
                Maker::Attempt(nonce) => self.attempts.get(nonce).is_some_and(|by| by == uid),
                Maker::Person => false,
            };
            let made: Vec<String> = iam.keys.values().filter(made).map(|k| k.id.clone()).collect();
            self.excused.extend(made);
            self.excused.extend(ids(&before["status"]["keys"]));
            self.let_go.insert(uid.to_owned());
        }
    }
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|i| i["id"].as_str().map(str::to_owned)).collect()
}

/// The objects that have an account.
fn accounts_of(api: &Shared, unique_id: &str) -> Vec<(Place, Value)> {
    api.with(|s| {
        let all = s.store.list(Kind::Account.stored(), None);
        let having = all.filter(|(_, o)| o["status"]["uniqueId"] == unique_id);
        having.map(|(place, o)| (place.clone(), (**o).clone())).collect()
    })
}
