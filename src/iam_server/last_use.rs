//! When keys and accounts were last used to log in, as Policy Analyzer tells it: by day, and late.
//!
//! Source: "View recent usage for service accounts and keys" and the discovery document of Policy Analyzer v1. A day is
//! one of US Pacific time.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Server;
use super::accounts::known_project;
use super::model::Account;
use super::store::{Ask, Record, StoreError, Write, key_place};
use super::wire::errors::ApiError;
use super::wire::operation::{ActivityType, Operation};
use super::wire::query::Query;

/// Where a day begins and ends.
const ZONE: &str = "America/Los_Angeles";
/// Days that are kept: enough for every lag that can be set.
const KEPT: usize = 32;
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The days on which something was used, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses(Vec<Timestamp>);

impl Record for Uses {
    const KIND: &'static str = "uses";
}

impl Uses {
    /// Notes a use; `false` if its day was noted before.
    fn note(&mut self, day: Timestamp) -> bool {
        if self.0.contains(&day) {
            return false;
        }
        self.0.push(day);
        self.0.sort_unstable();
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
        true
    }

    /// The last day that is known by now.
    fn last(&self, now: Timestamp, lag: SignedDuration) -> Option<Timestamp> {
        self.0.iter().rev().copied().find(|day| now.duration_since(*day) >= lag)
    }
}

/// The beginning of the day.
///
/// # Errors
/// [`jiff::Error`] at the ends of the calendar.
pub fn day_of(time: Timestamp) -> Result<Timestamp, jiff::Error> {
    Ok(time.to_zoned(TimeZone::get(ZONE)?).start_of_day()?.timestamp())
}

/// Whether no use of a key was noted yet on a day.
///
/// # Errors
/// [`StoreError`].
pub fn is_news(store: &impl Ask, account: &str, key: &str, day: Timestamp) -> Result<bool, StoreError> {
    let mut uses: Uses = store.record(&key_place(account, key))?.unwrap_or_default();
    Ok(uses.note(day))
}

/// Notes that a key was used on a day to log in.
///
/// # Errors
/// [`StoreError`].
pub fn note(store: &mut Write<'_>, account: &str, key: &str, day: Timestamp) -> Result<(), StoreError> {
    for place in [key_place(account, key), account.to_owned()] {
        let mut uses: Uses = store.record(&place)?.unwrap_or_default();
        if uses.note(day) {
            store.put_record(&place, &uses)?;
        }
    }
    Ok(())
}

/// `activities.query`: what was never used has no time.
///
/// # Errors
/// [`ApiError::PermissionDenied`] for an unknown project, [`ApiError::InvalidArgument`] for a filter that is not one.
pub async fn query(
    server: &Server,
    project: String,
    activity: ActivityType,
    operation: Operation,
    query: &Query,
) -> Result<Value, ApiError> {
    known_project(&server.settings.projects, &project, operation)?;
    let number = server.projects.name_of(&project, operation)?.trim_start_matches("projects/").to_owned();
    let wanted = query.one("filter").map(read_filter).transpose()?;
    let size = query.number("pageSize")?.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    let skip: usize = match query.one("pageToken") {
        None => 0,
        Some(token) => token.parse().map_err(|_| ApiError::invalid("Invalid value at 'page_token'."))?,
    };
    let (now, lag) = (server.clock.now(), server.tunables.activity_lag());
    let mut found: Vec<Value> = server
        .store
        .read(move |store| {
            let all = subjects(store, &project, activity)?;
            let of_interest = all
                .into_iter()
                .filter(|subject| wanted.as_ref().is_none_or(|names| names.contains(&subject.name)));
            of_interest
                .skip(skip)
                .take(size + 1)
                .map(|subject| subject.render(store, activity, &number, now, lag))
                .collect::<Result<_, ApiError>>()
        })
        .await?;
    let more = found.len() > size;
    found.truncate(size);
    let mut answer = Map::new();
    if !found.is_empty() {
        answer.insert("activities".to_owned(), found.into());
    }
    if more {
        answer.insert("nextPageToken".to_owned(), (skip + size).to_string().into());
    }
    Ok(answer.into())
}

/// What an activity is about.
struct Subject {
    name: String,
    account: String,
    place: String,
    since: Timestamp,
}

fn subjects(store: &impl Ask, project: &str, activity: ActivityType) -> Result<Vec<Subject>, StoreError> {
    let mut subjects = Vec::new();
    for account in store.accounts_after(project, "", usize::MAX)? {
        match activity {
            ActivityType::Accounts => subjects.push(Subject::account(&account)),
            ActivityType::Keys => {
                for key in store.keys_of(&account.unique_id)? {
                    subjects.push(Subject {
                        name: format!("{}/keys/{}", full_name(&account), key.id),
                        account: account.unique_id.clone(),
                        place: key_place(&account.unique_id, &key.id),
                        since: key.created,
                    });
                }
            }
        }
    }
    Ok(subjects)
}

fn full_name(account: &Account) -> String {
    format!("//iam.googleapis.com/{}", account.resource_name())
}

impl Subject {
    fn account(account: &Account) -> Self {
        Self {
            name: full_name(account),
            account: account.unique_id.clone(),
            place: account.unique_id.clone(),
            since: account.created,
        }
    }

    fn render(
        &self,
        store: &impl Ask,
        activity: ActivityType,
        number: &str,
        now: Timestamp,
        lag: SignedDuration,
    ) -> Result<Value, ApiError> {
        let uses: Uses = store.record(&self.place)?.unwrap_or_default();
        let subject = json!({
            "fullResourceName": self.name,
            "projectNumber": number,
            "serviceAccountId": self.account,
        });
        let mut told = Map::from_iter([(activity.subject().to_owned(), subject)]);
        if let Some(day) = uses.last(now, lag) {
            told.insert("lastAuthenticatedTime".to_owned(), day.to_string().into());
        }
        Ok(json!({
            "fullResourceName": self.name,
            "activityType": activity.name(),
            "observationPeriod": {
                "startTime": day_of(self.since)?.to_string(),
                "endTime": day_of(now.checked_sub(lag)?)?.to_string(),
            },
            "activity": told,
        }))
    }
}

/// The names in a filter: `activities.fullResourceName = "A" OR activities.fullResourceName = "B"`.
fn read_filter(text: &str) -> Result<Vec<String>, ApiError> {
    let term = |term: &str| {
        let (field, name) = term.split_once('=')?;
        let known = matches!(field.trim(), "activities.fullResourceName" | "activities.full_resource_name");
        let name = name.trim().strip_prefix('"')?.strip_suffix('"')?;
        (known && !name.contains('"')).then(|| name.to_owned())
    };
    let names = text.split(" OR ").map(term).collect::<Option<Vec<_>>>();
    names.ok_or_else(|| ApiError::invalid(format!("Invalid value at 'filter': {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_in_california() {
        let at = |text: &str| day_of(text.parse().unwrap()).unwrap().to_string();
        assert_eq!(at("2026-07-02T06:59:59Z"), "2026-07-01T07:00:00Z");
        assert_eq!(at("2026-07-02T07:00:00Z"), "2026-07-02T07:00:00Z");
        assert_eq!(at("2026-12-02T07:30:00Z"), "2026-12-01T08:00:00Z");
    }

    #[test]
    fn uses_are_told_by_day_and_late() {
        let day = |n: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * n);
        let mut uses = Uses::default();
        assert!(uses.note(day(1)) && uses.note(day(3)) && !uses.note(day(1)));
        assert_eq!(uses.last(day(3), SignedDuration::ZERO), Some(day(3)));
        assert_eq!(uses.last(day(4), SignedDuration::from_hours(48)), Some(day(1)));
        assert_eq!(uses.last(day(4), SignedDuration::from_hours(96)), None);
        for n in 4..100 {
            uses.note(day(n));
        }
        assert_eq!(uses.0.len(), KEPT);
    }

    #[test]
    fn filters() {
        let one = r#"activities.fullResourceName="//iam.googleapis.com/a""#;
        assert_eq!(read_filter(one).unwrap(), ["//iam.googleapis.com/a"]);
        let two = r#"activities.full_resource_name = "a" OR activities.fullResourceName="b""#;
        assert_eq!(read_filter(two).unwrap(), ["a", "b"]);
        for bad in
            ["", "colour=\"red\"", "activities.fullResourceName=a", "activities.fullResourceName=\"a\" AND x"]
        {
            assert!(read_filter(bad).is_err(), "{bad}");
        }
    }
}
