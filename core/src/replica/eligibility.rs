//! What a replica on a broker that starts is worth (KIP-966), from what its disk and its machine say.

use crate::topic::Durability;

/// How a broker finds a replica when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Of the log.
    pub log: FoundLog,
    /// The broker stopped in order, and the log has the mark of it.
    pub clean_stop: bool,
    /// What the topic's producers were promised.
    pub durability: Durability,
    /// It is the node, and the run of its kernel, that wrote the log: what was written and not synced is still in the page cache.
    pub same_boot: bool,
}

/// A log as it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundLog {
    /// It opens. A torn tail, which nobody counted on, was cut.
    Whole,
    /// Its directory is not there, although the volume is the one that had it.
    Missing,
    /// It cannot be opened or does not end where it must: its bytes stay as they are.
    Damaged,
}

/// What a replica may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Everything it once reported as durable is there.
    Whole,
    /// It may have less than it once reported. It leaves the in-sync set, and is elected only if no member is better off.
    MayLack,
    /// It is gone or cannot be read. It leaves the in-sync set, unless it is the last member, and is never elected; it is rebuilt from
    /// another.
    Unusable,
}

impl Found {
    /// What this replica may claim. Whatever it is, as a member it is unconfirmed: the volume may be an older copy of itself.
    ///
    /// ```
    /// use taffrail_core::{Durability, replica::{Found, FoundLog, Standing}};
    /// let after_power_cut = Found {
    ///     log: FoundLog::Whole,
    ///     clean_stop: false,
    ///     durability: Durability::PageCache,
    ///     same_boot: false,
    /// };
    /// assert_eq!(after_power_cut.standing(), Standing::MayLack);
    /// ```
    pub const fn standing(self) -> Standing {
        match (self.log, self.durability) {
            (FoundLog::Damaged | FoundLog::Missing, _) => Standing::Unusable,
            (FoundLog::Whole, Durability::PageCache) if !self.clean_stop && !self.same_boot => {
                Standing::MayLack
            }
            (FoundLog::Whole, _) => Standing::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(
        log: FoundLog,
        clean_stop: bool,
        durability: Durability,
        same_boot: bool,
    ) -> Standing {
        let found = Found {
            log,
            clean_stop,
            durability,
            same_boot,
        };
        found.standing()
    }

    #[test]
    fn fsync_survives_every_stop_and_page_cache_needs_a_clean_one_or_the_same_kernel() {
        for (durability, clean, same_boot, expected) in [
            (Durability::Fsync, false, false, Standing::Whole),
            (Durability::PageCache, true, false, Standing::Whole),
            (Durability::PageCache, false, true, Standing::Whole),
            (Durability::PageCache, false, false, Standing::MayLack),
        ] {
            assert_eq!(
                standing(FoundLog::Whole, clean, durability, same_boot),
                expected
            );
        }
    }

    #[test]
    fn what_is_missing_or_damaged_is_never_used() {
        for clean in [true, false] {
            let of = |log| standing(log, clean, Durability::PageCache, true);
            assert_eq!(of(FoundLog::Missing), Standing::Unusable);
            assert_eq!(of(FoundLog::Damaged), Standing::Unusable);
        }
    }
}
