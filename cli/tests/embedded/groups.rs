//! Consumer groups as a person uses them.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use taffrail_client::{Client, ClientConfig};
use taffrail_core::ErrorCode;
use tokio::time::timeout;

use super::{FLIGHTS, json_lines, with_flights};
use crate::dev::{Dev, START_DEADLINE, until};

fn consume(dev: &Dev, more: &[&str]) -> Vec<(u64, u64)> {
    let arguments = ["consume", "flights", "--group", "billing", "-o", "json"];
    places(&dev.ok(&[&arguments[..], more].concat()))
}

fn places(out: &str) -> Vec<(u64, u64)> {
    let number = |record: &Value, field: &str| record[field].as_u64().expect("a number");
    json_lines(out)
        .iter()
        .map(|record| (number(record, "partition"), number(record, "offset")))
        .collect()
}

pub(crate) fn json(dev: &Dev, arguments: &[&str]) -> Value {
    let out = dev.ok(&[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&out).expect("JSON")
}

pub(crate) fn lags(dev: &Dev) -> Vec<u64> {
    lags_of(dev, "billing")
}

pub(crate) fn lags_of(dev: &Dev, group: &str) -> Vec<u64> {
    let lag = json(dev, &["groups", "lag", group]);
    let items = lag["items"].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["lag"].as_u64().expect("a number"))
        .collect()
}

#[test]
fn a_group_reads_every_flight_once_and_goes_on_where_it_was() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let mut seen = consume(&dev, &["--max", "1000"]);
    assert_eq!(seen.len(), 1_000);
    seen.extend(consume(&dev, &[]));
    assert_eq!(seen.len(), FLIGHTS, "none twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), FLIGHTS);
    assert_eq!(consume(&dev, &[]), []);
    assert_eq!(lags(&dev), [0, 0, 0]);
    let groups = json(&dev, &["groups", "list"]);
    assert_eq!(groups["items"][0]["name"], "billing");
    assert_eq!(groups["items"][0]["state"], "Empty");
    let table = dev.ok(&["groups", "describe", "billing"]);
    for part in ["Name:", "billing", "Empty", "flights"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    let line = |label: &str| {
        let found = table.lines().find_map(|line| line.strip_prefix(label));
        found.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(line("Coordinator:"), "broker-0");
    assert_eq!(line("Strategy:"), "Sticky");
    assert_eq!(line("Topics:"), "what members name");
    assert_eq!(line("Offsets kept:"), "720h");
}

#[test]
fn a_member_that_names_no_topics_is_refused_for_good_where_no_policy_could_name_them() {
    let dev = Dev::start(&[]);
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let refused = async {
        let config = ClientConfig {
            bootstrap: vec![dev.address().to_owned()],
            ..ClientConfig::default()
        };
        let client = Client::connect(config).await.expect("a broker answers");
        client.group("billing").join().await.expect_err("no topics")
    };
    let refused = runtime.block_on(async { timeout(START_DEADLINE, refused).await });
    let refused = refused.expect("in time");
    assert_eq!(refused.code(), ErrorCode::InvalidRequest, "{refused}");
    let ended = dev.run(&["consume", "--group", "billing"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for part in [
        "error[INVALID_REQUEST]",
        "policy",
        "taffrail consume TOPIC --group NAME",
    ] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
}

#[test]
fn a_reset_moves_a_group_and_a_dry_run_does_not() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    assert_eq!(consume(&dev, &[]).len(), FLIGHTS);
    let reset = |more: &[&str]| {
        let ended = dev.run(&[&["groups", "reset", "billing"], more].concat());
        (ended.code, ended.stdout, ended.stderr)
    };
    let (code, table, summary) = reset(&["--to", "earliest", "--dry-run"]);
    assert_eq!(code, Some(0), "{summary}");
    assert!(table.contains("read again"), "{table}");
    assert!(
        summary.contains("27,004 records would be read again"),
        "{summary}"
    );
    assert_eq!(consume(&dev, &[]), []);

    let (code, _, summary) = reset(&["--to", "earliest"]);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(lags(&dev).iter().sum::<u64>(), FLIGHTS as u64);
    assert_eq!(consume(&dev, &[]).len(), FLIGHTS);

    let one = ["--topic", "flights", "--partition", "1"];
    let (code, ..) = reset(&[&one[..], &["--to", "7"]].concat());
    assert_eq!(code, Some(0));
    assert_eq!(consume(&dev, &["--max", "1"]), [(1, 7)]);

    until("the controller knows the lag, and how old it is", || {
        let group = json(&dev, &["groups", "list"])["items"][0].clone();
        let is_known = group["lagMs"].as_u64() > Some(0) && group["lag"].as_u64() > Some(0);
        // What it says of the group may be from before the reset.
        let lag = json(&dev, &["groups", "lag", "billing"]);
        let is_of_partition = lag["items"][1]["lagMs"].as_u64() > Some(0);
        (is_known && is_of_partition).then_some(())
    });

    let (code, _, message) = reset(&[&one[..], &["--to", "99999999"]].concat());
    assert_eq!(code, Some(4), "{message}");
    assert!(message.contains("OFFSET_OUT_OF_RANGE"), "{message}");
    let (code, _, message) = reset(&["--to", "7"]);
    assert_eq!(code, Some(2), "{message}");
    // All flights are of 2013.
    let (code, ..) = reset(&["--to", "-1h"]);
    assert_eq!(code, Some(0));
    assert_eq!(lags(&dev), [0, 0, 0]);
}

#[test]
fn what_is_not_a_group_is_not_found() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    for command in [
        &["groups", "describe", "nobody"][..],
        &["groups", "lag", "nobody"],
        &["groups", "delete", "nobody"],
        &["groups", "reset", "nobody", "--to", "earliest"],
    ] {
        let ended = dev.run(command);
        assert_eq!(ended.code, Some(4), "{command:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("error[UNKNOWN_GROUP]"),
            "{}",
            ended.stderr
        );
    }
    assert!(dev.ok(&["groups", "list"]).contains("no groups"));
}

/// A member that follows, and what it printed.
pub(crate) struct Follower {
    child: Child,
    out: String,
    said: String,
}

impl Follower {
    pub(crate) fn start(dev: &Dev, name: &str) -> Self {
        Self::of_group(dev, "billing", name)
    }

    fn of_group(dev: &Dev, group: &str, name: &str) -> Self {
        Self::consuming(dev, name, &["flights", "--group", group])
    }

    /// `what` follows `consume`.
    pub(crate) fn consuming(dev: &Dev, name: &str, what: &[&str]) -> Self {
        let (out, said) = (dev.file(name, ""), dev.file(&format!("{name}.err"), ""));
        let child = Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["consume", "--follow", "-o", "json"])
            .args(what)
            .env("TAFFRAIL_SERVER", dev.address())
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("writable"))
            .stderr(File::create(&said).expect("writable"))
            .spawn()
            .expect("the binary starts");
        Self { child, out, said }
    }

    pub(crate) fn seen(&self) -> Vec<(u64, u64)> {
        let text = fs::read_to_string(&self.out).expect("readable");
        // The last line may not be there as a whole.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        places(whole)
    }

    /// On its standard error.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("readable")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// SIGTERM: it commits and leaves.
    fn stop(&mut self) {
        assert!(self.end(Signal::TERM).success());
    }

    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().expect("it ended")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn members_with_partitions(dev: &Dev) -> Option<usize> {
    let ended = dev.run(&["groups", "describe", "billing", "-o", "json"]);
    let group: Value = serde_json::from_str(&ended.stdout).ok()?;
    let members = group["members"].as_array()?;
    let has_some = |member: &&Value| member["partitions"].as_u64() > Some(0);
    (group["state"] == "Stable").then(|| members.iter().filter(has_some).count())
}

#[test]
fn members_share_the_partitions_and_who_stays_reads_on_for_who_leaves() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let mut first = Follower::start(&dev, "first.jsonl");
    until("the first one has everything", || {
        (members_with_partitions(&dev) == Some(1)).then_some(())
    });
    let second = Follower::start(&dev, "second.jsonl");
    until("they share", || {
        (members_with_partitions(&dev) == Some(2)).then_some(())
    });
    let refused = dev.run(&["groups", "delete", "billing"]);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    dev.ok_with(&["produce", "flights", "-"], b"a\nb\nc\nd\ne\nf\n");
    let total = FLIGHTS + 6;
    let all = |followers: &[&Follower]| -> Vec<(u64, u64)> {
        followers
            .iter()
            .flat_map(|follower| follower.seen())
            .collect()
    };
    until("all are read", || {
        (all(&[&first, &second]).len() >= total).then_some(())
    });
    first.stop();
    until("the second one has everything", || {
        (members_with_partitions(&dev) == Some(1)).then_some(())
    });
    let records: Vec<String> = (0..30).map(|i| format!("after {i}\n")).collect();
    dev.ok_with(&["produce", "flights", "-"], records.concat().as_bytes());
    until("it reads on", || {
        (all(&[&first, &second]).len() >= total + 30).then_some(())
    });
    let seen = all(&[&first, &second]);
    let once: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(
        (seen.len(), once.len()),
        (total + 30, total + 30),
        "nobody crashed: none twice"
    );
    drop(second);
}

#[test]
fn a_member_that_stands_still_and_a_group_far_behind_hold_up_nobody_else() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    // Far behind, and in no hurry.
    dev.ok(&["consume", "flights", "--group", "archive", "--max", "10"]);
    let archive = Follower::of_group(&dev, "archive", "archive.jsonl");
    archive.signal(Signal::STOP);
    let stopped = Follower::of_group(&dev, "stopped", "stopped.jsonl");
    until("it reads", || (!stopped.seen().is_empty()).then_some(()));
    stopped.signal(Signal::STOP);
    let at = stopped.seen().len();
    let others = Follower::start(&dev, "others.jsonl");
    // More than fits between a broker and a member that does not read.
    for _ in 0..5 {
        with_flights(&dev);
    }
    until("the others have read all of it", || {
        (others.seen().len() == 6 * FLIGHTS).then_some(())
    });
    assert_eq!(stopped.seen().len(), at, "it stands still");
    assert!(lags_of(&dev, "stopped").iter().sum::<u64>() >= 5 * FLIGHTS as u64);
    stopped.signal(Signal::CONT);
    until("it goes on", || {
        let seen: BTreeSet<_> = stopped.seen().into_iter().collect();
        (seen.len() == 6 * FLIGHTS).then_some(())
    });
    archive.signal(Signal::CONT);
}
