//! Everything that a decision about a key rests on, as plain data. Reading it is the controller's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::LastUse;
use super::put_off::{PutOff, Subject};
use super::siblings::Siblings;
use crate::api::v1alpha1::{KeyPhase, ServiceAccountKeySpec, ServiceAccountKeyStatus};
use crate::domain::{Capabilities, Reason, Trouble};

/// What one pass has seen.
///
/// Read order: consumer Secret, then the object, then staging Secrets. What a pass learned from its own calls
/// is in the fields that are `Option`: absent means not asked yet.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that were read, not states to be combined")]
pub struct Observation {
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// What people asked for by annotation.
    pub requests: Requests,
    /// What people want.
    pub spec: ServiceAccountKeySpec,
    /// What was recorded; `None` if nothing ever was, or it was wiped.
    pub status: Option<ServiceAccountKeyStatus>,
    /// The consumer Secret.
    pub secret: Secret,
    /// The Secret that published the key under the name before, where the name in the spec was changed.
    pub renamed_from: Option<Published>,
    /// Secrets of former names that are there, as they were read; those of the status that are gone are not here.
    pub former: Vec<Former>,
    /// Staging Secrets of this object.
    pub staged: Vec<Staged>,
    /// The account, by its own controller's word.
    pub account: AccountView,
    /// The keys at the backend, listed in this pass.
    pub keys: Option<KeyList>,
    /// The keys at the backend, as the last look of any object of this account showed them: enough to see that all is
    /// well, not to act on.
    pub audited: Option<KeyList>,
    /// When this object was last compared with a list; at the start of a process a time that spreads the looks.
    pub looked_at: Timestamp,
    /// Other keys on the same account, read after the list.
    pub siblings: Option<Siblings>,
    /// Where the workloads to restart stand.
    pub rollout: Option<Vec<Rollout>>,
    /// When keys whose overlap is over were last used, or why that cannot be read.
    pub last_use: BTreeMap<String, Result<LastUse, Trouble>>,
    /// Keys whose public halves are at hand, where an entry asks for them: a Secret shows them or holds their private halves,
    /// or the backend told.
    pub public_halves: BTreeSet<String>,
    /// Fingerprint of a pair that is ready to be used by an attempt.
    pub fresh_pair: Option<String>,
    /// Nonce of the attempt whose pair this very process staged and has not uploaded yet: no look is needed before.
    pub staged_here: Option<String>,
    /// What became of the upload of the open attempt's pair, as far as this process knows.
    pub upload: Option<Upload>,
    /// Whether the API server would store what we are about to make.
    pub preflight: Option<Preflight>,
    /// Whether the backend accepts the staged key of the open attempt.
    pub proof: Option<Proof>,
    /// Whether the backend accepts what the consumer Secret publishes.
    pub secret_proof: Option<Proof>,
    /// Whether the Secret was read again, after the object, and had not changed.
    pub confirmed: bool,
    /// Whether this very reconcile added the finalizer: then there was no status before. One that is absent beside a
    /// finalizer of earlier was lost.
    pub own_finalizer: bool,
    /// Nonce of the attempt whose intent this very pass wrote: it alone may be sent.
    pub own_intent: Option<String>,
    /// Nonce of the attempt that this very pass has sent: it is never sent again, whatever became of it.
    pub sent: Option<String>,
    /// The backend's definite refusal of the create that this pass sent, or the API server's of its staging.
    pub refused: Option<Refusal>,
    /// Until when the Secret is left as it is: somebody changes it again and again.
    pub rewrites_resume: Option<Timestamp>,
    /// Steps that were refused for good a short while ago.
    pub put_off: PutOff,
    /// A random name for an attempt that may be begun now.
    pub fresh_nonce: String,
}

/// The consumer Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// It is not there.
    Absent,
    /// It is there and not ours to write; says why.
    Foreign {
        /// Why it is not ours.
        why: String,
    },
    /// An earlier object of this name left it, by policy or by a restore: it may be taken over.
    Left(Published),
    /// It is ours.
    Ours(Published),
}

impl Secret {
    /// The Secret, if it is ours.
    pub fn ours(&self) -> Option<&Published> {
        match self {
            Self::Ours(secret) => Some(secret),
            Self::Absent | Self::Foreign { .. } | Self::Left(_) => None,
        }
    }
}

/// A consumer Secret of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its uid: every write to it carries it.
    pub uid: String,
    /// Its resource version: every write to it carries it.
    pub resource_version: String,
    /// The key it says to publish.
    pub key_id: Option<String>,
    /// The attempt that made that key.
    pub attempt: u32,
    /// When that key was published.
    pub published_at: Option<Timestamp>,
    /// `project/unique id` of the account whose key it is.
    pub account: Option<String>,
    /// What it says about older keys.
    pub ledger: Vec<crate::api::v1alpha1::LedgerKey>,
    /// The credential that can be read back from it.
    pub credential: Credential,
    /// The key whose credential stands in the `.previous` entries.
    pub previous_key_id: Option<String>,
    /// Other keys than the published one whose public halves stand in the `PublicJwks` entries.
    pub public_ids: Vec<String>,
    /// Whether entries, labels and annotations are as the spec asks.
    pub as_specified: bool,
    /// Whether somebody made it immutable: then it can be deleted, not written.
    pub immutable: bool,
    /// The finalizers that hold it, if it is being deleted.
    pub held_by: Option<String>,
}

/// The private half in a Secret, by its public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// No entry holds a readable private key.
    Missing,
    /// Some entry holds the private key with this public half (SHA-256 of its SPKI, hex).
    Readable {
        /// Fingerprint of the public half.
        public_key_sha256: String,
    },
}

impl Credential {
    /// Whether it is the private half of the key with this fingerprint. Without a fingerprint any readable one
    /// is believed: it was read back from a Secret that is ours.
    pub fn is(&self, fingerprint: Option<&str>) -> bool {
        match (self, fingerprint) {
            (Self::Missing, _) => false,
            (Self::Readable { .. }, None) => true,
            (Self::Readable { public_key_sha256 }, Some(expected)) => public_key_sha256 == expected,
        }
    }
}

impl Observation {
    /// Whether the end of a key was refused a short while ago.
    pub fn is_key_put_off(&self, id: &str) -> bool {
        self.put_off.contains_key(&Subject::Key(id.to_owned()))
    }

    /// Whether the end of a Secret was refused a short while ago.
    pub fn is_secret_put_off(&self, name: &str) -> bool {
        self.put_off.contains_key(&Subject::Secret(name.to_owned()))
    }

    /// Whether the consumer Secret could not be written again a short while ago.
    pub fn is_rewriting_put_off(&self) -> bool {
        self.put_off.contains_key(&Subject::Rewriting)
    }

    /// Whether the public half of a key could not be read a short while ago.
    pub fn is_half_put_off(&self, id: &str) -> bool {
        self.put_off.contains_key(&Subject::PublicHalf(id.to_owned()))
    }

    /// Whether enabling a key again was refused a short while ago.
    pub fn is_enabling_put_off(&self, id: &str) -> bool {
        self.put_off.contains_key(&Subject::Enabling(id.to_owned()))
    }

    /// The key of a staging Secret, if its id is known: from the answer of its create, or from its upload.
    pub fn staged_key(&self, staged: &Staged) -> Option<StagedKey> {
        let key = |id: &str, created_at, expires_at, ended| StagedKey {
            id: id.to_owned(),
            account: staged.account.clone(),
            public_key_sha256: staged.public_key_sha256.clone(),
            created_at,
            expires_at,
            ended,
        };
        match (&staged.key_id, &self.upload) {
            (Some(id), _) => Some(key(id, staged.created_at, staged.expires_at, false)),
            (None, Some(Upload::There { id, created_at, expires_at, disabled, .. })) => {
                Some(key(id, *created_at, *expires_at, *disabled))
            }
            // The answer of an upload was written down: a list that does not show the key yet is no reason for another.
            (None, _) => {
                let mut known = self.status.iter().flat_map(|status| &status.keys);
                let noted = known.find(|k| {
                    let same = k.attempt == staged.attempt && k.public_key_sha256 == staged.public_key_sha256;
                    k.phase == KeyPhase::Pending && same
                })?;
                Some(key(&noted.id, noted.created_at, noted.expires_at, false))
            }
        }
    }
}

/// A staged key that is at the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedKey {
    /// Its id.
    pub id: String,
    /// `project/unique id` of its account.
    pub account: String,
    /// Fingerprint of its public half.
    pub public_key_sha256: Option<String>,
    /// When it was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// Whether it was seen to be disabled.
    pub ended: bool,
}

/// A staging Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Name of the Secret.
    pub name: String,
    /// Its uid: a delete carries it.
    pub uid: String,
    /// Nonce of the attempt.
    pub nonce: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// Key whose credential it holds; `None`: a pair that was made here, whose key is known once it is uploaded.
    pub key_id: Option<String>,
    /// `project/unique id` of the account.
    pub account: String,
    /// Fingerprint of the key's public half; absent if the credential in it is unreadable.
    pub public_key_sha256: Option<String>,
    /// When the key was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// The finalizers that hold it, if it is being deleted.
    pub held_by: Option<String>,
}

/// The account as its `ServiceAccount` object shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountView {
    /// It can have keys.
    Usable(Account),
    /// It cannot, and says why. What it already has may still be ended if the backend is named.
    Unusable {
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
        /// Present if calls to the backend are still possible.
        account: Option<Account>,
    },
}

impl AccountView {
    /// The account, if calls about it can be made.
    pub fn reachable(&self) -> Option<&Account> {
        match self {
            Self::Usable(account) => Some(account),
            Self::Unusable { account, .. } => account.as_ref(),
        }
    }
}

/// An account and what its backend can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Project.
    pub project: String,
    /// E-mail.
    pub email: String,
    /// The backend's own id: differs after the account is made again under the same e-mail.
    pub unique_id: String,
    /// What its backend can do.
    pub can: Capabilities,
    /// Whether its keys are let in by basic auth.
    pub basic_auth: bool,
    /// Whether nobody else makes keys on this account, as far as we can know: it carries our mark and we created it, or
    /// the spec hands all its keys to us.
    pub exclusive: bool,
    /// By how much the backend's clock differs from ours, either way.
    pub clock_skew: Option<Duration>,
}

/// Answer of a list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyList {
    /// The keys that people and operators made; those of the backend itself left out.
    Listed {
        /// The keys.
        keys: Vec<ListedKey>,
        /// The backend's clock when it answered.
        backend_time: Timestamp,
    },
    /// No list. Never counts as absence.
    Unreadable(Trouble),
}

/// A key as the backend lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// Id.
    pub id: String,
    /// When it was created, by the backend's clock.
    pub created_at: Option<Timestamp>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether its pair was made at the backend, not uploaded.
    pub made_by_backend: bool,
    /// Why the backend says that it is disabled.
    pub disable_reason: Option<String>,
    /// What else the backend says about it.
    pub extended_status: Option<String>,
    /// Fingerprint of an uploaded public half, where it was asked for.
    pub public_key_sha256: Option<String>,
    /// The attempt that made it, where the backend can tell.
    pub nonce: Option<String>,
}

/// What people asked for by annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// To let a deleting object go.
    pub abandon: bool,
    /// To replace the key once, after this time.
    pub rotate_at: Option<Timestamp>,
    /// To end all keys that were made before this time.
    pub revoke_at: Option<Timestamp>,
    /// Suspects that are ours.
    pub claim: Vec<String>,
    /// Suspects that are not ours.
    pub disown: Vec<String>,
    /// Annotations that cannot be understood, for people.
    pub invalid: Option<String>,
}

/// A Secret of a former name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version.
    pub resource_version: String,
    /// Keys that it publishes, `.previous` included.
    pub key_ids: Vec<String>,
    /// The finalizers that hold it, if it is being deleted.
    pub held_by: Option<String>,
}

/// A workload to restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Which.
    pub workload: crate::api::v1alpha1::Workload,
    /// Where it stands.
    pub state: RolloutState,
}

/// Where a restart stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// There is no such workload.
    Missing,
    /// The API server does not show it.
    Unreadable {
        /// What it said.
        message: String,
    },
    /// It was not restarted for the active key yet.
    Due,
    /// It was, and not all of its pods are new and available.
    Progressing {
        /// How far, for people.
        progress: String,
    },
    /// All its pods are new and available.
    Done,
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// The key is at the backend.
    There {
        /// Its id.
        id: String,
        /// When it was created, by the backend's clock.
        created_at: Option<Timestamp>,
        /// When it stops working by itself.
        expires_at: Option<Timestamp>,
        /// Whether it is disabled.
        disabled: bool,
        /// Whether this is the answer of the one upload that was ever sent: no second key of the pair can appear.
        only: bool,
    },
    /// Looked for and not found: it may be uploaded.
    NotThere,
    /// The backend refused it for good.
    Refused(Trouble),
    /// Nothing was learned.
    Unavailable(Trouble),
}

/// Answer of the dry runs before an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Both Secrets would be stored, or the API server could not say.
    Accepted,
    /// One would not be stored.
    Refused {
        /// What the API server said.
        message: String,
    },
}

/// Answer of a token exchange with a staged key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token came, as many times in a row as were asked for.
    Accepted {
        /// How many times in a row.
        times: u32,
    },
    /// The key itself was refused.
    Refused {
        /// What the backend said.
        message: String,
    },
    /// Nothing was learned about the key: the network, the backend or the account failed.
    Unavailable(Trouble),
}

/// A definite refusal of the attempt that this pass began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The backend refused to make a key.
    ByBackend(Trouble),
    /// The API server refused to stage the key, which was then deleted at the backend, unseen by anyone.
    Unstageable {
        /// What the API server said.
        message: String,
    },
}
