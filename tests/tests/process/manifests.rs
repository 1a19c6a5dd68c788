//! Manifests that are refused: each with what is wrong, where, and what to do. Nothing else is disturbed.

use taffrail_tests::{consumed, dev::Dev, manifest};

/// A spec, and what its refusal must say.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "partition: 3",
        &["spec", "unknown field `partition`", "partitions"],
    ),
    ("partitions: many", &["spec.partitions", "many"]),
    (
        "partitions: 0",
        &["spec.partitions", "partitions must be between 1 and 10000"],
    ),
    ("replicas: 2", &["NOT_ENOUGH_BROKERS"]),
    (
        "minInSync: 0",
        &["spec.minInSync", "minInSync must be at least 1"],
    ),
    (
        "minInSync: 2",
        &["spec.minInSync", "minInSync is larger than replicas"],
    ),
    (
        "retention: {time: 2 weeks}",
        &["spec.retention.time", "is not a duration", "168h"],
    ),
    (
        "retention: {time: 0s}",
        &["spec.retention.time", "at least 1s"],
    ),
    (
        "cleanup: Compact\n  retention: {time: 1h}",
        &["spec.retention", "cleanup: CompactAndDelete"],
    ),
    (
        "compaction: {minLag: 1m}",
        &["spec.compaction", "cleanup: Compact"],
    ),
    (
        "cleanup: Squeeze",
        &["spec.cleanup", "Squeeze", "CompactAndDelete"],
    ),
    (
        "segment: {bytes: 12 parsecs}",
        &["spec.segment.bytes", "is not a size", "512Mi"],
    ),
    (
        "segment: {bytes: 1Ki}",
        &["spec.segment.bytes", "between 1Mi and 2Gi"],
    ),
    (
        "limits: {maxBatchBytes: 1Gi}",
        &["spec.limits.maxBatchBytes", "between 1Ki and 16Mi"],
    ),
    (
        "durability: Sometimes",
        &["spec.durability", "Sometimes", "Fsync"],
    ),
    (
        "deletionPolicy: Forget",
        &["spec.deletionPolicy", "Forget", "Retain"],
    ),
    ("topicName: a/b", &["spec.topicName", "letters, digits"]),
    ("topicName: __offsets", &["spec.topicName", "internal"]),
];

#[test]
fn each_bad_manifest_is_refused_with_its_field_and_what_to_do() {
    let dev = Dev::start("bad-manifests");
    dev.apply(&manifest::topic("healthy", &[]));
    let mut findings = Vec::new();
    for (spec, expected) in REFUSED {
        let answer = dev.try_apply(&manifest::topic("bad", &[spec]));
        for part in *expected {
            if answer.code == Some(0) || !answer.stderr.contains(part) {
                findings.push(format!("{spec}: {part:?} is not in {:?}", answer.stderr));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert!(consumed::consume(&dev, "healthy").is_empty());
}

#[test]
fn what_is_no_resource_of_ours_is_refused_by_its_kind() {
    let dev = Dev::start("bad-kind");
    let text = manifest::topic("t", &[]).replace("kind: Topic", "kind: Topik");
    let said = dev.try_apply(&text).expect_failure();
    assert!(said.contains("Topik") && said.contains("Topic"), "{said}");
}

#[test]
fn what_is_no_yaml_is_refused_with_its_line() {
    let dev = Dev::start("bad-yaml");
    let said = dev.try_apply("kind: [Topic\n").expect_failure();
    assert!(said.contains("line"), "{said}");
}
