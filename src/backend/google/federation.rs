//! Workload identity federation for workloads: a credentials file without a key.

use serde_json::json;

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where workloads reach what they need to speak for an account. Without a slash at the end.
pub(super) struct Federated {
    /// The Security Token Service.
    pub sts: String,
    /// IAM Credentials.
    pub iam_credentials: String,
}

impl Federated {
    /// A file of type `external_account`: the token in `token_file` is exchanged for one of the account.
    pub(super) fn file(&self, universe: &str, email: &str, provider: &str, token_file: &str) -> String {
        let file = json!({
            "type": "external_account",
            "universe_domain": universe,
            "audience": format!("//iam.googleapis.com/{provider}"),
            "subject_token_type": JWT,
            "token_url": format!("{}/v1/token", self.sts),
            "service_account_impersonation_url": impersonation(&self.iam_credentials, email),
            "credential_source": { "file": token_file, "format": { "type": "text" } },
        });
        format!("{file:#}\n")
    }
}

/// Where a token of an account is asked for. The wildcard stands for the account's own project, by contract.
pub(super) fn impersonation(iam_credentials: &str, email: &str) -> String {
    format!("{iam_credentials}/v1/projects/-/serviceAccounts/{email}:generateAccessToken")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Endpoints;

    #[test]
    fn a_file_has_all_that_googles_clients_ask_for_and_no_key() {
        let Endpoints { sts, iam_credentials, .. } = Endpoints::default();
        let provider = "projects/7/locations/global/workloadIdentityPools/pool/providers/kubernetes";
        let text = Federated { sts, iam_credentials }.file("googleapis.com", "a@p", provider, "/token");
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let url =
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p:generateAccessToken";
        let expected = json!({
            "type": "external_account",
            "universe_domain": "googleapis.com",
            "audience": format!("//iam.googleapis.com/{provider}"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url": url,
            "credential_source": {"file": "/token", "format": {"type": "text"}},
        });
        assert_eq!(file, expected);
    }
}
