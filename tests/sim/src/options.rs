//! What a run is.

use taffrail_core::replica::Mutant;

/// A run. The same options are the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Everything random comes from it.
    pub seed: u64,
    /// Simulated time in which things go wrong.
    pub seconds: u64,
    /// How many events a failure shows.
    pub shown: usize,
    /// The rule that is broken in this run.
    pub mutant: Option<Mutant>,
}

impl Options {
    /// The usual run of this seed.
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            seconds: 60,
            shown: 60,
            mutant: None,
        }
    }
}
