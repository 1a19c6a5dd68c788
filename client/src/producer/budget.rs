//! The memory that records not yet acknowledged may take.

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};

use tokio::sync::Notify;

/// Bytes are taken in steps of this, so that most records touch no shared counter.
const STEP_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Budget {
    free: AtomicUsize,
    total: usize,
    freed: Notify,
}

impl Budget {
    pub(super) fn new(total: usize) -> Self {
        Self {
            free: AtomicUsize::new(total),
            total,
            freed: Notify::new(),
        }
    }

    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Raises what a batch has taken to cover `needed`; says whether there was room.
    #[inline]
    pub(super) fn cover(&self, taken: &mut usize, needed: usize) -> bool {
        if needed <= *taken {
            return true;
        }
        let step = (needed - *taken).max(STEP_BYTES).min(self.total - *taken);
        if needed > *taken + step {
            return false;
        }
        let got = self
            .free
            .try_update(AcqRel, Acquire, |free| free.checked_sub(step))
            .is_ok();
        if got {
            *taken += step;
        }
        got
    }

    /// Gives back and wakes who waits for room.
    pub(super) fn give_back(&self, bytes: usize) {
        self.free.fetch_add(bytes, AcqRel);
        self.freed.notify_waiters();
    }

    /// Is anything taken?
    pub(super) fn is_idle(&self) -> bool {
        self.free.load(Acquire) == self.total
    }

    /// Resolves when something is given back. Register (`enable`) before trying, so that nothing is missed.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_in_steps_and_given_back() {
        let budget = Budget::new(10_000);
        let mut taken = 0;
        assert!(budget.cover(&mut taken, 100));
        assert_eq!(taken, STEP_BYTES);
        assert!(budget.cover(&mut taken, STEP_BYTES));
        assert!(budget.cover(&mut taken, 8_000));
        assert_eq!(taken, 2 * STEP_BYTES);
        let mut other = 0;
        assert!(!budget.cover(&mut other, 100), "less than a step is left");
        budget.give_back(taken);
        assert!(budget.cover(&mut other, 100));
        budget.give_back(other);
        assert!(budget.is_idle());
    }

    #[test]
    fn a_batch_may_take_all_there_is() {
        let budget = Budget::new(5_000);
        let mut taken = 0;
        assert!(budget.cover(&mut taken, 4_500));
        assert!(budget.cover(&mut taken, 5_000));
        assert!(!budget.cover(&mut taken, 5_001));
    }
}
