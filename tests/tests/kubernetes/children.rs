//! What a BrokerCluster consists of, as the API server keeps it.

use serde_json::{Value, json};
use taffrail_tests::{kube_api::KubeApi, manifest, operated::Operated, wait};

fn three_brokers_on_another_port() -> String {
    manifest::CLUSTER.replace(
        "brokers: 1",
        "brokers: 3\n  listeners: {client: {port: 19640}}",
    )
}

/// The object belongs to the cluster and its fields to the operator.
fn assert_owned(api: &KubeApi, object: &Value) {
    let cluster = api.get(&["brokercluster", "main"]);
    let owner = &object["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], cluster["metadata"]["uid"], "{object}");
    assert_eq!(owner["controller"], true, "{object}");
    let managers = object["metadata"]["managedFields"].as_array();
    let applied = managers
        .into_iter()
        .flatten()
        .any(|fields| fields["manager"] == "taffrail-operator" && fields["operation"] == "Apply");
    assert!(applied, "{object}");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn brokers_start_at_once_are_replaced_by_hand_and_keep_their_volumes() {
    let operated = Operated::start();
    operated.apply_cluster(&three_brokers_on_another_port());
    let api = operated.api();
    let set = api.get(&["statefulset", "main", "--show-managed-fields"]);
    assert_owned(api, &set);
    let spec = &set["spec"];
    assert_eq!(spec["replicas"], 3);
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
    );
    assert_is_restricted_and_probed(&spec["template"]["spec"]);
}

fn assert_is_restricted_and_probed(pod: &Value) {
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["fsGroup"], security["runAsUser"]);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    let broker = &pod["containers"][0];
    assert_eq!(
        broker["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        })
    );
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
        let get = &broker[probe]["httpGet"];
        assert_eq!(get["path"], path);
        assert_eq!(port_named(pod, &get["port"]), 9644);
    }
}

/// The number of a container's port.
fn port_named(pod: &Value, name: &Value) -> u64 {
    let ports = pod["containers"][0]["ports"].as_array().expect("a list");
    let port = ports.iter().find(|port| port["name"] == *name);
    let port = port.unwrap_or_else(|| panic!("no port is named {name}"));
    port["containerPort"].as_u64().expect("a number")
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn services_budget_and_configuration_go_with_the_brokers() {
    let operated = Operated::start();
    operated.apply_cluster(&three_brokers_on_another_port());
    let api = operated.api();
    let get = |kind, name| {
        let object = api.get(&[kind, name, "--show-managed-fields"]);
        assert_owned(api, &object);
        object
    };
    let pods = get("statefulset", "main")["spec"]["selector"]["matchLabels"].clone();

    let headless = &get("service", "main-brokers")["spec"];
    assert_eq!(headless["clusterIP"], "None");
    assert_eq!(headless["publishNotReadyAddresses"], true);
    assert_eq!(headless["selector"], pods);

    let client = &get("service", "main-client")["spec"];
    assert_eq!(client["type"], "ClusterIP");
    assert_ne!(client["clusterIP"], "None");
    assert!(client.get("publishNotReadyAddresses").is_none(), "{client}");
    assert_eq!(client["selector"], pods);
    assert_eq!(
        client["ports"],
        json!([{ "name": "client", "port": 19640, "targetPort": "client", "protocol": "TCP" }])
    );

    let budget = &get("poddisruptionbudget", "main")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert_eq!(budget["selector"]["matchLabels"], pods);

    let configuration = &get("configmap", "main-brokers")["data"]["broker.toml"];
    let lines: Vec<_> = configuration.as_str().expect("text").lines().collect();
    for line in [
        r#"cluster = "default/main""#,
        r#"client_listen = "[::]:19640""#,
        r#"replication_listen = "[::]:9641""#,
        r#"http_listen = "[::]:9644""#,
    ] {
        assert!(lines.contains(&line), "{line} is not in {lines:?}");
    }
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn everybody_reaches_the_client_port_only_pods_the_metrics_and_only_brokers_each_other() {
    let operated = Operated::start();
    operated.apply_cluster(&three_brokers_on_another_port());
    let api = operated.api();
    let policy = api.get(&["networkpolicy", "main-brokers", "--show-managed-fields"]);
    assert_owned(api, &policy);
    let set = api.get(&["statefulset", "main"]);
    let template = &set["spec"]["template"];
    let spec = &policy["spec"];
    assert_eq!(
        spec["podSelector"]["matchLabels"],
        template["metadata"]["labels"]
    );
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let rules = spec["ingress"].as_array().expect("a list");
    let opened: Vec<(u64, Value)> = rules
        .iter()
        .map(|rule| {
            let port = &rule["ports"][0];
            assert_eq!(port["protocol"], "TCP");
            (
                port_named(&template["spec"], &port["port"]),
                rule["from"].clone(),
            )
        })
        .collect();
    let any_pod = json!([{ "namespaceSelector": {} }]);
    let brokers = json!([{ "podSelector": { "matchLabels": template["metadata"]["labels"] } }]);
    assert_eq!(
        opened,
        [(19640, Value::Null), (9641, brokers), (9644, any_pod)]
    );
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_operators_ports_are_open_to_brokers_and_to_pods_that_scrape() {
    let operated = Operated::start();
    operated.apply_cluster(manifest::CLUSTER);
    let api = operated.api();
    let name = "taffrail-operator";
    let labels = |kind: &str, name: &str| {
        let workload = api.get(&[kind, name]);
        workload["spec"]["template"]["metadata"]["labels"].clone()
    };
    let pod = api.get(&["deployment", name])["spec"]["template"]["spec"].take();
    let spec = api.get(&["networkpolicy", name])["spec"].take();
    let selected = |selector: &Value, labels: &Value| {
        let wanted = selector["matchLabels"].as_object().expect("labels");
        assert!(!wanted.is_empty(), "{selector}");
        wanted.iter().all(|(key, value)| labels[key] == *value)
    };
    let (operator, broker) = (labels("deployment", name), labels("statefulset", "main"));
    assert!(selected(&spec["podSelector"], &operator) && !selected(&spec["podSelector"], &broker));
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let rules = spec["ingress"].as_array().expect("a list");
    let [controller, scraped] = rules.as_slice() else {
        panic!("{rules:?}");
    };
    let port = |rule: &Value| port_named(&pod, &rule["ports"][0]["port"]);
    assert_eq!((port(controller), port(scraped)), (9642, 9644));
    // Whichever namespace a broker runs in, and nobody else.
    let from = controller["from"].as_array().expect("a list");
    let [from] = from.as_slice() else {
        panic!("{from:?}");
    };
    assert!(selected(&from["podSelector"], &broker) && !selected(&from["podSelector"], &operator));
    assert_eq!(from["namespaceSelector"], json!({}));
    assert_eq!(scraped["from"], json!([{ "namespaceSelector": {} }]));

    api.kubectl(&["create", "namespace", "orders"])
        .expect_success();
    operated.upgrade(&["--set", "watchNamespaces={default,orders}"]);
    let spec = api.get(&["networkpolicy", name])["spec"].take();
    let of = &spec["ingress"][0]["from"][0]["namespaceSelector"]["matchExpressions"][0];
    let watched = json!({
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": ["default", "orders"],
    });
    assert_eq!(*of, watched);
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_network_policy_that_was_changed_by_hand_is_put_right() {
    let operated = Operated::start();
    operated.apply_cluster(manifest::CLUSTER);
    let api = operated.api();
    let rules = || {
        let policy = api.kubectl(&["get", "networkpolicy", "main-brokers", "--output=json"]);
        let policy: Value = serde_json::from_str(&policy.stdout).ok()?;
        Some(policy["spec"]["ingress"].as_array()?.len())
    };
    let close = r#"[{"op": "remove", "path": "/spec/ingress/0"}]"#;
    api.kubectl(&[
        "patch",
        "networkpolicy",
        "main-brokers",
        "--type=json",
        "--patch",
        close,
    ])
    .expect_success();
    wait::until("the client port is open again", wait::PATIENCE, || {
        (rules() == Some(3)).then_some(())
    });
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn network_policies_that_are_turned_off_are_deleted_and_those_of_others_left() {
    let mut operated = Operated::start();
    operated.apply_cluster(manifest::CLUSTER);
    operated.kill_operator();
    operated.upgrade(&["--set", "networkPolicy.enabled=false"]);
    let somebodys = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: other-brokers}
spec: {podSelector: {}, policyTypes: [Ingress]}
";
    operated.api().apply(somebodys, &[]).expect_success();
    let other = manifest::CLUSTER.replace("name: main", "name: other");
    operated.api().apply(&other, &[]).expect_success();
    operated.restart_operator();
    let names = || {
        let policies = operated.api().get(&["networkpolicies,statefulsets"]);
        let items = policies["items"].as_array().expect("a list").iter();
        let mut names: Vec<_> = items
            .map(|item| format!("{} {}", item["kind"], item["metadata"]["name"]).replace('"', ""))
            .collect();
        names.sort();
        names
    };
    let expected = [
        "NetworkPolicy other-brokers",
        "StatefulSet main",
        "StatefulSet other",
    ];
    wait::until("only somebody's policy is left", wait::PATIENCE, || {
        (names() == expected).then_some(())
    });
}
