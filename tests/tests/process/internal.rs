//! The cluster's own topics, as its users meet them.

use std::net::SocketAddr;

use serde_json::Value;
use taffrail_api::{
    status::from_status,
    v1::{
        GetMetadataRequest, PublishRecord, PublishRequest, broker_client::BrokerClient,
        gateway_client::GatewayClient,
    },
};
use taffrail_core::{
    ErrorCode,
    internal::{OFFSETS, OFFSETS_PARTITIONS_DEFAULT},
};
use taffrail_tests::{consumed, dev::Dev, manifest, wait};

fn items(dev: &Dev, args: &[&str]) -> Vec<Value> {
    let json = dev.taffrail(&[&["get", "-o", "json"], args].concat());
    let list: Value = serde_json::from_str(&json.expect_success()).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

fn names(topics: &[Value]) -> Vec<&str> {
    let names = topics
        .iter()
        .map(|topic| topic["metadata"]["name"].as_str());
    names.map(|name| name.expect("text")).collect()
}

/// Where clients connect, once `__offsets` is served.
fn served(dev: &Dev) -> SocketAddr {
    wait::until("the cluster's own topic", wait::PATIENCE, || {
        let topics = items(dev, &["topics", "--internal"]);
        let topic = topics.iter().find(|t| t["metadata"]["name"] == OFFSETS)?;
        let online = topic["status"]["partitions"]["online"].as_u64();
        (online == Some(OFFSETS_PARTITIONS_DEFAULT.into())).then_some(())
    });
    dev.address()
}

#[test]
fn they_are_listed_only_where_somebody_asks_for_them_and_counted_with_their_broker() {
    let dev = Dev::start("internal-lists");
    served(&dev);
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    assert_eq!(names(&items(&dev, &["topics"])), ["events"]);
    let all = items(&dev, &["topics", "--internal"]);
    assert_eq!(names(&all), [OFFSETS, "events"]);
    let partitions = OFFSETS_PARTITIONS_DEFAULT as usize;
    assert_eq!(items(&dev, &["partitions"]).len(), 2);
    assert_eq!(items(&dev, &["partitions", OFFSETS]).len(), partitions);
    let all = items(&dev, &["partitions", "--internal"]);
    assert_eq!(all.len(), 2 + partitions);
    let leads = items(&dev, &["brokers"])[0]["leads"].as_u64();
    assert_eq!(leads, Some(2 + partitions as u64));
}

#[test]
fn they_can_be_read_and_are_not_written_applied_or_deleted() {
    let dev = Dev::start("internal-refused");
    served(&dev);
    assert!(consumed::consume(&dev, OFFSETS).is_empty());
    let line = dev.scratch().write("line.txt", "a line\n");
    for args in [
        &["produce", OFFSETS, &line.to_string_lossy()][..],
        &["delete", OFFSETS],
    ] {
        let said = dev.taffrail(args).expect_failure();
        assert!(said.contains("INTERNAL_TOPIC"), "{args:?}: {said}");
    }
    let said = dev.try_apply(&manifest::topic("t", &["topicName: __offsets"]));
    assert!(said.expect_failure().contains("names that start with __"));
    assert!(consumed::consume(&dev, OFFSETS).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn thin_clients_do_not_write_to_them_and_smart_ones_can_tell_them_apart() {
    let dev = Dev::start("internal-publish");
    let url = format!("http://{}", served(&dev));
    let mut gateway = GatewayClient::connect(url.clone())
        .await
        .expect("it serves");
    let request = PublishRequest {
        topic: OFFSETS.to_owned(),
        records: vec![PublishRecord::default()],
        ..PublishRequest::default()
    };
    let refused = gateway.publish(request).await.expect_err("internal");
    let error = from_status(&refused);
    assert_eq!(error.code, ErrorCode::InternalTopic, "{error}");
    assert!(error.message.contains("a topic of yours"), "{error}");

    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let mut broker = BrokerClient::connect(url).await.expect("it serves");
    let all = broker.get_metadata(GetMetadataRequest::default()).await;
    let topics = all.expect("it answers").into_inner().topics;
    let told: Vec<_> = topics.iter().map(|t| (&*t.name, t.internal)).collect();
    assert_eq!(told, [(OFFSETS, true), ("events", false)]);
}
