//! What other objects on the same account say about keys, read after the list: whoever made a listed key had written its
//! intent before.

use std::time::Duration;

use jiff::Timestamp;

use super::ledger::{REBUILT, is_answered};
use crate::api::v1alpha1::ServiceAccountKeyStatus;
use crate::defect;
use crate::domain::schedule::sub;

/// A backend gives whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// All that other objects say about keys of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siblings {
    /// Keys that some ledger, staging Secret or consumer Secret names.
    pub claimed: Vec<String>,
    /// Keys that another object suspects.
    pub suspected: Vec<String>,
    /// Windows of other objects in which a key of theirs may appear that nobody names yet.
    pub windows: Vec<Window>,
    /// Fenced lost attempts of all objects on the account, this one's included.
    pub fenced_attempts: usize,
    /// Whether another object has the account, too, whose keys nobody here knows.
    pub account_shared: bool,
}

/// A time in which a key may be another object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when; `None`: since ever.
    pub from: Option<Timestamp>,
    /// Until when; `None`: still open.
    pub until: Option<Timestamp>,
}

impl Window {
    /// Whether a key that was created at this time may be of this window.
    pub fn covers(&self, created_at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= created_at) && self.until.is_none_or(|until| created_at <= until)
    }
}

impl Siblings {
    /// Adds what the status of an object says: its own claims are no obstacle to it.
    pub fn add(&mut self, status: Option<&ServiceAccountKeyStatus>, own: bool) {
        let Some(status) = status else {
            // Nobody knows what it has under way.
            if !own && !defect!(SibIgnoresWiped) {
                self.windows.push(Window { from: None, until: None });
            }
            return;
        };
        let unproved = status.lost.iter().filter(|l| l.public_key_sha256.is_none());
        // What was rebuilt is a time in which there may have been attempts, not one of them; and an attempt whose key is
        // known has made no other.
        let is_attempt = |nonce: &str| nonce != REBUILT || defect!(RebuiltProves);
        let candidates = unproved.clone().filter(|l| l.fenced && is_attempt(&l.nonce));
        self.fenced_attempts += candidates.filter(|l| !is_answered(status, l)).count();
        if own {
            return;
        }
        self.claimed.extend(status.keys.iter().map(|k| k.id.clone()));
        self.suspected.extend(status.suspects.iter().map(|s| s.id.clone()));
        // A pair that is made here is known by its public half, whenever its key appears.
        let open =
            status.pending.iter().filter(|p| p.public_key_sha256.is_none() && !defect!(SibIgnoresPending));
        self.windows.extend(open.map(|p| Window { from: Some(sub(p.backend_time, SECOND)), until: None }));
        let unfenced = unproved.filter(|l| !l.fenced && !defect!(SibIgnoresUnfenced));
        self.windows.extend(
            unfenced.map(|l| Window { from: Some(sub(l.backend_time, SECOND)), until: Some(l.until) }),
        );
    }
}
