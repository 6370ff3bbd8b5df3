//! Accounts and keys of Google's API as they are stored. Private halves are not: the server forgets them with the answer.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::principal::Federated;
use crate::credential::Expiry;

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// 21 decimal digits; never given out twice, not even for the same e-mail address.
    pub unique_id: String,
    /// Its project.
    pub project: String,
    /// `accountId@PROJECT.iam.gserviceaccount.com`.
    pub email: String,
    /// At most 100 bytes.
    pub display_name: String,
    /// At most 256 bytes.
    pub description: String,
    /// Whether it may do nothing for now.
    pub disabled: bool,
    /// Whether it may call the administrative methods.
    pub admin: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was deleted; it can come back for 30 days.
    pub deleted: Option<Timestamp>,
    /// Counts the changes; the etag.
    pub revision: u64,
}

impl Account {
    /// `projects/P/serviceAccounts/EMAIL`.
    pub fn resource_name(&self) -> String {
        format!("projects/{}/serviceAccounts/{}", self.project, self.email)
    }

    /// Whether its keys and tokens are worth anything.
    pub fn is_usable(&self) -> bool {
        !self.disabled && self.deleted.is_none()
    }
}

/// The address of an account.
pub fn email(account_id: &str, project: &str) -> String {
    format!("{account_id}@{project}.iam.gserviceaccount.com")
}

/// The project that an address names, if it has the form of a service account's.
pub fn project_of_email(email: &str) -> Option<&str> {
    email.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")
}

/// Who made the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The server did, and handed the private half out once.
    Server,
    /// A user did, and uploaded the public half.
    User,
}

/// How large a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeySize {
    /// 1024 bits, for those who still ask for it.
    Rsa1024,
    /// 2048 bits.
    #[default]
    Rsa2048,
}

/// A key of an account: its public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// 40 lower-case hexadecimal digits.
    pub id: String,
    /// The account's unique id.
    pub account: String,
    /// Who made the pair.
    pub origin: Origin,
    /// How large it is.
    #[serde(default)]
    pub size: KeySize,
    /// Whether the server keeps it for itself, with nobody having its private half.
    #[serde(default)]
    pub system: bool,
    /// The public half: PEM of the `SubjectPublicKeyInfo`.
    pub public_pem: String,
    /// A self-signed certificate for it, or the one that was uploaded (PEM).
    pub certificate_pem: String,
    /// Start of validity, whole seconds.
    pub not_before: Timestamp,
    /// End of validity.
    #[serde(with = "expiry_text")]
    pub not_after: Expiry,
    /// Whether a user has switched it off.
    pub disabled: bool,
    /// When the server learned of it.
    pub created: Timestamp,
    /// The activation delay that held then.
    pub activation_delay: SignedDuration,
    /// The nonce of the attempt that its maker named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
}

impl Key {
    /// Whether signatures of this key count at `now`, leaving the activation delay aside.
    ///
    /// A key that the server made exists from its creation on, even if the server's clock was set back since; the
    /// start of an uploaded certificate is its owner's word and is kept.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let begun = self.origin == Origin::Server || now >= self.not_before;
        !self.disabled && begun && !self.not_after.has_passed(now)
    }

    /// Whether the key has become known to the token endpoint. `current` is the delay that holds now: lowering it
    /// releases keys that still wait, raising it takes nothing from keys that exist.
    pub fn is_active(&self, now: Timestamp, current: SignedDuration) -> bool {
        let delay = self.activation_delay.min(current);
        // Without a delay the clock, which may have been set back, is not asked.
        !delay.is_positive() || now.duration_since(self.created) >= delay
    }
}

/// Whom an access token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// The account with this unique id.
    Account(String),
    /// Somebody from elsewhere.
    Federated(Federated),
    /// An account of the API of Disruptive Technologies.
    Disruptive {
        /// Its project.
        project: String,
        /// Its id.
        account: String,
    },
}

/// An access token that was handed out; the token itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// Whom it speaks for.
    pub holder: Holder,
    /// What it may be used for: scopes, separated by blanks.
    pub scope: String,
    /// When it ends.
    pub expires: Timestamp,
}

mod expiry_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Expiry;

    pub(super) fn serialize<S: Serializer>(expiry: &Expiry, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(expiry)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expiry, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let created = "2026-11-22T10:00:00Z".parse().unwrap();
        Key {
            id: "ab".repeat(20),
            account: "1".repeat(21),
            origin: Origin::Server,
            size: KeySize::default(),
            system: false,
            public_pem: String::new(),
            certificate_pem: String::new(),
            not_before: created,
            not_after: Expiry::Never,
            disabled: false,
            created,
            activation_delay: SignedDuration::from_secs(60),
            attempt: None,
        }
    }

    #[test]
    fn a_key_without_end_survives_storage() {
        let text = serde_json::to_string(&key()).unwrap();
        assert!(text.contains("9999-12-31T23:59:59Z"));
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key());
    }

    #[test]
    fn activation_waits_for_the_smaller_of_both_delays() {
        let key = key();
        let early = key.created + SignedDuration::from_secs(30);
        let late = key.created + SignedDuration::from_secs(60);
        assert!(!key.is_active(early, SignedDuration::from_secs(60)));
        assert!(key.is_active(late, SignedDuration::from_secs(60)));
        assert!(key.is_active(early, SignedDuration::ZERO), "a lowered delay releases it");
        assert!(key.is_active(late, SignedDuration::from_hours(1)), "a raised delay does not touch it");
    }

    #[test]
    fn validity_has_a_start_and_an_end() {
        let mut key = key();
        let before = key.not_before - SignedDuration::from_secs(1);
        assert!(key.is_usable(before), "a clock that was set back changes nothing");
        key.origin = Origin::User;
        assert!(!key.is_usable(before));
        assert!(key.is_usable(key.not_before));
        key.not_after = Expiry::At(key.not_before + SignedDuration::from_secs(10));
        assert!(!key.is_usable(key.not_before + SignedDuration::from_secs(10)));
        key.not_after = Expiry::Never;
        key.disabled = true;
        assert!(!key.is_usable(key.not_before));
    }

    #[test]
    fn addresses() {
        let address = email("billing", "p1");
        assert_eq!(address, "billing@p1.iam.gserviceaccount.com");
        assert_eq!(project_of_email(&address), Some("p1"));
        assert_eq!(project_of_email("someone@example.com"), None);
    }
}
