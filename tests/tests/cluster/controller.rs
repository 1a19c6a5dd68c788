//! The controller is away.

use serde_json::Value;
use taffrail_core::internal::OFFSETS_PARTITIONS_DEFAULT;
use taffrail_tests::{
    cluster::{BROKERS, Cluster},
    programs::Answer,
    wait,
};

use crate::{SOME, TOPIC, loaded};

#[tokio::test(flavor = "multi_thread")]
async fn records_flow_without_a_controller_and_a_leader_that_died_meanwhile_is_replaced_after() {
    let mut cluster = Cluster::start("controller-away").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill_controller();
    load.more(SOME).await;
    cluster.kill(leader);
    cluster.restart_controller();
    load.more(SOME).await;
    assert_ne!(cluster.metadata().leader(TOPIC, 0).await, leader);
    cluster.restart(leader);
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.more(SOME).await;
    load.stop_and_check(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_restarted_while_the_controller_was_away_leads_only_after_it_is_back() {
    let mut cluster = Cluster::start("restart-without-controller").await;
    let load = loaded(&cluster).await;
    let leader = cluster.metadata().leader(TOPIC, 0).await;
    cluster.kill_controller();
    cluster.kill(leader);
    cluster.restart(leader);
    wait::until("its second start", wait::PATIENCE, || {
        let starts = cluster.said(leader).matches(": serving ").count();
        (starts == 2).then_some(())
    });
    let metrics = cluster.metrics(leader);
    let gauge = "taffrail_broker_partitions{state=\"leader\"} 0\n";
    assert!(metrics.contains(gauge), "{metrics}");
    cluster.restart_controller();
    cluster.until_online(leader).await;
    load.more(SOME).await;
    cluster.metadata().until_in_sync(TOPIC, BROKERS).await;
    load.stop_and_check(&mut cluster).await;
}

/// What `taffrail get ... -o json` lists, and why it is not what the controller says.
fn heard(answer: &Answer, codes: &[&str]) -> Vec<Value> {
    let is_said = |code: &&str| answer.stderr.starts_with(&format!("warning[{code}]: "));
    assert!(codes.iter().any(is_said), "{answer:?}");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let list: Value = serde_json::from_str(&answer.stdout).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_controller_is_away_lists_say_what_brokers_last_heard() {
    let mut cluster = Cluster::start("last-heard").await;
    cluster.create(TOPIC, &["partitions: 2"]);
    let leader = cluster.metadata().known_partitions(TOPIC).await[1].leader;
    cluster.kill_controller();

    let get = |what: &[&str]| {
        let args = [&["get"], what, &["--output", "json"]].concat();
        heard(&cluster.taffrail(&args), &["CONTROLLER_UNAVAILABLE"])
    };
    let topics = get(&["topics"]);
    assert_eq!(topics.len(), 1, "{topics:?}");
    assert_eq!(topics[0]["metadata"]["name"], TOPIC);
    assert_eq!(topics[0]["status"]["partitions"]["wanted"], 2);
    let partitions = get(&["partitions", TOPIC]);
    assert_eq!(partitions.len(), 2, "{partitions:?}");
    assert_eq!(partitions[1]["leader"], Value::from(leader));
    assert_eq!(
        partitions[1]["replicas"].as_array().map(Vec::len),
        Some(BROKERS)
    );
    assert_eq!(partitions[1]["state"], "UNKNOWN");
    assert_eq!(partitions[1].get("logEndOffset"), None, "nobody knows");
    let brokers = get(&["brokers"]);
    assert_eq!(brokers.len(), BROKERS, "{brokers:?}");
    let leads = brokers
        .iter()
        .map(|b| b["leads"].as_u64().expect("a number"));
    let all = 2 + u64::from(OFFSETS_PARTITIONS_DEFAULT);
    assert_eq!(leads.sum::<u64>(), all, "{brokers:?}");

    let said = cluster
        .taffrail(&["get", "topics", "nowhere"])
        .expect_failure();
    assert!(said.contains("UNKNOWN_TOPIC"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_also_while_the_controller_stands_still() {
    let mut cluster = Cluster::start("still-controller").await;
    cluster.controller_stands_still();
    let answer = cluster.taffrail(&["get", "brokers", "--output", "json"]);
    // The broker that was asked and the command line give it up after the same time.
    let codes = ["TIMED_OUT", "CONTROLLER_UNAVAILABLE"];
    assert_eq!(heard(&answer, &codes).len(), BROKERS);
}
