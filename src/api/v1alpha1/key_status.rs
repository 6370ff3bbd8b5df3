//! The status of a `ServiceAccountKey`: the ledger, the open attempt, the schedule.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::KeySource;
use super::service_account::is_zero;

/// What is known about a key and all keys before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountKeyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The backend's own id of the account that the keys belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_unique_id: Option<String>,

    /// Id of the key that the Secret publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_key_id: Option<String>,

    /// Name of the Secret that publishes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// The Secret's `resourceVersion` after our last write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_resource_version: Option<String>,

    /// How many attempts to make a key were begun. Never goes back.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub attempt: u32,

    /// The ledger: every key at the backend that this object owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub keys: Vec<LedgerKey>,

    /// The attempt that is under way: written before the one create that it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingAttempt>,

    /// Attempts whose outcome is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["nonce"]))]
    pub lost: Vec<LostAttempt>,

    /// When the attempts since the last publication were begun that ended without one and may have left a key:
    /// three within 24 h stop the making of keys for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpublished_attempts: Vec<Timestamp>,

    /// Keys at the backend that could be ours and cannot be proved so: reported, never touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub suspects: Vec<SuspectKey>,

    /// Secrets of former names, deleted once their overlap is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub former_secrets: Vec<FormerSecret>,

    /// Requests by annotation that were carried out.
    #[serde(default, skip_serializing_if = "Handled::is_empty")]
    pub handled: Handled,

    /// When a key was last published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<Timestamp>,

    /// The active key, while workloads of `rolloutRestart` may still have to be restarted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_owed_for: Option<String>,

    /// When the next key will be made. Absent: no rotation is configured and the key does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Timestamp>,

    /// How many times the published key was replaced.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub rotations: u32,

    /// How many tries to make a key failed in a row; the wait before the next one doubles each time, from
    /// 1 min to 1 h.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub failures: u32,

    /// When the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Timestamp>,

    /// Until when the backend asked to be left alone when the last try failed; an hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Timestamp>,

    /// `Ready`: the Secret publishes a proved key. `Reconciling` and `Stalled`: only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A key at the backend that belongs to this object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerKey {
    /// Id at the backend.
    pub id: String,

    /// Where it stands in its life.
    pub phase: KeyPhase,

    /// How it came to be in the ledger.
    pub origin: KeyOrigin,

    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<KeyReason>,

    /// Number of the attempt that made it.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub attempt: u32,

    /// Its algorithm, as the backend names it; none where the backend offers only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,

    /// When its attempt was begun, by the operator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minted_at: Option<Timestamp>,

    /// When it was created, by the backend's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,

    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,

    /// When it will be disabled (or deleted, where the backend cannot disable).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_at: Option<Timestamp>,

    /// When it was disabled, by us or, as far as we saw, by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,

    /// When it will be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_at: Option<Timestamp>,

    /// When it stops working by itself; absent if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,

    /// SHA-256 of its public half (SPKI, DER), in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_sha256: Option<String>,

    /// Where its pair was made.
    #[serde(default, skip_serializing_if = "KeySource::is_backend")]
    pub source: KeySource,

    /// Until when another key of the same pair may appear, because an upload of it got no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surfaces_until: Option<Timestamp>,

    /// What somebody else did to it at the backend, as the last look showed; absent if it is there as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<KeySeen>,

    /// Why the backend says that it is disabled, in the backend's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_reason: Option<String>,

    /// What else the backend says about it, in the backend's words, such as that it was found exposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_status: Option<String>,
}

/// What somebody else did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeySeen {
    /// It is no longer at the backend.
    Gone,
    /// It was disabled.
    Disabled,
    /// It was enabled again after we disabled it: it is left so.
    Enabled,
}

/// A Secret that published the credential under a former name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerSecret {
    /// Its name.
    pub name: String,

    /// Its uid: another Secret of that name is not touched. Empty: it is about to be created.
    pub uid: String,

    /// When it is deleted.
    pub delete_at: Timestamp,
}

/// Requests by annotation that were carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// `keywheel.dev/rotate-at` whose rotation is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<Timestamp>,

    /// `keywheel.dev/revoke-at` whose revocation is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_at: Option<Timestamp>,
}

impl Handled {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyPhase {
    /// Staged, not yet proved: shown once its first proof was refused.
    Pending,
    /// Published.
    Active,
    /// Replaced, still enabled until `disableAt`.
    Overlap,
    /// Disabled until `deleteAt`.
    Disabled,
}

/// How a key came to be in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyOrigin {
    /// Made and published in the normal course.
    Rotation,
    /// Staged by an attempt that was given up.
    Abandoned,
    /// Made by a create whose answer was lost.
    Orphan,
}

/// Why a key was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyReason {
    /// There was none.
    FirstKey,
    /// Its Secret was gone.
    SecretMissing,
    /// Its Secret no longer held the private half.
    SecretEdited,
    /// The key before it is about to expire.
    Expiring,
    /// The algorithm or the source of keys in the spec changed.
    SpecChanged,
    /// An older credential was put back into the Secret.
    OldCredentialRestored,
    /// A person revoked all older keys by the annotation `keywheel.dev/revoke-at`.
    Revoked,
    /// The active key was deleted or disabled at the backend by somebody else.
    KeyEnded,
    /// A person asked for it by the annotation `keywheel.dev/rotate-at`.
    Requested,
    /// The schedule.
    Schedule,
}

impl KeyReason {
    /// Whether the key repairs what somebody else did; such repairs are spaced out.
    pub fn is_drift(self) -> bool {
        matches!(
            self,
            Self::SecretMissing | Self::SecretEdited | Self::OldCredentialRestored | Self::KeyEnded
        )
    }
}

/// An attempt to make a key that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingAttempt {
    /// Number of the attempt.
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub attempt: u32,

    /// Random name of the attempt; part of the staging Secret's name.
    pub nonce: String,

    /// Why a key is needed.
    pub reason: KeyReason,

    /// When it was begun, by the operator's clock.
    pub started_at: Timestamp,

    /// The backend's clock when it listed the account's keys for this attempt.
    pub backend_time: Timestamp,

    /// Ids of that list, as far as they are young enough to be mistaken for this attempt's key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_key_ids: Vec<String>,

    /// Fingerprint of the pair that this attempt uploads; absent where the backend makes the pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_sha256: Option<String>,
}

/// An attempt whose outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LostAttempt {
    /// Number of the attempt.
    #[schemars(schema_with = "crate::api::v1alpha1::backend::count")]
    pub attempt: u32,

    /// Random name of the attempt.
    pub nonce: String,

    /// The backend's clock when it listed the account's keys for this attempt.
    pub backend_time: Timestamp,

    /// Until when the attempt's key may still appear, by the backend's clock.
    pub until: Timestamp,

    /// Ids that were there before the attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_key_ids: Vec<String>,

    /// Whether the Secret was rewritten since the attempt was given up, so that nobody can publish its key.
    #[serde(default)]
    pub fenced: bool,

    /// Fingerprint of the pair that it uploaded, if it did: its key is known by that, whenever it appears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_sha256: Option<String>,
}

/// A key that could be ours and cannot be proved so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuspectKey {
    /// Id at the backend.
    pub id: String,

    /// When it was created, by the backend's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,

    /// Since when it is suspected.
    pub since: Timestamp,
}
