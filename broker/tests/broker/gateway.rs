//! Thin clients: plain records, nothing but stubs.

use bytes::Bytes;
use taffrail_api::{
    WireError,
    status::from_status,
    v1::{
        Header, PublishRecord, PublishRequest, SubscribeRequest, SubscribedRecord,
        gateway_client::GatewayClient, subscribe_request::Start,
    },
};
use taffrail_core::ErrorCode;
use taffrail_record::{BatchBuilder, Compression, NewRecord, partitioner::partition_for_key};

use crate::fixture::{Fixture, batch, request, within};

fn record(key: &str, value: &str) -> PublishRecord {
    PublishRecord {
        key: (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..PublishRecord::default()
    }
}

fn publish(records: Vec<PublishRecord>) -> PublishRequest {
    PublishRequest {
        topic: "flights".into(),
        records,
        timeout_ms: 0,
    }
}

async fn read(fixture: &Fixture, request: SubscribeRequest, count: usize) -> Vec<SubscribedRecord> {
    let request = SubscribeRequest {
        topic: "flights".into(),
        ..request
    };
    let mut stream = GatewayClient::new(fixture.channel())
        .subscribe(request)
        .await
        .expect("opens")
        .into_inner();
    let mut records = Vec::new();
    while records.len() < count {
        match within("records", stream.message()).await.expect("open") {
            Some(answer) => records.extend(answer.records),
            None => break,
        }
    }
    records
}

#[tokio::test]
async fn published_records_go_where_their_keys_say_and_come_back_whole() {
    let fixture = Fixture::start(3).await;
    let mut client = GatewayClient::new(fixture.channel());
    let mut first = record("N14228", "to Houston");
    first.headers = vec![Header {
        key: "carrier".into(),
        value: Some(Bytes::from_static(b"UA")),
    }];
    first.timestamp_ms = Some(1_357_034_400_000);
    let records = vec![
        first.clone(),
        record("N24211", "to Miami"),
        record("", "anywhere"),
    ];
    let results = client
        .publish(publish(records))
        .await
        .expect("answers")
        .into_inner()
        .results;
    assert!(results.iter().all(|r| r.error.is_none()));
    assert_eq!(results[0].partition, partition_for_key(b"N14228", 3).0);

    let all = SubscribeRequest {
        start: Some(Start::Earliest(true)),
        until_end: true,
        ..SubscribeRequest::default()
    };
    let read = read(&fixture, all, usize::MAX).await;
    assert_eq!(read.len(), 3);
    let back = read
        .iter()
        .find(|r| r.key.as_deref() == Some(b"N14228"))
        .expect("there");
    assert_eq!(
        (back.value.clone(), back.timestamp_ms),
        (first.value, 1_357_034_400_000)
    );
    assert_eq!(back.headers, first.headers);
}

#[tokio::test]
async fn one_bad_record_fails_alone() {
    let fixture = Fixture::start(1).await;
    let mut client = GatewayClient::new(fixture.channel());
    let too_large = record("", &"x".repeat(1_100_000));
    let nowhere = PublishRecord {
        partition: Some(7),
        ..record("", "b")
    };
    let results = client
        .publish(publish(vec![record("", "a"), too_large, nowhere]))
        .await
        .expect("answers")
        .into_inner()
        .results;
    let code = |i: usize| results[i].error.clone().map(|e| WireError::from(e).code);
    assert_eq!(code(0), None);
    assert_eq!(code(1), Some(ErrorCode::RecordTooLarge));
    assert_eq!(code(2), Some(ErrorCode::UnknownPartition));
}

#[tokio::test]
async fn an_unknown_topic_is_told_with_its_name() {
    let fixture = Fixture::start(1).await;
    let mut client = GatewayClient::new(fixture.channel());
    let unknown = PublishRequest {
        topic: "ships".into(),
        ..publish(vec![])
    };
    let status = client.publish(unknown).await.expect_err("unknown");
    assert_eq!(from_status(&status).code, ErrorCode::UnknownTopic);
    assert_eq!(
        status
            .metadata()
            .get("taffrail-error-code")
            .expect("trailer"),
        "UNKNOWN_TOPIC"
    );
    assert!(status.message().contains("\"ships\""));
}

#[tokio::test]
async fn a_subscription_follows_the_tail_from_an_offset() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a", "b", "c"])))
        .await
        .expect("stored");
    let from = SubscribeRequest {
        partitions: vec![0],
        start: Some(Start::Offset(1)),
        ..SubscribeRequest::default()
    };
    let (records, ()) = tokio::join!(read(&fixture, from, 3), async {
        client
            .produce(request(0, batch(&["d"])))
            .await
            .expect("stored");
    });
    let offsets: Vec<_> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [1, 2, 3]);
}

#[tokio::test]
async fn a_subscription_with_an_offset_needs_one_partition() {
    let fixture = Fixture::start(2).await;
    let request = SubscribeRequest {
        topic: "flights".into(),
        start: Some(Start::Offset(1)),
        ..SubscribeRequest::default()
    };
    let status = GatewayClient::new(fixture.channel())
        .subscribe(request)
        .await
        .expect_err("ambiguous");
    assert_eq!(from_status(&status).code, ErrorCode::InvalidRequest);
}

#[tokio::test]
async fn a_batch_that_unpacks_to_more_than_a_stock_client_takes_comes_in_parts() {
    let fixture = Fixture::start(1).await;
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let value = vec![b'x'; 700_000];
    for _ in 0..9 {
        builder.push(&NewRecord {
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    let packed = builder.build().expect("records");
    let mut client = fixture.client().await;
    client.produce(request(0, packed)).await.expect("stored");
    let from_earliest = SubscribeRequest {
        start: Some(Start::Earliest(true)),
        ..SubscribeRequest::default()
    };
    let records = read(&fixture, from_earliest, 9).await;
    let offsets: Vec<i64> = records.iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subscription_is_told_that_the_broker_stops() {
    let fixture = Fixture::start(1).await;
    let request = SubscribeRequest {
        topic: "flights".into(),
        ..SubscribeRequest::default()
    };
    let mut stream = GatewayClient::new(fixture.channel())
        .subscribe(request)
        .await
        .expect("opens")
        .into_inner();
    let stopped = tokio::spawn(fixture.broker.stop());
    let status = within("the end", stream.message())
        .await
        .expect_err("ends early");
    assert_eq!(from_status(&status).code, ErrorCode::ShuttingDown);
    within("the stop", stopped).await.expect("stops");
}

#[tokio::test]
async fn more_lookups_and_subscriptions_than_may_decompress_at_a_time_are_all_answered() {
    let fixture = Fixture::with_limits(taffrail_broker::Limits {
        decompressions_max: 1,
        ..taffrail_broker::Limits::default()
    })
    .await;
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for i in 0..100 {
        builder.push(&NewRecord {
            value: Some(b"value"),
            timestamp_ms: i,
            ..NewRecord::default()
        });
    }
    let mut client = fixture.client().await;
    let packed = builder.build().expect("records");
    client.produce(request(0, packed)).await.expect("stored");
    let lookups = (0..50).map(async |i| {
        let time = taffrail_api::v1::offset_query::Position::TimestampMs(i);
        assert_eq!(client.offset(0, time).await.expect("found"), (i, i));
    });
    let from_earliest = || SubscribeRequest {
        start: Some(Start::Earliest(true)),
        ..SubscribeRequest::default()
    };
    let subscriptions = (0..10).map(|_| read(&fixture, from_earliest(), 100));
    futures::future::join(
        futures::future::join_all(lookups),
        futures::future::join_all(subscriptions),
    )
    .await;
}
