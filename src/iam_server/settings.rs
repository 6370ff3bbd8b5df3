//! What an operator of the server can choose.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;

use super::earth_engine::{NoRegistration, ProjectRegistration};
use super::federation::{ProviderError, ProviderSpec};
use super::org_policy::{Constraint, NoConstraint};
use super::tunables::Delays;

/// How far a caller's clock may be off when its signed tokens are checked. Google tolerates about this much.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How long a deleted account can be undeleted.
pub const UNDELETE_WINDOW: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The farthest that the clock can be shifted, either way.
const MAX_CLOCK_OFFSET: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

/// The longest delay of anything.
const MAX_DELAY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The answer to a key too many: what Google says today, or what it said until about 2020.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KeyLimitError {
    /// 400 `FAILED_PRECONDITION` without details.
    #[default]
    Modern,
    /// 429 `RESOURCE_EXHAUSTED` with a `RetryInfo`.
    Legacy,
}

/// How the server starts.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Settings {
    /// Address to listen on; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// File that gets the bound `http://ip:port` once the server answers.
    pub address_file: Option<PathBuf>,
    /// Base of the URLs in credential files, without a slash at the end; the bound address if absent.
    pub external_url: Option<String>,
    /// The database file.
    pub data: PathBuf,
    /// Ids of the projects that exist; at least one.
    pub projects: Vec<String>,
    /// Where the credential file of `keywheel-admin` goes.
    pub admin_key_file: Option<PathBuf>,
    /// Where the credential file of the first account of Disruptive Technologies goes.
    pub disruptive_admin_key_file: Option<PathBuf>,
    /// Keys that one account can have.
    pub key_limit: usize,
    /// What a key too many is answered with.
    pub key_limit_error: KeyLimitError,
    /// How long a new key is refused by the token endpoint.
    pub key_activation_delay: SignedDuration,
    /// How long a new account is not there for those who ask for it.
    pub account_visibility_delay: SignedDuration,
    /// How long a new key is missing from lists.
    pub key_list_delay: SignedDuration,
    /// How long enabling a service takes.
    pub service_delay: SignedDuration,
    /// How late the last use of a key is told.
    pub activity_lag: SignedDuration,
    /// Who vouches for callers from elsewhere.
    pub identity_providers: Vec<ProviderSpec>,
    /// The address of the account that the metadata server has.
    pub metadata_account: Option<String>,
    /// Whether each project has the default accounts of App Engine and Compute Engine.
    pub default_accounts: bool,
    /// Constraints on accounts and keys.
    pub constraints: Vec<Constraint>,
    /// Projects whose registration for Earth Engine is known.
    pub earth_engine: Vec<ProjectRegistration>,
    /// How far the server's clock is ahead.
    pub clock_offset: SignedDuration,
    /// Whether the page for people answers.
    pub page: bool,
    /// Whether unknown request fields are refused.
    pub strict: bool,
    /// Whether the fault API answers.
    pub enable_fault_api: bool,
    /// File that gets one JSON line a request.
    pub request_log: Option<PathBuf>,
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A project id that Google would not give out.
    #[error("project id {id:?} must match [a-z]([-a-z0-9]{{0,28}}[a-z0-9])?")]
    ProjectId {
        /// The id.
        id: String,
    },
    /// There is nothing to serve.
    #[error("at least one project id is needed")]
    NoProject,
    /// The external URL is not one.
    #[error("external URL {url:?} is not an http or https URL without query and fragment")]
    ExternalUrl {
        /// The URL.
        url: String,
    },
    /// An account could never have a key.
    #[error("the key limit must be at least 1")]
    KeyLimit,
    /// A delay below zero or above a year.
    #[error("{what} {delay:#} must be between 0 s and 365 d")]
    Delay {
        /// Of what.
        what: &'static str,
        /// The delay.
        delay: SignedDuration,
    },
    /// A text that is no registration for Earth Engine.
    #[error(transparent)]
    Registration(#[from] NoRegistration),
    /// A text that is no constraint.
    #[error(transparent)]
    Constraint(#[from] NoConstraint),
    /// An identity provider that cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A clock that leaves the calendar.
    #[error("clock offset {offset:#} must lie within 20 years of zero")]
    ClockOffset {
        /// The offset.
        offset: SignedDuration,
    },
    /// A text that is not a duration.
    #[error("{text:?} is not a duration such as 5s, 10m or -1h")]
    Duration {
        /// The text.
        text: String,
        /// The parser's reason.
        #[source]
        source: jiff::Error,
    },
}

impl Settings {
    /// Refuses settings that make no sense, before anything is opened.
    ///
    /// # Errors
    /// The first [`SettingsError`] that applies.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.projects.is_empty() {
            return Err(SettingsError::NoProject);
        }
        if let Some(id) = self.projects.iter().find(|id| !is_project_id(id)) {
            return Err(SettingsError::ProjectId { id: id.clone() });
        }
        if self.key_limit == 0 {
            return Err(SettingsError::KeyLimit);
        }
        if let Some(url) = &self.external_url {
            let good = url::Url::parse(url).is_ok_and(|parsed| {
                matches!(parsed.scheme(), "http" | "https")
                    && parsed.query().is_none()
                    && parsed.fragment().is_none()
            });
            if !good {
                return Err(SettingsError::ExternalUrl { url: url.clone() });
            }
        }
        self.identity_providers.iter().try_for_each(ProviderSpec::check)?;
        Delays::of(self).check()?;
        check_clock_offset(self.clock_offset)
    }
}

fn is_project_id(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    id.len() <= 30
        && id.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && id.bytes().all(inner)
        && !id.ends_with('-')
}

/// Refuses a delay that makes no sense.
///
/// # Errors
/// [`SettingsError::Delay`].
pub(super) fn check_delay(what: &'static str, delay: SignedDuration) -> Result<(), SettingsError> {
    if delay.is_negative() || delay > MAX_DELAY {
        return Err(SettingsError::Delay { what, delay });
    }
    Ok(())
}

/// Refuses a clock that leaves the calendar.
///
/// # Errors
/// [`SettingsError::ClockOffset`].
pub(super) fn check_clock_offset(offset: SignedDuration) -> Result<(), SettingsError> {
    if offset > MAX_CLOCK_OFFSET || offset < -MAX_CLOCK_OFFSET {
        return Err(SettingsError::ClockOffset { offset });
    }
    Ok(())
}

/// Reads `5s`, `1h30m`, `-10m` or ISO 8601.
///
/// # Errors
/// [`SettingsError::Duration`].
pub fn parse_duration(text: &str) -> Result<SignedDuration, SettingsError> {
    text.parse().map_err(|source| SettingsError::Duration { text: text.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_both_directions() {
        assert_eq!(parse_duration("0s").unwrap(), SignedDuration::ZERO);
        assert_eq!(parse_duration("1h30m").unwrap(), SignedDuration::from_mins(90));
        assert_eq!(parse_duration("-10m").unwrap(), SignedDuration::from_mins(-10));
        assert!(matches!(parse_duration("soon"), Err(SettingsError::Duration { .. })));
    }

    #[test]
    fn project_ids() {
        for good in ["p1", "keywheel", "a", "my-project-1"] {
            assert!(is_project_id(good), "{good}");
        }
        for bad in ["", "1p", "P1", "p-", "p.q", "example.com:p", &"p".repeat(31)] {
            assert!(!is_project_id(bad), "{bad}");
        }
    }
}
