//! The table as bytes, big-endian. Drawn in `docs/FORMAT.md`; the file around it has the checksum.

use std::collections::VecDeque;

use super::{BATCHES_REMEMBERED, Noted, Producer, ProducerLimits, ProducerTable, sequence_after};
use crate::ids::Offset;

impl ProducerTable {
    /// Appends the table to `out`. Equal tables give equal bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.producers.len() as u32).to_be_bytes());
        for (id, producer) in &self.producers {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            out.push(producer.batches.len() as u8);
            for batch in &producer.batches {
                out.extend_from_slice(&batch.base_sequence.to_be_bytes());
                out.extend_from_slice(&batch.records.to_be_bytes());
                out.extend_from_slice(&batch.base_offset.0.to_be_bytes());
                out.extend_from_slice(&batch.append_time_ms.to_be_bytes());
            }
        }
    }

    /// The table that all of `bytes` were made from; `None` if there is none.
    pub fn decode(bytes: &[u8], limits: ProducerLimits) -> Option<Self> {
        let mut bytes = Input(bytes);
        let mut table = Self::new(limits);
        for _ in 0..u32::from_be_bytes(bytes.take()?) {
            let id = i64::from_be_bytes(bytes.take()?);
            let in_order = table
                .producers
                .last_key_value()
                .is_none_or(|(l, _)| *l < id);
            let producer = bytes.producer()?;
            if id < 0 || !in_order {
                return None;
            }
            table.producers.insert(id, producer);
        }
        bytes.0.is_empty().then_some(table)
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn producer(&mut self) -> Option<Producer> {
        let epoch = i16::from_be_bytes(self.take()?);
        let [count] = self.take()?;
        let mut batches: VecDeque<Noted> = VecDeque::with_capacity(usize::from(count));
        for _ in 0..count {
            let noted = Noted {
                base_sequence: i32::from_be_bytes(self.take()?),
                records: u32::from_be_bytes(self.take()?),
                base_offset: Offset(u64::from_be_bytes(self.take()?)),
                append_time_ms: i64::from_be_bytes(self.take()?),
            };
            let follows = batches.back().is_none_or(|last| {
                sequence_after(last.base_sequence, last.records) == noted.base_sequence
                    && last.stored().end <= noted.base_offset
            });
            if !follows || noted.base_sequence < 0 || noted.records == 0 {
                return None;
            }
            batches.push_back(noted);
        }
        let is_sound = epoch >= 0 && (1..=BATCHES_REMEMBERED).contains(&batches.len());
        is_sound.then_some(Producer { epoch, batches })
    }
}
