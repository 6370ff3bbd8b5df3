//! Policies over the wire.

use async_trait::async_trait;
use google_cloud_iam_v1::model::GetPolicyOptions;

use super::Google;
use crate::backend::BackendError;
use crate::backend::policies::{POLICY_VERSION, Policies, Policy};

#[async_trait]
impl Policies for Google {
    async fn read_policy(&self, resource: &str) -> Result<Policy, BackendError> {
        let options = GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION);
        if resource.contains("/serviceAccounts/") {
            let request = self.iam.get_iam_policy().set_resource(resource).set_options(options);
            self.within("accounts.getIamPolicy", self.once(request).send()).await
        } else {
            let request = self.projects.get_iam_policy().set_resource(resource).set_options(options);
            self.within("projects.getIamPolicy", self.once(request).send()).await
        }
    }

    async fn write_policy(&self, resource: &str, policy: Policy) -> Result<Policy, BackendError> {
        if resource.contains("/serviceAccounts/") {
            let request = self.iam.set_iam_policy().set_resource(resource).set_policy(policy);
            self.within("accounts.setIamPolicy", self.once(request).send()).await
        } else {
            let request = self.projects.set_iam_policy().set_resource(resource).set_policy(policy);
            self.within("projects.setIamPolicy", self.once(request).send()).await
        }
    }
}
