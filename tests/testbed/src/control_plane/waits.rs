//! Waiting with kubectl, which watches instead of asking again and again.

use std::time::Duration;

use super::{ControlPlane, Error};

impl ControlPlane {
    /// Waits until the object's condition is `True`; `object` as kubectl takes it, for instance `iamsak/billing`.
    pub fn wait_condition(
        &self,
        namespace: &str,
        object: &str,
        condition: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.kubectl_wait(namespace, object, &format!("condition={condition}"), timeout)
    }

    /// Waits until a value of the object is `value`; `path` as a JSON path, for instance `{.status.activeKeyId}`.
    pub fn wait_value(
        &self,
        namespace: &str,
        object: &str,
        path: &str,
        value: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.kubectl_wait(namespace, object, &format!("jsonpath={path}={value}"), timeout)
    }

    /// Waits until the object is gone.
    pub fn wait_deleted(&self, namespace: &str, object: &str, timeout: Duration) -> Result<(), Error> {
        self.kubectl_wait(namespace, object, "delete", timeout)
    }

    fn kubectl_wait(
        &self,
        namespace: &str,
        object: &str,
        what: &str,
        timeout: Duration,
    ) -> Result<(), Error> {
        let (what, timeout) = (format!("--for={what}"), format!("--timeout={}ms", timeout.as_millis()));
        let mut args = vec!["wait", object, &what, &timeout];
        if !namespace.is_empty() {
            args.extend(["--namespace", namespace]);
        }
        self.kubectl_ok(&args)?;
        Ok(())
    }
}
