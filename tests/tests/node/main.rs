//! The main job on a real node: installed with Helm, under restricted Pod Security, through a Service, over a deleted pod and a reinstallation.
#![forbid(unsafe_code)]

use taffrail_tests::{
    flights,
    node::{self, NodeCluster},
    wait,
};

const OPERATOR: &str = "taffrail-system";
const STREAMS: &str = "streams";
const WAIT: &str = "--timeout=180s";

fn produce(cluster: &NodeCluster) {
    let file = format!("--from-file={}", flights::file().display());
    cluster
        .kubectl(&[
            "create",
            "configmap",
            "flights",
            "--namespace",
            STREAMS,
            &file,
        ])
        .expect_success();
    cluster.run_job(STREAMS, "producer-job.yaml", "flights-producer");
}

/// The Job ends once it has read all of them. It only counts: a log of all records is rotated, and lines of two streams come in any order.
fn consume(cluster: &NodeCluster) {
    let said = cluster.run_job(STREAMS, "consumer-job.yaml", "flights-consumer");
    assert_eq!(said.trim(), "27,004 records read from flights");
    cluster
        .kubectl(&["delete", "job", "flights-consumer", "--namespace", STREAMS])
        .expect_success();
}

fn delete_the_broker_and_wait_for_the_next(cluster: &NodeCluster) {
    let of_streams = |args: &[&str]| {
        let in_streams = ["--namespace", STREAMS];
        cluster
            .kubectl(&[args, &in_streams].concat())
            .expect_success();
    };
    of_streams(&["delete", "pod", "main-0"]);
    of_streams(&["wait", "--for=create", "pod/main-0", WAIT]);
    cluster.wait_for(STREAMS, "Ready", "pod/main-0");
}

/// The pods that are made from now on are told the zone of their node.
fn name_the_rack(cluster: &NodeCluster) {
    let rack = r#"{"spec": {"rack": {"topologyKey": "topology.kubernetes.io/zone"}}}"#;
    let patch = ["--type=merge", "--patch", rack];
    let what = ["patch", "brokercluster", "main", "--namespace", STREAMS];
    cluster
        .kubectl(&[&what[..], &patch].concat())
        .expect_success();
    // `kubectl wait` fails at a path that is not there yet.
    let names = "jsonpath={.spec.template.spec.containers[0].env[*].name}";
    let get = ["get", "statefulset/main", "--namespace", STREAMS];
    wait::until("the rack in the pods' template", wait::PATIENCE, || {
        let names = cluster.kubectl(&[&get[..], &["--output", names]].concat());
        let names = names.expect_success();
        names.contains("TAFFRAIL_BROKER_RACK").then_some(())
    });
}

/// Its pod's zone, which a foreign cluster's pods may not have.
fn wait_for_the_rack(cluster: &NodeCluster) {
    let read = |resource: &str, path: &str| {
        let output = format!("jsonpath={{{path}}}");
        let args = ["get", resource, "--namespace", STREAMS, "--output", &output];
        cluster.kubectl(&args).expect_success()
    };
    let zone = read(
        "pod/main-0",
        r".metadata.labels.topology\.kubernetes\.io/zone",
    );
    wait::until("the broker's rack", wait::PATIENCE, || {
        (read("brokers", ".items[0].spec.rack") == zone).then_some(())
    });
    if cluster.is_ours() {
        assert_eq!(zone, "zone-1");
        cluster.wait_for(STREAMS, "RacksKnown", "brokercluster/main");
    }
}

/// In the foreground: nothing of the old cluster, not even a pod, is left to be taken for the new one.
fn delete_the_cluster(cluster: &NodeCluster) {
    cluster
        .kubectl(&[
            "delete",
            "brokercluster",
            "main",
            "--namespace",
            STREAMS,
            "--cascade=foreground",
            WAIT,
        ])
        .expect_success();
}

/// The Topic is still Ready in its status, as the operator left it. With a new generation only what the new operator says counts.
fn change_the_topic(cluster: &NodeCluster) {
    let longer = r#"{"spec": {"retention": {"time": "336h"}}}"#;
    cluster
        .kubectl(&[
            "patch",
            "topic",
            "flights",
            "--namespace",
            STREAMS,
            "--type=merge",
            "--patch",
            longer,
        ])
        .expect_success();
}

#[test]
#[ignore = "needs root for a node, or TAFFRAIL_TEST_KUBECONFIG: cargo xtask ci"]
fn flights_survive_a_deleted_pod_and_a_reinstallation() {
    node::run(|cluster| {
        cluster.make_restricted_namespace(OPERATOR);
        cluster.make_restricted_namespace(STREAMS);
        cluster.install(OPERATOR);
        cluster.apply_example(STREAMS, "brokercluster.yaml");
        cluster.wait_for(STREAMS, "Ready", "brokercluster/main");
        cluster.apply_example(STREAMS, "topic.yaml");
        cluster.wait_for(STREAMS, "Ready", "topic/flights");
        produce(cluster);

        name_the_rack(cluster);
        delete_the_broker_and_wait_for_the_next(cluster);
        wait_for_the_rack(cluster);
        consume(cluster);

        // The second time there are records of the first.
        for _ in 0..2 {
            cluster
                .helm(&["test", "taffrail", "--namespace", OPERATOR])
                .expect_success();
        }

        cluster.uninstall(OPERATOR);
        delete_the_cluster(cluster);
        cluster.install(OPERATOR);
        cluster.apply_example(STREAMS, "brokercluster.yaml");
        change_the_topic(cluster);
        cluster.wait_for(STREAMS, "Ready", "brokercluster/main");
        cluster.wait_for(STREAMS, "Ready", "topic/flights");
        consume(cluster);
    });
}
