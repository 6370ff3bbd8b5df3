//! Services: asked for once, waited for, mended; what Earth Engine says of the project.

use super::*;
use crate::domain::conditions::{EARTH_ENGINE_REGISTERED, SERVICES_ENABLED};

const STORAGE: &str = "storage.googleapis.com";
const EARTH_ENGINE: &str = "earthengine.googleapis.com";

/// An account that is there and asks for these.
fn asking(services: &[&str]) -> Observation {
    let mut obs = settled();
    obs.spec.services = services.iter().map(|&service| service.to_owned()).collect();
    obs.generation = Some(2);
    obs
}

fn views(all: &[(&str, bool)]) -> Vec<ServiceView> {
    all.iter().map(|(name, enabled)| view(name, Ok(*enabled))).collect()
}

fn view(name: &str, enabled: Result<bool, Trouble>) -> ServiceView {
    ServiceView { name: name.to_owned(), enabled }
}

fn enabled() -> Observation {
    let mut obs = asking(&[STORAGE]);
    obs.services = Some(views(&[(STORAGE, true)]));
    obs.status = decide(&obs).status;
    obs.services = None;
    assert_eq!(reason(&decide(&obs), SERVICES_ENABLED), "ServicesEnabled");
    obs
}

fn enables(plan: &Plan) -> Option<&str> {
    match &plan.next {
        Next::Act(Step::EnableService { name }) => Some(name),
        _ => None,
    }
}

#[test]
fn each_missing_service_is_asked_for_once_and_waited_for() {
    let mut obs = asking(&[STORAGE, EARTH_ENGINE]);
    let names = vec![STORAGE.to_owned(), EARTH_ENGINE.to_owned()];
    assert_eq!(decide(&obs).next, Next::NeedServices { names });
    obs.services = Some(views(&[(STORAGE, false), (EARTH_ENGINE, false)]));
    let first = decide(&obs);
    assert_eq!(enables(&first), Some(STORAGE));
    assert_eq!(first.events.iter().map(|e| e.reason).collect::<Vec<_>>(), [Reason::AccountUpdated]);
    obs.done.asked.push(STORAGE.to_owned());
    assert_eq!(enables(&decide(&obs)), Some(EARTH_ENGINE));
    obs.done.asked.push(EARTH_ENGINE.to_owned());
    let told = decide(&obs);
    assert_eq!((told.next.clone(), told.requeue.as_secs()), (Next::Wait, 10));
    assert_eq!(reason(&told, SERVICES_ENABLED), "ServicesPending");
    assert_eq!(reason(&told, READY), "ServicesPending");

    // The next reconcile looks, and asks for nothing.
    obs.status = told.status;
    (obs.done, obs.services) = (Done::default(), None);
    assert!(matches!(decide(&obs).next, Next::NeedServices { .. }));
    obs.services = Some(views(&[(STORAGE, true), (EARTH_ENGINE, false)]));
    let waits = plan(&obs, at(299), &Timing::default());
    assert_eq!((waits.next, waits.requeue.as_secs()), (Next::Wait, 10));
    assert_eq!(enables(&plan(&obs, at(300), &Timing::default())), Some(EARTH_ENGINE), "it takes too long");
    obs.done.asked.push(EARTH_ENGINE.to_owned());
    assert_eq!(
        plan(&obs, at(300), &Timing::default()).requeue,
        Timing::default().retry_cap,
        "and in no haste"
    );
}

#[test]
fn what_is_enabled_is_looked_at_once_an_audit_period() {
    let mut obs = enabled();
    let rest = decide(&obs);
    assert_eq!((rest.next, rest.status), (Next::Wait, obs.status.clone()));
    obs.census_due = true;
    assert!(matches!(decide(&obs).next, Next::NeedServices { .. }));
    obs.services = Some(views(&[(STORAGE, false)]));
    assert_eq!(enables(&decide(&obs)), Some(STORAGE), "somebody disabled it");
    // What cannot be read now is as it was; a refusal is told.
    obs.services = Some(vec![view(STORAGE, Err(Trouble::new(Class::Unknown, "no")))]);
    assert_eq!(reason(&decide(&obs), SERVICES_ENABLED), "ServicesEnabled");
    obs.services = Some(vec![view(STORAGE, Err(Trouble::new(Class::Forbidden, "no")))]);
    let told = decide(&obs);
    assert_eq!(reason(&told, SERVICES_ENABLED), "PermissionMissing");
    assert_eq!(reason(&told, READY), "PermissionMissing");
}

#[test]
fn a_service_that_may_not_be_enabled_is_told_and_tried_again() {
    let mut obs = asking(&[STORAGE]);
    obs.services = Some(views(&[(STORAGE, false)]));
    obs.done.asked.push(STORAGE.to_owned());
    obs.done.refused.push((STORAGE.to_owned(), Trouble::new(Class::Forbidden, "services.enable: no")));
    let told = decide(&obs);
    assert_eq!((told.next.clone(), told.requeue), (Next::Wait, Timing::default().retry_cap));
    assert_eq!(reason(&told, SERVICES_ENABLED), "PermissionMissing");
    obs.status = told.status;
    obs.done = Done::default();
    assert_eq!(enables(&decide(&obs)), Some(STORAGE));
    // From then on it is waited for, though the condition was False before.
    obs.done.asked.push(STORAGE.to_owned());
    let later = plan(&obs, at(3600), &Timing::default());
    obs.status = later.status;
    obs.done.asked.clear();
    assert_eq!(plan(&obs, at(3660), &Timing::default()).next, Next::Wait);
}

#[test]
fn one_that_is_refused_or_may_not_be_asked_for_keeps_no_other() {
    let mut obs = asking(&[EARTH_ENGINE, STORAGE]);
    obs.services = Some(views(&[(EARTH_ENGINE, false), (STORAGE, false)]));
    obs.done.asked.push(EARTH_ENGINE.to_owned());
    obs.done.refused.push((EARTH_ENGINE.to_owned(), Trouble::new(Class::Forbidden, "no")));
    assert_eq!(enables(&decide(&obs)), Some(STORAGE));
    obs.done.asked.push(STORAGE.to_owned());
    let told = decide(&obs);
    let message = &conditions::find(&told.status.conditions, SERVICES_ENABLED).unwrap().message;
    assert!(message.contains(EARTH_ENGINE) && !message.contains(STORAGE), "{message}");

    let mut obs = asking(&[EARTH_ENGINE, STORAGE]);
    obs.backend = Ok(Grants { services: Some(vec![STORAGE.to_owned()]), ..granted() });
    assert_eq!(decide(&obs).next, Next::NeedServices { names: vec![STORAGE.to_owned()] });
    obs.services = Some(views(&[(STORAGE, false)]));
    assert_eq!(enables(&decide(&obs)), Some(STORAGE));
    obs.services = Some(views(&[(STORAGE, true)]));
    assert_eq!(reason(&decide(&obs), SERVICES_ENABLED), "ServiceNotAllowed");
}

#[test]
fn an_account_is_recorded_before_its_services_are_looked_at() {
    let mut obs = fresh();
    obs.spec.services = vec![STORAGE.to_owned()];
    obs.account = Some(Ok(Some(ours())));
    let first = decide(&obs);
    assert_eq!((first.next, first.requeue), (Next::Wait, Duration::ZERO));
    assert_eq!(first.status.unique_id.as_deref(), Some("100"));
    obs.status = first.status;
    assert!(matches!(decide(&obs).next, Next::NeedServices { .. }));
}

#[test]
fn the_tenants_rules_say_which_services_a_namespace_may_ask_for() {
    let rules = |services: &[&str]| {
        let services = Some(services.iter().map(|&service| service.to_owned()).collect());
        Ok(Grants { services, ..granted() })
    };
    let mut obs = fresh();
    obs.spec.services = vec![STORAGE.to_owned()];
    for allowed in [&[][..], &["earthengine.*"][..]] {
        obs.backend = rules(allowed);
        assert_eq!(reason(&decide(&obs), STALLED), "ServiceNotAllowed", "{allowed:?}");
    }
    for allowed in [&[STORAGE][..], &["storage.*"][..], &["*"][..]] {
        obs.backend = rules(allowed);
        assert_eq!(decide(&obs).next, Next::NeedAccount, "{allowed:?}");
    }
    // An account that is there is looked after.
    let mut there = asking(&[STORAGE]);
    there.backend = rules(&[]);
    let told = decide(&there);
    assert_eq!((told.next.clone(), reason(&told, READY)), (Next::Wait, "ServiceNotAllowed".to_owned()));
}

#[test]
fn nobody_waits_for_services_that_are_no_longer_asked_for() {
    let mut obs = enabled();
    obs.spec.services.clear();
    obs.generation = Some(3);
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), reason(&plan, SERVICES_ENABLED)), (Next::Wait, String::new()));
    assert_eq!(reason(&plan, READY), "AccountReady");
}

#[test]
fn the_registration_for_earth_engine_is_told_and_stands_in_nobodys_way() {
    let mut obs = asking(&[EARTH_ENGINE]);
    obs.services = Some(views(&[(EARTH_ENGINE, true)]));
    assert_eq!(decide(&obs).next, Next::NeedEarthEngine);
    for (answer, is, why) in [
        (Ok("NOT_REGISTERED"), "False", "EarthEngineNotRegistered"),
        (Ok("REGISTRATION_STATE_UNSPECIFIED"), "Unknown", "EarthEngineNotRegistered"),
        (Err(Trouble::new(Class::Forbidden, "no")), "Unknown", "PermissionMissing"),
        (Ok("REGISTERED_NOT_COMMERCIALLY"), "True", "EarthEngineRegistered"),
    ] {
        obs.earth_engine = Some(answer.map(str::to_owned));
        let plan = decide(&obs);
        let told = conditions::find(&plan.status.conditions, EARTH_ENGINE_REGISTERED).unwrap();
        assert_eq!((told.status.as_str(), told.reason.as_str()), (is, why));
        assert_eq!(reason(&plan, READY), "AccountReady");
        let soon = plan.requeue == Timing::default().retry_cap;
        assert_eq!(soon, is != "True", "a person may register it at any time");
        obs.status = plan.status;
    }
    // From then on with the audits; what cannot be asked stays as it was.
    (obs.earth_engine, obs.services) = (None, None);
    assert_eq!(decide(&obs).next, Next::Wait);
    obs.census_due = true;
    obs.services = Some(views(&[(EARTH_ENGINE, true)]));
    assert_eq!(decide(&obs).next, Next::NeedEarthEngine);
    obs.earth_engine = Some(Err(Trouble::new(Class::Unknown, "no")));
    assert_eq!(reason(&decide(&obs), EARTH_ENGINE_REGISTERED), "EarthEngineRegistered");
}

#[test]
fn earth_engine_is_asked_only_once_it_can_be_used() {
    let mut obs = asking(&[EARTH_ENGINE]);
    obs.services = Some(views(&[(EARTH_ENGINE, false)]));
    obs.done.asked.push(EARTH_ENGINE.to_owned());
    let plan = decide(&obs);
    assert_eq!((plan.next.clone(), reason(&plan, EARTH_ENGINE_REGISTERED)), (Next::Wait, String::new()));
}
