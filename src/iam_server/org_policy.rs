//! Constraints of an organization on accounts and keys: what they forbid, and how they are read.
//!
//! Source: "Restricting service account usage" and the discovery document of Organization Policy v2. They hold for
//! every project of this server, and touch nothing that was made before.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Server;
use super::accounts::known_project;
use super::model::Account;
use super::wire::errors::ApiError;
use super::wire::operation::Operation;
use crate::credential::Expiry;

/// Lifetimes that the constraint on expiry takes, in hours.
const LIFETIMES: [i64; 8] = [1, 8, 24, 168, 336, 720, 1440, 2160];

/// What can be forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ban {
    /// New accounts.
    Accounts,
    /// Keys that the server makes.
    KeyCreation,
    /// Keys that users upload.
    KeyUpload,
}

impl Ban {
    const ALL: [Self; 3] = [Self::Accounts, Self::KeyCreation, Self::KeyUpload];

    /// The constraint, without `constraints/`.
    pub fn constraint(self) -> &'static str {
        match self {
            Self::Accounts => "iam.disableServiceAccountCreation",
            Self::KeyCreation => "iam.disableServiceAccountKeyCreation",
            Self::KeyUpload => "iam.disableServiceAccountKeyUpload",
        }
    }

    /// What is answered to who tries.
    pub fn message(self) -> &'static str {
        match self {
            Self::Accounts => "Service account creation is not allowed on this project.",
            Self::KeyCreation => "Key creation is not allowed on this service account.",
            Self::KeyUpload => "Key upload is not allowed on this service account.",
        }
    }
}

/// The constraint on how long keys live.
const EXPIRY: &str = "iam.serviceAccountKeyExpiryHours";

/// The constraints that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrgPolicy {
    bans: Vec<Ban>,
    expiry: Option<SignedDuration>,
}

/// A constraint as it is set: `iam.disableServiceAccountKeyCreation`, `iam.serviceAccountKeyExpiryHours=24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// Something is forbidden.
    Ban(Ban),
    /// Keys end after this time.
    Expiry(SignedDuration),
}

/// A text that is no constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is none of iam.disableServiceAccountCreation, iam.disableServiceAccountKeyCreation, \
     iam.disableServiceAccountKeyUpload and iam.serviceAccountKeyExpiryHours=HOURS with 1, 8, 24, 168, 336, 720, 1440 \
     or 2160 hours"
)]
pub struct NoConstraint {
    text: String,
}

impl FromStr for Constraint {
    type Err = NoConstraint;

    fn from_str(text: &str) -> Result<Self, NoConstraint> {
        if let Some(ban) = Ban::ALL.into_iter().find(|ban| ban.constraint() == text) {
            return Ok(Self::Ban(ban));
        }
        text.strip_prefix(EXPIRY)
            .and_then(|rest| rest.strip_prefix('=')?.parse().ok())
            .filter(|hours| LIFETIMES.contains(hours))
            .map(|hours| Self::Expiry(SignedDuration::from_hours(hours)))
            .ok_or_else(|| NoConstraint { text: text.to_owned() })
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ban(ban) => f.write_str(ban.constraint()),
            Self::Expiry(life) => write!(f, "{EXPIRY}={}", life.as_hours()),
        }
    }
}

impl FromIterator<Constraint> for OrgPolicy {
    fn from_iter<I: IntoIterator<Item = Constraint>>(constraints: I) -> Self {
        let mut policy = Self::default();
        for constraint in constraints {
            match constraint {
                Constraint::Ban(ban) if policy.bans.contains(&ban) => {}
                Constraint::Ban(ban) => policy.bans.push(ban),
                Constraint::Expiry(life) => policy.expiry = Some(life),
            }
        }
        policy
    }
}

impl OrgPolicy {
    /// All of it, one constraint after the other.
    pub fn constraints(&self) -> impl Iterator<Item = Constraint> {
        self.bans.iter().copied().map(Constraint::Ban).chain(self.expiry.map(Constraint::Expiry))
    }

    /// Refuses what is forbidden. `subject` is the resource on which it was tried.
    ///
    /// # Errors
    /// [`ApiError::Constraint`].
    pub fn allow(&self, what: Ban, subject: impl FnOnce() -> String) -> Result<(), ApiError> {
        if self.bans.contains(&what) {
            return Err(ApiError::Constraint { ban: what, subject: subject() });
        }
        Ok(())
    }

    /// When a key ends that is made now.
    ///
    /// # Errors
    /// [`ApiError::Time`] at the end of the calendar.
    pub fn expiry(&self, from: Timestamp) -> Result<Expiry, ApiError> {
        Ok(match self.expiry {
            None => Expiry::Never,
            Some(life) => Expiry::At(from.checked_add(life)?),
        })
    }

    /// The rules of a constraint, by its name or the name of its managed form; `None` for an unknown one.
    fn rules(&self, constraint: &str) -> Option<Vec<Value>> {
        let plain = constraint.replacen("iam.managed.", "iam.", 1);
        if let Some(ban) = Ban::ALL.into_iter().find(|ban| ban.constraint() == plain) {
            return Some(vec![json!({ "enforce": self.bans.contains(&ban) })]);
        }
        (constraint == EXPIRY).then(|| {
            vec![match self.expiry {
                None => json!({ "allowAll": true }),
                Some(life) => json!({ "values": { "allowedValues": [format!("{}h", life.as_hours())] } }),
            }]
        })
    }
}

/// The subject of a constraint on keys.
pub fn subject(account: &Account) -> String {
    let encoded = account.email.replace('@', "%40");
    format!("{}?configvalue={encoded}", account.resource_name())
}

/// `policies.getEffectivePolicy`.
///
/// # Errors
/// [`ApiError::PermissionDenied`] for an unknown project, [`ApiError::ConstraintUnknown`].
pub fn effective(server: &Server, project: &str, constraint: &str) -> Result<Value, ApiError> {
    let operation = Operation::ORG_POLICIES_EFFECTIVE;
    known_project(&server.settings.projects, project, operation)?;
    let name = format!("{}/policies/{constraint}", server.projects.name_of(project, operation)?);
    let rules = server.tunables.org_policy().rules(constraint);
    let rules = rules.ok_or_else(|| ApiError::ConstraintUnknown { constraint: constraint.to_owned() })?;
    Ok(json!({ "name": name, "spec": { "rules": rules } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_as_text() {
        for text in [
            "iam.disableServiceAccountCreation",
            "iam.disableServiceAccountKeyCreation",
            "iam.disableServiceAccountKeyUpload",
            "iam.serviceAccountKeyExpiryHours=24",
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), text);
        }
        for bad in ["", "iam.serviceAccountKeyExpiryHours", "iam.serviceAccountKeyExpiryHours=2", "compute.x"]
        {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_managed_form_says_the_same() {
        let policy = OrgPolicy::from_iter([Constraint::Ban(Ban::KeyCreation)]);
        let enforced = Some(vec![json!({"enforce": true})]);
        assert_eq!(policy.rules("iam.disableServiceAccountKeyCreation"), enforced);
        assert_eq!(policy.rules("iam.managed.disableServiceAccountKeyCreation"), enforced);
        assert_eq!(policy.rules("iam.disableServiceAccountKeyUpload"), Some(vec![json!({"enforce": false})]));
        assert_eq!(policy.rules("compute.disableSerialPortAccess"), None);
    }
}
