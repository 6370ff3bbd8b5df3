//! What the operator did, counted, for the budgets.

use crate::api_server::Verb;
use crate::flows::budgets::Budget;
use crate::iam;
use crate::wire::{Call, Reply};

/// What was counted since the last [`Counts::reset`].
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Writes to the API server, events and dry runs left out.
    pub api_writes: Vec<String>,
    /// Dry runs.
    pub dry_runs: Vec<String>,
    /// Reads at the API server.
    pub api_reads: u64,
    /// Calls to the IAM system: all but probes and looks at accounts.
    pub iam_calls: Vec<String>,
    /// Keys that were made.
    pub keys_made: u64,
    /// Faults, since the world began.
    pub faults: u64,
}

impl Counts {
    /// One more call.
    pub fn count(&mut self, call: &Call, reply: &Reply) {
        match call {
            Call::Api(request) if request.is_mutating() => self.api_writes.push(request.summary()),
            Call::Api(request) if !matches!(request.verb, Verb::Get | Verb::List) => {
                self.dry_runs.push(request.summary());
            }
            Call::Api(_) => self.api_reads += 1,
            Call::Iam(asked) => {
                if matches!(
                    (&**asked, reply),
                    (iam::Call::CreateKey { .. } | iam::Call::UploadKey { .. }, Reply::Iam(Ok(_)))
                ) {
                    self.keys_made += 1;
                }
                if !matches!(**asked, iam::Call::Probe | iam::Call::FindAccount(_)) {
                    self.iam_calls.push(asked.summary());
                }
            }
        }
    }

    /// What was spent.
    pub fn spent(&self) -> Budget {
        let looks = ["iam list-keys", "iam read-"];
        let is_look = |call: &&String| looks.iter().any(|look| call.starts_with(look));
        let lists = self.iam_calls.iter().filter(is_look).count();
        Budget { api_writes: self.api_writes.len(), iam_calls: self.iam_calls.len() - lists, lists }
    }

    /// Counts anew; faults and keys go on.
    pub fn reset(&mut self) {
        *self = Self { faults: self.faults, keys_made: self.keys_made, ..Self::default() };
    }
}
