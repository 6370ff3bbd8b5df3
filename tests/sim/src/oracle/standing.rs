//! What must hold of both servers' state as it stands.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::view::View;
use super::{Oracle, Published, Violation, is_in_window};
use crate::api_server::watch::Shared;
use crate::iam::{self, Iam, Maker, short};

impl Oracle {
    /// Checks what must hold at every instant. The lines tell what was excused, and what was not.
    pub fn check(&mut self, api: &Shared, iam: &Iam, actor: Option<usize>, now: Timestamp) -> Vec<String> {
        let before = self.violations.len();
        let view = View::of(api);
        let mut lines = self.covered(&view, iam, actor);
        self.publications(&view, now);
        self.needs.look(&view, iam, now);
        self.outages(&view, iam, now);
        self.remembered(api, iam);
        self.accounts(api, iam);
        lines.extend(self.violations[before..].iter().map(|v| format!("VIOLATION {v}")));
        lines
    }

    fn covered(&mut self, view: &View, iam: &Iam, actor: Option<usize>) -> Vec<String> {
        let mut lines = Vec::new();
        for key in iam.keys.values().filter(|k| !k.deleted) {
            if self.excused.contains(&key.id) {
                continue;
            }
            let Maker::Attempt(nonce) = &key.made_by else { continue };
            if is_covered(view, key, nonce) || self.is_retained(key) {
                continue;
            }
            if actor.is_none() {
                lines.push(format!("EXCUSED key {}: a person made everybody forget it", short(&key.id)));
                self.excused.insert(key.id.clone());
            } else {
                let what = format!("key {} of attempt {nonce} is remembered by nobody", short(&key.id));
                let violation = Violation { invariant: "Covered", what };
                if !self.violations.contains(&violation) {
                    self.violations.push(violation);
                }
            }
        }
        lines
    }

    fn publications(&mut self, view: &View, now: Timestamp) {
        let mut current = BTreeMap::new();
        for secret in view.consumers() {
            // A Secret of a former name is on notice once that of the new name is there.
            let owner = secret.owner_uid.as_deref().and_then(|uid| view.key(uid));
            let successor = owner.filter(|o| o.secret_name() != secret.place.name).and_then(|o| {
                view.consumers().find(|s| {
                    s.place.name == o.secret_name() && s.owner_uid.as_deref() == Some(o.uid.as_str())
                })
            });
            if successor.is_some_and(|s| !s.credentials.is_empty()) {
                continue;
            }
            // What stands there as the previous one is none that workloads are told to read.
            let marked = secret.key_id.as_ref().filter(|id| secret.credentials.contains_key(*id));
            let told = |id: &&String| marked.map_or(secret.previous.as_ref() != Some(*id), |m| m == *id);
            for id in secret.credentials.keys().filter(told) {
                current.insert(id.clone(), secret.owner_uid.clone().unwrap_or_default());
            }
        }
        for (id, published) in &mut self.published {
            if !current.contains_key(id) && published.until.is_none() {
                published.until = Some(now);
            }
        }
        for (id, owner) in current {
            if !self.published.contains_key(&id) {
                self.needs.published(&owner, now);
            }
            self.published.insert(id, Published { owner, until: None });
        }
    }

    fn outages(&mut self, view: &View, iam: &Iam, now: Timestamp) {
        for secret in view.consumers() {
            let uid = secret.owner_uid.as_deref().unwrap_or_default();
            let living = view.key(uid);
            let object = living.map(|o| &*o.object).or_else(|| self.gone.get(uid));
            let Some(object) = object else { continue };
            let retained = object.pointer("/spec/secret/deletionPolicy").is_some_and(|p| p == "Retain");
            if living.is_none_or(|o| o.deleting) && (!retained || self.let_go.contains(uid)) {
                continue;
            }
            let owner = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let unproved_is_fine =
                object.pointer("/spec/verification/mode").is_some_and(|mode| mode == "None");
            if self.tampered.contains_key(&secret.place) || self.forgotten.contains(&secret.place) {
                continue;
            }
            let marked = secret.key_id.as_ref().and_then(|id| secret.credentials.get_key_value(id));
            let Some((id, pem)) = marked.or_else(|| secret.credentials.iter().next()) else {
                self.report("No outage", format!("{} of {} holds no credential", secret.place, owner));
                continue;
            };
            let Some(key) = iam.keys.get(id) else {
                self.report("No outage", format!("{} holds the unknown key {}", secret.place, short(id)));
                continue;
            };
            // A disabled account makes no key worse than it was: it can be enabled again.
            let account = &iam.accounts[&key.account];
            if account.deleted && account.touched_by_person || key.ended_by_person {
                continue;
            }
            let proved = key.was_accepted || unproved_is_fine;
            let why = if !key.works() {
                "is ended"
            } else if key.expires_at.is_some_and(|end| end <= now) {
                "came to its own end"
            } else if !proved {
                "was never proved"
            } else if !key.is_of(pem) {
                "is not the one that the Secret says"
            } else {
                continue;
            };
            self.report("No outage", format!("{} publishes key {}, which {why}", secret.place, short(id)));
        }
    }
}

/// Whether somebody remembers a key that we made.
fn is_covered(view: &View, key: &iam::Key, nonce: &str) -> bool {
    let id = key.id.as_str();
    let by_secret = view.secrets.iter().any(|s| {
        (s.key_id.as_deref() == Some(id) || s.older.contains(id) || s.credentials.contains_key(id))
            && s.owner_uid.is_some()
    });
    by_secret
        || view.keys.iter().any(|object| {
            let on_account = object.account.as_deref() == Some(key.account.as_str());
            object.ledger().any(|k| k == id)
                || object.list("suspects").any(|s| s["id"] == id)
                || object.status("/pending/nonce").is_some_and(|n| n == nonce)
                || object.list("lost").any(|l| l["nonce"] == nonce)
                || on_account && object.list("lost").any(|l| is_in_window(l, key.created_at))
                || on_account && !object.has_status()
        })
}
