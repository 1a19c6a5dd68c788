//! `deletionPolicy: DeleteIfEmpty` while producers write: what was acknowledged stays, to the last record.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use taffrail_client::{Client, ProducerConfig, Record};
use taffrail_tests::{consumed, dev::Dev, manifest, traffic, wait};

/// Sends one record after the other until one is refused.
async fn produce(client: Client, topic: String, acknowledged: Arc<AtomicUsize>) {
    let producer = client.producer(ProducerConfig {
        delivery_timeout: Duration::from_secs(2),
        ..ProducerConfig::default()
    });
    loop {
        let Ok(delivery) = producer.send(&topic, Record::new("event")).await else {
            return;
        };
        if delivery.await.is_err() {
            return;
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

fn topic(name: &str, more: &[&str]) -> String {
    let policy = ["partitions: 1", "deletionPolicy: DeleteIfEmpty"];
    manifest::topic(name, &[&policy[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_acknowledged_a_moment_before_the_end_keeps_its_topic() {
    let dev = Dev::start("delete-if-empty");
    let client = traffic::connect(dev.address()).await;
    for (round, head_start) in [0, 1, 1, 3, 10, 30].into_iter().enumerate() {
        let name = format!("race-{round}");
        dev.apply(&topic(&name, &[]));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let producing = tokio::spawn(produce(client.clone(), name.clone(), acknowledged.clone()));
        wait::until_async("the head start", wait::PATIENCE, || async {
            (acknowledged.load(Ordering::SeqCst) >= head_start).then_some(())
        })
        .await;
        let said = dev.taffrail(&["delete", &name]).expect_success();
        producing.await.expect("it ends");
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        if acknowledged == 0 {
            continue;
        }
        assert!(
            said.contains("its data is kept"),
            "{acknowledged} records were acknowledged: {said}"
        );
        dev.apply(&topic(&name, &["adoption: ByName"]));
        let found = consumed::consume(&dev, &name).len();
        assert!(found >= acknowledged, "{found} of {acknowledged}");
    }
}

#[test]
fn an_empty_topic_goes_with_its_data() {
    let dev = Dev::start("delete-empty");
    dev.apply(&topic("empty", &[]));
    let said = dev.taffrail(&["delete", "empty"]).expect_success();
    assert!(said.contains("its data is gone"), "{said}");
    let said = dev.apply(&topic("empty", &[]));
    assert!(said.contains("created"), "{said}");
}
