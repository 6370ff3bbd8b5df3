//! The settings that change while the server runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::earth_engine::{NoRegistration, ProjectRegistration, Registrations};
use super::org_policy::{NoConstraint, OrgPolicy};
use super::settings::{Settings, SettingsError, check_clock_offset, check_delay, parse_duration};

/// How late things become visible.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    activation: SignedDuration,
    account: SignedDuration,
    key_list: SignedDuration,
    service: SignedDuration,
    activity: SignedDuration,
}

impl Delays {
    /// As they begin.
    pub fn of(settings: &Settings) -> Self {
        Self {
            activation: settings.key_activation_delay,
            account: settings.account_visibility_delay,
            key_list: settings.key_list_delay,
            service: settings.service_delay,
            activity: settings.activity_lag,
        }
    }

    /// Refuses those that make no sense.
    ///
    /// # Errors
    /// [`SettingsError::Delay`].
    pub fn check(&self) -> Result<(), SettingsError> {
        check_delay("key activation delay", self.activation)?;
        check_delay("account visibility delay", self.account)?;
        check_delay("key list delay", self.key_list)?;
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
    earth_engine: Registrations,
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
    /// Accounts made within the last so long are not there for those who ask for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_visibility_delay: Option<String>,
    /// Keys made within the last so long are missing from lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_list_delay: Option<String>,
    /// Services take this long from now on to be enabled or disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_delay: Option<String>,
    /// The last use of a key is told this much later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity_lag: Option<String>,
    /// All constraints that hold from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<Vec<String>>,
    /// All registrations for Earth Engine, as `PROJECT=STATE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earth_engine: Option<Vec<String>>,
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
            earth_engine: settings.earth_engine.iter().cloned().collect(),
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

    /// How long a new account is not there at present.
    pub fn account_visibility_delay(&self) -> SignedDuration {
        self.lock().delays.account
    }

    /// How long a new key is missing from lists at present.
    pub fn key_list_delay(&self) -> SignedDuration {
        self.lock().delays.key_list
    }

    /// Which projects are registered for Earth Engine at present.
    pub fn earth_engine(&self) -> Registrations {
        self.lock().earth_engine.clone()
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
            (&body.account_visibility_delay, &mut tuned.delays.account),
            (&body.key_list_delay, &mut tuned.delays.key_list),
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
        if let Some(texts) = &body.earth_engine {
            let read = texts.iter().map(|text| text.parse::<ProjectRegistration>());
            tuned.earth_engine = read.collect::<Result<_, NoRegistration>>()?;
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
        let Tuned { delays, policy, earth_engine, metadata_account } = self.lock().clone();
        TunablesBody {
            key_activation_delay: Some(format!("{:#}", delays.activation)),
            account_visibility_delay: Some(format!("{:#}", delays.account)),
            key_list_delay: Some(format!("{:#}", delays.key_list)),
            service_delay: Some(format!("{:#}", delays.service)),
            activity_lag: Some(format!("{:#}", delays.activity)),
            constraints: Some(policy.constraints().map(|constraint| constraint.to_string()).collect()),
            earth_engine: Some(earth_engine.texts().collect()),
            metadata_account,
            clock_offset: Some(format!("{:#}", clock.offset())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::iam_server::KeyLimitError;

    fn settings() -> Settings {
        Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            address_file: None,
            external_url: None,
            data: PathBuf::new(),
            projects: vec!["p1".into()],
            admin_key_file: None,
            disruptive_admin_key_file: None,
            key_limit: 10,
            key_limit_error: KeyLimitError::default(),
            key_activation_delay: SignedDuration::ZERO,
            account_visibility_delay: SignedDuration::ZERO,
            key_list_delay: SignedDuration::ZERO,
            service_delay: SignedDuration::ZERO,
            activity_lag: SignedDuration::ZERO,
            identity_providers: Vec::new(),
            metadata_account: None,
            default_accounts: false,
            constraints: Vec::new(),
            earth_engine: Vec::new(),
            clock_offset: SignedDuration::ZERO,
            page: false,
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
            account_visibility_delay: Some("7s".into()),
            key_list_delay: Some("8s".into()),
            service_delay: Some("6s".into()),
            activity_lag: Some("48h".into()),
            constraints: Some(vec!["iam.serviceAccountKeyExpiryHours=24".into()]),
            earth_engine: Some(vec!["p1=REGISTERED_COMMERCIALLY".into()]),
            metadata_account: Some("billing@p1.iam.gserviceaccount.com".into()),
            clock_offset: Some("-1h".into()),
        };
        for bad in [
            TunablesBody { clock_offset: Some("a while".into()), ..good.clone() },
            TunablesBody { constraints: Some(vec!["iam.unheardOf".into()]), ..good.clone() },
            TunablesBody { activity_lag: Some("-1s".into()), ..good.clone() },
            TunablesBody { earth_engine: Some(vec!["p1=YES".into()]), ..good.clone() },
        ] {
            assert!(tunables.apply(&bad, &clock).is_err(), "{bad:?}");
            assert_eq!(tunables.activation_delay(), SignedDuration::ZERO);
        }
        tunables.apply(&good, &clock).unwrap();
        assert_eq!(tunables.activation_delay(), SignedDuration::from_secs(5));
        assert_eq!(tunables.service_delay(), SignedDuration::from_secs(6));
        assert_eq!(tunables.account_visibility_delay(), SignedDuration::from_secs(7));
        assert_eq!(tunables.key_list_delay(), SignedDuration::from_secs(8));
        assert_eq!(tunables.earth_engine().texts().count(), 1);
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
