//! What differs between an account and its spec.

use super::plan::Table;
use super::sharing::Hold;
use super::{Account, Grants, Step};
use crate::api::v1alpha1::AccountOrigin;
use crate::domain::names::{join_mark, split_mark};

impl Table<'_> {
    /// What differs from the spec. An adopted account keeps what the spec does not name.
    pub(super) fn difference(
        &self,
        account: &Account,
        grants: &Grants,
        origin: AccountOrigin,
        hold: &Hold,
    ) -> Option<Step> {
        let (spec, can) = (&self.obs.spec, &grants.can);
        let (text, mark) = split_mark(&account.description);
        let want_text = match (&spec.description, origin) {
            (Some(text), _) => text.as_str(),
            (None, AccountOrigin::Created) => "",
            (None, AccountOrigin::Adopted) => text,
        };
        // Another's mark stays: two objects that each write their own would both believe to be alone.
        let marks = origin == AccountOrigin::Created || *hold == Hold::Alone;
        let own = Some(self.obs.owner_mark.as_str());
        let want_mark = match mark {
            // That of the object that had it before it was deleted.
            Some(_) if self.takes_over_mark(account) => own,
            Some(mark) => Some(mark),
            None => own.filter(|_| marks),
        };
        let description = want_mark.map_or_else(|| want_text.to_owned(), |mark| join_mark(want_text, mark));
        let display_name = match (&spec.display_name, origin) {
            (Some(name), _) => name.as_str(),
            (None, AccountOrigin::Created) if can.chosen_ids => "",
            // Its id says nothing.
            (None, AccountOrigin::Created) => self.obs.name.as_str(),
            (None, AccountOrigin::Adopted) => account.display_name.as_str(),
        };
        let display_name = (display_name != account.display_name).then(|| display_name.to_owned());
        let description = (can.descriptions && description != account.description).then_some(description);
        let basic_auth = match (self.wants_basic_auth(), origin) {
            _ if !can.basic_auth => None,
            (None, AccountOrigin::Adopted) => None,
            (wanted, _) => Some(wanted.unwrap_or(false)).filter(|wanted| *wanted != account.basic_auth),
        };
        let unique_id = account.unique_id.clone();
        if display_name.is_some() || description.is_some() || basic_auth.is_some() {
            return Some(Step::Describe { unique_id, display_name, description, basic_auth });
        }
        (can.disable_accounts && account.disabled != spec.disabled)
            .then_some(Step::SetDisabled { unique_id, disabled: spec.disabled })
    }
}
