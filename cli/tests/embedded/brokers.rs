//! `taffrail dev --brokers N`: each broker is a process that can be killed, and none stays behind.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    FLIGHTS,
    dev::{Dev, kill, lives, run, until},
    example, json_lines,
};

fn brokers(dev: &Dev) -> Vec<Value> {
    let list: Value =
        serde_json::from_str(&dev.ok(&["get", "brokers", "-o", "json"])).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

fn pids(dev: &Dev) -> Vec<u32> {
    let pid = |broker: &Value| broker["processId"].as_u64().expect("a number") as u32;
    brokers(dev).iter().map(pid).collect()
}

/// The broker of this name once it is in this state.
fn in_state(dev: &Dev, name: &str, state: &str) -> Value {
    until(&format!("{name} {state}"), || {
        let mut brokers = brokers(dev).into_iter();
        brokers.find(|broker| broker["name"] == name && broker["state"] == state)
    })
}

#[test]
fn a_list_has_the_brokers_that_were_named_and_an_unknown_one_is_an_error() {
    let dev = Dev::start(&["--brokers", "2"]);
    let named = |wanted: &str| {
        let list = dev.ok(&["get", "brokers", wanted, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        list["items"].as_array().expect("a list").clone()
    };
    let second = named("broker-1");
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0]["name"], "broker-1");
    let by_number = named(&second[0]["number"].to_string());
    assert_eq!(by_number.len(), 1, "{by_number:?}");
    assert_eq!(by_number[0]["name"], "broker-1");
    let ended = dev.run(&["get", "brokers", "broker-1", "broker-7"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let said = r#"error[UNKNOWN_BROKER]: there is no broker "broker-7""#;
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn each_broker_is_a_process_and_all_of_them_serve() {
    let mut dev = Dev::start(&["--brokers", "3"]);
    let before = pids(&dev);
    let mut different = before.clone();
    different.extend([dev.id()]);
    different.sort_unstable();
    different.dedup();
    assert_eq!(
        different.len(),
        4,
        "three brokers and their parent: {before:?}"
    );
    assert!(before.iter().all(|pid| lives(*pid)));

    dev.ok(&["apply", "-f", &example("topic.yaml")]);
    let flights = example("flights-2013-01.csv.gz");
    dev.ok(&["produce", "flights", &flights, "--key-field", "tailnum"]);
    let list = dev.ok(&["get", "partitions", "flights", "-o", "json"]);
    let partitions: Value = serde_json::from_str(&list).expect("JSON");
    let partitions = partitions["items"].as_array().expect("a list");
    let leaders = partitions.iter().map(|p| p["leader"].as_u64());
    let leaders: BTreeSet<_> = leaders.collect();
    assert_eq!(leaders.len(), 3, "each broker leads one: {partitions:?}");
    let read = || json_lines(&dev.ok(&["consume", "flights", "-o", "json"])).len();
    assert_eq!(read(), FLIGHTS);

    let ended = dev.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!before.iter().any(|pid| lives(*pid)), "none stays behind");
    dev.set_arguments(&["--brokers", "4"]);
    dev.start_again();
    assert_eq!(brokers(&dev).len(), 4, "one more than before");
    let read = json_lines(&dev.ok(&["consume", "flights", "-o", "json"])).len();
    assert_eq!(read, FLIGHTS);

    dev.terminate();
    let data = dev.data();
    let verified = dev.ok(&["log", "verify", data.to_str().expect("text")]);
    for partition in ["flights/0: sound", "flights/1: sound", "flights/2: sound"] {
        assert!(verified.contains(partition), "{verified}");
    }
    let fewer = run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["dev", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(dev.data()),
        b"",
    );
    assert_eq!(fewer.code, Some(2), "{}", fewer.stderr);
    assert!(fewer.stderr.contains("--brokers 4"), "{}", fewer.stderr);
}

#[test]
fn a_cluster_that_has_grown_to_three_brokers_keeps_three_copies_of_its_own_topics() {
    let mut dev = Dev::start(&[]);
    let copies = |dev: &Dev| -> Vec<usize> {
        let list = dev.ok(&["get", "partitions", "--internal", "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let partitions = list["items"].as_array().expect("a list").iter();
        let isr = partitions.map(|p| p["isr"].as_array().expect("a list").len());
        isr.collect()
    };
    until("one copy", || (copies(&dev) == [1; 50]).then_some(()));
    dev.terminate();
    dev.set_arguments(&["--brokers", "3"]);
    dev.start_again();
    until("three copies", || (copies(&dev) == [3; 50]).then_some(()));
    let described = dev.ok(&["describe", "__offsets"]);
    assert!(described.contains("3 (minInSync 2)"), "{described}");
}

#[test]
fn a_broker_that_is_killed_is_started_again_at_its_address() {
    let dev = Dev::start(&["--brokers", "2"]);
    let before = in_state(&dev, "broker-1", "ONLINE");
    kill(before["processId"].as_u64().expect("a number") as u32);
    let after = until("another broker-1", || {
        let now = in_state(&dev, "broker-1", "ONLINE");
        (now["processId"] != before["processId"]).then_some(now)
    });
    assert_eq!(after["number"], before["number"], "it is the same broker");
    assert_eq!(after["address"], before["address"]);
}

#[test]
fn without_restarts_a_broker_that_was_killed_stays_away() {
    let mut dev = Dev::start(&["--brokers", "2", "--no-restart"]);
    let before = in_state(&dev, "broker-1", "ONLINE");
    kill(before["processId"].as_u64().expect("a number") as u32);
    in_state(&dev, "broker-1", "OFFLINE");
    let said = dev.terminate().stderr;
    assert!(
        said.contains("a broker process ended and is left so"),
        "{said}"
    );
    assert!(
        said.contains("broker-1") && said.contains("SIGKILL"),
        "{said}"
    );
}

#[test]
fn once_a_broker_was_killed_no_other_is_safe_to_stop_and_the_table_says_why() {
    let dev = Dev::start(&["--brokers", "3", "--no-restart"]);
    let one_copy = fs::read_to_string(example("topic.yaml")).expect("it is there");
    let topic = dev.file(
        "topic.yaml",
        &one_copy.replace("replicas: 1", "replicas: 3"),
    );
    dev.ok(&["apply", "-f", &topic]);
    let broker = in_state(&dev, "broker-1", "ONLINE");
    until("all to be safe to stop", || {
        let safe = |broker: &Value| broker["safeToStop"] == true;
        brokers(&dev).iter().all(safe).then_some(())
    });
    let table = dev.ok(&["get", "brokers"]);
    assert!(!table.contains("STOP-BLOCKED-BY"), "{table}");
    kill(broker["processId"].as_u64().expect("a number") as u32);
    let table = until("the two others to be needed", || {
        let table = dev.ok(&["get", "brokers"]);
        let why = "1 of 3 replicas would be in sync, 2 needed";
        (table.matches(why).count() == 2).then_some(table)
    });
    assert!(table.contains("STOP-BLOCKED-BY"), "{table}");
    for name in ["broker-0", "broker-2"] {
        let mut rows = table.lines().filter(|row| row.contains(name));
        assert!(rows.any(|row| row.contains("   no   ")), "{table}");
    }
}

#[test]
fn a_topic_that_does_not_become_ready_is_waited_for_no_longer_than_told() {
    let topic = example("topic.yaml");
    let dev = Dev::start(&["--brokers", "2", "--no-restart", "-f", &topic]);
    let broker = in_state(&dev, "broker-1", "ONLINE");
    kill(broker["processId"].as_u64().expect("a number") as u32);
    in_state(&dev, "broker-1", "OFFLINE");
    let started = Instant::now();
    let ended = dev.run(&["apply", "-f", &topic, "--timeout", "200ms"]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error[TIMED_OUT]") && ended.stderr.contains("not Ready"),
        "{}",
        ended.stderr
    );
    assert!(
        started.elapsed() < Duration::from_secs(50),
        "not the default"
    );
    assert_eq!(
        dev.ok(&["apply", "-f", &topic, "--wait=false"]),
        "topic/flights unchanged\n"
    );
}

#[test]
fn of_several_servers_whichever_is_there_is_asked() {
    let dev = Dev::start(&["--brokers", "2", "--no-restart"]);
    let of = |name| in_state(&dev, name, "ONLINE");
    let (first, second) = (of("broker-0"), of("broker-1"));
    let text = |broker: &Value| broker["address"].as_str().expect("text").to_owned();
    let both = format!("{},{}", text(&first), text(&second));
    kill(first["processId"].as_u64().expect("a number") as u32);
    let asks = |servers: &str| dev.run(&["get", "brokers", "--server", servers]);
    until("the first one to be gone", || {
        (asks(&text(&first)).code == Some(5)).then_some(())
    });
    let answered = asks(&both);
    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
    assert!(answered.stdout.contains("broker-1"), "{}", answered.stdout);
}

#[test]
fn brokers_take_settings_from_a_file() {
    let plain = Dev::start(&[]);
    let file = plain.file("broker.toml", "rack = \"cellar\"\n");
    for count in ["1", "2"] {
        let dev = Dev::start(&["--brokers", count, "--broker-config", &file]);
        let brokers = until("every broker", || {
            let brokers = brokers(&dev);
            (brokers.len().to_string() == count).then_some(brokers)
        });
        for broker in brokers {
            assert_eq!(broker["rack"], "cellar", "{broker}");
        }
    }
}

#[test]
fn a_file_of_settings_that_makes_no_sense_is_refused_before_anything_starts() {
    let plain = Dev::start(&[]);
    let file = plain.file("broker.toml", "replication.catch_up = 5\n");
    let refused = plain.run(&["dev", "--brokers", "2", "--broker-config", &file]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("catch_up"), "{}", refused.stderr);
}

#[test]
fn no_broker_outlives_a_parent_that_was_killed() {
    let mut dev = Dev::start(&["--brokers", "2"]);
    let brokers = pids(&dev);
    kill(dev.id());
    until("the end of the brokers", || {
        (!brokers.iter().any(|pid| lives(*pid))).then_some(())
    });
    dev.terminate();
    dev.start_again();
    assert_eq!(pids(&dev).len(), 2, "their data is free");
}

#[test]
fn a_manifest_says_how_many_brokers_there_are() {
    let dev = Dev::start(&[]);
    let manifest = fs::read_to_string(example("brokercluster.yaml")).expect("readable");
    let file = dev.file("two.yaml", &manifest.replace("brokers: 1", "brokers: 2"));
    let two = Dev::start(&["-f", &file]);
    assert_eq!(brokers(&two).len(), 2);

    let contradicted = run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["dev", "--brokers", "3", "--listen", "127.0.0.1:0", "-f"])
            .arg(&file)
            .arg("--data-dir")
            .arg(dev.data().with_extension("other")),
        b"",
    );
    assert_eq!(contradicted.code, Some(3), "{}", contradicted.stderr);
    assert!(
        contradicted.stderr.contains("wants 2 brokers")
            && contradicted.stderr.contains("--brokers says 3"),
        "{}",
        contradicted.stderr
    );
}

#[test]
fn a_broker_that_cannot_start_is_named_with_its_reason() {
    let mut dev = Dev::start(&["--brokers", "2"]);
    dev.terminate();
    let identity = dev.data().join("broker-1/identity");
    fs::write(&identity, "nonsense").expect("writable");
    let ended = run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args([
                "dev",
                "--brokers",
                "2",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dev.data()),
        b"",
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("broker-1 ended at its start")
            && ended.stderr.contains("is unreadable"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_topic_with_three_replicas_outlives_the_broker_that_leads_it() {
    // Started again, it could lead on, and nobody would have to follow it.
    let dev = Dev::start(&["--brokers", "3", "--no-restart"]);
    let topic = fs::read_to_string(example("topic.yaml")).expect("readable");
    let topic = dev.file("three.yaml", &topic.replace("replicas: 1", "replicas: 3"));
    dev.ok(&["apply", "-f", &topic]);
    let flights = example("flights-2013-01.csv.gz");
    let produce = ["produce", "flights", &flights, "--key-field", "tailnum"];
    dev.ok(&produce);
    let leads_one = |broker: &Value| {
        let list = dev.ok(&["get", "partitions", "flights", "-o", "json"]);
        let partitions: Value = serde_json::from_str(&list).expect("JSON");
        let mut partitions = partitions["items"].as_array().into_iter().flatten();
        partitions.any(|partition| partition["leader"] == broker["number"])
    };
    // Not the one whose address the command line knows.
    let led = brokers(&dev)
        .into_iter()
        .find(|broker| broker["address"] != dev.address() && leads_one(broker));
    let led = led.expect("leaders are spread");
    let pid = led["processId"].as_u64().expect("a number") as u32;
    kill(pid);
    dev.ok(&produce);
    let read = json_lines(&dev.ok(&["consume", "flights", "-o", "json"])).len();
    assert_eq!(read, 2 * FLIGHTS);
    until("another leader", || (!leads_one(&led)).then_some(()));
    assert!(!lives(pid), "nobody started it again");
}
