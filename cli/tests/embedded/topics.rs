//! Flags of the commands that change topics and fill them.

use crate::{
    dev::{Dev, until},
    example, segment_with_data,
};

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let dev = Dev::start(&[]);
    let apply = ["apply", "-f", &example("topic.yaml"), "--dry-run"];
    assert_eq!(dev.ok(&apply), "topic/flights created (dry run)\n");
    let ended = dev.run(&["describe", "flights"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
}

#[test]
fn the_topics_of_a_manifest_are_deleted() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let said = dev.ok(&["delete", "-f", &example("topic.yaml")]);
    assert!(said.starts_with("topic/flights deleted: "), "{said}");
    let ended = dev.run(&["describe", "flights"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
}

#[test]
fn records_arrive_with_any_acks() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let all = ["none", "leader", "all"];
    for acks in all {
        let produce = ["produce", "flights", "-", "--acks", acks];
        dev.ok_with(&produce, format!("{acks}\n").as_bytes());
    }
    // Nobody has said that the one without acks is stored.
    until("all of them", || {
        let read = dev.ok(&["consume", "flights", "-o", "raw"]);
        let lines: Vec<_> = read.lines().collect();
        all.iter().all(|acks| lines.contains(acks)).then_some(())
    });
}

#[test]
fn an_offset_without_a_partition_is_refused() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let ended = dev.run(&["consume", "flights", "--from", "7"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("needs --partition"),
        "{}",
        ended.stderr
    );
}

#[test]
fn records_are_dumped_where_they_are_asked_for() {
    let mut dev = Dev::start(&["-f", &example("topic.yaml")]);
    dev.ok_with(&["produce", "flights", "-"], b"late again\n");
    dev.terminate();
    let segment = segment_with_data(&dev.data());
    let partition = segment.parent().and_then(|dir| dir.to_str()).expect("text");
    let batches = dev.ok(&["log", "dump", partition]);
    assert!(!batches.contains("late again"), "{batches}");
    let records = dev.ok(&["log", "dump", "--records", partition]);
    assert!(records.starts_with(&batches), "{records}");
    let record = records[batches.len()..].trim_end();
    assert!(record.contains("/0\t"), "{record}");
    assert!(record.ends_with("\tlate again"), "{record}");
}
