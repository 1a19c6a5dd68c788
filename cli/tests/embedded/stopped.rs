//! A partition whose next records are gone.

use serde_json::Value;

use super::json_lines;
use crate::{
    dev::{Dev, until},
    groups::{Follower, json},
};

const TOPIC: &str = "apiVersion: taffrail.dev/v1alpha1
kind: Topic
metadata: {name: flights}
spec:
  partitions: 2
  retention: {bytesPerPartition: 1Mi}
  segment: {bytes: 1Mi}
";

fn produce(dev: &Dev, key: &str, values: &[String]) {
    let line = |value: &String| format!("{key},{value}");
    let lines: Vec<String> = values.iter().map(line).collect();
    let file = dev.file("records.csv", &format!("key,value\n{}\n", lines.join("\n")));
    dev.ok(&["produce", "flights", &file, "--key-field", "key"]);
}

/// Text that does not get much smaller when it is compressed.
fn noise(len: usize, mut seed: u64) -> String {
    let mut digit = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from_digit((seed >> 60) as u32, 16).expect("below 16")
    };
    (0..len).map(|_| digit()).collect()
}

/// The partition that each of two keys belongs to: another one for the other key.
fn keys(dev: &Dev) -> [(String, u64); 2] {
    let mut found: Vec<(String, u64)> = Vec::new();
    for key in 'a'..='z' {
        produce(dev, &key.to_string(), &["first".to_owned()]);
        let read = dev.ok(&["consume", "flights", "-o", "json"]);
        let records = json_lines(&read);
        let is_of_key = |record: &&Value| record["key"] == key.to_string();
        let record = records.iter().find(is_of_key).expect("it was written");
        let partition = record["partition"].as_u64().expect("a number");
        if found.iter().all(|(_, known)| *known != partition) {
            found.push((key.to_string(), partition));
        }
        if let [one, other] = &found[..] {
            return [one.clone(), other.clone()];
        }
    }
    unreachable!("all keys are in one partition")
}

/// Offsets of a partition that are there, as its leader says it now.
fn range(dev: &Dev, partition: u64) -> (u64, u64) {
    let end = |to: &str| {
        let of = ["--topic", "flights", "--partition", &partition.to_string()];
        let reset = ["groups", "reset", "billing", "--to", to, "--dry-run"];
        let list = json(dev, &[&reset[..], &of].concat());
        list["items"][0]["to"].as_u64().expect("an offset")
    };
    (end("earliest"), end("latest"))
}

/// A group that has committed an offset that is gone since, and the keys of the partition of which it is and of the other one.
fn behind(dev: &Dev) -> [(String, u64); 2] {
    dev.ok(&["apply", "-f", &dev.file("topic.yaml", TOPIC)]);
    let [gone, other] = keys(dev);
    dev.ok(&["consume", "flights", "--group", "billing"]);
    let (_, committed) = range(dev, gone.1);
    let much: Vec<String> = (0..4_000).map(|n| noise(1_000, n)).collect();
    produce(dev, &gone.0, &much);
    until("what is next is gone", || {
        (range(dev, gone.1).0 > committed).then_some(())
    });
    [gone, other]
}

#[test]
fn the_other_partitions_are_read_to_their_end_and_the_command_says_what_was_not() {
    let dev = Dev::start(&[]);
    let [(_, gone), (key, partition)] = behind(&dev);
    produce(&dev, &key, &["second".to_owned()]);
    let ended = dev.run(&["consume", "flights", "--group", "billing", "-o", "json"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let read = json_lines(&ended.stdout);
    assert_eq!(read.len(), 1, "{}", ended.stdout);
    assert_eq!(read[0]["partition"], partition);
    let (start, end) = range(&dev, gone);
    for part in [
        "error[OFFSET_OUT_OF_RANGE]",
        &format!("flights/{gone}"),
        &start.to_string(),
        &end.to_string(),
        "not all partitions were read",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let again = dev.run(&["consume", "flights", "--group", "billing"]);
    assert_eq!(again.stdout, "", "that one was committed");
}

#[test]
fn a_member_that_follows_goes_on_with_the_others_and_with_that_one_when_it_is_reset() {
    let dev = Dev::start(&[]);
    let [(_, gone), (key, partition)] = behind(&dev);
    let member = Follower::start(&dev, "member.jsonl");
    until("it says so", || {
        let said = member.said();
        said.contains(&format!("flights/{gone}")).then_some(())
    });
    for n in 1..=3 {
        produce(&dev, &key, &["more".to_owned()]);
        until("the other one is read", || {
            (member.seen().len() == n).then_some(())
        });
    }
    assert!(member.seen().iter().all(|(of, _)| *of == partition));
    let one = ["--topic", "flights", "--partition", &gone.to_string()];
    let reset = ["groups", "reset", "billing", "--to", "earliest"];
    dev.ok(&[&reset[..], &one].concat());
    let (start, end) = range(&dev, gone);
    until("the rest of it is read", || {
        let seen = member.seen();
        let last = seen.iter().rfind(|(of, _)| *of == gone);
        last.is_some_and(|(_, offset)| offset + 1 == end)
            .then_some(())
    });
    let seen = member.seen();
    let read = seen.iter().filter(|(of, _)| *of == gone).count();
    assert_eq!(read as u64, end - start);
}
