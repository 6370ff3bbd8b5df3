//! What differs between the backends that the story can be told of.

use std::path::{Path, PathBuf};

use keywheel_testbed::iam::IamServer;
use keywheel_testbed::python::{self, BackendKey, Exchange};
use serde_json::Value;

use super::refuted;
use crate::Outcome;

/// A backend, its samples, and the client that takes the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Google's wire, and google-auth.
    Google,
    /// Disruptive Technologies, and the vendor's own client.
    Disruptive,
}

impl Platform {
    /// The one of this name; the first, if there is none.
    pub(crate) fn named(name: Option<&str>) -> Outcome<Self> {
        match name {
            None | Some("" | "google" | "embedded") => Ok(Self::Google),
            Some("disruptive") => Ok(Self::Disruptive),
            Some(other) => Err(refuted("BACKEND is google or disruptive", other)),
        }
    }

    /// The samples in `deploy/samples`, in the order of applying; the second is the backend.
    pub(super) fn samples(self) -> [&'static str; 5] {
        match self {
            Self::Google => [
                "00-namespace.yaml",
                "10-backend.yaml",
                "20-account.yaml",
                "30-key.yaml",
                "40-fast-wheel.yaml",
            ],
            Self::Disruptive => [
                "00-namespace.yaml",
                "disruptive/10-backend.yaml",
                "disruptive/20-account.yaml",
                "disruptive/30-key.yaml",
                "disruptive/40-fast-wheel.yaml",
            ],
        }
    }

    /// As people apply them.
    pub(super) fn applied(self) -> &'static str {
        match self {
            Self::Google => "deploy/samples/",
            Self::Disruptive => "deploy/samples/00-namespace.yaml -f deploy/samples/disruptive/",
        }
    }

    /// What the sample of the backend names, and what it is in the demo.
    pub(super) fn addresses(self, iam: &IamServer) -> Vec<(&'static str, String)> {
        const SERVICE: &str = "http://keywheel-iam.keywheel-system.svc:8085";
        match self {
            Self::Google => vec![(SERVICE, iam.url().to_owned())],
            Self::Disruptive => vec![
                (SERVICE, iam.url().to_owned()),
                ("projectId: my-project", format!("projectId: {}", iam.project())),
            ],
        }
    }

    /// The Secret that the sample of the backend logs in with.
    pub(super) fn login_secret(self) -> &'static str {
        match self {
            Self::Google => "iam-login",
            Self::Disruptive => "dt-login",
        }
    }

    /// What is in it.
    pub(super) fn login(self, iam: &IamServer) -> PathBuf {
        match self {
            Self::Google => iam.admin_key_file(),
            Self::Disruptive => iam.disruptive_admin_key_file(),
        }
    }

    /// The data key that the client reads.
    pub(super) fn entry(self) -> &'static str {
        match self {
            Self::Google => "key.json",
            Self::Disruptive => "credentials.json",
        }
    }

    /// All data keys of the sample's Secret.
    pub(super) fn entries(self) -> &'static [&'static str] {
        match self {
            Self::Google => &["email", "key-id", "key.json"],
            Self::Disruptive => &[
                "DT_SERVICE_ACCOUNT_EMAIL",
                "DT_SERVICE_ACCOUNT_KEY_ID",
                "DT_SERVICE_ACCOUNT_SECRET",
                "credentials.json",
            ],
        }
    }

    /// The id of the key in such a file.
    pub(super) fn key_id(self, file: &Value) -> Option<&str> {
        let pointer = match self {
            Self::Google => "/private_key_id",
            Self::Disruptive => "/serviceAccount/keyId",
        };
        file.pointer(pointer)?.as_str()
    }

    /// How people call the client.
    pub(super) fn client(self) -> &'static str {
        match self {
            Self::Google => "google-auth",
            Self::Disruptive => "the vendor's client",
        }
    }

    /// How it says that a key is not accepted.
    pub(super) fn refusal(self) -> &'static str {
        match self {
            Self::Google => "invalid_grant",
            Self::Disruptive => "Unauthorized",
        }
    }

    /// Whether an old key is disabled before it is deleted.
    pub(super) fn disables(self) -> bool {
        self == Self::Google
    }

    /// What the client gets for a credentials file.
    pub(super) fn exchange(self, file: &Path, iam: &IamServer) -> Outcome<Exchange> {
        Ok(match self {
            Self::Google => python::exchange(file)?,
            Self::Disruptive => python::log_in(file, iam.url(), iam.project())?,
        })
    }

    /// All keys of an account, as the backend tells its administrator.
    pub(super) fn keys(self, iam: &IamServer, email: &str) -> Outcome<Vec<BackendKey>> {
        Ok(match self {
            Self::Google => python::list_keys(&iam.admin_key_file(), iam.url(), iam.project(), email)?,
            Self::Disruptive => {
                let id = email.split_once('@').map_or(email, |(id, _)| id);
                let login = iam.disruptive_admin_key_file();
                let ids = python::key_ids(&login, iam.url(), iam.project(), id)?;
                ids.into_iter().map(|id| BackendKey { id, disabled: false }).collect()
            }
        })
    }

    /// Whether this is the e-mail of an account of the samples.
    pub(super) fn is_email(self, email: &str, project: &str) -> bool {
        match self {
            Self::Google => email.starts_with(&format!("billing@{project}.")),
            Self::Disruptive => email.contains(&format!("@{project}.")),
        }
    }
}
