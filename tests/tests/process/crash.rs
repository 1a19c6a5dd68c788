//! What was acknowledged is there after the restart, at its offset, and offsets have no gaps.

use taffrail_client::Acks;
use taffrail_tests::{
    consumed,
    dev::Dev,
    manifest,
    traffic::{self, Traffic},
};

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_produce_loses_nothing_acknowledged() {
    let mut dev = Dev::start("kill-9");
    dev.apply(&manifest::topic("events", &["partitions: 3"]));
    let client = traffic::connect(dev.address()).await;
    let traffic = Traffic::start(&client, "events");
    for _ in 0..3 {
        traffic.more(2_000).await;
        dev.kill();
        dev.restart();
    }
    traffic.more(2_000).await;
    let acknowledged = traffic.stop().await;
    acknowledged.check(&consumed::as_read(&consumed::consume(&dev, "events")));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_produce_stores_every_record_once() {
    for durability in ["Fsync", "PageCache"] {
        let mut dev = Dev::start(&format!("kill-9-once-{}", durability.to_lowercase()));
        let durability = format!("durability: {durability}");
        dev.apply(&manifest::topic("events", &["partitions: 1", &durability]));
        let client = traffic::connect(dev.address()).await;
        let traffic = Traffic::start(&client, "events");
        for _ in 0..5 {
            traffic.more(500).await;
            dev.kill();
            dev.restart();
        }
        traffic.more(500).await;
        let acknowledged = traffic.stop().await;
        let read = consumed::as_read(&consumed::consume(&dev, "events"));
        acknowledged.check(&read);
        read.check_once();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_produce_loses_nothing_acknowledged() {
    let mut dev = Dev::start("sigterm");
    dev.apply(&manifest::topic("events", &["partitions: 3"]));
    let client = traffic::connect(dev.address()).await;
    let traffic = Traffic::start(&client, "events");
    traffic.more(2_000).await;
    assert!(dev.stop().success(), "{}", dev.said());
    dev.restart();
    traffic.more(2_000).await;
    let acknowledged = traffic.stop().await;
    let read = consumed::as_read(&consumed::consume(&dev, "events"));
    acknowledged.check(&read);
    read.check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_durability_page_cache_survives_kill_9() {
    let mut dev = Dev::start("kill-9-page-cache");
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 1", "durability: PageCache"],
    ));
    let client = traffic::connect(dev.address()).await;
    let traffic = Traffic::start(&client, "events");
    traffic.more(5_000).await;
    dev.kill();
    dev.restart();
    traffic.more(1_000).await;
    let acknowledged = traffic.stop().await;
    acknowledged.check(&consumed::as_read(&consumed::consume(&dev, "events")));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_only_replica_keeps_what_acks_leader_promised() {
    for durability in ["Fsync", "PageCache"] {
        let mut dev = Dev::start(&format!("kill-9-leader-{}", durability.to_lowercase()));
        let durability = format!("durability: {durability}");
        dev.apply(&manifest::topic("events", &["partitions: 1", &durability]));
        let client = traffic::connect(dev.address()).await;
        let traffic = Traffic::start_with(&client, "events", Acks::Leader);
        for _ in 0..2 {
            traffic.more(1_000).await;
            dev.kill();
            dev.restart();
        }
        traffic.more(500).await;
        let acknowledged = traffic.stop().await;
        acknowledged.check(&consumed::as_read(&consumed::consume(&dev, "events")));
    }
}
