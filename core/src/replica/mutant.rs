//! Rules that tests and simulations can break, to see that the invariants notice. Only with the feature `mutants`, and in this crate's own tests: all others
//! carry nothing of it.

/// Names every rule once: for the enumeration, and for the list of all of them.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A rule, broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(any(test, feature = "mutants"))]
        impl Mutant {
            /// Each of them.
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];
        }
    };
}

mutants! {
    /// A leader serves fetches of any epoch.
    NoEpochCheck,
    /// A leader counts a fetch that diverges.
    DivergingCounted,
    /// A follower counts up to what it has written.
    CountedBeforeDurable,
    /// A leader counts its own unsynced records.
    OwnCountedBeforeDurable,
    /// A leader stops counting a leaver before the map says so.
    ShrinkBeforePersisted,
    /// A leader does not count a newcomer before the map says so.
    ExpansionNotCounted,
    /// A newcomer counts for minInSync before the map says so.
    ExpansionCountedForMin,
    /// Caught up means: at the high watermark.
    CaughtUpByHighWatermark,
    /// Fetches of former incarnations count.
    IncarnationNotCompared,
    /// The high watermark moves with fewer in-sync replicas than minInSync.
    HighWatermarkBelowMin,
    /// A leader takes every log for a beginning of its own.
    NoDivergenceCheck,
    /// A durability completion counts after a truncation.
    OldSyncCounted,
    /// A follower obeys an answer to another tail than it has.
    StaleAnswerObeyed,
    /// Anybody may be elected.
    ElectOutsideIsr,
    /// A broker leads whatever incarnation the map names.
    LeaderIncarnationNotCompared,
    /// A member that restarted is elected like any other.
    UnconfirmedElected,
    /// A late request for a change is accepted.
    LateChangeAccepted,
    /// A leader is elected before enough replicas have reported.
    ElectedBeforeReports,
    /// A record of which a broker knows a newer one is trusted.
    RolledBackMapTrusted,
    /// Records count as durable without an fsync.
    FsyncSkipped,
    /// A controller that takes office raises the partition epochs of what it claims.
    ClaimRaisesPartitionEpoch,
    /// A new map is not listed by the root before it is used.
    MapCreatedWithoutRoot,
    /// A new run of a volume that the store knows is not marked as unconfirmed.
    SnapshotElected,
    /// A truncation is not made durable.
    TruncationNotSynced,
    /// Damage within a log is cut off like a torn tail.
    DamageTakenForTornTail,
    /// A duplicate is answered before its original is committed.
    DuplicateAnsweredEarly,
    /// A group's member commits with any assignment, also with one from before a reset.
    CommitEpochIgnored,
    /// A member gets a partition before the one that has it has given it up.
    PartitionGivenBeforeRevoked,
    /// A coordinator answers before what it answers is stored.
    AnsweredBeforeStored,
    /// A coordinator goes on answering without hearing of its followers.
    SilentFollowerIgnored,
    /// A follower's words count as of when they are read, however long they were on their way.
    LateWordsCounted,
}

#[cfg(test)]
impl Mutant {
    /// The first so many are rules of replicas, which core's own histories show.
    pub(crate) const OF_REPLICAS: usize = 17;
}

#[cfg(feature = "mutants")]
impl Mutant {
    /// From now on this rule is broken on this thread; `None`: none is.
    pub fn choose(mutant: Option<Self>) {
        CHOSEN.set(mutant);
    }
}

#[cfg(feature = "mutants")]
thread_local! {
    /// A simulation runs on one thread, and the code under test does not know of mutants where it is made.
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Is this rule broken on this thread? For rules outside of this module.
#[cfg(feature = "mutants")]
pub fn is_broken(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// No rule is broken.
#[cfg(not(feature = "mutants"))]
pub const fn is_broken(_: Mutant) -> bool {
    false
}

/// Which rule is broken: none, and nothing is stored, outside of tests and simulations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "mutants"), derive(Default))]
pub(crate) struct Broken(#[cfg(any(test, feature = "mutants"))] pub(crate) Option<Mutant>);

#[cfg(feature = "mutants")]
impl Default for Broken {
    fn default() -> Self {
        Self(CHOSEN.get())
    }
}

impl Broken {
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[expect(clippy::unused_self, reason = "tests look at it")]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }

    /// Is any rule broken?
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) const fn is_any(self) -> bool {
        self.0.is_some()
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[expect(clippy::unused_self, reason = "tests look at it")]
    pub(crate) const fn is_any(self) -> bool {
        false
    }
}
