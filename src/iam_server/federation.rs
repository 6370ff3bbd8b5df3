//! Identity providers: who vouches for callers that have no key here, such as a cluster for its pods.
//!
//! A provider is described by the file that Google's API takes for one (`WorkloadIdentityPoolProvider`), as far as this
//! server can do what it says: tokens that are signed by keys in the file, and their subject as the name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rsa::{BigUint, RsaPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::principal::Federated;
use super::signed_token::SignedToken;

/// The longest identity token.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// The only mapping that is carried out.
const SUBJECT_MAPPING: (&str, &str) = ("google.subject", "assertion.sub");
/// The longest name of a subject, in bytes.
const MAX_SUBJECT: usize = 127;

/// A provider as it is asked for: `POOL/PROVIDER=FILE`, in the first project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSpec {
    pool: String,
    provider: String,
    file: PathBuf,
}

/// A text that names no provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not POOL/PROVIDER=FILE with ids of 4 to 32 characters of [a-z0-9-]")]
pub struct NoProvider {
    text: String,
}

impl FromStr for ProviderSpec {
    type Err = NoProvider;

    fn from_str(text: &str) -> Result<Self, NoProvider> {
        let is_id = |id: &str| {
            (4..=32).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        text.split_once('=')
            .and_then(|(name, file)| {
                let (pool, provider) = name.split_once('/')?;
                let good = is_id(pool) && is_id(provider) && !file.is_empty();
                good.then(|| Self { pool: pool.into(), provider: provider.into(), file: file.into() })
            })
            .ok_or_else(|| NoProvider { text: text.to_owned() })
    }
}

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The file cannot be read.
    #[error("the identity provider file {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file, or the key set in it, is no such document.
    #[error("the identity provider file {} is not a WorkloadIdentityPoolProvider with oidc.jwksJson", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A mapping or condition that this server cannot carry out.
    #[error(
        "the identity provider file {} asks for more than the mapping of google.subject to assertion.sub",
        path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProviderFile {
    oidc: Oidc,
    #[serde(default)]
    attribute_mapping: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    attribute_condition: String,
    #[serde(default)]
    disabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Oidc {
    issuer_uri: String,
    jwks_json: String,
    #[serde(default)]
    allowed_audiences: Vec<String>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Why a token is not vouched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// The provider is switched off.
    #[error("The identity provider is disabled.")]
    Disabled,
    /// No key of the provider signed it.
    #[error("The signature of the subject token is not one of the identity provider's.")]
    Signature,
    /// It comes from elsewhere.
    #[error("The issuer of the subject token is not the identity provider's.")]
    Issuer,
    /// It is meant for somebody else.
    #[error("The audience of the subject token is not the identity provider, nor one that it allows.")]
    Audience,
    /// It is not of now, or for too long.
    #[error("The subject token is expired, not valid yet, or valid for more than 24 hours.")]
    Timeframe,
    /// It names nobody.
    #[error("The subject token has no claim sub of 1 to 127 bytes.")]
    Subject,
}

impl ProviderSpec {
    /// Its resource name, by the number of its project.
    pub fn name(&self, project: &str) -> String {
        format!("{}/providers/{}", self.pool_name(project), self.provider)
    }

    fn pool_name(&self, project: &str) -> String {
        format!("{project}/locations/global/workloadIdentityPools/{}", self.pool)
    }

    /// Reads its file, as for a login: what is wrong with it is told before anybody needs it.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn check(&self) -> Result<(), ProviderError> {
        read(&self.file).map(drop)
    }

    /// Who a token speaks for. The file is read anew each time: a provider renews its keys.
    ///
    /// # Errors
    /// [`ProviderError`]; the inner error says why the token is not believed.
    pub fn vouch(
        &self,
        token: &SignedToken,
        project: &str,
        project_name: &str,
        now: Timestamp,
    ) -> Result<Result<Federated, NotVouched>, ProviderError> {
        let (file, keys) = read(&self.file)?;
        let believed = believe(&file, &keys, token, &self.name(project_name), now);
        Ok(believed.map(|subject| Federated {
            project: project.to_owned(),
            pool: self.pool_name(project_name),
            subject,
        }))
    }
}

fn read(path: &Path) -> Result<(ProviderFile, KeySet), ProviderError> {
    let bytes = fs::read(path).map_err(|source| ProviderError::File { path: path.to_owned(), source })?;
    let content = |source| ProviderError::Content { path: path.to_owned(), source };
    let file: ProviderFile = serde_json::from_slice(&bytes).map_err(content)?;
    let keys: KeySet = serde_json::from_str(&file.oidc.jwks_json).map_err(content)?;
    let (name, value) = SUBJECT_MAPPING;
    let plain = file.attribute_condition.is_empty()
        && file.attribute_mapping.iter().all(|(from, to)| from == name && to == value);
    if !plain {
        return Err(ProviderError::Unsupported { path: path.to_owned() });
    }
    Ok((file, keys))
}

fn believe(
    file: &ProviderFile,
    keys: &KeySet,
    token: &SignedToken,
    name: &str,
    now: Timestamp,
) -> Result<String, NotVouched> {
    if file.disabled {
        return Err(NotVouched::Disabled);
    }
    let signed = keys
        .keys
        .iter()
        .filter(|key| token.key_id().is_none_or(|kid| key["kid"] == kid))
        .filter_map(public_key)
        .any(|key| token.is_signed_by_key(key));
    if !signed {
        return Err(NotVouched::Signature);
    }
    let claims = token.claims();
    if claims.iss.as_deref() != Some(file.oidc.issuer_uri.as_str()) {
        return Err(NotVouched::Issuer);
    }
    let own = format!("//iam.googleapis.com/{name}");
    let allowed = |aud: &str| {
        let known = &file.oidc.allowed_audiences;
        if known.is_empty() {
            aud == own || aud.strip_prefix("https:") == Some(own.as_str())
        } else {
            known.iter().any(|known| known == aud)
        }
    };
    if !claims.aud.as_ref().is_some_and(|aud| aud.any(allowed)) {
        return Err(NotVouched::Audience);
    }
    if !token.is_timely(now, LONGEST) {
        return Err(NotVouched::Timeframe);
    }
    let subject = claims.sub.clone().unwrap_or_default();
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return Err(NotVouched::Subject);
    }
    Ok(subject)
}

/// An RSA key of a JWK set; others are passed over.
fn public_key(jwk: &Value) -> Option<RsaPublicKey> {
    let number = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok()?;
        Some(BigUint::from_bytes_be(&bytes))
    };
    if jwk["kty"] != "RSA" {
        return None;
    }
    RsaPublicKey::new(number("n")?, number("e")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let spec: ProviderSpec = "cluster/kubernetes=/etc/provider.json".parse().unwrap();
        assert_eq!(
            spec.name("projects/1"),
            "projects/1/locations/global/workloadIdentityPools/cluster/providers/kubernetes"
        );
        for bad in [
            "",
            "cluster",
            "cluster/kubernetes",
            "cluster/kubernetes=",
            "a/kubernetes=f",
            "Cluster/kubernetes=f",
        ] {
            assert!(bad.parse::<ProviderSpec>().is_err(), "{bad}");
        }
    }
}
