//! When the wheel turns: periods, cron in a time zone, jitter that is stable per object, expiry.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::names::stable_hash;
use super::{Reason, Timing};
use crate::api::v1alpha1::{InvalidSpan, Rotation, Span};
use crate::defect;

/// How many firings of a cron expression are looked at to find its shortest period: over a year of daily ones, so
/// that the day on which clocks are set forward is among them.
const FIRINGS: usize = 400;

/// How long a disabled key is kept where the spec does not say.
const DELETE_AFTER: Duration = Duration::from_hours(168);

/// When keys are replaced.
#[derive(Clone, Debug)]
pub enum Rhythm {
    /// Never.
    None,
    /// So long after the last publication.
    Every(Duration),
    /// At the times of a cron expression, read in a time zone.
    Cron(Box<Cron>, TimeZone),
}

/// A rotation, parsed and checked.
#[derive(Clone, Debug)]
pub struct Schedule {
    rhythm: Rhythm,
    jitter: Duration,
    /// How long the previous key stays enabled.
    pub overlap: Duration,
    /// How long a disabled key is kept.
    pub delete_after: Duration,
    /// How long a key must not have been used before it is disabled.
    pub require_unused_for: Option<Duration>,
    /// Whether scheduled rotations and all endings are stopped.
    pub suspend: bool,
}

/// Why a rotation is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRotation {
    /// A duration does not parse.
    #[error("rotation.{field}: {source}")]
    Duration {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidSpan,
    },
    /// Two ways to say when.
    #[error("rotation.every and rotation.schedule exclude each other: remove one")]
    BothKinds,
    /// A time zone without a schedule.
    #[error("rotation.timeZone needs rotation.schedule")]
    ZoneWithoutSchedule,
    /// The cron expression does not parse.
    #[error("rotation.schedule {schedule:?} is no cron expression of five fields: {source}")]
    Cron {
        /// The expression.
        schedule: String,
        /// What is wrong with it.
        source: Box<CronRefusal>,
    },
    /// The cron expression has no next time.
    #[error("rotation.schedule {schedule:?} never fires")]
    NeverFires {
        /// The expression.
        schedule: String,
    },
    /// The time zone is unknown.
    #[error("rotation.timeZone {zone:?} is not in the IANA time zone database; write it like Europe/Oslo")]
    TimeZone {
        /// The name.
        zone: String,
    },
    /// Two rotations would overlap.
    #[error(
        "rotation.{field} ({length:?}) must be shorter than the shortest time between two rotations ({period:?})"
    )]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        length: Duration,
        /// The shortest period.
        period: Duration,
    },
    /// A period too short to turn in.
    #[error("rotation.every must be at least 10s")]
    TooOften,
}

/// A refusal of the cron parser, comparable in tests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronRefusal(String);

impl InvalidRotation {
    /// The reason that people see.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Duration { .. } => Reason::InvalidDuration,
            Self::BothKinds | Self::ZoneWithoutSchedule | Self::TooOften => Reason::InvalidSpec,
            Self::Cron { .. } | Self::NeverFires { .. } => Reason::InvalidSchedule,
            Self::TimeZone { .. } => Reason::InvalidTimeZone,
            Self::TooLong { .. } => Reason::OverlapTooLong,
        }
    }
}

fn length(field: &'static str, span: &Span) -> Result<Duration, InvalidRotation> {
    span.to_duration().map_err(|source| InvalidRotation::Duration { field, source })
}

impl Schedule {
    /// Checks a rotation. `now` anchors the search for the shortest period of a cron expression.
    pub fn parse(rotation: &Rotation, now: Timestamp) -> Result<Self, InvalidRotation> {
        let jitter = length("jitter", &rotation.jitter)?;
        let overlap = length("overlap", &rotation.overlap)?;
        let delete_after =
            rotation.delete_after.as_ref().map_or(Ok(DELETE_AFTER), |d| length("deleteAfter", d))?;
        let unused = rotation.require_unused_for.as_ref().map(|d| length("requireUnusedFor", d));
        let (rhythm, require_unused_for) = (rhythm(rotation)?, unused.transpose()?);
        let suspend = rotation.suspend;
        let schedule = Self { rhythm, jitter, overlap, delete_after, require_unused_for, suspend };
        schedule.check_period(now, rotation)?;
        Ok(schedule)
    }

    fn check_period(&self, now: Timestamp, rotation: &Rotation) -> Result<(), InvalidRotation> {
        let period = match &self.rhythm {
            Rhythm::None => return Ok(()),
            Rhythm::Every(period) => *period,
            Rhythm::Cron(cron, zone) => shortest_gap(cron, zone, now).ok_or_else(|| {
                InvalidRotation::NeverFires { schedule: rotation.schedule.clone().unwrap_or_default() }
            })?,
        };
        if period < Duration::from_secs(10) {
            return Err(InvalidRotation::TooOften);
        }
        for (field, length) in [("overlap", self.overlap), ("jitter", self.jitter)] {
            if length >= period {
                return Err(InvalidRotation::TooLong { field, length, period });
            }
        }
        Ok(())
    }

    /// The next rotation after one at `last`, for the object with this uid. `None`: never.
    pub fn next(&self, last: Timestamp, uid: &str) -> Option<Timestamp> {
        let due = match &self.rhythm {
            Rhythm::None => return None,
            Rhythm::Every(period) => add(last, *period),
            // The last rotation came late by the jitter; counted from there it could not skip a firing.
            Rhythm::Cron(cron, zone) => next_firing(cron, zone, last)?,
        };
        Some(add(due, self.offset(uid)))
    }

    /// This object's share of the jitter: always the same, so that a restart moves nothing.
    fn offset(&self, uid: &str) -> Duration {
        let seconds = self.jitter.as_secs();
        if seconds == 0 { Duration::ZERO } else { Duration::from_secs(stable_hash(uid) % seconds) }
    }

    /// When the next key must be made: by schedule, or early enough before the active one expires.
    pub fn next_rotation(
        &self,
        last: Timestamp,
        uid: &str,
        created_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
    ) -> Option<Timestamp> {
        [self.next(last, uid), self.before_expiry(created_at, expires_at)].into_iter().flatten().min()
    }

    /// When a key that stops working by itself must be replaced.
    pub fn before_expiry(
        &self,
        created_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
    ) -> Option<Timestamp> {
        expires_at.filter(|_| !defect!(ExpiryIgnored)).map(|end| {
            let life = created_at.map_or(Duration::MAX, |start| between(start, end));
            // Never within the first third of its life: where a key does not outlive its overlap, the wheel would not stop.
            let margin = self.overlap.max(created_at.map_or(Duration::ZERO, |_| life / 3));
            sub(end, margin.min(life / 3 * 2))
        })
    }
}

fn rhythm(rotation: &Rotation) -> Result<Rhythm, InvalidRotation> {
    match (&rotation.every, &rotation.schedule) {
        (Some(_), Some(_)) => Err(InvalidRotation::BothKinds),
        (_, None) if rotation.time_zone.is_some() => Err(InvalidRotation::ZoneWithoutSchedule),
        (Some(every), None) => Ok(Rhythm::Every(length("every", every)?)),
        (None, Some(schedule)) => {
            let name = rotation.time_zone.as_deref().unwrap_or("UTC");
            let zone =
                TimeZone::get(name).map_err(|_| InvalidRotation::TimeZone { zone: name.to_owned() })?;
            let cron = CronParser::builder()
                .seconds(Seconds::Disallowed)
                .year(Year::Disallowed)
                .build()
                .parse(schedule)
                .map_err(|e| InvalidRotation::Cron {
                    schedule: schedule.clone(),
                    source: Box::new(CronRefusal(e.to_string())),
                })?;
            Ok(Rhythm::Cron(Box::new(cron), zone))
        }
        (None, None) => Ok(Rhythm::None),
    }
}

fn next_firing(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    cron.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok().map(|z| z.timestamp())
}

fn shortest_gap(cron: &Cron, zone: &TimeZone, from: Timestamp) -> Option<Duration> {
    let mut last = next_firing(cron, zone, from)?;
    let mut shortest = None;
    for _ in 0..FIRINGS {
        let Some(next) = next_firing(cron, zone, last) else { break };
        let gap = between(last, next);
        shortest = Some(shortest.map_or(gap, |s: Duration| s.min(gap)));
        last = next;
    }
    Some(shortest.unwrap_or(Duration::MAX))
}

/// A time plus a length; the end of time if there is no such time.
pub fn add(time: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length).ok().and_then(|d| time.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

/// The next whole minute, for people: what is reckoned from two clocks moves by a second each time.
pub fn up_to_the_minute(time: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Ceil);
    time.round(round).unwrap_or(time)
}

/// A time minus a length; the beginning of time if there is no such time.
pub fn sub(time: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length).ok().and_then(|d| time.checked_sub(d).ok()).unwrap_or(Timestamp::MIN)
}

/// How long after `from` `to` is; zero if it is before.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// The whole second at or after a time: a published key is never counted as older than it is.
pub fn whole_second_after(time: Timestamp) -> Timestamp {
    if time.subsec_nanosecond() == 0 { time } else { add(whole_second_before(time), Duration::from_secs(1)) }
}

/// The whole second at or before a time.
pub fn whole_second_before(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// How often accounts and backends are looked at although nothing is known to be due: at most an audit period apart, less by
/// a share that is stable per object, so that looks are spread.
pub fn audit_wait(timing: &Timing, uid: &str) -> Duration {
    let share = u32::try_from(stable_hash(uid) % 256).unwrap_or(0);
    timing.audit.saturating_sub(timing.audit / 4 * share / 256)
}

/// Whether an object that is compared with the backend once in such a period, and was last then, is to be compared again.
pub fn is_audit_due(period: Duration, looked_at: Timestamp, now: Timestamp) -> bool {
    between(looked_at, now) >= period
}

/// How long it may sit still: until its next audit, whatever woke it in between.
pub fn until_audit(period: Duration, looked_at: Timestamp, now: Timestamp) -> Duration {
    // One that is due and does not come waits for something else.
    if is_audit_due(period, looked_at, now) { period } else { period.saturating_sub(between(looked_at, now)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cron(schedule: &str, zone: &str) -> Schedule {
        let rotation = Rotation {
            schedule: Some(schedule.to_owned()),
            time_zone: Some(zone.to_owned()),
            overlap: Span::new("1m"),
            ..Rotation::default()
        };
        Schedule::parse(&rotation, time("2026-01-01T00:00:00Z")).unwrap()
    }

    fn every(period: &str, jitter: &str) -> Schedule {
        let rotation = Rotation {
            every: Some(Span::new(period)),
            jitter: Span::new(jitter),
            overlap: Span::new("0s"),
            ..Rotation::default()
        };
        Schedule::parse(&rotation, time("2026-01-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn a_cron_expression_is_read_in_its_zone() {
        let schedule = cron("0 3 * * 1", "Europe/Oslo");
        // Monday, 3 o'clock, in winter and in summer.
        assert_eq!(schedule.next(time("2026-01-14T00:00:00Z"), UID), Some(time("2026-01-19T02:00:00Z")));
        assert_eq!(schedule.next(time("2026-07-15T00:00:00Z"), UID), Some(time("2026-07-20T01:00:00Z")));
    }

    #[test]
    fn a_time_in_the_spring_gap_comes_once_and_right_after_it() {
        let schedule = cron("30 2 * * *", "Europe/Oslo");
        let gap = schedule.next(time("2026-03-28T12:00:00Z"), UID).unwrap();
        assert_eq!(gap, time("2026-03-29T01:00:00Z"), "02:30 does not exist: 03:00 summer time");
        assert_eq!(schedule.next(gap, UID), Some(time("2026-03-30T00:30:00Z")));
    }

    #[test]
    fn a_time_in_the_autumn_overlap_comes_once() {
        let schedule = cron("30 2 * * *", "Europe/Oslo");
        let first = schedule.next(time("2026-10-24T12:00:00Z"), UID).unwrap();
        let next = schedule.next(first, UID).unwrap();
        assert_eq!(next, time("2026-10-26T01:30:00Z"), "02:30 exists twice, and is taken once: {first}");
    }

    #[test]
    fn a_daily_schedule_refuses_an_overlap_of_a_day() {
        let rotation = Rotation { schedule: Some("0 3 * * *".to_owned()), ..Rotation::default() };
        let refused = Schedule::parse(&rotation, time("2026-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(refused.reason(), Reason::OverlapTooLong);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |rotation: Rotation| {
            let rotation = Rotation { overlap: Span::new("0s"), ..rotation };
            Schedule::parse(&rotation, time("2026-01-01T00:00:00Z")).err()
        };
        let every = |period: &str| Rotation { every: Some(Span::new(period)), ..Rotation::default() };
        assert_eq!(refused(every("9s")), Some(InvalidRotation::TooOften));
        assert_eq!(refused(every("10s")), None);
        let zone = Rotation { time_zone: Some("UTC".to_owned()), ..every("1h") };
        assert_eq!(refused(zone), Some(InvalidRotation::ZoneWithoutSchedule));
        let both = Rotation { schedule: Some("0 3 * * *".to_owned()), ..every("1h") };
        assert_eq!(refused(both), Some(InvalidRotation::BothKinds));
    }

    #[test]
    fn jitter_spreads_objects() {
        let schedule = every("30d", "1h");
        let start = time("2026-01-01T00:00:00Z");
        let due: std::collections::BTreeSet<_> =
            (0..100).map(|n| schedule.next(start, &format!("u-{n}"))).collect();
        assert!(due.len() > 90, "{} different times for 100 objects", due.len());
    }

    #[test]
    fn leap_days_fire_every_four_years() {
        let schedule = cron("0 0 29 2 *", "UTC");
        assert_eq!(schedule.next(time("2026-01-01T00:00:00Z"), UID), Some(time("2028-02-29T00:00:00Z")));
    }

    #[test]
    fn lengths_and_whole_seconds_are_exact() {
        let (one, two) = (time("2026-01-01T00:00:00.25Z"), time("2026-01-01T00:00:02Z"));
        assert_eq!(between(one, two), Duration::from_millis(1750));
        assert_eq!(between(two, one), Duration::ZERO);
        assert_eq!(whole_second_after(one), time("2026-01-01T00:00:01Z"));
        assert_eq!(whole_second_after(two), two);
        assert_eq!(whole_second_before(one), time("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn audits_are_spread_over_the_last_quarter_of_their_period() {
        let timing = Timing::default();
        let waits: std::collections::BTreeSet<Duration> =
            (0..5000).map(|n| audit_wait(&timing, &format!("u-{n}"))).collect();
        let least = timing.audit.saturating_sub(timing.audit / 4 * 255 / 256);
        assert_eq!((waits.first(), waits.last()), (Some(&least), Some(&timing.audit)));
        assert_eq!(waits.len(), 256);
    }

    #[test]
    fn an_audit_is_due_a_wait_after_the_one_before_however_often_somebody_wakes_the_object() {
        let wait = Duration::from_hours(1);
        let (last, second) = (time("2026-01-01T00:00:00Z"), Duration::from_secs(1));
        let due = |after| is_audit_due(wait, last, add(last, after));
        let until = |after| until_audit(wait, last, add(last, after));
        assert!(!due(wait.saturating_sub(second)) && due(wait));
        assert_eq!((until(Duration::ZERO), until(wait.saturating_sub(second))), (wait, second));
        // What is due and was not done has something else to wait for.
        assert_eq!((until(wait), until(wait + second)), (wait, wait));
    }

    #[test]
    fn expiry_wins_over_a_later_schedule() {
        let schedule = every("30d", "0s");
        let last = time("2026-01-01T00:00:00Z");
        let end = time("2026-01-04T00:00:00Z");
        assert_eq!(
            schedule.next_rotation(last, UID, Some(last), Some(end)),
            Some(time("2026-01-03T00:00:00Z"))
        );
        assert_eq!(schedule.next_rotation(last, UID, Some(last), None), Some(time("2026-01-31T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn jitter_is_stable_per_object_and_within_its_bound(uid in "[0-9a-f-]{36}", start in 0_i64..4_000_000_000) {
            let schedule = every("30d", "1h");
            let last = Timestamp::from_second(start).unwrap();
            let due = schedule.next(last, &uid).unwrap();
            let plain = add(last, Duration::from_hours(30 * 24));
            prop_assert!(due >= plain && due < add(plain, Duration::from_hours(1)));
            prop_assert_eq!(schedule.next(last, &uid), Some(due));
        }

        #[test]
        fn a_cron_schedule_always_moves_forward(start in 1_700_000_000_i64..2_500_000_000, minute in 0_u8..60, hour in 0_u8..24) {
            let schedule = cron(&format!("{minute} {hour} * * *"), "America/New_York");
            let last = Timestamp::from_second(start).unwrap();
            let next = schedule.next(last, UID).unwrap();
            prop_assert!(next > last);
            prop_assert!(between(last, next) <= Duration::from_hours(25));
        }
    }
}
