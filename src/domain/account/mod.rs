//! The life of an account, as a pure function: [`plan`] of an [`Observation`].

mod adopting;
mod asked_roles;
mod capability;
mod creating;
mod deleting;
mod difference;
mod documents;
mod noted;
mod plan;
mod restoring;
mod roles;
mod services;
mod sharing;
mod sweep;
#[cfg(test)]
mod tests;
mod unbinding;
mod unmanaged;

use std::time::Duration;

pub use creating::Roll;
pub use documents::{ConfigMapState, ConfigMapView, DATA_KEYS, Data, Documents, OurConfigMap, PublicKeys};
pub use plan::{handle, is_account_id, plan};
pub use roles::{Membership, PolicyChange, PolicyView};
pub use services::ServiceView;
pub use sweep::{Content, Leftover};
pub use unmanaged::{Census, Unclaimed};

use super::{Capabilities, Event, Reason, Trouble};
use crate::api::v1alpha1::{ServiceAccountSpec, ServiceAccountStatus};

/// What one pass has seen.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that were read, not states to be combined")]
pub struct Observation {
    /// Name of the object; the account id where the spec names none.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// Whether a person asked to let it go.
    pub abandon: bool,
    /// What people want.
    pub spec: ServiceAccountSpec,
    /// What was recorded.
    pub status: ServiceAccountStatus,
    /// What the object's annotation says of its account.
    pub noted: Option<String>,
    /// The mark that an account of this object carries in its description.
    pub owner_mark: String,
    /// Whether calls can be made, and what this object may ask; `Err` says why not.
    pub backend: Result<Grants, (Reason, String)>,
    /// The account at the backend.
    pub account: Option<Result<Option<Account>, Trouble>>,
    /// All accounts of the project, where the backend chooses ids.
    pub roll: Option<Result<Roll, Trouble>>,
    /// Whether an account that is found there has keys or roles.
    pub in_use: Option<Result<bool, Trouble>>,
    /// A name for the next attempt to create an account.
    pub fresh_nonce: String,
    /// The attempt that this process wrote down and has not sent.
    pub own_attempt: Option<String>,
    /// Other objects of this cluster on the same account, as namespace/name; read before it is called ours alone.
    pub shared_with: Option<Vec<String>>,
    /// Names of the keys that refer to this object; read when it is deleting.
    pub keys: Option<Vec<String>>,
    /// What force-deleted keys left behind.
    pub leftovers: Option<Vec<Leftover>>,
    /// Whether the keys of the account are to be counted: once an audit period.
    pub census_due: bool,
    /// The keys of the account and who owns them.
    pub census: Option<Result<Census, Trouble>>,
    /// What the policies say of the account in which it has roles, or shall have some.
    pub policies: Option<Vec<PolicyView>>,
    /// The services that the account asks for.
    pub services: Option<Vec<ServiceView>>,
    /// How Earth Engine calls the registration of the project.
    pub earth_engine: Option<Result<String, Trouble>>,
    /// Whether what the account publishes is to be looked at.
    pub documents_due: bool,
    /// What it publishes, and the `ConfigMaps` for it.
    pub documents: Option<Documents>,
    /// What this reconcile did before.
    pub done: Done,
    /// Whether this pass deleted the account: its absence is then no lag.
    pub ended: bool,
    /// The backend's refusal of the step that this pass took.
    pub refused: Option<Trouble>,
}

/// What earlier passes of a reconcile did: reads may not show it yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Keys that were ended.
    pub ended: Vec<String>,
    /// Keys that no object owns and that were to be ended, whatever came of it.
    pub tried: Vec<String>,
    /// The backend's refusal of the last change of a policy: it is not made again in the same reconcile.
    pub bind_refused: Option<Trouble>,
    /// Services that were asked for.
    pub asked: Vec<String>,
    /// Services that were refused, and why.
    pub refused: Vec<(String, Trouble)>,
    /// The e-mail of the deleted account that was brought back.
    pub restored: Option<String>,
    /// `ConfigMaps` of which the API server refused a write or the deletion, and what it said.
    pub refused_maps: Vec<(String, String)>,
}

/// What the backend lets this object ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// What the backend can do.
    pub can: Capabilities,
    /// Whether an account that is already there may be adopted.
    pub adoption: bool,
    /// Whether a deleted account that was somebody else's may be brought back.
    pub undelete: bool,
    /// Whether the account id is one that this namespace may have; `Err` is the pattern.
    pub account_id: Result<(), String>,
    /// Project of the backend.
    pub project: String,
    /// The roles that this namespace may ask for; `None`: all.
    pub roles: Option<Vec<String>>,
    /// The services that this namespace may ask for; `None`: all.
    pub services: Option<Vec<String>>,
}

/// An account as the backend shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Full resource name.
    pub name: String,
    /// E-mail.
    pub email: String,
    /// The backend's own id.
    pub unique_id: String,
    /// Name for people.
    pub display_name: String,
    /// Text for people, our mark included.
    pub description: String,
    /// Whether it is disabled.
    pub disabled: bool,
    /// Whether its keys are let in by basic auth.
    pub basic_auth: bool,
}

/// What a pass shall do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do now.
    pub next: Next,
    /// The status afterwards; written, guarded, if it differs from the one read.
    pub status: ServiceAccountStatus,
    /// When to look again if nothing happens.
    pub requeue: Duration,
    /// What to tell once it is done.
    pub events: Vec<Event>,
}

/// What a pass shall do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the account at the backend.
    NeedAccount,
    /// List the accounts of the project.
    NeedRoll,
    /// Read whether this account has keys or roles.
    NeedUse {
        /// The account, by its unique id.
        unique_id: String,
    },
    /// List the other objects on this account.
    NeedSharers,
    /// List the keys that refer to this object.
    NeedKeys,
    /// Look for what force-deleted keys left behind.
    NeedLeftovers,
    /// Count the keys of the account.
    NeedCensus {
        /// Whether objects of other namespaces may own some.
        everywhere: bool,
    },
    /// Read the policies of these resources.
    NeedPolicies {
        /// Their names.
        resources: Vec<String>,
    },
    /// Read whether these services are enabled.
    NeedServices {
        /// Their names.
        names: Vec<String>,
    },
    /// Read these `ConfigMaps`, and what the spec wants in them.
    NeedDocuments {
        /// Their names.
        names: Vec<String>,
    },
    /// Ask Earth Engine whether the project is registered.
    NeedEarthEngine,
    /// One effect.
    Act(Step),
    /// Nothing but the status.
    Wait,
}

/// One effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add our finalizer.
    AddFinalizer,
    /// Let the object go.
    RemoveFinalizer,
    /// Create the account.
    Create {
        /// Its id.
        account_id: String,
        /// Name for people.
        display_name: String,
        /// Text for people with our mark.
        description: String,
        /// Whether its keys are let in by basic auth.
        basic_auth: bool,
    },
    /// Bring back an account that was deleted.
    Undelete {
        /// The account, by its unique id.
        unique_id: String,
    },
    /// Note on the object which account it has.
    Note {
        /// Value of the annotation.
        value: String,
    },
    /// Change what people read.
    Describe {
        /// The account, by its unique id.
        unique_id: String,
        /// New name, if it changes.
        display_name: Option<String>,
        /// New text, if it changes.
        description: Option<String>,
        /// Whether its keys are to be let in by basic auth, if that changes.
        basic_auth: Option<bool>,
    },
    /// Disable or enable the account.
    SetDisabled {
        /// The account, by its unique id.
        unique_id: String,
        /// Whether it shall be disabled.
        disabled: bool,
    },
    /// Change the policy of a resource.
    Bind(PolicyChange),
    /// Enable a service of the project.
    EnableService {
        /// Its name.
        name: String,
    },
    /// Write into a `ConfigMap` what the account publishes.
    WriteConfigMap {
        /// Its name.
        name: String,
        /// What shall stand under our data keys.
        data: Data,
        /// The version that was read; none where there is no such `ConfigMap`.
        over: Option<String>,
    },
    /// Delete a `ConfigMap` of ours that the spec no longer names.
    DeleteConfigMap {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The version that was read.
        resource_version: String,
    },
    /// Disable a key that no object owns.
    DisableKey {
        /// The account, by its unique id.
        unique_id: String,
        /// The key.
        key_id: String,
    },
    /// Delete a key that a force-deleted object left behind, or that no object owns.
    DeleteKey {
        /// The account, by its unique id.
        unique_id: String,
        /// The key.
        key_id: String,
    },
    /// Delete the staging Secret of such a key.
    Unstage {
        /// Name of the Secret.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Delete the account.
    Delete {
        /// The account, by its unique id.
        unique_id: String,
    },
}
