//! Resets of groups that are being read.

use super::{FLIGHTS, with_flights};
use crate::{
    dev::{Dev, Ended, until},
    groups::{Follower, json, lags},
};

/// Flights of 24 January 2013 and later, partition by partition from the first one of them on.
const FROM_24_JANUARY: usize = 7_396;

fn reset(dev: &Dev, more: &[&str]) -> Ended {
    let ended = dev.run(&[&["groups", "reset", "billing"], more].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

fn epoch(dev: &Dev) -> u64 {
    let described = json(dev, &["groups", "describe", "billing"]);
    described["epoch"].as_u64().expect("a number")
}

/// Waits until all that there is was read and committed.
fn until_read(dev: &Dev) {
    until("everything is committed", || {
        let lags = json(dev, &["groups", "lag", "billing"]);
        let lags = lags["items"].as_array().expect("a list");
        let is_read = lags.len() == 3 && lags.iter().all(|item| item["lag"] == 0);
        is_read.then_some(())
    });
}

#[test]
fn a_member_that_reads_goes_back_to_a_time_and_no_commit_undoes_it() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let member = Follower::start(&dev, "member.jsonl");
    until("it has read all", || {
        (member.seen().len() == FLIGHTS).then_some(())
    });
    let before = epoch(&dev);
    // What it has printed may not be committed yet: that commit comes too late.
    let said = reset(&dev, &["--to", "2013-01-24T00:00:00Z"]);
    assert!(epoch(&dev) > before, "commits of before do not count");
    until("it has read those again", || {
        (member.seen().len() >= FLIGHTS + FROM_24_JANUARY).then_some(())
    });
    until_read(&dev);
    let seen = member.seen();
    assert_eq!(seen.len(), FLIGHTS + FROM_24_JANUARY, "{}", said.stderr);
    let mut again = seen[FLIGHTS..].to_vec();
    again.sort_unstable();
    let total = again.len();
    again.dedup();
    assert_eq!(again.len(), total, "each of them once");
}

#[test]
fn a_dry_run_moves_nobody() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let member = Follower::start(&dev, "member.jsonl");
    until("it has read all", || {
        (member.seen().len() == FLIGHTS).then_some(())
    });
    until_read(&dev);
    let before = epoch(&dev);
    let said = reset(&dev, &["--to", "2013-01-24T00:00:00Z", "--dry-run"]);
    let again = "7,396 records would be read again";
    assert!(said.stderr.contains(again), "{}", said.stderr);
    assert_eq!(epoch(&dev), before);
    assert_eq!(lags(&dev), [0, 0, 0]);
    dev.ok_with(&["produce", "flights", "-"], b"one more\n");
    until_read(&dev);
    assert_eq!(member.seen().len(), FLIGHTS + 1);
}

#[test]
fn a_member_that_is_behind_goes_to_the_end_and_reads_on_there() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let slowly = ["flights", "--group", "billing", "--rate", "8Ki"];
    let member = Follower::consuming(&dev, "member.jsonl", &slowly);
    until("it reads", || (!member.seen().is_empty()).then_some(()));
    // Partitions of which it has committed nothing yet are among them.
    let all = ["--to", "latest", "--topic", "flights"];
    let said = reset(&dev, &all);
    assert!(said.stderr.contains(" skipped"), "{}", said.stderr);
    assert!(!said.stderr.contains(" 0 skipped"), "{}", said.stderr);
    until_read(&dev);
    dev.ok_with(&["produce", "flights", "-"], b"one more\n");
    let ends = json(&dev, &["groups", "lag", "billing"]);
    let ends = ends["items"].as_array().expect("a list");
    let ends: Vec<u64> = (ends.iter())
        .map(|item| item["end"].as_u64().expect("a number"))
        .collect();
    assert_eq!(ends.iter().sum::<u64>(), FLIGHTS as u64 + 1);
    until("it reads on", || {
        let seen = member.seen();
        let is_last = |(partition, offset): &(u64, u64)| ends[*partition as usize] == offset + 1;
        seen.last().is_some_and(is_last).then_some(())
    });
    until_read(&dev);
    let seen = member.seen().len();
    assert!(seen < FLIGHTS, "it skipped nothing");
}

#[test]
fn a_time_ago_is_counted_from_now() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let minutes_ago = |minutes: i64| format!("{},a\n", now_ms - minutes * 60_000);
    let records: String = [240, 150, 150, 90, 45, 40].map(minutes_ago).concat();
    let file = dev.file("records.csv", &format!("at,what\n{records}"));
    // One after the other into one partition.
    let keyed = ["--key-field", "what", "--timestamp-field", "at"];
    dev.ok(&[&["produce", "flights", &file], &keyed[..]].concat());
    dev.ok(&["consume", "flights", "--group", "billing"]);
    for (ago, again) in [("-10m", 0), ("-1h", 2), ("-2h", 3), ("-3h", 5), ("-5h", 6)] {
        let said = reset(&dev, &["--to", ago, "--dry-run"]);
        let expected = format!("{again} records would be read again, 0 skipped");
        assert!(said.stderr.contains(&expected), "{ago}: {}", said.stderr);
    }
    reset(&dev, &["--to", "-1h"]);
    assert_eq!(lags(&dev).iter().sum::<u64>(), 2);
}
