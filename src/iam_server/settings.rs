//! What an operator of the server can choose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::federation::{ProviderError, ProviderSpec};
use super::org_policy::{Constraint, NoConstraint, OrgPolicy};

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
    /// Keys that one account can have.
    pub key_limit: usize,
    /// What a key too many is answered with.
    pub key_limit_error: KeyLimitError,
    /// How long a new key is refused by the token endpoint.
    pub key_activation_delay: SignedDuration,
    /// How long enabling a service takes.
    pub service_delay: SignedDuration,
    /// How late the last use of a key is told.
    pub activity_lag: SignedDuration,
    /// Who vouches for callers from elsewhere.
    pub identity_providers: Vec<ProviderSpec>,
    /// The address of the account that the metadata server has.
    pub metadata_account: Option<String>,
    /// Constraints on accounts and keys.
    pub constraints: Vec<Constraint>,
    /// How far the server's clock is ahead.
    pub clock_offset: SignedDuration,
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

fn check_delay(what: &'static str, delay: SignedDuration) -> Result<(), SettingsError> {
    if delay.is_negative() || delay > MAX_DELAY {
        return Err(SettingsError::Delay { what, delay });
    }
    Ok(())
}

fn check_clock_offset(offset: SignedDuration) -> Result<(), SettingsError> {
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

/// How late things become visible.
#[derive(Debug, Clone, Copy)]
struct Delays {
    activation: SignedDuration,
    service: SignedDuration,
    activity: SignedDuration,
}

impl Delays {
    fn of(settings: &Settings) -> Self {
        Self {
            activation: settings.key_activation_delay,
            service: settings.service_delay,
            activity: settings.activity_lag,
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        check_delay("key activation delay", self.activation)?;
        check_delay("service delay", self.service)?;
        check_delay("activity lag", self.activity)
    }
}

/// The settings that tests change while the server runs.
#[derive(Debug)]
pub struct Tunables(Mutex<Tuned>);

/// What holds at present.
#[derive(Debug, Clone)]
struct Tuned {
    delays: Delays,
    policy: OrgPolicy,
    metadata_account: Option<String>,
}

/// A change of tunables, and how they are shown: `GET` and `PUT /settings`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TunablesBody {
    /// Keys made from now on are refused by the token endpoint for this long. Lowering it also releases keys that
    /// still wait; raising it leaves keys that already exist alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_activation_delay: Option<String>,
    /// Services take this long from now on to be enabled or disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_delay: Option<String>,
    /// The last use of a key is told this much later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_lag: Option<String>,
    /// All constraints that hold from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Vec<String>>,
    /// The address of the account that the metadata server has; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_account: Option<String>,
    /// How far the server's clock is ahead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset: Option<String>,
}

impl Tunables {
    /// Starts with settings that [`Settings::check`] has accepted.
    pub fn new(settings: &Settings) -> Self {
        Self(Mutex::new(Tuned {
            delays: Delays::of(settings),
            policy: settings.constraints.iter().copied().collect(),
            metadata_account: settings.metadata_account.clone(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Tuned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long keys wait at present.
    pub fn activation_delay(&self) -> SignedDuration {
        self.lock().delays.activation
    }

    /// How long enabling a service takes at present.
    pub fn service_delay(&self) -> SignedDuration {
        self.lock().delays.service
    }

    /// How late the last use of a key is told at present.
    pub fn activity_lag(&self) -> SignedDuration {
        self.lock().delays.activity
    }

    /// The constraints that hold at present.
    pub fn org_policy(&self) -> OrgPolicy {
        self.lock().policy.clone()
    }

    /// The address of the account that the metadata server has at present.
    pub fn metadata_account(&self) -> Option<String> {
        self.lock().metadata_account.clone()
    }

    /// Changes what the body names, all of it or nothing.
    ///
    /// # Errors
    /// [`SettingsError`] for a bad duration or constraint.
    pub fn apply(&self, body: &TunablesBody, clock: &Clock) -> Result<(), SettingsError> {
        let mut tuned = self.lock().clone();
        for (text, delay) in [
            (&body.key_activation_delay, &mut tuned.delays.activation),
            (&body.service_delay, &mut tuned.delays.service),
            (&body.activity_lag, &mut tuned.delays.activity),
        ] {
            if let Some(text) = text {
                *delay = parse_duration(text)?;
            }
        }
        tuned.delays.check()?;
        if let Some(texts) = &body.constraints {
            tuned.policy = texts.iter().map(|text| text.parse()).collect::<Result<_, NoConstraint>>()?;
        }
        let offset = body.clock_offset.as_deref().map(parse_duration).transpose()?;
        offset.map_or(Ok(()), check_clock_offset)?;
        if let Some(email) = &body.metadata_account {
            tuned.metadata_account = Some(email.clone()).filter(|email| !email.is_empty());
        }
        *self.lock() = tuned;
        if let Some(offset) = offset {
            clock.set_offset(offset);
        }
        Ok(())
    }

    /// What holds at present.
    pub fn show(&self, clock: &Clock) -> TunablesBody {
        let Tuned { delays, policy, metadata_account } = self.lock().clone();
        TunablesBody {
            key_activation_delay: Some(format!("{:#}", delays.activation)),
            service_delay: Some(format!("{:#}", delays.service)),
            activity_lag: Some(format!("{:#}", delays.activity)),
            constraints: Some(policy.constraints().map(|constraint| constraint.to_string()).collect()),
            metadata_account,
            clock_offset: Some(format!("{:#}", clock.offset())),
        }
    }
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

    fn settings() -> Settings {
        Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            address_file: None,
            external_url: None,
            data: PathBuf::new(),
            projects: vec!["p1".into()],
            admin_key_file: None,
            key_limit: 10,
            key_limit_error: KeyLimitError::default(),
            key_activation_delay: SignedDuration::ZERO,
            service_delay: SignedDuration::ZERO,
            activity_lag: SignedDuration::ZERO,
            identity_providers: Vec::new(),
            metadata_account: None,
            constraints: Vec::new(),
            clock_offset: SignedDuration::ZERO,
            strict: true,
            enable_fault_api: false,
            request_log: None,
        }
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let clock = Clock::new(SignedDuration::ZERO);
        let tunables = Tunables::new(&settings());
        let good = TunablesBody {
            key_activation_delay: Some("5s".into()),
            service_delay: Some("6s".into()),
            activity_lag: Some("48h".into()),
            constraints: Some(vec!["iam.serviceAccountKeyExpiryHours=24".into()]),
            metadata_account: Some("billing@p1.iam.gserviceaccount.com".into()),
            clock_offset: Some("-1h".into()),
        };
        for bad in [
            TunablesBody { clock_offset: Some("a while".into()), ..good.clone() },
            TunablesBody { constraints: Some(vec!["iam.unheardOf".into()]), ..good.clone() },
            TunablesBody { activity_lag: Some("-1s".into()), ..good.clone() },
        ] {
            assert!(tunables.apply(&bad, &clock).is_err(), "{bad:?}");
            assert_eq!(tunables.activation_delay(), SignedDuration::ZERO);
        }
        tunables.apply(&good, &clock).unwrap();
        assert_eq!(tunables.activation_delay(), SignedDuration::from_secs(5));
        assert_eq!(tunables.service_delay(), SignedDuration::from_secs(6));
        assert_eq!(tunables.activity_lag(), SignedDuration::from_hours(48));
        assert_eq!(clock.offset(), SignedDuration::from_hours(-1));
        let policy = tunables.org_policy();
        assert!(tunables.metadata_account().is_some());
        let shown = tunables.show(&clock);
        tunables.apply(&shown, &clock).unwrap();
        assert_eq!(clock.offset(), SignedDuration::from_hours(-1));
        assert_eq!(tunables.org_policy(), policy);
    }
}
