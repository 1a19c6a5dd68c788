//! etcd is restored from an older backup, and of the brokers those are there first that know least of what came after it.

use std::time::{Duration, Instant};

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    kube_api::Backup,
    wait,
};

use super::{SOME, TOPIC, check_above, epochs, loaded};

/// Longer than it takes a controller that took office to give up those that do not come (6.5 s), and to call everything calm (10 s).
const GIVEN_UP: Duration = Duration::from_secs(15);

/// Sets the store back while all brokers are dead, and starts them one by one in this order. While the first one is alone nobody leads, however long.
async fn restore(cluster: &mut Cluster, backup: &Backup, order: &[usize]) {
    for index in order {
        cluster.kill(*index);
    }
    cluster.kill_controller();
    cluster.operated().api_mut().restore(backup);
    cluster.restart_controller();
    for index in order {
        cluster.restart(*index);
        cluster.until_online(*index).await;
        if index == &order[0] {
            nobody_leads(cluster).await;
        }
    }
}

async fn nobody_leads(cluster: &Cluster) {
    let begun = Instant::now();
    wait::until_async(
        "everybody else to be given up",
        wait::PATIENCE,
        async || {
            for partition in cluster.metadata().partitions(TOPIC).await? {
                assert_ne!(partition.state, "ONLINE", "{partition:?}");
                assert!(!partition.message.is_empty(), "{partition:?}");
            }
            (begun.elapsed() > GIVEN_UP).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn a_store_from_before_an_in_sync_set_shrank_loses_nothing_though_who_left_it_is_there_first()
{
    let (mut cluster, load) = loaded("restored-shrink", BROKERS).await;
    let backup = cluster.operated().api().back_up();
    let behind = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(behind);
    cluster.metadata().until_out_of_sync(TOPIC, behind).await;
    load.more(SOME).await;
    let before = epochs(&cluster).await;
    let newer = (0..BROKERS).filter(|index| *index != behind);
    let order: Vec<_> = [behind].into_iter().chain(newer).collect();
    restore(&mut cluster, &backup, &order).await;
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check_above(&cluster, &before).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
async fn a_store_from_before_a_move_loses_nothing_though_the_broker_that_was_left_is_there_first() {
    let (mut cluster, load) = loaded("restored-move", BROKERS + 1).await;
    let backup = cluster.operated().api().back_up();
    let partitions = cluster.metadata().known_partitions(TOPIC).await;
    let from = &partitions[0].replicas;
    let spare = (0..=BROKERS as u32).find(|number| !from.contains(number));
    let target = [from[0], from[1], spare.expect("one of four has no replica")];
    let leaver = cluster.metadata().index_of(from[2]).await;
    let to = target.map(|number| number.to_string()).join(",");
    cluster
        .taffrail(&["move", TOPIC, "--partition", "0", "--to", &to])
        .expect_success();
    cluster.metadata().until_moved(TOPIC, 0, &target).await;
    cluster.until_deleted(leaver, TOPIC, 0);
    load.more(SOME).await;
    let before = epochs(&cluster).await;
    let newer = (0..=BROKERS).filter(|index| *index != leaver);
    let order: Vec<_> = [leaver].into_iter().chain(newer).collect();
    restore(&mut cluster, &backup, &order).await;
    load.more(SOME).await;
    cluster.metadata().until_moved(TOPIC, 0, &target).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    check_above(&cluster, &before).await;
    load.stop_and_check(&mut cluster).await;
}
