//! What befalls three brokers and their controller under load, as real processes: nothing acknowledged is lost, nothing invented, and all replicas hold the same bytes.
#![forbid(unsafe_code)]

mod compaction;
mod controller;
mod crash;
mod groups;
mod in_sync;
mod moves;
mod network;
mod pause;
mod promises;
mod rebuild;
mod restart;
mod volumes;

use std::time::Duration;

use taffrail_tests::{cluster::Cluster, load::Load};

const TOPIC: &str = "events";
/// Acknowledged in every partition before and after something happens.
const SOME: usize = 100;
/// Many times as long as another leader takes, in debug builds on a busy machine; patience with everything else is minutes.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The same for clean stops, of which nobody has to find out: leadership is handed over first.
const STOP_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Three partitions on all brokers, of which two have to be in sync, under load.
async fn loaded(cluster: &Cluster) -> Load {
    cluster.create(TOPIC, &["partitions: 3", "replicas: 3", "minInSync: 2"]);
    started(cluster).await
}

async fn started(cluster: &Cluster) -> Load {
    let load = Load::start(cluster, TOPIC).await;
    load.more(SOME).await;
    load
}
