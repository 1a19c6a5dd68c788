//! What a plan says is what is done afterwards.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use super::{example, with_flights};
use crate::{
    dev::{Dev, until},
    groups::{Follower, json, members_with_partitions},
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

/// Partitions of a topic, each with its brokers in order.
fn replicas(dev: &Dev, topic: &str) -> Vec<Vec<Value>> {
    let partitions = items(dev, &["get", "partitions", topic]);
    let replicas = partitions.iter().map(|row| row["replicas"].as_array());
    replicas.map(|row| row.expect("a list").clone()).collect()
}

#[test]
fn a_topic_is_placed_as_its_plan_said() {
    let dev = Dev::start(&["--brokers", "3"]);
    let brokers = items(&dev, &["get", "brokers"]);
    let number = |name: &Value| {
        let broker = brokers.iter().find(|broker| broker["name"] == *name);
        broker.expect("a broker")["number"].clone()
    };
    let topic = fs::read_to_string(example("topic.yaml")).expect("readable");
    for (name, partitions) in [("orders", "4"), ("flights", "5")] {
        let wanted = ["--partitions", partitions, "--replicas", "2"];
        let planned = items(&dev, &[&["plan", "topic", name], &wanted[..]].concat());
        let planned: Vec<Vec<Value>> = (planned.iter())
            .map(|row| row["brokers"].as_array().expect("a list"))
            .map(|row| row.iter().map(number).collect())
            .collect();
        let manifest = topic
            .replace("name: flights", &format!("name: {name}"))
            .replace("partitions: 3", &format!("partitions: {partitions}"))
            .replace("replicas: 1", "replicas: 2");
        dev.ok(&["apply", "-f", &dev.file("topic.yaml", &manifest)]);
        assert_eq!(replicas(&dev, name), planned, "{name}");
    }
}

/// What each member reads, by its name.
fn read(dev: &Dev) -> BTreeMap<String, Vec<String>> {
    let described = json(dev, &["groups", "describe", "billing"]);
    let partitions = described["partitions"].as_array().expect("a list");
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for at in partitions {
        let member = at["member"].as_str().expect("a member").to_owned();
        let topic = at["topic"].as_str().expect("a topic");
        let reads = read.entry(member).or_default();
        reads.push(format!("{topic}/{}", at["partition"]));
    }
    read
}

fn planned_reads(dev: &Dev, more: &[&str]) -> BTreeMap<String, Vec<String>> {
    let rows = items(dev, &[&["plan", "group", "billing"], more].concat());
    let reads = rows.into_iter().map(|row| {
        let member = row["member"].as_str().expect("a name").to_owned();
        let reads = serde_json::from_value(row["reads"].clone());
        (member, reads.expect("a list"))
    });
    reads.collect()
}

#[test]
fn a_second_member_gets_what_the_plan_said() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let _first = Follower::start(&dev, "first.jsonl");
    until("the first one has everything", || {
        (members_with_partitions(&dev) == Some(1)).then_some(())
    });
    let before = read(&dev);
    let mut planned = planned_reads(&dev, &["--members", "2"]);
    assert_eq!(read(&dev), before, "a plan moves nothing");
    let _second = Follower::start(&dev, "second.jsonl");
    until("they share", || {
        (members_with_partitions(&dev) == Some(2)).then_some(())
    });
    let found = read(&dev);
    let second = found.keys().find(|member| !before.contains_key(*member));
    let news = planned.remove("(new 1)").expect("a new member");
    planned.insert(second.expect("another one").clone(), news);
    assert_eq!(found, planned);
}

#[test]
fn members_of_different_topics_are_planned_as_they_are() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let topic = fs::read_to_string(example("topic.yaml")).expect("readable");
    let orders = topic.replace("name: flights", "name: orders");
    dev.ok(&["apply", "-f", &dev.file("orders.yaml", &orders)]);
    let follow = |topic: &str| {
        let what = [topic, "--group", "billing", "--instance-id", topic];
        Follower::consuming(&dev, topic, &what)
    };
    let _both = ["flights", "orders"].map(follow);
    until("each has its topic", || {
        (members_with_partitions(&dev) == Some(2)).then_some(())
    });
    let planned = planned_reads(&dev, &[]);
    assert_eq!(planned["orders"], ["orders/0", "orders/1", "orders/2"]);
    assert_eq!(planned, read(&dev), "nothing would move");
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
