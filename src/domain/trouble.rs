//! What went wrong at a backend, as far as decisions need to know it.

use std::time::Duration;

use jiff::Timestamp;

use super::Reason;

/// Classes of failure. A 403 is not a 404, and a timeout is not a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No answer, or one that does not say whether the request was applied.
    Unknown,
    /// The request did not leave: there was no token for it, or none in time.
    NotSent,
    /// The backend said to come back later.
    Throttled,
    /// Our login was refused.
    Unauthenticated,
    /// Our login may not do this.
    Forbidden,
    /// It is not there.
    NotFound,
    /// It is already there.
    AlreadyExists,
    /// The state of the account forbids it, as the limit of its keys does.
    Precondition,
    /// A policy of the organization forbids it.
    OrgPolicy,
    /// Our clock is too far off for the backend to believe what was signed by it.
    ClockSkew,
    /// The backend does not understand or does not support the request.
    Invalid,
}

impl Class {
    /// Whether it is known that the request was not applied.
    pub fn is_definite_refusal(self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// Whether it goes by itself.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Unknown | Self::NotSent | Self::Throttled)
    }

    /// The reason that people see.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unknown | Self::NotSent => Reason::BackendUnreachable,
            Self::Throttled => Reason::BackendThrottled,
            Self::Unauthenticated => Reason::LoginRefused,
            Self::Forbidden => Reason::PermissionMissing,
            Self::NotFound => Reason::NotFoundAtBackend,
            Self::AlreadyExists => Reason::AccountExists,
            Self::Precondition => Reason::PreconditionFailed,
            Self::OrgPolicy => Reason::OrgPolicyForbids,
            Self::ClockSkew => Reason::ClockSkew,
            Self::Invalid => Reason::RequestRefused,
        }
    }
}

/// A failure at a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind.
    pub class: Class,
    /// What the backend said, for people; nothing private.
    pub message: String,
    /// How long the backend asked to be left alone, where it said so.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// A failure.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None }
    }

    /// The same, where the backend asked to be left alone for so long.
    #[must_use]
    pub fn until_after(self, asked: Duration) -> Self {
        Self { retry_after: Some(asked), ..self }
    }
}

/// A message, and until when nothing is tried again because the backend asked for it.
pub fn left_alone(message: &str, until: Option<Timestamp>) -> String {
    match until {
        None => message.to_owned(),
        Some(until) => format!("{message}; the backend asks not to be tried again before {until:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeout is not a no.
    #[test]
    fn only_what_is_not_known_may_have_been_applied() {
        assert!(!Class::Unknown.is_definite_refusal());
        for class in [
            Class::NotSent,
            Class::Throttled,
            Class::Forbidden,
            Class::NotFound,
            Class::OrgPolicy,
            Class::Invalid,
        ] {
            assert!(class.is_definite_refusal(), "{class:?}");
        }
    }
}
