//! Which services the project may use (Service Usage v1), and whether it is registered for Earth Engine (v1). There is no
//! official Rust client for either.

use serde::Deserialize;
use serde_json::json;

use super::Google;
use crate::backend::BackendError;

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    state: String,
}

const ENABLE: &str = "services.enable";

/// One that is done may have failed (google.longrunning.Operation).
#[derive(Deserialize)]
struct Operation {
    error: Option<OperationError>,
}

#[derive(Deserialize)]
struct OperationError {
    #[serde(default)]
    code: i32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    registration_state: String,
}

impl Google {
    pub(super) async fn is_enabled(&self, service: &str) -> Result<bool, BackendError> {
        let request = self.http.get(self.service(service, ""));
        let (service, _): (Service, _) = self.send("services.get", request).await?;
        Ok(service.state == "ENABLED")
    }

    /// Begins it: the operation that the answer names goes on by itself, and the service shows its end.
    pub(super) async fn begin_to_enable(&self, service: &str) -> Result<(), BackendError> {
        let request = self.http.post(self.service(service, ":enable")).json(&json!({}));
        let (operation, _): (Operation, _) = self.send(ENABLE, request).await?;
        match operation.error {
            None => Ok(()),
            Some(error) => Err(BackendError::Answer {
                call: ENABLE,
                // google.rpc.Code 7 is PERMISSION_DENIED; whatever else ended it, the state of the project did.
                status: if error.code == 7 { 403 } else { 400 },
                canonical: Some(
                    if error.code == 7 { "PERMISSION_DENIED" } else { "FAILED_PRECONDITION" }.to_owned(),
                ),
                message: error.message,
                retry_after: None,
            }),
        }
    }

    /// In the words of Earth Engine, as in `REGISTERED_COMMERCIALLY`.
    pub(super) async fn registration_state(&self) -> Result<String, BackendError> {
        let url = format!("{}/v1/projects/{}/config", self.endpoints.earth_engine, self.facts.project);
        let (config, _): (Config, _) =
            self.send("earthengine.projects.getConfig", self.http.get(url)).await?;
        Ok(config.registration_state)
    }

    fn service(&self, service: &str, verb: &str) -> String {
        format!(
            "{}/v1/projects/{}/services/{service}{verb}",
            self.endpoints.service_usage, self.facts.project
        )
    }
}
