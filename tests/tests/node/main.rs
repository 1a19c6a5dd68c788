//! The main job on a real node: installed with Helm, under restricted Pod Security, through a Service, over a deleted pod and a reinstallation.
#![forbid(unsafe_code)]

use taffrail_tests::{flights, node::NodeCluster};
use taffrail_xtask::workspace_root;

const OPERATOR: &str = "taffrail-system";
const STREAMS: &str = "streams";
const WAIT: &str = "--timeout=180s";

fn make_restricted_namespace(cluster: &NodeCluster, name: &str) {
    cluster
        .kubectl(&["create", "namespace", name])
        .expect_success();
    cluster
        .kubectl(&[
            "label",
            "namespace",
            name,
            "pod-security.kubernetes.io/enforce=restricted",
        ])
        .expect_success();
}

fn install(cluster: &NodeCluster) {
    let chart = workspace_root().join("charts/taffrail");
    cluster
        .helm(&[
            "install",
            "taffrail",
            &chart.to_string_lossy(),
            "--namespace",
            OPERATOR,
            "--wait",
            "--timeout=3m",
        ])
        .expect_success();
}

fn wait_for(cluster: &NodeCluster, condition: &str, what: &str) {
    let condition = format!("--for=condition={condition}");
    cluster
        .kubectl(&["wait", "--namespace", STREAMS, &condition, what, WAIT])
        .expect_success();
}

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
    cluster
        .apply_example(STREAMS, "producer-job.yaml")
        .expect_success();
    wait_for(cluster, "Complete", "job/flights-producer");
}

/// The Job ends once it has read all of them. Its log may have been rotated: the last lines say how many there were.
fn consume(cluster: &NodeCluster) {
    cluster
        .apply_example(STREAMS, "consumer-job.yaml")
        .expect_success();
    wait_for(cluster, "Complete", "job/flights-consumer");
    let logs = cluster
        .kubectl(&[
            "logs",
            "--namespace",
            STREAMS,
            "job/flights-consumer",
            "--tail=100",
        ])
        .expect_success();
    assert!(logs.contains("27,004 records read from flights"), "{logs}");
    cluster
        .kubectl(&["delete", "job", "flights-consumer", "--namespace", STREAMS])
        .expect_success();
}

#[test]
#[ignore = "needs root for a node, or KUBECONFIG: cargo xtask ci"]
fn flights_survive_a_deleted_pod_and_a_reinstallation() {
    let cluster = NodeCluster::start();
    make_restricted_namespace(&cluster, OPERATOR);
    make_restricted_namespace(&cluster, STREAMS);
    install(&cluster);
    cluster
        .apply_example(STREAMS, "brokercluster.yaml")
        .expect_success();
    wait_for(&cluster, "Ready", "brokercluster/main");
    cluster
        .apply_example(STREAMS, "topic.yaml")
        .expect_success();
    wait_for(&cluster, "Ready", "topic/flights");
    produce(&cluster);

    cluster
        .kubectl(&["delete", "pod", "main-0", "--namespace", STREAMS])
        .expect_success();
    cluster
        .kubectl(&[
            "wait",
            "--namespace",
            STREAMS,
            "--for=create",
            "pod/main-0",
            WAIT,
        ])
        .expect_success();
    wait_for(&cluster, "Ready", "pod/main-0");
    consume(&cluster);

    cluster
        .helm(&["test", "taffrail", "--namespace", OPERATOR])
        .expect_success();

    cluster
        .helm(&["uninstall", "taffrail", "--namespace", OPERATOR, "--wait"])
        .expect_success();
    cluster
        .kubectl(&[
            "delete",
            "brokercluster",
            "main",
            "--namespace",
            STREAMS,
            "--wait=false",
        ])
        .expect_success();
    install(&cluster);
    cluster
        .apply_example(STREAMS, "brokercluster.yaml")
        .expect_success();
    wait_for(&cluster, "Ready", "brokercluster/main");
    wait_for(&cluster, "Ready", "topic/flights");
    // The Service leads to it once its probe has succeeded.
    wait_for(&cluster, "Ready", "pod/main-0");
    consume(&cluster);
}
