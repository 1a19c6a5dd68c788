//! Broker numbers and sets of them.

/// Numbers ever allotted: one per slot, and one for a volume that was wiped.
pub(crate) const NUMBERS: usize = 4;

/// What maps name a broker by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u8);

impl Number {
    /// Given to the volume that replaces a wiped one.
    pub(crate) const OF_WIPED: Self = Self(3);

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..NUMBERS as u8).map(Self)
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of brokers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub(crate) struct Members(u8);

impl Members {
    pub(crate) const fn of_mask(mask: u8) -> Self {
        Self(mask)
    }

    pub(crate) const fn only(number: Number) -> Self {
        Self(1 << number.0)
    }

    pub(crate) const fn contains(self, number: Number) -> bool {
        self.0 & (1 << number.0) != 0
    }

    #[must_use]
    pub(crate) const fn with(self, number: Number) -> Self {
        Self(self.0 | 1 << number.0)
    }

    #[must_use]
    pub(crate) const fn without(self, number: Number) -> Self {
        Self(self.0 & !(1 << number.0))
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Number> {
        Number::all().filter(move |&number| self.contains(number))
    }
}
