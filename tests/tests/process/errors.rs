//! Requests that cannot be carried out: a stable code, and what to do.

use taffrail_tests::{dev::Dev, manifest, process::Process, wait};

#[test]
fn a_topic_that_does_not_exist_is_named() {
    let dev = Dev::start("unknown-topic");
    for args in [
        &["consume", "nowhere"][..],
        &["describe", "nowhere"],
        &["delete", "nowhere"],
    ] {
        let said = dev.taffrail(args).expect_failure();
        assert!(
            said.contains("UNKNOWN_TOPIC") && said.contains("nowhere"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_partition_that_does_not_exist_is_named() {
    let dev = Dev::start("unknown-partition");
    dev.apply(&manifest::topic("events", &["partitions: 2"]));
    let said = dev
        .taffrail(&["consume", "events", "--partition", "9"])
        .expect_failure();
    assert!(
        said.contains("UNKNOWN_PARTITION") && said.contains('9'),
        "{said}"
    );
}

#[test]
fn an_offset_out_of_range_says_the_range() {
    let dev = Dev::start("out-of-range");
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let three = dev.scratch().write("three.txt", "one\ntwo\nthree\n");
    dev.taffrail(&["produce", "events", &three.to_string_lossy()])
        .expect_success();
    let said = dev
        .taffrail(&["consume", "events", "--partition", "0", "--from", "1000"])
        .expect_failure();
    assert!(
        said.contains("OFFSET_OUT_OF_RANGE") && said.contains("it has 0 to 3"),
        "{said}"
    );
}

#[test]
fn where_nobody_listens_the_address_is_named() {
    let mut dev = Dev::start("nobody");
    let address = dev.address().to_string();
    dev.stop();
    let said = dev.taffrail(&["get", "topics"]).expect_failure();
    assert!(said.contains(&address), "{said}");
}

#[test]
fn whoever_says_wait_goes_on_when_the_cluster_and_the_topic_have_come() {
    let mut dev = Dev::start("wait");
    dev.stop();
    let mut waiting = dev.command();
    waiting.args(["consume", "events", "--wait=60s", "--follow", "--max=1"]);
    let log = dev.scratch().path().join("waiting.log");
    let mut waiting = Process::start(&mut waiting, &log);
    dev.restart();
    assert!(!waiting.has_ended(), "{}", waiting.said());
    dev.apply(&manifest::topic("events", &["partitions: 1"]));
    let one = dev.scratch().write("one.txt", "one\n");
    dev.taffrail(&["produce", "events", &one.to_string_lossy(), "--wait=60s"])
        .expect_success();
    assert!(waiting.wait(wait::PATIENCE).success(), "{}", waiting.said());
    assert!(waiting.said().contains("one"), "{}", waiting.said());
    let said = dev
        .taffrail(&["produce", "nowhere", "--wait=1s"])
        .expect_failure();
    assert!(said.contains("UNKNOWN_TOPIC"), "{said}");
}

#[test]
fn a_record_above_the_topics_limit_is_refused_and_smaller_ones_go_on() {
    let dev = Dev::start("too-large");
    dev.apply(&manifest::topic(
        "events",
        &["limits: {maxBatchBytes: 4Ki}"],
    ));
    let large = dev.scratch().write("large.txt", &"x".repeat(10_000));
    let said = dev
        .taffrail(&["produce", "events", &large.to_string_lossy()])
        .expect_failure();
    assert!(said.contains("RECORD_TOO_LARGE"), "{said}");
    let small = dev.scratch().write("small.txt", "small\n");
    dev.taffrail(&["produce", "events", &small.to_string_lossy()])
        .expect_success();
}
