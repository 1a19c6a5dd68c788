//! What is stored of groups and cannot be read.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use taffrail_broker::{DiskSettings, Environment};
use taffrail_log::sim::{Fault, Operation, SimDisk};
use taffrail_record::{
    BatchHeader, HEADER_BYTES, ProducerStamp, partitioner::partition_for_key, with_producer,
};

use super::*;

/// Groups that are kept in that partition of `__offsets`.
fn groups_in(partition: u32) -> impl Iterator<Item = String> {
    let names = (0..100).map(|n| format!("group-{n}"));
    names.filter(move |name| partition_for_key(name.as_bytes(), 2).0 == partition)
}

fn group_in(partition: u32) -> String {
    groups_in(partition).next().expect("half of them are")
}

/// Its own log of `__offsets`.
fn log_of(dir: &Path, partition: u32) -> PathBuf {
    dir.join(format!(
        "partitions/{OFFSETS}-{partition}/00000000000000000000.log"
    ))
}

/// Changes the last batch, and makes its checksum right.
fn forge(log: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(log).expect("reads");
    let (mut last, mut next) = (0, 0);
    while let Ok(header) = BatchHeader::parse(&bytes[next..]) {
        (last, next) = (next, next + header.total_bytes());
    }
    let batch = &mut bytes[last..next];
    change(batch);
    // The same numbers, so that the checksum is made again.
    batch.copy_from_slice(&with_producer(batch, ProducerStamp::NONE));
    std::fs::write(log, bytes).expect("writes");
}

async fn commit(fixture: &Fixture, group: &str, offset: i64) -> Result<(), WireError> {
    let commit = v1::CommitOffsetsRequest {
        group: group.to_owned(),
        offsets: vec![at(0, offset)],
        ..v1::CommitOffsetsRequest::default()
    };
    let stored = groups(fixture.channel()).commit_offsets(commit).await;
    let refused = stored.map_err(|s| from_status(&s))?.into_inner().refused;
    match refused.into_iter().find_map(|refused| refused.error) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Two groups, in two partitions of `__offsets`, of which the log of the first was changed while the broker was down.
async fn after(change: impl FnOnce(&Path)) -> (Fixture, [String; 2]) {
    let fixture = coordinated().await;
    let both = [0, 1].map(group_in);
    for group in &both {
        commit(&fixture, group, 1).await.expect("stored");
    }
    let fixture = fixture.restart_after(|dir| change(&log_of(dir, 0))).await;
    (fixture, both)
}

/// Whoever asks for the group is told, and the other one is served.
async fn told(fixture: &Fixture, [bad, good]: &[String; 2], expected: ErrorCode) -> WireError {
    until("the code", async || {
        let described = describe(fixture, bad).await;
        described.is_err_and(|error| error.code == expected)
    })
    .await;
    let join = v1::JoinGroup {
        group: bad.clone(),
        ..joining(1)
    };
    let error = TestMember::join(fixture.channel(), join)
        .await
        .ended()
        .await;
    assert_eq!(error.code, expected, "{error}");
    until("the other coordinator", async || {
        commit(fixture, good, 2).await.is_ok()
    })
    .await;
    let described = describe(fixture, good).await.expect("served");
    assert_eq!(described.offsets[0].committed, Some(at(0, 2)));
    error
}

#[tokio::test]
async fn a_flipped_bit_is_told_to_the_groups_of_its_partition_and_no_other_notices() {
    let flip = |log: &Path| {
        let mut bytes = std::fs::read(log).expect("reads");
        bytes[HEADER_BYTES + 5] ^= 1;
        std::fs::write(log, bytes).expect("writes");
    };
    let (fixture, both) = after(flip).await;
    let error = told(&fixture, &both, ErrorCode::PartitionOffline).await;
    assert!(error.retriable, "another replica may lead");
    for words in ["__offsets/0", "is damaged at byte", "other groups are"] {
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn records_that_are_none_are_told_to_the_groups_of_their_partition() {
    let nonsense = |batch: &mut [u8]| batch[HEADER_BYTES] = 0x7e;
    let (fixture, both) = after(|log| forge(log, nonsense)).await;
    let error = told(&fixture, &both, ErrorCode::UnreadableGroup).await;
    let words = "the batch at offset 0 of __offsets/0 cannot be read";
    assert!(error.message.contains(words), "{error}");
}

#[tokio::test]
async fn a_value_that_is_none_takes_only_its_group_out_of_service() {
    // The last byte of the last record says that it has no headers; what comes before it is the value's.
    let nonsense = |batch: &mut [u8]| {
        let value_ends = batch.len() - 1;
        batch[value_ends - 1] = 0xff;
    };
    let (fixture, both) = after(|log| forge(log, nonsense)).await;
    let error = told(&fixture, &both, ErrorCode::UnreadableGroup).await;
    assert!(error.message.contains("groups delete"), "{error}");
    let neighbour = groups_in(0).nth(1).expect("half of them are");
    commit(&fixture, &neighbour, 1).await.expect("stored");
    let delete = v1::DeleteGroupRequest {
        group: both[0].clone(),
    };
    let deleted = groups(fixture.channel()).delete_group(delete).await;
    deleted.expect("deleted");
    commit(&fixture, &both[0], 3).await.expect("it begins anew");
}

/// In a batch's attributes.
const TRANSACTIONAL: u8 = 0b1_0000;
const CONTROL: u8 = 0b10_0000;

/// The attributes' lower byte.
fn attributes(batch: &mut [u8]) -> &mut u8 {
    &mut batch[22]
}

#[tokio::test]
async fn offsets_of_a_transaction_take_only_their_group_out_of_service() {
    let transactional = |batch: &mut [u8]| *attributes(batch) |= TRANSACTIONAL;
    let (fixture, both) = after(|log| forge(log, transactional)).await;
    let error = told(&fixture, &both, ErrorCode::UnreadableGroup).await;
    assert!(error.message.contains("part of a transaction"), "{error}");
    let neighbour = groups_in(0).nth(1).expect("half of them are");
    commit(&fixture, &neighbour, 1).await.expect("stored");
}

#[tokio::test]
async fn the_end_of_a_transaction_is_passed_over() {
    let fixture = coordinated().await;
    let group = group_in(0);
    for offset in [1, 2] {
        commit(&fixture, &group, offset).await.expect("stored");
    }
    let control = |batch: &mut [u8]| *attributes(batch) |= TRANSACTIONAL | CONTROL;
    let fixture = fixture.restart_after(|dir| forge(&log_of(dir, 0), control));
    let fixture = fixture.await;
    coordinates(&fixture).await;
    until("the group", async || {
        let described = describe(&fixture, &group).await;
        described.is_ok_and(|described| described.offsets[0].committed == Some(at(0, 1)))
    })
    .await;
    commit(&fixture, &group, 3).await.expect("it is served");
}

/// An uptime that stands still once it was told to, until it is told how much later it is.
fn stoppable() -> (Environment, Arc<AtomicU64>) {
    let real = Environment::real(None);
    let stopped_ms = Arc::new(AtomicU64::new(0));
    let (uptime, stopped) = (real.uptime, Arc::clone(&stopped_ms));
    let environment = Environment {
        uptime: Arc::new(move || match stopped.load(Ordering::Relaxed) {
            0 => uptime(),
            stopped_ms => stopped_ms,
        }),
        ..real
    };
    (environment, stopped_ms)
}

#[tokio::test]
async fn a_disk_that_could_not_be_read_is_asked_again_after_a_while() {
    let disk = SimDisk::new(1);
    let (environment, stopped_ms) = stoppable();
    let uptime = Arc::clone(&environment.uptime);
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..environment
    };
    let settings = DiskSettings {
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(4, environment, settings).await;
    let fixture = with_records(with_offsets(fixture).await).await;
    let both = [0, 1].map(group_in);
    commit(&fixture, &both[0], 1).await.expect("stored");
    let now_ms = uptime();
    stopped_ms.store(now_ms, Ordering::Relaxed);
    disk.inject(Fault::on(Operation::Read, &format!("{OFFSETS}-0/")));
    let mut elected = Topic::new(internal::OFFSETS, &[1, 1]);
    (elected.leader_epoch, elected.partition_epoch) = (2, 2);
    fixture.controller.put(OFFSETS, elected.clone());
    let error = told(&fixture, &both, ErrorCode::PartitionOffline).await;
    assert!(error.message.contains("cannot read"), "{error}");
    disk.heal();
    // Each time the broker looks for partitions to coordinate.
    for generation in 2..20 {
        elected.generation = generation;
        fixture.controller.put(OFFSETS, elected.clone());
        let error = describe(&fixture, &both[0]).await.expect_err("not yet");
        assert_eq!(error.code, ErrorCode::PartitionOffline, "{error}");
    }
    stopped_ms.store(now_ms + 60_000, Ordering::Relaxed);
    fixture.controller.put(OFFSETS, elected);
    until("the group", async || {
        let described = describe(&fixture, &both[0]).await;
        described.is_ok_and(|described| described.offsets[0].committed == Some(at(0, 1)))
    })
    .await;
}
