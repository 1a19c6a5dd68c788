//! Readers, expiry and cuts while segments are exchanged under them.

use std::time::Duration;

use taffrail_core::Offset;
use taffrail_log::LogConfig;
use taffrail_record::Compression;

use super::fixture::{Fixture, compacted, key, newest, text};
use crate::common::headers_from;

fn history(config: LogConfig) -> Fixture {
    let mut fixture = Fixture::new(config);
    for round in 0..60 {
        let records = (0..3).map(|k| (key(k + round % 4), Some(text(round))));
        fixture.append(Compression::None, records);
        fixture.now_ms += 1_000;
    }
    fixture.settle();
    fixture
}

#[test]
fn until_the_owner_takes_the_new_segments_in_readers_have_the_old_ones() {
    let mut fixture = history(compacted());
    let before = fixture.records();
    let headers = headers_from(&fixture.log, Offset(0));
    let pass = fixture
        .log
        .plan_compaction(fixture.now_ms, Offset(u64::MAX))
        .expect("sound")
        .expect("due");
    let result = pass.run(1 << 20, |_| true);
    assert_eq!(fixture.records(), before, "from files without names");
    let reader = fixture.log.reader();
    for header in &headers {
        assert!(
            reader
                .append_time_ms(header.base_offset)
                .expect("lookup")
                .is_some()
        );
    }
    for segment in reader.segments() {
        reader.verify_segment(segment.base_offset).expect("sound");
    }
    fixture.log.take_in_compacted();
    assert!(fixture.records().len() < before.len());
    for segment in reader.segments() {
        reader.verify_segment(segment.base_offset).expect("sound");
    }
    fixture
        .log
        .compaction_done(pass, result)
        .expect("done")
        .expect("whole");
    assert_eq!(newest(&fixture.records()), newest(&before));
    assert_eq!(reader.index_rebuilds(), 0);
}

#[test]
fn a_cut_under_a_pass_ends_it() {
    for calls in 0..40 {
        let mut fixture = history(compacted());
        let pass = fixture
            .log
            .plan_compaction(fixture.now_ms, Offset(u64::MAX))
            .expect("sound")
            .expect("due");
        let mut left = calls;
        let log = &mut fixture.log;
        let result = pass.run(1 << 20, |_| {
            left -= 1;
            if left == 0 {
                log.truncate(Offset(100)).expect("truncate");
            }
            true
        });
        let done = fixture.log.compaction_done(pass, result).expect("no error");
        let is_cut = calls > 0 && left <= 0;
        assert_eq!(done.is_none(), is_cut, "call {calls}");
        assert_eq!(fixture.left_over(), Vec::<String>::new());
        let before = fixture.records();
        for round in 0..20 {
            fixture.append(Compression::None, [(key(round % 4), Some(text(round)))]);
        }
        fixture.settle();
        let all = fixture.records();
        assert!(
            before
                .iter()
                .all(|(offset, record)| all.get(offset) == Some(record))
        );
        fixture.reopen();
        assert_eq!(fixture.records(), all);
    }
}

#[test]
fn a_segment_that_is_complete_when_its_log_is_cut_is_not_exchanged_any_more() {
    let mut fixture = history(compacted());
    let pass = fixture
        .log
        .plan_compaction(fixture.now_ms, Offset(u64::MAX));
    let pass = pass.expect("sound").expect("due");
    let held = fixture.disk.hold(".timeindex.clean");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| pass.run(1 << 20, |_| true));
        while held.waiting() == 0 {
            assert!(!running.is_finished(), "it writes an index");
            std::thread::yield_now();
        }
        fixture.log.truncate(Offset(100)).expect("truncate");
        drop(held);
        let ended = running.join().expect("no panic");
        assert_eq!(ended.expect("no error"), None);
    });
    fixture.log.compaction_done(pass, Ok(None)).expect("done");
    let all = fixture.records();
    fixture.reopen();
    assert_eq!(fixture.records(), all);
    assert_eq!(
        headers_from(&fixture.log, Offset(0)).len(),
        33,
        "nothing is compacted"
    );
}

#[test]
fn segments_that_expire_under_a_pass_are_gone() {
    let config = LogConfig {
        retention: Some(Duration::from_secs(30)),
        ..compacted()
    };
    for calls in 1..40 {
        let mut fixture = history(config.clone());
        let pass = fixture
            .log
            .plan_compaction(fixture.now_ms, Offset(u64::MAX))
            .expect("sound")
            .expect("due");
        let mut left = calls;
        let (log, now_ms) = (&mut fixture.log, fixture.now_ms);
        let high_watermark = log.durable_end();
        let mut expired = 0;
        let result = pass.run(1 << 20, |_| {
            left -= 1;
            if left == 0 {
                expired = log.expire(now_ms, high_watermark).expect("expire").segments;
            }
            true
        });
        fixture.log.compaction_done(pass, result).expect("no error");
        if left <= 0 {
            assert!(expired > 2, "{expired}");
        }
        let all = fixture.records();
        assert!(!all.is_empty());
        fixture.reopen();
        assert_eq!(fixture.records(), all);
    }
}

#[test]
fn nothing_expires_while_segments_may_become_one() {
    let mut fixture = history(compacted());
    let pass = fixture
        .log
        .plan_compaction(fixture.now_ms, Offset(u64::MAX))
        .expect("sound")
        .expect("due");
    fixture.log.configure(LogConfig {
        retention: Some(Duration::from_millis(1)),
        ..compacted()
    });
    let high_watermark = fixture.log.durable_end();
    fixture.now_ms += 1_000_000;
    let now_ms = fixture.now_ms;
    assert_eq!(
        fixture
            .log
            .expire(now_ms, high_watermark)
            .expect("expire")
            .segments,
        0
    );
    let result = pass.run(1 << 20, |_| true);
    fixture.log.compaction_done(pass, result).expect("done");
    assert!(
        fixture
            .log
            .expire(now_ms, high_watermark)
            .expect("expire")
            .segments
            > 0
    );
    fixture.reopen();
}

#[test]
fn a_log_that_is_closed_or_deleted_under_a_pass_gets_no_more_files() {
    for deleted in [false, true] {
        for calls in 1..30 {
            let mut fixture = history(compacted());
            let pass = fixture
                .log
                .plan_compaction(fixture.now_ms, Offset(u64::MAX))
                .expect("sound")
                .expect("due");
            let elsewhere = Fixture::new(compacted());
            let mut log = Some(std::mem::replace(&mut fixture.log, elsewhere.log));
            let mut left = calls;
            let result = pass.run(1 << 20, |_| {
                left -= 1;
                if left == 0
                    && let Some(log) = log.take()
                {
                    let end = log.log_end();
                    let ended = if deleted {
                        log.delete()
                    } else {
                        log.close(end)
                    };
                    ended.expect("ended");
                }
                true
            });
            let done = result.expect("no error");
            if left > 0 {
                break;
            }
            assert_eq!(done, None);
            if deleted {
                assert!(
                    fixture
                        .place
                        .disk
                        .list(&fixture.place.dir)
                        .unwrap_or_default()
                        .is_empty()
                );
            } else {
                fixture.open();
            }
        }
    }
}
