//! What a broker says that its replicas are worth when it starts.

use taffrail_api::v1::ReplicaStanding;
use taffrail_broker::Environment;
use taffrail_core::Durability;

use crate::{
    controller::Topic,
    fixture::{Fixture, batch, request},
};

/// With one record on a disk that may not have it.
async fn of(durability: Durability) -> Fixture {
    let fixture = Fixture::start(1).await;
    let mut topic = Topic::new("flights", &[1]);
    topic.config.durability = durability;
    (topic.generation, topic.leader_epoch, topic.partition_epoch) = (2, 2, 2);
    fixture.put(topic).await;
    let mut client = fixture.client().await;
    let stored = client.produce(request(0, batch(&["a"]))).await;
    stored.expect("stored");
    fixture
}

fn on_boot(id: &str) -> Environment {
    Environment {
        boot_id: id.to_owned(),
        ..Environment::real(None)
    }
}

/// By the newest registration.
fn standing(fixture: &Fixture) -> ReplicaStanding {
    let registrations = fixture.controller.registrations();
    let newest = registrations.last().expect("registered");
    newest.stored[0].standing()
}

#[tokio::test]
async fn a_page_cache_replica_may_lack_records_after_a_power_cut_and_only_then() {
    let fixture = of(Durability::PageCache).await;
    let fixture = fixture.crash_and_restart().await;
    assert_eq!(
        standing(&fixture),
        ReplicaStanding::ReplicaWhole,
        "the kernel had them"
    );
    let fixture = fixture.crash_and_restart_in(on_boot("another")).await;
    assert_eq!(standing(&fixture), ReplicaStanding::ReplicaMayLack);
    let fixture = fixture.crash_and_restart_in(on_boot("another")).await;
    assert_eq!(
        standing(&fixture),
        ReplicaStanding::ReplicaWhole,
        "a controller knew"
    );
    let fixture = fixture.crash_and_restart_in(on_boot("")).await;
    assert_eq!(
        standing(&fixture),
        ReplicaStanding::ReplicaMayLack,
        "not known is not the same"
    );
}

#[tokio::test]
async fn what_was_synced_or_stopped_in_order_is_whole() {
    let fixture = of(Durability::Fsync).await;
    let fixture = fixture.crash_and_restart_in(on_boot("another")).await;
    assert_eq!(standing(&fixture), ReplicaStanding::ReplicaWhole);
    let fixture = of(Durability::PageCache).await.restart().await;
    assert_eq!(standing(&fixture), ReplicaStanding::ReplicaWhole);
}

#[tokio::test]
async fn a_replica_whose_directory_is_gone_is_unusable() {
    let fixture = of(Durability::Fsync).await;
    let partitions = fixture.dir.path().join("partitions");
    let entry = std::fs::read_dir(&partitions).expect("lists").next();
    let dir = entry.expect("a partition").expect("lists").path();
    std::fs::remove_dir_all(dir).expect("removed");
    let fixture = fixture.crash_and_restart().await;
    assert_eq!(standing(&fixture), ReplicaStanding::ReplicaUnusable);
}
