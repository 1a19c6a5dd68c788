//! Two brokers: any of them takes what is meant for the other, if asked to.

use taffrail_api::{
    stream::Route,
    v1::{PublishRecord, PublishRequest, gateway_client::GatewayClient, offset_query::Position},
};
use taffrail_broker::{BrokerConfig, Environment, RunningBroker, start_with};
use taffrail_core::ErrorCode;
use tempfile::TempDir;

use crate::{
    controller::{FakeController, Topic},
    fixture::{Client, TOPIC, batch, channel, code, config, fetch_at, request, until, within},
};

/// Partition 0 is the first broker's, partition 1 the second one's.
struct Pair {
    _controller: FakeController,
    first: RunningBroker,
    second: RunningBroker,
    _dirs: [TempDir; 2],
}

async fn pair() -> Pair {
    let controller = FakeController::start().await;
    let dirs = [
        tempfile::tempdir().expect("temp dir"),
        tempfile::tempdir().expect("temp dir"),
    ];
    let mut brokers = Vec::new();
    for (i, dir) in dirs.iter().enumerate() {
        let config = BrokerConfig {
            name: format!("broker-{i}"),
            ..config(dir, &controller)
        };
        let broker = start_with(config, Environment::real(None))
            .await
            .expect("starts");
        within("registration", broker.ready()).await;
        brokers.push(broker);
    }
    controller.put(TOPIC, Topic::new("flights", &[1, 2]));
    until("both partitions", async || {
        (0..2).all(|p| controller.report(TOPIC, p).is_some_and(|r| r.leading))
    })
    .await;
    let second = brokers.pop().expect("two");
    let first = brokers.pop().expect("two");
    Pair {
        _controller: controller,
        first,
        second,
        _dirs: dirs,
    }
}

#[tokio::test]
async fn unrouted_requests_are_sent_to_the_leader() {
    let pair = pair().await;
    let mut client = Client::connect(channel(&pair.first), Route::Direct).await;
    let error = client
        .produce(request(1, batch(&["a"])))
        .await
        .expect_err("not its leader");
    assert_eq!(error.code, ErrorCode::NotLeader);
    assert!(error.message.contains("broker 2 leads"), "{error}");
    let fetched = client.fetch(fetch_at(1, 0), 0).await;
    assert_eq!(
        code(fetched.error.expect("not its leader")),
        ErrorCode::NotLeader
    );
    assert_eq!(
        client
            .offset(1, Position::Latest(true))
            .await
            .expect_err("not its leader")
            .code,
        ErrorCode::NotLeader
    );
}

#[tokio::test]
async fn routed_requests_reach_the_leader_in_order() {
    let pair = pair().await;
    let mut client = Client::connect(channel(&pair.first), Route::Through).await;
    for i in 0..50 {
        client.send(request(1, batch(&[&format!("{i}")])));
    }
    for expected in 0..50 {
        let (id, ack) = client.answer().await;
        assert_eq!(
            (id, ack.expect("stored").base_offset),
            (expected + 1, expected as i64)
        );
    }
    let values = client.values(1, 0).await;
    assert_eq!(values.len(), 50);
    assert_eq!(values[49], "49");
    assert_eq!(
        client
            .offset(1, Position::Latest(true))
            .await
            .expect("routed")
            .0,
        50
    );
    // The same records, from their leader.
    let direct = Client::connect(channel(&pair.second), Route::Direct).await;
    assert_eq!(direct.values(1, 0).await, values);
}

#[tokio::test]
async fn offsets_of_many_partitions_come_in_the_order_of_the_questions() {
    let pair = pair().await;
    let mut client = Client::connect(channel(&pair.first), Route::Through).await;
    for (partition, records) in [(0, 2), (1, 3)] {
        for _ in 0..records {
            let produced = client.produce(request(partition, batch(&["a"]))).await;
            produced.expect("stored");
        }
    }
    let ask = [1, 0, 9, 1].map(|partition| (partition, Position::Latest(true)));
    let found = client.offsets(&ask).await;
    let ends: Vec<_> = found.iter().map(|f| f.as_ref().ok().map(|f| f.0)).collect();
    assert_eq!(ends, [Some(3), Some(2), None, Some(3)]);
    pair.second.stop().await;
    let found = client.offsets(&ask).await;
    let error = found[0].as_ref().expect_err("gone");
    assert!(error.retriable, "{error}");
    assert_eq!(found[1], Ok((2, -1)), "what is here is answered");
    assert_eq!(found[3].as_ref().expect_err("gone").code, error.code);
}

#[tokio::test]
async fn a_leader_that_went_away_is_said_to_be_unreachable() {
    let pair = pair().await;
    let mut client = Client::connect(channel(&pair.first), Route::Through).await;
    client
        .produce(request(1, batch(&["a"])))
        .await
        .expect("routed");
    pair.second.stop().await;
    let error = client
        .produce(request(1, batch(&["b"])))
        .await
        .expect_err("gone");
    assert!(error.retriable, "{error}");
    client
        .produce(request(0, batch(&["c"])))
        .await
        .expect("the other partition is served on");
}

#[tokio::test]
async fn published_records_reach_both_leaders() {
    let pair = pair().await;
    let records = (0..2)
        .map(|p| PublishRecord {
            partition: Some(p),
            value: Some("x".into()),
            ..PublishRecord::default()
        })
        .collect();
    let request = PublishRequest {
        topic: "flights".into(),
        records,
        timeout_ms: 0,
    };
    let results = GatewayClient::new(channel(&pair.second))
        .publish(request)
        .await
        .expect("answers")
        .into_inner()
        .results;
    assert!(
        results.iter().all(|r| r.error.is_none() && r.offset == 0),
        "{results:?}"
    );
}
