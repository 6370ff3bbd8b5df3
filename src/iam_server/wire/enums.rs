//! Enums that arrive as names or as numbers, and leave as the caller asked for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::Value;

/// How enums are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnumEncoding {
    /// As names, the default.
    #[default]
    Names,
    /// As numbers: the caller sent `$alt=json;enum-encoding=int`.
    Numbers,
}

/// An enum of the API: its values with number and name.
pub trait WireEnum: Copy + PartialEq + 'static {
    /// Every value, its number and its name.
    const VALUES: &'static [(Self, i64, &'static str)];
    /// The enum's name in messages.
    const NAME: &'static str;

    /// From a number.
    fn from_number(number: i64) -> Option<Self> {
        Self::VALUES.iter().find(|entry| entry.1 == number).map(|entry| entry.0)
    }

    /// From a name.
    fn from_name(name: &str) -> Option<Self> {
        Self::VALUES.iter().find(|entry| entry.2 == name).map(|entry| entry.0)
    }

    /// From a query parameter: a name, or a number in decimal.
    fn from_text(text: &str) -> Option<Self> {
        text.parse().map_or_else(|_| Self::from_name(text), Self::from_number)
    }

    /// For an answer.
    fn encode(self, encoding: EnumEncoding) -> Value {
        match (Self::VALUES.iter().find(|entry| entry.0 == self), encoding) {
            (Some(entry), EnumEncoding::Names) => Value::from(entry.2),
            (Some(entry), EnumEncoding::Numbers) => Value::from(entry.1),
            // Every value is in the table; the tests see to it.
            (None, _) => Value::Null,
        }
    }
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $value:ident = $number:literal $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $value),* }

        impl WireEnum for $name {
            const VALUES: &'static [(Self, i64, &'static str)] = &[$((Self::$value, $number, $text)),*];
            const NAME: &'static str = stringify!($name);
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(NameOrNumber(PhantomData))
            }
        }
    };
}

wire_enum! {
    /// The form of a created key's private half.
    PrivateKeyType {
        /// The default: the credentials file.
        Unspecified = 0 "TYPE_UNSPECIFIED",
        /// PKCS#12.
        Pkcs12 = 1 "TYPE_PKCS12_FILE",
        /// The JSON file that Google's clients read.
        GoogleCredentials = 2 "TYPE_GOOGLE_CREDENTIALS_FILE",
    }
}

wire_enum! {
    /// The kind of pair.
    KeyAlgorithm {
        /// The default: RSA-2048.
        Unspecified = 0 "KEY_ALG_UNSPECIFIED",
        /// RSA, 1024 bits.
        Rsa1024 = 1 "KEY_ALG_RSA_1024",
        /// RSA, 2048 bits.
        Rsa2048 = 2 "KEY_ALG_RSA_2048",
    }
}

wire_enum! {
    /// The form in which `keys.get` shows the public half.
    PublicKeyType {
        /// Not at all.
        None = 0 "TYPE_NONE",
        /// A certificate.
        X509Pem = 1 "TYPE_X509_PEM_FILE",
        /// The bare key.
        Raw = 2 "TYPE_RAW_PUBLIC_KEY",
    }
}

wire_enum! {
    /// Who made the pair.
    KeyOrigin {
        /// Never in an answer.
        Unspecified = 0 "ORIGIN_UNSPECIFIED",
        /// A user, who uploaded the public half.
        UserProvided = 1 "USER_PROVIDED",
        /// The server.
        GoogleProvided = 2 "GOOGLE_PROVIDED",
    }
}

wire_enum! {
    /// Who looks after the key.
    KeyType {
        /// Never in an answer, an error in a filter.
        Unspecified = 0 "KEY_TYPE_UNSPECIFIED",
        /// A user does.
        UserManaged = 1 "USER_MANAGED",
        /// The server does.
        SystemManaged = 2 "SYSTEM_MANAGED",
    }
}

wire_enum! {
    /// Why a key is disabled.
    DisableReason {
        /// Not said.
        Unspecified = 0 "SERVICE_ACCOUNT_KEY_DISABLE_REASON_UNSPECIFIED",
        /// Somebody disabled it.
        UserInitiated = 1 "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED",
        /// It was found in public.
        Exposed = 2 "SERVICE_ACCOUNT_KEY_DISABLE_REASON_EXPOSED",
        /// It was found to be abused.
        CompromiseDetected = 3 "SERVICE_ACCOUNT_KEY_DISABLE_REASON_COMPROMISE_DETECTED",
    }
}

wire_enum! {
    /// Whether a project may use a service.
    ServiceState {
        /// Never in an answer.
        Unspecified = 0 "STATE_UNSPECIFIED",
        /// It may not.
        Disabled = 1 "DISABLED",
        /// It may.
        Enabled = 2 "ENABLED",
    }
}

wire_enum! {
    /// Where a project is in its life. Those of this server are there as long as it is.
    ProjectState {
        /// In use.
        Active = 1 "ACTIVE",
    }
}

struct NameOrNumber<T>(PhantomData<T>);

impl<T: WireEnum> Visitor<'_> for NameOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name or number of the enum {}", T::NAME)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        T::from_name(name).ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        i64::try_from(number)
            .ok()
            .and_then(T::from_number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        for (value, number, name) in KeyAlgorithm::VALUES {
            assert_eq!(serde_json::from_value::<KeyAlgorithm>(Value::from(*number)).unwrap(), *value);
            assert_eq!(serde_json::from_value::<KeyAlgorithm>(Value::from(*name)).unwrap(), *value);
            assert_eq!(KeyAlgorithm::from_text(name), Some(*value));
            assert_eq!(KeyAlgorithm::from_text(&number.to_string()), Some(*value));
            assert_eq!(value.encode(EnumEncoding::Names), Value::from(*name));
            assert_eq!(value.encode(EnumEncoding::Numbers), Value::from(*number));
        }
    }

    #[test]
    fn other_values_are_refused_and_named() {
        let error = serde_json::from_value::<KeyType>(Value::from("HOMEMADE")).unwrap_err().to_string();
        assert!(error.contains("HOMEMADE") && error.contains("KeyType"), "{error}");
        assert!(serde_json::from_value::<KeyType>(Value::from(17)).is_err());
        assert!(serde_json::from_value::<KeyType>(Value::from(true)).is_err());
        assert_eq!(KeyType::from_text("-1"), None);
    }
}
