//! What `taffrail dev` says on standard error.

use std::fs;

use serde_json::Value;

use crate::{dev::Dev, example};

/// Each line is an object with what a collector looks for.
#[track_caller]
fn assert_json(lines: &str, message: &str) {
    let mut messages = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        messages.push(line["message"].clone());
    }
    assert!(messages.contains(&message.into()), "{messages:?}");
}

#[test]
fn with_json_every_line_of_it_and_of_its_brokers_is_an_object() {
    let json = ["--log-format", "json", "--log-level", "info"];
    let mut dev = Dev::start(&[&["--brokers", "2"], &json[..]].concat());
    assert_json(&dev.terminate().stderr, "the cluster is ready");
    for broker in ["broker-0.log", "broker-1.log"] {
        let log = fs::read_to_string(dev.data().join(broker)).expect("readable");
        assert_json(&log, "serving");
    }
}

#[test]
fn what_of_a_manifest_flags_decide_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = fs::read_to_string(example("brokercluster.yaml")).expect("readable");
    let fields =
        "  listeners: { client: { port: 9000 } }\n  brokerConfig: { disk.sync_threads: 2 }\n";
    let file = dir.path().join("cluster.yaml");
    fs::write(&file, manifest + fields).expect("writable");
    let mut dev = Dev::start(&["-f", file.to_str().expect("text")]);
    let said = dev.terminate().stderr;
    for line in [
        "brokercluster/main: spec.listeners.client.port is left out: use --listen IP:PORT\n",
        "brokercluster/main: spec.brokerConfig is left out: use --broker-config FILE\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
}
