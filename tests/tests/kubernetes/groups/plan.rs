//! What a plan says of a group with a policy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use taffrail_tests::{
    manifest,
    operated::{Broker, Operated},
    process::Process,
    wait,
};

use super::{consuming, declare, start_with_flights};

/// A static member that reads what is declared.
fn static_member(operated: &Operated, broker: &Broker, name: &str) -> Process {
    let as_ = ["--group", "billing", "--follow", "--instance-id", name];
    consuming(operated, broker, name, &[&["consume"], &as_[..]].concat())
}

/// Members and what each of them reads, as a list of `taffrail` says it.
fn reads(
    list: &Value,
    of: impl Fn(&Value) -> (String, Vec<String>),
) -> BTreeMap<String, BTreeSet<String>> {
    let mut reads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in list.as_array().into_iter().flatten() {
        let (member, partitions) = of(row);
        reads.entry(member).or_default().extend(partitions);
    }
    reads
}

#[test]
#[ignore = "needs etcd and kube-apiserver: cargo xtask ci"]
fn a_plan_goes_by_the_strategy_and_topics_that_are_declared() {
    let (operated, broker) = start_with_flights();
    let orders = manifest::topic("orders", &["partitions: 3"]);
    operated.apply_and_wait(&orders, "topic/orders");
    let range = "assignment: {strategy: Range}";
    declare(
        &operated,
        &["topics: [{name: flights}, {pattern: 'ord.*'}]", range],
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let held = || {
        let describe = ["groups", "describe", "billing", "-o", "json"];
        let described = broker.taffrail(&describe);
        // Nobody has joined yet: no such group.
        let described: Value = serde_json::from_str(&described.stdout).ok()?;
        let held = reads(&described["partitions"], |row| {
            let at = format!("{}/{}", text(&row["topic"]), row["partition"]);
            (text(&row["member"]), vec![at])
        });
        (described["state"] == "Stable").then_some(held)
    };
    let planned_of = |plan: &str| {
        let plan: Value = serde_json::from_str(plan).expect("JSON");
        reads(&plan["items"], |row| {
            let reads = row["reads"].as_array().into_iter().flatten();
            let member = text(&row["member"]).replace("(new 1)", "pod-1");
            (member, reads.map(text).collect())
        })
    };
    let plan = [
        "plan",
        "group",
        "billing",
        "--members",
        "2",
        "--output=json",
    ];
    // Before anybody has joined it is planned as it will be.
    let ahead = wait::until("the policy", wait::PATIENCE, || {
        let answer = broker.taffrail(&plan);
        (answer.code == Some(0)).then(|| planned_of(&answer.stdout))
    });
    let _first = static_member(&operated, &broker, "pod-0");
    wait::until("a member", wait::PATIENCE, || {
        held().filter(|held| held.keys().eq(["pod-0"]))
    });
    let planned = planned_of(&broker.taffrail(&plan).expect_success());
    // Whoever is who.
    let shares = |plan: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<BTreeSet<String>> {
        plan.values().cloned().collect()
    };
    assert_eq!(shares(&ahead), shares(&planned));
    // By range the first one has the larger part of each topic.
    let first = ["flights/0", "flights/1", "orders/0", "orders/1"];
    assert_eq!(planned["pod-0"], first.map(str::to_owned).into());
    let _second = static_member(&operated, &broker, "pod-1");
    let both = wait::until("both", wait::PATIENCE, || {
        held().filter(|held| held.len() == 2)
    });
    assert_eq!(both, planned);
}
