use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Service};
use serde_json::{Value, json};
use taffrail_broker::BrokerConfig;

use super::*;

const AROUND: Surroundings<'static> = Surroundings {
    controller_address: "taffrail-operator.taffrail.svc:9642",
    default_image: "taffrail:test",
};

fn cluster(more: &Value) -> BrokerCluster {
    let mut spec = json!({ "brokers": 3, "storage": { "size": "100Gi" } });
    for (field, value) in more.as_object().expect("an object") {
        spec[field] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "BrokerCluster",
        "metadata": { "name": "main", "namespace": "streams", "uid": "u" },
        "spec": spec,
    }))
    .expect("valid")
}

fn built(more: &Value) -> StatefulSet {
    let cluster = cluster(more);
    stateful_set(&cluster, &AROUND, &config_map(&cluster, &AROUND))
}

fn pod_of(set: &StatefulSet) -> Value {
    json!(set)["spec"]["template"]["spec"].clone()
}

#[test]
fn brokers_are_replaced_by_hand_and_leave_their_volumes() {
    let set = json!(built(&json!({})));
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
    let retention = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(retention["whenDeleted"], "Retain");
    assert_eq!(retention["whenScaled"], "Retain");
    let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["resources"]["requests"]["storage"], "100Gi");
    assert!(claim.get("storageClassName").is_none());
}

#[test]
fn pods_pass_the_restricted_pod_security_standard() {
    let pod = pod_of(&built(&json!({})));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
}

#[test]
fn a_broker_advertises_its_own_dns_name() {
    let pod = pod_of(&built(
        &json!({ "listeners": { "client": { "port": 19640 } } }),
    ));
    let env = pod["containers"][0]["env"]
        .as_array()
        .expect("a list")
        .clone();
    let value = |name: &str| {
        env.iter()
            .find(|e| e["name"] == name)
            .map(|e| e["value"].clone())
    };
    let advertised = json!("$(POD_NAME).main-brokers.streams.svc:19640");
    assert_eq!(value("TAFFRAIL_BROKER_CLIENT_ADVERTISED"), Some(advertised));
    assert_eq!(pod["containers"][0]["ports"][0]["containerPort"], 19640);
    let advertised = json!("$(POD_NAME).main-brokers.streams.svc:9641");
    assert_eq!(
        value("TAFFRAIL_BROKER_REPLICATION_ADVERTISED"),
        Some(advertised)
    );
    assert_eq!(pod["containers"][0]["ports"][1]["containerPort"], 9641);
}

#[test]
fn a_rack_is_the_pods_label_and_pods_are_spread_over_racks_then_nodes() {
    let racks = json!({ "rack": { "topologyKey": "topology.kubernetes.io/zone" } });
    let rack_of = |pod: &Value| {
        let env = pod["containers"][0]["env"].as_array().expect("a list");
        let mut racks = env.iter().filter(|e| e["name"] == "TAFFRAIL_BROKER_RACK");
        racks
            .next()
            .map(|e| e["valueFrom"]["fieldRef"]["fieldPath"].clone())
    };
    let spread_over = |pod: &Value| -> Vec<Value> {
        let constraints = pod["topologySpreadConstraints"].as_array().expect("a list");
        let keys = constraints.iter().map(|c| c["topologyKey"].clone());
        keys.collect()
    };
    let pod = pod_of(&built(&racks));
    let label = json!("metadata.labels['topology.kubernetes.io/zone']");
    assert_eq!(rack_of(&pod), Some(label));
    assert_eq!(
        spread_over(&pod),
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    );
    let pod = pod_of(&built(&json!({})));
    assert_eq!(rack_of(&pod), None);
    assert_eq!(spread_over(&pod), ["kubernetes.io/hostname"]);
}

#[test]
fn image_class_and_resources_of_the_cluster_are_used() {
    let set = built(&json!({
        "image": "taffrail:9",
        "storage": { "size": "1Gi", "storageClassName": "fast" },
        "resources": { "requests": { "cpu": "2" } },
    }));
    let pod = pod_of(&set);
    assert_eq!(pod["containers"][0]["image"], "taffrail:9");
    assert_eq!(pod["containers"][0]["resources"]["requests"]["cpu"], "2");
    let set = json!(set);
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"],
        "fast"
    );
    assert_eq!(
        pod_of(&built(&json!({})))["containers"][0]["image"],
        "taffrail:test"
    );
}

#[test]
fn pods_get_what_the_cluster_says_of_them_and_keep_their_own_labels() {
    let set = built(&json!({ "podTemplate": {
        "labels": { "team": "streams", "app.kubernetes.io/name": "other" },
        "annotations": { "example.com/scrape": "true" },
        "nodeSelector": { "disk": "nvme" },
        "tolerations": [{ "key": "brokers", "operator": "Exists" }],
        "imagePullSecrets": [{ "name": "registry" }],
        "priorityClassName": "high",
        "serviceAccountName": "brokers",
        "topologySpreadConstraints": [{
            "maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        }],
    }}));
    let metadata = json!(set)["spec"]["template"]["metadata"].clone();
    assert_eq!(metadata["labels"]["team"], "streams");
    assert_eq!(
        metadata["labels"]["app.kubernetes.io/name"],
        "taffrail-broker"
    );
    assert_eq!(metadata["annotations"]["example.com/scrape"], "true");
    assert!(metadata["annotations"]["taffrail.dev/config-hash"].is_string());
    let pod = pod_of(&set);
    assert_eq!(pod["nodeSelector"]["disk"], "nvme");
    assert_eq!(pod["tolerations"][0]["key"], "brokers");
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
    assert_eq!(pod["priorityClassName"], "high");
    assert_eq!(pod["serviceAccountName"], "brokers");
    assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "zone");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["name"], "broker");
}

#[test]
fn the_headless_service_publishes_brokers_that_are_not_ready() {
    let service: Service = headless_service(&cluster(&json!({})));
    let spec = service.spec.expect("a spec");
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    assert_eq!(spec.publish_not_ready_addresses, Some(true));
}

#[test]
fn a_changed_configuration_changes_the_pods_template() {
    let annotations =
        |more: &Value| json!(built(more))["spec"]["template"]["metadata"]["annotations"].clone();
    let other_port = json!({ "listeners": { "client": { "port": 19640 } } });
    assert_eq!(
        annotations(&json!({})),
        annotations(&json!({ "brokers": 5 }))
    );
    assert_ne!(annotations(&json!({})), annotations(&other_port));
}

#[test]
fn settings_reach_the_brokers_file_and_change_the_pods_template() {
    let more = json!({ "brokerConfig": {
        "replica_lag_ms_max": 5000,
        "disk.scrub_interval_ms": 0,
        "disk.sync_threads": 4,
        "replication.catch_up_bytes_per_s_max": 1_000_000,
    }});
    let data = config_map(&cluster(&more), &AROUND).data.expect("data");
    let file: BrokerConfig = toml::from_str(&data["broker.toml"]).expect("a broker reads it");
    file.check().expect("a broker takes it");
    assert_eq!(file.replica_lag_ms_max, 5000);
    assert_eq!(file.disk.scrub_interval_ms, 0);
    assert_eq!(file.disk.sync_threads, 4);
    assert_eq!(file.replication.catch_up_bytes_per_s_max, 1_000_000);
    assert_eq!(file.cluster.as_deref(), Some("streams/main"));
    for listen in [file.client_listen, file.replication_listen] {
        assert_eq!(listen.ip(), std::net::Ipv6Addr::UNSPECIFIED);
    }
    let hash = |more| {
        json!(built(more))["spec"]["template"]["metadata"]["annotations"]["taffrail.dev/config-hash"]
            .clone()
    };
    assert_ne!(hash(&json!({})), hash(&more));
}

#[test]
fn a_default_session_timeout_reaches_the_brokers_file_unless_their_settings_say_more() {
    let timeout = |more: Value| {
        let data = config_map(&cluster(&more), &AROUND).data.expect("data");
        let file: BrokerConfig = toml::from_str(&data["broker.toml"]).expect("a broker reads it");
        file.check().expect("a broker takes it");
        file.groups.session_timeout_ms
    };
    let defaults = json!({ "group": { "sessionTimeout": "1m30s" } });
    assert_eq!(timeout(json!({})), 45_000);
    assert_eq!(timeout(json!({ "defaults": defaults })), 90_000);
    let both =
        json!({ "defaults": defaults, "brokerConfig": { "groups.session_timeout_ms": 20_000 } });
    assert_eq!(timeout(both), 20_000);
}

#[test]
fn no_pod_is_evicted_while_stops_should_wait() {
    for (should_wait, allowed) in [(false, 1), (true, 0)] {
        let budget = json!(disruption_budget(&cluster(&json!({})), should_wait));
        assert_eq!(budget["spec"]["maxUnavailable"], allowed);
    }
}

#[test]
fn a_pod_is_killed_after_its_brokers_own_deadline_only() {
    let seconds = |more: &Value| pod_of(&built(more))["terminationGracePeriodSeconds"].clone();
    assert_eq!(seconds(&json!({})), 30);
    let longer = json!({ "brokerConfig": { "shutdown_timeout_ms": 119_500 } });
    assert_eq!(seconds(&longer), 130);
}

#[test]
fn everything_is_owned_by_the_cluster() {
    let cluster = cluster(&json!({}));
    let config_map = config_map(&cluster, &AROUND);
    let objects = [
        json!(config_map),
        json!(headless_service(&cluster)),
        json!(client_service(&cluster)),
        json!(disruption_budget(&cluster, false)),
        json!(stateful_set(&cluster, &AROUND, &config_map)),
    ];
    for object in objects {
        assert_eq!(
            object["metadata"]["ownerReferences"][0]["kind"], "BrokerCluster",
            "{object}"
        );
        assert_eq!(object["metadata"]["namespace"], "streams");
    }
}

#[test]
fn the_configuration_names_the_cluster_and_its_controllers() {
    let data = config_map(&cluster(&json!({})), &AROUND)
        .data
        .expect("data");
    let lines: Vec<_> = data["broker.toml"].lines().collect();
    assert!(
        lines.contains(&r#"controllers = ["taffrail-operator.taffrail.svc:9642"]"#),
        "{lines:?}"
    );
    assert!(lines.contains(&r#"cluster = "streams/main""#), "{lines:?}");
}

#[test]
fn the_hash_of_a_configuration_is_the_same_in_every_release() {
    let of = |data: &[(&str, &str)]| {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        config_hash(&ConfigMap {
            data: Some(data.collect()),
            ..ConfigMap::default()
        })
    };
    assert_eq!(of(&[("broker.toml", "a = 1\n")]), "9ad7700b");
    assert_ne!(of(&[("broker.toml", "a = 2\n")]), "9ad7700b");
    assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
}
