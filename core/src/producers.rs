//! What a partition knows of its idempotent producers (KIP-98): so that a batch that is sent again is stored once, and none overtakes another.
//!
//! Derived from the batches of the log, expired ones too, and from nothing else: every replica has the same table, and a fail-over keeps it. What was
//! cut off the log is taken out by deriving the table again (`log/src/producers.rs`), never by guess.
//!
//! ```text
//! sequence   numbers of records, which go round
//! snapshot   the table as bytes
//! ```

mod sequence;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use sequence::sequence_after;

use crate::ids::Offset;

/// Batches that are remembered of each producer: as many as one may have under way. Kafka has 5.
pub const BATCHES_REMEMBERED: usize = 16;

/// Bounds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerLimits {
    /// A producer that appended nothing for longer is forgotten.
    pub idle_ms_max: i64,
    /// Anybody can be many producers: beyond this, those that have been idle longest are forgotten.
    pub producers_max: usize,
}

impl Default for ProducerLimits {
    /// A week, and 4,096 producers: less than 2 MiB of a partition's leader.
    fn default() -> Self {
        Self {
            idle_ms_max: 7 * 24 * 3_600_000,
            producers_max: 4_096,
        }
    }
}

/// What the header of an idempotent producer's batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencedBatch {
    /// Producer id, not negative.
    pub producer_id: i64,
    /// Producer epoch, not negative.
    pub epoch: i16,
    /// Sequence number of the first record, not negative.
    pub base_sequence: i32,
    /// How many records.
    pub records: u32,
}

impl SequencedBatch {
    /// The sequence number that the batch after this one begins with.
    pub const fn next_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.records)
    }
}

/// Where a batch is that was stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBatch {
    /// Of its first record.
    pub base_offset: Offset,
    /// After its last record: a duplicate is answered once the high watermark is here, as the original.
    pub end: Offset,
    /// When it was appended.
    pub append_time_ms: i64,
}

/// What may be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It is the next one: append it.
    New,
    /// It is in the log: answer as its original was.
    Duplicate(StoredBatch),
    /// One before it is missing, or it is older than all that are remembered.
    OutOfOrder {
        /// What the next batch has to begin with.
        expected: i32,
    },
    /// The producer has a higher epoch.
    StaleEpoch {
        /// The one it has.
        current: i16,
    },
    /// Nothing is known of the producer, and the batch is not its first one. Refused, as Kafka did before it preferred (KIP-360) to take any
    /// sequence of a producer that it does not know: it forgets producers whose records have expired, which this table does not. Here such a
    /// batch may be a copy of one that was stored before the producer was forgotten, or may have overtaken the producer's first one. Whether it
    /// is safe to begin anew, with a higher epoch, only the producer knows.
    Unknown,
}

/// One producer.
///
/// Invariant: `batches` is not empty, contiguous in sequence, of this epoch, and in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Noted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    base_sequence: i32,
    records: u32,
    base_offset: Offset,
    append_time_ms: i64,
}

impl Noted {
    const fn stored(&self) -> StoredBatch {
        StoredBatch {
            base_offset: self.base_offset,
            end: self.base_offset.plus(self.records as u64),
            append_time_ms: self.append_time_ms,
        }
    }
}

impl Producer {
    fn last(&self) -> &Noted {
        self.batches
            .back()
            .expect("a producer is known by a batch of its")
    }

    fn next_sequence(&self) -> i32 {
        let last = self.last();
        sequence_after(last.base_sequence, last.records)
    }
}

/// The producers of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProducerTable {
    producers: BTreeMap<i64, Producer>,
    limits: ProducerLimits,
}

impl ProducerTable {
    /// Knows nobody.
    pub fn new(limits: ProducerLimits) -> Self {
        Self {
            producers: BTreeMap::new(),
            limits,
        }
    }

    /// What is to be done with a batch that came at `now_ms`. One lookup, no allocation.
    ///
    /// ```
    /// use taffrail_core::{Offset, producers::{ProducerTable, SequenceCheck, SequencedBatch}};
    /// let mut table = ProducerTable::default();
    /// let batch = SequencedBatch { producer_id: 7, epoch: 0, base_sequence: 0, records: 3 };
    /// assert_eq!(table.check(&batch, 1_000), SequenceCheck::New);
    /// table.note(&batch, Offset(40), 1_000);
    /// // The answer was lost: it comes again.
    /// let SequenceCheck::Duplicate(stored) = table.check(&batch, 1_010) else { panic!() };
    /// assert_eq!((stored.base_offset, stored.end), (Offset(40), Offset(43)));
    /// ```
    pub fn check(&self, batch: &SequencedBatch, now_ms: i64) -> SequenceCheck {
        let known = self.producers.get(&batch.producer_id);
        let Some(producer) = known.filter(|p| !self.is_idle(p, now_ms)) else {
            return match batch.base_sequence {
                0 => SequenceCheck::New,
                _ => SequenceCheck::Unknown,
            };
        };
        if batch.epoch < producer.epoch {
            return SequenceCheck::StaleEpoch {
                current: producer.epoch,
            };
        }
        let expected = if batch.epoch > producer.epoch {
            0
        } else {
            producer.next_sequence()
        };
        if batch.base_sequence == expected {
            return SequenceCheck::New;
        }
        let is_same = |noted: &&Noted| {
            noted.base_sequence == batch.base_sequence && noted.records == batch.records
        };
        let original = producer.batches.iter().rfind(is_same);
        match original.filter(|_| batch.epoch == producer.epoch) {
            Some(noted) => SequenceCheck::Duplicate(noted.stored()),
            None => SequenceCheck::OutOfOrder { expected },
        }
    }

    /// A batch is in the log. The log is right: whatever it holds is taken over.
    pub fn note(&mut self, batch: &SequencedBatch, base_offset: Offset, append_time_ms: i64) {
        let is_known = self.producers.contains_key(&batch.producer_id);
        if !is_known && self.producers.len() >= self.limits.producers_max {
            self.forget_idlest();
        }
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.epoch,
                batches: VecDeque::new(),
            });
        let follows = producer.batches.is_empty()
            || producer.epoch == batch.epoch && producer.next_sequence() == batch.base_sequence;
        if !follows {
            producer.batches.clear();
            producer.epoch = batch.epoch;
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Noted {
            base_sequence: batch.base_sequence,
            records: batch.records,
            base_offset,
            append_time_ms,
        });
    }

    /// Forgets producers that have been idle for too long.
    pub fn expire(&mut self, now_ms: i64) {
        let idle_ms_max = self.limits.idle_ms_max;
        self.producers.retain(|_, producer| {
            now_ms.saturating_sub(producer.last().append_time_ms) <= idle_ms_max
        });
    }

    /// What it knows from batches before `start` alone, where a batch begins: what a log that begins there has to know.
    ///
    /// Of a producer that has appended much since, or has a higher epoch since, nothing is left to know: the batches from `start` on say it.
    #[must_use]
    pub fn before(&self, start: Offset) -> Self {
        let of = |producer: &Producer| {
            let mut batches = producer.batches.clone();
            batches.retain(|noted| noted.base_offset < start);
            Producer {
                epoch: producer.epoch,
                batches,
            }
        };
        let mut producers: BTreeMap<_, _> =
            self.producers.iter().map(|(id, p)| (*id, of(p))).collect();
        producers.retain(|_, producer| !producer.batches.is_empty());
        Self {
            producers,
            limits: self.limits,
        }
    }

    /// Where the batches begin that are remembered, of all producers, in no order: a log that has these says the same of its producers.
    pub fn remembered(&self) -> impl Iterator<Item = Offset> {
        let batches = self.producers.values().flat_map(|p| &p.batches);
        batches.map(|noted| noted.base_offset)
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    fn is_idle(&self, producer: &Producer, now_ms: i64) -> bool {
        now_ms.saturating_sub(producer.last().append_time_ms) > self.limits.idle_ms_max
    }

    /// Makes room for a newcomer and for some after it, so that not each of many looks at all. Offsets tell who appended last: they differ.
    fn forget_idlest(&mut self) {
        let mut ends: Vec<Offset> = self
            .producers
            .values()
            .map(|producer| producer.last().base_offset)
            .collect();
        let gone = ends.len() / 16;
        let (_, kept_from, _) = ends.select_nth_unstable(gone);
        let kept_from = *kept_from;
        self.producers
            .retain(|_, producer| producer.last().base_offset > kept_from);
    }
}
