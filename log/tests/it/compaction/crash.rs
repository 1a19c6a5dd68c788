//! A failure at every operation of the disk, and a crash after it.

use taffrail_core::Offset;
use taffrail_log::{
    LogError,
    sim::{Fault, Loss, Operation},
};
use taffrail_record::Compression;

use super::fixture::{Fixture, compacted, key, newest, text};

const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Everything, Loss::Tails, Loss::Anything];

/// A log that was compacted before and got more since: the next pass makes one segment of several, and removes the others.
fn history() -> Fixture {
    let mut fixture = Fixture::new(compacted());
    for pass in 0..2 {
        for round in 0..16 {
            let records = (0..3).map(|k| (key(k + round % 4), Some(text(pass * 100 + round))));
            fixture.append(Compression::None, records);
        }
        fixture.append(Compression::None, [(key(1), None)]);
        for _ in 0..3 {
            fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
        }
        fixture.settle();
        if pass == 0 {
            fixture.compact().expect("due");
        }
    }
    fixture
}

impl Fixture {
    /// The process ends, and the log is opened again.
    pub(super) fn open_after_kill(&mut self) {
        self.disk.crash(Loss::Nothing);
        self.open();
    }

    fn crash(&mut self, loss: Loss) {
        self.disk.crash(loss);
        self.open();
    }
}

#[test]
fn wherever_it_fails_a_crash_leaves_each_segment_as_it_was_or_as_it_is_to_be() {
    let operations = [
        Operation::Open,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::Remove,
    ];
    for operation in operations {
        for loss in LOSSES {
            let (mut failures, mut successes) = (0, 0);
            for after in 0.. {
                let mut fixture = history();
                let before = fixture.records();
                let end = fixture.log.log_end();
                let fault = Fault::on(operation, "").after(after).once();
                fixture.disk.inject(fault);
                let done = fixture.try_compact(1 << 20, |_| true);
                fixture.disk.heal();
                if done.is_err() {
                    (failures, successes) = (failures + 1, 0);
                    // What it says meanwhile is right, too.
                    fixture.check_is_subset_of(&before);
                } else {
                    successes += 1;
                }
                fixture.crash(loss);
                fixture.check_is_subset_of(&before);
                assert_eq!(fixture.log.log_end(), end, "{operation:?} {after} {loss:?}");
                fixture.compact();
                let segments = fixture.log.reader().segments();
                let active = segments.last().expect("active").base_offset;
                fixture.check_kept(&before, active);
                // Some failures do no harm; of so many in a row none has happened.
                if successes > 20 {
                    break;
                }
            }
            assert!(failures > 0, "{operation:?} fails a pass");
        }
    }
}

#[test]
fn a_crash_between_any_two_operations_leaves_a_sound_log() {
    for loss in LOSSES {
        for calls in 0.. {
            let mut fixture = history();
            let before = fixture.records();
            let pass = fixture
                .log
                .plan_compaction(fixture.now_ms, Offset(u64::MAX))
                .expect("sound")
                .expect("due");
            let (disk, mut left) = (fixture.disk.clone(), calls);
            let stopped = pass.run(1 << 20, |_| {
                left -= 1;
                if left < 0 {
                    disk.crash(loss);
                }
                left >= 0
            });
            let is_over = stopped.is_ok_and(|done| done.is_some());
            drop(pass);
            fixture.crash(loss);
            fixture.check_is_subset_of(&before);
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn no_room_and_a_failed_sync_of_the_new_file_leave_the_log_as_it_was() {
    for fault in [
        Fault::on(Operation::Write, ".log.clean").no_space(),
        Fault::on(Operation::Write, ".log.clean")
            .after(1)
            .no_space(),
        Fault::on(Operation::Sync, ".log.clean"),
        Fault::on(Operation::Sync, ".index.clean"),
        Fault::on(Operation::Open, ".clean").no_space(),
        Fault::on(Operation::Write, ".swap").no_space(),
        Fault::on(Operation::Rename, ".swap"),
    ] {
        let mut fixture = history();
        let before = fixture.records();
        fixture.disk.inject(fault.clone());
        let failed = fixture.try_compact(1 << 20, |_| true);
        assert!(failed.is_err(), "{fault:?}");
        fixture.check_is_subset_of(&before);
        assert!(!fixture.log.is_poisoned(), "{fault:?}");
        fixture.disk.heal();
        assert_eq!(fixture.left_over(), Vec::<String>::new(), "{fault:?}");
        let done = fixture.compact().expect("due again");
        fixture.check_kept(&before, done.cleaned_to);
        fixture.append(Compression::None, [(key(1), Some(text(1)))]);
    }
}

#[test]
fn a_failure_in_the_middle_of_an_exchange_takes_the_log_offline() {
    let mut fixture = history();
    let before = fixture.records();
    fixture
        .disk
        .inject(Fault::on(Operation::Rename, ".log").once());
    let failed = fixture.try_compact(1 << 20, |_| true);
    assert!(matches!(failed, Err(LogError::Io { .. })), "{failed:?}");
    assert!(fixture.log.is_poisoned());
    assert_eq!(newest(&fixture.records()), newest(&before), "readers go on");
    assert!(fixture.left_over().iter().any(|name| name.contains("swap")));
    let segments = fixture.log.reader().segments().len();
    fixture.open_after_kill();
    fixture.check_is_subset_of(&before);
    let after = fixture.log.reader().segments().len();
    assert!(after < segments, "opening went on with it");
}
