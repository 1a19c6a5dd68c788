//! Everything random.

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

/// A stream of random numbers that is the same everywhere.
#[derive(Debug)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// From `low` to less than `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..high)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// In so many of a thousand cases.
    pub(crate) fn happens(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1000) < per_mille
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
