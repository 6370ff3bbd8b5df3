//! Services that the project of an account must have. They are enabled and never disabled again: by then others may use them.
//! Earth Engine needs more than that: somebody must have registered the project, by hand.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;

use super::asked_roles::matches;
use super::plan::Table;
use super::{Grants, Next, Plan, Step};
use crate::api::v1alpha1::ServiceAccountStatus;
use crate::domain::conditions::{self, Conditions, EARTH_ENGINE_REGISTERED, Is, SERVICES_ENABLED};
use crate::domain::schedule::between;
use crate::domain::{Event, Reason, Trouble, left_alone};

const EARTH_ENGINE: &str = "earthengine.googleapis.com";
/// How its config says that nobody has registered the project (documented).
const NOT_REGISTERED: &str = "NOT_REGISTERED";
/// How long an operation may take before the service is asked for again, in settles: minutes are usual.
const PATIENCE: u32 = 5;

/// A service of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Whether it is enabled, or why that cannot be read.
    pub enabled: Result<bool, Trouble>,
}

fn is_allowed(service: &str, grants: &Grants) -> bool {
    let allowed = grants.services.as_ref();
    allowed.is_none_or(|allowed| allowed.iter().any(|pattern| matches(pattern, service)))
}

/// Why a service may not be asked for.
pub(super) fn refused(services: &[String], grants: &Grants) -> Option<(Reason, String)> {
    let allowed = grants.services.as_ref()?;
    let service = services.iter().find(|service| !is_allowed(service, grants))?;
    let message = format!(
        "The backend's tenants.services does not let namespaces ask for {service}; it lists {}",
        if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
    );
    Some((Reason::ServiceNotAllowed, message))
}

impl Table<'_> {
    /// What is done about the services of an account of this status. It goes on, with when they are looked at again, if there
    /// is nothing to be done now.
    pub(super) fn enable(
        &self,
        grants: &Grants,
        status: &mut ServiceAccountStatus,
        events: &[Event],
    ) -> ControlFlow<Plan, Option<Duration>> {
        let obs = self.obs;
        let wanted = &obs.spec.services;
        let known = obs.status.observed_generation == obs.generation;
        let settled = known && conditions::is(&obs.status.conditions, SERVICES_ENABLED, Is::True);
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        if wanted.is_empty() {
            conditions.clear(SERVICES_ENABLED);
            return ControlFlow::Continue(None);
        }
        if settled && !obs.census_due {
            return ControlFlow::Continue(None);
        }
        // One that may not be asked for, or is refused, keeps no other.
        let not_allowed = refused(wanted, grants);
        let wanted: Vec<String> = wanted.iter().filter(|name| is_allowed(name, grants)).cloned().collect();
        if let Some((reason, message)) = not_allowed.as_ref().filter(|_| wanted.is_empty()) {
            conditions.set(SERVICES_ENABLED, Is::False, *reason, message.clone());
            return ControlFlow::Continue(None);
        }
        if let Some(until) = self.is_left_alone(SERVICES_ENABLED).filter(|_| obs.done.refused.is_empty()) {
            return ControlFlow::Continue(Some(between(self.exact, until)));
        }
        let Some(views) = &obs.services else {
            let next = Next::NeedServices { names: wanted };
            if obs.status.unique_id.is_none() {
                // Keys need not wait for services.
                let (status, events) = (status.clone(), events.to_vec());
                return ControlFlow::Break(Plan {
                    next: Next::Wait,
                    status,
                    requeue: Duration::ZERO,
                    events,
                });
            }
            return ControlFlow::Break(Plan { next, ..self.keep() });
        };
        let missing: Vec<&str> =
            views.iter().filter(|view| view.enabled == Ok(false)).map(|view| view.name.as_str()).collect();
        let to_ask = missing.iter().find(|name| !obs.done.asked.iter().any(|asked| asked == **name));
        // Where one is told to come back later, so would be the next.
        let told_off = obs.done.refused.iter().any(|(_, trouble)| trouble.retry_after.is_some());
        if let Some(name) = to_ask.filter(|_| !self.is_being_enabled() && !told_off) {
            let note = format!("Service {name} is enabled as the spec says");
            let events = [events, &[Event::normal(Reason::AccountUpdated, note)]].concat();
            return ControlFlow::Break(Plan {
                events,
                ..self.act(Step::EnableService { name: (*name).to_owned() })
            });
        }
        if let Some((reason, message)) = not_allowed {
            conditions.set(SERVICES_ENABLED, Is::False, reason, message);
            return ControlFlow::Continue(None);
        }
        if let Some((_, trouble)) = obs.done.refused.first() {
            let said: Vec<String> =
                obs.done.refused.iter().map(|(name, why)| format!("{name}: {}", why.message)).collect();
            let asked = obs.done.refused.iter().filter_map(|(_, why)| why.retry_after).max();
            let message = left_alone(&said.join("; "), self.timing.asked_until(self.exact, asked));
            conditions.set(SERVICES_ENABLED, Is::False, trouble.class.reason(), message);
            return ControlFlow::Continue(Some(self.timing.retry_cap.max(self.leave_alone(status, asked))));
        }
        if let Some((name, trouble)) = views.iter().find_map(|v| Some((&v.name, v.enabled.as_ref().err()?))) {
            // Looked at again another time.
            if settled && trouble.class.is_passing() {
                return ControlFlow::Continue(None);
            }
            let asked = trouble.retry_after;
            let message = format!("The service {name} cannot be read: {}", trouble.message);
            let message = left_alone(&message, self.timing.asked_until(self.exact, asked));
            conditions.set(SERVICES_ENABLED, Is::False, trouble.class.reason(), message);
            return ControlFlow::Continue(Some(self.timing.retry_cap.max(self.leave_alone(status, asked))));
        }
        if missing.is_empty() {
            let message = format!("{} are enabled", wanted.join(", "));
            conditions.set(SERVICES_ENABLED, Is::True, Reason::ServicesEnabled, message);
            return ControlFlow::Continue(None);
        }
        let since = self.asked_at();
        if since.is_none() {
            // Its time says when it was asked for.
            conditions.clear(SERVICES_ENABLED);
        }
        let message = format!("{} are being enabled", missing.join(", "));
        conditions.set(SERVICES_ENABLED, Is::False, Reason::ServicesPending, message);
        let soon = since.is_none() || self.is_being_enabled();
        ControlFlow::Continue(Some(if soon { self.timing.settle / 6 } else { self.timing.retry_cap }))
    }

    /// Since when what is missing is waited for.
    fn asked_at(&self) -> Option<Timestamp> {
        let obs = self.obs;
        let told = conditions::find(&obs.status.conditions, SERVICES_ENABLED)?;
        let pending = told.reason == Reason::ServicesPending.as_str();
        (pending && told.observed_generation == obs.generation).then_some(told.last_transition_time.0)
    }

    /// Whether it was asked for a short time ago: the operation goes on by itself.
    fn is_being_enabled(&self) -> bool {
        self.asked_at().is_some_and(|at| between(at, self.now) < self.timing.settle.saturating_mul(PATIENCE))
    }

    /// Whether the project is registered for Earth Engine, where the account asks for it. The account is Ready without: only a
    /// person can change it.
    pub(super) fn registered(
        &self,
        status: &mut ServiceAccountStatus,
    ) -> ControlFlow<Plan, Option<Duration>> {
        let obs = self.obs;
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        if !obs.spec.services.iter().any(|service| service == EARTH_ENGINE) {
            conditions.clear(EARTH_ENGINE_REGISTERED);
            return ControlFlow::Continue(None);
        }
        let known = conditions::is(&obs.status.conditions, EARTH_ENGINE_REGISTERED, Is::True);
        if known && !obs.census_due || !conditions::is(&status.conditions, SERVICES_ENABLED, Is::True) {
            return ControlFlow::Continue(None);
        }
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        let (is, reason, message) = match &obs.earth_engine {
            None => return ControlFlow::Break(Plan { next: Next::NeedEarthEngine, ..self.keep() }),
            Some(Ok(state)) if state.starts_with("REGISTERED") => {
                (Is::True, Reason::EarthEngineRegistered, format!("Earth Engine says {state}"))
            }
            Some(Ok(state)) if state == NOT_REGISTERED => {
                let message = "The project is not registered for Earth Engine, and no API does that: register it at \
                               https://console.cloud.google.com/earth-engine";
                (Is::False, Reason::EarthEngineNotRegistered, message.to_owned())
            }
            Some(Ok(state)) => {
                let message = format!(
                    "Earth Engine says {state:?}, which says neither yes nor no. Look at \
                     https://console.cloud.google.com/earth-engine"
                );
                (Is::Unknown, Reason::EarthEngineNotRegistered, message)
            }
            // It is as registered as before.
            Some(Err(_)) if known => return ControlFlow::Continue(None),
            Some(Err(trouble)) => (Is::Unknown, trouble.class.reason(), trouble.message.clone()),
        };
        conditions.set(EARTH_ENGINE_REGISTERED, is, reason, message);
        ControlFlow::Continue((is != Is::True).then_some(self.timing.retry_cap))
    }
}
