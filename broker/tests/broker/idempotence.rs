//! Batches of idempotent producers, as a client in any language sends them.

use bytes::Bytes;
use taffrail_api::v1::{InitProducerRequest, broker_client::BrokerClient};
use taffrail_broker::{Environment, start_with};
use taffrail_core::ErrorCode;
use taffrail_record::{ProducerStamp, with_producer};

use crate::fixture::{Client, Fixture, batch, channel, config, request};

fn of(id: i64, base_sequence: i32, values: &[&str]) -> Bytes {
    let producer = ProducerStamp {
        id,
        epoch: 0,
        base_sequence,
    };
    with_producer(&batch(values), producer)
}

#[tokio::test]
async fn ids_are_given_without_the_controller_and_each_once() {
    let fixture = Fixture::start(1).await;
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    let config = config(&dir, &controller);
    drop(controller);
    broker.stop().await;
    let broker = start_with(config, Environment::real(None))
        .await
        .expect("starts");
    let mut client = BrokerClient::new(channel(&broker));
    let mut given = std::collections::HashSet::new();
    for _ in 0..20 {
        let answer = client.init_producer(InitProducerRequest {}).await;
        let answer = answer.expect("answers").into_inner();
        assert!(answer.producer_id >= 0);
        assert_eq!(answer.producer_epoch, 0);
        assert!(given.insert(answer.producer_id), "given twice");
    }
}

async fn check(client: &mut Client) {
    let again = client.produce(request(0, of(5, 2, &["c"]))).await;
    assert_eq!(again.expect("stored before").base_offset, 2);
    let gap = client.produce(request(0, of(5, 9, &["x"]))).await;
    let error = gap.expect_err("one is missing");
    assert_eq!(error.code, ErrorCode::OutOfOrderSequence);
    assert!(!error.retriable);
    assert!(error.message.contains("expected is 3"), "{error}");
    assert_eq!(client.values(0, 0).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_is_stored_is_known_after_a_crash_and_after_a_stop() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    for stored in [of(5, 0, &["a", "b"]), of(5, 2, &["c"])] {
        client.produce(request(0, stored)).await.expect("stored");
    }
    check(&mut client).await;
    let fixture = fixture.crash_and_restart().await;
    check(&mut fixture.client().await).await;
    let fixture = fixture.restart().await;
    check(&mut fixture.client().await).await;
}

#[tokio::test]
async fn the_stream_goes_on_after_a_gap() {
    let fixture = Fixture::start(1).await;
    let mut client = fixture.client().await;
    // Pipelined: the second one is missing, the fourth goes again after it.
    let sent = [
        of(5, 0, &["a"]),
        of(5, 2, &["c"]),
        of(5, 1, &["b"]),
        of(5, 2, &["c"]),
    ];
    for batch in sent {
        client.send(request(0, batch));
    }
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.answer().await);
    }
    answers.sort_by_key(|(id, _)| *id);
    let outcome = |i: usize| answers[i].1.as_ref().map(|ack| ack.base_offset);
    assert_eq!(
        (outcome(0).ok(), outcome(2).ok(), outcome(3).ok()),
        (Some(0), Some(1), Some(2))
    );
    let error = outcome(1).expect_err("too early");
    assert_eq!(error.code, ErrorCode::OutOfOrderSequence);
    assert_eq!(client.values(0, 0).await, ["a", "b", "c"]);
}
