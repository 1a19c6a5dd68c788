//! The fate of a batch, shared by the deliveries of all its records.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use taffrail_core::{Offset, PartitionIndex};

use crate::{error::ProduceError, record::RecordMetadata};

/// What a broker said of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acked {
    /// `None` with `Acks::None`.
    pub(super) base_offset: Option<Offset>,
    pub(super) append_time_ms: i64,
}

/// Decided once.
#[derive(Debug)]
pub(super) struct Completion {
    partition: PartitionIndex,
    outcome: OnceLock<Result<Acked, ProduceError>>,
    waiting: Mutex<Vec<Waker>>,
}

impl Completion {
    pub(super) fn new(partition: PartitionIndex) -> Arc<Self> {
        Arc::new(Self {
            partition,
            outcome: OnceLock::new(),
            waiting: Mutex::default(),
        })
    }

    /// Decides, unless that was done before, and wakes who waits.
    pub(super) fn decide(&self, outcome: Result<Acked, ProduceError>) {
        if self.outcome.set(outcome).is_ok() {
            let waiting = std::mem::take(&mut *self.waiting());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn get(&self, index: u32) -> Option<Result<RecordMetadata, ProduceError>> {
        let outcome = self.outcome.get()?;
        Some(outcome.clone().map(|acked| RecordMetadata {
            partition: self.partition,
            offset: acked.base_offset.map(|base| base.plus(u64::from(index))),
            append_time_ms: acked.append_time_ms,
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fate of one record: a future. Dropping it changes nothing, the record is sent all the same and `flush` tells if it failed.
#[derive(Debug)]
#[must_use = "await it to know whether the record was stored, or call flush"]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    /// Where this delivery's waker is among the waiting.
    slot: Option<usize>,
}

impl Delivery {
    pub(super) const fn new(completion: Arc<Completion>, index: u32) -> Self {
        Self {
            completion,
            index,
            slot: None,
        }
    }

    /// The outcome, if it is known already.
    pub fn try_get(&self) -> Option<Result<RecordMetadata, ProduceError>> {
        self.completion.get(self.index)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let index = self.index;
        if let Some(outcome) = self.completion.get(index) {
            return Poll::Ready(outcome);
        }
        let completion = Arc::clone(&self.completion);
        let mut waiting = completion.waiting();
        // Decided between the look above and the lock: nobody would wake us any more.
        if let Some(outcome) = completion.get(index) {
            return Poll::Ready(outcome);
        }
        if let Some(waker) = self.slot.and_then(|slot| waiting.get_mut(slot)) {
            waker.clone_from(cx.waker());
        } else {
            self.slot = Some(waiting.len());
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use std::task::Waker;

    use super::*;

    const ACKED: Acked = Acked {
        base_offset: Some(Offset(100)),
        append_time_ms: 7,
    };

    #[test]
    fn each_record_of_a_batch_gets_its_own_offset() {
        let completion = Completion::new(PartitionIndex(3));
        let deliveries = [0, 1, 2].map(|i| Delivery::new(Arc::clone(&completion), i));
        completion.decide(Ok(ACKED));
        for (i, delivery) in deliveries.into_iter().enumerate() {
            let stored = delivery.now_or_never().expect("decided").expect("stored");
            assert_eq!(stored.partition, PartitionIndex(3));
            assert_eq!(stored.offset, Some(Offset(100 + i as u64)));
        }
    }

    #[test]
    fn a_fate_is_decided_once() {
        let completion = Completion::new(PartitionIndex(0));
        completion.decide(Ok(ACKED));
        completion.decide(Err(ProduceError::Closed { maybe_stored: true }));
        let delivery = Delivery::new(completion, 0);
        assert!(delivery.try_get().expect("decided").is_ok());
    }

    #[test]
    fn a_delivery_polled_many_times_keeps_one_waker() {
        let completion = Completion::new(PartitionIndex(0));
        let mut delivery = Delivery::new(Arc::clone(&completion), 0);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            assert!(delivery.poll_unpin(&mut cx).is_pending());
        }
        assert_eq!(completion.waiting().len(), 1);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let completion = Completion::new(PartitionIndex(0));
        let waiting = tokio::spawn(Delivery::new(Arc::clone(&completion), 5));
        tokio::task::yield_now().await;
        completion.decide(Ok(ACKED));
        let stored = waiting.await.expect("no panic").expect("stored");
        assert_eq!(stored.offset, Some(Offset(105)));
    }
}
