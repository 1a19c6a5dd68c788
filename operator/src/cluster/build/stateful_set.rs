//! The brokers themselves.

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use taffrail_core::settings::{SHUTDOWN_TIMEOUT, SHUTDOWN_TIMEOUT_MS};
use taffrail_crds::BrokerCluster;

use super::{
    CONFIG_DIR, CONFIG_FILE, DATA_DIR, HTTP_PORT, REPLICATION_PORT, Surroundings, config_hash,
    metadata, namespace, selector, services::headless_name, typed,
};

/// No name in the image: any number but root's will do.
const USER: i64 = 65_532;
/// What a broker gets beyond its own deadline for a stop before it is killed.
const STOP_MARGIN_SECONDS: u64 = 10;

/// Pods start and stop without an order of their own, are replaced by a person one at a time, and leave their volumes behind.
pub(in crate::cluster) fn stateful_set(
    cluster: &BrokerCluster,
    around: &Surroundings<'_>,
    config_map: &ConfigMap,
) -> StatefulSet {
    typed(json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(cluster, &cluster.name_any()),
        "spec": {
            "replicas": cluster.spec.brokers,
            "serviceName": headless_name(cluster),
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain", "whenScaled": "Retain" },
            "selector": { "matchLabels": selector(cluster) },
            "template": {
                "metadata": {
                    "labels": labels(cluster),
                    "annotations": annotations(cluster, config_map),
                },
                "spec": pod(cluster, around, config_map),
            },
            "volumeClaimTemplates": [volume_claim(cluster)],
        },
    }))
}

fn labels(cluster: &BrokerCluster) -> Value {
    let more = cluster.spec.pod_template.as_ref().map(|pod| &pod.labels);
    with(json!(more), selector(cluster))
}

fn annotations(cluster: &BrokerCluster, config_map: &ConfigMap) -> Value {
    let more = cluster.spec.pod_template.as_ref();
    let own = json!({ "taffrail.dev/config-hash": config_hash(config_map) });
    with(json!(more.map(|pod| &pod.annotations)), own)
}

/// Both objects' fields; those of `winner` where both have one.
fn with(mut fields: Value, winner: Value) -> Value {
    match (fields.as_object_mut(), winner) {
        (Some(fields), Value::Object(winner)) => fields.extend(winner),
        (_, winner) => return winner,
    }
    fields
}

/// What the cluster says of its pods, in the operator's own.
fn pod(cluster: &BrokerCluster, around: &Surroundings<'_>, config_map: &ConfigMap) -> Value {
    let mut theirs = json!(cluster.spec.pod_template);
    if let Some(fields) = theirs.as_object_mut() {
        // Those of the pod's metadata.
        fields.retain(|field, _| !matches!(field.as_str(), "labels" | "annotations"));
    }
    let own = own_pod(cluster, around, config_map);
    // Only the spread of pods is in both: a default that a cluster may replace.
    match theirs {
        Value::Object(_) => with(own, theirs),
        _ => own,
    }
}

fn own_pod(cluster: &BrokerCluster, around: &Surroundings<'_>, config_map: &ConfigMap) -> Value {
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": stop_seconds(cluster),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": spread(cluster),
        "containers": [container(cluster, around)],
        "volumes": [{ "name": "config", "configMap": { "name": config_map.name_any() } }],
    })
}

fn stop_seconds(cluster: &BrokerCluster) -> u64 {
    let told = cluster.spec.broker_config.get(SHUTDOWN_TIMEOUT);
    let limit_ms = told.copied().unwrap_or(SHUTDOWN_TIMEOUT_MS);
    limit_ms.div_ceil(1_000) + STOP_MARGIN_SECONDS
}

/// Over racks, then over nodes, as far as that goes.
fn spread(cluster: &BrokerCluster) -> Vec<Value> {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector(cluster) },
        })
    };
    let racks = cluster.spec.rack.iter().map(|rack| &*rack.topology_key);
    racks.chain(["kubernetes.io/hostname"]).map(over).collect()
}

/// What differs from pod to pod. The rack is the pod's label, which a pod gets from its node; without it the value is empty: no rack.
fn environment(cluster: &BrokerCluster) -> Vec<Value> {
    let domain = format!("{}.{}.svc", headless_name(cluster), namespace(cluster));
    let advertised = |port: u16| format!("$(POD_NAME).{domain}:{port}");
    let client = advertised(cluster.spec.client_port());
    let replication = advertised(REPLICATION_PORT);
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let mut environment = vec![
        json!({ "name": "POD_NAME", "valueFrom": field("metadata.name") }),
        json!({ "name": "TAFFRAIL_BROKER_NAME", "value": "$(POD_NAME)" }),
        json!({ "name": "TAFFRAIL_BROKER_CLIENT_ADVERTISED", "value": client }),
        json!({ "name": "TAFFRAIL_BROKER_REPLICATION_ADVERTISED", "value": replication }),
    ];
    if let Some(rack) = &cluster.spec.rack {
        let label = field(&format!("metadata.labels['{}']", rack.topology_key));
        environment.push(json!({ "name": "TAFFRAIL_BROKER_RACK", "valueFrom": label }));
    }
    environment
}

fn container(cluster: &BrokerCluster, around: &Surroundings<'_>) -> Value {
    let image = cluster
        .spec
        .image
        .as_deref()
        .unwrap_or(around.default_image);
    let mut container = json!({
        "name": "broker",
        "image": image,
        "command": ["/usr/bin/taffrail-broker"],
        "args": ["--config", format!("{CONFIG_DIR}/{CONFIG_FILE}"), "--log-format", "json"],
        "env": environment(cluster),
        "ports": [
            { "name": "client", "containerPort": cluster.spec.client_port(), "protocol": "TCP" },
            { "name": "replication", "containerPort": REPLICATION_PORT, "protocol": "TCP" },
            { "name": "http", "containerPort": HTTP_PORT, "protocol": "TCP" },
        ],
        "readinessProbe": {
            "httpGet": { "path": "/readyz", "port": "http" },
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": { "path": "/livez", "port": "http" },
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "data", "mountPath": DATA_DIR },
            { "name": "config", "mountPath": CONFIG_DIR, "readOnly": true },
        ],
    });
    if let Some(resources) = &cluster.spec.resources {
        container["resources"] = json!(resources);
    }
    container
}

fn volume_claim(cluster: &BrokerCluster) -> Value {
    let storage = &cluster.spec.storage;
    let mut claim = json!({
        "metadata": { "name": "data", "labels": selector(cluster) },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": storage.size } },
        },
    });
    if let Some(class) = &storage.storage_class_name {
        claim["spec"]["storageClassName"] = json!(class);
    }
    claim
}
