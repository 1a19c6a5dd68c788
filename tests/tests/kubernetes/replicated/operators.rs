//! Operators that stand still or die in the middle of an election.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use super::{SOME, TOPIC, loaded};

fn holder(cluster: &mut Cluster) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    let lease = ["get", "lease", "taffrail-operator", "--output", path];
    cluster.operated().api().kubectl(&lease).stdout
}

/// The versions of all maps.
fn maps(cluster: &mut Cluster) -> String {
    let path = "jsonpath={.items[*].metadata.resourceVersion}";
    let maps = ["get", "partitionmaps", "--output", path];
    cluster.operated().api().kubectl(&maps).stdout
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_operator_that_stands_still_when_a_leader_dies_is_replaced_and_does_no_harm_when_it_goes_on()
 {
    let (mut cluster, load) = loaded("duel", BROKERS).await;
    let mut second = cluster.operated().start_second_operator();
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    cluster.operated().stop_operator();
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    // It believes to be in office still, with a broker before it that it has to deal with.
    cluster.restart(leader);
    cluster.operated().continue_operator();
    wait::until("the first steps down", wait::PATIENCE, || {
        let metrics = cluster.operated().metrics();
        metrics.contains("taffrail_operator_active 0").then_some(())
    });
    cluster.until_online(leader).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    assert!(!second.has_ended(), "{}", second.said());
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn an_election_whose_operator_dies_in_the_middle_is_held_by_the_next_one() {
    let (mut cluster, load) = loaded("mid-election", BROKERS).await;
    // The first dies before it could write.
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    cluster.kill_controller();
    cluster.operated().replace_operator();
    load.more(SOME).await;
    assert_eq!(holder(&mut cluster), "operator-1");
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;

    // The next one as soon as it has written.
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let before = maps(&mut cluster);
    cluster.kill(leader);
    wait::until("the election", wait::PATIENCE, || {
        (maps(&mut cluster) != before).then_some(())
    });
    cluster.kill_controller();
    cluster.operated().replace_operator();
    load.more(SOME).await;
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}
