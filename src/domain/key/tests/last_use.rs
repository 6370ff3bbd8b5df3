//! The last use of an old key: read once it could end, holding it longer, and nothing else.

use std::time::Duration;

use super::super::*;
use super::builders::*;
use crate::api::v1alpha1::{KeyPhase, Rotation, Span};
use crate::domain::conditions::{self, ROTATING};
use crate::domain::{Class, Reason, Trouble};

const DAY: i64 = 86_400;

/// Two old keys whose overlap is over at 100, and a day without a use that is asked for.
fn over() -> Observation {
    let mut obs = settled();
    let rotation = Rotation { require_unused_for: Some(Span::new("24h")), ..obs.spec.rotation.unwrap() };
    obs.spec.rotation = Some(rotation);
    for id in ["k0", "k9"] {
        let mut old = key(id, KeyPhase::Overlap, 0);
        old.disable_at = Some(at(100));
        status(&mut obs).keys.push(old);
    }
    status(&mut obs).next_rotation_time = Some(at(90 * DAY));
    obs.confirmed = true;
    obs
}

/// The same with a use that may hold them for a month.
fn patient() -> Observation {
    let mut obs = over();
    let delete_after = Some(Span::new("30d"));
    obs.spec.rotation = obs.spec.rotation.map(|rotation| Rotation { delete_after, ..rotation });
    obs
}

/// Used on a day that began then, told until then.
fn told(day: Option<i64>, until: i64) -> LastUse {
    LastUse { day: day.map(at), known_until: Some(at(until)) }
}

fn disables(plan: &Plan) -> Option<&str> {
    match &plan.next {
        Next::Act(Step::DisableKey { id }) => Some(id),
        _ => None,
    }
}

#[test]
fn a_key_ends_once_the_backend_shows_that_it_was_not_used_for_long_enough() {
    let now = 10 * DAY;
    let mut obs = patient();
    assert_eq!(decide(&obs, 99).next, Next::Wait, "nothing is asked before its overlap is over");
    assert_eq!(decide(&obs, now).next, Next::Need(Need::LastUse { id: "k0".to_owned() }));
    for (used, until, ends) in [
        (None, now, true),
        // The day of the use has an end, and a whole day without a use follows it.
        (Some(5 * DAY), 7 * DAY, true),
        (Some(5 * DAY), 7 * DAY - 1, false),
        (Some(5 * DAY), 5 * DAY, false),
        (Some(9 * DAY), now, false),
    ] {
        obs.last_use.insert("k0".to_owned(), Ok(told(used, until)));
        let plan = decide(&obs, now);
        assert_eq!(disables(&plan) == Some("k0"), ends, "{used:?} {until}: {plan:?}");
        assert!(plan.events.iter().all(|event| event.reason == Reason::KeyDisabled), "{:?}", plan.events);
    }
}

#[test]
fn a_key_in_use_is_told_and_keeps_no_other_key() {
    let now = 10 * DAY;
    let mut obs = patient();
    obs.last_use.insert("k0".to_owned(), Ok(told(Some(9 * DAY), now)));
    assert_eq!(decide(&obs, now).next, Next::Need(Need::LastUse { id: "k9".to_owned() }));
    obs.last_use.insert("k9".to_owned(), Ok(told(None, now)));
    assert_eq!(disables(&decide(&obs, now)), Some("k9"));
    status(&mut obs).keys.retain(|key| key.id != "k9");
    let held = decide(&obs, now);
    let condition = conditions::find(&held.status.conditions, ROTATING).unwrap();
    assert_eq!((&held.next, condition.reason.as_str()), (&Next::Wait, "KeyInUse"));
    assert!(condition.message.contains("k0") && condition.message.contains("24h"), "{}", condition.message);
    // What cannot be read holds it, too.
    obs.last_use.insert("k0".to_owned(), Err(Trouble::new(Class::Forbidden, "activities.query: no")));
    let plan = decide(&obs, now);
    assert_eq!(reason(&plan, ROTATING), "KeyInUse");
    let message = &conditions::find(&plan.status.conditions, ROTATING).unwrap().message;
    assert!(message.contains("activities.query: no"), "{message}");
}

#[test]
fn a_use_that_goes_on_holds_a_key_for_delete_after_at_most() {
    let mut obs = over();
    status(&mut obs).keys.retain(|key| key.id != "k9");
    // Its overlap was over at 100, and it is kept for 20 minutes when it is disabled.
    for (now, ends) in [(100 + 1199, false), (100 + 1200, true)] {
        assert_eq!(decide(&obs, now).next, Next::Need(Need::LastUse { id: "k0".to_owned() }));
        let mut obs = obs.clone();
        obs.last_use.insert("k0".to_owned(), Ok(told(Some(0), now)));
        let plan = decide(&obs, now);
        assert_eq!(disables(&plan) == Some("k0"), ends, "{plan:?}");
        let warned: Vec<_> =
            plan.events.iter().filter(|e| e.reason == Reason::StillUsedAtRetirement).collect();
        assert_eq!(warned.len() == 1 && warned[0].note.contains("2027-01-15"), ends, "{warned:?}");
    }
}

#[test]
fn the_time_that_is_asked_for_is_told_as_people_write_it() {
    for (asked, said) in [("36h", "36h"), ("90m", "90m"), ("90s", "90s"), ("1d", "24h")] {
        let mut obs = patient();
        let required = Some(Span::new(asked));
        obs.spec.rotation =
            obs.spec.rotation.map(|rotation| Rotation { require_unused_for: required, ..rotation });
        status(&mut obs).keys.retain(|key| key.id != "k9");
        obs.last_use.insert("k0".to_owned(), Ok(told(Some(9 * DAY), 9 * DAY)));
        let plan = decide(&obs, 10 * DAY);
        let message = conditions::find(&plan.status.conditions, ROTATING).unwrap().message.clone();
        assert!(message.contains(&format!("does not show {said} without")), "{message}");
    }
}

#[test]
fn a_key_in_use_is_looked_at_as_seldom_as_the_account() {
    let mut obs = patient();
    status(&mut obs).keys.retain(|key| key.id != "k9");
    obs.looked_at = at(10 * DAY);
    obs.last_use.insert("k0".to_owned(), Ok(told(Some(9 * DAY), 10 * DAY)));
    assert!(
        decide(&obs, 10 * DAY).requeue >= Duration::from_mins(30),
        "{:?}",
        decide(&obs, 10 * DAY).requeue
    );
    // Not beyond the end of its time.
    let end = 100 + 30 * DAY;
    obs.looked_at = at(end - 30);
    obs.last_use.insert("k0".to_owned(), Ok(told(Some(30 * DAY - 5), end - 30)));
    assert_eq!(decide(&obs, end - 30).requeue, Duration::from_secs(30));
}

#[test]
fn a_revocation_waits_for_nobodys_use() {
    let mut obs = over();
    obs.last_use.insert("k0".to_owned(), Ok(told(Some(9 * DAY), 10 * DAY)));
    obs.requests.revoke_at = Some(at(10 * DAY));
    let plan = decide(&obs, 10 * DAY);
    assert!(matches!(&plan.next, Next::Act(Step::DeleteKey { .. } | Step::DisableKey { .. })), "{plan:?}");
}

#[test]
fn without_the_backends_word_the_spec_is_refused() {
    let mut obs = over();
    obs.account = AccountView::Usable(able(|can| can.last_use = false));
    let plan = decide(&obs, 100);
    assert_eq!(reason(&plan, conditions::STALLED), "CapabilityMissing");
    assert_eq!(plan.next, Next::Wait);
}
