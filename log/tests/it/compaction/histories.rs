//! Random histories of a compacted log, against every record that was ever appended.

use proptest::prelude::*;
use taffrail_core::Offset;
use taffrail_log::sim::Loss;
use taffrail_record::{Compression, ProducerStamp};

use super::fixture::{
    Fixture, Records, TOMBSTONE_RETENTION_MS, compacted, key, keyed, newest, text,
};
use crate::common::sync;

#[derive(Debug, Clone)]
enum Step {
    /// Keys, and whether each is deleted.
    Append(Compression, Vec<(u32, bool)>),
    /// With how large a map, and after how many calls it is told to stop.
    Compact {
        map_bytes: usize,
        calls: u32,
    },
    Settle,
    NextEpoch,
    Pass(i64),
    Crash(Loss),
    CleanStop,
}

fn step() -> impl Strategy<Value = Step> {
    let records = proptest::collection::vec((0u32..12, proptest::bool::weighted(0.2)), 1..6);
    let compression = proptest::sample::select(Compression::ALL.to_vec());
    let loss = prop_oneof![
        Just(Loss::Nothing),
        Just(Loss::Everything),
        Just(Loss::Tails),
        Just(Loss::Anything)
    ];
    prop_oneof![
        20 => (compression, records).prop_map(|(c, r)| Step::Append(c, r)),
        4 => (0usize..1_000, 0u32..60)
            .prop_map(|(map_bytes, calls)| Step::Compact { map_bytes, calls }),
        4 => Just(Step::Settle),
        1 => Just(Step::NextEpoch),
        2 => (0..2 * TOMBSTONE_RETENTION_MS).prop_map(Step::Pass),
        1 => loss.prop_map(Step::Crash),
        1 => Just(Step::CleanStop),
    ]
}

struct Run {
    fixture: Fixture,
    all: Records,
    /// Of the one idempotent producer, and whether it is its turn.
    sequence: i32,
    turn: bool,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(compression, records) => self.append(*compression, records),
            Step::Compact { map_bytes, calls } => {
                let mut left = *calls;
                let go_on = |_| {
                    left = left.saturating_sub(1);
                    left > 0
                };
                self.fixture.compact_with(*map_bytes, go_on);
            }
            Step::Settle => self.fixture.settle(),
            Step::NextEpoch => self.fixture.epoch += 1,
            Step::Pass(ms) => self.fixture.now_ms += ms,
            Step::Crash(loss) => {
                // What is appended is synced at once here; other tests lose it.
                sync(&mut self.fixture.log);
                self.fixture.disk.crash(*loss);
                self.fixture.open();
            }
            Step::CleanStop => self.fixture.reopen(),
        }
        self.check();
    }

    fn append(&mut self, compression: Compression, records: &[(u32, bool)]) {
        let base = self.fixture.log.log_end().0;
        let record = |i: usize, (k, deletes): (u32, bool)| {
            (
                key(k),
                (!deletes).then(|| text((base as u32 + i as u32) * 31)),
            )
        };
        let made: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(i, r)| record(i, *r))
            .collect();
        self.turn = !self.turn;
        let mut producer = ProducerStamp::NONE;
        if self.turn {
            (producer.id, producer.epoch, producer.base_sequence) = (5, 0, self.sequence);
            self.sequence += made.len() as i32;
        }
        for (i, (key, value)) in made.iter().cloned().enumerate() {
            let record = (Some(key.into()), value.map(Into::into));
            self.all.insert(base + i as u64, record);
        }
        self.fixture
            .append_batch(keyed(compression, producer, made));
        sync(&mut self.fixture.log);
    }

    fn check(&self) {
        let records = self.fixture.records();
        for (offset, record) in &records {
            assert_eq!(self.all.get(offset), Some(record), "offset {offset}");
        }
        assert_eq!(newest(&records), newest(&self.all));
        let end = self.all.last_key_value().map_or(0, |(last, _)| last + 1);
        assert_eq!(self.fixture.log.log_end(), Offset(end));
    }

    /// Once everything is done, no key has two records.
    fn finish(mut self) {
        self.fixture.settle();
        self.fixture.now_ms += 86_400_000;
        while self.fixture.compact().is_some() {
            self.check();
            self.fixture.now_ms += 86_400_000;
        }
        let segments = self.fixture.log.reader().segments();
        let active = segments.last().expect("active").base_offset;
        let mut keys = std::collections::BTreeSet::new();
        for (key, value) in self.fixture.records().range(..active.0).map(|(_, r)| r) {
            assert!(keys.insert(key.clone()), "{key:?} twice");
            assert!(value.is_some(), "an old tombstone");
        }
        let before: Vec<Offset> = self.fixture.log.producers().remembered().collect();
        let names = self
            .fixture
            .place
            .disk
            .list(&self.fixture.place.dir)
            .expect("list");
        for name in names.iter().filter(|name| name.ends_with(".producers")) {
            self.fixture.remove_file(name);
        }
        self.fixture.open_after_kill();
        let after: Vec<Offset> = self.fixture.log.producers().remembered().collect();
        assert_eq!(after, before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_log_is_what_was_appended_less_what_has_a_successor(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut run = Run {
            fixture: Fixture::new(compacted()),
            all: Records::new(),
            sequence: 0,
            turn: false,
        };
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}
