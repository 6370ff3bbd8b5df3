//! What a plan can say: what to read, what to do, what the status shall be.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::v1alpha1::{LedgerKey, ServiceAccountKeyStatus};
use crate::domain::Event;

/// What a pass shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The rule that matched.
    pub rule: &'static str,
    /// What to do now.
    pub next: Next,
    /// The status afterwards. It is written, guarded, once the step is done, if it differs from the one read.
    pub status: ServiceAccountKeyStatus,
    /// When to look again if nothing happens.
    pub requeue: Duration,
    /// What to tell once it is done.
    pub events: Vec<Event>,
}

/// What a pass shall do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read something more and decide again.
    Need(Need),
    /// One effect.
    Act(Step),
    /// Nothing but the status.
    Wait,
}

/// Something that is read only when a decision rests on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The Secret once more, after the object: a step that rests on it is dropped if it changed.
    Confirm,
    /// The keys of the account at the backend.
    Keys,
    /// The same, each uploaded one with the fingerprint of its public half.
    Fingerprints,
    /// The keys of the account as any object has seen them lately, or else as they are now.
    Audit,
    /// What other objects on the account say about keys; read after the list.
    Siblings,
    /// A key pair, made here, for an attempt that may be begun.
    Pair,
    /// Whether the staged pair of an attempt is at the backend already.
    Find {
        /// The attempt.
        nonce: String,
    },
    /// Where the workloads to restart stand.
    Rollout,
    /// When a key was last used to log in.
    LastUse {
        /// The key.
        id: String,
    },
    /// The public half of a key, from the backend.
    PublicHalf {
        /// The key.
        id: String,
    },
    /// A token exchange with the credential that the consumer Secret holds.
    SecretProof,
    /// Dry runs of the Secrets that an attempt will write.
    Preflight,
    /// Token exchanges with a staged key.
    Proof {
        /// Attempt whose staged key is tried.
        nonce: String,
        /// How many exchanges in a row must succeed.
        times: u32,
    },
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add our finalizer.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Only the status.
    WriteStatus,
    /// Ask the backend for the key of the open attempt, once, and stage its answer.
    Create {
        /// The attempt.
        nonce: String,
    },
    /// Stage the pair of the open attempt.
    StagePair {
        /// The attempt.
        nonce: String,
    },
    /// Upload the public half of the staged pair of the open attempt.
    Upload {
        /// The attempt.
        nonce: String,
    },
    /// Make the Secret that an earlier object of this name left ours.
    TakeOver {
        /// Whether its key is good: otherwise what it says about keys is dropped.
        keep: bool,
    },
    /// Delete a Secret of a former name, as it was read.
    DeleteFormer {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
    /// Restart a workload for the active key.
    Restart {
        /// Which.
        workload: crate::api::v1alpha1::Workload,
        /// The key.
        key_id: String,
    },
    /// Write the consumer Secret.
    Publish(Box<Publication>),
    /// Delete a staging Secret.
    Unstage {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Rewrite an annotation of the Secret, so that no older write of anybody can succeed any more.
    Fence {
        /// What to write there.
        mark: String,
    },
    /// Enable a key again that the Secret publishes.
    EnableKey {
        /// The key.
        id: String,
    },
    /// Disable a key.
    DisableKey {
        /// The key.
        id: String,
    },
    /// Delete a key.
    DeleteKey {
        /// The key.
        id: String,
    },
    /// Delete the consumer Secret as it was read.
    DeleteSecret {
        /// Its uid.
        uid: String,
        /// Its resource version.
        resource_version: String,
    },
}

/// What a write of the consumer Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The attempt whose staged credential is written; `None`: the credential that the Secret already holds.
    pub staged_nonce: Option<String>,
    /// The key.
    pub key_id: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// When it was published.
    pub published_at: Timestamp,
    /// `project/unique id` of its account.
    pub account: String,
    /// E-mail of its account.
    pub email: String,
    /// The key whose credential stands in the `.previous` entries, if any shall.
    pub previous: Option<String>,
    /// Other keys whose public halves stand in the `PublicJwks` entries, as far as they are known.
    pub public: Vec<String>,
    /// All older keys.
    pub ledger: Vec<LedgerKey>,
}

impl Plan {
    /// A step, then the status that records it.
    pub(super) fn act(rule: &'static str, step: Step, status: ServiceAccountKeyStatus) -> Self {
        Self { rule, next: Next::Act(step), status, requeue: Duration::ZERO, events: Vec::new() }
    }

    /// Something to read first.
    pub(super) fn need(rule: &'static str, need: Need, status: &ServiceAccountKeyStatus) -> Self {
        Self {
            rule,
            next: Next::Need(need),
            status: status.clone(),
            requeue: Duration::ZERO,
            events: Vec::new(),
        }
    }
}
