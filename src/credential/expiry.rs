//! The end of a key's validity.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::{Timestamp, Unit};

use super::CredentialError;

/// When a key or certificate ends.
///
/// 9999-12-31T23:59:59Z stands for "no end": RFC 5280 section 4.1.2.5 defines it so for certificates, and Google
/// IAM gives it to keys without an expiry policy. It needs a variant of its own because it lies 26 hours beyond
/// [`Timestamp::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// Ends at this instant, whole seconds.
    At(Timestamp),
    /// 9999-12-31T23:59:59Z, or any time between [`Timestamp::MAX`] and it.
    Never,
}

/// 9999-12-31T23:59:59Z in seconds since 1970.
const NEVER_SECONDS: i64 = 253_402_300_799;

impl Expiry {
    /// From seconds since 1970.
    ///
    /// # Errors
    /// [`CredentialError::TimeOutOfRange`] after the year 9999 or before the year -9999.
    pub fn from_unix_seconds(seconds: i64) -> Result<Self, CredentialError> {
        match Timestamp::from_second(seconds) {
            Ok(at) => Ok(Self::At(at)),
            Err(_) if seconds > 0 && seconds <= NEVER_SECONDS => Ok(Self::Never),
            Err(_) => Err(CredentialError::TimeOutOfRange { seconds }),
        }
    }

    /// Seconds since 1970.
    pub fn unix_seconds(self) -> i64 {
        match self {
            Self::At(at) => at.as_second(),
            Self::Never => NEVER_SECONDS,
        }
    }

    /// Whether the end has come.
    pub fn has_passed(self, now: Timestamp) -> bool {
        matches!(self, Self::At(at) if now >= at)
    }

    /// The instant, if there is an end.
    pub fn timestamp(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Never => None,
        }
    }
}

impl From<Timestamp> for Expiry {
    /// Drops fractions of a second: neither X.509 nor the IAM API can carry them.
    fn from(at: Timestamp) -> Self {
        Self::At(
            at.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor))
                .unwrap_or(at),
        )
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(f, "{at}"),
            Self::Never => f.write_str("9999-12-31T23:59:59Z"),
        }
    }
}

impl FromStr for Expiry {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        match text.parse::<Timestamp>() {
            Ok(at) => Ok(Self::from(at)),
            // The last 26 hours of the year 9999 are beyond `Timestamp`, but not beyond a civil time.
            Err(source) => match text.strip_suffix('Z').map(str::parse::<DateTime>) {
                Some(Ok(civil)) if civil.year() == 9999 => Ok(Self::Never),
                _ => Err(CredentialError::TimeParse { text: text.to_owned(), source }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_time_survives_a_round_trip() {
        let never = Expiry::from_unix_seconds(NEVER_SECONDS).unwrap();
        assert_eq!(never, Expiry::Never);
        assert_eq!(never.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!("9999-12-31T23:59:59Z".parse::<Expiry>().unwrap(), Expiry::Never);
        assert_eq!(never.unix_seconds(), NEVER_SECONDS);
        assert!(!never.has_passed(Timestamp::MAX));
        assert!(Expiry::from_unix_seconds(NEVER_SECONDS + 1).is_err());
    }

    #[test]
    fn ordinary_times_have_whole_seconds() {
        let end: Expiry = "2026-11-22T10:00:00.9Z".parse().unwrap();
        assert_eq!(end.to_string(), "2026-11-22T10:00:00Z");
        assert!(end < Expiry::Never);
        assert!(end.has_passed("2026-11-22T10:00:00Z".parse().unwrap()));
        assert!(!end.has_passed("2026-11-22T09:59:59.99Z".parse().unwrap()));
        assert!("9999-12-31T25:00:00Z".parse::<Expiry>().is_err());
        assert!(matches!("soon".parse::<Expiry>(), Err(CredentialError::TimeParse { .. })));
    }
}
