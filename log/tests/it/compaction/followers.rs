//! A follower gets from a compacted leader what the leader has, wherever its own log ends.

use std::sync::Arc;

use taffrail_core::Offset;
use taffrail_log::{PartitionLog, sim::SimDisk};
use taffrail_record::{BatchHeader, Compression, split};

use super::fixture::{Fixture, compacted, key, newest, records_of, text};
use crate::common::OnDisk;

/// Fetches until it has everything.
fn catch_up(follower: &mut PartitionLog, leader: &PartitionLog) {
    while follower.log_end() < leader.log_end() {
        let from = follower.log_end();
        let read = leader.reader().read(from, 700, Offset(u64::MAX));
        for batch in read.expect("read").chunks.iter().flat_map(split) {
            let (header, batch) = batch.expect("whole");
            let appended = follower.append_replicated(&[batch], &[header], 5_000);
            appended.unwrap_or_else(|error| panic!("from {from}: {error}"));
        }
    }
}

fn history() -> Fixture {
    let mut leader = Fixture::new(compacted());
    for round in 0..40 {
        leader.epoch = 1 + round / 15;
        let records = (0..=round % 3).map(|k| (key(k), Some(text(round))));
        leader.append(Compression::None, records);
    }
    leader.settle();
    leader
}

#[test]
fn it_catches_up_from_wherever_it_was() {
    let mut leader = history();
    let mut followers = Vec::new();
    let headers: Vec<BatchHeader> = crate::common::headers_from(&leader.log, Offset(0));
    for header in &headers {
        let place = OnDisk::on(Arc::new(SimDisk::new(0)));
        let mut follower = place.create(compacted());
        let end = header.base_offset;
        let read = leader
            .log
            .reader()
            .read(Offset(0), 1 << 20, end)
            .expect("read");
        for batch in read.chunks.iter().flat_map(split) {
            let (header, batch) = batch.expect("whole");
            follower
                .append_replicated(&[batch], &[header], 5_000)
                .expect("append");
        }
        assert_eq!(follower.log_end(), end);
        followers.push(follower);
    }
    let before = newest(&leader.records());
    let done = leader.compact().expect("due");
    assert!(done.records_removed > 30);
    for mut follower in followers {
        catch_up(&mut follower, &leader.log);
        assert_eq!(follower.epochs(), leader.log.epochs());
        assert_eq!(newest(&records_of(&follower)), before);
    }
}

#[test]
fn each_replica_compacts_alone_and_what_both_have_is_the_same() {
    let mut leader = history();
    leader.compact().expect("due");
    let mut follower = Fixture::new(compacted());
    catch_up(&mut follower.log, &leader.log);
    for round in 0..20 {
        leader.append(Compression::None, [(key(round % 5), Some(text(round)))]);
    }
    leader.settle();
    catch_up(&mut follower.log, &leader.log);
    follower.settle();
    follower.compact().expect("due");
    let (ours, theirs) = (leader.records(), follower.records());
    let both = ours
        .iter()
        .filter(|(offset, _)| theirs.contains_key(offset));
    assert!(both.clone().count() > 0);
    for (offset, record) in both {
        assert_eq!(&theirs[offset], record, "offset {offset}");
    }
    assert_eq!(newest(&ours), newest(&theirs));
    assert_ne!(ours, theirs, "the leader has not compacted again yet");
    assert_eq!(leader.log.epochs(), follower.log.epochs());
}
