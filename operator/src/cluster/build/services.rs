//! How brokers and clients find each other.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use serde_json::json;
use taffrail_crds::BrokerCluster;

use super::{HTTP_PORT, REPLICATION_PORT, metadata, selector, typed};

/// Gives each broker a DNS name, also while it is not ready: its peers and clients must find it to wait for it.
pub(in crate::cluster) fn headless_service(cluster: &BrokerCluster) -> Service {
    typed(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, &headless_name(cluster)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": selector(cluster),
            "ports": [
                { "name": "client", "port": cluster.spec.client_port(), "targetPort": "client", "protocol": "TCP" },
                { "name": "replication", "port": REPLICATION_PORT, "targetPort": "replication", "protocol": "TCP" },
                { "name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP" },
            ],
        },
    }))
}

/// The address that clients are given.
pub(in crate::cluster) fn client_service(cluster: &BrokerCluster) -> Service {
    typed(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster, &format!("{}-client", cluster.name_any())),
        "spec": {
            "selector": selector(cluster),
            "ports": [
                { "name": "client", "port": cluster.spec.client_port(), "targetPort": "client", "protocol": "TCP" },
            ],
        },
    }))
}

/// The headless Service's name: the domain of the brokers' own names.
pub(super) fn headless_name(cluster: &BrokerCluster) -> String {
    format!("{}-brokers", cluster.name_any())
}
