//! The last use of a key (Policy Analyzer v1). There is no official Rust client for it.

use jiff::Timestamp;
use serde::Deserialize;

use super::Google;
use crate::backend::BackendError;
use crate::domain::key::LastUse;

const CALL: &str = "activities.query";

#[derive(Deserialize)]
struct Activities {
    #[serde(default)]
    activities: Vec<Activity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    #[serde(default)]
    observation_period: Period,
    #[serde(default)]
    activity: Use,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Period {
    end_time: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
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
        Ok(told.activities.into_iter().next().map_or_else(LastUse::default, |activity| LastUse {
            day: activity.activity.last_authenticated_time,
            known_until: activity.observation_period.end_time,
        }))
    }
}
