//! What a plan says is what is done afterwards.

use std::collections::BTreeMap;

use serde_json::Value;

use super::with_flights;
use crate::{
    dev::{Dev, until},
    groups::Follower,
};

fn items(dev: &Dev, arguments: &[&str]) -> Vec<Value> {
    let out = dev.ok(&[arguments, &["-o", "json"]].concat());
    let list: Value = serde_json::from_str(&out).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

/// Leader and brokers of each partition, as planned.
fn planned(dev: &Dev, arguments: &[&str]) -> BTreeMap<u64, usize> {
    let rows = items(dev, &[&["plan", "topic"], arguments].concat());
    let places = rows.iter().map(|row| {
        let brokers = row["brokers"].as_array().expect("a list");
        assert_eq!(row["leader"], brokers[0]);
        (row["partition"].as_u64().expect("a number"), brokers.len())
    });
    places.collect()
}

#[test]
fn a_topic_s_plan_says_where_new_partitions_go_and_makes_none() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    assert_eq!(
        planned(&dev, &["orders", "--partitions", "2"]),
        [(0, 1), (1, 1)].into()
    );
    assert!(!dev.ok(&["get", "topics"]).contains("orders"));
    assert_eq!(
        planned(&dev, &["flights", "--partitions", "5"]),
        [(3, 1), (4, 1)].into()
    );
    assert!(
        dev.ok(&["plan", "topic", "flights"])
            .contains("nothing would be placed")
    );
    let refused = dev.run(&["plan", "topic", "flights", "--partitions", "2"]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("partitions cannot shrink"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_group_s_plan_spreads_partitions_and_moves_as_few_as_it_must() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let plan = |more: &[&str]| items(&dev, &[&["plan", "group", "billing"], more].concat());
    let nobody = dev.run(&["plan", "group", "billing", "--members", "2"]);
    assert_eq!(nobody.code, Some(2), "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("name a --topic"),
        "{}",
        nobody.stderr
    );

    let of_flights = plan(&[
        "--members",
        "2",
        "--topic",
        "flights",
        "--strategy",
        "range",
    ]);
    let reads: Vec<&Value> = of_flights.iter().map(|row| &row["reads"]).collect();
    assert_eq!(
        reads,
        [
            &serde_json::json!(["flights/0", "flights/1"]),
            &serde_json::json!(["flights/2"])
        ]
    );

    let _member = Follower::start(&dev, "member.jsonl");
    until("a member reads all", || {
        let described = dev.run(&["groups", "describe", "billing", "-o", "json"]);
        let described: Value = serde_json::from_str(&described.stdout).ok()?;
        (described["members"][0]["partitions"] == 3).then_some(())
    });
    let two = plan(&["--members", "2"]);
    assert_eq!(two[0]["reads"].as_array().map(Vec::len), Some(2));
    assert_eq!(two[0]["givesUp"], two[1]["gets"]);
    assert_eq!(two[1]["gets"].as_array().map(Vec::len), Some(1));
    let same = dev.run(&["plan", "group", "billing"]);
    assert!(
        same.stderr.contains("0 of 3 partitions would move"),
        "{}",
        same.stderr
    );
}
