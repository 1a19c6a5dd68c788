//! Resources of the controller that somebody deletes by hand.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    load::Load,
    manifest, wait,
};

use super::{SOME, SPEC, TOPIC, check_above, epochs, loaded};

/// The BrokerCluster, and so its ClusterMetadata.
const RESOURCE: &str = "broker";
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

/// Deletes the root. Gives it as a manifest that may be applied again.
fn delete_root(cluster: &mut Cluster) -> String {
    let api = cluster.operated().api();
    let mut root = api.get(&[&format!("clustermetadata/{RESOURCE}")]);
    let meta = root["metadata"].as_object_mut().expect("it has metadata");
    for own in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        meta.remove(own);
    }
    let all = ["delete", "clustermetadata", "--all"];
    api.kubectl(&all).expect_success();
    root.to_string()
}

/// Waits until the cluster says that its root is gone.
fn until_said(cluster: &mut Cluster) {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")]['status','reason','message']}";
    let read = ["get", "brokercluster", RESOURCE, "--output", path];
    wait::until("a word of it", wait::PATIENCE, || {
        let said = cluster.operated().api().kubectl(&read).stdout;
        let is_said = said.starts_with("False ControllerUnavailable ")
            && said.contains("no root; restore the root from a backup");
        is_said.then_some(())
    });
    let logged = cluster.operated().operator_said();
    assert!(logged.contains("controller did not start"), "{logged}");
}

/// Without a root nothing is made anew, nothing is deleted, and records flow.
async fn check_without_root(cluster: &mut Cluster, load: &Load) {
    until_said(cluster);
    load.more(SOME).await;
    assert_eq!(count(cluster, &["clustermetadata"]), 0);
    assert_eq!(maps(cluster), 1);
    assert_eq!(count(cluster, &["brokers.taffrail.dev"]), BROKERS);
    for broker in 0..BROKERS {
        // Or it panics.
        (0..3).for_each(|partition| drop(cluster.folder(broker, TOPIC, partition)));
    }
}

/// The root is there again: somebody is in office, and another leader is found.
async fn put_back(cluster: &mut Cluster, load: &Load, root: &str) {
    let api = cluster.operated().api();
    api.apply(root, &[]).expect_success();
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    load.more(SOME).await;
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn without_cluster_metadata_records_flow_nothing_is_made_anew_and_it_may_be_put_back() {
    let (mut cluster, load) = loaded("root-deleted", BROKERS).await;
    let root = delete_root(&mut cluster);
    // It is missed when it has to be written.
    let more = manifest::topic("more", &SPEC);
    cluster.operated().api().apply(&more, &[]).expect_success();
    check_without_root(&mut cluster, &load).await;
    put_back(&mut cluster, &load, &root).await;
    cluster.operated().wait_until_ready("topic/more");

    // The same while the operator is away.
    cluster.kill_controller();
    let root = delete_root(&mut cluster);
    load.more(SOME).await;
    cluster.restart_controller();
    check_without_root(&mut cluster, &load).await;
    put_back(&mut cluster, &load, &root).await;
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
