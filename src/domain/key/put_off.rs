//! Steps that were refused for good and are tried again later: meanwhile none of them holds up what comes after it. A
//! revoked key that cannot be deleted must not keep its successor from being made.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::step::Step;
use crate::api::v1alpha1::Workload;
use crate::domain::Reason;

/// What a step concerns that can be refused while others go through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The end of a key, by its id.
    Key(String),
    /// A key that is to be enabled again, by its id.
    Enabling(String),
    /// The end of a Secret, by its name: a staging Secret, or one of a former name.
    Secret(String),
    /// The restart of a workload, by kind and name.
    Workload(String),
    /// The consumer Secret, written with what it publishes already.
    Rewriting,
    /// The consumer Secret, touched so that no older write succeeds.
    Fencing,
    /// The public half of a key, by its id, which is read from the backend: the Secret is written without it.
    PublicHalf(String),
}

/// A refusal that is still fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Before when it is not tried again.
    pub until: Timestamp,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// Fresh refusals by what they concern.
pub type PutOff = BTreeMap<Subject, Refused>;

impl Subject {
    /// A workload.
    pub fn workload(workload: &Workload) -> Self {
        Self::Workload(format!("{:?} {}", workload.kind, workload.name))
    }
}

impl Step {
    /// What it concerns, where its refusal need not hold up other steps.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::DisableKey { id } | Self::DeleteKey { id } => Some(Subject::Key(id.clone())),
            Self::Unstage { name, .. } | Self::DeleteFormer { name, .. } => {
                Some(Subject::Secret(name.clone()))
            }
            Self::EnableKey { id } => Some(Subject::Enabling(id.clone())),
            Self::Restart { workload, .. } => Some(Subject::workload(workload)),
            Self::Publish(publication) if publication.staged_nonce.is_none() => Some(Subject::Rewriting),
            Self::Fence { .. } => Some(Subject::Fencing),
            Self::AddFinalizer
            | Self::RemoveFinalizer
            | Self::WriteStatus
            | Self::Create { .. }
            | Self::StagePair { .. }
            | Self::Upload { .. }
            | Self::TakeOver { .. }
            | Self::Publish(_)
            | Self::DeleteSecret { .. } => None,
        }
    }
}
