//! What the chart makes of its values.

use serde_json::Value;
use taffrail_tests::{
    kube_api::{KubeApi, chart, helm},
    manifest,
    operated::Operated,
    programs::Answer,
    wait,
};

fn render(values: &[&str]) -> Answer {
    let chart = chart();
    helm(&[&["template", "taffrail", &chart], values].concat())
}

#[test]
#[ignore = "needs helm: cargo xtask ci"]
fn nonsense_is_refused_with_the_name_of_the_value_and_what_it_should_be() {
    render(&[]).expect_success();
    for (value, words) in [
        ("replicsa=3", ["replicsa", "additional properties"]),
        ("replicas=0", ["/replicas", "minimum"]),
        ("replicas=many", ["/replicas", "want integer"]),
        (
            "image.pullPolicy=Sometimes",
            ["/image/pullPolicy", "'IfNotPresent'"],
        ),
        ("watchNamespaces={A_B}", ["/watchNamespaces/0", "pattern"]),
        (
            "networkPolicy.enabled=maybe",
            ["/networkPolicy/enabled", "want boolean"],
        ),
        ("log.format=xml", ["/log/format", "'json', 'text'"]),
        (
            "brokerCluster.name=Main",
            ["/brokerCluster/name", "pattern"],
        ),
        (
            "prometheusRule.lossDeadline.criticalSeconds=soon",
            [
                "/prometheusRule/lossDeadline/criticalSeconds",
                "want integer",
            ],
        ),
        (
            "brokerCluster.spec=none",
            ["/brokerCluster/spec", "want object"],
        ),
    ] {
        let said = render(&["--set", value]).expect_failure();
        for word in words {
            assert!(said.contains(word), "{value}: {word} is not in\n{said}");
        }
    }
}

#[test]
#[ignore = "needs helm: cargo xtask ci"]
fn alerts_are_made_if_asked_for_and_fire_on_time_and_losses_only() {
    let plain = render(&[]).expect_success();
    assert!(!plain.contains("PrometheusRule"), "not asked for");
    let set = "prometheusRule.enabled=true,prometheusRule.labels.release=prometheus,prometheusRule.lossDeadline.criticalSeconds=600";
    let rendered =
        render(&["--set", set, "--show-only", "templates/prometheusrule.yaml"]).expect_success();
    let of = |key: &str| -> Vec<&str> {
        let values = rendered.lines().filter_map(|line| {
            let (found, value) = line.trim().trim_start_matches("- ").split_once(": ")?;
            (found == key).then_some(value)
        });
        values.collect()
    };
    assert_eq!(of("kind"), ["PrometheusRule"]);
    assert_eq!(of("release"), ["prometheus"]);
    assert_eq!(of("severity"), ["critical", "warning", "critical"]);
    let deadline = "min by (cluster, group, topic) (taffrail_operator_group_data_loss_timestamp_seconds) - time() <";
    assert_eq!(
        of("expr"),
        [
            format!("{deadline} 600"),
            format!("({deadline} 21600) >= 600"),
            "max by (cluster, group, topic) (max_over_time(taffrail_operator_group_lost_records[1h])) > 0"
                .to_owned(),
        ]
    );
}

#[test]
#[ignore = "needs helm: cargo xtask ci"]
fn a_warning_that_would_not_come_before_what_is_critical_is_refused() {
    for seconds in ["3600", "600"] {
        let warning = format!("prometheusRule.lossDeadline.warningSeconds={seconds}");
        let set = format!("prometheusRule.enabled=true,{warning}");
        let said = render(&["--set", &set]).expect_failure();
        assert!(said.contains("warningSeconds takes more than"), "{said}");
        // Nobody asked for alerts.
        render(&["--set", &warning]).expect_success();
    }
}

#[test]
#[ignore = "needs helm: cargo xtask ci"]
fn a_cluster_outside_of_the_watched_namespaces_is_refused() {
    let values = "brokerCluster.create=true,watchNamespaces={elsewhere}";
    let said = render(&["--set", values]).expect_failure();
    assert!(
        said.contains("release's namespace among watchNamespaces"),
        "{said}"
    );
}

#[test]
#[ignore = "needs etcd, kube-apiserver and helm: cargo xtask ci"]
fn the_release_s_own_cluster_is_made_changed_and_left() {
    let api = KubeApi::start();
    let chart = chart();
    let with = |command: &str, values: &str| {
        let create = format!("brokerCluster.create=true,brokerCluster.name=own,{values}");
        let command = [command, "taffrail", &chart, "--set", &create];
        api.helm(&command).expect_success();
        api.get(&["brokercluster", "own"])["spec"].clone()
    };
    let spec = with("install", "brokerCluster.spec.brokers=1");
    assert_eq!(spec["brokers"], 1);
    assert_eq!(spec["storage"]["size"], "10Gi");
    for brokers in [2, 3] {
        let spec = with("upgrade", &format!("brokerCluster.spec.brokers={brokers}"));
        assert_eq!(spec["brokers"], brokers);
    }
    api.helm(&["uninstall", "taffrail"]).expect_success();
    assert_eq!(api.get(&["brokercluster", "own"])["spec"]["brokers"], 3);
}

#[test]
#[ignore = "needs etcd, kube-apiserver and helm: cargo xtask ci"]
fn only_clusters_in_the_watched_namespaces_are_looked_after() {
    let api = KubeApi::start();
    for namespace in ["watched", "unwatched"] {
        api.kubectl(&["create", "namespace", namespace])
            .expect_success();
    }
    let operated = Operated::start_with(api, &["--set", "watchNamespaces={watched}"]);
    // The one that is left alone first: whoever sees the other one's status could have seen it too.
    for namespace in ["unwatched", "watched"] {
        let into = ["--namespace", namespace];
        operated
            .api()
            .apply(manifest::CLUSTER, &into)
            .expect_success();
    }
    let status = |namespace| -> Value {
        let cluster = ["brokercluster", "main", "--namespace", namespace];
        operated.api().get(&cluster)["status"].clone()
    };
    wait::until("the watched cluster's status", wait::PATIENCE, || {
        status("watched").is_object().then_some(())
    });
    let sets = operated.api().get(&["statefulsets", "--all-namespaces"]);
    let sets = sets["items"].as_array().expect("a list");
    assert_eq!(sets.len(), 1, "{sets:?}");
    assert_eq!(sets[0]["metadata"]["namespace"], "watched");
    assert!(status("unwatched").is_null());
}
