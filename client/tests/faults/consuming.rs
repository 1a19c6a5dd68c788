//! Every record once and in order, whatever brokers do.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use taffrail_client::{
    ClientError, Compression, ConsumedRecord, Consumer, ConsumerConfig, ErrorCode, Offset,
    PartitionIndex, Start,
};
use taffrail_record::{
    BatchBuilder, NewRecord, ProducerStamp, RecordRef, Retained, Retainer, empty,
};
use tokio::time::timeout;

use crate::cluster::{Cluster, TOPIC, header};

const DEADLINE: Duration = Duration::from_secs(20);
const P0: PartitionIndex = PartitionIndex(0);

pub(crate) fn config() -> ConsumerConfig {
    ConsumerConfig {
        max_wait: Duration::from_millis(50),
        ..ConsumerConfig::default()
    }
}

/// Appends records with these numbers as one batch; the number is also the record time.
pub(crate) fn append(cluster: &Cluster, partition: usize, numbers: std::ops::Range<u64>) {
    let mut builder = BatchBuilder::new(Compression::None);
    for number in numbers {
        let value = format!("{number:06}");
        builder.push(&NewRecord {
            value: Some(value.as_bytes()),
            timestamp_ms: number as i64,
            ..NewRecord::default()
        });
    }
    let batch = builder.build().expect("some");
    cluster.state().partitions[partition].append(&batch);
    cluster.appended.notify_waiters();
}

/// As behind a port-forward: the leader's address is another machine's here, which refuses.
#[tokio::test]
async fn where_a_leader_refuses_connections_offsets_and_records_come_through_another_broker() {
    let cluster = Cluster::start(2, 1).await;
    append(&cluster, 0, 0..3);
    cluster.move_leader(0, 1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("bound").to_string();
    drop(listener);
    cluster.state().advertised[1] = closed;
    for start in [Start::Earliest, Start::Latest, Start::Timestamp(0)] {
        let assigned = timeout(DEADLINE, consumer(&cluster, start)).await;
        let mut consumer = assigned.expect("in time");
        if start == Start::Earliest {
            assert_eq!(offsets(&mut consumer, 3).await, [0, 1, 2]);
        }
    }
    assert!(cluster.state().routed >= 3);
}

async fn consumer(cluster: &Cluster, start: Start) -> Consumer {
    let mut consumer = cluster.client().await.consumer(config());
    consumer.assign([(TOPIC, P0, start)]).await.expect("there");
    consumer
}

async fn next(consumer: &mut Consumer) -> Result<Vec<ConsumedRecord>, ClientError> {
    let batch = timeout(DEADLINE, consumer.next_batch()).await;
    batch.expect("in time")?.records()?.collect()
}

/// Reads until there are `count` offsets.
async fn offsets(consumer: &mut Consumer, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let records = next(consumer).await.expect("no error");
        for record in &records {
            let value = record.value.as_deref().expect("has one");
            assert_eq!(value, format!("{:06}", record.offset.0).as_bytes());
        }
        seen.extend(records.iter().map(|r| r.offset.0));
    }
    seen
}

fn range(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn from_the_earliest_every_record_comes_once_and_in_order() {
    let cluster = Cluster::start(1, 1).await;
    for i in 0..100 {
        append(&cluster, 0, i * 10..i * 10 + 10);
    }
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    assert_eq!(offsets(&mut consumer, 1_000).await, range(0..1_000));
    assert_eq!(consumer.position(TOPIC, P0), Some(Offset(1_000)));
    assert_eq!(consumer.high_watermark(TOPIC, P0), Some(Offset(1_000)));
}

#[tokio::test]
async fn an_offset_within_a_batch_is_where_reading_begins() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let mut consumer = consumer(&cluster, Start::Offset(Offset(7))).await;
    let batch = timeout(DEADLINE, consumer.next_batch()).await;
    let batch = batch.expect("in time").expect("sound");
    assert_eq!((batch.first_offset(), batch.record_count()), (Offset(7), 3));
    let mut records = batch.records().expect("sound");
    let first = records.next_ref().expect("three").expect("sound");
    assert_eq!(first.offset, Offset(7));
    assert_eq!(offsets(&mut consumer, 10).await, range(10..20));
}

/// Takes these records out of a partition's only batch, as compaction does.
fn compact(cluster: &Cluster, gone: std::ops::Range<u64>) {
    let mut state = cluster.state();
    let log = &mut state.partitions[0].log;
    let header = header(&log[0]);
    let mut retainer = Retainer::default();
    let kept = retainer.retain(&header, &log[0], 1 << 20, &mut |record: &RecordRef<'_>| {
        !gone.contains(&record.offset.0)
    });
    let Ok(Retained::Some(kept)) = kept else {
        panic!("some are left: {kept:?}");
    };
    log[0] = Bytes::copy_from_slice(kept);
}

#[tokio::test]
async fn offsets_without_records_are_passed_over() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    compact(&cluster, 3..7);
    {
        let mut state = cluster.state();
        let gap = empty(Offset(10), Offset(20), 0, ProducerStamp::NONE);
        state.partitions[0].log.push(Bytes::copy_from_slice(&gap));
    }
    for (from, expected) in [
        (0, vec![0, 1, 2, 7, 8, 9]),
        (2, vec![2, 7, 8, 9]),
        (4, vec![7, 8, 9]),
    ] {
        let mut consumer = consumer(&cluster, Start::Offset(Offset(from))).await;
        assert_eq!(
            offsets(&mut consumer, expected.len()).await,
            expected,
            "from {from}"
        );
        // Where there are only such offsets nothing comes, and the position moves on nevertheless.
        let polled = consumer.poll(Duration::from_millis(120)).await;
        assert_eq!(polled.expect("no error"), []);
        assert_eq!(consumer.position(TOPIC, P0), Some(Offset(21)));
    }
    let mut consumer = consumer(&cluster, Start::Offset(Offset(15))).await;
    append(&cluster, 0, 21..23);
    assert_eq!(offsets(&mut consumer, 2).await, [21, 22]);
}

#[tokio::test]
async fn a_timestamp_is_where_reading_begins() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let mut consumer = consumer(&cluster, Start::Timestamp(13)).await;
    assert_eq!(offsets(&mut consumer, 7).await, range(13..20));
}

#[tokio::test]
async fn latest_is_fixed_when_assign_returns_and_the_tail_is_followed() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    let mut consumer = consumer(&cluster, Start::Latest).await;
    append(&cluster, 0, 10..11);
    assert_eq!(offsets(&mut consumer, 1).await, [10]);
    // Longer than a broker waits: the consumer asks again and again.
    let polled = consumer.poll(Duration::from_millis(120)).await;
    assert_eq!(polled.expect("no error"), []);
    append(&cluster, 0, 11..12);
    assert_eq!(offsets(&mut consumer, 1).await, [11]);
}

#[tokio::test]
async fn nothing_new_is_an_empty_poll() {
    let cluster = Cluster::start(1, 1).await;
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    let polled = consumer.poll(Duration::from_millis(120)).await;
    assert_eq!(polled.expect("no error"), []);
    append(&cluster, 0, 0..3);
    let polled = consumer.poll(DEADLINE).await.expect("no error");
    assert_eq!(polled.len(), 3);
}

#[tokio::test]
async fn a_leader_that_moves_is_followed_without_a_gap_or_a_repetition() {
    let cluster = Cluster::start(3, 1).await;
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    for i in 0..9 {
        append(&cluster, 0, i * 10..i * 10 + 10);
        cluster.move_leader(0, i as usize % 3);
        assert_eq!(offsets(&mut consumer, 10).await, range(i * 10..i * 10 + 10));
    }
}

#[tokio::test]
async fn a_cut_connection_makes_neither_gap_nor_repetition() {
    let cluster = Cluster::start(1, 1).await;
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    for i in 0..9 {
        append(&cluster, 0, i * 10..i * 10 + 10);
        assert_eq!(offsets(&mut consumer, 10).await, range(i * 10..i * 10 + 10));
        cluster.cut(0);
    }
}

#[tokio::test]
async fn out_of_range_says_the_valid_range_once_and_a_seek_goes_on() {
    let cluster = Cluster::start(1, 1).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 0, 10..20);
    let mut consumer = consumer(&cluster, Start::Offset(Offset(99))).await;
    let error = next(&mut consumer).await.expect_err("out of range");
    assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    match error {
        ClientError::OffsetOutOfRange {
            offset, start, end, ..
        } => assert_eq!((offset, start, end), (Offset(99), Offset(0), Offset(20))),
        other => panic!("{other}"),
    }
    assert!(consumer.seek(TOPIC, P0, Offset(15)));
    assert_eq!(offsets(&mut consumer, 5).await, range(15..20));
}

#[tokio::test]
async fn what_a_replaced_leader_says_is_out_of_range_is_read_from_the_leader() {
    let cluster = Cluster::start(3, 1).await;
    cluster.state().unwatchable = true;
    append(&cluster, 0, 0..10);
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    assert_eq!(offsets(&mut consumer, 10).await, range(0..10));
    cluster.replace_leader(0, 1);
    append(&cluster, 0, 10..20);
    // Others have read that far, at the new leader.
    assert!(consumer.seek(TOPIC, P0, Offset(20)));
    append(&cluster, 0, 20..30);
    assert_eq!(offsets(&mut consumer, 10).await, range(20..30));
}

#[tokio::test]
async fn a_damaged_batch_is_told_and_can_be_skipped() {
    let cluster = Cluster::start(1, 1).await;
    for i in 0..3 {
        append(&cluster, 0, i * 10..i * 10 + 10);
    }
    {
        let log = &mut cluster.state().partitions[0].log;
        let mut damaged = BytesMut::from(&log[1][..]);
        damaged[70] ^= 1;
        log[1] = damaged.freeze();
    }
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    assert_eq!(offsets(&mut consumer, 10).await, range(0..10));
    let error = next(&mut consumer).await.expect_err("damaged");
    assert_eq!(error.code(), ErrorCode::CorruptBatch);
    assert!(
        error.to_string().contains("offset 10 of flights/0"),
        "{error}"
    );
    assert!(consumer.seek(TOPIC, P0, Offset(20)));
    assert_eq!(offsets(&mut consumer, 10).await, range(20..30));
}

#[tokio::test]
async fn a_paused_partition_is_silent_until_it_is_resumed_and_loses_nothing() {
    let cluster = Cluster::start(1, 2).await;
    append(&cluster, 0, 0..10);
    append(&cluster, 1, 0..10);
    let mut consumer = cluster.client().await.consumer(config());
    let p1 = PartitionIndex(1);
    let both = [(TOPIC, P0, Start::Earliest), (TOPIC, p1, Start::Earliest)];
    consumer.assign(both).await.expect("there");
    assert!(consumer.pause(TOPIC, P0));
    let records = next(&mut consumer).await.expect("no error");
    assert!(records.iter().all(|r| r.partition == p1));
    let silent = consumer.poll(Duration::from_millis(120)).await;
    assert_eq!(silent.expect("no error"), []);
    assert!(consumer.resume(TOPIC, P0));
    assert_eq!(offsets(&mut consumer, 10).await, range(0..10));
}

#[tokio::test]
async fn partitions_and_topics_that_are_not_there_are_refused() {
    let cluster = Cluster::start(1, 1).await;
    let mut consumer = cluster.client().await.consumer(config());
    let error = consumer.next_batch().await.expect_err("nothing assigned");
    assert_eq!(error, ClientError::NothingAssigned);
    let missing = [(TOPIC, PartitionIndex(1), Start::Earliest)];
    let error = consumer.assign(missing).await.expect_err("only one");
    assert_eq!(error.code(), ErrorCode::UnknownPartition);
    let missing = [("nowhere", P0, Start::Earliest)];
    let error = consumer.assign(missing).await.expect_err("no such topic");
    assert_eq!(error.code(), ErrorCode::UnknownTopic);
}

#[tokio::test]
async fn no_broker_at_all_is_said_with_the_addresses_that_were_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let config = taffrail_client::ClientConfig::new(address.clone());
    let error = taffrail_client::Client::connect(config)
        .await
        .expect_err("nobody listens");
    assert_eq!(error.code(), ErrorCode::LeaderUnreachable);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn the_next_answer_is_asked_for_while_the_last_one_is_being_read() {
    let cluster = Cluster::start(1, 1).await;
    // An answer of the fake broker has three batches.
    for i in 0..6 {
        append(&cluster, 0, i * 10..i * 10 + 10);
    }
    let mut consumer = consumer(&cluster, Start::Earliest).await;
    let first = next(&mut consumer).await.expect("no error");
    assert_eq!(first.len(), 10, "two batches of the answer wait");
    timeout(DEADLINE, async {
        while !cluster.state().fetched_from.contains(&30) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the consumer asks without being polled again");
    assert_eq!(offsets(&mut consumer, 50).await, range(10..60));
}

#[tokio::test]
async fn who_reads_slowly_on_purpose_asks_for_no_more_than_the_next_answer() {
    let cluster = Cluster::start(1, 1).await;
    for i in 0..100 {
        append(&cluster, 0, i * 10..i * 10 + 10);
    }
    let slow = ConsumerConfig {
        bytes_per_s_max: Some(1),
        ..config()
    };
    let mut consumer = cluster.client().await.consumer(slow);
    let start = (TOPIC, P0, Start::Earliest);
    consumer.assign([start]).await.expect("there");
    assert_eq!(offsets(&mut consumer, 10).await, range(0..10));
    // It is driven meanwhile, and minutes are left.
    let next = timeout(Duration::from_millis(300), consumer.next_batch()).await;
    assert!(next.is_err(), "it is not time yet");
    // An answer of the fake broker has three batches.
    let asked = cluster.state().fetched_from.clone();
    assert!(asked == [0] || asked == [0, 30], "{asked:?}");
}
