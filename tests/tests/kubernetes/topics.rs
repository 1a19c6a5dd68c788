//! What becomes of Topics that cannot be, that end, and that are left alone.

use taffrail_tests::{
    consumed, flights,
    manifest::{self, CLUSTER},
    operated::{Broker, Operated, start},
    wait,
};

/// Waits until a condition has this reason.
fn wait_for_reason(operated: &Operated, resource: &[&str], condition: &str, reason: &str) {
    let path = format!(r#"jsonpath={{.status.conditions[?(@.type=="{condition}")].reason}}"#);
    let mut args = vec!["get"];
    args.extend(resource);
    args.extend(["--output", &path]);
    wait::until(reason, wait::PATIENCE, || {
        (operated.api().kubectl(&args).stdout == reason).then_some(())
    });
}

fn named(name: &str, more: &[&str]) -> String {
    manifest::topic(name, more)
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_second_claimant_of_a_name_is_refused_and_the_first_goes_on() {
    let (operated, _broker) = start();
    operated.apply_and_wait(&named("flights", &["partitions: 1"]), "topic/flights");
    let second = named("other", &["topicName: flights", "partitions: 8"]);
    operated.api().apply(&second, &[]).expect_success();
    wait_for_reason(&operated, &["topic", "other"], "Accepted", "NameConflict");
    wait_for_reason(&operated, &["topic", "other"], "Ready", "NotAccepted");
    operated.wait_until_ready("topic/flights");
    operated
        .api()
        .kubectl(&["delete", "topic", "other"])
        .expect_success();
    operated.wait_until_ready("topic/flights");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_topic_that_cannot_be_says_why() {
    let (operated, _broker) = start();
    let api = operated.api();
    let greedy = named("greedy", &["replicas: 3"]);
    api.apply(&greedy, &[]).expect_success();
    api.kubectl(&["create", "namespace", "shop"])
        .expect_success();
    let orphan = named("orphan", &["partitions: 1"]);
    api.apply(&orphan, &["--namespace", "shop"])
        .expect_success();
    let foreign = named("foreign", &["clusterRef: {name: main, namespace: default}"]);
    api.apply(&foreign, &["--namespace", "shop"])
        .expect_success();
    let in_shop = |name| ["topic", name, "--namespace", "shop"];
    wait_for_reason(&operated, &in_shop("orphan"), "Accepted", "ClusterNotFound");
    wait_for_reason(&operated, &in_shop("foreign"), "Accepted", "NotAllowed");
    let greedy = ["get", "topic", "greedy", "--output", "yaml"];
    wait::until("the refusal of three replicas", wait::PATIENCE, || {
        api.kubectl(&greedy)
            .stdout
            .contains("reason: NotAccepted")
            .then_some(())
    });
    let opened = CLUSTER.replace(
        "  brokers: 1",
        "  brokers: 1\n  topicNamespaces: {from: All}",
    );
    api.apply(&opened, &[]).expect_success();
    wait_for_reason(
        &operated,
        &in_shop("foreign"),
        "Ready",
        "AllPartitionsOnline",
    );
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_topic_with_policy_delete_takes_its_data_along() {
    let (operated, broker) = start();
    let topic = named("flights", &["partitions: 2", "deletionPolicy: Delete"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let file = flights::file();
    broker
        .taffrail(&["produce", "flights", &file.to_string_lossy()])
        .expect_success();
    operated
        .api()
        .kubectl(&["delete", "topic", "flights", "--timeout=60s"])
        .expect_success();
    operated.apply_and_wait(&topic, "topic/flights");
    let left = broker
        .taffrail(&["consume", "flights", "-o", "json"])
        .expect_success();
    assert_eq!(consumed::parse(&left).len(), 0);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn only_a_topic_with_policy_delete_waits_for_an_operator_to_go() {
    let (mut operated, _broker) = start();
    operated.apply_and_wait(&named("kept", &["partitions: 1"]), "topic/kept");
    let deleted = named("deleted", &["partitions: 1", "deletionPolicy: Delete"]);
    operated.apply_and_wait(&deleted, "topic/deleted");
    let finalizers = |name: &str| {
        let path = "jsonpath={.metadata.finalizers}";
        operated
            .api()
            .kubectl(&["get", "topic", name, "--output", path])
            .expect_success()
    };
    assert_eq!(finalizers("kept"), "");
    assert_eq!(finalizers("deleted"), r#"["taffrail.dev/data"]"#);
    operated.kill_operator();
    let delete =
        |name: &str, timeout: &str| operated.api().kubectl(&["delete", "topic", name, timeout]);
    delete("kept", "--timeout=30s").expect_success();
    delete("deleted", "--timeout=2s").expect_failure();
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_paused_topic_is_left_alone_until_it_is_not() {
    let (operated, _broker) = start();
    operated.apply_and_wait(&named("flights", &["partitions: 1"]), "topic/flights");
    let annotate = |value: &str| {
        let annotation = format!("taffrail.dev/paused{value}");
        operated
            .api()
            .kubectl(&["annotate", "topic", "flights", &annotation])
            .expect_success();
    };
    annotate("=true");
    wait_for_reason(&operated, &["topic", "flights"], "Ready", "Paused");
    let grown = named("flights", &["partitions: 3"]);
    operated.api().apply(&grown, &[]).expect_success();
    wait::until("the generation is seen", wait::PATIENCE, || {
        let seen = [
            "get",
            "topic",
            "flights",
            "--output",
            "jsonpath={.status.observedGeneration} {.status.partitions.wanted}",
        ];
        (operated.api().kubectl(&seen).stdout == "2 1").then_some(())
    });
    annotate("-");
    wait_for_reason(
        &operated,
        &["topic", "flights"],
        "Ready",
        "AllPartitionsOnline",
    );
    let wanted = [
        "get",
        "topic",
        "flights",
        "--output",
        "jsonpath={.status.partitions.wanted}",
    ];
    wait::until("three partitions", wait::PATIENCE, || {
        (operated.api().kubectl(&wanted).stdout == "3").then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn brokers_of_two_clusters_share_the_controller_port() {
    let (operated, broker) = start();
    let other = CLUSTER.replace("name: main", "name: other");
    operated.api().apply(&other, &[]).expect_success();
    let other = operated.start_broker("other");
    let unclear = named("unclear", &[]);
    operated.api().apply(&unclear, &[]).expect_success();
    wait_for_reason(
        &operated,
        &["topic", "unclear"],
        "Accepted",
        "ClusterNotFound",
    );
    let in_cluster = |cluster: &str| format!("clusterRef: {{name: {cluster}}}");
    operated.apply_and_wait(&named("alpha", &[&in_cluster("main")]), "topic/alpha");
    operated.apply_and_wait(&named("beta", &[&in_cluster("other")]), "topic/beta");
    let topics = |broker: &Broker| broker.taffrail(&["get", "topics"]).expect_success();
    let (ours, theirs) = (topics(&broker), topics(&other));
    assert!(ours.contains("alpha") && !ours.contains("beta"), "{ours}");
    assert!(
        theirs.contains("beta") && !theirs.contains("alpha"),
        "{theirs}"
    );
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn another_operator_takes_over_when_the_lease_of_the_first_ends() {
    let (mut operated, broker) = start();
    operated.apply_and_wait(&named("flights", &["partitions: 1"]), "topic/flights");
    operated.kill_operator();
    operated.replace_operator();
    operated.apply_and_wait(&named("later", &["partitions: 1"]), "topic/later");
    let holder = operated.api().kubectl(&[
        "get",
        "lease",
        "taffrail-operator",
        "--output",
        "jsonpath={.spec.holderIdentity}",
    ]);
    assert_eq!(holder.stdout, "operator-1");
    let topics = broker.taffrail(&["get", "topics"]).expect_success();
    assert!(
        topics.contains("flights") && topics.contains("later"),
        "{topics}"
    );
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_clusters_own_topic_has_no_resource_and_stays_where_topics_without_one_go() {
    let (operated, broker) = start();
    let serves = |topic: &str| {
        let list = ["get", "topics", "--internal", "--output", "json"];
        let name = format!("\"name\": \"{topic}\"");
        broker.taffrail(&list).expect_success().contains(&name)
    };
    wait::until("the cluster's own topic", wait::PATIENCE, || {
        // The broker may not listen yet.
        let list = broker.taffrail(&["get", "topics", "--internal"]);
        list.stdout.contains("__offsets").then_some(())
    });
    // One that comes and goes later is looked for as long as it is.
    operated.apply_and_wait(&named("passing", &["partitions: 1"]), "topic/passing");
    let delete = ["delete", "topic", "passing"];
    operated.api().kubectl(&delete).expect_success();
    wait::until("the end of the other", wait::PATIENCE, || {
        (!serves("passing")).then_some(())
    });
    assert!(serves("__offsets"));
    let topics = operated.api().get(&["topics"]);
    assert_eq!(topics["items"].as_array().map(Vec::len), Some(0));
    let said = broker.taffrail(&["delete", "__offsets"]).expect_failure();
    assert!(said.contains("INTERNAL_TOPIC"), "{said}");
}
