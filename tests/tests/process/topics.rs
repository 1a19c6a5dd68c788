//! Topics while the cluster runs: applied, changed, deleted, adopted.

use std::{io::Write as _, process::Stdio};

use taffrail_client::{ProducerConfig, Record};
use taffrail_tests::{
    consumed,
    dev::Dev,
    manifest,
    partitions::{self, folders},
    traffic, wait,
};

fn produce(dev: &Dev, topic: &str, lines: &[String]) {
    let mut child = dev
        .command()
        .args(["produce", topic])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("taffrail starts");
    let mut input = child.stdin.take().expect("it is piped");
    input
        .write_all(lines.join("\n").as_bytes())
        .expect("it reads");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn applying_twice_changes_nothing() {
    let dev = Dev::start("apply-twice");
    let topic = manifest::topic("events", &["partitions: 2"]);
    assert!(dev.apply(&topic).contains("topic/events created"));
    assert!(dev.apply(&topic).contains("topic/events unchanged"));
}

#[test]
fn partitions_increase_without_a_restart() {
    let dev = Dev::start("more-partitions");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    produce(&dev, "events", &numbers(100));
    let said = dev.apply(&manifest::topic("events", &["partitions: 4"]));
    assert!(said.contains("topic/events configured"), "{said}");
    assert_eq!(partitions::of(&dev, "events").len(), 4);
    produce(&dev, "events", &numbers(100));
    assert_eq!(consumed::consume(&dev, "events").len(), 200);
}

#[test]
fn partitions_do_not_shrink() {
    let dev = Dev::start("no-shrink");
    dev.apply(&manifest::topic("events", &["partitions: 4"]));
    let said = dev
        .try_apply(&manifest::topic("events", &["partitions: 2"]))
        .expect_failure();
    let message = taffrail_core::rules::PARTITIONS_GROW_ONLY.message;
    assert!(said.contains(message), "{said}");
    assert_eq!(partitions::of(&dev, "events").len(), 4);
}

#[test]
fn a_shorter_retention_takes_effect_without_a_restart() {
    let dev = Dev::start("retention");
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 1", "segment: {maxAge: 1s}"],
    ));
    produce(&dev, "events", &numbers(100));
    dev.apply(&manifest::topic(
        "events",
        &[
            "partitions: 1",
            "segment: {maxAge: 1s}",
            "retention: {time: 1s}",
        ],
    ));
    wait::until("the expiry of the first segment", wait::PATIENCE, || {
        (partitions::of(&dev, "events")[0].log_start_offset == 100).then_some(())
    });
    produce(&dev, "events", &numbers(10));
    let first = &consumed::consume(&dev, "events")[0];
    assert!(first.offset >= 100, "{first:?}");
}

#[test]
fn a_deleted_topic_keeps_its_data_until_it_is_adopted() {
    let dev = Dev::start("adopt");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    produce(&dev, "events", &numbers(100));
    dev.taffrail(&["delete", "events"]).expect_success();

    let said = dev
        .try_apply(&manifest::topic("events", &["partitions: 2"]))
        .expect_failure();
    assert!(
        said.contains("RETAINED_DATA_EXISTS") && said.contains("adoption"),
        "{said}"
    );

    dev.apply(&manifest::topic(
        "events",
        &["partitions: 2", "adoption: ByName"],
    ));
    assert_eq!(consumed::consume(&dev, "events").len(), 100);
}

#[test]
fn a_deleted_topic_can_begin_afresh() {
    let dev = Dev::start("fresh");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    produce(&dev, "events", &numbers(100));
    dev.taffrail(&["delete", "events"]).expect_success();
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 2", "adoption: Fresh"],
    ));
    assert!(consumed::consume(&dev, "events").is_empty());
}

#[test]
fn a_topic_with_deletion_policy_delete_leaves_nothing() {
    let dev = Dev::start("delete-data");
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 1", "deletionPolicy: Delete"],
    ));
    produce(&dev, "events", &numbers(100));
    assert_eq!(folders(dev.data_dir(), 0).len(), 1);
    dev.taffrail(&["delete", "events"]).expect_success();
    wait::until("the end of the data", wait::PATIENCE, || {
        folders(dev.data_dir(), 0).is_empty().then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_metadata_is_stale_goes_on() {
    let dev = Dev::start("stale-metadata");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let client = traffic::connect(dev.address()).await;
    let producer = client.producer(ProducerConfig::default());
    let delivery = producer
        .send("events", Record::new("a"))
        .await
        .expect("there is room");
    assert_eq!(traffic::offset_of(delivery.await.expect("acknowledged")), 0);

    dev.taffrail(&["delete", "events"]).expect_success();
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 3", "adoption: Fresh"],
    ));

    let delivery = producer
        .send("events", Record::new("b"))
        .await
        .expect("there is room");
    assert_eq!(
        traffic::offset_of(delivery.await.expect("acknowledged")),
        0,
        "it is another topic now"
    );
}
