//! Operator and broker against the API server: the main job, and what happens when one of them is away.

use taffrail_tests::{
    consumed, flights, manifest,
    operated::{Broker, Operated, start},
    wait,
};

fn produce_flights(broker: &Broker) {
    let file = flights::file();
    let file = file.to_string_lossy();
    broker
        .taffrail(&["produce", "flights", &file, "--key-field", "tailnum"])
        .expect_success();
}

fn consume(broker: &Broker) -> usize {
    let lines = broker
        .taffrail(&["consume", "flights", "-o", "json"])
        .expect_success();
    consumed::parse(&lines).len()
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_topic_is_applied_with_kubectl_and_takes_and_gives_all_flights() {
    let (operated, broker) = start();
    operated.apply_and_wait(
        &manifest::topic("flights", &["partitions: 3"]),
        "topic/flights",
    );
    produce_flights(&broker);
    assert_eq!(consume(&broker), flights::COUNT);
    let topic = || operated.api().get(&["topic", "flights"]);
    let storage = wait::until("the size of all flights", wait::PATIENCE, || {
        let storage = topic()["status"]["storage"].take();
        let bytes = storage["bytes"].as_str().unwrap_or_default();
        bytes.ends_with('i').then_some(storage)
    });
    // All of these are RFC 3339 in whole seconds of UTC.
    let created = topic()["metadata"]["creationTimestamp"].take();
    let times = [&created, &storage["oldest"], &storage["updatedAt"]];
    let times = times.map(|time| time.as_str().expect("a time"));
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn defaults_are_shown_in_status_and_not_written_to_spec() {
    let (operated, _broker) = start();
    operated.apply_and_wait(
        &manifest::topic("flights", &["partitions: 3"]),
        "topic/flights",
    );
    let read = |path: &str| {
        let path = format!("jsonpath={{{path}}}");
        operated
            .api()
            .kubectl(&["get", "topic", "flights", "--output", &path])
            .expect_success()
    };
    assert_eq!(read(".spec"), r#"{"partitions":3}"#);
    assert_eq!(read(".status.effective.replicas"), "1");
    assert_eq!(read(".status.effective.minInSync"), "1");
    assert_eq!(read(".status.observedGeneration"), "1");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn partitions_grow_through_kubectl_without_a_restart() {
    let (operated, broker) = start();
    operated.apply_and_wait(
        &manifest::topic("flights", &["partitions: 1"]),
        "topic/flights",
    );
    let four = manifest::topic("flights", &["partitions: 4"]);
    operated.api().apply(&four, &[]).expect_success();
    wait::until("four partitions online", wait::PATIENCE, || {
        let online = operated.api().kubectl(&[
            "get",
            "topic",
            "flights",
            "--output",
            "jsonpath={.status.partitions.online}",
        ]);
        (online.stdout == "4").then_some(())
    });
    produce_flights(&broker);
    assert_eq!(consume(&broker), flights::COUNT);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn apply_and_delete_over_grpc_point_to_kubectl() {
    let (operated, broker) = start();
    let topic = manifest::topic("flights", &["partitions: 1"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let file = operated.api().dir().write("topic.yaml", &topic);
    let said = broker
        .taffrail(&["apply", "-f", &file.to_string_lossy()])
        .expect_failure();
    assert!(
        said.contains("MANAGED_BY_KUBERNETES") && said.contains("kubectl apply"),
        "{said}"
    );
    let said = broker.taffrail(&["delete", "flights"]).expect_failure();
    assert!(
        said.contains("MANAGED_BY_KUBERNETES") && said.contains("kubectl delete"),
        "{said}"
    );
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn brokers_serve_while_the_operator_is_away_and_it_takes_office_again() {
    let (mut operated, mut broker) = start();
    operated.apply_and_wait(
        &manifest::topic("flights", &["partitions: 3"]),
        "topic/flights",
    );
    operated.kill_operator();
    produce_flights(&broker);
    assert_eq!(consume(&broker), flights::COUNT);
    broker.kill_and_restart();
    operated.restart_operator();
    operated.apply_and_wait(&manifest::topic("more", &["partitions: 1"]), "topic/more");
    operated.wait_until_ready("topic/flights");
    assert_eq!(consume(&broker), flights::COUNT);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_deleted_topic_keeps_its_data_until_it_is_adopted() {
    let (operated, broker) = start();
    operated.apply_and_wait(
        &manifest::topic("flights", &["partitions: 3"]),
        "topic/flights",
    );
    produce_flights(&broker);
    operated
        .api()
        .kubectl(&["delete", "topic", "flights"])
        .expect_success();
    let again = manifest::topic("flights", &["partitions: 3"]);
    operated.api().apply(&again, &[]).expect_success();
    let reason = r#"jsonpath={.status.conditions[?(@.type=="Accepted")].reason}"#;
    wait::until("the refusal", wait::PATIENCE, || {
        let said = operated
            .api()
            .kubectl(&["get", "topic", "flights", "--output", reason]);
        (said.stdout == "RetainedDataExists").then_some(())
    });
    let adopting = manifest::topic("flights", &["partitions: 3", "adoption: ByName"]);
    operated.apply_and_wait(&adopting, "topic/flights");
    assert_eq!(consume(&broker), flights::COUNT);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_operators_log_level_changes_while_it_runs() {
    let operated = Operated::start();
    operated.apply_cluster(manifest::CLUSTER);
    let said = operated.operator_said();
    assert!(!said.contains("DEBUG"), "{said}");
    let refused = operated.set_log_level("taffrail_operator=loud");
    assert_eq!(refused.status, 400, "{refused:?}");
    let accepted = operated.set_log_level("taffrail_operator=debug,warn");
    assert_eq!(accepted.status, 200, "{accepted:?}");
    operated
        .api()
        .apply(&manifest::topic("events", &[]), &[])
        .expect_success();
    wait::until("a line of level debug", wait::PATIENCE, || {
        operated.operator_said().contains("DEBUG").then_some(())
    });
}
