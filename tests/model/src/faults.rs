//! What may go wrong, what users may do, and how often in one run.

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A process dies in the middle of a reconcile.
    Crash,
    /// A create gets no answer, and may be applied late or never.
    Lost,
    /// The leader is paused past its Lease, and another one takes over.
    Lease,
    /// The leader stands still for long, and keeps its Lease.
    Slow,
    /// Somebody deletes a key of ours at the backend.
    Revoke,
    /// A user deletes the consumer Secret.
    SecretGone,
    /// A user breaks the credential in the consumer Secret.
    SecretBroken,
    /// A user changes something else in the consumer Secret.
    SecretChanged,
    /// A user puts an older credential back into the consumer Secret.
    Restore,
    /// A user deletes a staging Secret.
    StagingGone,
    /// The status of a CR is lost.
    Wipe,
    /// A person makes a key on the account.
    Person,
    /// The backend refuses everything for a while.
    Deny,
    /// The token endpoint does not know a new key yet.
    Refuse,
    /// A user deletes a CR.
    DeleteCr,
    /// A rotation falls due: no fault, but it is counted like one.
    Due,
}

impl Fault {
    /// Whether another key may have to be made because of it.
    pub fn costs_an_attempt(self) -> bool {
        !matches!(self, Self::SecretChanged | Self::Person | Self::Deny | Self::Refuse | Self::DeleteCr)
    }
}

/// How many kinds there are.
const KINDS: usize = 16;

/// What may still go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    left: u8,
    kinds: [u8; KINDS],
}

impl Budget {
    /// At most `left` faults, each kind at most as often as it is named.
    pub fn new(left: u8, kinds: &[Fault]) -> Self {
        let mut budget = Self { left, kinds: [0; KINDS] };
        for kind in kinds {
            budget.kinds[*kind as usize] += 1;
        }
        budget
    }

    /// Whether such a fault may still happen.
    pub fn allows(&self, fault: Fault) -> bool {
        self.left > 0 && self.kinds[fault as usize] > 0
    }

    /// Whether any fault may still happen.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// It happens.
    pub fn spend(&mut self, fault: Fault) {
        self.left -= 1;
        self.kinds[fault as usize] -= 1;
        if self.left == 0 {
            self.end();
        }
    }

    /// No fault of this kind any more.
    pub fn rule_out(&mut self, fault: Fault) {
        self.kinds[fault as usize] = 0;
        if self.kinds == [0; KINDS] {
            self.left = 0;
        }
    }

    /// No fault any more.
    pub fn end(&mut self) {
        *self = Self { left: 0, kinds: [0; KINDS] };
    }
}
