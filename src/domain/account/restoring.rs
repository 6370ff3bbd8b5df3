//! Accounts that were deleted and are brought back: asked for once, after it was written down, and taken up only if nobody
//! else has them.

use super::plan::{Table, handle};
use super::{Account, Next, Plan, Step};
use crate::api::v1alpha1::{Restoring, ServiceAccountStatus};
use crate::domain::names::split_mark;
use crate::domain::schedule::between;
use crate::domain::{Class, Event, Reason, Trouble};
use std::time::Duration;

/// Whether this is the e-mail of the account of this id or e-mail.
fn is_of(email: &str, handle: &str) -> bool {
    email == handle || email.split('@').next() == Some(handle)
}

/// Who else has an account that is back.
pub(super) enum Contest {
    /// Nobody, as far as we can know.
    Nobody,
    /// The other objects must be read before it can be said.
    Unread,
    /// Somebody; in words.
    By(String),
}

impl Table<'_> {
    /// The account that the spec wants back, where none is there. One that this object had is its own; any other is adopted.
    pub(super) fn restored(&self) -> Option<Plan> {
        let obs = self.obs;
        let wanted = obs.spec.undelete.as_ref()?;
        let own = match &obs.status.unique_id {
            Some(known) if known != wanted => return None,
            known => known.is_some(),
        };
        if !own && !obs.backend.as_ref().is_ok_and(|grants| grants.undelete) {
            let message = format!(
                "{wanted} is no account that this object had: the backend's tenants.undelete does not let namespaces bring \
                 back those of others"
            );
            return Some(self.stalled(Reason::AdoptionNotAllowed, message));
        }
        let asked = obs.status.restoring.as_ref().filter(|asked| asked.unique_id == *wanted);
        if asked.is_some_and(|asked| asked.done) {
            return (!own).then(|| self.stalled(Reason::InvalidSpec, self.another(wanted)));
        }
        if let Some(email) = obs.done.restored.as_ref().filter(|email| !is_of(email, handle(obs))) {
            // It was asked for once, by whoever wrote the spec; what is back is not this object's to keep or to end.
            let mut plan =
                self.stalled(Reason::InvalidSpec, format!("{}: it is {email}", self.another(wanted)));
            if let Some(asked) = &mut plan.status.restoring {
                asked.done = true;
            }
            return Some(plan);
        }
        let since = asked.map(|asked| between(asked.asked_at, self.now));
        if let Some(since) = since.filter(|since| *since <= self.timing.list_lag) {
            if since <= self.timing.settle && obs.done.restored.is_none() {
                let note = format!("Account {} ({wanted}) is brought back", handle(obs));
                let events = vec![Event::normal(Reason::AccountRestored, note)];
                return Some(Plan { events, ..self.act(Step::Undelete { unique_id: wanted.clone() }) });
            }
            // Reads lag behind writes.
            return Some(Plan { requeue: self.timing.settle, ..self.keep() });
        }
        let mut status = obs.status.clone();
        status.restoring = Some(Restoring { unique_id: wanted.clone(), asked_at: self.now, done: false });
        if !own {
            // Whoever ends the object must know that the account may show itself.
            status.created_at = Some(self.now);
        }
        Some(Plan { next: Next::Wait, status, requeue: Duration::ZERO, events: Vec::new() })
    }

    fn another(&self, wanted: &str) -> String {
        format!(
            "The account {wanted}, which undelete names, is not {}, and is back at the backend now: delete it there if nobody \
             needs it, and take undelete out of the spec",
            handle(self.obs)
        )
    }

    /// Whether this object may take up the account because it had it brought back.
    pub(super) fn restores(&self, account: &Account) -> bool {
        let obs = self.obs;
        let asked =
            obs.status.restoring.as_ref().filter(|asked| asked.unique_id == account.unique_id && !asked.done);
        asked.is_some()
            && obs.spec.undelete.as_ref() == Some(&account.unique_id)
            && obs.backend.as_ref().is_ok_and(|grants| grants.undelete)
    }

    /// Whether the mark on an account that is back is that of a former object.
    pub(super) fn takes_over_mark(&self, account: &Account) -> bool {
        self.restores(account) && matches!(self.contested(account), Contest::Nobody)
    }

    /// An account that is back may carry the mark of the object that had it: of one of this cluster, which must be gone.
    pub(super) fn contested(&self, account: &Account) -> Contest {
        let obs = self.obs;
        let (_, mark) = split_mark(&account.description);
        let cluster = |mark: &str| mark.split('/').next().map(str::to_owned);
        if let Some(mark) = mark.filter(|mark| cluster(mark) != cluster(&obs.owner_mark)) {
            return Contest::By(format!(
                "{} carries the mark of another cluster ({mark}): it is not taken up. Take the mark off its description if \
                 nobody there has it",
                account.email
            ));
        }
        match &obs.shared_with {
            None => Contest::Unread,
            Some(others) if others.is_empty() => Contest::Nobody,
            Some(others) => Contest::By(format!(
                "Other ServiceAccount objects have {}: {}",
                account.email,
                others.join(", ")
            )),
        }
    }

    /// It is back: once is all that was asked for.
    pub(super) fn note_restored(&self, status: &mut ServiceAccountStatus, account: &Account) {
        if self.obs.spec.undelete.is_none() {
            status.restoring = None;
        } else if let Some(asked) =
            status.restoring.as_mut().filter(|asked| asked.unique_id == account.unique_id)
        {
            asked.done = true;
        }
    }

    /// What is gone for good is not brought back by another try.
    pub(super) fn with_way_out(&self, trouble: &Trouble) -> Trouble {
        let asked = self.obs.status.restoring.as_ref().is_some_and(|asked| !asked.done);
        if !asked || trouble.class != Class::NotFound {
            return trouble.clone();
        }
        let message = format!(
            "{}. A deleted account can be brought back for 30 days. To have a new one made take undelete out of the spec",
            trouble.message
        );
        Trouble { message, ..trouble.clone() }
    }
}
