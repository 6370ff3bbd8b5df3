//! Wrong variants of the protocol, one of which can be switched on in a build with the feature `defects`: a check that
//! does not see them is not one. Never in a release: `keywheel version` says when it is on.
//!
//! Each names the layer of tests that must catch it: the model check where its scenarios reach the mistake, else the
//! simulation.

#[cfg(feature = "defects")]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether a wrong variant is on: `false` in every build without the feature `defects`.
#[cfg(feature = "defects")]
#[macro_export]
macro_rules! defect {
    ($name:ident) => {
        $crate::domain::defect::Defect::$name.is_on()
    };
}

/// Whether a wrong variant is on: `false` in every build without the feature `defects`.
#[cfg(not(feature = "defects"))]
#[macro_export]
macro_rules! defect {
    ($name:ident) => {
        false
    };
}

/// A layer of tests that searches for what a wrong variant breaks.
#[cfg(feature = "defects")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The explicit-state search, `tests/model`.
    Model,
    /// The simulation, `tests/sim`.
    Simulation,
}

#[cfg(feature = "defects")]
impl Layer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Simulation => "simulation",
        }
    }
}

#[cfg(feature = "defects")]
macro_rules! defects {
    ($($name:ident $layer:ident $text:literal),+ $(,)?) => {
        /// A wrong variant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Defect {
            $(#[doc = $text] $name,)+
        }

        impl Defect {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it does wrong.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The layer that must catch it.
            pub fn layer(self) -> Layer {
                match self { $(Self::$name => Layer::$layer,)+ }
            }
        }
    };
}

#[cfg(feature = "defects")]
defects! {
    NoIntent Model "the create leaves before its intent is written",
    KeysBeforeSecret Model "keys of a deleting object end before its Secret",
    PublishBeforeVerify Model "a key is published before the token exchange",
    RebuildForgetsInFlight Model "a rebuilt status has no lost window",
    FinalizerTooEarly Model "the finalizer goes while an attempt is unsettled",
    Denied404 Model "a 403 is read as a 404",
    SupersededDropped Model "the replaced key is dropped from the ledger",
    ResumeIntent Model "an intent that is found is sent again",
    CloseEarly Model "a lost attempt is closed as soon as a list shows nothing",
    KnownIdsRewritten Model "the next attempt rewrites the known ids of the lost ones",
    NoOverlap Model "the replaced key ends at once",
    BlindStatus Model "status writes carry no resource version",
    RetireBlindly Model "a key is ended without a look at the Secret",
    NoConfirm Model "the Secret is not read again before a step that rests on it",
    NoFence Model "a lost attempt counts as fenced at once",
    PublishLost Model "the staged key of a lost attempt is published",
    PostWithoutLease Model "the first publication leaves without the Lease",
    ReadOrder Model "the object is read before the Secret",
    OrphanNoOverlap Model "abandoned keys get no overlap",
    AbsentIsGone Model "a key that one list does not show is taken for gone",
    BlindPublish Model "writes of the Secret carry no resource version",
    LateCreate Model "a create leaves however long after its intent",
    FinalizerIsNoTrace Model "a finalizer without a status counts as an object that was just made",
    UnknownIsRefusal Model "a create without an answer counts as refused",
    GivenUpForgotten Model "an attempt that is given up is dropped, not lost",
    RecordClosesAll Model "a publication closes every lost attempt, not its own only",
    UnstageFirst Model "a staging Secret goes before its key is in the ledger",
    NoLedgerCopy Model "the Secret carries no copy of the ledger",
    FenceOnPaper Model "a fence is recorded without a write of the Secret",
    OverlapFromIntent Model "the overlap counts from the intent, not from the publication",
    RoomFromOverlap Model "a full account makes room by a key in its overlap",
    NoSiblingCheck Model "unknown keys are taken for ours without a look at what other objects say",
    SibIgnoresPending Model "siblings are asked for claims, not for open attempts",
    SibIgnoresUnfenced Model "a sibling's lost attempt counts as fenced at once",
    SibIgnoresWiped Model "a sibling without a status is taken for idle",
    SibBeforeList Model "siblings are read before the list",
    KnownIdsOnly Model "a lost attempt's key is told by known ids alone, not by time",
    DeleteOnSharedAccount Model "the window decides whose a key is on an account that others use, too",
    RebuiltProves Model "the window of a rebuilt status decides whose a key is",
    RetainedKeyEnds Model "the key of a retained Secret ends with its object",
    CountedFromNow Simulation "an edit of the spec counts the next rotation from now",
    MissedTurnsRepeated Simulation "rotations that were missed are made up for, one by one",
    FullAccountTried Simulation "a create leaves although the account is full",
    LostNotCounted Simulation "a lost attempt takes no place on the account",
    DriftWithoutPause Simulation "repairs of drift follow each other without a pause",
    RevokedSurvives Simulation "a revoked key in its overlap survives the revocation",
    RevokeWaitsForRollout Simulation "a revoked key waits for workloads to restart",
    FormerGoesAtOnce Simulation "the Secret of the former name goes at once",
    RenameForgotten Simulation "a rename is not written down before the new Secret",
    PreviousKept Simulation "a key ends while the Secret shows it as the previous one",
    LeaseByWallClock Simulation "the Lease is counted on the clock on the wall",
    SkewIgnored Simulation "keys end while the clocks disagree",
    SuspendEndsKeys Simulation "old keys end while the rotation is suspended",
    RetainedActiveEnds Simulation "the active key ends although its object retains it",
    ExpiryIgnored Simulation "a key's own end does not bring its rotation forward",
    UploadBlindly Simulation "a pair is uploaded again without a look",
    FingerprintDropped Simulation "an ended pair is forgotten although its upload may still be on its way",
    TakenUnproved Simulation "the key of a Secret that was left is believed though the backend refuses it",
    RoleUnrecorded Simulation "a role is bound before it is written down",
    RoleForgotten Simulation "a role that one read of the policy does not show is forgotten",
    ForeignRoleTaken Simulation "roles that others gave the account are taken back, too",
    PolicyBlind Simulation "a policy is written without the etag of what was read",
    RolesOutlive Simulation "an account is deleted before it leaves its bindings",
    UnwrittenAnswers Simulation "a policy that was read and not written counts as the answer to a change",
    BoundUnseen Simulation "an account is deleted while a role that no read shows yet may be bound",
    MemberTaken Simulation "the one role of an account is replaced though others gave it",
    AccountSentAgain Simulation "an account is created again under the name of an attempt whose answer was lost",
    AccountClosedEarly Simulation "an attempt to create an account is closed as soon as a list shows nothing",
    AccountUseUnread Simulation "the account of a lost answer is taken though somebody uses it",
    AccountUnderWayLeft Simulation "an object goes while the account of its attempt may be under way",
}

/// Which variant is on, counted from one; zero: none.
#[cfg(feature = "defects")]
static ON: AtomicUsize = AtomicUsize::new(0);

#[cfg(feature = "defects")]
impl Defect {
    /// Switches one on in the whole process, and every other off.
    pub fn switch_on(one: Option<Self>) {
        ON.store(one.map_or(0, |defect| defect as usize + 1), Ordering::SeqCst);
    }

    /// The variants that a layer must catch.
    pub fn of(layer: Layer) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |defect| defect.layer() == layer)
    }

    /// Whether it is on.
    pub fn is_on(self) -> bool {
        ON.load(Ordering::Relaxed) == self as usize + 1
    }
}
