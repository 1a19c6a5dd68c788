//! Disks that fail, fill up, and flip bits.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use taffrail_api::v1::{PartitionFault, ProduceRequest};
use taffrail_broker::{DiskSettings, Environment};
use taffrail_core::{Durability, ErrorCode, TopicId};
use taffrail_log::{
    Disk as _,
    sim::{Fault, Operation, SimDisk},
};

use crate::{
    controller::{Topic, bytes_of},
    fixture::{Fixture, TOPIC, batch, code, fetch_at, request, until, within},
};

async fn on(disk: &SimDisk, partitions: usize, settings: DiskSettings) -> Fixture {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        ..Environment::real(None)
    };
    Fixture::in_environment(partitions, environment, settings).await
}

fn no_reserve() -> DiskSettings {
    DiskSettings {
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..DiskSettings::default()
    }
}

#[tokio::test]
async fn a_failed_sync_takes_its_partition_offline_and_no_other() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 2, no_reserve()).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    disk.inject(Fault::on(Operation::Sync, &format!("{TOPIC}-0")));
    let error = client
        .produce(request(0, batch(&["b"])))
        .await
        .expect_err("not durable");
    assert_eq!(error.code, ErrorCode::PartitionOffline);
    disk.heal();
    let error = client
        .produce(request(0, batch(&["c"])))
        .await
        .expect_err("never tried again");
    assert_eq!(error.code, ErrorCode::PartitionOffline);
    assert!(error.message.contains("flights/0 is offline"), "{error}");
    client
        .produce(request(1, batch(&["d"])))
        .await
        .expect("others serve on");
    until("the report", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| r.fault == i32::from(PartitionFault::Poisoned) && !r.leading)
    })
    .await;
}

fn of(topic: TopicId, batches: Bytes) -> ProduceRequest {
    ProduceRequest {
        topic_id: bytes_of(topic),
        ..request(0, batches)
    }
}

#[tokio::test]
async fn page_cache_acknowledges_before_the_sync_and_fsync_after_it() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 1, no_reserve()).await;
    let clicks = TopicId::from_bytes([0x43; 16]);
    let mut topic = Topic::new("clicks", &[1]);
    topic.config.durability = Durability::PageCache;
    fixture.controller.put(clicks, topic);
    until("the topic", async || {
        let mut client = fixture.client().await;
        client.produce(of(clicks, batch(&["a"]))).await.is_ok()
    })
    .await;
    let mut client = fixture.client().await;
    let held = disk.hold(".log");
    let synced = client.send(request(0, batch(&["a"])));
    let cached = client.send(of(clicks, batch(&["b"])));
    let (first, answer) = client.answer().await;
    answer.expect("stored");
    assert_eq!(first, cached, "no sync has ended");
    drop(held);
    let (second, answer) = client.answer().await;
    answer.expect("durable");
    assert_eq!(second, synced);
}

#[tokio::test]
async fn what_the_page_cache_has_is_synced_in_the_background() {
    let disk = SimDisk::new(1);
    let settings = DiskSettings {
        background_sync_interval_ms: 20,
        ..no_reserve()
    };
    let fixture = on(&disk, 1, settings).await;
    fixture.put_page_cache().await;
    let mut client = fixture.client().await;
    for value in ["a", "b"] {
        let before = disk.data_syncs();
        client
            .produce(request(0, batch(&[value])))
            .await
            .expect("stored");
        until("a sync that nobody waited for", async || {
            disk.data_syncs() > before
        })
        .await;
    }
}

#[tokio::test]
async fn a_failed_write_takes_its_partition_offline() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 1, no_reserve()).await;
    let mut client = fixture.client().await;
    disk.inject(Fault::on(Operation::Write, ".log"));
    let error = client
        .produce(request(0, batch(&["a"])))
        .await
        .expect_err("not stored");
    assert_eq!(error.code, ErrorCode::PartitionOffline);
    let fetched = client.fetch(fetch_at(0, 0), 0).await;
    assert_eq!(
        code(fetched.error.expect("offline")),
        ErrorCode::PartitionOffline
    );
}

#[tokio::test]
async fn a_full_disk_refuses_produce_serves_fetch_and_recovers_by_itself() {
    let disk = SimDisk::new(1);
    let settings = DiskSettings {
        space_interval_ms: 20,
        ..no_reserve()
    };
    let fixture = on(&disk, 1, settings).await;
    let mut client = fixture.client().await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("stored");
    disk.set_capacity(Some(0));
    let large = "x".repeat(500_000);
    let error = client
        .produce(request(0, batch(&[&large])))
        .await
        .expect_err("no room");
    assert_eq!((error.code, error.retriable), (ErrorCode::DiskFull, true));
    assert_eq!(client.values(0, 0).await, ["a"], "fetch goes on");

    disk.set_capacity(None);
    disk.heal();
    until("room", async || {
        let mut client = fixture.client().await;
        client.produce(request(0, batch(&["b"]))).await.is_ok()
    })
    .await;
    assert_eq!(client.values(0, 0).await, ["a", "b"]);
}

#[tokio::test]
async fn produce_is_refused_below_the_reserve() {
    let disk = SimDisk::new(1);
    disk.set_capacity(Some(1 << 30));
    let settings = DiskSettings {
        free_bytes_min: 2 << 30,
        space_interval_ms: 20,
        ballast_bytes: 0,
        ..DiskSettings::default()
    };
    let fixture = on(&disk, 1, settings).await;
    let mut client = fixture.client().await;
    let error = client
        .produce(request(0, batch(&["a"])))
        .await
        .expect_err("too little room");
    assert_eq!(error.code, ErrorCode::DiskFull);
    assert!(
        error
            .message
            .contains("lower retentions or grow the volume"),
        "{error}"
    );
    disk.set_capacity(None);
    until("room", async || {
        let mut client = fixture.client().await;
        client.produce(request(0, batch(&["a"]))).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_flipped_bit_is_said_by_its_partition_and_the_others_serve_on() {
    let fixture = Fixture::start(2).await;
    let small = Topic {
        generation: 2,
        ..Topic::new("flights", &[1, 1])
    };
    fixture.put(small).await;
    let mut client = fixture.client().await;
    for partition in [0, 1] {
        client
            .produce(request(partition, batch(&["a", "b"])))
            .await
            .expect("stored");
    }
    let path = fixture
        .dir
        .path()
        .join(format!("partitions/{TOPIC}-0/00000000000000000000.log"));
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    broker.stop().await;
    flip_bit(&path, 70);
    let config = crate::fixture::config(&dir, &controller);
    let broker = taffrail_broker::start(config).await.expect("starts");
    within("registration", broker.ready()).await;
    let fixture = Fixture {
        dir,
        controller,
        broker,
    };
    let client = fixture.client().await;
    let fetched = client.fetch(fetch_at(0, 0), 0).await;
    assert_eq!(
        code(fetched.error.expect("damaged")),
        ErrorCode::PartitionOffline
    );
    assert_eq!(client.values(1, 0).await, ["a", "b"]);
    until("the report", async || {
        fixture
            .controller
            .report(TOPIC, 0)
            .is_some_and(|r| r.fault == i32::from(PartitionFault::Damaged))
    })
    .await;
}

#[tokio::test]
async fn the_scrubber_finds_a_flipped_bit_that_nobody_reads() {
    let settings = DiskSettings {
        scrub_interval_ms: 20,
        ..DiskSettings::default()
    };
    let fixture = Fixture::in_environment(2, Environment::real(None), settings).await;
    let mut topic = Topic {
        generation: 2,
        leader_epoch: 2,
        ..Topic::new("flights", &[1, 1])
    };
    topic.config.segment_bytes = 1 << 20;
    fixture.put(topic).await;
    let mut client = fixture.client().await;
    let value = "x".repeat(600_000);
    for partition in [0, 1, 0, 1, 0, 1] {
        client
            .produce(request(partition, batch(&[&value])))
            .await
            .expect("stored");
    }
    flip_bit(
        &fixture
            .dir
            .path()
            .join(format!("partitions/{TOPIC}-1/00000000000000000000.log")),
        300_000,
    );
    until("the report", async || {
        fixture
            .controller
            .report(TOPIC, 1)
            .is_some_and(|r| r.fault == i32::from(PartitionFault::Damaged))
    })
    .await;
    client
        .produce(request(0, batch(&["a"])))
        .await
        .expect("others serve on");
}

/// Nothing waits for it but what has to.
async fn produces(fixture: &Fixture, partition: u32) {
    let mut client = fixture.client().await;
    let produced = client.produce(request(partition, batch(&["a"])));
    within("an acknowledgement", produced)
        .await
        .expect("stored");
}

#[tokio::test]
async fn a_slow_checkpoint_holds_no_producer_up() {
    let disk = SimDisk::new(1);
    let settings = DiskSettings {
        checkpoint_interval_ms: 20,
        ..no_reserve()
    };
    let fixture = on(&disk, 2, settings).await;
    produces(&fixture, 0).await;
    let held = disk.hold("checkpoint");
    produces(&fixture, 1).await;
    until("a checkpoint that waits", async || held.waiting() > 0).await;
    for partition in [0, 1, 0, 1] {
        produces(&fixture, partition).await;
    }
    drop(held);
}

#[tokio::test]
async fn a_slow_seal_holds_no_producer_up() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 1, no_reserve()).await;
    let mut topic = Topic {
        generation: 2,
        leader_epoch: 2,
        ..Topic::new("flights", &[1])
    };
    topic.config.segment_bytes = 1 << 20;
    fixture.put(topic).await;
    let held = disk.hold("index");
    let value = "x".repeat(600_000);
    let mut client = fixture.client().await;
    for _ in 0..4 {
        let produced = client.produce(request(0, batch(&[&value])));
        within("an acknowledgement", produced)
            .await
            .expect("stored");
    }
    until("a seal that waits", async || held.waiting() > 0).await;
    produces(&fixture, 0).await;
    drop(held);
    let seal = fixture
        .dir
        .path()
        .join(format!("partitions/{TOPIC}-0/00000000000000000000.seal"));
    until("the seal", async || disk.stat(&seal).is_ok()).await;
}

#[tokio::test]
async fn a_slow_delete_holds_no_producer_up() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 2, no_reserve()).await;
    produces(&fixture, 0).await;
    let held = disk.hold(&format!("{TOPIC}-1"));
    fixture.controller.order_delete(TOPIC, 1, 100);
    until("a delete that waits", async || held.waiting() > 0).await;
    produces(&fixture, 0).await;
    drop(held);
}

#[tokio::test]
async fn no_record_is_taken_for_a_partition_that_the_roster_does_not_have() {
    let fixture = Fixture::start(1).await;
    produces(&fixture, 0).await;
    // The file under which the next roster is written cannot be made.
    let in_the_way = fixture.dir.path().join("roster.new");
    std::fs::create_dir(&in_the_way).expect("made");
    fixture.controller.put(
        TOPIC,
        Topic {
            generation: 2,
            ..Topic::new("flights", &[1, 1])
        },
    );
    let made = fixture
        .dir
        .path()
        .join(format!("partitions/{TOPIC}-1/identity"));
    until("the directory", async || made.exists()).await;
    let mut client = fixture.client().await;
    let refused = within("an answer", client.produce(request(1, batch(&["a"])))).await;
    let _ = refused.expect_err("not served");
    std::fs::remove_dir(&in_the_way).expect("removed");
    until("the partition", async || {
        let mut client = fixture.client().await;
        client.produce(request(1, batch(&["a"]))).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_partition_whose_directory_is_lost_is_offline_and_is_not_made_anew() {
    let fixture = Fixture::start(2).await;
    produces(&fixture, 0).await;
    produces(&fixture, 1).await;
    let Fixture {
        dir,
        controller,
        broker,
    } = fixture;
    broker.stop().await;
    let lost = dir.path().join(format!("partitions/{TOPIC}-1"));
    std::fs::remove_dir_all(&lost).expect("removed");
    let config = crate::fixture::config(&dir, &controller);
    let broker = taffrail_broker::start(config).await.expect("starts");
    within("registration", broker.ready()).await;
    let fixture = Fixture {
        dir,
        controller,
        broker,
    };
    produces(&fixture, 0).await;
    let mut client = fixture.client().await;
    let refused = within("an answer", client.produce(request(1, batch(&["a"])))).await;
    let error = refused.expect_err("lost");
    assert_eq!(error.code, ErrorCode::PartitionOffline);
    assert!(error.message.contains("is gone"), "{error}");
    assert!(!lost.exists(), "not made anew");
    until("the report", async || {
        fixture
            .controller
            .report(TOPIC, 1)
            .is_some_and(|r| r.fault == i32::from(PartitionFault::Lost))
    })
    .await;
}

fn flip_bit(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("reads");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("writes");
}

#[tokio::test]
async fn an_election_does_not_wait_until_all_partitions_are_created() {
    let disk = SimDisk::new(1);
    let fixture = on(&disk, 1, no_reserve()).await;
    let other = TopicId::from_bytes([0x43; 16]);
    let held = disk.hold(&format!("{other}-290"));
    let many = Topic::new("many", &[1; 300]);
    fixture.controller.put(other, many);
    let elected = Topic {
        leader_epoch: 2,
        partition_epoch: 2,
        ..Topic::new("flights", &[1])
    };
    fixture.put(elected).await;
    assert_eq!(fixture.controller.report(other, 290), None);
    drop(held);
    until("the others", async || {
        (0..300).all(|p| {
            let report = fixture.controller.report(other, p);
            report.is_some_and(|r| r.leading)
        })
    })
    .await;
}
