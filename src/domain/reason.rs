//! The closed set of reasons: the same word in condition, event and documentation.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:expr])+ $name:ident $kind:ident),+ $(,)?) => {
        /// Why something is as it is: a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The word itself.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name),)+ }
            }

            /// What it means, as the documentation prints it.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+),)+ }
            }

            /// Whether it is good news, a step on the way, or a failure.
            pub fn kind(self) -> Kind {
                match self { $(Reason::$name => Kind::$kind,)+ }
            }
        }
    };
}

/// What a reason stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All is well.
    Good,
    /// Under way; nothing to do.
    Progress,
    /// Something is wrong.
    Failure,
}

reasons! {
    /// The Secret publishes a key that the backend accepts.
    KeyPublished Good,
    /// The backend accepted the key.
    KeyAccepted Good,
    /// `verification.mode` is `None`: the key was published unproved.
    NotVerified Good,
    /// The account is at the backend as the spec says.
    AccountReady Good,
    /// The account is at the backend and disabled, as the spec says.
    AccountDisabled Good,
    /// The backend answers and the login is accepted.
    BackendReady Good,
    /// Both clocks agree.
    ClocksAgree Good,
    /// The login has every permission that the operator may need.
    PermissionsComplete Good,
    /// An account was created at the backend.
    AccountCreated Good,
    /// An account that was already at the backend was taken over.
    AccountAdopted Good,
    /// An account that was deleted was brought back.
    AccountRestored Good,
    /// An account was changed at the backend to what the spec says.
    AccountUpdated Good,
    /// The account has the roles of its spec.
    RolesBound Good,
    /// The answer to the creation of an account was lost: what it made is waited for.
    AccountPending Progress,
    /// The roles of the spec are being bound.
    RolesPending Progress,
    /// The project has the services of the spec.
    ServicesEnabled Good,
    /// The services of the spec are being enabled, which takes some minutes.
    ServicesPending Progress,
    /// The `ConfigMaps` hold what the account publishes.
    ConfigMapsPublished Good,
    /// The project is registered for Earth Engine.
    EarthEngineRegistered Good,
    /// An account was deleted at the backend.
    AccountDeleted Good,
    /// A key was disabled at the end of its overlap.
    KeyDisabled Good,
    /// A disabled key was enabled again because the Secret publishes it.
    KeyEnabled Good,
    /// A key was deleted at the backend.
    KeyDeleted Good,
    /// A workload was restarted to read a new key.
    WorkloadRestarted Good,
    /// A key that a lost attempt made was found and is ended in time.
    OrphanAdopted Good,
    /// A Secret that an earlier object of this name left is ours now.
    SecretTakenOver Good,
    /// A Secret that published the key under a former name is deleted.
    FormerSecretDeleted Good,
    /// The old key stays enabled until the workloads of `rolloutRestart` have come up again.
    RolloutNotDone Progress,
    /// The old key stays enabled: as far as the backend tells, it was used within `rotation.requireUnusedFor`.
    KeyInUse Progress,
    /// An old key was disabled although it seems to be in use: it was held for `rotation.deleteAfter`.
    StillUsedAtRetirement Failure,
    /// A rotation or a revocation was asked for with a time before all keys were made: name a later one.
    RequestWithoutEffect Failure,
    /// A key that no object owns was ended, as `unmanagedKeys` says.
    UnmanagedKeyEnded Good,
    /// Somebody else deleted or disabled a key of ours at the backend.
    KeyEndedByOthers Failure,
    /// Somebody enabled a key again that we had disabled; it is left so.
    KeyEnabledByOthers Failure,
    /// The backend says something about a key that a person should know, such as that it was found exposed.
    KeyReported Failure,
    /// An annotation that asks for something cannot be understood. Write a time as RFC 3339.
    InvalidAnnotation Failure,
    /// The spec asks for something that the backend cannot do. Remove the field that the message names.
    CapabilityMissing Failure,
    /// The Secret was rewritten from the published key: its entries, labels or annotations had changed.
    SecretRepaired Good,
    /// The status was written anew from the Secret's annotations.
    StatusRebuilt Good,
    /// The first key is being made.
    Creating Progress,
    /// A new key is being made; the old one stays published until it is proved.
    Rotating Progress,
    /// The object is being deleted.
    Deleting Progress,
    /// The backend has not accepted the new key yet; it is tried again. Fresh keys take up to minutes.
    KeyNotYetAccepted Progress,
    /// The published key stopped working by itself, and there is none to take its place yet.
    KeyExpired Failure,
    /// A Secret that is being deleted is held by finalizers of others. Whoever put them there must take them off.
    SecretHeld Failure,
    /// The API server refused to restart a workload of `rolloutRestart`. The old key stays enabled meanwhile.
    RestartRefused Failure,
    /// Rotation is suspended: nothing is made, disabled or deleted.
    Suspended Progress,
    /// The account is kept until no `ServiceAccountKey` refers to it. Delete those that the message names.
    WaitingForKeys Progress,
    /// The backend is kept until no `ServiceAccount` refers to it. Delete those that the message names.
    WaitingForAccounts Progress,
    /// An attempt to make a key ended without an answer; it is watched until its key can no longer appear.
    WaitingForLostAttempt Failure,
    /// The spec asks for something impossible; the message says what. Correct the spec.
    InvalidSpec Failure,
    /// The cron expression in `rotation.schedule` is not valid, or never fires.
    InvalidSchedule Failure,
    /// `rotation.timeZone` is no time zone of the IANA database.
    InvalidTimeZone Failure,
    /// A duration in the spec is not valid.
    InvalidDuration Failure,
    /// `rotation.overlap` is not shorter than the time between two rotations.
    OverlapTooLong Failure,
    /// The backend does not offer the key algorithm. Choose one that its status lists.
    AlgorithmUnsupported Failure,
    /// The Secret's name is taken by an object that is not ours. Remove that Secret, or delete this object
    /// and apply it with another `secret.name`.
    SecretConflict Failure,
    /// The Secret was deleted by somebody else; a new key is made and published.
    SecretMissing Failure,
    /// The Secret no longer holds the credential; a new key is made and published.
    SecretEdited Failure,
    /// Somebody keeps changing the Secret's entries, labels or annotations; it is written again ever more seldom.
    SecretContested Failure,
    /// The API server refused to store the Secret (permission, quota, admission): no key is made before it can.
    SecretRefused Failure,
    /// The name of a `ConfigMap` is taken by one that is not ours. Remove that one, or choose another `configMapName`.
    ConfigMapConflict Failure,
    /// The API server refused to read, store or delete a `ConfigMap` (permission, quota, admission). It is tried again.
    ConfigMapRefused Failure,
    /// A `ConfigMap` that is being deleted is held by finalizers of others. Whoever put them there must take them off.
    ConfigMapHeld Failure,
    /// The `ServiceAccount` does not exist in this namespace. Create it.
    AccountMissing Failure,
    /// The `ServiceAccount` is not ready; its own conditions say why.
    AccountNotReady Failure,
    /// The `ServiceAccount` is being deleted: no key is made for it.
    AccountDeleting Failure,
    /// The account is already at the backend. Set `adoptionPolicy: IfExists` to take it over.
    AccountExists Failure,
    /// There is no such account at the backend, and `adoptionPolicy: Required` forbids to create one.
    AccountNotFound Failure,
    /// The account was deleted at the backend behind our back. Restore it there, or delete this object and
    /// apply it again.
    AccountGone Failure,
    /// The answer to the creation of an account was lost, and what it may have made is in use: somebody must say whose it is.
    AccountSuspect Failure,
    /// Another account has taken this e-mail at the backend. Delete this object and apply it again.
    AccountRecreated Failure,
    /// Other `ServiceAccount` objects, in this cluster or another, have the account, too: `unmanagedKeys` ends nothing on it.
    /// Keep one object, or set `unmanagedKeys: Report`.
    AccountShared Failure,
    /// The backend's `tenants.adoption` does not let namespaces adopt accounts.
    AdoptionNotAllowed Failure,
    /// The account id does not match the backend's `tenants.accountIdPattern`.
    AccountIdNotAllowed Failure,
    /// The backend's `tenants.roles` does not let namespaces ask for this role.
    RoleNotAllowed Failure,
    /// The backend's `tenants.services` does not let namespaces ask for this service.
    ServiceNotAllowed Failure,
    /// The project is not registered for Earth Engine. Only a person can do that, in the console.
    EarthEngineNotRegistered Failure,
    /// A role is asked for on something that this backend's accounts get no roles on.
    ResourceNotAllowed Failure,
    /// The backend that the spec names does not exist, or is being deleted.
    BackendNotFound Failure,
    /// The backend's login now belongs to another project than the account. Put the old login back, or let the
    /// object go with the annotation `keywheel.dev/abandon`.
    BackendChanged Failure,
    /// The backend does not allow this namespace.
    NamespaceNotAllowed Failure,
    /// The backend did not answer, or answered with an error of its own.
    BackendUnreachable Failure,
    /// The backend asked to come back later.
    BackendThrottled Failure,
    /// The Secret with the backend's login is missing, or has no such data key.
    LoginMissing Failure,
    /// The Secret with the backend's login does not hold a usable credentials file.
    LoginInvalid Failure,
    /// The backend refused the login.
    LoginRefused Failure,
    /// The login Secret is gone while objects still wait for their deletion. Restore it, or let the objects go
    /// with the annotation `keywheel.dev/abandon`.
    BackendLoginLost Failure,
    /// The login lacks a permission; the message names it.
    PermissionMissing Failure,
    /// The backend does not know what it was asked for. Of a backend's own object: there is no such project, and `projectId` cannot
    /// be changed. Delete the object, and apply it with the right one.
    NotFoundAtBackend Failure,
    /// A key that was published has an algorithm that can be broken. Set `spec.algorithm: RSA_2048`.
    WeakAlgorithm Failure,
    /// The account has no room for another key: the message lists the keys. Delete one.
    QuotaExhausted Failure,
    /// The state of the account forbids the call. On Google a new key is refused so where the account has ten already: keys are
    /// counted before the next try.
    PreconditionFailed Failure,
    /// A policy of the organization, which the message names, forbids the call. Ask for an exception; where keys may not be
    /// created, `keySource: Local` uploads one instead, if that is allowed.
    OrgPolicyForbids Failure,
    /// The backend did not understand or does not support the request.
    RequestRefused Failure,
    /// The backend has refused the new key for longer than `verification.timeout`. The same key is tried on.
    VerificationTimeout Failure,
    /// The backend's clock and the operator's differ by more than 5 min: nothing is made or ended.
    ClockSkew Failure,
    /// No key is made for a while: too many attempts without a result, or somebody keeps changing the Secret.
    BackingOff Failure,
    /// Keys exist that could be ours and cannot be proved so: they are listed and never touched.
    SuspectKeys Failure,
    /// The object was let go without what it made: because of `keywheel.dev/abandon`, or because others have the same account, or
    /// nothing proves it ours any more. The message names what is left at the backend.
    Abandoned Failure,
    /// The object cannot be read: a field has a type that this version does not know.
    InvalidObject Failure,
    /// A pass over this object failed inside Keywheel. Other objects go on.
    InternalError Failure,
}

impl Reason {
    /// The reason that a condition carries.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.as_str() == word)
    }

    /// Whether it is a step on the way, not a failure.
    pub fn is_progress(self) -> bool {
        self.kind() == Kind::Progress
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_parse_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
