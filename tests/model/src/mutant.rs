//! Broken rules. Each shows that the model would notice if the rule were missing.

use std::fmt;

use clap::ValueEnum;

/// One rule of the architecture, broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, ValueEnum)]
pub enum Mutant {
    /// A broker leads whenever the map names its number, whichever incarnation was elected
    LeaderIncarnationIgnored,
    /// A registration writes the Broker object before the maps
    BrokerWrittenFirst,
    /// An ISR request counts although the assignment changed since
    LateIsrRequestAccepted,
    /// Caught up is measured by the high watermark alone
    CaughtUpByHighWatermark,
    /// A claim raises the partition epoch
    ClaimRaisesPartitionEpoch,
    /// The store is doubted by the controller's stamp instead of the assignment's version
    DoubtByStamp,
    /// An election does not wait for replicas - minInSync + 1 reports
    ElectionBeforeReports,
    /// A restarted member may be elected at once
    RestartedElectedAtOnce,
    /// Incarnations have no generation: every unknown one looks like an older volume
    IncarnationWithoutGeneration,
    /// The election inside a registration does not wait for reports
    RegistrationElectsBeforeReports,
    /// A fetch that diverged counts for the high watermark
    DivergedFetchCounts,
    /// Brokers order maps by the controller's stamp alone
    MapsOrderedByStamp,
    /// A restarted leader resumes its epoch
    OldEpochResumed,
    /// The high watermark moves although the ISR is smaller than minInSync
    HighWatermarkBelowMinInSync,
    /// A record counts before it is synced
    CountedBeforeSync,
    /// Any replica may be elected
    ElectedOutsideIsr,
    /// A leaver stops counting before the shrink is persisted
    ShrinkBeforePersisted,
    /// A newcomer counts only when the expansion is persisted
    ExpandAfterPersisted,
    /// A new controller does not claim the map
    MapNotClaimed,
    /// A store that went back in time is trusted
    RolledBackMapTrusted,
    /// A wiped volume keeps its number
    WipedKeepsNumber,
    /// A follower applies an answer that it asked of an earlier leader
    AnswerOfOldEpochApplied,
    /// A follower applies an answer although its log has changed since it asked
    AnswerForOtherLogApplied,
    /// The leader confirms a restarted member before it has caught up
    ConfirmedAtFirstReport,
    /// A newcomer or a confirmation is checked against the Broker object, which a registration writes last
    OldIncarnationConfirmed,
    /// A new controller takes every member for confirmed
    UnconfirmedForgotten,
    /// The last member of an ISR below minInSync wins without asking others, although unconfirmed
    LastMemberElectedAlone,
    /// The ISR shrinks below minInSync although nobody lost data
    ShrunkBelowMinInSync,
    /// A map is sent before the root lists it
    UnlistedMapUsed,
    /// A topic is created before the brokers said that they have nothing of it
    CreatedUnheard,
    /// A broker deletes what the root does not list
    DeletedWhenAbsent,
    /// A tombstone does not wait for a replica that is away
    TombstoneDroppedEarly,
    /// A tombstone does not wait for brokers that held a replica before
    FormerHoldersForgotten,
    /// A member keeps its standing although its node's page cache is gone
    BootIdIgnored,
    /// The last member is elected although it stopped uncleanly
    UncleanLastMemberElected,
    /// Without a candidate only the members of the ISR are awaited
    RecoveredFromIsrAlone,
    /// A duplicate is answered before the original is below the high watermark
    DuplicateAnsweredEarly,
    /// The producer state is not truncated with the log
    ProducersNotTruncated,
    /// A leader does not know what earlier leaders appended
    DuplicateAppended,
}

impl Mutant {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// The rule as it was worded before the model showed that the wording loses records.
    pub const EARLIER_WORDING: [Self; 10] = [
        Self::LeaderIncarnationIgnored,
        Self::BrokerWrittenFirst,
        Self::LateIsrRequestAccepted,
        Self::CaughtUpByHighWatermark,
        Self::ClaimRaisesPartitionEpoch,
        Self::DoubtByStamp,
        Self::ElectionBeforeReports,
        Self::RestartedElectedAtOnce,
        Self::IncarnationWithoutGeneration,
        Self::RegistrationElectsBeforeReports,
    ];
}

/// A set of broken rules; empty: the rules in force.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Mutants(u64);

impl Mutants {
    /// The rules in force.
    pub const NONE: Self = Self(0);

    /// All of the earlier wording.
    pub fn earlier_wording() -> Self {
        Mutant::EARLIER_WORDING.into_iter().collect()
    }

    /// Is this rule broken?
    pub const fn contains(self, mutant: Mutant) -> bool {
        self.0 & (1 << mutant as u32) != 0
    }

    /// With this rule broken too.
    #[must_use]
    pub const fn with(self, mutant: Mutant) -> Self {
        Self(self.0 | 1 << mutant as u32)
    }

    /// With this rule in force.
    #[must_use]
    pub const fn without(self, mutant: Mutant) -> Self {
        Self(self.0 & !(1 << mutant as u32))
    }
}

impl FromIterator<Mutant> for Mutants {
    fn from_iter<I: IntoIterator<Item = Mutant>>(mutants: I) -> Self {
        mutants.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Mutants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Mutant::value_variants().iter();
        f.debug_set()
            .entries(all.filter(|&&mutant| self.contains(mutant)))
            .finish()
    }
}
