//! Clean stops, one broker after the other or all at once.

use std::time::Duration;

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
};

use crate::{SOME, STOP_PAUSE_MAX, TOPIC, loaded};

/// All stop and start again, one after the other. Gives the longest time without an acknowledgement.
pub(crate) async fn roll(mut cluster: Cluster, load: Load) -> Duration {
    for index in 0..BROKERS {
        let status = cluster.stop(index);
        let said = cluster.said(index);
        assert!(status.success(), "{status}: {said}");
        assert!(said.contains("others lead what this broker led"), "{said}");
        load.more(SOME).await;
        cluster.restart(index);
        cluster.until_online(index).await;
        cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    }
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_costs_clients_no_error() {
    let cluster = Cluster::start("rolling").await;
    let load = loaded(&cluster).await;
    let pause = roll(cluster, load).await;
    assert!(pause < STOP_PAUSE_MAX, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_brokers_stop_at_once_and_serve_again_after_their_start() {
    let mut cluster = Cluster::start("stop-all").await;
    let load = loaded(&cluster).await;
    let ended = cluster.stop_all();
    for (index, status) in ended.into_iter().enumerate() {
        assert!(status.success(), "{status}: {}", cluster.said(index));
    }
    for index in 0..BROKERS {
        cluster.restart(index);
    }
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
