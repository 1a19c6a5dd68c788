//! Three brokers under load, whose operator and API server something befalls: nothing acknowledged is lost, nothing invented, and all replicas hold the same
//! bytes.

mod api_server;
mod deleted;
mod in_sync;
mod losses;
mod operators;
mod restored;
mod writes;

use taffrail_tests::{cluster::Cluster, load::Load};

const TOPIC: &str = "events";
/// Acknowledged in every partition before and after something happens.
const SOME: usize = 100;
/// What topics here are.
const SPEC: [&str; 4] = [
    "partitions: 3",
    "replicas: 3",
    "minInSync: 2",
    "durability: Fsync",
];

/// So many brokers, an operator and a topic under load.
async fn loaded(name: &str, brokers: usize) -> (Cluster, Load) {
    let cluster = Cluster::start_operated(name, brokers).await;
    cluster.create(TOPIC, &SPEC);
    let load = Load::start(&cluster, TOPIC).await;
    load.more(SOME).await;
    (cluster, load)
}

/// Leader epoch and partition epoch of each partition.
async fn epochs(cluster: &Cluster) -> Vec<(i32, u64)> {
    let partitions = cluster.metadata().known_partitions(TOPIC).await;
    let epochs = partitions
        .iter()
        .map(|p| (p.leader_epoch, p.partition_epoch));
    epochs.collect()
}

/// Checks that every partition has epochs that nobody has seen before.
async fn check_above(cluster: &Cluster, before: &[(i32, u64)]) {
    let now = epochs(cluster).await;
    let mut both = now.iter().zip(before);
    assert!(
        both.all(|(now, before)| now.0 > before.0 && now.1 > before.1),
        "epochs were {before:?} and are {now:?}"
    );
}
