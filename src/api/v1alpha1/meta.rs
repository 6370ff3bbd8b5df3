//! Labels, annotations and finalizers that Keywheel writes or reads on objects.

/// Finalizer on all four kinds: nothing at the backend is forgotten with the object.
pub const FINALIZER: &str = "keywheel.dev/finalizer";
/// Label on every Secret and `ConfigMap` of ours: finds them. It proves nothing; ownership is [`OWNER_UID`].
pub const OWNED_LABEL: &str = "keywheel.dev/owned";
/// Value of [`OWNED_LABEL`].
pub const OWNED_VALUE: &str = "true";
/// Label on staging Secrets, beside [`OWNED_LABEL`].
pub const STAGING_LABEL: &str = "keywheel.dev/staging";
/// Label that Velero reads: a staging Secret restored from a backup would hold a dead or foreign key.
pub const EXCLUDE_FROM_BACKUP_LABEL: &str = "velero.io/exclude-from-backup";
/// Type of staging Secrets.
pub const STAGING_TYPE: &str = "keywheel.dev/staging";

/// Name of the object that owns a Secret or `ConfigMap`, in the same namespace: a `ServiceAccountKey` or a `ServiceAccount`.
pub const OWNER: &str = "keywheel.dev/owner";
/// Its namespace: a copy of the Secret elsewhere is not the owner's.
pub const OWNER_NAMESPACE: &str = "keywheel.dev/owner-namespace";
/// Uid of the object that owns a Secret or `ConfigMap`.
pub const OWNER_UID: &str = "keywheel.dev/owner-uid";
/// The account whose key a Secret holds: `<project>/<unique id>`.
pub const ACCOUNT: &str = "keywheel.dev/account";
/// Id of the key whose credential a Secret holds.
pub const KEY_ID: &str = "keywheel.dev/key-id";
/// Number of the attempt that made the key.
pub const ATTEMPT: &str = "keywheel.dev/attempt";
/// Nonce of the attempt that made a staged key.
pub const NONCE: &str = "keywheel.dev/nonce";
/// When the credential was published, RFC 3339.
pub const PUBLISHED_AT: &str = "keywheel.dev/published-at";
/// The data keys that Keywheel writes and their formats, as `key=format`, comma-separated; others are left alone.
pub const ENTRIES: &str = "keywheel.dev/entries";
/// Id of the key whose credential stands in the `.previous` entries.
pub const PREVIOUS_KEY_ID: &str = "keywheel.dev/previous-key-id";
/// SHA-256 over the data keys that Keywheel writes: tells an edit.
pub const DATA_HASH: &str = "keywheel.dev/data-hash";
/// Names of the labels and annotations that the spec put there, as JSON: what leaves the spec leaves the Secret.
pub const TEMPLATE: &str = "keywheel.dev/template";
/// On a `ServiceAccount`: the id of its account and our mark, where the backend has no room for one. A status that is lost makes
/// no second account.
pub const ACCOUNT_ID: &str = "keywheel.dev/account-id";
/// When a staged key was created, by the backend's clock.
pub const CREATED_AT: &str = "keywheel.dev/created-at";
/// When a staged key stops working by itself.
pub const EXPIRES_AT: &str = "keywheel.dev/expires-at";
/// Rewritten to make older writes of anybody fail.
pub const FENCE: &str = "keywheel.dev/fence";
/// Ids, phases, times and fingerprints of all older keys, as JSON; nothing private.
pub const LEDGER: &str = "keywheel.dev/ledger";
/// Reserved prefix of annotations and labels.
pub const PREFIX: &str = "keywheel.dev/";

/// Set by a person: a time, RFC 3339, after which the key is replaced once, with the normal overlap.
pub const ROTATE_AT: &str = "keywheel.dev/rotate-at";
/// Set by a person: a time, RFC 3339. All keys made before it are replaced and ended at once, with no overlap.
pub const REVOKE_AT: &str = "keywheel.dev/revoke-at";
/// Set by a person: ids of suspects, comma-separated, that are ours: they are ended like any other old key.
pub const CLAIM_KEY: &str = "keywheel.dev/claim-key";
/// Set by a person: ids of suspects, comma-separated, that are not ours: they leave the list.
pub const DISOWN_KEY: &str = "keywheel.dev/disown-key";
/// On the pod template of a restarted workload: the key that it was restarted for.
pub const RESTARTED_FOR: &str = "keywheel.dev/restarted-for";

/// Set by a person on a deleting object whose backend cannot be reached any more: lets the object go and
/// names in an event what is left behind.
pub const ABANDON: &str = "keywheel.dev/abandon";
