//! Fetches that wait at the tail.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Those who want to know when a partition has something new. One waiter may wait on many partitions.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Vec<Arc<Notify>>>);

impl Waiters {
    /// Wakes `waiter` once, with the next news. Look at the partition after this, or news may be missed.
    pub(crate) fn add(&self, waiter: &Arc<Notify>) {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiters.iter().any(|w| Arc::ptr_eq(w, waiter)) {
            // Those who gave up hold no other reference.
            waiters.retain(|w| Arc::strong_count(w) > 1);
            waiters.push(Arc::clone(waiter));
        }
    }

    /// There is news.
    pub(crate) fn wake(&self) {
        let waiters = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for waiter in waiters {
            waiter.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn news_before_the_wait_are_not_missed() {
        let (waiters, waiter) = (Waiters::default(), Arc::new(Notify::new()));
        waiters.add(&waiter);
        waiters.wake();
        assert!(waiter.notified().now_or_never().is_some());
        waiters.wake();
        assert!(waiter.notified().now_or_never().is_none(), "woken once");
    }

    #[test]
    fn waiters_that_gave_up_are_forgotten() {
        let waiters = Waiters::default();
        for _ in 0..100 {
            waiters.add(&Arc::new(Notify::new()));
        }
        assert!(waiters.0.lock().expect("not poisoned").len() <= 1);
    }
}
