//! The table against a model that remembers every batch of the log.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_000_000;

fn batch(producer_id: i64, epoch: i16, base_sequence: i32, records: u32) -> SequencedBatch {
    SequencedBatch {
        producer_id,
        epoch,
        base_sequence,
        records,
    }
}

/// Every batch that was appended.
#[derive(Debug, Default, Clone)]
struct Model {
    log: Vec<(SequencedBatch, Offset)>,
}

impl Model {
    fn end(&self) -> Offset {
        self.log
            .last()
            .map_or(Offset(0), |(b, at)| at.plus(u64::from(b.records)))
    }

    fn of(&self, producer_id: i64) -> Vec<&(SequencedBatch, Offset)> {
        let own = |(b, _): &&(SequencedBatch, Offset)| b.producer_id == producer_id;
        self.log.iter().filter(own).collect()
    }

    fn check(&self, batch: &SequencedBatch) -> SequenceCheck {
        let own = self.of(batch.producer_id);
        let Some((last, _)) = own.last() else {
            return match batch.base_sequence {
                0 => SequenceCheck::New,
                _ => SequenceCheck::Unknown,
            };
        };
        if batch.epoch < last.epoch {
            return SequenceCheck::StaleEpoch {
                current: last.epoch,
            };
        }
        let expected = if batch.epoch > last.epoch {
            0
        } else {
            (i64::from(last.base_sequence) + i64::from(last.records)).rem_euclid(1 << 31) as i32
        };
        if batch.base_sequence == expected {
            return SequenceCheck::New;
        }
        let remembered = own.iter().rev().take(BATCHES_REMEMBERED);
        match remembered.into_iter().find(|(b, _)| b == batch) {
            Some((b, at)) => SequenceCheck::Duplicate(StoredBatch {
                base_offset: *at,
                end: at.plus(u64::from(b.records)),
                append_time_ms: NOW,
            }),
            None => SequenceCheck::OutOfOrder { expected },
        }
    }

    /// As a log is read again.
    fn table(&self, limits: ProducerLimits) -> ProducerTable {
        let mut table = ProducerTable::new(limits);
        for (batch, at) in &self.log {
            table.note(batch, *at, NOW);
        }
        table
    }
}

fn encoded(table: &ProducerTable) -> Vec<u8> {
    let mut out = Vec::new();
    table.encode(&mut out);
    out
}

#[derive(Debug, Clone)]
enum Step {
    /// What the producer would send next.
    Next { producer: i64, records: u32 },
    /// One of its last batches again.
    Again { producer: i64, back: usize },
    /// Anything.
    Wild(SequencedBatch),
    /// With the next epoch, from 0 on.
    Bump { producer: i64, records: u32 },
    /// The log is cut, the table derived from what is left.
    Cut { keep: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = || 0..4_i64;
    let step = prop_oneof![
        6 => (producer(), 1..5_u32).prop_map(|(producer, records)| Step::Next { producer, records }),
        4 => (producer(), 0..20_usize).prop_map(|(producer, back)| Step::Again { producer, back }),
        2 => (producer(), 0..3_i16, prop_oneof![0..30_i32, Just(i32::MAX)], 1..5_u32)
            .prop_map(|(p, e, s, r)| Step::Wild(batch(p, e, s, r))),
        1 => (producer(), 1..5_u32).prop_map(|(producer, records)| Step::Bump { producer, records }),
        1 => (0..60_usize).prop_map(|keep| Step::Cut { keep }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn the_table_says_what_a_search_through_the_log_says(
        steps in steps(),
        // Producers begin just before numbers go round.
        near_the_end in any::<bool>(),
    ) {
        let mut model = Model::default();
        if near_the_end {
            for producer in 0..4 {
                model.log.push((batch(producer, 0, i32::MAX - 20, 1), model.end()));
            }
        }
        let mut table = model.table(ProducerLimits::default());
        for step in steps {
            let candidate = match step {
                Step::Next { producer, records } => match model.of(producer).last() {
                    Some((last, _)) => batch(producer, last.epoch, last.next_sequence(), records),
                    None => batch(producer, 0, 0, records),
                },
                Step::Again { producer, back } => match model.of(producer).iter().rev().nth(back) {
                    Some((again, _)) => *again,
                    None => batch(producer, 0, 0, 1),
                },
                Step::Wild(batch) => batch,
                Step::Bump { producer, records } => {
                    let epoch = model.of(producer).last().map_or(0, |(last, _)| last.epoch + 1);
                    batch(producer, epoch, 0, records)
                }
                Step::Cut { keep } => {
                    model.log.truncate(keep);
                    table = model.table(ProducerLimits::default());
                    continue;
                }
            };
            let verdict = table.check(&candidate, NOW);
            prop_assert_eq!(verdict, model.check(&candidate), "{:?}", candidate);
            if verdict == SequenceCheck::New {
                table.note(&candidate, model.end(), NOW);
                model.log.push((candidate, model.end()));
            }
            let read = ProducerTable::decode(&encoded(&table), ProducerLimits::default());
            prop_assert_eq!(read.as_ref(), Some(&table));
        }
    }

    #[test]
    fn a_snapshot_and_the_batches_after_it_give_the_table(steps in steps(), at in 0..120_usize) {
        let mut model = Model::default();
        for step in steps {
            if let Step::Wild(any) = step {
                model.log.push((any, model.end()));
            } else if let Step::Next { producer, records } = step {
                let next = model.of(producer).last().map_or(0, |(last, _)| last.next_sequence());
                model.log.push((batch(producer, 0, next, records), model.end()));
            }
        }
        let mut first = model.clone();
        first.log.truncate(at);
        let snapshot = encoded(&first.table(ProducerLimits::default()));
        let mut table = ProducerTable::decode(&snapshot, ProducerLimits::default()).expect("sound");
        for (batch, offset) in &model.log[first.log.len()..] {
            table.note(batch, *offset, NOW);
        }
        prop_assert_eq!(table, model.table(ProducerLimits::default()));
    }

    #[test]
    fn a_table_from_before_an_offset_and_the_batches_from_there_on_give_the_table(
        steps in steps(),
        at in 0..120_usize,
    ) {
        let mut model = Model::default();
        for step in steps {
            let next = match step {
                Step::Wild(any) => any,
                Step::Next { producer, records } => {
                    let last = model.of(producer).last().map(|(last, _)| *last);
                    let (epoch, next) = last.map_or((0, 0), |l| (l.epoch, l.next_sequence()));
                    batch(producer, epoch, next, records)
                }
                _ => continue,
            };
            model.log.push((next, model.end()));
        }
        let whole = model.table(ProducerLimits::default());
        let at = at.min(model.log.len());
        let start = model.log.get(at).map_or(model.end(), |(_, offset)| *offset);
        let mut table = whole.before(start);
        for (batch, offset) in &model.log[at..] {
            table.note(batch, *offset, NOW);
        }
        prop_assert_eq!(table, whole);
    }

    #[test]
    fn bytes_that_are_no_table_are_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(table) = ProducerTable::decode(&bytes, ProducerLimits::default()) {
            prop_assert_eq!(encoded(&table), bytes);
        }
    }
}

#[test]
fn a_producer_that_was_idle_for_too_long_is_not_known_any_more() {
    let limits = ProducerLimits {
        idle_ms_max: 100,
        ..ProducerLimits::default()
    };
    let mut table = ProducerTable::new(limits);
    table.note(&batch(1, 3, 0, 5), Offset(0), 1_000);
    let next = batch(1, 3, 5, 1);
    assert_eq!(table.check(&next, 1_100), SequenceCheck::New);
    assert_eq!(table.check(&next, 1_101), SequenceCheck::Unknown);
    let anew = batch(1, 0, 0, 1);
    assert_eq!(table.check(&anew, 1_101), SequenceCheck::New);
    table.expire(1_100);
    assert_eq!(table.len(), 1);
    table.expire(1_101);
    assert!(table.is_empty());
}

#[test]
fn of_too_many_producers_those_go_that_have_been_idle_longest() {
    let limits = ProducerLimits {
        producers_max: 64,
        ..ProducerLimits::default()
    };
    let mut table = ProducerTable::new(limits);
    for i in 0..1_000 {
        table.note(&batch(i, 0, 0, 1), Offset(2 * i as u64), NOW);
        // This one goes on all the time.
        table.note(&batch(5_000, 0, i as i32, 1), Offset(2 * i as u64 + 1), NOW);
        assert!(table.len() <= 64);
    }
    assert_eq!(
        table.check(&batch(5_000, 0, 1_000, 1), NOW),
        SequenceCheck::New
    );
    assert_eq!(table.check(&batch(999, 0, 1, 1), NOW), SequenceCheck::New);
    assert_eq!(table.check(&batch(0, 0, 1, 1), NOW), SequenceCheck::Unknown);
}

#[test]
fn the_bytes_of_a_snapshot_never_change() {
    let mut table = ProducerTable::default();
    table.note(&batch(0x0102_0304_0506_0708, 9, 10, 2), Offset(100), 0x0a0b);
    table.note(&batch(0x0102_0304_0506_0708, 9, 12, 1), Offset(104), 0x0c0d);
    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 1,
        1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 2,
        0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0x0a, 0x0b,
        0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 0, 0, 0, 0x0c, 0x0d,
    ];
    assert_eq!(encoded(&table), expected);
}

#[test]
fn the_batches_that_are_remembered_say_all_that_is_known() {
    let mut table = ProducerTable::default();
    let mut log = Vec::new();
    for n in 0..100_u64 {
        let batch = batch((n % 3) as i64, 0, (n / 3 * 2) as i32, 2);
        // One producer is more diligent than the others.
        if n % 3 == 0 || n < 10 {
            table.note(&batch, Offset(n * 2), 5);
            log.push((batch, Offset(n * 2)));
        }
    }
    let remembered: Vec<Offset> = table.remembered().collect();
    let mut again = ProducerTable::default();
    for (batch, offset) in log.iter().filter(|(_, at)| remembered.contains(at)) {
        again.note(batch, *offset, 5);
    }
    assert_eq!(again, table);
    assert_eq!((remembered.len(), log.len()), (BATCHES_REMEMBERED + 6, 40));
}
