//! What `kubectl get` shows of each kind. Names and order are API.

use taffrail_tests::{manifest, operated};

/// Columns that are shown, and those that `-o wide` adds.
const COLUMNS: [(&str, &[&str], &[&str]); 5] = [
    (
        "brokerclusters",
        &["NAME", "BROKERS", "READY", "VERSION", "AGE"],
        &[],
    ),
    (
        "topics",
        &[
            "NAME",
            "PARTITIONS",
            "REPLICAS",
            "READY",
            "RETENTION",
            "SIZE",
            "AGE",
        ],
        &["REASON", "CLUSTER"],
    ),
    ("clustermetadata", &["NAME", "EPOCH", "AGE"], &[]),
    ("partitionmaps", &["NAME", "CLUSTER", "AGE"], &[]),
    (
        "brokers",
        &[
            "NAME",
            "NUMBER",
            "STATE",
            "LEADS",
            "FOLLOWS",
            "SAFE-TO-STOP",
            "AGE",
        ],
        &[],
    ),
];

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn kubectl_get_shows_each_kind_in_its_columns() {
    let (operated, _broker) = operated::start();
    operated.wait_until_ready("brokercluster/main");
    let topic = manifest::topic("flights", &["partitions: 3"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let table = |args: &[&str]| operated.api().kubectl(args).expect_success();
    for (kind, narrow, more) in COLUMNS {
        let wide = [narrow, more].concat();
        for (args, columns) in [
            (vec!["get", kind], narrow),
            (vec!["get", kind, "--output=wide"], &wide),
        ] {
            let text = table(&args);
            let mut lines = text.lines().map(|line| line.split_whitespace().collect());
            let header: Vec<_> = lines.next().expect("a header");
            assert_eq!(header, columns, "{kind}");
            let cells: Vec<_> = lines.next().expect("a resource");
            assert_eq!(cells.len(), columns.len(), "an empty cell in\n{text}");
            assert!(!cells.contains(&"<none>"), "an empty cell in\n{text}");
        }
    }
    let shown = table(&["get", "tp", "--output=wide", "--no-headers"]);
    let cells: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(cells[..5], ["flights", "3", "1", "True", "168h"]);
    assert_eq!(cells[7..], ["AllPartitionsOnline", "default/main"]);
}
