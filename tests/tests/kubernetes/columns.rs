//! What `kubectl get` shows of each kind. Names and order are API.

use taffrail_tests::{manifest, operated, wait};

/// Columns that are shown, and those that `-o wide` adds.
const COLUMNS: [(&str, &[&str], &[&str]); 6] = [
    (
        "brokerclusters",
        &["NAME", "BROKERS", "READY", "VERSION", "SAFE-TO-STOP", "AGE"],
        &[],
    ),
    (
        "topics",
        &[
            "NAME",
            "PARTITIONS",
            "REPLICAS",
            "READY",
            "IN-SYNC",
            "RETENTION",
            "SIZE",
            "AGE",
        ],
        &["REASON", "CLUSTER", "CLEANUP"],
    ),
    (
        "consumergroups",
        &[
            "NAME",
            "MODE",
            "STATE",
            "MEMBERS",
            "LAG",
            "LAG-TIME",
            "LOSES-DATA-IN",
            "READY",
            "AGE",
        ],
        &["REASON", "DATA-SAFE", "GROUP", "CLUSTER"],
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
            "BLOCKED-BY",
            "AGE",
        ],
        &["RACK"],
    ),
];

/// Of a broker that can be stopped, or has no rack; of a group that loses nothing.
const MAY_BE_EMPTY: [&str; 3] = ["BLOCKED-BY", "RACK", "LOSES-DATA-IN"];

/// What stands in the row below this head. Cells may hold blanks.
fn cell<'a>(header: &str, head: &str, row: &'a str) -> &'a str {
    let begins = header.find(head).expect("a column");
    let below = row.get(begins..).unwrap_or_default();
    below.split("   ").next().unwrap_or_default().trim()
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn kubectl_get_shows_each_kind_in_its_columns() {
    let (operated, _broker) = operated::start();
    operated.wait_until_ready("brokercluster/main");
    let topic = manifest::topic("flights", &["partitions: 3"]);
    operated.apply_and_wait(&topic, "topic/flights");
    let group = manifest::group("billing", &["topics: [{name: flights}]"]);
    operated.apply_and_wait(&group, "cg/billing");
    wait::until("a word of the coordinator", wait::PATIENCE, || {
        let state = "jsonpath={.status.state}";
        let state = ["get", "cg", "billing", "--output", state];
        (operated.api().kubectl(&state).stdout == "Empty").then_some(())
    });
    let table = |args: &[&str]| operated.api().kubectl(args).expect_success();
    for (kind, narrow, more) in COLUMNS {
        let wide = [narrow, more].concat();
        for (args, columns) in [
            (vec!["get", kind], narrow),
            (vec!["get", kind, "--output=wide"], &wide),
        ] {
            let text = table(&args);
            let mut lines = text.lines();
            let header = lines.next().expect("a header");
            let heads: Vec<_> = header.split_whitespace().collect();
            assert_eq!(heads, columns, "{kind}");
            let row = lines.next().expect("a resource");
            let must = columns.iter().filter(|head| !MAY_BE_EMPTY.contains(head));
            let cells: Vec<_> = must.map(|head| cell(header, head, row)).collect();
            let is_empty = |cell: &&str| matches!(*cell, "" | "<none>");
            assert!(!cells.iter().any(is_empty), "an empty cell in\n{text}");
        }
    }
    let shown = table(&["get", "tp", "--output=wide", "--no-headers"]);
    let cells: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(cells[..6], ["flights", "3", "1", "True", "True", "168h"]);
    assert_eq!(
        cells[8..],
        ["AllPartitionsOnline", "default/main", "Delete"]
    );
}
