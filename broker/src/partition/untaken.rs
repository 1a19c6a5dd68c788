//! Answers that wait for a client that does not read. Its requests are not read then either: the broker holds no more than so many for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many answers of one stream were sent and not taken by the connection.
#[derive(Debug, Default)]
pub(crate) struct Untaken {
    count: AtomicUsize,
    taken: Notify,
}

impl Untaken {
    /// To be called before an answer is sent.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// To be called when the connection takes an answer.
    pub(crate) fn take(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        // Kept for the one who will wait, if nobody does now.
        self.taken.notify_one();
    }

    /// Resolves when there are fewer than `max`. For one at a time.
    pub(crate) async fn below(&self, max: usize) {
        while self.count.load(Ordering::Acquire) >= max {
            self.taken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_has_too_many_waits_until_one_is_taken() {
        let untaken = Untaken::default();
        untaken.add();
        assert!(untaken.below(2).now_or_never().is_some());
        untaken.add();
        assert!(untaken.below(2).now_or_never().is_none());
        untaken.take();
        assert!(untaken.below(2).now_or_never().is_some());
    }
}
