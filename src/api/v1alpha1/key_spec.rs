//! `ServiceAccountKey`: a key of an account, the Secret it is published in, and the wheel that turns it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ServiceAccountKeyStatus, Span};

/// A key of a service account, published in a Secret and rotated on a schedule.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keywheel.dev",
    version = "v1alpha1",
    kind = "ServiceAccountKey",
    plural = "serviceaccountkeys",
    shortname = "iamsak",
    namespaced,
    category = "keywheel",
    status = "ServiceAccountKeyStatus",
    derive = "PartialEq",
    doc = "A key of a service account, published in a Secret and rotated on a schedule.",
    selectable = ".spec.serviceAccountRef.name",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Key", type_ = "string", json_path = ".status.activeKeyId"),
    printcolumn(name = "Rotated", type_ = "date", json_path = ".status.lastRotationTime"),
    printcolumn(name = "Next Rotation", type_ = "string", json_path = ".status.nextRotationTime"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(
        name = "Account",
        type_ = "string",
        json_path = ".spec.serviceAccountRef.name",
        priority = 1
    ),
    printcolumn(name = "Rotations", type_ = "integer", json_path = ".status.rotations", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.serviceAccountRef == oldSelf.serviceAccountRef")
        .message("serviceAccountRef is immutable"),
    validation = Rule::new("!(self.secret.deletionPolicy == 'Retain' && self.deletionPolicy == 'Delete')")
        .message("secret.deletionPolicy Retain with deletionPolicy Delete would keep a dead credential: \
                  set both to Retain, or the Secret's to Delete"),
    validation = Rule::new("self.keySource != 'Local' || !has(self.algorithm) || self.algorithm != 'RSA_1024'")
        .message("keySource: Local makes pairs of 2048 bits: set algorithm: RSA_2048"),
    validation = Rule::new("!has(self.validity) || self.keySource == 'Local'")
        .message("validity needs keySource: Local: the backend decides how long its own keys live. Where it takes no uploads, \
                  remove validity"),
    validation = Rule::new("!has(self.validity) || (self.validity >= duration('1h') && self.validity <= duration('87600h'))")
        .message("validity must be at least 1h and at most 10 years"),
    validation = Rule::new("!has(self.validity) || !has(self.rotation) || !has(self.rotation.every) \
                            || self.validity >= self.rotation.every + self.rotation.overlap + duration('24h')")
        .message("validity must be at least rotation.every + rotation.overlap + 24h: a key must outlive its use")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountKeySpec {
    /// The `ServiceAccount` of this namespace whose key this is. Immutable.
    pub service_account_ref: LocalRef,

    /// Where key pairs are made. A change brings a rotation. Default: `Backend`.
    #[serde(default)]
    pub key_source: KeySource,

    /// How long the certificate of a key made here is valid, such as `90d`: after that the key works no more, whatever
    /// became of the operator. Only with `keySource: Local`. Between `1h` and ten years. Units: ms, s, m, h, d, w.
    /// Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity: Option<Span>,

    /// Algorithm of the key, where the backend offers several (`status.capabilities.algorithms`). A change brings a rotation.
    /// Default: `RSA_2048` there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,

    /// When the key is replaced. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,

    /// How a new key is proved before anybody sees it.
    #[serde(default)]
    pub verification: Verification,

    /// The Secret that the credential is published in.
    #[serde(default)]
    pub secret: SecretTemplate,

    /// Workloads of this namespace that read the Secret only when they start: each is restarted once for every new key,
    /// and the old key is not disabled before all of them have come up again. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub rollout_restart: Vec<Workload>,

    /// What becomes of the active key when this object is deleted; older keys are deleted either way.
    /// Default: `Delete`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Names an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A workload to restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `Deployment`, `StatefulSet` or `DaemonSet`.
    pub kind: WorkloadKind,

    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds that can be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// A deployment.
    Deployment,
    /// A stateful set.
    StatefulSet,
    /// A daemon set.
    DaemonSet,
}

/// Where key pairs are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeySource {
    /// At the backend, which hands the private half out once.
    #[default]
    Backend,
    /// In the operator, which uploads the public half in a certificate. A key whose upload got no answer is then found
    /// again by its public half; recommended for accounts that others use, too.
    Local,
}

impl KeySource {
    /// Whether it is the default.
    pub fn is_backend(&self) -> bool {
        *self == Self::Backend
    }
}

/// Key algorithms. A backend that knows one kind of key, as Disruptive Technologies, refuses to be asked for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// RSA, 2048 bits.
    #[default]
    #[serde(rename = "RSA_2048")]
    Rsa2048,
    /// RSA, 1024 bits: weak; few backends still offer it.
    #[serde(rename = "RSA_1024")]
    Rsa1024,
}

impl Algorithm {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa1024 => "RSA_1024",
        }
    }
}

/// When a key is replaced and what becomes of the one before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!(has(self.every) && has(self.schedule))")
        .message("set every or schedule, not both"),
    validation = Rule::new("!has(self.timeZone) || has(self.schedule)")
        .message("timeZone needs schedule: every counts from the last rotation"),
    validation = Rule::new("!has(self.every) || (self.every >= duration('10s') && self.every <= duration('87600h'))")
        .message("every must be at least 10s and at most 10 years"),
    validation = Rule::new("!has(self.every) || self.overlap < self.every")
        .message("overlap (default 24h) must be shorter than every: the next rotation would come before the \
                  old key is out of service"),
    validation = Rule::new("!has(self.every) || self.jitter < self.every")
        .message("jitter must be shorter than every")
)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How long a key is used, counted from its publication, such as `30d`. At least `10s`. Excludes
    /// `schedule`. Neither set: no rotation. Units: ms, s, m, h, d, w.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,

    /// When keys are replaced: a cron expression of five fields (minute, hour, day of month, month, day of
    /// week), such as `0 3 * * 1`. Excludes `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub schedule: Option<String>,

    /// IANA name of the time zone that `schedule` is read in, such as `Europe/Oslo`. Default: `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$")
    )]
    pub time_zone: Option<String>,

    /// Spreads rotations: each object comes later by a share of this time that never changes for it.
    /// Units: ms, s, m, h, d, w. Default: `0s`.
    #[serde(default = "no_time")]
    pub jitter: Span,

    /// How long the previous key stays enabled after a new one is published. Units: ms, s, m, h, d, w. Default: `24h`.
    #[serde(default = "one_day")]
    pub overlap: Span,

    /// How long a key stays disabled before it is deleted. Refused where the backend cannot disable a key. Units: ms, s, m, h, d, w.
    /// Default: `168h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after: Option<Span>,

    /// How long the previous key must not have been used to log in before it is disabled, where the backend tells. It tells by
    /// day, and late by days: a key is held longer for it, by `deleteAfter` at most, and never ends sooner. A key of which it tells nothing counts as unused. A revocation does not
    /// wait.
    /// Units: ms, s, m, h, d, w. Default: not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_unused_for: Option<Span>,

    /// Stops scheduled rotations, and holds old keys alive: nothing is disabled or deleted. The first key and
    /// the repair of a lost Secret go on. Default: false.
    #[serde(default)]
    pub suspend: bool,
}

fn no_time() -> Span {
    Span::new("0s")
}

fn one_day() -> Span {
    Span::new("24h")
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            every: None,
            schedule: None,
            time_zone: None,
            jitter: no_time(),
            overlap: one_day(),
            delete_after: None,
            require_unused_for: None,
            suspend: false,
        }
    }
}

/// How a new key is proved before it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The proof. Default: `TokenExchange`.
    #[serde(default)]
    pub mode: VerificationMode,

    /// After how long without success the condition `KeyVerified` says so; the tries go on.
    /// Units: ms, s, m, h, d, w. Default: `10m`.
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
}

fn ten_minutes() -> Span {
    Span::new("10m")
}

impl Default for Verification {
    fn default() -> Self {
        Self { mode: VerificationMode::default(), timeout: ten_minutes() }
    }
}

/// Proofs of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMode {
    /// The key is exchanged for an access token at the backend's token endpoint.
    #[default]
    TokenExchange,
    /// None: the key is published unproved and `KeyVerified` is `Unknown`.
    None,
}

/// The Secret that a credential is published in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type == oldSelf.type").message("type is immutable, as a Secret's own type is"),
    validation = Rule::new("!(self.type in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token'])")
        .message("Secrets of this type are read by the cluster itself; choose Opaque or a type of your own"),
    validation = Rule::new("!self.previous || self.entries.all(e, !self.entries.exists(o, o.key == e.key + '.previous'))")
        .message("an entry's key ends in .previous, where the previous credential of another entry would stand"),
    validation = Rule::new("!has(self.labels) || self.labels.all(k, !k.startsWith('keywheel.dev/'))")
        .message("labels under keywheel.dev/ are reserved"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(k, !k.startsWith('keywheel.dev/'))")
        .message("annotations under keywheel.dev/ are reserved"),
    validation = Rule::new("self.entries.exists(e, e.format in ['GoogleCredentials', 'PrivateKeyPem', \
        'DisruptiveCredentials', 'Secret'])")
        .message("one entry must hold the private half (GoogleCredentials, PrivateKeyPem, DisruptiveCredentials or \
                  Secret): it is what a repair is made from")
)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Name of the Secret. Default: the name of this object. When it changes, the same credential is published under the
    /// new name at once, and the old Secret is deleted after `rotation.overlap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<String>,

    /// Type of the Secret. Immutable. Default: `Opaque`.
    #[serde(rename = "type", default = "opaque")]
    #[schemars(length(min = 1, max = 253))]
    pub type_: String,

    /// Labels that the Secret carries beside those of others. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,

    /// Annotations that the Secret carries beside those of others. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,

    /// What the Secret holds, one data key each. Default: `key.json` in format `GoogleCredentials`.
    #[serde(default = "default_entries")]
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"])
    )]
    pub entries: Vec<SecretEntry>,

    /// Keeps the previous credential readable as `<key>.previous` beside each entry, until its key is disabled.
    /// Default: false.
    #[serde(default)]
    pub previous: bool,

    /// What becomes of the Secret when this object is deleted. `Retain` needs the key to be retained, too.
    /// Default: `Delete`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn opaque() -> String {
    "Opaque".to_owned()
}

fn default_entries() -> Vec<SecretEntry> {
    vec![SecretEntry { key: "key.json".to_owned(), format: EntryFormat::GoogleCredentials }]
}

impl Default for SecretTemplate {
    fn default() -> Self {
        Self {
            name: None,
            type_: opaque(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            entries: default_entries(),
            previous: false,
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

/// One data key of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretEntry {
    /// Data key in the Secret. No two entries share one.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,

    /// What it holds: `GoogleCredentials` (the JSON file that Google's clients read), `Pkcs12` (private key and certificate
    /// under the password `notasecret`, as Google hands them out), `Pkcs12Password` (that password, for a tool that reads it
    /// from a file), `PrivateKeyPem` (PKCS#8), `CertificatePem` (self-signed, X.509), `PublicKeyPem` (SPKI),
    /// `PublicJwks` (the public halves of this key and of those in their overlap, for whoever checks signatures), `KeyId`,
    /// `Email` or `ProjectId`; of Disruptive Technologies `DisruptiveCredentials` (the file that its client reads), `KeyId`, `Secret`
    /// (the shared secret alone), `Email`, `TokenEndpoint` and `ProjectId`.
    pub format: EntryFormat,
}

/// Forms of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EntryFormat {
    /// The JSON file that Google's client libraries read.
    GoogleCredentials,
    /// Private key and certificate: PKCS#12, under the password of all of Google's files.
    Pkcs12,
    /// The password of `Pkcs12`.
    Pkcs12Password,
    /// The private key: PKCS#8, PEM.
    PrivateKeyPem,
    /// A self-signed certificate of the public key, valid as long as the key: X.509, PEM.
    CertificatePem,
    /// The public key: SPKI, PEM.
    PublicKeyPem,
    /// The public halves of the key and of those in their overlap: a JSON Web Key Set.
    PublicJwks,
    /// The id of the key at the backend.
    KeyId,
    /// The e-mail of the account.
    Email,
    /// The project of the account.
    ProjectId,
    /// The JSON file that the client library of Disruptive Technologies reads.
    DisruptiveCredentials,
    /// A shared secret alone.
    Secret,
    /// Where the key is exchanged for a token.
    TokenEndpoint,
}

impl EntryFormat {
    /// Whether the private half is read back from an entry of this form. Not from PKCS#12: whoever may write the Secret could
    /// have the reader derive a key for minutes, or in a gigabyte.
    pub fn holds_private_half(self) -> bool {
        matches!(
            self,
            Self::GoogleCredentials | Self::PrivateKeyPem | Self::DisruptiveCredentials | Self::Secret
        )
    }
}

/// What becomes of a thing when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays.
    Retain,
}
