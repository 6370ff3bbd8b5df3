//! Wrong variants of the protocol, one of which can be switched on in a build with the feature `defects`: a check that
//! does not see them is not one. Never in a release: `keywheel version` says when it is on.

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

#[cfg(feature = "defects")]
macro_rules! defects {
    ($($name:ident $text:literal),+ $(,)?) => {
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
        }
    };
}

#[cfg(feature = "defects")]
defects! {
    NoIntent "the create leaves before its intent is written",
    KeysBeforeSecret "keys of a deleting object end before its Secret",
    PublishBeforeVerify "a key is published before the token exchange",
    RebuildForgetsInFlight "a rebuilt status has no lost window",
    FinalizerTooEarly "the finalizer goes while an attempt is unsettled",
    Denied404 "a 403 is read as a 404",
    SupersededDropped "the replaced key is dropped from the ledger",
    ResumeIntent "an intent that is found is sent again",
    CloseEarly "a lost attempt is closed as soon as a list shows nothing",
    KnownIdsRewritten "the next attempt rewrites the known ids of the lost ones",
    NoOverlap "the replaced key ends at once",
    BlindStatus "status writes carry no resource version",
    RetireBlindly "a key is ended without a look at the Secret",
    NoConfirm "the Secret is not read again before a step that rests on it",
    NoFence "a lost attempt counts as fenced at once",
    PublishLost "the staged key of a lost attempt is published",
    PostWithoutLease "the first publication leaves without the Lease",
    ReadOrder "the object is read before the Secret",
    OrphanNoOverlap "abandoned keys get no overlap",
    AbsentIsGone "a key that one list does not show is taken for gone",
    BlindPublish "writes of the Secret carry no resource version",
    LateCreate "a create leaves however long after its intent",
    FinalizerIsNoTrace "a finalizer without a status counts as an object that was just made",
    UnknownIsRefusal "a create without an answer counts as refused",
    GivenUpForgotten "an attempt that is given up is dropped, not lost",
    RecordClosesAll "a publication closes every lost attempt, not its own only",
    UnstageFirst "a staging Secret goes before its key is in the ledger",
    NoLedgerCopy "the Secret carries no copy of the ledger",
    FenceOnPaper "a fence is recorded without a write of the Secret",
    OverlapFromIntent "the overlap counts from the intent, not from the publication",
    RoomFromOverlap "a full account makes room by a key in its overlap",
    RetainedKeyEnds "the key of a retained Secret ends with its object",
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

    /// Whether it is on.
    pub fn is_on(self) -> bool {
        ON.load(Ordering::Relaxed) == self as usize + 1
    }
}
