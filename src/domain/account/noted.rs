//! The note on an object that says which account it has, where the backend has no room for our mark. A status can be lost (a
//! backup, a careless replace); without the note a second account would be made, and the first forgotten with its keys.

use super::plan::{Table, chooses_ids};
use super::{Account, Grants, Observation, Plan, Step};
use crate::api::v1alpha1::AccountOrigin;
use crate::domain::names::{join_mark, split_mark};

/// The account that is noted on an object whose status knows none.
pub(super) fn id(obs: &Observation) -> Option<&str> {
    let noted = obs.noted.as_deref().filter(|_| obs.status.unique_id.is_none() && !chooses_ids(obs))?;
    let is_id = |id: &&str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    Some(split_mark(noted).0).filter(is_id)
}

/// What to do about a note that leads nowhere.
pub(super) fn gone(id: &str) -> String {
    format!(
        "The account {id}, which the annotation keywheel.dev/account-id names, is gone. Take the annotation off to have another \
         one made"
    )
}

impl Table<'_> {
    /// Notes an account that we made, once it is recorded.
    pub(super) fn noting(&self, account: &Account, grants: &Grants, origin: AccountOrigin) -> Option<Plan> {
        let obs = self.obs;
        let recorded = obs.status.unique_id.as_ref() == Some(&account.unique_id);
        if grants.can.descriptions || origin != AccountOrigin::Created || !recorded {
            return None;
        }
        let value = join_mark(&account.unique_id, &obs.owner_mark);
        (obs.noted.as_ref() != Some(&value)).then(|| self.act(Step::Note { value }))
    }

    /// Whether the note says that we made this account for this very object. Whoever may write the object may write the note:
    /// it is worth as much as the right to adopt.
    pub(super) fn is_noted(&self, account: &Account, grants: &Grants) -> bool {
        grants.adoption && self.is_own_note() && id(self.obs) == Some(account.unique_id.as_str())
    }

    /// Whether the note was written for this very object, and nothing else says which account it has.
    pub(super) fn is_own_note(&self) -> bool {
        let mark = id(self.obs).and(self.obs.noted.as_deref()).and_then(|noted| split_mark(noted).1);
        mark == Some(self.obs.owner_mark.as_str())
    }
}
