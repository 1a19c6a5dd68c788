//! Resources of the controller that somebody deletes by hand.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use super::{SOME, SPEC, TOPIC, check_above, epochs, loaded};

const LABEL: &str = "taffrail.dev/cluster";

fn maps(cluster: &mut Cluster) -> usize {
    count(cluster, &["partitionmaps"])
}

fn count(cluster: &mut Cluster, what: &[&str]) -> usize {
    let list = cluster.operated().api().get(what);
    list["items"].as_array().expect("a list").len()
}

fn delete_maps(cluster: &mut Cluster) {
    let all = ["delete", "partitionmaps", "--all"];
    cluster.operated().api().kubectl(&all).expect_success();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn partition_maps_that_were_deleted_come_back_from_what_brokers_have_under_new_epochs() {
    let (mut cluster, load) = loaded("maps-deleted", BROKERS).await;
    let before = epochs(&cluster).await;
    delete_maps(&mut cluster);
    // Nothing else happens that the operator would have to write.
    wait::until("the map", wait::PATIENCE, || {
        (maps(&mut cluster) == 1).then_some(())
    });
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check_above(&cluster, &before).await;

    // The same while the operator is away.
    let before = epochs(&cluster).await;
    cluster.kill_controller();
    delete_maps(&mut cluster);
    assert_eq!(maps(&mut cluster), 0);
    load.more(SOME).await;
    cluster.restart_controller();
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    assert_eq!(maps(&mut cluster), 1);
    check_above(&cluster, &before).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn partition_maps_that_lost_their_label_count_and_get_it_back_with_the_next_write() {
    let (mut cluster, load) = loaded("maps-unlabelled", BROKERS).await;
    let before = epochs(&cluster).await;
    let remove = format!("{LABEL}-");
    let unlabel = ["label", "partitionmaps", "--all", &remove];
    let labelled = ["partitionmaps", "--selector", LABEL];
    cluster.operated().api().kubectl(&unlabel).expect_success();
    assert_eq!(count(&mut cluster, &labelled), 0);
    // Its partitions go into the map.
    cluster.create("more", &SPEC);
    cluster.metadata().until_in_sync("more", BROKERS).await;
    assert_eq!(count(&mut cluster, &labelled), 1);

    // The same while the operator is away: the next one claims it.
    cluster.kill_controller();
    cluster.operated().api().kubectl(&unlabel).expect_success();
    cluster.restart_controller();
    wait::until("the label", wait::PATIENCE, || {
        (count(&mut cluster, &labelled) == 1).then_some(())
    });
    load.more(SOME).await;
    assert_eq!(maps(&mut cluster), 1);
    assert_eq!(epochs(&cluster).await, before, "nothing had vanished");
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn brokers_that_were_deleted_come_back_as_they_registered() {
    let (mut cluster, load) = loaded("brokers-deleted", BROKERS).await;
    let before = epochs(&cluster).await;
    let all = ["delete", "brokers.taffrail.dev", "--all"];
    cluster.operated().api().kubectl(&all).expect_success();
    wait::until("the brokers", wait::PATIENCE, || {
        (count(&mut cluster, &["brokers.taffrail.dev"]) == BROKERS).then_some(())
    });
    load.more(SOME).await;
    assert_eq!(epochs(&cluster).await, before, "nobody registered anew");
    load.stop_and_check(&mut cluster).await;
}
