//! Resources of the controller that somebody deletes by hand.

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    wait,
};

use super::{SOME, TOPIC, check_above, epochs, loaded};

fn maps(cluster: &mut Cluster) -> usize {
    let list = cluster.operated().api().get(&["partitionmaps"]);
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
