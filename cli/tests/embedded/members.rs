//! Members that restart, and members that take their time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{FLIGHTS, example, with_flights};
use crate::{
    dev::{Dev, until},
    groups::{Follower, json, lags_of},
};

const PODS: [&str; 3] = ["pod-0", "pod-1", "pod-2"];

fn pod(dev: &Dev, name: &str) -> Follower {
    let what = ["flights", "--group", "billing", "--instance-id", name];
    Follower::consuming(dev, name, &what)
}

/// What a member has, and since which assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    epoch: u64,
    partitions: BTreeSet<u64>,
}

/// By member, once all three are connected and have what they are to have.
fn shares(dev: &Dev) -> Option<BTreeMap<String, Share>> {
    let described = dev.run(&["groups", "describe", "billing", "-o", "json"]);
    // Nobody has joined yet: no such group.
    let group: Value = serde_json::from_str(&described.stdout).ok()?;
    let members = group["members"].as_array().expect("a list");
    let partitions = group["partitions"].as_array().expect("a list");
    let share = |member: &Value| {
        let of = |at: &&Value| at["member"] == member["name"];
        let partitions = partitions.iter().filter(of);
        Share {
            epoch: member["epoch"].as_u64().expect("a number"),
            partitions: partitions
                .filter_map(|at| at["partition"].as_u64())
                .collect(),
        }
    };
    let name = |member: &Value| member["name"].as_str().expect("a name").to_owned();
    let connected = members.iter().filter(|member| member["connected"] == true);
    let shares: BTreeMap<_, _> = connected.map(|m| (name(m), share(m))).collect();
    let is_whole = group["state"] == "Stable" && shares.len() == PODS.len();
    is_whole.then_some(shares)
}

/// Ends a member with this signal, starts it again, and checks that it has what it had, and that nothing happened to the others.
fn restart(dev: &Dev, pods: &mut [Follower], index: usize, signal: Signal) {
    let before = shares(dev).expect("all are there");
    let name = PODS[index];
    pods[index].end(signal);
    pods[index] = pod(dev, name);
    let after = until("it is back", || {
        let shares = shares(dev)?;
        (shares[name].epoch > before[name].epoch).then_some(shares)
    });
    for pod in PODS {
        if pod == name {
            assert_eq!(after[pod].partitions, before[pod].partitions, "{pod}");
        } else {
            assert_eq!(after[pod], before[pod], "{pod} noticed it");
        }
    }
}

#[test]
fn a_rolling_restart_of_static_members_moves_nothing() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let mut pods = PODS.map(|name| pod(&dev, name));
    let first = until("each has a partition", || {
        shares(&dev).filter(|shares| shares.values().all(|share| share.partitions.len() == 1))
    });
    for index in 0..PODS.len() {
        restart(&dev, &mut pods, index, Signal::TERM);
    }
    restart(&dev, &mut pods, 1, Signal::KILL);
    let last = shares(&dev).expect("all are there");
    for pod in PODS {
        assert_eq!(last[pod].partitions, first[pod].partitions);
    }
}

#[test]
fn a_group_that_reads_slowly_on_purpose_holds_up_no_other_one() {
    const BATCH: u64 = 16 << 10;
    let dev = Dev::start(&[]);
    let manifest = fs::read_to_string(example("topic.yaml")).expect("readable");
    let small = format!("{manifest}  limits: {{maxBatchBytes: 16Ki}}\n");
    dev.ok(&["apply", "-f", &dev.file("small.yaml", &small)]);
    dev.ok(&["produce", "flights", &example("flights-2013-01.csv.gz")]);
    let sum = |list: &Value, field: &str| -> u64 {
        let items = list["items"].as_array().expect("a list");
        items.iter().filter_map(|item| item[field].as_u64()).sum()
    };
    let bytes = until("the size of it all", || {
        let list = json(&dev, &["get", "partitions", "flights"]);
        (sum(&list, "logEndOffset") == FLIGHTS as u64).then(|| sum(&list, "bytes"))
    });
    let rate = bytes / 8;
    let begun = Instant::now();
    let what = ["flights", "--group", "side", "--rate", &rate.to_string()];
    let side = Follower::consuming(&dev, "side.jsonl", &what);
    until("it reads", || (!side.seen().is_empty()).then_some(()));
    let first = Follower::start(&dev, "first.jsonl");
    until("the other group has read all", || {
        (first.seen().len() == FLIGHTS).then_some(())
    });
    assert!(side.seen().len() < FLIGHTS, "it is in no hurry");
    until("that is committed", || {
        (lags_of(&dev, "billing") == [0, 0, 0]).then_some(())
    });
    until("it has read all, too", || {
        (side.seen().len() == FLIGHTS).then_some(())
    });
    // Behind the last batch nothing waits.
    let least = (bytes - BATCH) as f64 / rate as f64;
    assert!(begun.elapsed() >= Duration::from_secs_f64(least));
}
