//! Racks: what the API server takes, and gives to pods.

use serde_json::json;
use taffrail_tests::{manifest, operated::Operated};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Binds the pod to the node, as the scheduler does.
fn bind(operated: &Operated, pod: &str, node: &str) {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod, "namespace": "default" },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let api = operated.api();
    let file = api.dir().write("binding.json", &binding.to_string());
    let path = format!("/api/v1/namespaces/default/pods/{pod}/binding");
    api.kubectl(&[
        "create",
        "--raw",
        &path,
        "--filename",
        &file.to_string_lossy(),
    ])
    .expect_success();
}

/// What a pod of the StatefulSet would be, but for its volume and its name: where there is a controller manager, that makes the set's own.
fn make_pod(operated: &Operated, name: &str) {
    let set = operated.api().get(&["statefulset", "main"]);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": set["spec"]["template"]["metadata"],
        "spec": set["spec"]["template"]["spec"],
    });
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["serviceAccountName"] = json!("taffrail-operator");
    pod["spec"]["volumes"]
        .as_array_mut()
        .expect("a list")
        .push(json!({ "name": "data", "emptyDir": {} }));
    operated
        .api()
        .apply(&pod.to_string(), &["--validate=strict"])
        .expect_success();
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_pod_has_its_nodes_zone_as_the_label_that_its_broker_reads_the_rack_from() {
    let operated = Operated::start();
    let racks = manifest::CLUSTER.replace(
        "brokers: 1",
        &format!("brokers: 1\n  rack: {{topologyKey: {ZONE}}}"),
    );
    operated.apply_cluster(&racks);
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "node-1", "labels": { ZONE: "zone-1" } },
    });
    operated
        .api()
        .apply(&node.to_string(), &[])
        .expect_success();
    make_pod(&operated, "like-main-0");
    bind(&operated, "like-main-0", "node-1");
    let pod = operated.api().get(&["pod", "like-main-0"]);
    assert_eq!(pod["metadata"]["labels"][ZONE], "zone-1");
    let environment = pod["spec"]["containers"][0]["env"].as_array();
    let mut environment = environment.expect("a list").iter();
    let rack = environment.find(|e| e["name"] == "TAFFRAIL_BROKER_RACK");
    let rack = rack.expect("the broker reads it");
    let read = &rack["valueFrom"]["fieldRef"]["fieldPath"];
    assert_eq!(*read, json!(format!("metadata.labels['{ZONE}']")));
}
