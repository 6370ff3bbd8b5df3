//! Request bodies.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::enums::{DisableReason, KeyAlgorithm, PrivateKeyType};
use super::errors::ApiError;
use crate::iam_server::policy::Proposal;

/// A body of which the fields nobody knows are at hand.
pub trait RequestBody: DeserializeOwned + Default {
    /// The path of the first field that the method does not know.
    fn unknown_field(&self) -> Option<String>;
}

/// Reads a body; none at all is an empty message.
///
/// # Errors
/// [`ApiError::InvalidArgument`] for what is no JSON of the right shape and, if `strict`, for unknown fields.
pub fn parse<T: RequestBody>(body: &Bytes, strict: bool) -> Result<T, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let parsed: T = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))?;
    match parsed.unknown_field() {
        Some(name) if strict => Err(ApiError::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."
        ))),
        _ => Ok(parsed),
    }
}

fn first(unknown: &Map<String, Value>) -> Option<String> {
    unknown.keys().next().cloned()
}

/// In the JSON of protocol buffers null is a field that is not there: google-auth sends its delegates so.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// The message without fields.
#[derive(Debug, Default, Deserialize)]
pub struct Empty {
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for Empty {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// A `ServiceAccount` as callers send it. Output-only fields are part of the message and have no effect, as at
/// Google: clients send back what they have read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountFields {
    /// The display name.
    #[serde(alias = "display_name")]
    pub display_name: Option<String>,
    /// The description.
    pub description: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

const ACCOUNT_OUTPUT_ONLY: [&str; 10] = [
    "name",
    "projectId",
    "project_id",
    "uniqueId",
    "unique_id",
    "email",
    "etag",
    "oauth2ClientId",
    "oauth2_client_id",
    "disabled",
];

impl RequestBody for AccountFields {
    fn unknown_field(&self) -> Option<String> {
        self.rest.keys().find(|name| !ACCOUNT_OUTPUT_ONLY.contains(&name.as_str())).cloned()
    }
}

/// `accounts.create`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateAccount {
    /// The local part of the address.
    #[serde(alias = "account_id")]
    pub account_id: Option<String>,
    /// What else is known of it.
    #[serde(alias = "service_account")]
    pub service_account: Option<AccountFields>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for CreateAccount {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown).or_else(|| inside("service_account", self.service_account.as_ref()))
    }
}

/// `accounts.patch`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchAccount {
    /// The new values.
    #[serde(alias = "service_account")]
    pub service_account: Option<AccountFields>,
    /// Which of them to take: names, joined by commas.
    #[serde(alias = "update_mask")]
    pub update_mask: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for PatchAccount {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown).or_else(|| inside("service_account", self.service_account.as_ref()))
    }
}

fn inside(name: &str, fields: Option<&AccountFields>) -> Option<String> {
    Some(format!("{name}.{}", fields?.unknown_field()?))
}

/// `keys.create`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateKey {
    /// The form of the private half.
    #[serde(alias = "private_key_type")]
    pub private_key_type: Option<PrivateKeyType>,
    /// The kind of pair.
    #[serde(alias = "key_algorithm")]
    pub key_algorithm: Option<KeyAlgorithm>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for CreateKey {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `keys.disable`; some of Google's own clients know a reason.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisableKey {
    /// Why.
    #[serde(alias = "service_account_key_disable_reason")]
    pub service_account_key_disable_reason: Option<DisableReason>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for DisableKey {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `keys.upload`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploadKey {
    /// The certificate's PEM text in standard base64 with padding.
    #[serde(alias = "public_key_data")]
    pub public_key_data: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for UploadKey {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

impl UploadKey {
    /// The certificate's text.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] if it is missing or not padded standard base64.
    pub fn certificate(&self) -> Result<Vec<u8>, ApiError> {
        let text = self.public_key_data.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err(ApiError::invalid("public_key_data is required."));
        }
        STANDARD.decode(text).map_err(|error| {
            ApiError::invalid(format!("Invalid value at 'public_key_data' (TYPE_BYTES), {error}"))
        })
    }
}

/// `getIamPolicy`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GetPolicy {
    /// What the caller knows.
    pub options: PolicyOptions,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// What a caller knows of policies.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyOptions {
    /// 0, 1 or 3.
    #[serde(alias = "requested_policy_version")]
    pub requested_policy_version: Option<i64>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for GetPolicy {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown).or_else(|| Some(format!("options.{}", first(&self.options.unknown)?)))
    }
}

/// `setIamPolicy`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetPolicy {
    policy: Option<Value>,
    #[serde(alias = "update_mask")]
    update_mask: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// Which parts of a policy are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyMask {
    /// Whether the audit configurations are.
    pub audit_configs: bool,
}

impl RequestBody for SetPolicy {
    fn unknown_field(&self) -> Option<String> {
        const POLICY: [&str; 6] = ["version", "bindings", "auditConfigs", "audit_configs", "etag", "rules"];
        const BINDING: [&str; 5] = ["role", "members", "condition", "bindingId", "binding_id"];
        const CONDITION: [&str; 4] = ["expression", "title", "description", "location"];
        let stranger = |value: &Value, known: &[&str]| {
            value.as_object()?.keys().find(|name| !known.contains(&name.as_str())).cloned()
        };
        let policy = self.policy.as_ref();
        let bindings = || policy?.get("bindings")?.as_array();
        first(&self.unknown)
            .or_else(|| stranger(policy?, &POLICY))
            .or_else(|| bindings()?.iter().find_map(|binding| stranger(binding, &BINDING)))
            .or_else(|| {
                bindings()?.iter().find_map(|binding| stranger(binding.get("condition")?, &CONDITION))
            })
    }
}

impl SetPolicy {
    /// The policy.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] if there is none, or none of the right shape.
    pub fn proposal(&self) -> Result<Proposal, ApiError> {
        let policy = self.policy.clone().ok_or_else(|| ApiError::invalid("policy is required."))?;
        serde_json::from_value(policy)
            .map_err(|error| ApiError::invalid(format!("Invalid JSON payload received. {error}")))
    }

    /// What of it is taken.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] for a field that a policy does not have.
    pub fn mask(&self) -> Result<PolicyMask, ApiError> {
        let mut mask = PolicyMask { audit_configs: false };
        let paths = self.update_mask.as_deref().unwrap_or_default().split(',').map(str::trim);
        for path in paths.filter(|path| !path.is_empty()) {
            match path {
                "bindings" | "etag" | "version" => {}
                "auditConfigs" | "audit_configs" => mask.audit_configs = true,
                other => {
                    return Err(ApiError::invalid(format!("Invalid value at 'update_mask': {other:?}.")));
                }
            }
        }
        Ok(mask)
    }
}

/// `testIamPermissions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TestPermissions {
    /// What is asked for.
    pub permissions: Vec<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for TestPermissions {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `generateAccessToken`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GenerateAccessToken {
    /// What for.
    #[serde(deserialize_with = "nullable")]
    pub scope: Vec<String>,
    /// How long, such as `3600s`.
    pub lifetime: Option<String>,
    /// Who speaks for whom on the way from the caller to the account.
    #[serde(deserialize_with = "nullable")]
    pub delegates: Vec<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for GenerateAccessToken {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `value:compute` of Earth Engine.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compute {
    /// What is computed.
    pub expression: Value,
    #[serde(rename = "workloadTag")]
    _workload_tag: Option<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for Compute {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `services.disable`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisableService {
    #[serde(alias = "disable_dependent_services", rename = "disableDependentServices")]
    _disable_dependent_services: Option<bool>,
    #[serde(alias = "check_if_service_has_usage", rename = "checkIfServiceHasUsage")]
    _check_if_service_has_usage: Option<Value>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for DisableService {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

/// `services.batchEnable`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchEnable {
    /// The services.
    #[serde(alias = "service_ids")]
    pub service_ids: Vec<String>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl RequestBody for BatchEnable {
    fn unknown_field(&self) -> Option<String> {
        first(&self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: RequestBody>(text: &'static str, strict: bool) -> Result<T, ApiError> {
        parse(&Bytes::from_static(text.as_bytes()), strict)
    }

    #[test]
    fn no_body_is_an_empty_message() {
        read::<Empty>("", true).unwrap();
        read::<Empty>("{}", true).unwrap();
        assert!(read::<Empty>("[]", true).is_err());
        assert!(read::<Empty>("{", true).is_err());
    }

    #[test]
    fn unknown_fields_are_named_at_their_depth() {
        let error = read::<CreateAccount>(
            r#"{"accountId":"billing","serviceAccount":{"displayName":"B","colour":"red"}}"#,
            true,
        )
        .unwrap_err();
        assert!(error.to_string().contains("service_account.colour"), "{error}");
        read::<CreateAccount>(r#"{"accountId":"billing","colour":"red"}"#, false).unwrap();
        assert!(read::<Empty>(r#"{"colour":"red"}"#, true).is_err());
    }

    #[test]
    fn both_spellings_and_both_enum_forms() {
        let key: CreateKey =
            read(r#"{"private_key_type":2,"keyAlgorithm":"KEY_ALG_RSA_2048"}"#, true).unwrap();
        assert_eq!(key.private_key_type, Some(PrivateKeyType::GoogleCredentials));
        assert_eq!(key.key_algorithm, Some(KeyAlgorithm::Rsa2048));
        let key: CreateKey = read(r#"{"privateKeyType":null}"#, true).unwrap();
        assert_eq!(key.private_key_type, None);
        assert!(read::<CreateKey>(r#"{"keyAlgorithm":"KEY_ALG_ROT13"}"#, true).is_err());
    }

    #[test]
    fn null_is_a_list_that_is_not_there() {
        let asked: GenerateAccessToken =
            read(r#"{"delegates":null,"scope":["one"],"lifetime":"3600s"}"#, true).unwrap();
        assert_eq!((asked.scope, asked.delegates), (vec!["one".to_owned()], Vec::new()));
        assert!(read::<GenerateAccessToken>(r#"{"delegates":"one"}"#, true).is_err());
    }

    #[test]
    fn what_was_read_can_be_sent_back() {
        read::<AccountFields>(
            r#"{"name":"n","projectId":"p","uniqueId":"1","email":"e","displayName":"d","etag":"AA==",
                "description":"x","oauth2ClientId":"1","disabled":true}"#,
            true,
        )
        .unwrap();
    }

    #[test]
    fn base64_is_strict() {
        let body = |text: &str| UploadKey { public_key_data: Some(text.to_owned()), ..UploadKey::default() };
        assert_eq!(body("aGk=").certificate().unwrap(), b"hi");
        for bad in ["aGk", "aGl=", "aG_=", "aGk=\n", ""] {
            assert!(body(bad).certificate().is_err(), "{bad:?}");
        }
    }
}
