//! The last use of a key (Policy Analyzer v1). There is no official Rust client for it.

use jiff::Timestamp;
use serde::Deserialize;

use super::Google;
use crate::backend::BackendError;
use crate::domain::key::LastUse;

const CALL: &str = "activities.query";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activities {
    #[serde(default)]
    activities: Vec<Activity>,
    #[serde(default)]
    next_page_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    observation_period: Option<Period>,
    activity: Option<Use>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    end_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Use {
    last_authenticated_time: Option<Timestamp>,
}

impl Google {
    /// Accounts are named by their e-mail there.
    pub(super) async fn last_use_of(&self, email: &str, key_id: &str) -> Result<LastUse, BackendError> {
        let project = &self.facts.project;
        let key = format!("//iam.googleapis.com/projects/{project}/serviceAccounts/{email}/keys/{key_id}");
        let url = format!(
            "{}/v1/projects/{project}/locations/global/activityTypes/serviceAccountKeyLastAuthentication/activities:query",
            self.endpoints.policy_analyzer
        );
        let filter = format!("activities.fullResourceName=\"{key}\"");
        let request = self.http.get(url).query(&[("filter", filter.as_str())]);
        let (told, _): (Activities, _) = self.send(CALL, request).await?;
        match told.activities.into_iter().next() {
            Some(activity) => last_use(activity),
            None if told.next_page_token.is_empty() => Ok(LastUse::default()),
            None => Err(BackendError::Incomplete { call: CALL, what: "activity on its first page" }),
        }
    }
}

/// A report that lacks what it is about must not pass for one of a key that was never used.
fn last_use(activity: Activity) -> Result<LastUse, BackendError> {
    let missing = |what| BackendError::Incomplete { call: CALL, what };
    let used = activity.activity.ok_or(missing("activity"))?;
    let until = activity.observation_period.and_then(|period| period.end_time);
    // Of a key that was not used in that period no time is told (documented).
    Ok(LastUse {
        day: used.last_authenticated_time,
        known_until: Some(until.ok_or(missing("observationPeriod.endTime"))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<LastUse, BackendError> {
        last_use(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_report_without_its_times_says_nothing() {
        let whole = r#"{"observationPeriod": {"startTime": "2026-01-01T08:00:00Z", "endTime": "2026-01-05T08:00:00Z"},
            "activity": {"lastAuthenticatedTime": "2026-01-03T08:00:00Z"}}"#;
        let used = told(whole).unwrap();
        assert_eq!(used.day, Some("2026-01-03T08:00:00Z".parse().unwrap()));
        assert_eq!(used.known_until, Some("2026-01-05T08:00:00Z".parse().unwrap()));
        for field in ["endTime", "activity", "observationPeriod"] {
            assert!(told(&whole.replace(field, "renamed")).is_err(), "{field}");
        }
        assert_eq!(told(&whole.replace("lastAuthenticatedTime", "renamed")).unwrap().day, None);
    }
}
