//! Why a pass ended early. It is tried again; nothing here is told in a condition.

use std::time::Duration;

use crate::backend::BackendError;
use crate::credential::CredentialError;
use crate::kube_io::KubeIoError;

/// A pass ended before its plan waited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Kube(#[from] KubeIoError),
    /// A call to the backend, whose outcome the next pass will see.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A credential could not be read or written.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Another process leads, or this one could not renew the Lease in time.
    #[error("the Lease is not held")]
    NotLeading,
    /// The reads that a step rests on are too old for it to leave.
    #[error("the last read is too old for the step {step}")]
    TooLate {
        /// The step.
        step: &'static str,
    },
    /// A step asks for something that the observation does not hold: a defect.
    #[error("the step {step} needs {what}, which was not observed")]
    Missing {
        /// The step.
        step: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// A plan that never waits: a defect.
    #[error("the plan did not settle within {passes} passes; the last rule was {rule}")]
    Restless {
        /// How many passes were made.
        passes: usize,
        /// The last rule.
        rule: &'static str,
    },
    /// The pass panicked: a defect.
    #[error("the pass panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The system's random number generator failed.
    #[error("no randomness: {0}")]
    Entropy(#[source] aws_lc_rs::error::Unspecified),
}

impl Error {
    /// Somebody else wrote first: observing again is all it takes.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(error) if error.is_conflict()) || matches!(self, Self::TooLate { .. })
    }

    /// How long the backend asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Backend(error) => error.retry_after(),
            _ => None,
        }
    }

    /// A defect of ours, worth an event.
    pub fn is_defect(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Restless { .. } | Self::Panicked { .. })
    }
}
