//! Nothing is lost silently, and order is kept, whatever brokers do.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::FutureExt as _;
use taffrail_client::{
    Acks, Delivery, ErrorCode, Offset, PartitionIndex, ProduceError, Producer, ProducerConfig,
    Record,
};
use taffrail_core::producers::ProducerTable;
use tokio::time::timeout;

use crate::cluster::{Cluster, Fault, TOPIC, header};

const DEADLINE: Duration = Duration::from_secs(20);

/// Many small batches, several under way.
fn small_batches() -> ProducerConfig {
    ProducerConfig {
        batch_bytes: 1 << 10,
        in_flight_max: 5,
        ..ProducerConfig::default()
    }
}

async fn send(producer: &Producer, value: &str) -> Delivery {
    let sent = timeout(DEADLINE, producer.send(TOPIC, Record::new(value))).await;
    sent.expect("in time").expect("taken")
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{i:06}")).collect()
}

async fn send_numbers(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for value in numbers(count) {
        deliveries.push(send(producer, &value).await);
    }
    deliveries
}

async fn close(producer: Producer) {
    let closed = timeout(DEADLINE, producer.close()).await;
    closed.expect("in time").expect("all stored");
}

#[tokio::test]
async fn every_record_is_acknowledged_with_its_offset() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    let deliveries = send_numbers(&producer, 1_000).await;
    for (i, delivery) in deliveries.into_iter().enumerate() {
        let stored = timeout(DEADLINE, delivery).await.expect("in time");
        assert_eq!(stored.expect("stored").offset, Some(Offset(i as u64)));
    }
    assert_eq!(cluster.values(0), numbers(1_000));
}

#[tokio::test]
async fn refused_requests_are_sent_again_in_order_and_once() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    send(&producer, "000000").await.await.expect("stored");
    cluster.next_meets([
        Fault::Refuse(ErrorCode::DiskFull),
        Fault::Refuse(ErrorCode::Throttled),
        Fault::Refuse(ErrorCode::NotEnoughReplicas),
    ]);
    for value in &numbers(2_000)[1..] {
        let _delivery = send(&producer, value).await;
    }
    close(producer).await;
    assert_eq!(cluster.values(0), numbers(2_000));
}

#[tokio::test]
async fn a_leader_that_moves_is_followed_and_order_is_kept() {
    let cluster = Cluster::start(3, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    for (i, value) in numbers(3_000).iter().enumerate() {
        let _delivery = send(&producer, value).await;
        if i % 500 == 250 {
            cluster.move_leader(0, i % 3);
        }
    }
    close(producer).await;
    assert_eq!(cluster.values(0), numbers(3_000));
}

/// Connections break all the time, before and after the append.
async fn send_over_breaking_connections(config: ProducerConfig) -> Vec<String> {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(config);
    for (i, value) in numbers(3_000).iter().enumerate() {
        let _delivery = send(&producer, value).await;
        match i % 600 {
            100 => cluster.next_meets([Fault::CutAfterAppend]),
            300 => cluster.next_meets([Fault::CutBeforeAppend]),
            500 => cluster.cut(0),
            _ => {}
        }
        if i % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    close(producer).await;
    cluster.values(0)
}

#[tokio::test]
async fn cut_connections_neither_lose_nor_double_nor_reorder_records() {
    let values = send_over_breaking_connections(small_batches()).await;
    assert_eq!(values, numbers(3_000));
}

#[tokio::test]
async fn without_idempotence_cut_connections_may_double_records_but_lose_and_reorder_none() {
    let mut values = send_over_breaking_connections(ProducerConfig {
        idempotence: Some(false),
        ..small_batches()
    })
    .await;
    let mut seen = HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
    assert_eq!(values, numbers(3_000));
}

#[tokio::test]
async fn an_answer_lost_after_the_append_is_given_again_with_the_same_offset() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    send(&producer, "first").await.await.expect("stored");
    cluster.next_meets([Fault::CutAfterAppend]);
    let stored = send(&producer, "once").await.await.expect("stored");
    assert_eq!(stored.offset, Some(Offset(1)));
    assert_eq!(cluster.values(0), ["first", "once"]);
}

#[tokio::test]
async fn without_a_producer_id_nothing_is_sent_and_then_everything() {
    let cluster = Cluster::start(1, 1).await;
    cluster.state().ids_refused = 3;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    send(&producer, "late").await.await.expect("stored");
    {
        let mut state = cluster.state();
        assert_eq!((state.ids_refused, state.producer_ids), (0, 1));
        state.ids_refused = usize::MAX;
    }
    let producer = cluster.client().await.producer(ProducerConfig {
        delivery_timeout: Duration::from_millis(300),
        ..ProducerConfig::default()
    });
    let error = send(&producer, "never").await.await.expect_err("no id");
    let text = error.to_string();
    assert!(text.contains("no broker gives a producer id"), "{text}");
    assert!(!text.contains("may be stored"), "{text}");
    assert_eq!(cluster.values(0), ["late"]);
}

#[tokio::test]
async fn a_producer_that_the_leader_forgot_goes_on_under_its_next_epoch() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    send(&producer, "a").await.await.expect("stored");
    cluster.state().partitions[0].producers = ProducerTable::default();
    let stored = [send(&producer, "b").await, send(&producer, "c").await];
    for delivery in stored {
        delivery.await.expect("stored");
    }
    assert_eq!(cluster.values(0), ["a", "b", "c"]);
    let state = cluster.state();
    let last = header(state.partitions[0].log.last().expect("three"));
    assert_eq!((last.producer_epoch, last.base_sequence < 2), (1, true));
}

#[tokio::test]
async fn what_may_be_stored_is_not_sent_under_another_epoch() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    send(&producer, "a").await.await.expect("stored");
    cluster.next_meets([Fault::CutAfterAppendAndForget]);
    let error = send(&producer, "b").await.await.expect_err("who knows");
    assert_eq!(error.code(), ErrorCode::UnknownProducer);
    assert!(!error.is_retriable());
    let text = error.to_string();
    assert!(text.contains("it may be stored"), "{text}");
    send(&producer, "c").await.await.expect("stored");
    assert_eq!(cluster.values(0), ["a", "b", "c"]);
}

#[tokio::test]
async fn idempotence_that_is_asked_for_needs_acks_of_all() {
    let cluster = Cluster::start(1, 1).await;
    for acks in [Acks::Leader, Acks::None] {
        let config = |idempotence| ProducerConfig {
            acks,
            idempotence,
            ..ProducerConfig::default()
        };
        let asked = cluster.client().await.producer(config(Some(true)));
        let error = asked.send(TOPIC, Record::new("a")).await;
        let error = error.expect_err("contradicts itself");
        assert_eq!(error.code(), ErrorCode::InvalidRequest);
        assert!(error.to_string().contains("Acks::All"), "{error}");
        for off in [None, Some(false)] {
            let producer = cluster.client().await.producer(config(off));
            send(&producer, "b").await.await.expect("taken");
        }
    }
    let state = cluster.state();
    assert_eq!(state.producer_ids, 0);
    assert!(
        state.partitions[0]
            .log
            .iter()
            .all(|b| header(b).producer_id == -1)
    );
}

#[tokio::test]
async fn a_batch_refused_for_good_among_others_leaves_no_gap() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    send(&producer, "first").await.await.expect("stored");
    cluster.next_meets([Fault::Refuse(ErrorCode::CorruptBatch)]);
    let deliveries = send_numbers(&producer, 1_000).await;
    let mut stored = vec!["first".to_owned()];
    for (value, delivery) in numbers(1_000).into_iter().zip(deliveries) {
        match timeout(DEADLINE, delivery).await.expect("in time") {
            Ok(_) => stored.push(value),
            Err(error) => assert_eq!(error.code(), ErrorCode::CorruptBatch),
        }
    }
    assert!((900..1_001).contains(&stored.len()), "one batch failed");
    assert_eq!(cluster.values(0), stored);
}

#[tokio::test]
async fn a_batch_refused_for_good_fails_and_the_others_go_on() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    cluster.next_meets([Fault::Refuse(ErrorCode::CorruptBatch)]);
    let refused = send(&producer, "refused").await.await.expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::CorruptBatch);
    assert!(!refused.is_retriable());
    send(&producer, "stored").await.await.expect("stored");
    assert_eq!(cluster.values(0), ["stored"]);
    let error = producer.close().await.expect_err("one was refused");
    assert_eq!(error.records, 1);
}

#[tokio::test]
async fn a_silent_broker_costs_the_delivery_timeout_and_says_that_it_may_be_stored() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        delivery_timeout: Duration::from_secs(3),
        ..ProducerConfig::default()
    });
    // It has its id and its connection.
    send(&producer, "first").await.await.expect("stored");
    cluster.next_meets([Fault::Silence; 10]);
    let delivery = send(&producer, "lost").await;
    let error = timeout(DEADLINE, delivery).await.expect("in time");
    match error.expect_err("nobody answered") {
        ProduceError::TimedOut { maybe_stored, .. } => assert!(maybe_stored),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_broker_that_stops_answering_is_left_and_the_records_arrive() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        request_timeout: Duration::from_millis(200),
        ..ProducerConfig::default()
    });
    cluster.next_meets([Fault::Silence]);
    let delivery = send(&producer, "late").await;
    let stored = timeout(DEADLINE, delivery).await.expect("in time");
    stored.expect("the second attempt is answered");
    assert_eq!(cluster.values(0), ["late"]);
}

#[tokio::test]
async fn failures_that_nobody_awaited_are_told_by_flush_once() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    cluster.next_meets([Fault::Refuse(ErrorCode::InvalidRequest)]);
    drop(send(&producer, "refused").await);
    let error = producer.flush().await.expect_err("one was refused");
    assert_eq!(error.records, 1);
    assert_eq!(error.first.code(), ErrorCode::InvalidRequest);
    producer.flush().await.expect("told already");
}

#[tokio::test]
async fn dropping_the_producer_fails_what_was_not_acknowledged() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        linger: Duration::from_hours(1),
        ..ProducerConfig::default()
    });
    let delivery = send(&producer, "kept back").await;
    drop(producer);
    let error = timeout(DEADLINE, delivery).await.expect("at once");
    let expected = ProduceError::Closed {
        maybe_stored: false,
    };
    assert_eq!(error.expect_err("closed"), expected);
}

#[tokio::test]
async fn sending_waits_for_room_and_goes_on_when_there_is_some() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        buffer_bytes: 16 << 10,
        request_timeout: Duration::from_millis(500),
        ..small_batches()
    });
    producer.topic(TOPIC).await.expect("known");
    cluster.next_meets([Fault::Silence; 1_000]);
    let value = "x".repeat(500);
    let mut sent = 0;
    while let Some(taken) = producer.send(TOPIC, Record::new(&value)).now_or_never() {
        let _delivery = taken.expect("taken");
        sent += 1;
        assert!(sent < 100, "16 KiB hold fewer");
    }
    cluster.state().faults.clear();
    for _ in 0..200 {
        let _delivery = send(&producer, &value).await;
        sent += 1;
    }
    close(producer).await;
    assert!(cluster.values(0).len() >= sent);
}

#[tokio::test]
async fn a_full_buffer_does_not_wait_for_linger() {
    let cluster = Cluster::start(1, 4).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        linger: Duration::from_hours(1),
        buffer_bytes: 16 << 10,
        batch_bytes: 8 << 10,
        ..ProducerConfig::default()
    });
    for i in 0..200 {
        let record = Record {
            partition: Some(PartitionIndex(i % 4)),
            ..Record::new("some bytes that take room in the buffer")
        };
        let sent = timeout(DEADLINE, producer.send(TOPIC, record)).await;
        let _delivery = sent.expect("no deadlock").expect("taken");
    }
    close(producer).await;
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_reached_through_the_bootstrap_broker() {
    let cluster = Cluster::start(2, 1).await;
    cluster.move_leader(0, 1);
    // No such name anywhere (RFC 2606), as inside a cluster seen from a laptop.
    cluster.state().advertised[1] = "broker-1.invalid:9640".to_owned();
    let producer = cluster.client().await.producer(ProducerConfig::default());
    let stored = timeout(DEADLINE, send(&producer, "routed").await).await;
    stored.expect("in time").expect("stored");
    assert_eq!(cluster.values(0), ["routed"]);
    assert_eq!(cluster.state().routed, 1);
}

#[tokio::test]
async fn without_acks_a_delivery_knows_no_offset() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig {
        acks: Acks::None,
        ..ProducerConfig::default()
    });
    let stored = send(&producer, "a").await.await.expect("taken");
    assert_eq!(stored.offset, None);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_said_so_after_a_moment() {
    let cluster = Cluster::start(1, 1).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    let sent = timeout(DEADLINE, producer.send("nowhere", Record::new("a"))).await;
    let error = sent.expect("in time").expect_err("no such topic");
    assert_eq!(error.code(), ErrorCode::UnknownTopic);
    let early = producer.try_send("nowhere", Record::new("a"));
    assert_eq!(early.expect_err("not looked up"), ProduceError::NotResolved);
}

/// Numbers without a gap between them.
fn runs(values: &[String]) -> Vec<Vec<usize>> {
    let numbers = values.iter().map(|value| value.parse().expect("a number"));
    let numbers: Vec<usize> = numbers.collect();
    let runs = numbers.chunk_by(|before, after| before + 1 == *after);
    runs.map(<[usize]>::to_vec).collect()
}

#[tokio::test]
async fn keys_go_where_kafka_puts_them_and_keyless_records_fill_batch_after_batch() {
    let cluster = Cluster::start(1, 12).await;
    let keyed = cluster.client().await.producer(small_batches());
    // murmur2 as in Kafka's own tests, without its sign, modulo 12.
    for (key, partition) in [
        ("21", 1_173_551_340 % 12),
        ("foobar", 1_357_151_166 % 12),
        ("a-little-bit-long-string", 1_161_502_112 % 12),
        ("a-little-bit-longer-string", 661_178_819 % 12),
        ("abc", 479_470_107 % 12),
    ] {
        let sent = keyed.send(TOPIC, Record::new("keyed").key(key)).await;
        let stored = sent.expect("taken").await.expect("stored");
        assert_eq!(stored.partition, PartitionIndex(partition), "{key}");
    }
    close(keyed).await;

    let keyless = cluster.client().await.producer(ProducerConfig {
        // A batch ends when it is full, and for no other reason.
        linger: Duration::from_hours(1),
        ..small_batches()
    });
    let _deliveries = send_numbers(&keyless, 2_000).await;
    close(keyless).await;
    let mut batches: Vec<(usize, Vec<usize>)> = Vec::new();
    for partition in 0..12 {
        let mut values = cluster.values(partition);
        values.retain(|value| value != "keyed");
        batches.extend(runs(&values).into_iter().map(|run| (partition, run)));
    }
    batches.sort_by_key(|(_, run)| run[0]);
    let lengths: Vec<usize> = batches.iter().map(|(_, run)| run.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 2_000);
    assert!(lengths.len() > 12, "each partition has some: {lengths:?}");
    let full = &lengths[..lengths.len() - 1];
    // 1 KiB of records with 6 bytes each, and as much again around them.
    assert!(full.iter().all(|&records| records > 40), "{lengths:?}");
    for pair in batches.windows(2) {
        assert_eq!((pair[0].0 + 1) % 12, pair[1].0, "the next one's turn");
    }
}

#[tokio::test]
async fn a_partition_that_is_not_there_is_said_at_once() {
    let cluster = Cluster::start(1, 2).await;
    let producer = cluster.client().await.producer(ProducerConfig::default());
    let record = Record {
        partition: Some(PartitionIndex(2)),
        ..Record::new("a")
    };
    let error = producer.send(TOPIC, record).await.expect_err("0 and 1");
    assert_eq!(error.code(), ErrorCode::UnknownPartition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_senders_at_once_keep_their_own_order_through_refusals_and_moves() {
    let cluster = Cluster::start(2, 1).await;
    let producer = cluster.client().await.producer(small_batches());
    let senders = (0..4).map(|sender| {
        let (producer, cluster) = (producer.clone(), Arc::clone(&cluster));
        tokio::spawn(async move {
            for i in 0..2_000 {
                let _delivery = send(&producer, &format!("{sender}-{i:06}")).await;
                match i % 700 {
                    99 => cluster.next_meets([Fault::Refuse(ErrorCode::DiskFull)]),
                    500 if sender == 0 => cluster.move_leader(0, i / 700 % 2),
                    _ => {}
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    close(producer).await;
    let all = cluster.values(0);
    for sender in 0..4 {
        let prefix = format!("{sender}-");
        let own: Vec<_> = all.iter().filter_map(|v| v.strip_prefix(&prefix)).collect();
        assert_eq!(own, numbers(2_000), "sender {sender}");
    }
}
