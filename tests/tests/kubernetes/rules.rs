//! Every validation rule exists once, in core, with its message. Here each is broken twice: in Rust, as `taffrail apply` would, and through the API server.

use taffrail_core::{
    TopicSpec,
    rules::{self, Rule, Violation},
};
use taffrail_crds::{
    generate::{CLUSTER_RULES, DEFAULT_TOPIC_RULES, GROUP_RULES, TOPIC_RULES},
    manifest::{self, Manifest},
};
use taffrail_tests::kube_api::KubeApi;
use taffrail_xtask::workspace_root;

/// One way to break a rule. `before` is applied first, where the rule compares with the past.
struct Case {
    rule: &'static Rule,
    before: Option<&'static str>,
    spec: &'static str,
}

const fn breaks(rule: &'static Rule, spec: &'static str) -> Case {
    Case {
        rule,
        before: None,
        spec,
    }
}

const fn changes(rule: &'static Rule, before: &'static str, spec: &'static str) -> Case {
    Case {
        rule,
        before: Some(before),
        spec,
    }
}

const TOPIC_CASES: &[Case] = &[
    breaks(&rules::PARTITIONS_IN_RANGE, "{partitions: 0}"),
    breaks(&rules::PARTITIONS_IN_RANGE, "{partitions: 10001}"),
    changes(
        &rules::PARTITIONS_GROW_ONLY,
        "{partitions: 12}",
        "{partitions: 6}",
    ),
    changes(&rules::PARTITIONS_GROW_ONLY, "{partitions: 12}", "{}"),
    breaks(&rules::REPLICAS_IN_RANGE, "{replicas: 0}"),
    breaks(&rules::REPLICAS_IN_RANGE, "{replicas: 6}"),
    breaks(&rules::MIN_IN_SYNC_IN_RANGE, "{minInSync: 0}"),
    breaks(&rules::MIN_IN_SYNC_IN_RANGE, "{minInSync: 6}"),
    breaks(
        &rules::MIN_IN_SYNC_WITHIN_REPLICAS,
        "{replicas: 2, minInSync: 3}",
    ),
    breaks(&rules::SEGMENT_BYTES_IN_RANGE, "{segment: {bytes: 1Ki}}"),
    breaks(&rules::SEGMENT_BYTES_IN_RANGE, "{segment: {bytes: 3Gi}}"),
    breaks(&rules::SEGMENT_AGE_IN_RANGE, "{segment: {maxAge: 10ms}}"),
    breaks(&rules::RETENTION_TIME_POSITIVE, "{retention: {time: 0s}}"),
    breaks(
        &rules::RETENTION_BYTES_IN_RANGE,
        "{retention: {bytesPerPartition: 1Ki}}",
    ),
    breaks(
        &rules::RETENTION_NOT_WITH_COMPACT,
        "{cleanup: Compact, retention: {time: 1h}}",
    ),
    breaks(
        &rules::RETENTION_NOT_WITH_COMPACT,
        "{cleanup: Compact, retention: {bytesPerPartition: 1Gi}}",
    ),
    changes(
        &rules::RETENTION_NOT_WITH_COMPACT,
        "{cleanup: CompactAndDelete, retention: {time: 1h}}",
        "{cleanup: Compact, retention: {time: 1h}}",
    ),
    breaks(
        &rules::COMPACTION_NEEDS_COMPACT,
        "{compaction: {minLag: 1m}}",
    ),
    breaks(
        &rules::COMPACTION_NEEDS_COMPACT,
        "{cleanup: Delete, compaction: {tombstoneRetention: 1h}}",
    ),
    breaks(
        &rules::TOMBSTONE_RETENTION_POSITIVE,
        "{cleanup: Compact, compaction: {tombstoneRetention: 10ms}}",
    ),
    breaks(
        &rules::MAX_BATCH_BYTES_IN_RANGE,
        "{limits: {maxBatchBytes: '100'}}",
    ),
    breaks(
        &rules::MAX_BATCH_BYTES_IN_RANGE,
        "{limits: {maxBatchBytes: 1Gi}}",
    ),
    breaks(&rules::TOPIC_NAME_VALID, "{topicName: a/b}"),
    breaks(&rules::TOPIC_NAME_VALID, "{topicName: ..}"),
    breaks(&rules::TOPIC_NAME_NOT_INTERNAL, "{topicName: __offsets}"),
    changes(
        &rules::TOPIC_NAME_IMMUTABLE,
        "{topicName: a}",
        "{topicName: b}",
    ),
    changes(&rules::TOPIC_NAME_IMMUTABLE, "{topicName: a}", "{}"),
    changes(
        &rules::CLUSTER_REF_IMMUTABLE,
        "{clusterRef: {name: a}}",
        "{clusterRef: {name: b}}",
    ),
    changes(
        &rules::CLUSTER_REF_IMMUTABLE,
        "{clusterRef: {name: a}}",
        "{}",
    ),
    breaks(&rules::SIZE_READABLE, "{segment: {bytes: 12 parsecs}}"),
    breaks(&rules::SIZE_READABLE, "{segment: {bytes: '1048577.5'}}"),
    breaks(
        &rules::SIZE_READABLE,
        "{retention: {bytesPerPartition: 100E}}",
    ),
    breaks(
        &rules::SIZE_READABLE,
        "{retention: {bytesPerPartition: '4611686018427387905'}}",
    ),
    breaks(&rules::DURATION_READABLE, "{retention: {time: 2 weeks}}"),
];

const CLUSTER_CASES: &[Case] = &[
    breaks(
        &rules::SIZE_READABLE,
        "{brokers: 1, storage: {size: '1.5'}}",
    ),
    breaks(
        &rules::BROKERS_IN_RANGE,
        "{brokers: 0, storage: {size: 1Gi}}",
    ),
    breaks(
        &rules::BROKERS_IN_RANGE,
        "{brokers: 257, storage: {size: 1Gi}}",
    ),
    changes(
        &rules::BROKERS_GROW_ONLY,
        "{brokers: 3, storage: {size: 1Gi}}",
        "{brokers: 1, storage: {size: 1Gi}}",
    ),
    changes(
        &rules::STORAGE_GROWS_ONLY,
        "{brokers: 1, storage: {size: 2Gi}}",
        "{brokers: 1, storage: {size: 2047Mi}}",
    ),
    changes(
        &rules::STORAGE_CLASS_IMMUTABLE,
        "{brokers: 1, storage: {size: 2Gi}}",
        "{brokers: 1, storage: {size: 2Gi, storageClassName: fast}}",
    ),
    breaks(
        &rules::RACK_KEY_READABLE,
        "{brokers: 1, storage: {size: 1Gi}, rack: {topologyKey: /zone}}",
    ),
    breaks(
        &rules::CLIENT_PORT_FREE,
        "{brokers: 1, storage: {size: 1Gi}, listeners: {client: {port: 80}}}",
    ),
    breaks(
        &rules::CLIENT_PORT_FREE,
        "{brokers: 1, storage: {size: 1Gi}, listeners: {client: {port: 9641}}}",
    ),
    breaks(
        &rules::CLIENT_PORT_FREE,
        "{brokers: 1, storage: {size: 1Gi}, listeners: {client: {port: 9644}}}",
    ),
    breaks(
        &rules::OFFSETS_PARTITIONS_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 0}}}",
    ),
    breaks(
        &rules::OFFSETS_PARTITIONS_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 1001}}}",
    ),
    changes(
        &rules::OFFSETS_PARTITIONS_IMMUTABLE,
        "{brokers: 1, storage: {size: 1Gi}}",
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 10}}}",
    ),
    changes(
        &rules::OFFSETS_PARTITIONS_IMMUTABLE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 10}}}",
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 20}}}",
    ),
    changes(
        &rules::OFFSETS_PARTITIONS_IMMUTABLE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {offsetsPartitions: 10}}}",
        "{brokers: 1, storage: {size: 1Gi}}",
    ),
    breaks(
        &rules::DEFAULT_SESSION_TIMEOUT_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {sessionTimeout: 2s999ms}}}",
    ),
    breaks(
        &rules::DEFAULT_SESSION_TIMEOUT_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {group: {sessionTimeout: 30m1ms}}}",
    ),
];

/// Of `spec.defaults.topic`.
const DEFAULT_TOPIC_CASES: &[Case] = &[
    breaks(
        &rules::PARTITIONS_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {partitions: 0}}}",
    ),
    breaks(
        &rules::SEGMENT_BYTES_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {segment: {bytes: 1Ki}}}}",
    ),
    breaks(
        &rules::SEGMENT_AGE_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {segment: {maxAge: 10ms}}}}",
    ),
    breaks(
        &rules::RETENTION_TIME_POSITIVE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {retention: {time: 0s}}}}",
    ),
    breaks(
        &rules::RETENTION_BYTES_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {retention: {bytesPerPartition: 1Ki}}}}",
    ),
    breaks(
        &rules::MAX_BATCH_BYTES_IN_RANGE,
        "{brokers: 1, storage: {size: 1Gi}, defaults: {topic: {limits: {maxBatchBytes: 1Gi}}}}",
    ),
];

const GROUP_CASES: &[Case] = &[
    breaks(&rules::GROUP_NAME_VALID, "{groupName: a/b}"),
    breaks(&rules::GROUP_NAME_VALID, "{groupName: ..}"),
    breaks(&rules::GROUP_NAME_NOT_INTERNAL, "{groupName: __billing}"),
    changes(
        &rules::GROUP_NAME_IMMUTABLE,
        "{groupName: a}",
        "{groupName: b}",
    ),
    changes(&rules::GROUP_NAME_IMMUTABLE, "{}", "{groupName: b}"),
    changes(
        &rules::GROUP_CLUSTER_REF_IMMUTABLE,
        "{clusterRef: {name: a}}",
        "{clusterRef: {name: b}}",
    ),
    changes(
        &rules::GROUP_CLUSTER_REF_IMMUTABLE,
        "{clusterRef: {name: a}}",
        "{}",
    ),
    changes(&rules::GROUP_MODE_IMMUTABLE, "{}", "{mode: Shared}"),
    changes(
        &rules::GROUP_MODE_IMMUTABLE,
        "{mode: Partitioned}",
        "{mode: Shared}",
    ),
    breaks(&rules::GROUP_MODE_KNOWN, "{mode: Shared}"),
    breaks(&rules::GROUP_DELIVERY_KNOWN, "{delivery: ExactlyOnce}"),
    breaks(&rules::GROUP_TOPICS_NAMED, "{topics: [{}]}"),
    breaks(
        &rules::GROUP_TOPICS_NAMED,
        "{topics: [{name: a}, {name: b, pattern: c}]}",
    ),
    breaks(
        &rules::GROUP_TOPIC_NAMES_VALID,
        "{topics: [{name: 'orders.*'}]}",
    ),
    breaks(
        &rules::GROUP_TOPIC_NAMES_VALID,
        "{topics: [{name: __offsets}]}",
    ),
    breaks(
        &rules::GROUP_PATTERNS_FEW,
        "{topics: [{pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, \
          {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, \
          {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}, {pattern: a}]}",
    ),
    breaks(
        &rules::GROUP_SESSION_TIMEOUT_IN_RANGE,
        "{assignment: {sessionTimeout: 2999ms}}",
    ),
    breaks(
        &rules::GROUP_SESSION_TIMEOUT_IN_RANGE,
        "{assignment: {sessionTimeout: 31m}}",
    ),
    breaks(
        &rules::GROUP_START_TIMESTAMP,
        "{startFrom: {position: Timestamp}}",
    ),
    breaks(
        &rules::GROUP_START_TIMESTAMP,
        "{startFrom: {position: Latest, timestamp: '2013-01-24T00:00:00Z'}}",
    ),
    breaks(&rules::GROUP_MAX_LAG_POSITIVE, "{objectives: {maxLag: 0s}}"),
    breaks(
        &rules::GROUP_HEADROOM_POSITIVE,
        "{objectives: {retentionHeadroom: 10ms}}",
    ),
    breaks(
        &rules::GROUP_OFFSET_RETENTION_POSITIVE,
        "{offsetRetention: 0s}",
    ),
    breaks(&rules::DURATION_READABLE, "{objectives: {maxLag: 2 weeks}}"),
];

/// Rules over two versions that only the API server sees: elsewhere the name is the identity, and a cluster is a process.
const KUBERNETES_ONLY: [&Rule; 8] = [
    &rules::TOPIC_NAME_IMMUTABLE,
    &rules::CLUSTER_REF_IMMUTABLE,
    &rules::STORAGE_GROWS_ONLY,
    &rules::STORAGE_CLASS_IMMUTABLE,
    &rules::OFFSETS_PARTITIONS_IMMUTABLE,
    &rules::GROUP_NAME_IMMUTABLE,
    &rules::GROUP_CLUSTER_REF_IMMUTABLE,
    &rules::GROUP_MODE_IMMUTABLE,
];

fn text(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// What Rust says of the case.
fn said_in_rust(kind: &str, case: &Case) -> String {
    let lines = |violations: Vec<Violation>| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    let manifests = match manifest::parse(&text(kind, "t", case.spec)) {
        Ok(manifests) => manifests,
        Err(error) => return error.to_string(),
    };
    match &manifests[0] {
        Manifest::Topic(topic) => match TopicSpec::try_from(&topic.spec) {
            Err(violations) => lines(violations),
            Ok(spec) => lines(rules::check_topic_change(12, spec.partitions.unwrap_or(1))),
        },
        Manifest::BrokerCluster(cluster) => {
            let before = case.before.map(|_| 3);
            let mut broken = rules::check_brokers(before, cluster.spec.brokers);
            broken.extend(cluster.spec.topic_defaults().err().unwrap_or_default());
            lines(broken)
        }
        Manifest::ConsumerGroup(group) => lines(group.spec.violations()),
    }
}

fn check(api: &KubeApi, kind: &str, cases: &[Case]) {
    let mut findings = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let name = format!("case-{index}");
        if let Some(before) = case.before {
            api.apply(&text(kind, &name, before), &[]).expect_success();
        }
        let said = api.apply(&text(kind, &name, case.spec), &[]).stderr;
        if !said.contains(case.rule.message) {
            findings.push(format!("the API server, of {}: {said:?}", case.spec));
        }
        let said = said_in_rust(kind, case);
        if !said.contains(case.rule.message) && !KUBERNETES_ONLY.contains(&case.rule) {
            findings.push(format!("Rust, of {}: {said:?}", case.spec));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

fn api_with_crds() -> KubeApi {
    let api = KubeApi::start();
    let crds = workspace_root().join("crds/yaml");
    api.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])
        .expect_success();
    api.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--all",
        "crd",
        "--timeout=30s",
    ])
    .expect_success();
    api
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn each_rule_is_broken_with_the_same_message_in_rust_and_by_the_api_server() {
    let api = api_with_crds();
    check(&api, "Topic", TOPIC_CASES);
    check(&api, "BrokerCluster", CLUSTER_CASES);
    check(&api, "BrokerCluster", DEFAULT_TOPIC_CASES);
    check(&api, "ConsumerGroup", GROUP_CASES);
}

/// Specs on the edge of what the API server takes, and over it where Rust counts in fewer bits.
const EDGES: [(&str, &str); 14] = [
    ("Topic", "{retention: {bytesPerPartition: 4Ei}}"),
    ("Topic", "{retention: {bytesPerPartition: 1.3Gi}}"),
    ("Topic", "{retention: {bytesPerPartition: 4.6E}}"),
    (
        "Topic",
        "{retention: {time: 999999h9999999m999999999s999999999999ms}}",
    ),
    ("Topic", "{minInSync: 5000000000}"),
    ("Topic", "{partitions: 5000000000}"),
    ("Topic", "{replicas: -1}"),
    (
        "BrokerCluster",
        "{brokers: 1, storage: {size: 1Gi}, podTemplate: {topologySpreadConstraints: [{maxSkew: 5000000000, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}}",
    ),
    (
        "BrokerCluster",
        "{brokers: 1, storage: {size: 1Gi}, resources: {requests: {cpu: 1, memory: 1Gi}}}",
    ),
    (
        "ConsumerGroup",
        "{startFrom: {position: Timestamp, timestamp: '2013-01-24T00:00:00.123456789+05:30'}}",
    ),
    (
        "ConsumerGroup",
        "{startFrom: {position: Timestamp, timestamp: '2013-01-24t00:00:60z'}}",
    ),
    (
        "ConsumerGroup",
        "{startFrom: {position: Timestamp, timestamp: '2013-01-24 00:00:00'}}",
    ),
    (
        "ConsumerGroup",
        "{topics: [], objectives: {}, assignment: {}}",
    ),
    (
        "ConsumerGroup",
        "{offsetRetention: 999999h9999999m999999999s999999999999ms}",
    ),
];

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn what_the_api_server_accepts_can_be_read() {
    let api = api_with_crds();
    for (index, (kind, spec)) in EDGES.into_iter().enumerate() {
        let text = text(kind, &format!("edge-{index}"), spec);
        let is_accepted = api.apply(&text, &[]).code == Some(0);
        let read = manifest::parse(&text);
        assert!(!is_accepted || read.is_ok(), "{spec}: {read:?}");
    }
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_cluster_whose_pods_could_not_be_named_is_refused() {
    let api = api_with_crds();
    let spec = "{brokers: 1, storage: {size: 1Gi}}";
    let longest = "a".repeat(52);
    api.apply(&text("BrokerCluster", &longest, spec), &[])
        .expect_success();
    for name in ["a.b", "1st", &"a".repeat(53)] {
        let said = api
            .apply(&text("BrokerCluster", name, spec), &[])
            .expect_failure();
        assert!(said.contains(rules::CLUSTER_NAME_VALID.message), "{said}");
    }
}

/// A rule that two resources share names the field of the one that was written.
#[test]
fn a_rule_of_the_defaults_names_the_field_where_it_stands() {
    for case in DEFAULT_TOPIC_CASES {
        let said = said_in_rust("BrokerCluster", case);
        let field = case.rule.field.replacen("spec", "spec.defaults.topic", 1);
        assert_eq!(said, format!("{field}: {}", case.rule.message));
    }
}

#[test]
fn each_rule_of_the_crds_is_in_the_table() {
    for rule in DEFAULT_TOPIC_RULES {
        assert!(
            DEFAULT_TOPIC_CASES.iter().any(|case| case.rule == *rule),
            "{rule:?}"
        );
    }
    for rule in TOPIC_RULES {
        assert!(
            TOPIC_CASES.iter().any(|case| case.rule == *rule),
            "{rule:?}"
        );
    }
    for rule in GROUP_RULES {
        assert!(
            GROUP_CASES.iter().any(|case| case.rule == *rule),
            "{rule:?}"
        );
    }
    for rule in CLUSTER_RULES {
        assert!(
            CLUSTER_CASES.iter().any(|case| case.rule == *rule),
            "{rule:?}"
        );
    }
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn an_unknown_field_is_named_by_the_api_server() {
    let api = api_with_crds();
    let said = api
        .apply(
            &text("Topic", "t", "{partition: 3}"),
            &["--validate=strict"],
        )
        .expect_failure();
    assert!(said.contains("unknown field \"spec.partition\""), "{said}");
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn the_api_server_writes_no_defaults_into_a_spec() {
    let api = api_with_crds();
    api.apply(&text("Topic", "plain", "{}"), &[])
        .expect_success();
    let spec = api
        .kubectl(&["get", "topic", "plain", "--output", "jsonpath={.spec}"])
        .expect_success();
    assert_eq!(spec, "{}");
}
