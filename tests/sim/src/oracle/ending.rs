//! What must hold when the operator ends a key: no premature end, no theft.

use jiff::{SignedDuration, Timestamp};

use super::handed::Ending;
use super::{Oracle, View};
use crate::api_server::watch::Shared;
use crate::iam::{self, Iam, Maker, short};

impl Oracle {
    /// The operator is about to end a key.
    pub(super) fn ending(
        &mut self,
        actor: usize,
        id: &str,
        deletes: bool,
        api: &Shared,
        iam: &Iam,
        now: Timestamp,
    ) {
        let Some(key) = iam.keys.get(id).filter(|k| !k.deleted) else { return };
        let view = View::of(api);
        let handed = self.is_handed_over(key, &Ending { actor, deletes, now }, &view, api, iam);
        self.theft(key, handed, &view);
        for secret in view.consumers().filter(|s| s.credentials.contains_key(id)) {
            // A person who puts a credential back after our last look cannot be seen.
            let unseen = self.is_unseen(actor, id, &secret.place, self.tampered.get(&secret.place));
            if !unseen && key.works() && !self.is_forgotten(&secret.place) {
                self.report(
                    "No premature end",
                    format!("key {} ends while {} publishes it", short(id), secret.place),
                );
            }
        }
        let owner = match &key.made_by {
            Maker::Attempt(nonce) => self.attempts.get(nonce).and_then(|uid| view.key(uid)),
            Maker::Person => None,
        };
        // Due, and for a key that was begun before it: by the clocks of two machines, and by whole seconds.
        let slack = SignedDuration::try_from(self.slack).unwrap_or_default();
        let wiped = owner.is_some_and(|o| self.needs.is_wiped(&o.uid));
        let revoked = |o: &super::KeyObject| {
            let asked =
                o.object.pointer("/metadata/annotations/keywheel.dev~1revoke-at").and_then(super::time);
            asked.is_some_and(|at| at <= now + slack && (key.created_at < at + slack || wiped))
        };
        // A wheel that was stopped holds old keys alive; one that nobody ever saw may have become another object's.
        let known = |o: &super::KeyObject| self.published.contains_key(id) || o.ledger().any(|k| k == id);
        let stopped = owner.filter(|o| known(o)).filter(|o| {
            let suspended = o.object.pointer("/spec/rotation/suspend").is_some_and(|s| s == true);
            suspended && !o.deleting && !revoked(o) && !self.is_edited_unseen(actor, id, &o.place)
        });
        if let Some(owner) = stopped {
            let what = format!("key {} of {} ends while its rotation is suspended", short(id), owner.place);
            self.report("No premature end", what);
        }
        // A key that its object shall leave is left.
        let kept = owner.filter(|o| {
            let retained = o.object.pointer("/spec/deletionPolicy").is_some_and(|p| p == "Retain");
            retained && o.deleting && o.active() == Some(id) && !self.is_edited_unseen(actor, id, &o.place)
        });
        if let Some(owner) = kept {
            let what = format!("key {} ends although {} retains it", short(id), owner.place);
            self.report("No premature end", what);
        }
        if let Some(published) = self.published.get(id).filter(|_| key.works())
            && let Some(until) = published.until
            && let Some(owner) = view.key(&published.owner).filter(|o| !o.deleting)
        {
            let overlap = self.overlaps.get(&published.owner).copied().unwrap_or_default();
            let over = SignedDuration::try_from(overlap.saturating_sub(self.slack)).unwrap_or_default();
            if now < until + over && !revoked(owner) {
                let what = format!(
                    "key {} ends {:?} after its last publication, overlap {overlap:?}",
                    short(id),
                    now - until
                );
                self.report("No premature end", what);
            }
        }
    }

    /// A key that a person made, or that another object holds by more than a guess.
    fn theft(&mut self, key: &iam::Key, handed: bool, view: &View) {
        let id = key.id.as_str();
        let claimed = view.keys.iter().any(|o| {
            let asked = o.object.pointer("/metadata/annotations/keywheel.dev~1claim-key");
            asked.and_then(|v| v.as_str()).is_some_and(|ids| ids.contains(id))
        });
        if self.disowned.contains(id) && !claimed && !handed {
            self.report("No theft", format!("key {} was disowned by a person and is ended", short(id)));
        }
        let Maker::Attempt(nonce) = &key.made_by else {
            if !claimed && !handed && !self.presumed.contains(id) {
                self.report("No theft", format!("key {} was made by a person and is ended", short(id)));
            }
            return;
        };
        let owner = self.attempts.get(nonce).cloned().unwrap_or_default();
        if self.departed(&owner).is_some() {
            // Whoever took its Secret over, or adopted it, is its object now.
            return;
        }
        let holder = view.keys.iter().filter(|k| k.uid != owner && !k.deleting).find(|k| {
            let proved = |entry: &serde_json::Value| entry["id"] == id && entry["origin"] != "Orphan";
            k.active() == Some(id) || k.list("keys").any(proved)
        });
        if let Some(holder) = holder {
            let what = format!("key {} of {} is ended by another object", short(id), holder.place);
            self.report("No theft", what);
        }
        // Its own object still waits for it, or has it staged.
        let mine = view.key(&owner).filter(|o| !o.deleting);
        let open = mine.filter(|o| o.status("/pending/nonce").is_some_and(|n| *n == nonce.as_str()));
        if let Some(mine) = open {
            let staged = view.secrets.iter().any(|s| s.staging && s.key_id.as_deref() == Some(id));
            if staged {
                let what = format!("key {} of the open attempt of {} is ended", short(id), mine.place);
                self.report("No theft", what);
            }
        }
    }
}
