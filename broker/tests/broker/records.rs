//! The main job: what is produced is there, in order, and stays.

use futures::StreamExt as _;
use taffrail_api::{
    stream::{Route, fetch},
    v1::{
        Acks, FetchRequest, ProduceRequest, broker_client::BrokerClient, offset_query::Position,
        produce_response,
    },
};

use crate::fixture::{Client, Fixture, batch, batch_at, fetch_at, request, within};

#[tokio::test]
async fn pipelined_batches_are_acknowledged_and_read_in_order() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let values: Vec<String> = (0..200).map(|i| format!("flight-{i}")).collect();
    for value in &values {
        client.send(request(0, batch(&[value])));
    }
    for expected in 0..200 {
        let (id, ack) = client.answer().await;
        assert_eq!(
            (id, ack.expect("stored").base_offset),
            (expected + 1, expected as i64)
        );
    }
    assert_eq!(client.values(0, 0).await, values);
    fixture.broker.stop().await;
}

#[tokio::test]
async fn several_batches_of_one_request_are_one_answer() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let both = [batch(&["a", "b"]), batch(&["c"])].concat();
    let ack = client
        .produce(request(0, both.into()))
        .await
        .expect("stored");
    assert_eq!(ack.base_offset, 0);
    assert!(ack.append_time_ms > 1_700_000_000_000);
    let ack = client
        .produce(request(0, batch(&["d"])))
        .await
        .expect("stored");
    assert_eq!(ack.base_offset, 3);
    assert_eq!(
        client.values(0, 1).await,
        ["a", "b", "c", "d"],
        "whole batches, from the one that holds the offset"
    );
}

#[tokio::test]
async fn a_batch_of_megabytes_comes_back_as_it_went() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let value = "x".repeat(900_000);
    for _ in 0..5 {
        client
            .produce(request(0, batch(&[&value])))
            .await
            .expect("stored");
    }
    let values = client.values(0, 0).await;
    assert_eq!(values.len(), 5);
    assert!(values.iter().all(|v| *v == value));
}

#[tokio::test]
async fn a_fetch_at_the_tail_waits_for_the_next_record() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["first"])))
        .await
        .expect("stored");
    let waiting = fixture.client().await;
    let (fetched, ()) = tokio::join!(waiting.fetch(fetch_at(0, 1), 10_000), async {
        let empty = client.fetch(fetch_at(0, 1), 20).await;
        assert!(empty.batches.is_empty());
        assert_eq!(empty.high_watermark, 1);
        client
            .produce(request(0, batch(&["second"])))
            .await
            .expect("stored");
    });
    assert!(!fetched.batches.is_empty());
    assert_eq!(fetched.high_watermark, 2);
}

#[tokio::test]
async fn a_fetch_over_many_partitions_answers_for_those_that_have_something() {
    let fixture = Fixture::start(8).await;
    let mut client = fixture.client().await;
    client
        .produce(request(5, batch(&["here"])))
        .await
        .expect("stored");
    let request = FetchRequest {
        partitions: (0..8).map(|p| fetch_at(p, 0)).collect(),
        max_wait_ms: 10_000,
        ..FetchRequest::default()
    };
    let mut answers = fetch(
        fixture.channel(),
        Route::Direct,
        futures::stream::iter([request]),
    )
    .await
    .expect("opens");
    let answer = within("a fetch", answers.next())
        .await
        .expect("open")
        .expect("one");
    let partitions: Vec<_> = answer.partitions.iter().map(|p| p.partition).collect();
    assert_eq!(partitions, [5]);
}

#[tokio::test]
async fn without_acknowledgement_the_answer_has_no_offset_and_the_record_is_there() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    let acks_none = ProduceRequest {
        acks: Acks::None.into(),
        ..request(0, batch(&["a"]))
    };
    let ack = client.produce(acks_none).await.expect("accepted");
    assert_eq!(ack.base_offset, -1);
    let ack = client
        .produce(request(0, batch(&["b"])))
        .await
        .expect("stored");
    assert_eq!(ack.base_offset, 1);
}

#[tokio::test]
async fn offsets_are_found_by_position_and_by_time() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch_at(&["a", "b"], 1_000)))
        .await
        .expect("stored");
    client
        .produce(request(0, batch_at(&["c", "d"], 5_000)))
        .await
        .expect("stored");
    let at = async |position| client.offset(0, position).await.expect("found");
    assert_eq!(at(Position::Earliest(true)).await, (0, -1));
    assert_eq!(at(Position::Latest(true)).await, (4, -1));
    assert_eq!(at(Position::TimestampMs(1_001)).await, (1, 1_001));
    assert_eq!(at(Position::TimestampMs(2_000)).await, (2, 5_000));
    assert_eq!(at(Position::TimestampMs(9_000)).await, (4, -1));
}

#[tokio::test]
async fn a_stock_grpc_client_speaks_with_the_same_streams() {
    let fixture = Fixture::start(1).await;
    let mut stock = BrokerClient::new(fixture.channel());
    let requests = futures::stream::iter([request(0, batch(&["a"])), request(0, batch(&["b"]))]);
    let answers: Vec<_> = stock
        .produce(requests)
        .await
        .expect("opens")
        .into_inner()
        .map(|a| a.expect("an answer").result)
        .collect()
        .await;
    assert_eq!(answers.len(), 2);
    assert!(matches!(answers[1], Some(produce_response::Result::Ack(ack)) if ack.base_offset == 1));

    let requests = futures::stream::iter([FetchRequest {
        partitions: vec![fetch_at(0, 0)],
        ..FetchRequest::default()
    }]);
    let mut answers = stock.fetch(requests).await.expect("opens").into_inner();
    let fetched = answers.message().await.expect("an answer").expect("one");
    assert_eq!(fetched.partitions[0].batches.len(), batch(&["a"]).len() * 2);
    assert_eq!(answers.message().await.expect("a clean end"), None);
}

#[tokio::test]
async fn records_are_there_after_a_clean_restart() {
    let fixture = Fixture::start(2).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    client
        .produce(request(1, batch(&["b"])))
        .await
        .expect("stored");
    let fixture = fixture.restart().await;
    let mut client = Client::connect(fixture.channel(), Route::Direct).await;
    assert_eq!(client.values(0, 0).await, ["a"]);
    assert_eq!(client.values(1, 0).await, ["b"]);
    let ack = client
        .produce(request(0, batch(&["c"])))
        .await
        .expect("stored");
    assert_eq!(ack.base_offset, 1);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_broker_was_cut_off() {
    let fixture = Fixture::start(2).await;
    let mut client = fixture.client().await;
    for i in 0..400 {
        client.send(request(i % 2, batch(&[&format!("{}", i / 2)])));
    }
    let mut acknowledged = 0;
    while acknowledged < 100 {
        client.answer().await.1.expect("stored");
        acknowledged += 1;
    }
    let fixture = fixture.crash_and_restart().await;
    let client = fixture.client().await;
    let mut total = 0;
    for partition in 0..2 {
        let values = client.values(partition, 0).await;
        let expected: Vec<_> = (0..values.len()).map(|i| i.to_string()).collect();
        assert_eq!(values, expected);
        total += values.len();
    }
    assert!(
        total >= acknowledged,
        "{total} stored, {acknowledged} acknowledged"
    );
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["more"])))
        .await
        .expect("goes on");
}
