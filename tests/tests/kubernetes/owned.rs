//! What a BrokerCluster consists of, changed or deleted by hand: put right at once, and what others add is left alone.

use std::time::Duration;

use taffrail_tests::{operated::Operated, wait};

const CLUSTER: &str = "apiVersion: taffrail.dev/v1alpha1
kind: BrokerCluster
metadata: {name: main}
spec:
  brokers: 1
  storage: {size: 1Gi}
";

/// Far below the interval at which everything is looked at without a reason.
const SOON: Duration = Duration::from_secs(30);

fn read(operated: &Operated, object: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    operated
        .api()
        .kubectl(&["get", object, "--output", &path])
        .stdout
}

fn wait_for(operated: &Operated, object: &str, path: &str, value: &str) {
    let what = format!("{object}: {path} = {value}");
    wait::until(&what, SOON, || {
        (read(operated, object, path) == value).then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn objects_changed_or_deleted_by_hand_are_put_right_at_once() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let _broker = operated.start_broker("main");
    operated.wait_until_ready("brokercluster/main");
    let patch = |object: &str, patch: &str| {
        operated
            .api()
            .kubectl(&["patch", object, "--type=merge", "--patch", patch])
            .expect_success();
    };

    patch("statefulset/main", r#"{"spec": {"replicas": 0}}"#);
    wait_for(&operated, "statefulset/main", ".spec.replicas", "1");
    patch("configmap/main-brokers", r#"{"data": {"broker.toml": ""}}"#);
    wait::until("the configuration", SOON, || {
        let toml = read(&operated, "configmap/main-brokers", r".data.broker\.toml");
        toml.contains("controllers").then_some(())
    });
    patch("networkpolicy/main-brokers", r#"{"spec": {"ingress": []}}"#);
    let ports = r".spec.ingress[*].ports[*].port";
    wait_for(
        &operated,
        "networkpolicy/main-brokers",
        ports,
        "client replication http",
    );
    patch("pdb/main", r#"{"spec": {"maxUnavailable": 3}}"#);
    wait_for(&operated, "pdb/main", ".spec.maxUnavailable", "1");
    let unlabelled = r#"{"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}"#;
    patch("service/main-client", unlabelled);
    let label = r".metadata.labels.app\.kubernetes\.io/managed-by";
    wait_for(&operated, "service/main-client", label, "taffrail-operator");

    for object in [
        "service/main-brokers",
        "pdb/main",
        "configmap/main-brokers",
        "statefulset/main",
    ] {
        let uid = read(&operated, object, ".metadata.uid");
        operated
            .api()
            .kubectl(&["delete", object, "--wait=false"])
            .expect_success();
        wait::until("another one", SOON, || {
            let now = read(&operated, object, ".metadata.uid");
            (!now.is_empty() && now != uid).then_some(())
        });
    }
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn what_others_add_to_an_object_stays_and_nobody_fights_over_it() {
    let operated = Operated::start();
    operated.api().apply(CLUSTER, &[]).expect_success();
    let _broker = operated.start_broker("main");
    operated.wait_until_ready("brokercluster/main");
    let service = "service/main-client";
    operated
        .api()
        .kubectl(&["annotate", service, "cloud.example/balancer=blue"])
        .expect_success();
    let version = read(&operated, service, ".metadata.resourceVersion");
    // The operator has seen the annotation once it has put right what came after it.
    let patch = r#"{"spec": {"maxUnavailable": 3}}"#;
    operated
        .api()
        .kubectl(&["patch", "pdb/main", "--type=merge", "--patch", patch])
        .expect_success();
    wait_for(&operated, "pdb/main", ".spec.maxUnavailable", "1");
    let annotation = r".metadata.annotations.cloud\.example/balancer";
    assert_eq!(read(&operated, service, annotation), "blue");
    assert_eq!(
        read(&operated, service, ".metadata.resourceVersion"),
        version
    );
}
