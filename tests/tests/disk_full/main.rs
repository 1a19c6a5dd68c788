//! A full disk: produce is refused with DISK_FULL, fetch goes on, and all is well again once there is room.
#![forbid(unsafe_code)]

use std::{fs, io::Write as _, path::Path, time::Duration};

use taffrail_client::{Client, ProducerConfig, Record};
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    consumed,
    dev::Dev,
    load::Load,
    manifest, traffic, wait,
};

const DISK_MEBIBYTES: u32 = 512;

/// Takes all the room there is.
fn fill(file: &Path) {
    let file = fs::File::options().create(true).append(true).open(file);
    let mut file = file.expect("the small disk can be reached");
    let block = vec![1; 1 << 20];
    while file.write_all(&block).is_ok() {}
}

/// Sends one record and says how it went.
async fn produce(client: &Client) -> Result<u64, String> {
    let producer = client.producer(ProducerConfig {
        delivery_timeout: Duration::from_secs(5),
        ..ProducerConfig::default()
    });
    let record = "x".repeat(100_000);
    let delivery = producer
        .send("events", Record::new(&record))
        .await
        .map_err(|error| error.to_string())?;
    delivery
        .await
        .map(traffic::offset_of)
        .map_err(|error| error.to_string())
}

/// Takes whatever room there is until the broker has left the in-sync set: it goes on with what its segments have reserved, and with its ballast.
async fn fill_until_out_of_sync(cluster: &Cluster, topic: &str, broker: usize, filler: &Path) {
    wait::until_async("its leave of the in-sync set", wait::PATIENCE, || async {
        fill(filler);
        let followers = cluster.metadata().followers(topic, 0).await;
        (!followers.contains(&broker)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mount namespace for a small disk: cargo xtask ci"]
async fn a_full_disk_refuses_records_serves_readers_and_recovers_by_itself() {
    let dev = Dev::start_on_a_small_disk("disk-full", DISK_MEBIBYTES);
    dev.apply(&manifest::topic(
        "events",
        &["partitions: 1", "segment: {bytes: 1Mi}"],
    ));
    let client = traffic::connect(dev.address()).await;
    for offset in 0..20 {
        assert_eq!(produce(&client).await, Ok(offset));
    }

    let filler = dev.data_dir_inside().join("filler");
    fill(&filler);
    let refusal = wait::until_async("a refusal", wait::PATIENCE, || async {
        produce(&client).await.err()
    })
    .await;
    assert!(
        refusal.contains("DISK_FULL") || refusal.contains("disk is full"),
        "{refusal}"
    );
    let readable = consumed::consume(&dev, "events").len();
    assert!(readable >= 20, "{readable}");

    fs::remove_file(filler).expect("the filler can be removed");
    let offset = wait::until_async("recovery", wait::PATIENCE, || async {
        produce(&client).await.ok()
    })
    .await;
    assert_eq!(
        consumed::consume(&dev, "events").len() as u64,
        offset + 1,
        "no record is missing"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mount namespace for a small disk: cargo xtask ci"]
async fn a_follower_with_a_full_disk_holds_nobody_up_and_is_in_sync_again_once_there_is_room() {
    let mut cluster = Cluster::start_with_a_small_disk("follower-disk-full", DISK_MEBIBYTES).await;
    let small = BROKERS - 1;
    let topic = led_so(&cluster, |leader| leader != small).await;
    let load = Load::start(&cluster, topic).await;
    load.more(100).await;

    let filler = cluster.volume(small).join("filler");
    fill_until_out_of_sync(&cluster, topic, small, &filler).await;
    load.more(100).await;

    fs::remove_file(filler).expect("the filler can be removed");
    cluster.metadata().until_in_sync(topic, BROKERS).await;
    load.more(100).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mount namespace for a small disk: cargo xtask ci"]
async fn a_leader_with_a_full_disk_hands_over_and_leads_again_once_there_is_room() {
    let mut cluster = Cluster::start_with_a_small_disk("leader-disk-full", DISK_MEBIBYTES).await;
    let small = BROKERS - 1;
    let topic = led_so(&cluster, |leader| leader == small).await;
    let load = Load::start(&cluster, topic).await;
    load.more(100).await;

    let filler = cluster.volume(small).join("filler");
    fill(&filler);
    until_led(&cluster, topic, |leader| leader != small).await;
    load.more(100).await;
    fill_until_out_of_sync(&cluster, topic, small, &filler).await;
    load.more(100).await;

    fs::remove_file(filler).expect("the filler can be removed");
    cluster.metadata().until_in_sync(topic, BROKERS).await;
    until_led(&cluster, topic, |leader| leader == small).await;
    load.more(100).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a mount namespace for a small disk: cargo xtask ci"]
async fn a_broker_starts_on_a_full_disk_also_where_a_former_release_kept_no_roster() {
    let mut cluster = Cluster::start("start-full").await;
    let spec = ["partitions: 1", "replicas: 3", "minInSync: 2"];
    cluster.create("events", &spec);
    cluster.metadata().until_in_sync("events", BROKERS).await;
    assert!(cluster.stop(0).success());
    fs::remove_file(cluster.volume(0).join("roster")).expect("there is one");

    cluster.restart_on_a_full_disk(0, DISK_MEBIBYTES);
    cluster.until_online(0).await;
    let roster = fs::read_to_string(cluster.volume(0).join("roster"));
    let roster = roster.expect("it has one again");
    assert!(roster.contains(" events"), "{roster}");
    assert!(cluster.said(0).contains("the disk is full"), "it had room");
}

/// A new topic of one partition, led as this says.
async fn led_so(cluster: &Cluster, is_wanted: impl Fn(usize) -> bool) -> &'static str {
    for topic in ["one", "two", "three"] {
        let spec = [
            "partitions: 1",
            "replicas: 3",
            "minInSync: 2",
            "segment: {bytes: 1Mi}",
        ];
        cluster.create(topic, &spec);
        if is_wanted(cluster.metadata().leader(topic, 0).await) {
            return topic;
        }
    }
    panic!("no topic is led so");
}

async fn until_led(cluster: &Cluster, topic: &str, is_wanted: impl Fn(usize) -> bool) {
    wait::until_async("the change of leaders", wait::PATIENCE, async || {
        is_wanted(cluster.metadata().leader(topic, 0).await).then_some(())
    })
    .await;
}
