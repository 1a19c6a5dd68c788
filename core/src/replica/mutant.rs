//! Rules that tests can break, to see that the invariants notice.

/// A rule, broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
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
}

#[cfg(test)]
impl Mutant {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::NoEpochCheck,
        Self::DivergingCounted,
        Self::CountedBeforeDurable,
        Self::OwnCountedBeforeDurable,
        Self::ShrinkBeforePersisted,
        Self::ExpansionNotCounted,
        Self::ExpansionCountedForMin,
        Self::CaughtUpByHighWatermark,
        Self::IncarnationNotCompared,
        Self::HighWatermarkBelowMin,
        Self::NoDivergenceCheck,
        Self::OldSyncCounted,
        Self::StaleAnswerObeyed,
        Self::ElectOutsideIsr,
        Self::LeaderIncarnationNotCompared,
        Self::UnconfirmedElected,
        Self::LateChangeAccepted,
    ];
}

/// Which rule is broken: none, and nothing is stored, outside of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Broken(#[cfg(test)] pub(crate) Option<Mutant>);

impl Broken {
    #[cfg(test)]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests look at it")]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }
}
