//! Accounts, keys and members as they are stored.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::roles::Role;
use crate::credential::SecretBytes;
use crate::iam_server::store::Record;

/// What follows the project in the address of an account.
const DOMAIN: &str = ".serviceaccount.d21s.com";

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// 20 digits and lower-case letters; never given out twice.
    pub id: String,
    /// Its project.
    pub project: String,
    /// What people call it.
    pub display_name: String,
    /// Whether its keys are taken as names and passwords.
    pub basic_auth: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Record for Account {
    const KIND: &'static str = "disruptive-accounts";
}

impl Account {
    /// `ID@PROJECT.serviceaccount.d21s.com`.
    pub fn email(&self) -> String {
        email(&self.project, &self.id)
    }

    /// `projects/P/serviceaccounts/ID`.
    pub fn name(&self) -> String {
        format!("projects/{}/serviceaccounts/{}", self.project, self.id)
    }

    /// Where it is stored.
    pub fn record_name(&self) -> String {
        account_record(&self.project, &self.id)
    }
}

/// The address of an account.
pub fn email(project: &str, id: &str) -> String {
    format!("{id}@{project}{DOMAIN}")
}

/// Project and id of the account that an address names; nothing for the address of a person.
pub fn account_named(email: &str) -> Option<(&str, &str)> {
    let (id, project) = email.strip_suffix(DOMAIN)?.split_once('@')?;
    Some((project, id))
}

/// Where an account is stored.
pub fn account_record(project: &str, id: &str) -> String {
    format!("{project}/{id}")
}

/// A key of an account. It has no `Debug`: the secret is in it, without which nothing that it signs could be checked.
#[derive(Clone, Serialize, Deserialize)]
pub struct Key {
    /// As that of an account.
    pub id: String,
    /// The account's id.
    pub account: String,
    /// 32 hexadecimal digits.
    #[serde(with = "secret_text")]
    pub secret: SecretBytes,
    /// When it was made.
    pub created: Timestamp,
    /// The activation delay that held then.
    pub activation_delay: SignedDuration,
}

impl Record for Key {
    const KIND: &'static str = "disruptive-keys";
}

impl Key {
    /// Where it is stored.
    pub fn record_name(&self) -> String {
        key_record(&self.account, &self.id)
    }

    /// Whether it can be used already. `current` is the delay that holds now: lowering it releases keys that still wait,
    /// raising it takes nothing from keys that exist.
    pub fn is_active(&self, now: Timestamp, current: SignedDuration) -> bool {
        let delay = self.activation_delay.min(current);
        // Without a delay the clock, which may have been set back, is not asked.
        !delay.is_positive() || now.duration_since(self.created) >= delay
    }
}

/// Where a key is stored.
pub fn key_record(account: &str, id: &str) -> String {
    format!("{account}/{id}")
}

/// Whose a key is, by its id: a name and password do not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyOwner {
    /// The account's project.
    pub project: String,
    /// The account's id.
    pub account: String,
}

impl Record for KeyOwner {
    const KIND: &'static str = "disruptive-key-owners";
}

/// A person, who is known by an address only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Person {
    /// Decimal digits.
    pub id: String,
}

impl Record for Person {
    const KIND: &'static str = "disruptive-people";
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where.
    pub place: Place,
    /// The id of the account or the person.
    pub id: String,
    /// The address.
    pub email: String,
    /// The project of the account; nothing for a person.
    pub home: Option<String>,
    /// The one role.
    pub role: Role,
    /// Since when.
    pub created: Timestamp,
}

impl Record for Member {
    const KIND: &'static str = "disruptive-members";
}

impl Member {
    /// Where it is stored.
    pub fn record_name(&self) -> String {
        member_record(&self.place, &self.id)
    }
}

/// Where a membership is stored.
pub fn member_record(place: &Place, id: &str) -> String {
    format!("{place}/{id}")
}

/// The account whose credential lies in the administrator's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Administrator {
    /// Its id, in the first project.
    pub account: String,
}

impl Record for Administrator {
    const KIND: &'static str = "disruptive-administrator";
}

/// A time as answers have it, to the microsecond.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serializer, ser};

    use super::SecretBytes;

    pub(super) fn serialize<S: Serializer>(secret: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_str().map_err(ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretBytes, D::Error> {
        String::deserialize(deserializer).map(SecretBytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_accounts() {
        let address = email("p1", "c18ppqmoiv9008epsv1g");
        assert_eq!(address, "c18ppqmoiv9008epsv1g@p1.serviceaccount.d21s.com");
        assert_eq!(account_named(&address), Some(("p1", "c18ppqmoiv9008epsv1g")));
        for other in ["someone@example.com", "x.serviceaccount.d21s.com", ""] {
            assert_eq!(account_named(other), None, "{other}");
        }
    }

    #[test]
    fn a_key_survives_storage_and_waits() {
        let key = Key {
            id: "k".into(),
            account: "a".into(),
            secret: SecretBytes::from("00".repeat(16)),
            created: Timestamp::from_second(1_800_000_000).unwrap(),
            activation_delay: SignedDuration::from_secs(60),
        };
        let text = serde_json::to_string(&key).unwrap();
        let again: Key = serde_json::from_str(&text).unwrap();
        assert_eq!(again.secret.expose(), key.secret.expose());
        let soon = key.created + SignedDuration::from_secs(30);
        assert!(!key.is_active(soon, SignedDuration::from_secs(60)));
        assert!(key.is_active(soon, SignedDuration::ZERO), "a lowered delay releases it");
        assert!(key.is_active(soon + SignedDuration::from_secs(30), SignedDuration::from_hours(1)));
    }

    #[test]
    fn times_have_six_digits() {
        assert_eq!(time_text(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
    }
}
