//! What all partitions of a producer share.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::budget::Budget;
use crate::{
    backoff::Backoff,
    config::ProducerConfig,
    error::{FlushError, ProduceError},
};

/// Buffers below this are not worth keeping.
const POOLED_BYTES_MIN: usize = 64 << 10;
/// All kept buffers together.
const POOL_BYTES_MAX: usize = 32 << 20;

/// The coordinator is woken at most this often to make room.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) backoff: Backoff,
    pub(super) budget: Budget,
    /// Of an idempotent producer; got from a broker before anything is sent.
    producer_id: OnceLock<i64>,
    /// Wakes the coordinator.
    pub(super) work: Notify,
    /// Somebody waits for room.
    exhausted: AtomicBool,
    /// When that was last passed on.
    asked: Mutex<Option<Instant>>,
    closed: AtomicBool,
    failures: Mutex<Option<FlushError>>,
    pool: Mutex<Vec<BytesMut>>,
}

impl Shared {
    pub(super) fn new(config: ProducerConfig, backoff: Backoff) -> Self {
        Self {
            budget: Budget::new(config.buffer_bytes),
            config,
            backoff,
            producer_id: OnceLock::new(),
            work: Notify::new(),
            exhausted: AtomicBool::new(false),
            asked: Mutex::default(),
            closed: AtomicBool::new(false),
            failures: Mutex::default(),
            pool: Mutex::default(),
        }
    }

    /// Must an id be got before anything is sent?
    pub(super) fn needs_producer_id(&self) -> bool {
        self.config.is_idempotent() && self.producer_id.get().is_none()
    }

    pub(super) fn set_producer_id(&self, id: i64) {
        // The first one stays.
        let _ = self.producer_id.set(id);
    }

    /// `None`: batches have no sequence numbers.
    pub(super) fn producer_id(&self) -> Option<i64> {
        self.producer_id.get().copied()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Release);
        self.work.notify_one();
    }

    /// There is no room: what lingers has to leave. Under load acknowledgements make room all the time, so the coordinator is woken for it now
    /// and then only, and sees it at its next tick otherwise.
    pub(super) fn ask_for_room(&self) {
        self.exhausted.store(true, Release);
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none_or(|at| now - at >= ASK_INTERVAL) {
            *asked = Some(now);
            self.work.notify_one();
        }
    }

    /// Was `ask_for_room` called since the last time?
    pub(super) fn take_exhausted(&self) -> bool {
        self.exhausted.swap(false, AcqRel)
    }

    /// Remembers for the next flush that records failed.
    pub(super) fn count_failures(&self, records: u32, error: &ProduceError) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get_or_insert_with(|| FlushError {
                records: 0,
                first: error.clone(),
            })
            .records += u64::from(records);
    }

    /// What failed since the last call.
    pub(super) fn take_failures(&self) -> Result<(), FlushError> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.take().map_or(Ok(()), Err)
    }

    /// A buffer for a batch that may grow to about `expected` bytes.
    pub(super) fn buffer(&self, expected: usize) -> BytesMut {
        if expected < POOLED_BYTES_MIN {
            return BytesMut::with_capacity(expected);
        }
        let pooled = self
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        pooled.unwrap_or_else(|| BytesMut::with_capacity(expected))
    }

    /// Keeps the memory of a batch that nobody needs any more: fresh memory costs a page fault each 4 KiB.
    pub(super) fn recycle(&self, batch: Bytes) {
        if batch.len() < POOLED_BYTES_MIN {
            return;
        }
        let Ok(mut buffer) = batch.try_into_mut() else {
            return;
        };
        buffer.clear();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if (pool.len() + 1) * buffer.capacity() <= POOL_BYTES_MAX {
            pool.push(buffer);
        }
    }
}
