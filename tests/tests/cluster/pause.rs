//! A broker that stands still and goes on as if nothing had been.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use crate::{SOME, TOPIC, loaded};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stands_still_is_replaced_and_leads_no_more_when_it_goes_on() {
    let mut cluster = Cluster::start("pause").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.stand_still(leader);
    wait::until_async("another leader", wait::PATIENCE, || async {
        (cluster.metadata().leader(TOPIC, 0).await != leader).then_some(())
    })
    .await;
    load.more(SOME).await;
    cluster.go_on(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
