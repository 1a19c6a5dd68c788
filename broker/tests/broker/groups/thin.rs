//! Thin members of a group whose policy says at most once.

use std::collections::BTreeSet;

use taffrail_api::v1::gateway_client::GatewayClient;
use taffrail_core::group::{Delivery, GroupPolicy};
use tonic::{Streaming, transport::Channel};

use super::{policies::declared, *};
use crate::fixture::within;

type Answers = Streaming<v1::SubscribeResponse>;

async fn subscribe(fixture: &Fixture) -> Answers {
    let request = v1::SubscribeRequest {
        group: Some(v1::GroupSubscription {
            group: "billing".to_owned(),
            topics: vec!["flights".to_owned()],
            ..v1::GroupSubscription::default()
        }),
        ..v1::SubscribeRequest::default()
    };
    let mut client: GatewayClient<Channel> = GatewayClient::new(fixture.channel());
    client.subscribe(request).await.expect("opens").into_inner()
}

/// Reads until so many records came.
async fn read(answers: &mut Answers, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let answer = within("records", answers.message()).await.expect("open");
        let records = answer.expect("no end").records.into_iter();
        let value = |r: v1::SubscribedRecord| {
            String::from_utf8(r.value.unwrap_or_default().to_vec()).expect("text")
        };
        values.extend(records.map(value));
    }
    values
}

#[tokio::test]
async fn a_thin_member_gets_nothing_again_that_it_was_sent() {
    let fixture = empty().await;
    let policy = GroupPolicy {
        delivery: Some(Delivery::AtMostOnce),
        ..GroupPolicy::default()
    };
    declared(&fixture, &policy).await;
    let mut client = fixture.client().await;
    let produced = client.produce(request(0, batch(&["a", "b"]))).await;
    produced.expect("stored");
    let mut killed = subscribe(&fixture).await;
    assert_eq!(read(&mut killed, 2).await, ["a", "b"]);
    let described = describe(&fixture, "billing").await.expect("known");
    let stored: BTreeSet<_> = described
        .offsets
        .into_iter()
        .filter_map(|o| o.committed.map(|c| (c.partition, c.offset)))
        .collect();
    assert!(
        stored.contains(&(0, 2)),
        "{stored:?}: before the client says anything"
    );
    drop(killed);
    let produced = client.produce(request(0, batch(&["c"]))).await;
    produced.expect("stored");
    let mut next = subscribe(&fixture).await;
    assert_eq!(read(&mut next, 1).await, ["c"]);
}
