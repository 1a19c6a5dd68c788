//! Volumes that are lost, and volumes that come back older than they were.

use std::fs;

use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    folder,
    load::Load,
    wait,
};

use crate::{SOME, TOPIC, loaded};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_volume_was_wiped_is_filled_again_under_a_new_number() {
    let mut cluster = Cluster::start("wiped").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill(leader);
    fs::remove_dir_all(cluster.volume(leader)).expect("it can be removed");
    cluster.restart(leader);
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    let brokers = cluster.metadata().known_brokers().await;
    let newest = brokers.iter().map(|b| b.number as usize).max();
    assert_eq!(newest, Some(BROKERS), "a fourth number");
    load.stop_and_check(&mut cluster).await;
}

/// Puts a copy of the leader's volume back after so many more starts of its broker.
pub(crate) async fn bring_back(mut cluster: Cluster, load: Load, starts: usize) {
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let copied = cluster.aside("copy");
    cluster.kill(leader);
    folder::copy(&cluster.volume(leader), &copied);
    for _ in 0..starts {
        cluster.restart(leader);
        cluster.until_online(leader).await;
        cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
        load.more(SOME).await;
        cluster.kill(leader);
    }
    fs::remove_dir_all(cluster.volume(leader)).expect("it can be removed");
    fs::rename(&copied, cluster.volume(leader)).expect("it can be moved");
    cluster.restart(leader);
    cluster.until_online(leader).await;
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_comes_back_as_it_was_one_start_before_loses_nothing() {
    let cluster = Cluster::start("older-by-one").await;
    let load = loaded(&cluster).await;
    bring_back(cluster, load, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_comes_back_much_older_than_it_was_loses_nothing() {
    let cluster = Cluster::start("older-by-three").await;
    let load = loaded(&cluster).await;
    bring_back(cluster, load, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_on_copies_of_one_volume_the_second_is_refused_and_says_why() {
    let mut cluster = Cluster::start("double").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    let aside = cluster.aside("double");
    cluster.kill(leader);
    let volume = cluster.volume(leader);
    let name = volume.file_name().expect("its broker's name");
    folder::copy(&volume, &aside.join(name));
    cluster.restart(leader);
    cluster.until_online(leader).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    let double = cluster.start_double(leader, aside);
    wait::until("a refusal with its reason", wait::PATIENCE, || {
        let said = cluster.said(double);
        let is_told = said.contains("BROKER_FENCED") && said.contains("copies of one volume");
        is_told.then_some(())
    });
    load.more(SOME).await;
    cluster.until_online(leader).await;
    cluster.kill(double);
    load.stop_and_check(&mut cluster).await;
}
