//! Random appends, syncs, crashes, reopenings, expiries, truncations and reads, against a model that keeps everything in vectors.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use taffrail_core::{
    Offset,
    producers::{ProducerTable, SequenceCheck, SequencedBatch},
};
use taffrail_log::{
    Disk, LogConfig, LogError, PartitionLog, Upkeep, inspect, sequenced,
    sim::{Fault, Loss, Operation, SimDisk},
};
use taffrail_record::{BatchHeader, ProducerStamp};

use crate::common::{OnDisk, batch_of, seal, small, sync, try_append};

#[derive(Debug, Clone)]
enum Step {
    /// Sizes of the batches, in records; how much the epoch is raised; how much time passes.
    Append {
        records: Vec<u32>,
        epoch: u32,
        ms: i64,
    },
    Sync,
    /// A token that is synced only after later steps.
    TokenThenAppend,
    /// A seal, a checkpoint or an expiry that is run only after later steps.
    Plan(Plan),
    /// Runs what was planned.
    Run,
    Checkpoint,
    Expire {
        ms: i64,
    },
    /// Thousandths of the log that stay.
    Truncate(u64),
    /// Thousandths of the log.
    Read(u64),
    TimeLookup(i64),
    Crash(Loss),
    CleanStop,
    /// The disk fails once in the middle of everything, and then the machine crashes.
    Fault {
        operation: Operation,
        after: u32,
        full: bool,
        loss: Loss,
    },
}

#[derive(Debug, Clone, Copy)]
enum Plan {
    Seal,
    Checkpoint,
    Expiry,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (
        proptest::collection::vec(1u32..20, 1..5),
        0u32..8,
        0i64..200,
    )
        .prop_map(|(records, epoch, ms)| Step::Append {
            records,
            epoch: epoch / 7,
            ms,
        });
    let loss = || {
        prop_oneof![
            Just(Loss::Nothing),
            Just(Loss::Everything),
            Just(Loss::Tails),
            Just(Loss::Anything)
        ]
    };
    let operation = prop_oneof![
        Just(Operation::Open),
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::Rename),
        Just(Operation::Remove)
    ];
    let fault =
        (operation, 0u32..40, any::<bool>(), loss()).prop_map(|(operation, after, full, loss)| {
            Step::Fault {
                operation,
                after,
                full,
                loss,
            }
        });
    prop_oneof![
        12 => append,
        4 => Just(Step::Sync),
        2 => Just(Step::TokenThenAppend),
        4 => prop_oneof![Just(Plan::Seal), Just(Plan::Checkpoint), Just(Plan::Expiry)]
            .prop_map(Step::Plan),
        3 => Just(Step::Run),
        2 => Just(Step::Checkpoint),
        1 => (0i64..3000).prop_map(|ms| Step::Expire { ms }),
        1 => (0u64..1001).prop_map(Step::Truncate),
        3 => (0u64..1001).prop_map(Step::Read),
        2 => (0i64..4000).prop_map(Step::TimeLookup),
        2 => loss().prop_map(Step::Crash),
        1 => Just(Step::CleanStop),
        1 => fault,
    ]
}

#[derive(Debug, Clone)]
struct Batch {
    base: u64,
    records: u32,
    epoch: u32,
    time_ms: i64,
    appended_ms: i64,
    crc: u32,
    header: BatchHeader,
}

impl Batch {
    fn next(&self) -> u64 {
        self.base + u64::from(self.records)
    }
}

struct Run {
    disk: SimDisk,
    place: OnDisk,
    log: PartitionLog,
    upkeep: Option<Upkeep>,
    batches: Vec<Batch>,
    /// Of appends that failed. A crash may bring them back: nobody was promised either.
    failed: Vec<Batch>,
    /// What is in the cache need not be on the medium.
    sync_failed: bool,
    start: u64,
    durable: u64,
    epoch: u32,
    now_ms: i64,
    attempts: usize,
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 2500,
        retention: Some(Duration::from_millis(1500)),
        retention_bytes: Some(9000),
        ..small()
    }
}

impl Run {
    fn new(seed: u64, short_io: bool) -> Self {
        let disk = SimDisk::new(seed);
        let place = OnDisk::on(Arc::new(disk.clone()));
        let log = place.create(config());
        disk.set_short_io(short_io);
        Self {
            disk,
            place,
            log,
            upkeep: None,
            batches: Vec::new(),
            failed: Vec::new(),
            sync_failed: false,
            start: 0,
            durable: 0,
            epoch: 1,
            now_ms: 0,
            attempts: 0,
        }
    }

    fn end(&self) -> u64 {
        self.batches.last().map_or(self.start, Batch::next)
    }

    fn at(&self, thousandth: u64) -> u64 {
        self.start + (self.end() - self.start) * thousandth / 1000
    }

    /// `false`: the run is over.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Append { records, epoch, ms } => {
                self.epoch += epoch;
                self.pass(*ms);
                self.append(records);
            }
            Step::Sync => {
                sync(&mut self.log);
                self.durable = self.end();
            }
            Step::TokenThenAppend => {
                let (token, end) = (self.log.sync_token(), self.end());
                self.append(&[3, 30]);
                token.sync().expect("sync");
                self.log.synced(&token).expect("synced");
                self.durable = self.durable.max(end);
            }
            Step::Plan(plan) => self.plan(*plan),
            Step::Run => self.run_upkeep(),
            Step::Checkpoint => self
                .log
                .checkpoint(Offset(self.durable))
                .expect("checkpoint"),
            Step::Expire { ms } => {
                self.pass(*ms);
                self.expire();
            }
            Step::Truncate(thousandth) => self.truncate(self.at(*thousandth)),
            Step::Read(thousandth) => self.check_from(self.at(*thousandth)),
            Step::TimeLookup(ms) => self.check_time(*ms),
            Step::Crash(loss) => return self.crash(*loss),
            Step::CleanStop => self.stop_and_open(),
            Step::Fault {
                operation,
                after,
                full,
                loss,
            } => {
                let fault = Fault::on(*operation, "").after(*after).once();
                self.disk
                    .inject(if *full { fault.no_space() } else { fault });
                self.work_on_a_failing_disk();
                return self.crash(*loss);
            }
        }
        self.check_marks();
        true
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.disk.set_now_ms(self.now_ms);
    }

    fn append(&mut self, sizes: &[u32]) {
        self.try_append(sizes).expect("append");
    }

    /// What fails must not have happened, or must not have been promised.
    fn work_on_a_failing_disk(&mut self) {
        for round in 0..8 {
            self.pass(400);
            let appended = self.try_append(&[20, 5, 20]);
            let full = matches!(appended, Err(LogError::DiskFull { .. }));
            let end = self.end();
            assert_eq!(self.log.log_end().0, end, "a failed append appends nothing");
            let token = self.log.sync_token();
            if token.sync().is_ok() && self.log.synced(&token).is_ok() {
                self.durable = end;
            } else {
                self.sync_failed = true;
                assert!(!full || round > 0, "no room is no reason to stop");
            }
            // These may fail as a whole; what they had done by then is found after the crash.
            let hw = Offset(self.durable);
            let _ = (self.log.expire(self.now_ms, hw), self.log.checkpoint(hw));
            let _ = seal(&mut self.log);
            self.forget_before(self.log.log_start().0);
        }
    }

    fn forget_before(&mut self, start: u64) {
        assert!(start >= self.start, "the log start never moves back");
        self.batches.retain(|b| b.base >= start);
        self.start = start;
    }

    fn try_append(&mut self, sizes: &[u32]) -> Result<(), LogError> {
        // Record times run away from append times, in both directions.
        let now_ms = self.now_ms;
        let time_of = |i: usize| (now_ms * 7 + i as i64 * 131) % 3500;
        let mut batches: Vec<Bytes> = Vec::new();
        let mut base = self.end();
        let mut attempt: Vec<Batch> = Vec::new();
        for (i, records) in sizes.iter().enumerate() {
            let producer = self.next_producer(&attempt);
            let batch = batch_of(producer, time_of(i), *records, 11);
            let header = BatchHeader::parse(&batch).expect("a batch");
            batches.push(batch);
            attempt.push(Batch {
                header,
                base,
                records: *records,
                epoch: self.epoch,
                time_ms: header.base_timestamp_ms,
                appended_ms: self.now_ms,
                crc: header.crc,
            });
            base += u64::from(*records);
        }
        match try_append(&mut self.log, &batches, self.epoch, self.now_ms) {
            Ok(appended) => {
                assert_eq!(appended.next_offset.0, base);
                self.batches.append(&mut attempt);
            }
            Err(error) => {
                self.failed.append(&mut attempt);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Three producers and one that is not idempotent, by turns.
    fn next_producer(&mut self, attempt: &[Batch]) -> ProducerStamp {
        self.attempts += 1;
        let id = (self.attempts % 4) as i64;
        if id == 0 {
            return ProducerStamp::NONE;
        }
        let own = |b: &&Batch| b.header.producer_id == id;
        let last = attempt.iter().rfind(own).or(self.batches.iter().rfind(own));
        let next = last.and_then(|b| sequenced(&b.header));
        ProducerStamp {
            id,
            epoch: 0,
            base_sequence: next.map_or(0, |last| last.next_sequence()),
        }
    }

    /// What the log says of every batch that it has, and of those that would be next, is what its batches say.
    fn check_producers(&self) {
        let mut expected = ProducerTable::default();
        for batch in &self.batches {
            if let Some(sequenced) = sequenced(&batch.header) {
                expected.note(&sequenced, Offset(batch.base), batch.appended_ms);
            }
        }
        let said =
            |table: &ProducerTable, batch: &SequencedBatch| match table.check(batch, self.now_ms) {
                SequenceCheck::Duplicate(stored) => Ok((stored.base_offset, stored.end)),
                other => Err(other),
            };
        for mut batch in self.batches.iter().filter_map(|b| sequenced(&b.header)) {
            for _ in 0..2 {
                let (found, expected) =
                    (said(self.log.producers(), &batch), said(&expected, &batch));
                assert_eq!(found, expected, "{batch:?}");
                batch.base_sequence = batch.next_sequence();
            }
        }
    }

    fn expire(&mut self) {
        let expired = self
            .log
            .expire(self.now_ms, Offset(self.durable))
            .expect("expire");
        let new_start = self.log.log_start().0;
        assert!(new_start >= self.start && new_start <= self.durable);
        assert_eq!(expired.new_log_start.0, new_start);
        let gone: Vec<Batch> = self
            .batches
            .iter()
            .filter(|b| b.base < new_start)
            .cloned()
            .collect();
        self.batches.retain(|b| b.base >= new_start);
        self.start = new_start;
        let kept_bytes = self.log.bytes();
        for batch in &gone {
            let is_old = self.now_ms - batch.appended_ms > 1500;
            assert!(is_old || kept_bytes >= 9000, "{batch:?} went too early");
        }
    }

    fn plan(&mut self, plan: Plan) {
        let hw = Offset(self.durable);
        let planned = match plan {
            Plan::Seal => self.log.plan_seal(),
            Plan::Checkpoint => self.log.plan_checkpoint(hw).expect("not poisoned"),
            Plan::Expiry => self.log.plan_expiry(self.now_ms, hw).expect("rolls"),
        };
        assert!(self.upkeep.is_none() || planned.is_none(), "one at a time");
        self.upkeep = self.upkeep.take().or(planned);
    }

    fn run_upkeep(&mut self) {
        let Some(upkeep) = self.upkeep.take() else {
            return;
        };
        let result = upkeep.run();
        let done = self.log.upkeep_done(upkeep, result).expect("a sound disk");
        if let Some((expired, removal)) = done {
            self.forget_before(expired.new_log_start.0);
            self.upkeep = Some(removal);
        }
    }

    fn truncate(&mut self, to: u64) {
        let stale = self.log.sync_token();
        self.log.truncate(Offset(to)).expect("truncate");
        self.batches.retain(|b| b.next() <= to);
        self.durable = self.durable.min(self.end());
        stale.sync().expect("a token of before does nothing");
        self.log.synced(&stale).expect("and counts for nothing");
    }

    fn crash(&mut self, loss: Loss) -> bool {
        self.upkeep = None;
        self.disk.crash(loss);
        let before = self.logs();
        match self.place.open(config()) {
            Ok(opened) => self.log = opened.log,
            Err(LogError::Damaged { .. }) => {
                // Later writes survived earlier ones; never where everything was synced.
                assert!(loss == Loss::Anything || loss == Loss::Tails || self.sync_failed);
                assert!(
                    self.durable < self.end() || !self.failed.is_empty(),
                    "damaged, though all was durable"
                );
                self.assert_nothing_is_cut(&before);
                return false;
            }
            Err(error) => panic!("{error}"),
        }
        self.forget_before(self.log.log_start().0);
        let end = self.log.log_end().0;
        assert!(
            end >= self.durable,
            "{end} < {}: what was durable is lost",
            self.durable
        );
        if loss == Loss::Nothing && !self.sync_failed {
            assert_eq!(end, self.end());
        }
        self.batches.retain(|b| b.next() <= end);
        while let Some(back) = self
            .failed
            .iter()
            .find(|b| b.base == self.end() && b.next() <= end)
        {
            self.batches.push(back.clone());
        }
        self.failed.clear();
        self.sync_failed = false;
        assert_eq!(self.end(), end, "the log ends between batches");
        self.durable = end;
        self.check_from(self.start);
        self.check_producers();
        true
    }

    /// The segments of the log and the last byte of each that is not reserved room, with a hash of all before it.
    /// What each segment file holds, without the zeros after it.
    fn logs(&self) -> Vec<(u64, Vec<u8>)> {
        let bases = inspect::segments(&self.disk, &self.place.dir).expect("list");
        let content = |base: &Offset| {
            let path = self.place.dir.join(format!("{:020}.log", base.0));
            let mut content = self.disk.content(&path);
            let end = content.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            content.truncate(end);
            (base.0, content)
        };
        bases
            .iter()
            .filter(|base| base.0 >= self.start)
            .map(content)
            .collect()
    }

    /// The files hold what they held. After a failed sync, opening drops what only the cache had: there the medium may have nothing.
    fn assert_nothing_is_cut(&self, before: &[(u64, Vec<u8>)]) {
        let after = self.logs();
        let bases = |logs: &[(u64, Vec<u8>)]| logs.iter().map(|l| l.0).collect::<Vec<_>>();
        assert_eq!(bases(&after), bases(before), "no segment is gone");
        for ((base, after), (_, before)) in after.iter().zip(before) {
            assert!(after.len() <= before.len(), "segment {base} grew");
            let cut = before.iter().enumerate().find(|(at, byte)| {
                let now = after.get(*at).copied().unwrap_or(0);
                now != **byte && !(self.sync_failed && now == 0)
            });
            assert_eq!(cut, None, "segment {base} is cut or changed");
        }
    }

    fn stop_and_open(&mut self) {
        let place = OnDisk::on(Arc::new(SimDisk::new(0)));
        let old = std::mem::replace(&mut self.log, place.create(config()));
        let upkeep = self.upkeep.take();
        old.close(Offset(self.end())).expect("close");
        if let Some(late) = upkeep {
            late.run().expect("it counts for nothing");
        }
        self.disk.crash(Loss::Everything);
        let opened = self.place.open(config()).expect("open");
        assert!(opened.recovery.clean_stop);
        assert_eq!(opened.recovery.scanned_bytes, 0);
        self.log = opened.log;
        self.durable = self.end();
        self.check_from(self.start);
        let verified =
            inspect::verify(Arc::new(self.disk.clone()), &self.place.dir).expect("verify");
        assert_eq!(verified.findings, []);
        assert_eq!(verified.batches, self.batches.len() as u64);
    }

    fn check_marks(&self) {
        assert_eq!(self.log.log_start().0, self.start);
        assert_eq!(self.log.log_end().0, self.end());
        assert!(self.log.durable_end().0 >= self.durable, "durable end");
        assert!(self.log.durable_end().0 <= self.end());
        let mut epochs: Vec<(u32, u64)> = Vec::new();
        for batch in &self.batches {
            if epochs.last().is_none_or(|e| e.0 < batch.epoch) {
                epochs.push((batch.epoch, batch.base));
            }
        }
        let table = self.log.epochs();
        for (epoch, base) in epochs.iter().skip(1) {
            assert!(
                table
                    .iter()
                    .any(|s| (s.epoch.0, s.start.0) == (*epoch, *base)),
                "{table:?} {epochs:?}"
            );
        }
        self.check_producers();
    }

    fn check_from(&self, from: u64) {
        let found: Vec<(u64, u32, u32, u32)> = crate::common::headers_from(&self.log, Offset(from))
            .iter()
            .map(|h| {
                (
                    h.base_offset.0,
                    h.record_count,
                    h.leader_epoch as u32,
                    h.crc,
                )
            })
            .collect();
        let expected: Vec<(u64, u32, u32, u32)> = self
            .batches
            .iter()
            .filter(|b| b.next() > from)
            .map(|b| (b.base, b.records, b.epoch, b.crc))
            .collect();
        assert_eq!(found, expected);
    }

    fn check_time(&self, ms: i64) {
        let expected = self.batches.iter().find_map(|b| {
            let within = (0..i64::from(b.records)).find(|i| b.time_ms + i >= ms)?;
            Some((Offset(b.base + within as u64), b.time_ms + within))
        });
        let found = self.log.reader().offset_for_timestamp(ms).expect("lookup");
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_its_model_says(
        seed in any::<u64>(),
        short_io in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut run = Run::new(seed, short_io);
        for step in &steps {
            if !run.step(step) {
                break;
            }
        }
    }
}

#[test]
fn the_simulated_disk_is_a_disk() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    assert!(disk.list(std::path::Path::new("/nowhere")).is_err());
}
