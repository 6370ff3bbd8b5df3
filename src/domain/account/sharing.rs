//! Who else has the account: the owner mark at the backend tells of other clusters, the objects' statuses of this one.

use super::Account;
use super::plan::Table;
use crate::api::v1alpha1::AccountOrigin;
use crate::domain::names::split_mark;

/// Other objects that a message names at most.
const SHOWN: usize = 10;

/// How this object has the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// As one of many: it asks for no more.
    Open,
    /// The other objects must be read before it can be said.
    Unread,
    /// Nobody else has it, as far as we can know.
    Alone,
    /// It would have it alone, but others have it, too; in words.
    Shared(String),
}

impl Table<'_> {
    /// Whether the account is ours alone. What is recorded holds until the next census, which may end keys on it.
    pub(super) fn hold(&self, account: &Account, origin: AccountOrigin, ours: bool) -> Hold {
        let obs = self.obs;
        if origin == AccountOrigin::Adopted && !self.owns_all_keys() {
            return Hold::Open;
        }
        // Where there is no mark nobody is alone who does not ask for all keys.
        if !self.marks() && !self.owns_all_keys() {
            return Hold::Open;
        }
        let (_, mark) = split_mark(&account.description);
        if let Some(foreign) = mark.filter(|_| !ours) {
            let whose = format!(
                "{} carries the mark of another ServiceAccount object, in this cluster or another ({foreign})",
                account.email
            );
            let also = ". If that object no longer exists, take its mark off the account's description";
            return Hold::Shared(format!("{}{also}", shared(&whose, origin)));
        }
        match &obs.shared_with {
            None if ours && obs.status.exclusive == Some(true) && !obs.census_due && self.marks() => {
                Hold::Alone
            }
            None => Hold::Unread,
            Some(others) if others.is_empty() => Hold::Alone,
            Some(others) => {
                let shown: Vec<&str> = others.iter().take(SHOWN).map(String::as_str).collect();
                let whose = format!(
                    "{} other ServiceAccount objects have {}: {}",
                    others.len(),
                    account.email,
                    shown.join(", ")
                );
                Hold::Shared(shared(&whose, origin))
            }
        }
    }
}

impl Table<'_> {
    /// Whether an account has room for our mark, as far as the backend is known.
    pub(super) fn marks(&self) -> bool {
        self.obs.backend.as_ref().ok().is_none_or(|grants| grants.can.descriptions)
    }
}

fn shared(whose: &str, origin: AccountOrigin) -> String {
    let report = match origin {
        AccountOrigin::Adopted => "set unmanagedKeys: Report, or ",
        AccountOrigin::Created => "",
    };
    format!(
        "{whose}. unmanagedKeys ends nothing on it, and no key is taken for ours without proof. To change that, {report}keep \
         one of the objects and delete the others with deletionPolicy: Retain"
    )
}
