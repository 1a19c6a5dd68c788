//! Fewer brokers alive than minInSync asks for.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use super::{SOME, TOPIC, loaded};

/// Reason and message of the topic's Ready.
fn ready(cluster: &mut Cluster) -> String {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")]['status','reason','message']}";
    let read = ["get", "topic", TOPIC, "--output", path];
    cluster.operated().api().kubectl(&read).stdout
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn a_topic_with_fewer_brokers_alive_than_min_in_sync_says_that_records_are_refused() {
    let (mut cluster, load) = loaded("under-min-in-sync", BROKERS).await;
    let followers = cluster.metadata().followers(TOPIC, 0).await;
    for follower in &followers {
        cluster.kill(*follower);
    }
    wait::until("a word of it", wait::PATIENCE, || {
        let said = ready(&mut cluster);
        let is_said =
            said.starts_with("False UnderMinInSync") && said.contains("acks=all is refused");
        is_said.then_some(())
    });
    for follower in &followers {
        cluster.restart(*follower);
    }
    load.more(SOME).await;
    cluster
        .operated()
        .wait_until_ready(&format!("topic/{TOPIC}"));
    load.stop_and_check(&mut cluster).await;
}
