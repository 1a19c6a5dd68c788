//! `taffrail dev` and `taffrail demo` as a person uses them: real processes, real data.
#![forbid(unsafe_code)]

mod brokers;
mod demo;
mod dev;
mod groups;
mod logs;
mod members;
mod nothing;
mod plan;
mod resets;
mod stopped;
mod topics;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dev::{Dev, run};
use serde_json::Value;

const FLIGHTS: usize = 27_004;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(name);
    path.to_str().expect("a text path").to_owned()
}

fn with_flights(dev: &Dev) {
    dev.ok(&["apply", "-f", &example("topic.yaml")]);
    dev.ok(&[
        "produce",
        "flights",
        &example("flights-2013-01.csv.gz"),
        "--key-field",
        "tailnum",
        "--timestamp-field",
        "time_hour",
    ]);
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect()
}

#[test]
fn flights_come_out_as_they_went_in() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let out = dev.ok(&["consume", "flights", "--from", "earliest", "-o", "json"]);
    let records = json_lines(&out);
    assert_eq!(records.len(), FLIGHTS);
    for record in &records {
        let flight: Value =
            serde_json::from_str(record["value"].as_str().expect("text")).expect("JSON");
        assert_eq!(record["key"], flight["tailnum"]);
        assert_eq!(record["timestamp"], flight["time_hour"]);
    }
    let mut last = std::collections::HashMap::new();
    for record in &records {
        let (partition, offset) = (record["partition"].as_u64(), record["offset"].as_u64());
        let before = last.insert(partition, offset);
        assert!(before.is_none_or(|before| before < offset), "offsets grow");
    }
    assert_eq!(last.len(), 3, "all partitions have flights");
}

#[test]
fn reading_starts_where_it_is_told_to() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let noon = "2013-01-31T12:00:00Z";
    let out = dev.ok(&[
        "consume", "flights", "--from", noon, "--max", "5", "-o", "json",
    ]);
    let records = json_lines(&out);
    assert_eq!(records.len(), 5);
    // Those behind it come in the order of their partition, which is not that of the times.
    assert!(records[0]["timestamp"].as_str() >= Some(noon));
    let out = dev.ok(&[
        "consume",
        "flights",
        "--partition",
        "1",
        "--from",
        "7",
        "--max",
        "1",
        "-o",
        "json",
    ]);
    assert_eq!(json_lines(&out)[0]["offset"], 7);
    assert_eq!(dev.ok(&["consume", "flights", "--from", "latest"]), "");
}

#[test]
fn an_offset_out_of_range_says_what_is_in_range() {
    let dev = Dev::start(&[]);
    with_flights(&dev);
    let ended = dev.run(&[
        "consume",
        "flights",
        "--partition",
        "0",
        "--from",
        "99999999",
    ]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error[OFFSET_OUT_OF_RANGE]"),
        "{}",
        ended.stderr
    );
}

#[test]
fn lines_of_standard_input_become_records() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    dev.ok_with(
        &["produce", "topic/flights", "-", "--acks", "leader"],
        b"one\ntwo\n",
    );
    let out = dev.ok(&[
        "consume",
        "topic/flights",
        "--from",
        "earliest",
        "-o",
        "raw",
    ]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn a_topic_that_is_not_there_is_not_found() {
    let dev = Dev::start(&[]);
    for command in [
        &["consume", "nothing"][..],
        &["produce", "nothing", "-"],
        &["describe", "nothing"],
        &["delete", "nothing"],
        &[
            "bench",
            "produce",
            "nothing",
            "--records",
            "1",
            "--size",
            "10",
        ],
    ] {
        let ended = dev.run(command);
        assert_eq!(ended.code, Some(4), "{command:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("error[UNKNOWN_TOPIC]"),
            "{command:?}: {}",
            ended.stderr
        );
    }
    dev.ok(&["delete", "nothing", "--ignore-not-found"]);
}

#[test]
fn a_shrinking_topic_is_refused_with_what_to_do() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let manifest = fs::read_to_string(example("topic.yaml")).expect("readable");
    let file = dev.file(
        "smaller.yaml",
        &manifest.replace("partitions: 3", "partitions: 2"),
    );
    let ended = dev.run(&["apply", "-f", &file]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("create a new Topic and copy"),
        "{}",
        ended.stderr
    );
}

#[test]
fn partitions_grow_while_it_runs() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let manifest = fs::read_to_string(example("topic.yaml")).expect("readable");
    let file = dev.file(
        "larger.yaml",
        &manifest.replace("partitions: 3", "partitions: 5"),
    );
    assert_eq!(
        dev.ok(&["apply", "-f", &file]),
        "topic/flights configured\n"
    );
    assert_eq!(dev.ok(&["apply", "-f", &file]), "topic/flights unchanged\n");
    let list: Value =
        serde_json::from_str(&dev.ok(&["get", "partitions", "flights", "-o", "json"]))
            .expect("JSON");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(5));
}

#[test]
fn a_folder_of_manifests_is_applied_but_for_what_is_kubernetes_own() {
    let dev = Dev::start(&["-f", &example("brokercluster.yaml")]);
    let ended = dev.run(&["apply", "-f", &example("")]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "topic/flights created\n");
    assert!(
        ended.stderr.contains("Job (batch/v1) left out"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("brokercluster/main left out"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_get_prints_as_yaml_can_be_applied() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let printed = dev.ok(&["get", "topics", "-o", "yaml"]);
    let file = dev.file("again.yaml", &printed);
    assert_eq!(dev.ok(&["apply", "-f", &file]), "topic/flights unchanged\n");
}

#[test]
fn a_deleted_topic_keeps_its_data_until_somebody_adopts_it() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    dev.ok_with(&["produce", "flights", "-"], b"kept\n");
    assert!(dev.ok(&["delete", "flights"]).contains("its data is kept"));
    let ended = dev.run(&["apply", "-f", &example("topic.yaml")]);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error[RETAINED_DATA_EXISTS]"),
        "{}",
        ended.stderr
    );
    let manifest = fs::read_to_string(example("topic.yaml")).expect("readable");
    let file = dev.file("adopt.yaml", &(manifest + "  adoption: ByName\n"));
    dev.ok(&["apply", "-f", &file]);
    assert_eq!(
        dev.ok(&["consume", "flights", "--from", "earliest", "-o", "raw"]),
        "kept\n"
    );
}

#[test]
fn data_survives_a_stop_and_a_start() {
    let mut dev = Dev::start(&["-f", &example("topic.yaml")]);
    dev.ok_with(&["produce", "flights", "-"], b"still here\n");
    let ended = dev.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    dev.start_again();
    assert_eq!(
        dev.ok(&["consume", "flights", "--from", "earliest", "-o", "raw"]),
        "still here\n"
    );
}

#[test]
fn the_metrics_of_a_broker_are_those_in_the_docs() {
    let address = dev::free_address();
    let dev = Dev::start(&["-f", &example("topic.yaml"), "--http-listen", &address]);
    with_flights(&dev);
    dev.ok(&["consume", "flights"]);
    dev.run(&["consume", "nothing"]);
    let shown = dev::http_get(&address, "/metrics");
    let docs = fs::read_to_string(example("../docs/OPERATIONS.md")).expect("readable");
    // The suffix of counters is not part of their names.
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = words.filter(|word| word.starts_with("taffrail_broker_"));
        ours.map(|name| name.trim_end_matches("_total").to_owned())
            .collect()
    };
    let types = shown.lines().filter(|line| line.starts_with("# TYPE"));
    let types: Vec<&str> = types.collect();
    assert_eq!(names(&types.join("\n")), names(&docs));
}

#[test]
fn a_port_that_is_taken_is_said_so() {
    let dev = Dev::start(&[]);
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let ended = run(
        Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["dev", "--listen", dev.address(), "--data-dir"])
            .arg(&data),
        b"",
    );
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("error[ADDRESS_IN_USE]") && ended.stderr.contains("--listen"),
        "{}",
        ended.stderr
    );
    assert!(!data.exists(), "nothing is left behind");
}

#[test]
fn benchmarks_report_what_scripts_read() {
    let dev = Dev::start(&["-f", &example("topic.yaml")]);
    let report = |args: &[&str]| -> Value {
        let mut all = vec!["bench"];
        all.extend(args);
        all.extend(["--json"]);
        serde_json::from_str(&dev.ok(&all)).expect("JSON")
    };
    let made = report(&["produce", "flights", "--records", "2000", "--size", "100"]);
    assert_eq!(
        (&made["records"], &made["bytes"]),
        (&2000.into(), &200_000.into())
    );
    assert!(made["mb_per_s"].is_f64() && made["client_cpu_s_per_gb"].is_f64());
    assert!(made["longest_gap_ms"].as_f64() <= made["seconds"].as_f64().map(|s| s * 1e3 + 1.0));
    for group in [&[][..], &["--group", "bench"]] {
        let what = ["consume", "flights", "--records", "2000", "--size", "100"];
        let read = report(&[&what[..], group].concat());
        assert!(read["longest_gap_ms"].is_null());
        assert_eq!(read["records"], 2000);
    }
    // All records may be in one partition, and each commit takes one: a second member might have none.
    let committed = report(&["commit", "flights", "--members", "1", "--commits", "50"]);
    assert_eq!(committed["commits"], 50);
    assert!(committed["commits_per_s"].is_f64() && committed["latency_ms"]["p99"].is_f64());
    let shared = report(&["rebalance", "flights", "--members", "2"]);
    // Of three partitions one moves to the third member and back.
    assert_eq!(
        (&shared["join"]["moved"], &shared["leave"]["moved"]),
        (&1.into(), &1.into())
    );
    assert!(!dev.ok(&["groups", "list"]).contains("bench-"));
    let latency = ["latency", "flights", "--records", "200", "--size", "100"];
    let paced = report(&[&latency[..], &["--rate", "1000"]].concat());
    let single = report(&latency);
    let grouped = report(&[&latency[..], &["--rate", "1000", "--group", "late"]].concat());
    let again = dev.run(&[&["bench"], &latency[..], &["--group", "late"]].concat());
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("nobody uses"), "{}", again.stderr);
    for latency in [&paced, &single, &grouped].map(|report| &report["latency_ms"]) {
        assert!(
            latency["p50"].as_f64() <= latency["max"].as_f64() && latency["p50"].is_f64(),
            "{latency}"
        );
    }
}

#[test]
fn a_flipped_bit_is_found_offline() {
    let mut dev = Dev::start(&["-f", &example("topic.yaml")]);
    dev.ok_with(
        &["produce", "flights", "-"],
        b"a record that will be damaged\n",
    );
    dev.terminate();
    let segment = segment_with_data(&dev.data());
    let partition = segment
        .parent()
        .expect("a folder")
        .to_str()
        .expect("text")
        .to_owned();
    let whole = dev.run(&["log", "verify", &partition]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    assert!(dev.ok(&["log", "dump", &partition]).contains("offset"));
    let mut bytes = fs::read(&segment).expect("readable");
    bytes[70] ^= 1;
    fs::write(&segment, bytes).expect("writable");
    let damaged = dev.run(&["log", "verify", &partition]);
    assert_eq!(damaged.code, Some(7), "{}", damaged.stderr);
}

fn segment_with_data(data: &Path) -> PathBuf {
    let partitions = fs::read_dir(data.join("broker-0/partitions")).expect("readable");
    let files =
        partitions.flat_map(|dir| fs::read_dir(dir.expect("readable").path()).expect("readable"));
    files
        .map(|file| file.expect("readable").path())
        .find(|file| {
            file.extension().is_some_and(|e| e == "log")
                && file.metadata().is_ok_and(|m| m.len() > 0)
        })
        .expect("a segment with data")
}
